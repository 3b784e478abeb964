"""Files of several services, brought up by Debian's docker-compose (1.29) and by Docker's own Compose 2: dependencies that wait for health, networks,
volumes, published ports, profiles, scale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.docker_clients import Docker, debian_packages, fetch, free_port, import_busybox, package_of_release
from tests.cloud.running import Cloud

pytestmark = pytest.mark.machine

_PACKAGES = (
    "docker-compose python3-docker python3-dockerpty python3-docopt python3-dotenv python3-jsonschema python3-requests python3-texttable "
    "python3-websocket python3-yaml python3-distro python3-attr python3-pyrsistent python3-urllib3 python3-certifi python3-chardet "
    "python3-charset-normalizer python3-idna python3-six python3-distutils python3-lib2to3"
)
_PYTHON = "/usr/bin/python3"
_FILE = """\
services:
  db:
    image: busybox:test
    command: ["sh", "-c", "sleep 0.5; touch /ready; exec httpd -f -h /etc"]
    healthcheck: {{test: ["CMD", "test", "-e", "/ready"], interval: 100ms, retries: 100}}
    volumes: ["data:/var/www"]
    networks: [back]
    stop_signal: SIGKILL
  fill:
    image: busybox:test
    command: ["sh", "-c", "wget -qO /var/www/users http://db/passwd"]
    depends_on: {{db: {{condition: service_healthy}}}}
    volumes: ["data:/var/www"]
    networks: [back]
  web:
    image: busybox:test
    command: ["sh", "-c", "cp /var/www/users /tmp/passwd && exec httpd -f -h /tmp"]
    depends_on: {{db: {{condition: service_healthy}}, fill: {{condition: service_completed_successfully}}}}
    environment: {{MODE: test}}
    volumes: ["data:/var/www:ro"]
    ports: ["{port}:80"]
    networks: [front, back]
    restart: unless-stopped
    stop_signal: SIGKILL
networks: {{back: {{}}, front: {{}}}}
volumes: {{data: {{}}}}
"""


@pytest.fixture
def docker(cloud: Cloud, tmp_path: Path) -> Iterator[Docker]:
    made = Docker(cloud, tmp_path)
    import_busybox(made)
    yield made
    left = made("ps", "-aq").split()
    if left:
        made("rm", "-fv", *left)


def test_services_come_up_in_order_and_go_without_a_trace(docker: Docker, tmp_path: Path) -> None:
    if not Path(_PYTHON).exists():
        pytest.skip("Debian's python3 is not installed")
    packages = debian_packages(tmp_path / "packages", *_PACKAGES.split())
    project, port = tmp_path / "shop", free_port()
    project.mkdir()
    (project / "docker-compose.yml").write_text(_FILE.format(port=port))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(packages / "usr/lib/python3/dist-packages"),
        "DOCKER_HOST": docker.host,
    }

    def compose(*words: str) -> str:
        command = [_PYTHON, str(packages / "usr/bin/docker-compose"), *words]
        done = subprocess.run(
            command,
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    compose("up", "-d")
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    assert docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "shop_fill_1") == "exited 0"
    script = "echo $MODE; touch /var/www/x 2>/dev/null || echo fixed; head -c 4 /var/www/users"
    assert docker("exec", "shop_web_1", "sh", "-c", script) == "test\nfixed\nroot"
    containers = [json.loads(line) for line in docker("ps", "--format", "{{json .}}").splitlines()]
    assert {(one["Names"], one["Image"]) for one in containers} == {
        ("shop_db_1", "busybox:test"),
        ("shop_web_1", "busybox:test"),
    }
    networks = docker.inspect("shop_web_1")["NetworkSettings"]["Networks"]
    assert set(networks) == {"shop_back", "shop_front"}
    assert "web" in networks["shop_back"]["Aliases"]
    compose("down", "-v")
    assert docker("ps", "-aq") == ""
    assert docker("volume", "ls", "-q") == ""
    assert docker("network", "ls", "-q", "--filter", "type=custom") == ""


def compose_2(folder: Path) -> str:
    """Docker's own Compose, version 2: named by GUREUM_COMPOSE, where packages put it, or Debian 13's package unpacked into `folder`."""
    folders = ("/usr/libexec/docker", "/usr/lib/docker", "/usr/local/lib/docker", os.path.expanduser("~/.docker"))
    places = [os.environ.get("GUREUM_COMPOSE"), *(f"{one}/cli-plugins/docker-compose" for one in folders)]
    for place in (*places, shutil.which("docker-compose")):
        if place and os.access(place, os.X_OK) and Path(place).read_bytes()[:4] == b"\x7fELF":
            return place
    unpacked = package_of_release(folder, "trixie", "docker-compose")
    return str(unpacked / "usr/libexec/docker/cli-plugins/docker-compose")


_FILE_2 = """\
services:
  db:
    image: busybox:test
    command: ["sh", "-c", "sleep 0.3; touch /ready; exec httpd -f -h /etc"]
    healthcheck: {{test: ["CMD", "test", "-e", "/ready"], interval: 100ms, retries: 100, start_period: 1s}}
    volumes: ["data:/var/www"]
    networks: {{back: {{aliases: [database]}}}}
    stop_signal: SIGKILL
  fill:
    image: busybox:test
    command: ["sh", "-c", "wget -qO /var/www/users http://database/passwd"]
    depends_on: {{db: {{condition: service_healthy}}}}
    volumes: ["data:/var/www"]
    networks: [back]
  web:
    image: busybox:test
    command: ["sh", "-c", "cp /var/www/users /tmp/passwd && exec httpd -f -h /tmp"]
    depends_on: {{db: {{condition: service_healthy}}, fill: {{condition: service_completed_successfully}}}}
    environment: {{MODE: test}}
    volumes: ["data:/var/www:ro"]
    configs: [{{source: greeting, target: /greeting}}]
    secrets: [word]
    ports: ["{port}:80"]
    networks: [front, back]
    restart: unless-stopped
    stop_signal: SIGKILL
    deploy: {{resources: {{limits: {{memory: 64m, cpus: "0.5"}}}}}}
  side:
    image: busybox:test
    command: ["sleep", "1000"]
    network_mode: service:db
    pid: service:db
    depends_on: [db]
    stop_signal: SIGKILL
  worker:
    image: busybox:test
    command: ["sleep", "1000"]
    networks: [back]
    scale: 2
    stop_signal: SIGKILL
  debug:
    image: busybox:test
    command: ["sleep", "1000"]
    profiles: [debug]
    networks: [back]
    stop_signal: SIGKILL
