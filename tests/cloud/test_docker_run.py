"""Containers by the stock docker command line: what people run, and what they see."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cloud.docker_clients import (
    BUSYBOX,
    Docker,
    debian_packages,
    fetch,
    free_port,
    nginx_archive,
    registry,
)

pytestmark = pytest.mark.machine


def test_the_seed_commands(docker: Docker, tmp_path: Path) -> None:
    """An image of Debian's nginx, pushed to and pulled from a registry, and three commands of every tutorial."""
    packages = debian_packages(tmp_path / "packages", "docker-registry", "nginx")
    port = free_port()
    with registry(tmp_path, packages) as place:
        loaded = docker("load", stdin=nginx_archive(packages))
        assert loaded == "Loaded image: nginx:source"
        docker("tag", "nginx:source", f"{place}/nginx:1.27.3-alpine")
        docker("push", f"{place}/nginx:1.27.3-alpine")
        docker("rmi", "nginx:source", f"{place}/nginx:1.27.3-alpine")
        assert docker("images", "-q", f"{place}/nginx") == ""
        pulled = docker("pull", f"{place}/nginx:1.27.3-alpine")
        assert f"Status: Downloaded newer image for {place}/nginx:1.27.3-alpine" in pulled
        docker("tag", f"{place}/nginx:1.27.3-alpine", "nginx:1.27.3-alpine")

    ran = docker("run", "-d", "--name=myweb", "-p", f"{port}:80", "-m=1G", "--cpu-shares=1024", "nginx:1.27.3-alpine")
    assert re.fullmatch(r"[0-9a-f]{64}", ran)
    assert "Welcome to nginx!" in fetch(f"http://127.0.0.1:{port}/")

    head, row = docker("ps", "-a", "--filter", "name=myweb").splitlines()
    assert re.split(r"\s{2,}", head.strip()) == [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "PORTS",
        "NAMES",
    ]
    columns = re.split(r"\s{2,}", row.strip())
    assert columns[:3] == [ran[:12], "nginx:1.27.3-alpine", '"nginx -g \'daemon of…"']
    assert columns[4].startswith("Up ")
    assert columns[5:] == [f"127.0.0.1:{port}->80/tcp", "myweb"]

    found = subprocess.run(
        ["grep", "-i", "ipaddress"], input=docker("inspect", "myweb"), capture_output=True, text=True, check=True
    ).stdout
    assert [line.strip() for line in found.splitlines()] == [
        '"SecondaryIPAddresses": null,',
        '"IPAddress": "172.17.0.2",',
        '"IPAddress": "172.17.0.2",',
    ]
    host = docker.inspect("myweb")["HostConfig"]
    assert (host["Memory"], host["CpuShares"]) == (1 << 30, 1024)
    docker("rm", "-f", "myweb")


