"""Metadata, filled by an HTTP server of the agent: one listening socket per network, one loop, httptools as the parser.

Who asks is told by the network of the socket and the peer's source address. Why a protocol class of our own on
httptools and no web server: three things here live below HTTP. A token's packets carry the instance's hop limit as IP
TTL; a guest that asks too fast is read more slowly, not refused; an idle connection costs a few kilobytes and no task.

Invariants: no byte from a guest raises out of here, blocks the loop or makes memory grow without a bound. A connection
that a token went over keeps the low TTL for good: raised again, a retransmission would carry the token past the limit.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Protocol, cast

import httptools
import msgspec

from gureum.drivers.imds.answers import (
    IDENTITY,
    Page,
    Request,
    Response,
    answer,
    compile_page,
    error,
    render,
)
from gureum.drivers.imds.tokens import Tokens
from gureum.ports import PortError
from gureum.ports.certificates import Certificates
from gureum.ports.clock import Clock
from gureum.ports.metadata import InstanceMetadata

HEADER_LINE_BYTES = 32
"""Counted per header on top of its text, so that very many tiny ones are too much as well."""

log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True):
    """Per connection, per asking address ("guest") and in all. AWS throttles per instance too; its limits are not told.

    `burst` requests may come at once, then `rate` a second: what is more waits, unread. `head_s`: a request must be
    whole that long after its first byte. `idle_s`: without a request. `linger_s`: after the last answer, for the guest to
    close first. `unknown_s`: how long a request of an unknown address waits to become known, before it is told 503: a
    guest may be up before its document is here, and an agent that starts again is handed all documents anew."""

    url_bytes: int = 2048
    head_bytes: int = 16384
    body_bytes: int = 4096
    pipelined: int = 32
    rate: float = 500.0
    burst: float = 1000.0
    connections_per_guest: int = 64
    connections: int = 4096
    head_s: float = 5.0
    idle_s: float = 20.0
    linger_s: float = 2.0
    unknown_s: float = 2.0
    backlog: int = 256


class Opener(Protocol):
    """What of a `base.sealing.Sealer` is needed here."""

    def open(self, sealed: str, context: str) -> str:
        """ValueError when it was not sealed for this context."""


class Guest:
    """One asking address of one network: its connections, and a bucket of `burst` requests that fills at `rate`."""

    __slots__ = ("at", "bucket", "connections")

    def __init__(self, burst: float, now: float) -> None:
        self.connections = 0
        self.bucket = burst
        self.at = now

    def wait_s(self, limits: Limits, now: float) -> float:
        """Takes one request, on credit if need be: how long to wait before it is answered, 0.0 for not at all. A
        connection waits with one request at most, so the debt stays small and every connection gets its turn."""
        self.bucket = min(limits.burst, self.bucket + (now - self.at) * limits.rate) - 1.0
        self.at = now
        return max(0.0, -self.bucket / limits.rate)


class Imds:
    """Fills ports.metadata.Metadata. `key_path`: the token key, made when missing. `sealer` opens what is sealed. Must be used from one loop."""

    def __init__(
        self,
        key_path: Path,
        certificates: Certificates,
        clock: Clock,
        *,
        limits: Limits | None = None,
        sealer: Opener | None = None,
    ) -> None:
        self._sealer = sealer
        self.tokens = Tokens(key_path)
        self.clock = clock
        self.limits = limits or Limits()
        self._certificates = certificates
        self._pages: dict[str, Page] = {}
        self._by_address: dict[tuple[str, str], Page] = {}
        self._signatures: dict[tuple[str, bytes], dict[str, bytes]] = {}
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._guests: dict[tuple[str, str], Guest] = {}
        self._connections: dict[Connection, None] = {}
        self._expecting: dict[tuple[str, str], set[Connection]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._date = (0, "")

    def replace(self, document: InstanceMetadata) -> None:
        page = compile_page(document, self.clock.now())
        self.forget(document.owner)
        self._pages[document.owner] = page
        for address in document.addresses:
            self._by_address[(document.network, address)] = page
            for connection in self._expecting.pop((document.network, address), ()):
                connection.look_again()

    def forget(self, owner: str) -> None:
        page = self._pages.pop(owner, None)
        if page is None:
            return
        self._signatures = {key: value for key, value in self._signatures.items() if key[0] != owner}
        for address in page.addresses:
            if self._by_address.get((page.network, address)) is page:
                del self._by_address[(page.network, address)]

    async def serve(self, network: str, sockets: Sequence[socket.socket]) -> None:
        await self.stop(network)
        loop = asyncio.get_running_loop()
        servers = self._servers.setdefault(network, [])
        for sock in sockets:
            sock.setblocking(False)
            make = Factory(self, network)
            servers.append(await loop.create_server(make, sock=sock, backlog=self.limits.backlog))
        if self._sweeper is None:
            self._sweeper = loop.call_later(1.0, self._sweep)

    async def stop(self, network: str) -> None:
        for server in self._servers.pop(network, []):
            server.close()
        for connection in [c for c in self._connections if c.network == network]:
            connection.abort()

    async def close(self) -> None:
        for network in list(self._servers):
            await self.stop(network)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def page(self, network: str, address: str) -> Page | None:
        return self._by_address.get((network, address))

    def date(self) -> str:
        second = int(self.clock.now())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]

    def admit(self, connection: Connection) -> Guest | None:
        """None: too many connections of this guest, or in all."""
        key = (connection.network, connection.peer)
        guest = self._guests.get(key)
        if guest is None:
            guest = self._guests[key] = Guest(self.limits.burst, asyncio.get_running_loop().time())
        if guest.connections >= self.limits.connections_per_guest or len(self._connections) >= self.limits.connections:
            return None
        guest.connections += 1
        self._connections[connection] = None
        return guest

    def leave(self, connection: Connection, guest: Guest) -> None:
        self._connections.pop(connection, None)
        guest.connections -= 1
        self.expect_no_more(connection)

    def expect(self, connection: Connection) -> None:
        """Have it look again as soon as its address is somebody's."""
        self._expecting.setdefault((connection.network, connection.peer), set()).add(connection)

    def expect_no_more(self, connection: Connection) -> None:
        key = (connection.network, connection.peer)
        expecting = self._expecting.get(key, set())
        expecting.discard(connection)
        if not expecting:
            self._expecting.pop(key, None)

    async def sign(self, page: Page, name: str) -> bytes:
        """An identity signature of the page's document, made once. PortError when the CA cannot."""
        document = page.leaves[IDENTITY + "document"]
        key = (page.owner, document)
        if key not in self._signatures:
            made = await self._certificates.sign_identity(document)
            self._signatures[key] = {
                "signature": made.signature.encode(),
                "pkcs7": made.pkcs7.encode(),
                "rsa2048": made.rsa2048.encode(),
            }
            if page is not self._pages.get(page.owner):
                return self._signatures.pop(key)[name]
        return self._signatures[key][name]

    def opened(self, page: Page, response: Response) -> Response:
        """`response` with the content that it is to tell; 503 when that cannot be opened."""
        sealed, context = page.sealed[response.sealed]
        try:
            if self._sealer is None:
                raise ValueError("there is no key")
            body = self._sealer.open(sealed, context).encode()
        except ValueError as fault:
            log.warning("imds.open_failed owner=%s why=%s", page.owner, fault)
            return error(503)
        return msgspec.structs.replace(response, body=body, sealed="")

    def _sweep(self) -> None:
        """Once a second: closes what is past its time, forgets guests that are quiet."""
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(1.0, self._sweep)
        now = loop.time()
        for connection in [c for c in self._connections if c.deadline < now]:
            connection.abort()
        refill_s = self.limits.burst / self.limits.rate
        for key in [k for k, g in self._guests.items() if not g.connections and now - g.at > refill_s]:
            del self._guests[key]


