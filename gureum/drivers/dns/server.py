"""Names, filled by gureum's own DNS server: one loop, one UDP and one TCP socket per address of each view.

    UDP packet ──> seen before (same bytes but the id)? ──> that answer
                     │ no
                     └─> read ──> records ──> write, remember ──> send
                                     └─ not ours: guests: forwarded or "no such name"; host: REFUSED

Most questions of a guest are the same few bytes again, so answers are remembered by the question's bytes per view and
dropped as a whole when any record changes: the hot way is a dict look-up between recvfrom and sendto.

Invariants: no packet raises or blocks; no guest's packet is sent on, a new one is written; nothing is asked of others
unless `forward` named them; every queue and table is bounded; one view's flood costs the others one batch per turn.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from gureum.drivers.dns import wire
from gureum.drivers.dns.forward import Forwarder
from gureum.drivers.dns.records import Records
from gureum.ports.names import Record, Zone

BATCH = 64
"""Packets taken from one socket before the others get their turn."""
REMEMBERED = 1024
"""Answers remembered per view: a hostile guest fills only its own network's."""
TURNS = 8
"""Orders in which the values of a remembered answer are told."""
TCP_PER_PEER = 16
TCP_PER_VIEW = 256
TCP_IDLE_S = 10.0
PACKET_BYTES = 4096
QUERIES_PER_S = 5000
"""Per asking address; beyond it packets are dropped until the next second. AWS drops beyond 1,024 per interface
(AWS: vpc-dns, quotas); here it only keeps one guest from taking the loop for itself."""

log = logging.getLogger(__name__)


class DnsNames:
    """Fills ports.names.Names. Must be used from the loop that `serve` was called on."""

    def __init__(self, *, queries_per_s: int = QUERIES_PER_S) -> None:
        self._records = Records()
        self._forwarder = Forwarder()
        self._views: dict[str, View] = {}
        self._queries_per_s = queries_per_s

    def replace(self, owner: str, records: tuple[Record, ...], zones: tuple[Zone, ...] = ()) -> None:
        if not owner:
            raise ValueError("records need an owner")
        self._records.replace(owner, records, zones)
        self._forget_answers()

    def forget(self, owner: str) -> None:
        if owner:
            self._records.forget(owner)
            self._forget_answers()

    def forward(self, upstreams: tuple[str, ...]) -> None:
        self._forwarder.use(upstreams)
        self._forget_answers()

    async def serve(self, view: str, sockets: Sequence[socket.socket], *, closed: bool = False) -> None:
        await self.stop(view)
        started = View(view, self._records, None if closed or not view else self._forwarder, self._queries_per_s)
        self._views[view] = started
        await started.start(sockets)

    async def stop(self, view: str) -> None:
        if (running := self._views.pop(view, None)) is not None:
            running.stop()

    def resolve(self, view: str, name: str, rtype: str) -> tuple[str, ...]:
        qtype = wire.TYPES.get(rtype)
        if qtype is None:
            return ()
        try:
            found = self._records.find(view, wire.name_to_wire(name), qtype)
        except ValueError:
            return ()
        return tuple(
            wire.decode_value(qtype, rdata) for rrset in found.answers if rrset.type == qtype for rdata in rrset.rdatas
        )

    async def close(self) -> None:
        for view in list(self._views):
            await self.stop(view)
        self._forwarder.close()

    def _forget_answers(self) -> None:
        for view in self._views.values():
            view.remembered.clear()


