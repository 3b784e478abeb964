"""Published ports by HAProxy in TCP mode, one small process per container. Fills `ports/publishing.py`.

    host 127.0.0.1:8001 ── socket, bound by us ── haproxy ── socket made in the network's namespace ── 172.17.0.2:80

The sockets are bound before the container starts, so whoever asked hears at once when an address is taken, and connections that come early
wait in the kernel's queue. The process inherits them, and outlives us. Of root's powers it keeps the one to make sockets in a namespace
(CAP_SYS_ADMIN: HAProxy 2.6 enters it for each). UDP goes through a process of its own, which is in the namespace and has no power (udp_relay.py).

Each process is watched: whose has ended is told by `died`, and why is what it said. One that was started by an agent which was killed before it could
note that is known by its environment.

    <run>/published/NAME/   state.json, haproxy.cfg, said
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gureum.base.processes import is_running, start_ticks
from gureum.drivers.networks import udp_relay
from gureum.drivers.networks.network_names import HomeNames, checked_name
from gureum.drivers.workers.turns import Turns
from gureum.ports import PortError
from gureum.ports.publishing import Publication, Published

log = logging.getLogger("gureum.agent")
_BACKLOG = 1024
_SAID_BYTES = 4096
_END_S = 5.0
_MARK = "GUREUM_PUBLISHED"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AS_LITTLE = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+sys_admin", "--no-new-privs")


class State(msgspec.Struct, frozen=True):
    """What is kept for the next agent: the processes of what is published, by pid and start time; 0 where there is none of that kind."""

    wish: Publication
    pid: int
    ticks: int
    relay_pid: int = 0
    relay_ticks: int = 0

    @property
    def processes(self) -> tuple[tuple[int, int], ...]:
        both = ((self.pid, self.ticks), (self.relay_pid, self.relay_ticks))
        return tuple(one for one in both if one[0])


class HaproxyPublisher:
    """`run_dir`: of this home alone."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self._names = HomeNames(home_id, run_dir)
        self._folder = run_dir / "published"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._turns = Turns()
        self._children: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._watched: dict[str, list[int]] = {}
        self._died: asyncio.Queue[str] = asyncio.Queue()

    async def publish(self, wish: Publication) -> None:
        name = checked_name(wish.name)
        async with self._turns.of(name):
            state = self._state(name)
            if state is not None and state.wish == wish and _is_whole(state):
                self._watch(state)
                return
            await self._end(name)
            sockets = _bind_all(wish)
            try:
                state = await asyncio.to_thread(self._start, wish, sockets)
                self._write(state)
                self._watch(state)
            finally:
                for sock, _ in sockets:
                    sock.close()

    async def withdraw(self, name: str) -> None:
        async with self._turns.of(checked_name(name)):
            if (self._folder / name).exists():
                await self._end(name)

    async def died(self) -> str:
        return await self._died.get()

    async def observe(self) -> frozenset[str]:
        return frozenset(path.name for path in self._folder.iterdir())

    async def close(self) -> None:
        """What runs goes on."""
        for name in list(self._watched):
            self._forget(name)

    def _watch(self, state: State) -> None:
        """Tells when one of its processes has ended, once; idempotent."""
        name = state.wish.name
        if name in self._watched:
            return
        descriptors = self._watched[name] = []
        for pid, ticks in state.processes:
            with contextlib.suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(pid))
            if not is_running(pid, ticks):
                self._ended(name)
                return
        for descriptor in descriptors:
            asyncio.get_running_loop().add_reader(descriptor, self._ended, name)

    def _ended(self, name: str) -> None:
        self._forget(name)
        log.warning("what publishes ports has ended", extra={"container": name, "why": self._said(name)})
        self._died.put_nowait(name)

    def _forget(self, name: str) -> None:
        for descriptor in self._watched.pop(name, ()):
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _said(self, name: str) -> str:
        """What its processes complained of last; one line."""
        try:
            with open(self._folder / name / "said", "rb") as file:
                lines = file.read(_SAID_BYTES).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return next((line for line in lines if "ALERT" in line), lines[-1] if lines else "")

    async def _end(self, name: str) -> None:
        self._forget(name)
        await asyncio.to_thread(_kill_all, self._folder / name)
        for child in self._children.pop(name, ()):
            await asyncio.to_thread(child.wait)
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _start(self, wish: Publication, sockets: list[tuple[socket.socket, Published]]) -> State:
        tcp, udp = ([pair for pair in sockets if pair[1].protocol == kind] for kind in ("tcp", "udp"))
        folder, namespace = self._folder / wish.name, self._names.network(wish.network)
        folder.mkdir(mode=0o700, exist_ok=True)
        state = State(wish, 0, 0)
        if tcp:
            config = folder / "haproxy.cfg"
            config.write_text(render(wish, [(sock.fileno(), port) for sock, port in tcp], namespace.name))
            pid, ticks = self._run(wish.name, [*_AS_LITTLE, "haproxy", "-db", "-f", str(config)], tcp)
            state = msgspec.structs.replace(state, pid=pid, ticks=ticks)
            self._write(state)
        if udp:
            ports = [f"{sock.fileno()}:{port.port}" for sock, port in udp]
            command = ["nsenter", f"--net={namespace}", sys.executable, "-IS", udp_relay.__file__, wish.address, *ports]
            pid, ticks = self._run(wish.name, command, udp)
            state = msgspec.structs.replace(state, relay_pid=pid, relay_ticks=ticks)
        return state

    def _run(self, name: str, command: list[str], sockets: list[tuple[socket.socket, Published]]) -> tuple[int, int]:
        """Its pid and start time. It inherits the sockets."""
        said = os.open(self._folder / name / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                command,
                pass_fds=[sock.fileno() for sock, _ in sockets],
                env={"PATH": _PATH, _MARK: str(self._folder / name)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise PortError(f"{Path(command[0]).name} is missing", retry=False) from error
        finally:
            os.close(said)
        self._children.setdefault(name, []).append(process)
        return process.pid, start_ticks(process.pid) or 0

    def _state(self, name: str) -> State | None:
        return _read(self._folder / name)

    def _write(self, state: State) -> None:
        folder = self._folder / state.wish.name
        draft = folder / "state.new"
        draft.write_bytes(msgspec.json.encode(state))
        draft.rename(folder / "state.json")


def render(wish: Publication, listeners: list[tuple[int, Published]], namespace: str) -> str:
    """The configuration. Everything in it is a number or was checked: no user's word stands here."""
    lines = [
        "global",
        "    maxconn 4096",
        "    nbthread 1",
        "    httpclient.ssl.verify none",  # else its start would read all of the host's authorities
        "defaults",
        "    mode tcp",
        "    timeout connect 10s",
        "    timeout client 24d",
        "    timeout server 24d",
        "    timeout client-fin 60s",
        "    timeout tunnel 24d",
        "    retries 0",
    ]
    for index, (fd, port) in enumerate(listeners):
        lines += [
            f"listen p{index}",
            f"    bind fd@{fd}",
            f"    server c {wish.address}:{port.port} namespace {namespace}",
        ]
    return "\n".join(lines) + "\n"


def _bind_all(wish: Publication) -> list[tuple[socket.socket, Published]]:
    bound: list[tuple[socket.socket, Published]] = []
    try:
        for port in wish.ports:
            bound.append((_bound(port), port))  # noqa: PERF401  # those that are bound must be closed when another cannot be
    except BaseException:
        for sock, _ in bound:
            sock.close()
        raise
    return bound


def _bound(port: Published) -> socket.socket:
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if port.protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((port.host, port.host_port))
        if port.protocol == "tcp":
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        why = "address already in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0).lower()
        where = f"{port.host}:{port.host_port}/{port.protocol}"
        raise PortError(f"failed to bind host port for {where}: {why}", retry=False) from error
    return sock


def _read(folder: Path) -> State | None:
    try:
        return msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _is_noted(state: State) -> bool:
    """Whether it names a process for each kind of port."""
    return len(state.processes) == len({port.protocol for port in state.wish.ports})


def _is_whole(state: State) -> bool:
    """Whether everything that it takes still runs."""
    return _is_noted(state) and all(is_running(pid, ticks) for pid, ticks in state.processes)


def _kill_all(folder: Path) -> None:
    """All that publishes for the container of that folder."""
    if not folder.exists():
        return
    state = _read(folder)
    if state is not None:
        _kill(state.processes)
    if state is None or not _is_noted(state):
        _kill(_marked(folder))


def _marked(folder: Path) -> list[tuple[int, int]]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ticks = start_ticks(int(path.name))
            if f"{_MARK}={folder}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append((int(path.name), ticks))
    return found


def _kill(processes: Iterable[tuple[int, int]]) -> None:
    """Returns when they are gone, and their ports free, also where they are no children of ours."""
    for pid, ticks in processes:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if start_ticks(pid) == ticks:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                    poll = select.poll()
                    poll.register(descriptor, select.POLLIN)
                    poll.poll(_END_S * 1000)
            finally:
                os.close(descriptor)


def remove_all(run_dir: Path) -> None:
    """Every proxy of the home."""
    for folder in (run_dir / "published").glob("*/"):
        _kill_all(run_dir / "published" / folder.name)
    shutil.rmtree(run_dir / "published", ignore_errors=True)
