"""Containers by the stock docker command line: networks, volumes, restarts, and what survives the death of a daemon."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.server
import io
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker, busybox_tar, fetch, free_port, saved_image
from tests.cloud.running import Cloud, until

pytestmark = pytest.mark.machine


def test_containers_of_a_network_find_each_other_by_name(docker: Docker) -> None:
    docker("network", "create", "backs")
    docker(
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        "backs",
        "--network-alias",
        "store",
        BUSYBOX,
        "httpd",
        "-f",
        "-h",
        "/etc",
    )
    for name in ("db", "store"):
        assert "root:x:0:0" in docker(
            "run", "--rm", "--network", "backs", BUSYBOX, "wget", "-qO-", f"http://{name}/passwd"
        )
    elsewhere = docker.run("run", "--rm", BUSYBOX, "wget", "-T", "2", "-qO-", "http://db/passwd", check=False)
    assert elsewhere.returncode != 0
    assert "has active endpoints" in docker.fails("network", "rm", "backs")
    docker("rm", "-f", "db")
    docker("network", "rm", "backs")


def test_neighbours_are_found_by_name_whatever_resolver_is_wished(docker: Docker) -> None:
    docker("network", "create", "asked")
    docker("run", "-d", "--name=neighbour", "--network=asked", BUSYBOX, "sleep", "1000")
    resolver = ["--dns=10.9.9.9", "--dns-search=example.test", "--dns-option=ndots:2"]
    found = docker(
        "run",
        "--rm",
        "--network=asked",
        *resolver,
        BUSYBOX,
        "sh",
        "-c",
        "ping -c1 -W2 neighbour >/dev/null && cat /etc/resolv.conf",
    )
    servers = [line for line in found.splitlines() if line.startswith("nameserver")]
    assert servers[1:] == ["nameserver 10.9.9.9"]
    assert found.splitlines()[2:] == ["search example.test", "options ndots:2"]
    alone = docker("run", "--rm", *resolver, BUSYBOX, "cat", "/etc/resolv.conf")
    assert alone.splitlines() == ["nameserver 10.9.9.9", "search example.test", "options ndots:2"]
    docker("rm", "-f", "neighbour")
    docker("network", "rm", "asked")


def test_a_running_container_joins_and_leaves_a_network(docker: Docker) -> None:
    docker("network", "create", "--subnet", "10.77.0.0/24", "joined")
    docker("run", "-d", "--name", "roams", BUSYBOX, "sleep", "1000")
    docker("network", "connect", "--ip", "10.77.0.9", "joined", "roams")
    until(lambda: "10.77.0.9" in docker("exec", "roams", "ip", "addr"))
    docker("network", "disconnect", "joined", "roams")
    until(lambda: "10.77.0.9" not in docker("exec", "roams", "ip", "addr"))
    docker("rm", "-f", "roams")
    docker("network", "rm", "joined")


def test_without_a_network_there_is_only_loopback(docker: Docker) -> None:
    found = docker("run", "--rm", "--network", "none", BUSYBOX, "ip", "-o", "link")
    assert [line.split(":")[1].strip() for line in found.splitlines()] == ["lo"]


def test_a_volume_takes_what_the_image_has_and_outlives_containers(docker: Docker) -> None:
    docker("volume", "create", "kept")
    assert docker("run", "--rm", "-v", "kept:/etc", BUSYBOX, "cat", "/etc/group").startswith("root:x:0:")
    docker("run", "--rm", "-v", "kept:/data", BUSYBOX, "sh", "-c", "echo mine > /data/own; chown www /data/own")
    script = "cat /data/own; stat -c %U /data/own; touch /data/x || echo no"
    assert docker("run", "--rm", "-v", "kept:/data:ro", BUSYBOX, "sh", "-c", script).split() == ["mine", "www", "no"]
    assert docker.inspect("kept")["Mountpoint"].endswith("/_data")
    docker("volume", "rm", "kept")
    assert "no such volume" in docker.fails("volume", "inspect", "kept")


def test_files_of_the_host_belong_inside_to_whom_they_belong_outside(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("host\n")
    os.chown(tmp_path / "theirs", 33, 33)
    assert (
        docker(
            "run",
            "--rm",
            "-v",
            f"{tmp_path}:/host",
            BUSYBOX,
            "sh",
            "-c",
            "stat -c %U /host/theirs; echo new > /host/made",
        )
        == "www"
    )
    made = (tmp_path / "made").stat()
    assert (made.st_uid, (tmp_path / "made").read_text()) == (0, "new\n")


def test_root_inside_is_nobody_outside(docker: Docker) -> None:
    docker("run", "-d", "--name", "shifted", BUSYBOX, "sleep", "1000")
    pid = docker.inspect("shifted")["State"]["Pid"]
    uids = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    assert int(uids.split()[1]) >= 1_000_000_000
    docker("rm", "-f", "shifted")


def test_the_hosts_devices_stay_the_hosts(docker: Docker) -> None:
    """A program that reads nothing has /dev/null open, and root inside may not change it: it would be changed for the whole host."""
    changes = "for one in /proc/self/fd/0 /dev/null /dev/zero; do chmod 0666 $one && echo $one is ours; done; true"
    docker("run", "--name=null", BUSYBOX, "sh", "-c", changes)
    docker("start", "-a", "null")
    assert docker("logs", "null") == ""
    docker("rm", "null")


def test_limits_and_options_reach_the_program(docker: Docker) -> None:
    words = [
        "--tmpfs",
        "/scratch:size=1m",
        "--read-only",
        "-u",
        "33:33",
        "-w",
        "/var/www",
        "--hostname",
        "box",
        "--ulimit",
        "nofile=99:99",
    ]
    script = "id -u; pwd; hostname; ulimit -n; touch /no 2>/dev/null || echo fixed; df -k /scratch | tail -1"
    found = docker("run", "--rm", *words, BUSYBOX, "sh", "-c", script).split("\n")
    assert found[:5] == ["33", "/var/www", "box", "99", "fixed"]
    assert "1024" in found[5]


def test_a_restart_policy_works_without_the_daemon(docker: Docker, cloud: Cloud) -> None:
    docker("run", "-d", "--name", "again", "--restart", "on-failure:3", BUSYBOX, "sh", "-c", "echo run; exit 9")
    until(lambda: docker.inspect("again")["RestartCount"] == 3 and docker.state("again") == "exited")
    assert docker("logs", "again").split() == ["run"] * 4
    docker("run", "-d", "--name", "always", "--restart", "always", BUSYBOX, "sleep", "86123")
    pid = docker.inspect("always")["State"]["Pid"]
    daemon = cloud.process("daemon")
    os.kill(daemon, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        until(lambda: _sleeps(pid))
    finally:
        os.kill(daemon, signal.SIGCONT)
    until(lambda: docker.inspect("always")["RestartCount"] == 1 and docker.state("always") == "running")
    docker("rm", "-f", "again", "always")


def _sleeps(but: int) -> bool:
    """No other test sleeps so long."""
    found = subprocess.run(["pgrep", "-f", "^sleep 86123$"], capture_output=True, text=True, check=False).stdout.split()
    return any(int(pid) != but for pid in found)


def test_who_stops_starts_and_pauses_at_once_waits_for_nobody_without_end(docker: Docker) -> None:
    """Whose container has ended and been started by another meanwhile, and what is paused while it ends, is told at once."""
    docker("run", "-d", "--name", "torn", BUSYBOX, "sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.02; done")
    for _ in range(12):
        with contextlib.ExitStack() as ends:
            wishes = ("restart -t1", "stop -t1", "kill", "start", "pause", "unpause", "restart -t1", "stop -t1")
            asked = [docker.start(*wish.split(), "torn") for wish in wishes]
            for one in asked:
                ends.enter_context(one)
                ends.callback(one.kill)
            for one in asked:
                said = one.communicate(timeout=45)[1]
                assert b"in time" not in said
    docker.run("unpause", "torn", check=False)

    def whole() -> bool:  # a SIGKILL of the last round may still be on its way to it
        docker("start", "torn")
        return docker.run("exec", "torn", "echo", "whole", check=False).stdout == b"whole\n"

    until(whole)
    docker("rm", "-f", "torn")


def test_a_container_that_is_being_stopped_is_not_started_over_its_head(docker: Docker) -> None:
    """Docker: ContainerStart of what runs is 304, whatever it is about to do."""
    loop = "trap '' TERM; echo ready; while true; do sleep 0.02; done"
    docker("run", "-d", "--name", "slow", BUSYBOX, "sh", "-c", loop)
    until(lambda: "ready" in docker("logs", "slow"))
    with docker.start("stop", "-t", "120", "slow") as stopping:
        until(lambda: "signal=15" in docker("events", "--since", "1h", "--until", "0s", "--filter", "container=slow"))
        docker("start", "slow")
        assert docker.state("slow") == "running"
        assert "is not running" in docker.fails("pause", "slow")
        docker("kill", "slow")
        assert stopping.wait(30) == 0
    assert docker.state("slow") == "exited"
    docker("rm", "slow")


def test_logs_have_no_gap_over_the_death_of_the_daemon(docker: Docker, cloud: Cloud) -> None:
    docker(
        "run", "-d", "--name", "counts", BUSYBOX, "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
    )
    until(lambda: docker("logs", "counts").count("\n") > 20)
    pid = docker.inspect("counts")["State"]["Pid"]
    before = cloud.process("daemon")
    os.kill(before, signal.SIGKILL)
    until(lambda: cloud.process("daemon") not in (0, before))
    seen = len(docker("logs", "counts").split())
    until(lambda: len(docker("logs", "counts").split()) > seen + 20)
    assert docker.inspect("counts")["State"]["Pid"] == pid
    numbers = docker("logs", "--since", "10m", "counts").split()
    assert numbers == [str(number) for number in range(len(numbers))]
    for _ in range(5):  # it goes on writing meanwhile
        times = [line.split()[0] for line in docker("logs", "-t", "--tail", "3", "counts").splitlines()]
        assert len(times) == 3
        assert times == sorted(times)
    docker("rm", "-f", "counts")


class Typist:
    """Somebody before a terminal in which `docker WORDS` runs."""

    def __init__(self, docker: Docker, *words: str) -> None:
        self.said = b""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.execve(docker.program, ["docker", *words], docker.environment)

    def type(self, keys: bytes, heard: bytes = b"") -> None:
        self.said = b""
        os.write(self._terminal, keys)
        self.hear(heard)

    def hear(self, text: bytes) -> None:
        while text not in self.said:
            assert select.select([self._terminal], [], [], 20)[0], self.said
            self.said += os.read(self._terminal, 4096)

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    def end(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._terminal)
        return code


def test_a_terminal_has_its_size_and_takes_keys(docker: Docker) -> None:
    person = Typist(docker, "run", "--rm", "-it", BUSYBOX, "sh")
    person.hear(b"# ")
    person.type(b"tty; echo $((6*7))\n", b"/dev/pts/0")
    person.hear(b"\n42")
    person.size(41, 93)
    until(lambda: person.type(b"stty size\n", b"# ") or b"41 93" in person.said)
    person.type(b"exit 3\n")
    assert person.end() == 3


def test_who_leaves_a_terminal_by_keys_may_come_back(docker: Docker) -> None:
    script = "while read word; do echo heard $word; [ $word = end ] && exit 5; done"
    person = Typist(docker, "run", "-it", "--name=left", BUSYBOX, "sh", "-c", script)
    person.type(b"one\n", b"heard one")
    person.type(b"\x10\x11")  # Ctrl-P Ctrl-Q
    person.end()
    person = Typist(docker, "attach", "--detach-keys=ctrl-a,x", "left")
    person.type(b"two\n", b"heard two")
    person.type(b"\x01x")
    person.end()
    assert docker.state("left") == "running"
    person = Typist(docker, "exec", "-it", "--detach-keys=ctrl-e", "left", "cat")
    person.type(b"beside\n", b"beside\r\nbeside")
    person.type(b"\x05")
    person.end()
    person = Typist(docker, "attach", "left")
    person.type(b"end\n", b"heard end")
    assert person.end() == 5
    docker("rm", "left")


def test_events_tell_the_life_of_a_container(docker: Docker) -> None:
    docker.run("run", "--name", "told", BUSYBOX, "false", check=False)
    docker("rm", "told")
    until_ = docker("run", "--rm", BUSYBOX, "date", "+%s")
    lines = docker(
        "events",
        "--since",
        "10m",
        "--until",
        str(int(until_) + 1),
        "--filter",
        "container=told",
        "--format",
        "{{json .}}",
    )
    actions = [json.loads(line)["Action"] for line in lines.splitlines()]
    assert actions == ["create", "attach", "start", "die", "destroy"]


def test_events_tell_of_signals_networks_and_volumes_in_dockers_order(docker: Docker) -> None:
    docker("run", "-d", "--name=all", "-v", "seen:/data", BUSYBOX, "sleep", "1000")
    docker("stop", "-s", "KILL", "all")
    lines = docker("events", "--since=1m", "--until=-1s", "--format", "{{json .}}").splitlines()
    told = [one for one in map(json.loads, lines) if docker.inspect("all")["Id"] in str(one)]
    life = "container create, volume mount, network connect, container start, container kill, container die, network disconnect, volume unmount"
    assert [f"{one['Type']} {one['Action']}" for one in told] == [*life.split(", "), "container stop"]
    assert told[2]["Actor"]["Attributes"].items() >= {"name": "bridge", "type": "bridge"}.items()
    assert told[4]["Actor"]["Attributes"]["signal"] == "9"
    docker("rm", "all")
    docker("volume", "rm", "seen")


def test_the_agent_may_die_and_containers_stay(docker: Docker, cloud: Cloud) -> None:
    port, echo_port = str(free_port()), free_port()
    ports = ["-p", f"{port}:80", "-p", f"{echo_port}:7/udp"]
    docker("run", "-d", "--name", "stays", *ports, BUSYBOX, "httpd", "-f", "-h", "/etc")
    pid, before = docker.inspect("stays")["State"]["Pid"], cloud.process("agent")
    # Debian's busybox has no server of UDP: one of ours stands in the container's network.
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", _ECHO]
    with subprocess.Popen(inside) as server:
        try:
            _over_the_death_of_the_agent(docker, cloud, before, int(port), echo_port)
        finally:
            server.kill()
    assert (docker.inspect("stays")["State"]["Pid"], docker.inspect("stays")["RestartCount"]) == (pid, 0)
    docker("rm", "-f", "stays")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", echo_port))


_ECHO = """
import socket
import struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 7))
while True:
    data, client = sock.recvfrom(100)
    sock.sendto(data, client)