class View:
    """One view's sockets and remembered answers. `forwarder`: who asks others, None for nobody.
    `remembered`: a packet without its id → the answers without theirs."""

    def __init__(self, name: str, records: Records, forwarder: Forwarder | None, queries_per_s: int) -> None:
        self.remembered: dict[bytes, tuple[bytes, ...]] = {}
        self._name = name
        self._records = records
        self._forwarder = forwarder
        self._queries_per_s = queries_per_s
        self._loop = asyncio.get_running_loop()
        self._datagrams: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[TcpConnection] = set()
        self._peers: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._second = 0
        self._turn = 0

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        for sock in sockets:
            sock.setblocking(False)
            if sock.type == socket.SOCK_DGRAM:
                self._datagrams.append(sock)
                self._loop.add_reader(sock.fileno(), self._readable, sock)
            else:
                self._servers.append(await self._loop.create_server(lambda: TcpConnection(self), sock=sock))

    def stop(self) -> None:
        for sock in self._datagrams:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()

    def answer(self, packet: bytes, limit: int, send: Callable[[bytes], None], asker: str = "") -> bytes | None:
        """The answer, or None when there is none or when it comes later by `send`. `limit` 0: as large as the asker's
        EDNS says. `asker`: address of who asks."""
        question = wire.read_question(packet)
        if question is None:
            return None
        if isinstance(question, int):
            return wire.bare_reply(packet, question)
        limit = limit or question.payload
        if question.edns_version:
            return wire.write_reply(question, wire.BADVERS, [], [], authoritative=False, limit=limit)
        if question.qclass != wire.CLASS_IN or 249 <= question.type < wire.ANY or question.type == wire.OPT:
            return wire.write_reply(question, wire.REFUSED, [], [], authoritative=False, limit=limit)
        found = self._records.find(self._name, question.name, question.type, asker)
        if not found.ours:
            return self._others(question, limit, send)
        self._turn += 1
        return wire.write_reply(
            question, found.rcode, found.answers, found.authority, authoritative=True, limit=limit, turn=self._turn
        )

    def _others(self, question: wire.Question, limit: int, send: Callable[[bytes], None]) -> bytes | None:
        """A guest without a way out is told at once that the name does not exist: its resolver gives up on that, while
        it would try REFUSED or SERVFAIL again for many seconds. The host, told REFUSED, goes to its next resolver."""
        if self._forwarder is not None and self._forwarder.active:
            if self._forwarder.submit(self._name, question, limit, send):
                return None
            rcode = wire.SERVFAIL
        else:
            rcode = wire.NXDOMAIN if self._name else wire.REFUSED
        return wire.write_reply(question, rcode, [], [], authoritative=False, limit=limit)

    def _readable(self, sock: socket.socket) -> None:
        remembered, asked, most = self.remembered, self._asked, self._queries_per_s
        second = int(self._loop.time())
        if second != self._second:
            self._second = second
            asked.clear()
        for _ in range(BATCH):
            try:
                packet, peer = sock.recvfrom(PACKET_BYTES)
            except OSError:
                return
            count = asked.get(peer[0], 0)
            if count >= most:
                continue
            asked[peer[0]] = count + 1
            key = packet[2:]
            answers = remembered.get(key)
            if self._records.hears_apart(self._name, peer[0]):
                reply: bytes | None = self.answer(packet, 0, partial(self._send_late, sock, peer=peer), peer[0])
            elif answers is not None:
                reply = packet[:2] + answers[count % len(answers)]
            else:
                reply = self._first_time(sock, packet, key, peer)
            if reply is not None:
                try:
                    sock.sendto(reply, peer)
                except OSError:
                    continue

    def _first_time(self, sock: socket.socket, packet: bytes, key: bytes, peer: tuple[str, int]) -> bytes | None:
        reply = self.answer(packet, 0, lambda late: self._send_late(sock, late, peer))
        if reply is not None and reply[3] & 15 != wire.SERVFAIL:
            if len(self.remembered) >= REMEMBERED:
                self.remembered.clear()
            several = int.from_bytes(reply[6:8], "big") > 1
            more = [self.answer(packet, 0, discard) for _ in range(TURNS - 1)] if several else []
            self.remembered[key] = tuple(answer[2:] for answer in (reply, *more) if answer is not None)
        return reply

    def _send_late(self, sock: socket.socket, reply: bytes, peer: tuple[str, int]) -> None:
        try:
            sock.sendto(reply, peer)
        except OSError as error:
            log.debug("dns.late_answer_lost view=%s why=%s", self._name, error)

    def admit(self, connection: TcpConnection, peer: str) -> bool:
        if len(self._connections) >= TCP_PER_VIEW or self._peers.get(peer, 0) >= TCP_PER_PEER:
            return False
        self._connections.add(connection)
        self._peers[peer] = self._peers.get(peer, 0) + 1
        return True

    def leave(self, connection: TcpConnection, peer: str) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]


class TcpConnection(asyncio.Protocol):
    """RFC 7766: questions with a two-byte length, several on one connection, answered as they are ready."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._peer = ""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self._peer = (transport.get_extra_info("peername") or ("",))[0]
        if not self._view.admit(self, self._peer):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=2 * wire.TCP_BYTES)
        self._timer = self._loop.call_later(TCP_IDLE_S, self.abort)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answered = 0
        while len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2], "big")
            if size > PACKET_BYTES or answered > BATCH:
                self.abort()
                return
            if len(self._buffer) < 2 + size:
                return
            packet, self._buffer = self._buffer[2 : 2 + size], self._buffer[2 + size :]
            answered += 1
            reply = self._view.answer(packet, wire.TCP_BYTES, self._send, self._peer)
            if reply is not None:
                self._send(reply)
        if answered and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(TCP_IDLE_S, self.abort)

    def pause_writing(self) -> None:
        """It asks and does not read: not a resolver."""
        self.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._view.leave(self, self._peer)
        self._transport = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self, reply: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(reply).to_bytes(2, "big") + reply)


def discard(_late: bytes) -> None:
    """Where an answer goes that nobody waits for."""
