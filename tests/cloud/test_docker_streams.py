"""Streams, links and what is shown, as libraries that speak the Engine API read them: byte by byte where the command line does not care."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import socket
import struct
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker
from tests.cloud.running import until
from tests.cloud.test_docker_py import running

pytestmark = pytest.mark.machine


def test_each_line_of_a_log_is_a_frame(docker_py: Any) -> None:
    script = ["-c", "printf 'one\\ntwo\\rtwo\\nthree'"]
    made = docker_py.containers.run(BUSYBOX, script, entrypoint="/bin/sh", detach=True)
    assert made.wait()["StatusCode"] == 0
    assert list(made.logs(stream=True, follow=True)) == [b"one\n", b"two\rtwo\n", b"three"]
    made.remove()


def test_attaching_to_one_that_has_ended_tells_its_log_and_ends(docker_py: Any) -> None:
    made = docker_py.containers.run(BUSYBOX, ["sh", "-c", "echo one; echo two >&2"], detach=True)
    made.wait()
    assert sorted(made.attach(stream=False, logs=True).split()) == [b"one", b"two"]
    assert made.attach(stream=False, logs=True, stdout=False) == b"two\n"
    made.remove()


def test_how_an_exec_speaks_is_said_at_its_start(docker_py: Any) -> None:
    """Docker: what it was made with says whether there is a terminal, its start whether heads tell the streams apart."""
    api = docker_py.api
    with running(docker_py) as made:

        def said(words: list[str], **how: Any) -> Any:
            return api.exec_start(api.exec_create(made.id, words, tty=True)["Id"], **how)

        def head() -> bytes:
            stream = said(["printf", "text"], socket=True)
            with contextlib.closing(stream):
                return _exactly(stream._sock, 8)

        # Where the machine is so busy that it reads late, docker-py loses what comes with the head of the answer.
        assert until(lambda: said(["sh", "-c", "echo out; echo err >&2"])) == b"out\r\nerr\r\n"
        assert until(lambda: said(["sh", "-c", "echo out; echo err >&2"], tty=True)) == b"out\r\nerr\r\n"
        assert said(["true"]) == said(["true"], tty=True) == b""
        assert struct.unpack(">BxxxI", until(head)) == (1, 4)


def _exactly(stream: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (piece := stream.recv(count - len(found))):
        found += piece
    return found


def test_a_program_that_ends_before_its_input_does_is_no_lost_connection(docker: Docker) -> None:
    """What the client has sent and nobody will read must not end its connection before it has read what the program said."""
    name = docker("run", "-d", BUSYBOX, "sleep", "1000")
    for words in (("exec", "-i", name), ("run", "--rm", "-i", BUSYBOX)) * 5:
        done = docker.run(*words, "echo", "said", stdin=b"x" * 5_000_000, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"said\n", b"")


def test_a_web_socket_carries_both_directions(docker: Docker) -> None:
    """RFC 6455; Docker: ContainerAttachWebsocket."""
    docker("run", "-di", "--name", "socketed", BUSYBOX, "sh", "-c", "while read line; do echo got $line; done")
    path = "/v1.45/containers/socketed/attach/ws?stream=1&stdin=1&stdout=1"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10.0)
        stream.connect(docker.host.removeprefix("unix://"))
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n{key}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += stream.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # RFC 6455, 1.3
        _send(stream, 0x9, b"ping")
        assert _receive(stream) == (0xA, b"ping")
        long = b"a" * 70_000
        for line in (b"one", b"b" * 300, long):
            _send(stream, 0x2, line + b"\n")
            heard = b""
            while not heard.endswith(b"\n"):
                kind, payload = _receive(stream)
                assert kind == 0x2
                heard += payload
            assert heard == b"got " + line + b"\n"
        _send(stream, 0x8, b"")
        assert _receive(stream)[0] == 0x8
    docker("rm", "-f", "socketed")


def _send(stream: socket.socket, kind: int, payload: bytes) -> None:
    mask, size = os.urandom(4), len(payload)
    length = (
        bytes([0x80 | size])
        if size < 126
        else struct.pack(">BH" if size < 65536 else ">BQ", 254 if size < 65536 else 255, size)
    )
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    stream.sendall(bytes([0x80 | kind]) + length + mask + masked)


def _receive(stream: socket.socket) -> tuple[int, bytes]:
    first, size = _exactly(stream, 2)
    if size >= 126:
        size = int.from_bytes(_exactly(stream, 2 if size == 126 else 8))
    return first & 0x0F, _exactly(stream, size)


def test_who_is_killed_is_dead_when_that_is_answered(docker_py: Any) -> None:
    with running(docker_py) as made:
        for _ in range(3):
            made.kill()
            assert docker_py.api.inspect_container(made.id)["State"]["Running"] is False
            made.start()


def test_waiting_hears_of_an_end_after_which_it_is_started_again(docker_py: Any) -> None:
    policy = {"Name": "always"}
    with running(docker_py, "sh", "-c", "sleep 0.3; exit 3", restart_policy=policy, network_mode="none") as made:
        assert made.wait(timeout=20)["StatusCode"] in (0, 3)


def test_a_volume_is_read_as_soon_as_its_container_has_ended(docker_py: Any) -> None:
    made = docker_py.containers.run(BUSYBOX, ["sh", "-c", "echo text > /vol/file"], volumes=["/vol"], detach=True)
    made.wait()
    pieces, seen = made.get_archive("/vol/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        member = tar.extractfile("file")
        assert member is not None
        assert (member.read(), seen["size"]) == (b"text\n", 5)
    made.remove(v=True)


def test_what_was_asked_for_is_shown(docker_py: Any) -> None:
    api, net = docker_py.api, docker_py.networks.create("shown-net")
    host = api.create_host_config(volume_driver="foo")
    environment = {"NONE": None, "EMPTY": "", "FULL": "x"}
    made = api.create_container(BUSYBOX, ["env"], environment=environment, host_config=host)["Id"]
    api.connect_container_to_network(
        made, net.id, mac_address="02:42:ac:11:00:02", driver_opt={"com.example.a": "b"}, links=[("later", "soon")]
    )
    shown = api.inspect_container(made)
    assert shown["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert shown["HostConfig"]["VolumeDriver"] == "foo"
    assert {"NONE", "EMPTY=", "FULL=x"} <= set(shown["Config"]["Env"])
    end = shown["NetworkSettings"]["Networks"]["shown-net"]
    assert (end["MacAddress"], end["DriverOpts"], end["Links"]) == (
        "02:42:ac:11:00:02",
        {"com.example.a": "b"},
        ["later:soon"],
    )
    api.start(made)
    api.wait(made)
    said = api.logs(made).splitlines()
    assert {b"FULL=x", b"EMPTY="} <= set(said)
    assert not any(line.startswith(b"NONE") for line in said)
    assert api.inspect_container(made)["NetworkSettings"]["Networks"]["shown-net"]["MacAddress"] == "02:42:ac:11:00:02"
    api.remove_container(made)
    net.remove()


def test_links_on_a_users_network_wait_for_whom_they_name(docker: Docker) -> None:
    """And neighbours are found by their network's name behind their own, which is how Docker tells networks apart."""
    docker("network", "create", "late")
    docker("run", "-d", "--name", "early", "--network", "late", "--link", "latecomer:alias", BUSYBOX, "sleep", "1000")
    assert docker.run("exec", "early", "nslookup", "alias", check=False).returncode != 0
    docker(
        "run", "-d", "--name", "latecomer", "--network", "late", "--network-alias", "second", BUSYBOX, "sleep", "1000"
    )
    for name in ("alias", "latecomer.late", "second.late"):
        until(lambda name=name: docker.run("exec", "early", "ping", "-c1", "-W1", name, check=False).returncode == 0)  # type: ignore[misc]
    docker("rm", "-f", "early", "latecomer")
    docker("network", "rm", "late")


