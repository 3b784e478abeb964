"""Fills ports.gates: relays guests' connections to the daemon's socket for guests, with limits for each guest, each network and in all.

    guest ─► 169.254.169.249:80 in its network ─► "NETWORK ADDRESS\\n", then the same bytes ─► unix socket of the daemon

Nothing of HTTP is understood here. The daemon is called when the guest's first bytes have come; while it is restarted they wait a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True):
    """Connections at a time. `first_s`: for the first bytes; `daemon_s`: so long a daemon that is away is waited for; `idle_s`: without a byte
    either way (longer than any answer takes, long polls included)."""

    per_guest: int = 16
    per_network: int = 256
    all: int = 1024
    first_s: float = 10.0
    daemon_s: float = 10.0
    idle_s: float = 350.0
    chunk_bytes: int = 65536
    backlog: int = 128


class ApiGate:
    """`path`: the daemon's socket. Must be used from one loop."""

    def __init__(self, path: Path, limits: Limits | None = None) -> None:
        self._path = path
        self._limits = limits or Limits()
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._ways: dict[asyncio.Task[None], str] = {}
        self._counts: Counter[tuple[str, ...]] = Counter()

    async def serve(self, network: str, sockets: Sequence[socket.socket]) -> None:
        await self.stop(network)
        servers = self._servers.setdefault(network, [])

        def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._admit(network, reader, writer)

        for sock in sockets:
            sock.setblocking(False)
            limits = self._limits
            made = await asyncio.start_server(came, sock=sock, backlog=limits.backlog, limit=limits.chunk_bytes)
            servers.append(made)

    async def stop(self, network: str) -> None:
        for server in self._servers.pop(network, []):
            server.close()
        leaving = [way for way, of in self._ways.items() if of == network]
        for way in leaving:
            way.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    async def close(self) -> None:
        for network in list(self._servers):
            await self.stop(network)

    def _admit(self, network: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = (writer.get_extra_info("peername") or ("",))[0]
        limits, keys = self._limits, ((), (network,), (network, peer))
        most = (limits.all, limits.per_network, limits.per_guest)
        if not peer or any(self._counts[key] >= limit for key, limit in zip(keys, most, strict=True)):
            writer.transport.abort()
            return
        self._counts.update(keys)
        way = asyncio.get_running_loop().create_task(self._lead(network, peer, reader, writer))
        self._ways[way] = network

        def left(_: object) -> None:
            del self._ways[way]
            for key in keys:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]

        way.add_done_callback(left)

    async def _lead(self, network: str, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._limits.first_s):
                first = await reader.read(self._limits.chunk_bytes)
            if not first:
                return
            far_reader, far_writer = await self._daemon()
            try:
                far_writer.write(f"{network} {peer}\n".encode() + first)
                await self._relay((reader, writer), (far_reader, far_writer))
            finally:
                far_writer.transport.abort()
        except (OSError, TimeoutError):
            pass  # the guest left, was silent, or the daemon is not there: the guest sees its connection end
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _daemon(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(self._limits.daemon_s):
            while True:
                try:
                    return await asyncio.open_unix_connection(str(self._path), limit=self._limits.chunk_bytes)
                except OSError:
                    await asyncio.sleep(0.1)

    async def _relay(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Until the daemon has ended its answers, or nothing has come for too long."""
        activity = _Activity()
        asking = asyncio.ensure_future(self._pass(near[0], far[1], activity))
        answering = asyncio.ensure_future(self._pass(far[0], near[1], activity))
        try:
            while not answering.done() and (left_s := self._limits.idle_s - activity.silence_s()) > 0:
                await asyncio.wait({answering}, timeout=left_s)
        finally:
            for way in (asking, answering):
                way.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, activity: _Activity) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self._limits.chunk_bytes):
                activity.note()
                writer.write(data)
                await writer.drain()
                activity.note()
            if writer.can_write_eof():
                writer.write_eof()


class _Activity:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()

    def note(self) -> None:
        self._at = self._loop.time()

    def silence_s(self) -> float:
        return self._loop.time() - self._at
