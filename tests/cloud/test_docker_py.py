"""docker-py against one cloud: every part of the Engine API once, as its users call it."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker, busybox_tar, fetch, free_port
from tests.cloud.running import until

pytestmark = pytest.mark.machine


@contextlib.contextmanager
def running(client: Any, *words: str, **options: Any) -> Iterator[Any]:
    made = client.containers.run(BUSYBOX, list(words) or ["sleep", "1000"], detach=True, **options)
    try:
        yield made
    finally:
        made.remove(force=True, v=True)


def test_a_container_has_what_it_was_made_with(docker_py: Any, tmp_path: Path) -> None:
    import docker.types as types

    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("of the host\n")
    script = (
        "echo $A; cat /bound/file; id -un; pwd; hostname; df -k /t | awk 'NR>1 {print $2}'; grep -c far /etc/hosts; ulimit -n;"
        "touch /x 2>/dev/null || echo fixed; grep nameserver /etc/resolv.conf; ls -d /named; ip link set lo down 2>/dev/null || echo weak;"
        "ls /dev/fuse; tr '\\0' ' ' </proc/1/cmdline | cut -d' ' -f1"
    )
    with running(
        docker_py,
        "-c",
        script,
        entrypoint="/bin/sh",
        environment={"A": "b"},
        volumes={str(tmp_path): {"bind": "/bound", "mode": "ro"}, "py-named": {"bind": "/named", "mode": "rw"}},
        tmpfs={"/t": "size=1m"},
        user="www",
        working_dir="/var/www",
        hostname="hosty",
        extra_hosts={"far": "1.2.3.4"},
        dns=["9.9.9.9"],
        labels={"py": "made"},
        mem_limit="64m",
        nano_cpus=500_000_000,
        pids_limit=50,
        ulimits=[types.Ulimit(name="nofile", soft=99, hard=99)],
        cap_drop=["NET_ADMIN"],
        read_only=True,
        devices=["/dev/fuse:/dev/fuse:r"],
        init=True,
        stop_signal="SIGINT",
        log_config=types.LogConfig(type="json-file", config={"max-size": "1m"}),
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        healthcheck={"test": ["CMD", "true"], "interval": 10**9},
        name="full",
    ) as made:
        assert made.wait() == {"StatusCode": 0}
        assert made.logs().decode().split("\n")[:-1] == [
            "b", "of the host", "www", "/var/www", "hosty", "1024", "1", "99", "fixed", "nameserver 9.9.9.9", "/named", "weak",
            "/dev/fuse", "/sbin/docker-init",
        ]  # fmt: skip
        host, config = made.attrs["HostConfig"], made.attrs["Config"]
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 << 20, 500_000_000, 50)
        assert (config["Labels"], config["StopSignal"], config["User"]) == ({"py": "made"}, "SIGINT", "www")
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    docker_py.volumes.get("py-named").remove()


def test_a_published_port_and_a_health_check(docker_py: Any) -> None:
    port = free_port()
    check = {"test": ["CMD", "true"], "interval": 10**8}
    with running(
        docker_py, "httpd", "-f", "-h", "/etc", ports={"80/tcp": ("127.0.0.1", port)}, healthcheck=check
    ) as web:
        assert "root" in fetch(f"http://127.0.0.1:{port}/passwd")
        until(lambda: docker_py.containers.list(filters={"health": "healthy"}) == [web])
        web.reload()
        assert web.ports == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
        assert docker_py.containers.list(filters={"publish": "80"}) == [web]


def test_a_container_is_led_through_its_life(docker_py: Any) -> None:
    import docker

    begun, seen = time.time(), []
    script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
    made = docker_py.containers.create(BUSYBOX, ["sh", "-c", script], name="led")
    made.start()
    until(lambda: made.logs() == b"up\n")
    made.pause()
    made.reload()
    assert made.status == "paused"
    made.unpause()
    made.rename("renamed")
    made.update(mem_limit="32m", memswap_limit="32m")
    made.reload()
    assert (made.name, made.attrs["HostConfig"]["Memory"]) == ("renamed", 32 << 20)
    assert any("sh -c" in line[-1] for line in made.top()["Processes"])
    assert made.stats(stream=False)["memory_stats"]["limit"] == 32 << 20
    made.restart(timeout=5)
    made.stop(timeout=5)
    assert made.wait()["StatusCode"] == 7
    made.start()
    made.kill()
    assert made.wait()["StatusCode"] == 137
    with pytest.raises(docker.errors.APIError, match="is not running"):
        made.kill()
    made.remove()
    with pytest.raises(docker.errors.NotFound, match="No such container"):
        docker_py.containers.get("renamed")
    ran = docker_py.containers.run(BUSYBOX, ["sleep", "0.3"], detach=True, auto_remove=True)
    until(lambda: ran.id not in [one["Id"] for one in docker_py.api.containers(all=True)])
    for event in docker_py.events(
        since=begun - 1, until=time.time() + 0.05, decode=True, filters={"type": "container"}
    ):
        seen += [event["Action"]] if event["Actor"]["ID"] == made.id else []
    wanted = ["create", "start", "pause", "unpause", "rename", "update", "restart", "stop", "kill", "die", "destroy"]
    assert [one for one in dict.fromkeys(wanted) if one not in seen] == []
    with pytest.raises(docker.errors.ContainerError) as failed:
        docker_py.containers.run(BUSYBOX, ["sh", "-c", "echo wrong >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"wrong\n")


def test_output_is_read_followed_and_attached_to(docker_py: Any) -> None:
    with running(docker_py, "sh", "-c", "echo one; echo two >&2; read line; echo $line", stdin_open=True) as made:
        until(lambda: made.logs().count(b"\n") == 2)
        assert made.logs(stdout=True, stderr=False) == b"one\n"
        assert made.logs(tail=1) in (b"one\n", b"two\n")
        assert made.logs(since=int(time.time()) + 60) == b""
        assert made.logs(timestamps=True, stderr=False).split()[1] == b"one"
        heard: list[bytes] = []
        following = threading.Thread(target=lambda: heard.extend(made.logs(stream=True, follow=True)))
        following.start()
        attached = made.attach_socket(params={"stdin": 1, "stream": 1})
        attached._sock.sendall(b"three\n")
        assert made.wait()["StatusCode"] == 0
        following.join(10.0)
        attached.close()
        assert sorted(b"".join(heard).split()) == [b"one", b"three", b"two"]


def test_programs_run_beside_it(docker_py: Any) -> None:
    with running(docker_py) as made:
        code, (out, err) = made.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
        assert (code, out, err) == (4, b"out\n", b"err\n")
        words = ["sh", "-c", "id -un; pwd; echo $A"]
        assert made.exec_run(words, user="www", workdir="/tmp", environment={"A": "b"}).output == b"www\n/tmp\nb\n"
        api = docker_py.api
        ran = api.exec_create(made.id, ["sh", "-c", "read go; stty size; exit 6"], tty=True, stdin=True)["Id"]
        terminal = api.exec_start(ran, tty=True, socket=True)
        api.exec_resize(ran, height=33, width=99)
        terminal._sock.sendall(b"go\n")
        heard = b""
        while data := terminal.read(1024):
            heard += data
        terminal.close()
        assert heard.split() == [b"go", b"33", b"99"]
        until(lambda: api.exec_inspect(ran)["ExitCode"] == 6)


def test_a_program_inside_is_left_by_keys_of_ones_own(docker_py: Any) -> None:
    docker = pytest.importorskip("docker")
    with running(docker_py) as made:
        api = docker_py.api
        ran = api.exec_create(made.id, ["cat"], tty=True, stdin=True, detach_keys="ctrl-x,y")["Id"]
        terminal = api.exec_start(ran, tty=True, socket=True)
        terminal._sock.settimeout(20)
        terminal._sock.sendall(b"word\n\x10\x11")
        heard = b""
        while heard.count(b"word") < 2:  # as it was typed, and from cat
            data = terminal.read(1024)
            assert data
            heard += data
        terminal._sock.sendall(b"\x18y")
        while terminal.read(1024):
            pass
        terminal.close()
        shown = api.exec_inspect(ran)
        assert (shown["Running"], base64.b64decode(shown["DetachKeys"])) == (True, b"\x18y")
        with pytest.raises(docker.errors.APIError, match=r"Invalid detach keys \(ctrl-pp\) provided"):
            api.attach_socket(made.id, params={"stdin": 1, "stream": 1, "detachKeys": "ctrl-pp"})


def test_its_files_are_copied_told_committed_and_exported(docker_py: Any) -> None:
    with running(docker_py) as made:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo("sent")
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
        assert made.put_archive("/tmp", packed.getvalue())
        pieces, facts = made.get_archive("/tmp/sent")
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            read = tar.extractfile("sent")
            assert read is not None
            assert (read.read(), facts["size"]) == (b"abc", 3)
        assert {"Path": "/tmp/sent", "Kind": 1} in made.diff()
        image = made.commit("committed", "1", message="why", changes="ENV B=c")
        assert image.tags == ["committed:1"]
        assert docker_py.containers.run("committed:1", "cat /tmp/sent", remove=True) == b"abc"
        with tarfile.open(fileobj=io.BytesIO(b"".join(made.export()))) as tar:
            assert "tmp/sent" in tar.getnames()
        docker_py.images.remove("committed:1")
    made = docker_py.containers.create(BUSYBOX, name="unused")
    pruned = docker_py.containers.prune(filters={"until": "0s"})
    assert made.id in pruned["ContainersDeleted"]


def test_images_are_saved_loaded_imported_and_pruned(docker_py: Any, tmp_path: Path) -> None:
    import docker

    image = docker_py.images.get(BUSYBOX)
    assert image.tag("py/tagged", "2")
    saved = b"".join(docker_py.images.get("py/tagged:2").save(named="py/tagged:2"))
    docker_py.images.remove("py/tagged:2")
    (loaded,) = docker_py.images.load(saved)
    assert (loaded.id, "py/tagged:2" in loaded.tags) == (image.id, True)
    assert [one.id for one in docker_py.images.list("py/tagged")] == [image.id]
    docker_py.images.remove("py/tagged:2")
    assert image.history()[0]["Id"] == image.id
    (tmp_path / "root.tar").write_bytes(busybox_tar() + os.urandom(512))
    docker_py.api.import_image_from_file(str(tmp_path / "root.tar"), repository="imported", tag="1")
    imported = docker_py.images.get("imported:1")
    assert imported.attrs["RootFS"]["Type"] == "layers"
    docker_py.images.remove("imported:1", force=True)
    with pytest.raises(docker.errors.ImageNotFound, match="No such image: imported:1"):
        docker_py.images.get("imported:1")
    assert docker_py.images.prune(filters={"dangling": True})["SpaceReclaimed"] >= 0
    for refused in (lambda: docker_py.images.build(path=str(tmp_path)), lambda: docker_py.images.search("x")):
        (tmp_path / "Dockerfile").write_text("FROM busybox\n")
        with pytest.raises(docker.errors.APIError, match="NotImplemented"):
            refused()


def test_networks_and_volumes(docker_py: Any) -> None:
    import docker.types as types

    pool = types.IPAMPool(subnet="10.213.11.0/24", gateway="10.213.11.1")
    net = docker_py.networks.create(
        "py-net", driver="bridge", ipam=types.IPAMConfig(pool_configs=[pool]), labels={"a": "b"}
    )
    inner = docker_py.networks.create("py-inner", internal=True)
    with running(docker_py, "httpd", "-f", "-h", "/etc", network="py-net", name="server") as server:
        with running(docker_py) as client:
            net.connect(client, aliases=["caller"], ipv4_address="10.213.11.77")
            client.reload()
            assert client.attrs["NetworkSettings"]["Networks"]["py-net"]["IPAddress"] == "10.213.11.77"
            look = ["wget", "-qO-", "http://server/passwd"]
            until(lambda: client.exec_run(look).exit_code == 0)
            assert server.exec_run("ping -c 1 caller").exit_code == 0
            net.reload()
            assert {one.name for one in net.containers} == {"server", client.name}
            net.disconnect(client)
            assert client.exec_run(look).exit_code != 0
        assert (
            docker_py.containers.run(BUSYBOX, "cat /proc/net/route", network_mode="none", remove=True).count(b"\n") == 1
        )
        assert b"hosted" in docker_py.containers.run(
            BUSYBOX, ["sh", "-c", "ls /sys/class/net >/dev/null && echo hosted"], network_mode="host", remove=True
        )
        server.reload()
        address = server.attrs["NetworkSettings"]["Networks"]["py-net"]["IPAddress"]
        reach = ["sh", "-c", f"ping -c 1 -W 1 {address} >/dev/null 2>&1 || echo alone"]
        assert docker_py.containers.run(BUSYBOX, reach, network="py-inner", remove=True) == b"alone\n"
    assert [one.name for one in docker_py.networks.list(filters={"label": "a=b"})] == ["py-net"]
    assert set(docker_py.networks.prune()["NetworksDeleted"]) == {"py-net", "py-inner"}
    assert inner.name not in [one.name for one in docker_py.networks.list()]
    volume = docker_py.volumes.create("py-volume", labels={"a": "b"})
    assert b"root" in docker_py.containers.run(BUSYBOX, "cat /etc/passwd", volumes=["py-volume:/etc"], remove=True)
    kept = docker_py.containers.run(BUSYBOX, "ls /kept", volumes=["py-volume:/kept"], remove=True)
    assert b"passwd" in kept
    assert docker_py.volumes.list(filters={"label": "a=b"}) == [volume]
    assert docker_py.volumes.prune(filters={"all": True})["VolumesDeleted"] == ["py-volume"]


@pytest.mark.parametrize("version", ["1.24", "1.30", "1.41", "auto"])
def test_versions_of_the_api_are_spoken(docker: Docker, version: str) -> None:
    module = pytest.importorskip("docker", reason="docker-py is not installed")
    client = module.DockerClient(base_url=docker.host, version=version)
    assert client.ping()
    assert (client.version()["ApiVersion"], client.info()["Driver"]) == ("1.51", "overlay2")
    assert client.containers.run(BUSYBOX, "echo spoken", remove=True) == b"spoken\n"
    assert BUSYBOX in [tag for one in client.images.list() for tag in one.tags]
    client.close()
