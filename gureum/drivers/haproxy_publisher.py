"""Published ports by HAProxy in TCP mode, one small process per container. Fills `ports/publishing.py`.

    host 127.0.0.1:8001 ── socket, bound by us ── haproxy ── socket made in the network's namespace ── 172.17.0.2:80

The sockets are bound before the container starts, so whoever asked hears at once when an address is taken, and connections that come early
wait in the kernel's queue. The process inherits them, and outlives us. Of root's powers it keeps the one to make sockets in a namespace
(CAP_SYS_ADMIN: HAProxy 2.6 enters it for each). UDP is relayed by the agent (udp_relay.py).

    <run>/published/NAME/   spec.json, pid, haproxy.cfg
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import msgspec

from gureum.base.processes import start_ticks
from gureum.drivers.network_names import HomeNames, checked_name
from gureum.drivers.turns import Turns
from gureum.drivers.udp_relay import UdpRelay
from gureum.ports import PortError
from gureum.ports.publishing import Publication, Published

_BACKLOG = 1024
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AS_LITTLE = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+sys_admin", "--no-new-privs")


class State(msgspec.Struct, frozen=True):
    """What is kept of a proxy for the next agent. `pid` 0: there is none, only UDP is published."""

    wish: Publication
    pid: int
    ticks: int


class HaproxyPublisher:
    """`run_dir`: of this home alone."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self._names = HomeNames(home_id, run_dir)
        self._folder = run_dir / "published"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._turns = Turns()
        self._relays: dict[str, list[UdpRelay]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    async def publish(self, wish: Publication) -> None:
        name = checked_name(wish.name)
        async with self._turns.of(name):
            state = self._state(name)
            if state is not None and state.wish == wish and _alive(state):
                if name not in self._relays:
                    await self._relay(wish)
                return
            await self._end(name)
            sockets = _bind_all(wish)
            try:
                started = await asyncio.to_thread(self._start, wish, sockets)
                self._write(State(wish, *started))
            except BaseException:
                for sock, _ in sockets:
                    sock.close()
                raise
            await self._relay(wish, [pair for pair in sockets if pair[1].protocol == "udp"])
            for sock, port in sockets:
                if port.protocol == "tcp":
                    sock.close()

    async def withdraw(self, name: str) -> None:
        async with self._turns.of(checked_name(name)):
            if (self._folder / name).exists():
                await self._end(name)

    async def observe(self) -> frozenset[str]:
        return frozenset(path.name for path in self._folder.iterdir())

    async def close(self) -> None:
        for relays in self._relays.values():
            for relay in relays:
                relay.close()
        self._relays.clear()

    async def _relay(self, wish: Publication, bound: list[tuple[socket.socket, Published]] | None = None) -> None:
        """UDP goes through this process."""
        if bound is None:
            bound = [(_bound(one), one) for one in wish.ports if one.protocol == "udp"]
        namespace = self._names.network(wish.network)
        relays = [UdpRelay(sock, namespace, (wish.address, port.port)) for sock, port in bound]
        if relays:
            self._relays[wish.name] = relays

    async def _end(self, name: str) -> None:
        for relay in self._relays.pop(name, ()):
            relay.close()
        state = self._state(name)
        if state is not None:
            await asyncio.to_thread(_kill, state)
        child = self._children.pop(name, None)
        if child is not None:
            await asyncio.to_thread(child.wait)
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _start(self, wish: Publication, sockets: list[tuple[socket.socket, Published]]) -> tuple[int, int]:
        """The process's pid and start time; (0, 0) when nothing is for it."""
        tcp = [(sock, port) for sock, port in sockets if port.protocol == "tcp"]
        folder = self._folder / wish.name
        folder.mkdir(mode=0o700, exist_ok=True)
        if not tcp:
            return 0, 0
        config = folder / "haproxy.cfg"
        text = render(wish, [(sock.fileno(), port) for sock, port in tcp], self._names.network(wish.network).name)
        config.write_text(text)
        fds = [sock.fileno() for sock, _ in tcp]
        try:
            process = subprocess.Popen(
                [*_AS_LITTLE, "haproxy", "-db", "-f", str(config)],
                pass_fds=fds,
                env={"PATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise PortError("haproxy is missing", retry=False) from error
        self._children[wish.name] = process
        return process.pid, start_ticks(process.pid) or 0

    def _state(self, name: str) -> State | None:
        try:
            return msgspec.json.decode((self._folder / name / "state.json").read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

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


def _alive(state: State) -> bool:
    return state.pid == 0 or start_ticks(state.pid) == state.ticks


def _kill(state: State) -> None:
    if state.pid and _alive(state):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(state.pid)
            try:
                if _alive(state):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def remove_all(run_dir: Path) -> None:
    """Every proxy of the home."""
    for folder in (run_dir / "published").glob("*/"):
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            _kill(msgspec.json.decode((folder / "state.json").read_bytes(), type=State))
    shutil.rmtree(run_dir / "published", ignore_errors=True)