class Factory:
    """Makes the connections of one network's sockets."""

    def __init__(self, server: Imds, network: str) -> None:
        self._server = server
        self._network = network

    def __call__(self) -> Connection:
        return Connection(self._server, self._network)


class Connection(asyncio.Protocol):
    """One connection of one guest: requests are answered in order, one at a time.

    States: reading (nothing waits), answering (reading is paused), deaf (what still comes is thrown away: the last
    answer is written or about to be, and closing at once would reset the connection under it)."""

    def __init__(self, server: Imds, network: str) -> None:
        self.network = network
        self.peer = ""
        self.deadline = 0.0
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._guest: Guest | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = self._body_bytes = self._excess = 0
        self._in_request = False
        self._waiting: deque[Request] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._unread_answers = self._deaf = self._ended = False
        self._held: Request | None = None
        self._hop_limit = 0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        self._guest = self._server.admit(self)
        if self._guest is None:
            transport.abort()
            return
        self.deadline = self._loop.time() + self._limits.head_s

    def data_received(self, data: bytes) -> None:
        if self._deaf or self._guest is None:
            return
        if not self._waiting and not self._in_request:
            self.deadline = self._loop.time() + self._limits.head_s
        self._in_request = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request was whole and is answered in plain HTTP/1.1, as RFC 9110 7.8 allows; what follows is not HTTP.
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError:
            self._refuse(self._excess or 400)
        self._go_on()

    def eof_received(self) -> bool:
        self._ended = True
        return bool(self._waiting or self._task)

    def pause_writing(self) -> None:
        """It does not read its answers: no further request is looked at until it does, or its time is up."""
        self._unread_answers = True

    def resume_writing(self) -> None:
        self._unread_answers = False
        self._go_on()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._guest is not None:
            self._server.leave(self, self._guest)
            self._guest = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # the parser's side: an exception in here ends the parsing of what came

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._head_bytes = self._body_bytes = 0
        self._in_request = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.url_bytes:
            self._too_much(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + HEADER_LINE_BYTES
        if self._head_bytes > self._limits.head_bytes:
            self._too_much(431)
        self._headers.setdefault(name.lower(), value)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._too_much(413)

    def on_message_complete(self) -> None:
        self._in_request = False
        if len(self._waiting) >= self._limits.pipelined:
            self._too_much(503)
        parser = self._parser
        self._waiting.append(
            Request(parser.get_method(), path_of(self._url), self._headers, parser.should_keep_alive())
        )

    def _too_much(self, status: int) -> None:
        self._excess = status
        raise ValueError(status)

    def _refuse(self, status: int) -> None:
        """In its turn after what was asked before; what follows cannot be told apart, so nothing more is read."""
        self._deaf = True
        self._waiting.append(Request(b"", "", {}, keep_alive=False, refuse=status))

    # answering

    def _go_on(self) -> None:
        """Answers what waits, until something has to be waited for; reads on only when nothing waits."""
        while self._waiting and self._guest is not None and not self._halted():
            wait_s = self._guest.wait_s(self._limits, self._loop.time())
            if wait_s > 0:
                self._timer = self._loop.call_later(wait_s, self._after_wait)
            else:
                self._answer(self._waiting.popleft())
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        busy = bool(self._waiting or self._task)
        if self._ended and not busy:
            transport.close()
        elif busy and not self._deaf:
            if transport.is_reading():
                transport.pause_reading()
        elif not transport.is_reading():
            transport.resume_reading()

    def _halted(self) -> bool:
        return self._unread_answers or self._timer is not None or self._task is not None

    def _after_wait(self) -> None:
        self._timer = None
        if self._waiting:
            self._answer(self._waiting.popleft())
        self._go_on()

    def look_again(self) -> None:
        """The asker may be known now."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.call_soon(self._after_wait)

    def _answer(self, request: Request) -> None:
        server = self._server
        if request.refuse:
            self._send(request, None, error(request.refuse))
            return
        page = server.page(self.network, self.peer)
        if page is None and request is not self._held:
            self._held = request
            self._waiting.appendleft(request)
            self._timer = self._loop.call_later(self._limits.unknown_s, self._after_wait)
            server.expect(self)
            return
        if request is self._held:
            self._held = None
            server.expect_no_more(self)
        if page is not None and request.method == b"PUT":
            self._limit_hops(page.options.hop_limit)
        response = answer(request, page, server.tokens, server.clock.now())
        if response.sealed and page is not None:
            response = server.opened(page, response)
        if response.sign and page is not None:
            self._task = self._loop.create_task(self._answer_signed(request, page, response))
        else:
            self._send(request, page, response)

    async def _answer_signed(self, request: Request, page: Page, response: Response) -> None:
        try:
            body = await self._server.sign(page, response.sign)
            response = msgspec.structs.replace(response, body=body, sign="")
        except PortError as fault:
            log.warning("imds.sign_failed owner=%s why=%s", page.owner, fault.why)
            response = error(503)
        self._task = None
        self._send(request, page, response)
        self._go_on()

    def _send(self, request: Request, page: Page | None, response: Response) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        name = transport.get_extra_info("sockname") or ("", 80)
        data = render(
            response,
            date=self._server.date(),
            modified=page.modified if page is not None else "",
            authority=name[0] if name[1] == 80 else f"{name[0]}:{name[1]}",
            keep_alive=request.keep_alive,
            head=request.method == b"HEAD",
        )
        transport.write(data)
        self.deadline = self._loop.time() + self._limits.idle_s
        if not request.keep_alive:
            self._deaf = True
            self._waiting.clear()
            self.deadline = self._loop.time() + self._limits.linger_s
            if transport.can_write_eof():
                transport.write_eof()

    def _limit_hops(self, hop_limit: int) -> None:
        """AWS: HttpPutResponseHopLimit. Never raised again on this connection, see the module's invariants."""
        if self._transport is None or 0 < self._hop_limit <= hop_limit:
            return
        sock = self._transport.get_extra_info("socket")
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hop_limit)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
        self._hop_limit = hop_limit


def path_of(target: bytes) -> str:
    """A request target's path, of the absolute form ("http://host/path", as to a proxy) too, without the query."""
    if target[:7].lower() == b"http://":
        target = b"/" + target[7:].partition(b"/")[2]
    return target.partition(b"?")[0].decode("latin-1")