networks: {{back: {{}}, front: {{}}}}
volumes: {{data: {{labels: {{a: b}}}}}}
configs: {{greeting: {{file: ./greeting}}}}
secrets: {{word: {{file: ./word}}}}
"""


def test_compose_2_brings_up_scales_and_takes_down(docker: Docker, tmp_path: Path) -> None:
    program, project, port = compose_2(tmp_path / "apt"), tmp_path / "shop", free_port()
    project.mkdir()
    for name, text in (("compose.yaml", _FILE_2.format(port=port)), ("greeting", "hello\n"), ("word", "secret\n")):
        (project / name).write_text(text)

    def compose(*words: str) -> str:
        done = subprocess.run(
            [program, *words],
            cwd=project,
            env=docker.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def running() -> dict[str, int]:
        listed = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
        return Counter(one["Service"] for one in listed if one["State"] == "running")

    compose("up", "-d", "--wait", "--quiet-pull")
    assert running() == {"db": 1, "web": 1, "side": 1, "worker": 2}
    assert "root:x:0:0" in fetch(f"http://127.0.0.1:{port}/passwd")
    assert docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "shop-fill-1") == "exited 0"
    script = "echo $MODE; cat /greeting /run/secrets/word; touch /var/www/x 2>/dev/null || echo fixed"
    assert compose("exec", "-T", "web", "sh", "-c", script).split() == ["test", "hello", "secret", "fixed"]
    assert docker.inspect("shop-web-1")["HostConfig"]["Memory"] == 64 << 20
    script = "wget -qO- http://127.0.0.1/passwd | head -n 1; tr '\\0' ' ' < /proc/1/cmdline"
    assert compose("exec", "-T", "side", "sh", "-c", script).split("\n") == [
        "root:x:0:0:root:/root:/bin/sh",
        "httpd -f -h /etc ",
    ]
    compose("--profile", "debug", "up", "-d", "--scale", "worker=3", "--no-recreate")
    assert running() == {"db": 1, "web": 1, "side": 1, "worker": 3, "debug": 1}
    before = docker.inspect("shop-db-1")["Id"]
    (project / "compose.yaml").write_text(_FILE_2.format(port=port).replace("MODE: test", "MODE: changed"))
    compose("up", "-d")
    assert running() == {"db": 1, "web": 1, "side": 1, "worker": 2, "debug": 1}
    assert compose("exec", "-T", "web", "sh", "-c", "echo $MODE") == "changed\n"
    assert docker.inspect("shop-db-1")["Id"] == before
    assert compose("port", "web", "80") == f"127.0.0.1:{port}\n"
    assert compose("run", "--rm", "-T", "debug", "echo", "once") == "once\n"
    compose("--profile", "debug", "down", "-v")
    assert docker("ps", "-aq") == docker("volume", "ls", "-q") == docker("network", "ls", "-qf", "type=custom") == ""
