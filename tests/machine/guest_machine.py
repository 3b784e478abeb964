"""Boots one of gureum's images by `crun` alone, in namespaces of the test's own, beside a small metadata service. For the tests of
the images; no driver but the rendering of the OCI configuration takes part.

The guest's network is a namespace with one link, at whose other end a second namespace answers for 169.254.169.254.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from gureum.drivers.containers import free_console
from gureum.drivers.containers.cgroups import Cgroups
from gureum.drivers.containers.oci_spec import HostFacts, render
from gureum.ports.containers import ContainerSpec

METADATA_ADDRESS = "169.254.169.254"
DEADLINE_S = 30.0
CRUN = ("crun", "--cgroup-manager=disabled")
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER = 36


class Guest:
    """One machine. `tree`: path under /latest/ → content; may change while it runs. `root` is the guest's / as the host sees it."""

    def __init__(
        self, layers: Sequence[str], work: Path, tree: dict[str, str], args: tuple[str, ...] = ("/sbin/init",)
    ) -> None:
        self.tree = tree
        self.name = f"gt{secrets.token_hex(4)}"
        self.root = work / "root"
        self._work = work
        self._args = args
        self._layers = layers
        self._console = b""
        self._reader: threading.Thread | None = None
        self._status: int | None = None
        self.refuse_metadata = False

    def __enter__(self) -> Self:
        for name in ("root", "upper", "overlay-work", "bundle"):
            (self._work / name).mkdir()
        lower = ":".join(reversed(self._layers))
        options = f"lowerdir={lower},upperdir={self._work}/upper,workdir={self._work}/overlay-work"
        _run("mount", "-t", "overlay", f"-o{options}", "overlay", str(self.root))
        self._holder = _hold_namespaces()
        self._net = Path(f"/proc/{self._holder.pid}/ns/net")
        self._router = _hold_namespaces()
        router = Path(f"/proc/{self._router.pid}/ns/net")
        _in_net(
            self._net,
            "ip",
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            "guest",
            "netns",
            str(self._router.pid),
        )
        for net, device, address in (
            (self._net, "eth0", "10.0.0.5/24"),
            (router, "guest", "10.0.0.1/24"),
            (router, "lo", f"{METADATA_ADDRESS}/32"),
        ):
            _in_net(net, "ip", "link", "set", "lo", "up")
            _in_net(net, "ip", "address", "add", address, "dev", device)
            _in_net(net, "ip", "link", "set", device, "up")
        _in_net(self._net, "ip", "route", "add", "default", "via", "10.0.0.1")
        self._server = _serve_metadata(router, self)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._server.shutdown()
        self._server.server_close()
        for holder in (self._holder, self._router):
            holder.kill()
            holder.communicate()
        _run("umount", str(self.root))
        shutil.rmtree(self._work / "overlay-work")

    def _end(self) -> None:
        """Nothing of the last run remains but the disk."""
        subprocess.run([*CRUN, "delete", "--force", self.name], capture_output=True, check=False)
        if self._reader:
            self.exit_signal()
            os.close(self.pidfd)
            self._reader.join(DEADLINE_S)
            self._reader = None

    def start(self) -> None:
        """Starts, or starts again with the same disk."""
        self._end()
        spec = ContainerSpec(
            name=self.name,
            root=str(self.root),
            args=self._args,
            sandbox_net=str(self._net),
            sandbox_user=f"/proc/{self._holder.pid}/ns/user",
            hostname="guest",
            machine=True,
        )
        facts = HostFacts((("RLIMIT_NOFILE", 1024, 4096),), os.uname().machine, 1)
        first = free_console.write(self._work, os.uname().machine)
        config = render(spec, facts, cgroup_path=f"/{self.name}", init=str(first or ""))
        config["linux"]["namespaces"] = [space for space in config["linux"]["namespaces"] if space["type"] != "cgroup"]
        del config["linux"]["resources"], config["linux"]["cgroupsPath"]
        (self._work / "bundle" / "config.json").write_text(json.dumps(config))
        self._boot()

    def _boot(self) -> None:
        pid_file = self._work / "pid"
        console_socket = self._work / "console.sock"
        console_socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(console_socket))
        listener.listen()
        command = [*CRUN, "run", "--detach", f"--console-socket={console_socket}"]
        command += [f"--pid-file={pid_file}", f"--bundle={self._work}/bundle", self.name]
        # crun ends; its child becomes ours, so that we learn how PID 1 ended.
        assert _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        _run_with_cgroups(*command)
        connection, _ = listener.accept()
        _, files, _, _ = socket.recv_fds(connection, 100, 1)
        connection.close()
        listener.close()
        self.pid = int(pid_file.read_text())
        self._status = None
        self.pidfd = os.pidfd_open(self.pid)
        self._terminal = files[0]
        self._reader = threading.Thread(target=self._read_console, args=(files[0],), daemon=True)
        self._reader.start()

    def _read_console(self, terminal: int) -> None:
        while True:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            self._console += data
        os.close(terminal)

    @property
    def console(self) -> str:
        return self._console.decode(errors="replace")

    def type(self, text: str, answer: str) -> None:
        """Types on the console, and waits until it says `answer` after that."""
        said = len(self._console)
        os.write(self._terminal, text.encode())
        self.wait(lambda: answer.encode() in self._console[said:], f"console answers {answer!r} to {text!r}")

    def wait_console(self, text: str) -> None:
        self.wait(lambda: text in self.console, f"console says {text!r}")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline, f"never: {what}\n{self.console}"
            assert not self.exited(), f"the guest went down before: {what}\n{self.console}"
            select.select([self.pidfd], [], [], 0.01)

    def exited(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def wait_exit(self) -> None:
        assert select.select([self.pidfd], [], [], DEADLINE_S)[0], f"it never went down\n{self.console}"

    def exit_signal(self) -> int:
        """The signal that PID 1 ended by: SIGHUP after reboot(2) to restart, SIGINT after one to power off."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        return os.WTERMSIG(self._status)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def exec(self, *args: str, stdin: bytes = b"", user: str = "") -> subprocess.CompletedProcess[bytes]:
        who = [f"--user={user}"] if user else []
        command = [*CRUN, "exec", *who, self.name, *args]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE_S, check=False)

    def output(self, *args: str) -> str:
        done = self.exec(*args)
        assert done.returncode == 0, f"{args}: {done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode()

    def in_network(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        """Runs a program of the host in the guest's network."""
        command = ["nsenter", f"--net={self._net}", *args]
        return subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"


def _run_with_cgroups(*command: str) -> None:
    """On a hybrid host crun wants no controller left in the unified tree; another test's cloud may give one back at any moment."""
    groups = Cgroups(f"t{secrets.token_hex(3)}")
    try:
        for _ in range(20):
            groups.prepare()
            done = subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_S)
            if b"hybrid mode" not in done.stderr:
                break
    finally:
        groups.remove_all()
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"