def test_a_link_is_a_name_and_can_be_removed(docker: Docker) -> None:
    docker("run", "-d", "--name", "target", BUSYBOX, "sleep", "1000")
    docker("run", "-d", "--name", "origin", "--link", "target:aim", BUSYBOX, "sleep", "1000")
    listed = docker("ps", "--no-trunc", "--filter", "name=target", "--format", "{{.Names}}")
    assert set(listed.split(",")) == {"target", "origin/aim"}
    docker("rm", "--link", "origin/aim")
    assert docker("ps", "--no-trunc", "--filter", "name=target", "--format", "{{.Names}}") == "target"
    assert docker.inspect("origin")["HostConfig"]["Links"] is None
    assert "could not get container for gone" in docker.fails("create", "--link", "gone:x", BUSYBOX)
    docker("rm", "-f", "target", "origin")


def test_rubbish_is_no_image(docker_py: Any, docker: Docker, tmp_path: Path) -> None:
    """Docker tells it in the stream of an answer that has begun well."""
    module = pytest.importorskip("docker")
    with pytest.raises(module.errors.ImageLoadError, match="invalid archive"):
        docker_py.images.load(b"rubbish")
    (tmp_path / "rubbish").write_bytes(base64.b64encode(b"rubbish" * 300))
    assert "invalid archive" in docker.fails("load", "-i", str(tmp_path / "rubbish"))
    with tarfile.open(tmp_path / "deep", "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = 100_000
        tar.addfile(entry, io.BytesIO(b"[" * entry.size))
    assert "invalid archive" in docker.fails("load", "-i", str(tmp_path / "deep"))


def test_swappiness_and_device_rules_reach_the_control_group(docker: Docker) -> None:
    words = ["--memory-swappiness", "10", "--device-cgroup-rule", "c 7:128 rwm", "--device-cgroup-rule", "b 9:* r"]
    docker("run", "-d", "--name", "ruled", *words, BUSYBOX, "sleep", "1000")
    pid = docker.inspect("ruled")["State"]["Pid"]
    groups = dict(line.split(":")[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "memory" in groups:
        group = Path("/sys/fs/cgroup/memory" + groups["memory"])
        assert (group / "memory.swappiness").read_text() == "10\n"
        rules = Path("/sys/fs/cgroup/devices" + groups["devices"], "devices.list").read_text().splitlines()
        assert {"c 7:128 rwm", "b 9:* r"} <= set(rules)
    host = docker.inspect("ruled")["HostConfig"]
    assert (host["MemorySwappiness"], host["DeviceCgroupRules"]) == (10, ["c 7:128 rwm", "b 9:* r"])
    docker("rm", "-f", "ruled")


def _events(docker: Docker, since: float, *filters: str) -> list[str]:
    words = [word for one in filters for word in ("--filter", one)]
    shown = "{{.Type}} {{.Action}} {{.Actor.Attributes.signal}}"
    found = docker("events", "--since", str(since), "--until", str(time.time() + 0.05), *words, "--format", shown)
    return [line.replace(" <no value>", "").strip() for line in found.splitlines()]


def test_what_happens_on_the_way_is_told(docker: Docker) -> None:
    """A volume that comes with its container, the kill at the end of the grace, how long it ran, and the programs that look at its health."""
    begun = time.time()
    check = ["--health-cmd", "true", "--health-interval", "100ms"]
    script = "trap '' TERM; while :; do sleep 0.1; done"
    docker("run", "-d", "--name", "told", "-v", "told-vol:/x", *check, BUSYBOX, "sh", "-c", script)
    until(lambda: docker.inspect("told")["State"]["Health"]["Status"] == "healthy")
    docker("stop", "-t", "1", "told")
    assert _events(docker, begun, "volume=told-vol") == ["volume create", "volume mount", "volume unmount"]
    told = _events(docker, begun, "container=told")
    looks = [one for one in told if "exec" in one]
    assert looks[:3] == [
        "container exec_create: /bin/sh -c true",
        "container exec_start: /bin/sh -c true",
        "container exec_die",
    ]
    ends = [one for one in told if one.split()[1] in ("kill", "die", "stop")]
    assert ends == ["container kill 15", "container kill 9", "container die", "container stop"]
    shown = "{{.Actor.Attributes.execDuration}}"
    over = ["--filter", "event=die", "--filter", "container=told", "--format", shown]
    lasted = docker("events", "--since", str(begun), "--until", str(time.time()), *over)
    assert int(lasted) >= 1
    docker("rm", "told")
    docker("volume", "rm", "told-vol")
    docker("run", "-d", "--name", "forced", BUSYBOX, "sleep", "1000")
    docker("rm", "-f", "forced")
    ends = [one.split()[1] for one in _events(docker, begun, "container=forced")]
    assert ends == ["create", "start", "kill", "die", "destroy"]


def test_a_logs_options_are_told_as_details(docker: Docker) -> None:
    options = ("labels=shop", "env=KIND", "env-regex=^Z", "tag={{.Name}}/{{.ID}}")
    words = [word for one in options for word in ("--log-opt", one)]
    labels = ["--label", "shop=north south", "--label", "other=x", "-e", "KIND=small", "-e", "ZED=1"]
    made = docker("run", "-d", "--name", "detailed", *words, *labels, BUSYBOX, "echo", "line")
    docker("wait", "detailed")
    assert (
        docker("logs", "--details", "detailed") == f"KIND=small,ZED=1,shop=north+south,tag=detailed%2F{made[:12]} line"
    )
    assert docker("logs", "detailed") == "line"
    docker("rm", "detailed")
    assert "can't evaluate field Nothing" in docker.fails("create", "--log-opt", "tag={{.Nothing}}", BUSYBOX)


def test_what_is_refused_names_what_the_user_named(docker: Docker) -> None:
    docker("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=banana", "badmem")
    said = docker.fails("run", "--rm", "-v", "badmem:/x", BUSYBOX, "true")
    assert (
        "error while mounting volume 'badmem': failed to mount local volume: mount tmpfs:badmem, data: size=banana: invalid argument"
        in said
    )
    docker("volume", "rm", "badmem")
    said = docker.fails("run", "--rm", "--tmpfs", "/x:size=banana", BUSYBOX, "true")
    assert (
        'error mounting "tmpfs" to rootfs at "/x": mount src=tmpfs, dst=/x, data=size=banana: invalid argument' in said
    )
    assert "invalid name: name is empty" in docker.fails("network", "create", " ")


@pytest.mark.parametrize(("kind", "status"), [("text/plain", 400), ("", 400), ("application/json; charset=utf-8", 404)])
def test_a_body_that_is_not_said_to_be_json_is_refused(docker: Docker, kind: str, status: int) -> None:
    said, body = f"Content-Type: {kind}\r\n" if kind else "", b'{"Image": "none"}'
    head = f"POST /containers/create HTTP/1.1\r\nHost: x\r\n{said}Content-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10.0)
        stream.connect(docker.host.removeprefix("unix://"))
        stream.sendall(head.encode() + body)
        assert int(stream.recv(4096).split()[1]) == status


@pytest.mark.skipif(Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="control groups of version 1 alone")
@pytest.mark.parametrize(
    "words", [(), ("--userns", "host"), ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined")]
)
def test_a_program_reads_its_own_limits_and_changes_none(docker: Docker, words: tuple[str, ...]) -> None:
    script = (
        "cd /sys/fs/cgroup/memory; cat memory.limit_in_bytes; mkdir x && echo made; echo $$ > cgroup.procs && echo moved; "
        "echo -1 > memory.limit_in_bytes && echo unlimited; mount -o remount,rw . && echo remounted; "
        "test -e release_agent && echo outside; grep ' - cgroup ' /proc/self/mountinfo | grep -v ' ro,' || true"
    )
    done = docker.run("run", "--rm", "-m", "64m", *words, BUSYBOX, "sh", "-c", script)
    assert done.stdout.decode().split() == [str(64 << 20)]


# Docker: Engine API 1.47, ContainerInspectResponse with its parts. `Health` and `Healthcheck` come with a health check, `ImageManifestDescriptor`
# with the containerd image store, `SizeRw` and `SizeRootFs` with `size`.
_SCHEMA = {
    "": "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver Platform MountLabel ProcessLabel "
    "AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings SizeRw SizeRootFs",
    "State": "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt Health",
    "HostConfig": "CpuShares Memory CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps "
    "BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules DeviceRequests "
    "MemoryReservation MemorySwap MemorySwappiness NanoCpus OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps "
    "IOMaximumBandwidth Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom ConsoleSize "
    "CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode Privileged "
    "PublishAllPorts ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize Runtime Isolation MaskedPaths ReadonlyPaths",
    "GraphDriver": "Name Data",
    "Config": "Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Env Cmd Healthcheck Image Volumes "
    "WorkingDir Entrypoint OnBuild Labels",
    "NetworkSettings": "Bridge SandboxID HairpinMode LinkLocalIPv6Address LinkLocalIPv6PrefixLen Ports SandboxKey SecondaryIPAddresses "
    "SecondaryIPv6Addresses EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen IPv6Gateway MacAddress Networks",
}
_ENDPOINT = (
    "IPAMConfig Links MacAddress Aliases DriverOpts NetworkID EndpointID Gateway IPAddress IPPrefixLen IPv6Gateway GlobalIPv6Address "
    "GlobalIPv6PrefixLen DNSNames"
)
_MOUNT = "Type Name Source Destination Driver Mode RW Propagation"


def test_every_field_of_an_inspected_container_is_there(docker: Docker) -> None:
    docker("run", "-d", "--name", "whole", "-v", "whole-vol:/x", "--health-cmd", "true", BUSYBOX, "sleep", "1000")
    shown = json.loads(docker("inspect", "--size", "whole"))[0]
    for part, names in _SCHEMA.items():
        assert set(names.split()) - set(shown[part] if part else shown) == set(), part
    assert set(_ENDPOINT.split()) <= set(shown["NetworkSettings"]["Networks"]["bridge"])
    assert set(_MOUNT.split()) <= set(shown["Mounts"][0])
    assert {"Status", "FailingStreak", "Log"} <= set(shown["State"]["Health"])
    docker("rm", "-f", "whole")
    docker("volume", "rm", "whole-vol")


def test_options_of_the_command_line_do_what_they_say(docker: Docker, tmp_path: Path) -> None:
    """--dns, --pids-limit, words of --tmpfs, tmpfs-size, logs -n and --until, stats -a, cp -a and -L."""
    words = ["--dns", "9.9.9.9", "--dns-search", "here.test", "--dns-option", "ndots:3", "--pids-limit", "20"]
    memory = ["--tmpfs", "/t:size=1m,mode=1750,exec", "--mount", "type=tmpfs,target=/m,tmpfs-size=2m,tmpfs-mode=0700"]
    script = "cat /etc/resolv.conf; df -k /t /m | awk 'NR>1 {print $2}'; stat -c %a /t /m; grep -c ' /t .*noexec' /proc/mounts; echo end; sleep 1000"
    docker("run", "-d", "--name", "optioned", *words, *memory, BUSYBOX, "sh", "-c", script)
    until(lambda: docker("logs", "-n", "1", "optioned") == "end")
    assert docker("logs", "optioned").split("\n") == [
        "nameserver 9.9.9.9", "search here.test", "options ndots:3", "1024", "2048", "1750", "700", "0", "end",
    ]  # fmt: skip
    assert docker.inspect("optioned")["HostConfig"]["PidsLimit"] == 20
    many = docker.run("exec", "optioned", "sh", "-c", "for i in $(seq 40); do sleep 1 & done", check=False)
    assert many.returncode != 0
    assert docker("logs", "--until", "2020-01-01T00:00:00Z", "optioned") == ""
    docker("create", "--name", "idle", BUSYBOX, "true")
    told = docker("stats", "--no-stream", "-a", "--format", "{{.Name}}").split()
    assert {"optioned", "idle"} <= set(told)
    (tmp_path / "target").write_text("text")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "target").chmod(0o640)
    os.chown(tmp_path / "target", 33, 33)
    docker("cp", "-L", str(tmp_path / "link"), "optioned:/tmp/followed")
    docker("cp", str(tmp_path / "link"), "optioned:/tmp/kept")
    docker("cp", "-a", str(tmp_path / "target"), "optioned:/tmp/owned")
    look = docker("exec", "optioned", "stat", "-c", "%F %a %u", "/tmp/followed", "/tmp/kept", "/tmp/owned")
    assert look.split("\n") == ["regular file 640 33", "symbolic link 777 0", "regular file 640 33"]
    docker("rm", "-f", "optioned", "idle")
