"""Clouds to measure: gureum, started by its own command, and its peers MiniStack and moto, each started, asked and ended alike.

All are asked by the same raw client: one kept connection, a query body written once, no signature made, the answer's bytes read and not parsed.
So what the client costs is small and the same for each (the `aws` command alone takes several hundred milliseconds, boto3 about one).
The peers live in `.venv-bench` (they pin other libraries): `python -m venv .venv-bench && .venv-bench/bin/pip install -r requirements-bench.lock`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMY = {"quota_vpcs": "1000", "quota_internet_gateways": "1000", "quota_elastic_ips": "1000"}
PEERS = REPOSITORY / ".venv-bench" / "bin"
START_LIMIT_S = 60.0
HEADERS = {
    "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    "authorization": "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0",
}


class Refused(Exception):
    """An answer that is not 2xx."""


class Ec2:
    """One kept connection to a cloud's EC2 API."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, body: bytes) -> bytes:
        """The answer to a body that was written before. Refused."""
        self._connection.request("POST", "/", body, HEADERS)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Refused(data.decode(errors="replace"))
        return data

    def call(self, action: str, **parameters: object) -> str:
        return self.send(body(action, **parameters)).decode()

    def get(self, path: str) -> Any:
        """The JSON of one of gureum's own pages."""
        self._connection.request("GET", path)
        return json.loads(self._connection.getresponse().read())

    def close(self) -> None:
        self._connection.close()


def body(action: str, **parameters: object) -> bytes:
    """A query body. `Filter_1_Name="x"` is written as `Filter.1.Name=x`."""
    named = {name.replace("_", "."): value for name, value in parameters.items()}
    return urlencode({"Action": action, "Version": "2016-11-15", **named}).encode()


def found(text: str, element: str) -> list[str]:
    """The texts of all elements of that name."""
    return re.findall(f"<{element}>([^<]+)</{element}>", text)


class Cloud(Protocol):
    """`start` returns the seconds from the command to the first answered call (DescribeVpcs)."""

    name: str
    port: int

    def start(self) -> float: ...
    def stop(self) -> None: ...
    def processes(self) -> dict[str, list[int]]: ...


class Gureum:
    """A gureum with a home of its own, on a real disk (below a tmpfs a commit costs nothing; then `folder` says so). `processes`: the
    daemon, the agent and the supervisor, each with what it started to help it, but without containers' monitors."""

    def __init__(self, *, simulate: bool = False, folder: str = "/var/tmp", **settings: str) -> None:
        self.name = "gureum, simulated" if simulate else "gureum"
        self.port = 0
        self._simulate = simulate
        self._folder = tempfile.TemporaryDirectory(dir=folder, prefix="gureum-bench-")
        # Without compiled files, which some development machines forbid, every start would compile all anew.
        dropped = ("GUREUM_", "AWS_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        named = {f"GUREUM_{name.upper()}": value for name, value in (ROOMY | settings).items()}
        self._environment = {**kept, **named, "GUREUM_HOME": f"{self._folder.name}/home"}

    def start(self) -> float:
        begin = time.perf_counter()
        self.command("up", *(["--simulate"] if self._simulate else []))
        self.port = int(self.identity["aws_port"])
        return answered(self, begin)

    def stop(self) -> None:
        self.command("down")

    def remove(self) -> None:
        """Stops, and nothing of the home remains."""
        self.command("down", "--purge")
        self._folder.cleanup()

    def command(self, *words: str) -> str:
        """`gureum WORDS`, by the interpreter that runs the benchmark."""
        command = [sys.executable, "-m", "gureum.cli.main", *words]
        done = subprocess.run(
            command,
            check=False,
            env=self._environment,
            cwd="/",
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise Refused(f"gureum {words[0]}: {done.stderr}")
        return done.stdout

    @property
    def home(self) -> str:
        return self._environment["GUREUM_HOME"]

    @property
    def identity(self) -> dict[str, Any]:
        return dict(json.loads((Path(self.home) / "identity.json").read_text()))

    def ask_agent(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request to the agent's own socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/run/gureum/{self.identity['id']}/agent.sock")
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answer:
                return dict(json.loads(answer.readline()))

    def processes(self) -> dict[str, list[int]]:
        shown = json.loads(self.command("status", "--json"))["supervisor"]
        pids = {one["name"]: int(one["pid"]) for one in shown["processes"]} | {"supervisor": int(shown["pid"])}
        trees = {name: [pid] if name == "supervisor" else tree(pid) for name, pid in pids.items()}
        return {name: [pid for pid in tree_ if "conmon" not in command_of(pid)] for name, tree_ in trees.items()}


class Peer:
    """A server that is one command in the foreground, ended by SIGTERM. "{port}" in the command and the settings is a new one at each start."""

    def __init__(self, name: str, command: list[str], **settings: str) -> None:
        self.name = name
        self.port = 0
        self._command = command
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        self.port = free_port()
        named = {name: value.format(port=self.port) for name, value in self._settings.items()}
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            [word.format(port=self.port) for word in self._command],
            env={**os.environ, **named},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return answered(self, begin)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def remove(self) -> None:
        self.stop()

    def processes(self) -> dict[str, list[int]]:
        assert self._process is not None
        return {self.name: tree(self._process.pid)}


def peers() -> list[Peer]:
    """MiniStack and moto_server; says so when they are not installed."""
    found_peers = []
    if (PEERS / "ministack").exists():
        quiet = {"BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
        found_peers.append(Peer("MiniStack", [str(PEERS / "ministack")], GATEWAY_PORT="{port}", **quiet))
    if (PEERS / "moto_server").exists():
        found_peers.append(Peer("moto", [str(PEERS / "moto_server"), "-H", "127.0.0.1", "-p", "{port}"]))
    if len(found_peers) < 2:
        print("SKIPPED: MiniStack or moto is not in .venv-bench (requirements-bench.lock)")
    return found_peers


def answered(cloud: Cloud, begin: float) -> float:
    """Seconds from `begin` until the cloud answers DescribeVpcs."""
    while True:
        client = Ec2(cloud.port)
        try:
            client.call("DescribeVpcs")
            return time.perf_counter() - begin
        except (OSError, http.client.HTTPException):
            if time.perf_counter() - begin > START_LIMIT_S:
                raise
            time.sleep(0.002)
        finally:
            client.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return [pid, *(below for child in children for below in tree(child))]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def machine() -> str:
    """The machine in general words."""
    kernel = ".".join(os.uname().release.split(".")[:2])
    return f"{os.cpu_count()} cores, Linux {kernel}, load average {os.getloadavg()[0]:.1f} at the start"