def _in_net(net: Path, *command: str) -> None:
    _run("nsenter", f"--net={net}", *command)


def _hold_namespaces() -> subprocess.Popen[bytes]:
    """A user namespace (with the host's own ids, so that the image need not be shifted) and a network that it owns."""
    holder = subprocess.Popen(
        ["unshare", "--user", "--net", "sh", "-c", "echo; read x; exec sleep infinity"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.read(1)
    Path(f"/proc/{holder.pid}/uid_map").write_text("0 0 65536")
    Path(f"/proc/{holder.pid}/gid_map").write_text("0 0 65536")
    return holder


def _serve_metadata(net: Path, guest: Guest) -> ThreadingHTTPServer:
    """IMDSv2 only: without a token from PUT nothing is told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            if guest.refuse_metadata:
                self._answer(403, "")
                return
            sound = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
            self._answer(200 if sound else 400, "sound-token" if sound else "")

        def do_GET(self) -> None:
            if self.headers["X-aws-ec2-metadata-token"] != "sound-token":
                self._answer(401, "")
                return
            body = guest.tree.get(self.path.removeprefix("/latest/"))
            self._answer(404 if body is None else 200, body or "")

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer((METADATA_ADDRESS, 80), Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.socket.close()
    server.socket = _socket_in(net)
    server.server_bind()
    server.server_activate()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def _socket_in(net: Path) -> socket.socket:
    made: list[socket.socket] = []

    def make() -> None:
        with net.open() as file:
            _setns(file.fileno())
        made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def _setns(file: int) -> None:
    assert _LIBC.setns(file, 0) == 0