def test_run_prints_output_and_errors_and_ends_with_the_programs_code(docker: Docker) -> None:
    done = docker.run("run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_run_reads_standard_input_to_its_end(docker: Docker) -> None:
    text = b"".join(b"%d\n" % number for number in range(50_000))
    assert docker.run("run", "--rm", "-i", BUSYBOX, "cat", stdin=text).stdout == text


def test_a_program_that_is_not_there_is_told_with_127(docker: Docker) -> None:
    done = docker.run("run", "--rm", BUSYBOX, "nothing-of-that-name", check=False)
    assert done.returncode == 127
    assert b'exec: "nothing-of-that-name": executable file not found in $PATH' in done.stderr


def test_exec_runs_beside_the_program_with_its_own_code(docker: Docker) -> None:
    docker("run", "-d", "--name", "beside", BUSYBOX, "sleep", "1000")
    assert docker("exec", "beside", "hostname") == docker.inspect("beside")["Id"][:12]
    assert docker.run("exec", "-i", "beside", "cat", stdin=b"to and fro").stdout == b"to and fro"
    assert docker.run("exec", "beside", "sh", "-c", "exit 5", check=False).returncode == 5
    assert docker(
        "exec", "-u", "www", "-w", "/var/www", "-e", "A=b", "beside", "sh", "-c", "id -un; pwd; echo $A $HOME"
    ) == ("www\n/var/www\nb /var/www")
    docker("rm", "-f", "beside")


def test_programs_that_cannot_be_run_are_told_in_dockers_words(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "told",
        "--tmpfs",
        "/quick",
        "--mount",
        "type=tmpfs,target=/slow",
        BUSYBOX,
        "sleep",
        "1000",
    )
    assert [one["Destination"] for one in docker.inspect("told")["Mounts"]] == ["/slow"]
    begin = "OCI runtime exec failed: exec failed: unable to start container process: "
    nowhere = 'chdir to cwd ("/no") set in config.json failed: no such file or directory: unknown'
    for words, code, said in (
        (("told", "nothing"), 127, f'{begin}exec: "nothing": executable file not found in $PATH: unknown'),
        (("told", "/etc/passwd"), 126, f'{begin}exec: "/etc/passwd": permission denied: unknown'),
        (("-w", "/no", "told", "true"), 127, f"{begin}{nowhere}"),
        (("-w", "no", "told", "true"), 126, f"{begin}Cwd must be an absolute path: unknown"),
        (("-u", "who", "told", "true"), 126, "unable to find user who: no matching entries in passwd file"),
    ):
        done = docker.run("exec", *words, check=False)
        assert (done.returncode, (done.stdout + done.stderr).decode().strip()) == (code, said)
    docker("pause", "told")
    assert "container told is paused, unpause the container before exec" in docker.fails("exec", "told", "true")
    docker("rm", "-f", "told")
    said = docker.fails("run", "--rm", "--name", "in-vain", "--tmpfs", "/x:speed=9", BUSYBOX, "true")
    assert 'Error response from daemon: invalid tmpfs option ["speed" "9"]' in said
    assert docker("ps", "-aqf", "name=in-vain") == ""


def test_a_container_is_stopped_started_and_removed(docker: Docker) -> None:
    script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    docker("run", "-d", "--name", "cycle", BUSYBOX, "sh", "-c", script)
    docker("stop", "cycle")
    found = docker.inspect("cycle")["State"]
    assert (found["Status"], found["ExitCode"], found["Running"]) == ("exited", 3, False)
    assert docker("logs", "cycle") == "up\nbye"
    docker("start", "cycle")
    assert "container is running" in docker.fails("rm", "cycle")
    docker("kill", "cycle")
    docker.until_state("cycle", "exited")
    assert docker.inspect("cycle")["State"]["ExitCode"] == 137
    assert docker("wait", "cycle") == "137"
    docker("rm", "cycle")
    assert "No such object: cycle" in docker.fails("inspect", "cycle")


def test_a_name_is_taken_once(docker: Docker) -> None:
    first = docker("create", "--name", "only", BUSYBOX)
    said = docker.fails("create", "--name", "only", BUSYBOX)
    assert f'Conflict. The container name "/only" is already in use by container "{first}"' in said
    docker("rm", "only")


def test_a_port_that_is_taken_refuses_the_start_and_nothing_else(docker: Docker) -> None:
    port = str(free_port())
    docker("run", "-d", "--name", "first", "-p", f"{port}:80", BUSYBOX, "httpd", "-f", "-h", "/etc")
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    said = docker.fails("run", "-d", "--name", "second", "-p", f"{port}:80", BUSYBOX, "sleep", "9")
    assert "address already in use" in said
    assert docker.state("second") == "created"
    docker("rm", "-f", "first", "second")


def test_published_ports_outlive_the_process_that_serves_them(docker: Docker) -> None:
    port = free_port()
    docker("run", "-d", "--name=served", "-p", f"{port}:80", BUSYBOX, "httpd", "-f", "-h", "/etc")
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    name = f"c-{docker.inspect('served')['Id'][:12]}"
    found = subprocess.run(
        ["pgrep", "-f", f"/published/{name}/haproxy.cfg"], capture_output=True, text=True, check=True
    )
    os.kill(int(found.stdout), signal.SIGKILL)
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    docker("rm", "-f", "served")


def test_ports_are_published_on_the_addresses_that_are_named(docker: Docker) -> None:
    """One address, all of them, several ports at once; the same port of another address is another's."""
    named, everywhere, udp = (str(free_port()) for _ in range(3))
    first = free_port()
    ports = ["-p", f"127.0.0.3:{named}:80", "-p", f"0.0.0.0:{everywhere}:80", "-p", f"127.0.0.1:{udp}:53/udp"]
    docker(
        "run",
        "-d",
        "--name=placed",
        *ports,
        "-p",
        f"127.0.0.3:{first}:80",
        "--expose=90-91",
        BUSYBOX,
        "httpd",
        "-f",
        "-h",
        "/etc",
    )
    docker("run", "-d", "--name=beside", "-p", f"127.0.0.1:{named}:80", BUSYBOX, "httpd", "-f", "-h", "/bin")
    for place in (f"127.0.0.3:{named}", f"127.0.0.4:{everywhere}", f"127.0.0.1:{everywhere}", f"127.0.0.3:{first}"):
        assert "root:x:0:0" in fetch(f"http://{place}/passwd")
    with pytest.raises(OSError, match="404"):
        fetch(f"http://127.0.0.1:{named}/passwd", timeout_s=1.0)
    told = docker("port", "placed").splitlines()
    assert sorted(told) == sorted(
        [
            f"53/udp -> 127.0.0.1:{udp}",
            f"80/tcp -> 127.0.0.3:{named}",
            f"80/tcp -> 0.0.0.0:{everywhere}",
            f"80/tcp -> 127.0.0.3:{first}",
        ]
    )
    assert docker("ps", "--filter", f"publish={udp}/udp", "--format", "{{.Names}}") == "placed"
    docker("rm", "-f", "placed", "beside")


def test_a_range_of_ports_is_published_one_by_one_and_all_that_are_exposed(docker: Docker) -> None:
    docker("create", "--name=ranged", "-p", "127.0.0.1:41000-41002:80-82", BUSYBOX)
    bound = docker.inspect("ranged")["HostConfig"]["PortBindings"]
    assert {key: found[0]["HostPort"] for key, found in bound.items()} == {
        "80/tcp": "41000",
        "81/tcp": "41001",
        "82/tcp": "41002",
    }
    docker("run", "-d", "--name=all", "-P", "--expose=80", "--expose=53/udp", BUSYBOX, "httpd", "-f", "-h", "/etc")
    port = docker("port", "all", "80").rpartition(":")[2]
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    assert docker("port", "all", "53/udp")
    docker("rm", "-f", "ranged", "all")


def test_what_images_say_is_obeyed(docker: Docker) -> None:
    found = json.loads(docker("image", "inspect", BUSYBOX))[0]
    assert found["RepoTags"] == [BUSYBOX]
    assert found["Config"]["Cmd"] == ["/bin/sh"]
    assert docker.run("run", "--rm", "-i", BUSYBOX, stdin=b"echo $PATH\n").stdout == b"/bin\n"


def test_many_that_start_at_once_get_ports_of_their_own(docker: Docker) -> None:
    names = [f"many{number}" for number in range(8)]
    for name in names:
        docker("create", "--name", name, "-p", "80", BUSYBOX, "sleep", "1000")
    starting = [docker.start("start", name) for name in names]
    assert [one.wait(60) for one in starting] == [0] * len(names)
    assert len({docker("port", name) for name in names}) == len(names)
    for one in starting:
        one.communicate()
    docker("rm", "-f", *names)
