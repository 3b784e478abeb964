"""Asks the host's resolvers what guests ask of names that are not ours, when the home has a way out.

Each question goes out from a fresh socket (so from a random port) with a random id, and only an answer from the
address asked, with that id and that question, is taken (RFC 5452). The answer goes back with the asker's id. Questions
under way are bounded in all and per view; beyond it the asker is told SERVFAIL at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable
from typing import cast

from gureum.base.addresses import is_ip
from gureum.drivers.dns import wire

UNDER_WAY = 512
UNDER_WAY_PER_VIEW = 128
ANSWER_WITHIN_S = 2.0


class Forwarder:
    """Not for several threads."""

    def __init__(self) -> None:
        self._upstreams: tuple[tuple[str, int], ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._per_view: dict[str, int] = {}

    @property
    def active(self) -> bool:
        return bool(self._upstreams)

    def use(self, upstreams: tuple[str, ...]) -> None:
        self._upstreams = tuple(parse_upstream(text) for text in upstreams)

    def submit(self, view: str, question: wire.Question, limit: int, send: Callable[[bytes], None]) -> bool:
        """False when too many are under way. `limit` above 4096 means the asker came by TCP, and TCP is used."""
        if len(self._tasks) >= UNDER_WAY or self._per_view.get(view, 0) >= UNDER_WAY_PER_VIEW:
            return False
        self._per_view[view] = self._per_view.get(view, 0) + 1
        task = asyncio.get_running_loop().create_task(self._answer(view, question, limit, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answer(self, view: str, question: wire.Question, limit: int, send: Callable[[bytes], None]) -> None:
        try:
            reply = await self._ask_each(question, limit)
            if reply is None:
                reply = wire.write_reply(question, wire.SERVFAIL, [], [], authoritative=False, limit=limit)
            send(question.ident.to_bytes(2, "big") + reply[2:])
        finally:
            self._per_view[view] -= 1
            if not self._per_view[view]:
                del self._per_view[view]

    async def _ask_each(self, question: wire.Question, limit: int) -> bytes | None:
        refused = None
        for upstream in self._upstreams:
            ident = secrets.randbits(16)
            query = wire.write_query(ident, question)
            ask = ask_tcp if limit > 4096 else ask_udp
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    reply = await ask(upstream, query, question)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            if reply is None or len(reply) > limit:
                continue
            if reply[3] & 15 in (wire.NOERROR, wire.NXDOMAIN):
                return reply
            refused = reply
        return refused


def host_resolvers(resolv_conf: str) -> tuple[str, ...]:
    """The first three name servers of a resolv.conf(5) text, for Names.forward; link-local ones of one interface only are
    passed over."""
    lines = (line.split() for line in resolv_conf.splitlines())
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and "%" not in words[1]]
    return tuple(address for address in found if is_ip(address))[:3]


def parse_upstream(text: str) -> tuple[str, int]:
    """ "192.0.2.1" or "192.0.2.1#5353". ValueError."""
    address, _, port = text.partition("#")
    number = int(port or "53")
    if not 0 < number < 65536:
        raise ValueError(f"not a port: {text!r}")
    return str(ipaddress.ip_address(address)), number


def answers(reply: bytes, query: bytes, question: wire.Question) -> bool:
    """Whether `reply` is an answer to `query`: its id, an answer, its question."""
    end = 12 + len(question.echo)
    return (
        len(reply) >= end
        and reply[:2] == query[:2]
        and bool(reply[2] & 0x80)
        and reply[4:6] == b"\0\x01"
        and reply[12:end].lower() == question.echo.lower()
    )


class OneAnswer(asyncio.DatagramProtocol):
    """Sends one query and keeps the first packet that answers it; others may be forged and are passed over."""

    def __init__(self, query: bytes, question: wire.Question) -> None:
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._query = query
        self._question = question

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(self._query)

    def datagram_received(self, data: bytes, _addr: tuple[str | int, ...]) -> None:
        if not self.reply.done() and answers(data, self._query, self._question):
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def ask_udp(upstream: tuple[str, int], query: bytes, question: wire.Question) -> bytes | None:
    """The answer, perhaps a truncated one (the asker then comes by TCP). OSError when nobody is there."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: OneAnswer(query, question), remote_addr=upstream)
    try:
        return await protocol.reply
    finally:
        transport.close()


async def ask_tcp(upstream: tuple[str, int], query: bytes, question: wire.Question) -> bytes | None:
    """The answer, None when it does not answer this. OSError, IncompleteReadError."""
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = await reader.readexactly(size)
        return reply if answers(reply, query, question) else None
    finally:
        writer.close()