"""


def _over_the_death_of_the_agent(docker: Docker, cloud: Cloud, before: int, port: int, echo_port: int) -> None:
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    until(lambda: echoed(echo_port))
    os.kill(before, signal.SIGSTOP)
    try:
        assert echoed(echo_port)
    finally:
        os.kill(before, signal.SIGKILL)
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    until(lambda: cloud.process("agent") not in (0, before))
    assert docker("exec", "stays", "hostname") == docker.inspect("stays")["Id"][:12]
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    assert echoed(echo_port)


def echoed(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        sock.sendto(b"hello", ("127.0.0.1", port))
        with contextlib.suppress(OSError):
            return sock.recv(100) == b"hello"
    return False


def test_down_and_up_is_a_reboot_of_the_host(docker: Docker, cloud: Cloud) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "gone",
        "--stop-timeout",
        "0",
        BUSYBOX,
        "sh",
        "-c",
        "echo said; echo kept > /file; sleep 1000",
    )
    docker("run", "-d", "--name", "back", "--restart", "always", "--stop-timeout", "0", BUSYBOX, "sleep", "1000")
    until(lambda: docker("logs", "gone") == "said")
    for name, policy in (("always", "always"), ("unless", "unless-stopped")):
        docker("run", "-d", "--name", name, "--restart", policy, BUSYBOX, "sleep", "1000")
    docker("stop", "-t", "0", "always", "unless")
    os.kill(cloud.process("daemon"), signal.SIGKILL)  # no start of the machine
    until(lambda: docker.run("ps", check=False).returncode == 0)
    assert docker.state("always") == "exited"
    cloud.command("down")
    cloud.command("up")
    docker.until_state("back", "running")
    docker.until_state("always", "running")
    assert docker.state("unless") == "exited"
    docker.until_state("gone", "exited")
    state = docker.inspect("gone")["State"]
    assert state["FinishedAt"] > state["StartedAt"]
    assert docker("logs", "gone") == "said"
    docker("start", "gone")
    assert docker("exec", "gone", "cat", "/file") == "kept"
    docker("rm", "-f", "gone", "back", "always", "unless")


def test_a_container_on_two_networks_finds_names_on_both_and_its_neighbours_do_not(docker: Docker) -> None:
    for name in ("one", "two"):
        docker("network", "create", name)
        docker("run", "-d", "--name", f"in-{name}", "--network", name, BUSYBOX, "httpd", "-f", "-h", "/etc")
    docker("create", "--name", "both", "--network", "one", BUSYBOX, "sleep", "1000")
    docker("network", "connect", "two", "both")
    docker("start", "both")
    for name in ("in-one", "in-two"):
        until(
            lambda name=name: (
                docker.run("exec", "both", "wget", "-qO-", f"http://{name}/passwd", check=False).returncode == 0
            )
        )
    assert docker.run("exec", "in-one", "wget", "-T", "2", "-qO-", "http://in-two/passwd", check=False).returncode != 0
    docker("rm", "-f", "in-one", "in-two", "both")
    docker("network", "rm", "one", "two")


def _files_of_images(cloud: Cloud) -> dict[str, set[str]]:
    """What is kept of images: as they came, half made, and unpacked."""
    folders = {
        "blobs": "docker/blobs/sha256",
        "half": "docker/tmp",
        "manifests": "images/manifests",
        "work": "images/tmp",
    }
    return {name: {one.name for one in (cloud.home / folder).iterdir()} for name, folder in folders.items()}


def test_images_that_the_daemon_died_over_leave_nothing_and_come_again(
    docker: Docker, cloud: Cloud, tmp_path: Path
) -> None:
    """One that was being loaded, one that was being pulled, and one that the agent had unpacked and the daemon did not yet know."""
    archive = saved_image(busybox_tar() + os.urandom(2 << 20), ["true"], "loaded:1")
    docker("image", "prune", "-f")
    before = _files_of_images(cloud)
    with (
        slow_registry(busybox_tar() + os.urandom(1 << 20)) as (place, stalled, go_on),
        docker.start("load") as load,
        docker.start("pull", f"{place}/slow:1") as pull,
    ):
        assert load.stdin is not None
        load.stdin.write(archive[: 2 << 20])
        load.stdin.flush()
        assert stalled.wait(30.0)
        until(lambda: len(_files_of_images(cloud)["half"]) == 2)
        unpacked = _unpack_unknown(docker, cloud, tmp_path)
        assert f"{unpacked}.json" in _files_of_images(cloud)["manifests"]
        daemon = cloud.process("daemon")
        os.kill(daemon, signal.SIGKILL)
        load.communicate(archive[2 << 20 :])
        pull.communicate()
        assert load.returncode != 0
        assert pull.returncode != 0
        until(lambda: cloud.process("daemon") != daemon)
        until(lambda: _files_of_images(cloud) == before)
        assert docker("images", "--format", "{{.Repository}}") == "busybox"
        go_on.set()
        docker("load", stdin=archive)
        docker("pull", f"{place}/slow:1")
        for image in ("loaded:1", f"{place}/slow:1", BUSYBOX):
            docker("run", "--rm", image, "true")
        docker("rmi", "loaded:1", f"{place}/slow:1")
    assert _files_of_images(cloud) == before


def _unpack_unknown(docker: Docker, cloud: Cloud, folder: Path) -> str:
    """The busybox under another manifest, of which the agent alone is asked; that one's digest."""
    with tarfile.open(fileobj=io.BytesIO(docker.run("save", BUSYBOX).stdout)) as tar:
        tar.extractall(folder)  # our own; `filter` came with Python 3.11.4
    index = json.loads((folder / "index.json").read_text())
    manifest = json.loads((folder / "blobs" / index["manifests"][0]["digest"].replace(":", "/")).read_text())
    body = json.dumps(manifest | {"annotations": {"of": "a test"}}).encode()
    digest = hashlib.sha256(body).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(body)
    listed = [{"digest": f"sha256:{digest}", "size": len(body), "mediaType": manifest["mediaType"]}]
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": listed}))
    asked = {"op": "import", "path": str(folder), "form": "oci", "held": f"sha256:{digest}"}
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(f"/run/gureum/{cloud.identity['id']}/agent.sock")
        agent.sendall(json.dumps(asked).encode() + b"\n")
        assert json.loads(agent.makefile().readline())["digest"] == f"sha256:{digest}"
    return digest


@contextlib.contextmanager
def slow_registry(layer: bytes) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """slow:1 of one layer, which stops halfway (the first event) until the second is set."""
    stalled, go_on = threading.Event(), threading.Event()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["true"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    kind = "application/vnd.oci.image"
    described = [
        {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data), "mediaType": media_type}
        for data, media_type in ((config, f"{kind}.config.v1+json"), (layer, f"{kind}.layer.v1.tar"))
    ]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": described[0],
            "layers": described[1:],
        }
    ).encode()
    blobs = {described[0]["digest"]: config, described[1]["digest"]: layer}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            last = self.path.rpartition("/")[2]
            data = blobs.get(last, manifest if "/manifests/" in self.path else b"{}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", f"{kind}.manifest.v1+json")
            self.end_headers()
            half = len(data) // 2 if data is layer and not go_on.is_set() else len(data)
            with contextlib.suppress(OSError):
                self.wfile.write(data[:half])
                if half < len(data):
                    stalled.set()
                    go_on.wait(60.0)
                    self.wfile.write(data[half:])

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}", stalled, go_on
        finally:
            go_on.set()
            server.shutdown()
