"""A file of several services, brought up by Debian's docker-compose: dependencies that wait for health, networks, volumes, published ports."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.docker_clients import Docker, debian_packages, fetch, free_port, import_busybox
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
