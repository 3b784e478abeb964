"""Fills ports.gates: relays guests' connections to the daemon's socket for guests, with limits for each guest, each network and in all.

    guest ─► 169.254.169.249:80 in its network ────┬─► "NETWORK ADDRESS [SERVICE]\\n", then the same bytes ─► unix socket of the daemon
          ─► an interface endpoint, 80 or 443 (TLS) ┘

Nothing of HTTP is understood here. The daemon is called when the guest's first bytes have come; while it is restarted they wait a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gureum.ports.certificates import Issued
from gureum.ports.gates import Gate

log = logging.getLogger(__name__)
FULL_S = 0.05
_RESET = struct.pack("ii", 1, 0)


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
        self._doors: dict[str, list[tuple[asyncio.Task[None], socket.socket]]] = {}
        self._ways: dict[asyncio.Task[None], str] = {}
        self._counts: Counter[tuple[str, ...]] = Counter()

    async def serve(
        self,
        gate: Gate,
        sockets: Sequence[socket.socket],
        secure: Sequence[socket.socket] = (),
        certificate: Issued | None = None,
    ) -> None:
        await self.stop(gate.name)
        context = _context(certificate) if certificate is not None else None
        assert context is not None or not secure, "TLS needs a certificate"
        doors = self._doors.setdefault(gate.name, [])
        for sock, tls in (*((one, None) for one in sockets), *((one, context) for one in secure)):
            sock.setblocking(False)
            sock.listen(self._limits.backlog)
            doors.append((asyncio.get_running_loop().create_task(self._accept(gate, sock, tls)), sock))

    async def stop(self, name: str) -> None:
        doors = self._doors.pop(name, [])
        leaving = [door for door, _ in doors] + [way for way, of in self._ways.items() if of == name]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        for _, sock in doors:
            sock.close()

    async def close(self) -> None:
        for name in list(self._doors):
            await self.stop(name)

    async def _accept(self, gate: Gate, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Connections count from the first moment, also while they only shake hands."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                came, (peer, _) = await loop.sock_accept(sock)
            except OSError:
                await asyncio.sleep(FULL_S)  # it left already, or no file is free
                continue
            if not self._admit(gate, peer, came, tls):
                came.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                came.close()

    def _admit(self, gate: Gate, peer: str, came: socket.socket, tls: ssl.SSLContext | None) -> bool:
        limits, keys = self._limits, ((), (gate.network,), (gate.network, peer))
        most = (limits.all, limits.per_network, limits.per_guest)
        if any(self._counts[key] >= limit for key, limit in zip(keys, most, strict=True)):
            return False
        self._counts.update(keys)
        way = asyncio.get_running_loop().create_task(self._receive(gate, peer, came, tls))
        self._ways[way] = gate.name

        def left(_: object) -> None:
            del self._ways[way]
            for key in keys:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]

        way.add_done_callback(left)
        return True

    async def _receive(self, gate: Gate, peer: str, came: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limits.chunk_bytes)
        protocol = asyncio.StreamReaderProtocol(reader)
        patience_s = self._limits.first_s if tls is not None else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, came, ssl=tls, ssl_handshake_timeout=patience_s
            )
        except (OSError, TimeoutError):
            return  # no handshake, or none in time: the loop has closed it
        await self._lead(gate, peer, reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def _lead(self, gate: Gate, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._limits.first_s):
                first = await reader.read(self._limits.chunk_bytes)
            if not first:
                return
            far_reader, far_writer = await self._daemon()
            try:
                far_writer.write(f"{gate.network} {peer} {gate.service}".rstrip().encode() + b"\n" + first)
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


def _context(certificate: Issued) -> ssl.SSLContext:
    """OpenSSL reads keys from files only: this one is in memory and nobody else's."""
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    memory = os.memfd_create("gate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(certificate.key_pem + certificate.chain_pem)
        made.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)
    return made


class _Activity:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()

    def note(self) -> None:
        self._at = self._loop.time()

    def silence_s(self) -> float:
        return self._loop.time() - self._at
