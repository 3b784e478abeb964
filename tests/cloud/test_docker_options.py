"""Options of `docker run` and `docker exec` by the stock command line: each that is real does what it says, each that is not says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker
from tests.cloud.running import until

pytestmark = pytest.mark.machine
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


def test_an_init_reaps_what_is_left_and_hands_signals_on(docker: Docker) -> None:
    script = "trap 'exit 3' USR1; (sleep 0.01 &) ; while :; do sleep 0.05; done"
    done = docker.run("run", "-d", "--init", "--name", "under", BUSYBOX, "sh", "-c", script, check=False, timeout_s=120)
    if b"cannot download tini" in done.stderr:
        pytest.skip("this host has no init, and Debian's archive cannot be reached")
    assert done.returncode == 0, done.stderr
    assert docker("exec", "under", "cat", "/proc/1/comm") in ("docker-init", "tini-static")
    until(lambda: "zombie" not in docker("exec", "under", "cat", "/proc/1/status"))
    until(lambda: " Z" not in docker("exec", "under", "sh", "-c", "cat /proc/[0-9]*/stat || true"))
    docker("kill", "-s", "USR1", "under")
    assert docker("wait", "under") == "3"
    assert docker.inspect("under")["HostConfig"]["Init"] is True
    docker("rm", "under")
    assert docker.run("run", "--rm", "--init", BUSYBOX, "sh", "-c", "exit 5", check=False).returncode == 5


def test_volumes_come_from_another_container(docker: Docker, tmp_path: Path) -> None:
    docker("create", "--name", "owner", "-v", "/data", "-v", f"{tmp_path}:/host", BUSYBOX)
    docker("run", "--rm", "--volumes-from", "owner", BUSYBOX, "sh", "-c", "echo mine > /data/x; echo seen > /host/y")
    script = "cat /data/x; touch /data/z || echo fixed"
    assert docker("run", "--rm", "--volumes-from", "owner:ro", BUSYBOX, "sh", "-c", script) == "mine\nfixed"
    assert (tmp_path / "y").read_text() == "seen\n"
    docker("rm", "-v", "owner")
    assert "No such container: owner" in docker.fails("create", "--volumes-from", "owner", BUSYBOX)
    for again in (["-v", "/tmp:/v"], ["--mount", "type=tmpfs,target=/v"], ["--tmpfs", "/v"]):
        assert "Duplicate mount point: /v" in docker.fails("create", "-v", "other:/v/", *again, BUSYBOX)
    assert docker("volume", "ls", "-q", "-f", "name=other") == ""


def test_links_bring_names_and_variables(docker: Docker) -> None:
    docker("create", "--name", "db", "--expose", "80", "-e", "KIND=small", BUSYBOX, "httpd", "-f", "-h", "/etc")
    link = ("--link", "db:the-store")
    assert "Cannot link to a non running container: /db AS /" in docker.fails("run", *link, BUSYBOX, "true")
    docker("start", "db")
    address = docker.inspect("db")["NetworkSettings"]["IPAddress"]
    script = "echo $THE_STORE_PORT $THE_STORE_PORT_80_TCP_ADDR $THE_STORE_ENV_KIND $THE_STORE_NAME; wget -qO- http://the-store/passwd"
    said = docker("run", "--rm", "--name", "web", *link, BUSYBOX, "sh", "-c", script).splitlines()
    assert said[0] == f"tcp://{address}:80 {address} small /web/the-store"
    assert said[1].startswith("root:x:0:0")
    docker("network", "create", "linked")
    docker("network", "connect", "linked", "db")
    words = ("run", "--rm", "--network", "linked")
    assert "root:x:0:0" in docker(*words, "--link", "db:other", BUSYBOX, "wget", "-qO-", "http://other/passwd")
    assert docker.run(*words, BUSYBOX, "nslookup", "other", check=False).returncode != 0
    docker("rm", "-fv", "db")
    docker("network", "rm", "linked")


def test_exec_and_health_run_as_whom_they_are_to(docker: Docker) -> None:
    words = ["-u", "www", "--health-cmd", "id -un", "--health-interval", "100ms"]
    docker("run", "-d", "--name", "who", *words, BUSYBOX, "sleep", "1000")
    until(lambda: docker.inspect("who")["State"]["Health"]["Status"] == "healthy")
    assert docker.inspect("who")["State"]["Health"]["Log"][0]["Output"] == "www\n"
    powers = ["grep", "CapEff", "/proc/self/status"]
    assert int(docker("exec", "who", *powers).split()[1], 16) == 0
    assert int(docker("exec", "--privileged", "-u", "root", "who", *powers).split()[1], 16) >> 21 & 1  # CAP_SYS_ADMIN
    down = ["-u", "root", "who", "ip", "link", "set", "lo", "down"]
    assert docker.run("exec", *down, check=False).returncode != 0
    docker("exec", "--privileged", *down)
    docker("rm", "-f", "who")


def test_namespaces_of_others(docker: Docker) -> None:
    docker("run", "-d", "--name", "seen", BUSYBOX, "sleep", "4711")
    theirs = ("--pid", "container:seen")
    script = "cat /proc/1/cmdline; kill -0 1 && echo; ls /sys/class/net"
    found = docker("run", "--rm", *theirs, BUSYBOX, "sh", "-c", script).split("\n")
    assert found[0] == "sleep\x004711\x00"
    assert sorted(found[1:]) == ["eth0", "lo"]
    both = (*theirs, "--network", "container:seen")
    address = docker.inspect("seen")["NetworkSettings"]["IPAddress"]
    assert f"inet {address}/" in docker("run", "--rm", *both, BUSYBOX, "ip", "addr")
    docker("kill", "seen")
    docker.until_state("seen", "exited")
    for option in ("--pid", "--network"):
        assert "of a non running container" in docker.fails("run", "--rm", option, "container:seen", BUSYBOX, "true")
    docker("rm", "seen")
    options = {"--pid": "pid", "--ipc": "ipc", "--uts": "uts", "--cgroupns": "cgroup", "--userns": "user"}
    paths = [f"/proc/self/ns/{kind}" for kind in options.values()]
    shared = [word for option in options for word in (option, "host")]
    there = [os.readlink(path) for path in paths]
    script = f"for path in {' '.join(paths)}; do readlink $path; done"
    assert docker("run", "--rm", *shared, BUSYBOX, "sh", "-c", script).split() == there
    own = docker("run", "--rm", BUSYBOX, "sh", "-c", script).split()
    assert len(own) == len(there)
    assert not set(own) & set(there)


def test_who_has_anothers_network_has_its_names(docker: Docker) -> None:
    docker("network", "create", "shared")
    docker(
        "run",
        "-d",
        "--name=owner",
        "--network=shared",
        "--hostname=box",
        "--add-host=far:10.1.2.3",
        BUSYBOX,
        "sleep",
        "1000",
    )
    docker("run", "-d", "--name=near", "--network=shared", BUSYBOX, "sleep", "1000")
    script = "hostname; grep -c -e far -e box /etc/hosts; nslookup near >/dev/null && echo found"
    assert docker("run", "--rm", "--network=container:owner", BUSYBOX, "sh", "-c", script) == "box\n2\nfound"
    docker("rm", "-f", "owner", "near")
    docker("network", "rm", "shared")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hostname=x"], "hostname and the network mode"),
        (["--dns=10.0.0.1"], "dns and the network mode"),
        (["--add-host=a:10.0.0.1"], "custom host-to-IP mapping and the network mode"),
        (["-p", "80"], "port publishing and the container type network mode"),
        (["-P"], "port publishing and the container type network mode"),
        (["--expose=80"], "port exposing and the container type network mode"),
    ],
)
def test_what_is_said_of_a_network_does_not_go_with_anothers(docker: Docker, words: list[str], said: str) -> None:
    refused = docker.fails("create", "--network=container:anybody", *words, BUSYBOX)
    assert f"conflicting options: {said}" in refused


def test_memory_of_others(docker: Docker) -> None:
    docker("run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "3m", BUSYBOX, "sleep", "1000")
    docker("exec", "donor", "sh", "-c", "echo word >/dev/shm/there")
    joined = ("--ipc", "container:donor")
    script = "cat /dev/shm/there; df -k /dev/shm | awk 'NR>1 {print $2}'; readlink /proc/self/ns/ipc"
    found = docker("run", "--rm", *joined, BUSYBOX, "sh", "-c", script).split()
    assert found == ["word", "3072", docker("exec", "donor", "readlink", "/proc/self/ns/ipc")]
    all_three = (*joined, "--pid", "container:donor", "--network", "container:donor")
    assert docker("run", "--rm", *all_three, BUSYBOX, "sh", "-c", script).split() == found
    docker("run", "-d", "--name", "private", BUSYBOX, "sleep", "1000")
    assert "non-shareable IPC (hint: use IpcMode:shareable" in docker.fails(
        "run", "--rm", "--ipc", "container:private", BUSYBOX, "true"
    )
    both = (*joined, "--pid", "container:private")
    assert "NotImplemented: namespaces of containers that have users of their own" in docker.fails(
        "create", *both, BUSYBOX
    )
    assert (
        docker("run", "--rm", "--ipc", "none", BUSYBOX, "sh", "-c", "ls -d /dev/shm 2>/dev/null || echo none") == "none"
    )
    docker("kill", "donor")
    docker.until_state("donor", "exited")
    assert "IPC namespace of a non running container" in docker.fails("run", "--rm", *joined, BUSYBOX, "true")
    docker("start", "donor")
    assert docker("exec", "donor", "ls", "/dev/shm") == ""
    docker("rm", "-f", "donor", "private")


def test_what_is_given_to_a_program_is_there(docker: Docker, tmp_path: Path) -> None:
    words = ["--sysctl", "net.ipv4.ip_forward=1", "--shm-size", "3m", "--group-add", "staff", "--group-add", "77"]
    words += [
        "--cpuset-cpus",
        "0",
        "--security-opt",
        "no-new-privileges",
        "--stop-timeout",
        "0",
        "--oom-score-adj",
        "500",
    ]
    words += [
        "--mount",
        f"type=bind,source={tmp_path},target=/bound,readonly",
        "--mount",
        "type=tmpfs,target=/t,tmpfs-size=2m",
    ]
    words += ["--mount", "type=volume,target=/v", "--add-host", "far:1.2.3.4", "--ulimit", "nofile=99:99"]
    script = (
        "cat /proc/sys/net/ipv4/ip_forward; df -k /dev/shm /t | awk 'NR>1 {print $2}'; id -G; grep -c 4242 /etc/group;"
        "awk '/Cpus_allowed_list|NoNewPrivs/ {print $2}' /proc/self/status; cat /proc/self/oom_score_adj; ls -d /v;"
        "touch /bound/x 2>/dev/null || echo fixed; grep -c far /etc/hosts; ulimit -n"
    )
    found = docker("run", "--rm", *words, BUSYBOX, "sh", "-c", script).split("\n")
    assert found == ["1", "3072", "2048", "0 50 77", "0", "1", "0", "500", "/v", "fixed", "1", "99"]
    device = docker(
        "run", "--rm", "--device", "/dev/fuse:/dev/there:r", BUSYBOX, "sh", "-c", "ls -l /dev/there | cut -c1"
    )
    assert device == "c"


def test_folders_that_are_made_for_mounts_are_everybodys(docker: Docker) -> None:
    words = ["-u", "www", "-v", "/a/b/c", "--tmpfs", "/q/r", "--init", BUSYBOX]
    assert docker("run", "--rm", *words, "stat", "-c", "%a %u", "/a", "/a/b", "/q").split("\n") == ["1755 0"] * 3


def test_a_volume_may_be_a_folder_of_the_host(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("there\n")
    there = ("--opt", "type=none", "--opt", f"device={tmp_path}")
    docker("volume", "create", *there, "--opt", "o=bind", "bound")
    assert docker("run", "--rm", "-v", "bound:/v", BUSYBOX, "sh", "-c", "cat /v/mine; echo new >/v/more") == "there"
    assert (tmp_path / "more").read_text() == "new\n"
    docker("volume", "create", *there, "--opt", "o=bind,ro", "fixed")
    assert "Read-only file system" in docker.fails("run", "--rm", "-v", "fixed:/v", BUSYBOX, "touch", "/v/x")
    assert docker("volume", "inspect", "-f", "{{.Options.device}}", "bound") == str(tmp_path)
    docker("volume", "rm", "bound", "fixed")
    assert (tmp_path / "mine").exists()


def test_a_volume_may_be_memory_while_it_is_used(docker: Docker) -> None:
    memory = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt")
    docker("volume", "create", *memory, "o=size=2m,uid=33,noexec", "quick")
    docker("run", "-d", "--name", "first", "-v", "quick:/v", BUSYBOX, "sleep", "1000")
    docker("exec", "first", "sh", "-c", "echo here >/v/word; cp /bin/busybox /v/busybox")
    script = "cat /v/word; stat -c %u /v; df -k /v | awk 'NR>1 {print $2}'; /v/busybox true 2>/dev/null || echo no"
    assert docker("run", "--rm", "-v", "quick:/v", BUSYBOX, "sh", "-c", script).split() == ["here", "33", "2048", "no"]

    def empty_after_a_restart() -> bool:
        """What the one that has ended had of it is let go of a moment later, and until then it is in use."""
        docker("restart", "-t", "0", "first")
        return docker("exec", "first", "ls", "/v") == ""

    until(empty_after_a_restart)
    docker("rm", "-f", "first")
    words = ["--mount", "type=volume,target=/etc,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-label=a=b"]
    found = docker("run", "--rm", *words, BUSYBOX, "sh", "-c", "grep -c root: /etc/passwd; stat -f -c %T /etc")
    assert found.split() == ["1", "tmpfs"]
    docker("volume", "create", *memory, "o=speed=9", "odd")
    said = docker.fails("run", "--rm", "-v", "odd:/v", BUSYBOX, "true")
    assert "failed to mount local volume: mount tmpfs:" in said
    assert "data: speed=9: invalid argument" in said
    docker("volume", "rm", "quick", "odd")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("speed=9",), 'invalid option: "speed"'),
        (("size=1g",), "quota size requested but no quota support"),
        (("type=tmpfs",), 'missing required option: "device"'),
        (("o=bind", "type=none"), 'missing required option: "device"'),
        (("type=none", "o=bind", "device=here"), "mount path must be absolute"),
        (("type=none", "o=bind,noexec", "device=/tmp"), "NotImplemented: folders of the host with the option noexec"),
        (("type=nfs", "o=addr=10.0.0.1", "device=:/x"), "NotImplemented: volumes of the type nfs"),
    ],
)
def test_options_that_no_volume_has_are_refused(docker: Docker, given: tuple[str, ...], said: str) -> None:
    options = [word for one in given for word in ("--opt", one)]
    assert said in docker.fails("volume", "create", *options, "refused")
    assert docker("volume", "ls", "-qf", "name=refused") == ""


def test_a_disk_is_used_as_fast_as_it_may_be(docker: Docker) -> None:
    disk = next((one for one in sorted(Path("/dev").iterdir()) if one.is_block_device()), None)
    if disk is None:
        pytest.skip("this host has no disk")
    number = f"{os.major(disk.stat().st_rdev)}:{os.minor(disk.stat().st_rdev)}"
    words = ["--device-write-bps", f"{disk}:1mb", "--device-read-iops", f"{disk}:77"]
    docker("run", "-d", "--name", "slow", *words, BUSYBOX, "sleep", "1000")
    pid = docker.inspect("slow")["State"]["Pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    place = next(line for line in lines if V2 or ":blkio:" in line).rpartition(":")[2]
    if V2:
        assert f"{number} rbps=max wbps=1048576 riops=77 wiops=max" in Path(f"/sys/fs/cgroup{place}/io.max").read_text()
    else:
        group = Path(f"/sys/fs/cgroup/blkio{place}")
        assert (group / "blkio.throttle.write_bps_device").read_text() == f"{number} 1048576\n"
        assert (group / "blkio.throttle.read_iops_device").read_text() == f"{number} 77\n"
    docker("rm", "-f", "slow")
    said = docker.fails("run", "--rm", "--device-read-bps", "/dev/null:1mb", BUSYBOX, "true")
    assert "/dev/null: no such block device" in said


def test_a_log_may_be_bounded_or_nobodys(docker: Docker) -> None:
    words = ["--log-opt", "max-size=64k", "--log-opt", "max-file=2"]
    docker("run", "--name", "talks", *words, BUSYBOX, "sh", "-c", "seq 1 20000; echo last")
    said = docker("logs", "talks").splitlines()
    assert said[-1] == "last"
    assert 0 < len(said) < 10_000
    docker("rm", "talks")
    assert docker("run", "--name", "silent", "--log-driver", "none", BUSYBOX, "echo", "heard") == "heard"
    assert "configured logging driver does not support reading" in docker.fails("logs", "silent")
    docker("rm", "silent")
    assert "unknown log opt 'speed' for json-file" in docker.fails("create", "--log-opt", "speed=9", BUSYBOX)
    assert "no log driver named 'syslog'" in docker.fails("create", "--log-driver", "syslog", BUSYBOX)


@pytest.mark.skipif(V2, reason="cgroup v2 has no such switch")
def test_who_needs_more_memory_than_there_is_may_wait_for_it(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "waits",
        "-m",
        "8m",
        "--oom-kill-disable",
        BUSYBOX,
        "sh",
        "-c",
        "x=1; while :; do x=$x$x; done",
    )
    pid = docker.inspect("waits")["State"]["Pid"]
    group = next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if ":memory:" in line)
    control = Path("/sys/fs/cgroup/memory" + group.rpartition(":")[2]) / "memory.oom_control"
    until(lambda: "under_oom 1" in control.read_text())
    assert docker.state("waits") == "running"
    docker("rm", "-f", "waits")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--blkio-weight", "100"], "NotImplemented: weights of disk use"),
        (["--cgroup-parent", "/x"], "NotImplemented: a control group"),
        (["--cpuset-mems", "0"], "NotImplemented: memory nodes"),
        (["--ipc", "container:x"], "No such container: x"),
        (["--security-opt", "apparmor=mine"], "NotImplemented: a security option"),
        (["--security-opt", "nonsense=1"], "invalid --security-opt"),
        (["--gpus", "all"], 'could not select device driver "" with capabilities: [[gpu]]'),
        (["--storage-opt", "size=1g"], "supported only for overlay over xfs with 'pquota' mount option"),
        (["--cpuset-cpus", "4000"], "Requested CPUs are not available - requested 4000, available: 0"),
        (["--mount", "type=volume,source=a1,target=/a,volume-driver=nfs"], "NotImplemented: the volume driver nfs"),
        (["--mount", "type=image,source=x,target=/a"], "NotImplemented: mounts of the type image"),
        (["--uts", "x"], "nvalid UTS mode"),
        (["--userns", "x"], "nvalid USER mode"),
        (["--cpus", "9999"], "range of CPUs is from 0.01 to"),
        (["--restart", "on-failure:-1"], "maximum retry count cannot be negative"),
    ],
)
def test_what_cannot_be_is_refused_and_makes_nothing(docker: Docker, words: list[str], said: str) -> None:
    assert said.lower() in docker.fails("create", "--name", "refused", *words, BUSYBOX).lower()
    assert docker("ps", "-aq", "--filter", "name=refused") == ""


def test_a_device_that_is_not_there_is_named(docker: Docker) -> None:
    for device, why in (("/dev/nosuch", "no such file or directory"), ("/etc/passwd", "not a device node")):
        said = docker.fails("run", "--rm", "--device", device, BUSYBOX, "true")
        assert f'error gathering device information while adding custom device "{device}": {why}' in said
