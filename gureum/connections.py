"""Connections of the HTTP front.

    bytes ─► httptools ─► a plain request ─► Exchange ─► Application.answer ─► one write (or a stream of chunks)
                      └─► all else: WebSockets, programs' streams, uploads, chunked bodies, HTTP/1.0 … ─► uvicorn_connections, with what came so far

A *plain* request, as nearly all are, has a body of known and moderate length; for it ASGI's messages and events would cost more than the call. A
connection that asks for more is given to uvicorn for the rest of its life; its code is imported with the first such one, for it costs every start and
every idle daemon more than all of this. Requests that come before earlier ones are answered wait their turn, and their connection is not
read meanwhile; if one of those is not plain the connection ends after the answers before it, and the client asks again (RFC 9112, 9.3.2).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import httptools

from gureum.asgi import ATTACH_PATH, Application, Body, stream
from gureum.aws.errors import AwsError
from gureum.aws.gateway import refuse
from gureum.aws.protocols import Request, Response
from gureum.aws.protocols.wire import clean_header

log = logging.getLogger("gureum.http")
LIMIT_PLAIN_BYTES = 2 * 1024 * 1024
"""Of a plain request's body."""
LIMIT_HEAD_BYTES = 128 * 1024
"""Of a request's line and headers; clients' presigned addresses are the longest."""
KEEP_ALIVE_S = 75.0
PLAIN_METHODS = (b"POST", b"GET", b"PUT", b"DELETE", b"PATCH")
FAILED = Response(500, {"content-type": "text/plain; charset=utf-8"}, b"Internal Server Error")
STATUS_LINES = {int(one): f"HTTP/1.1 {int(one)} {one.phrase}\r\n" for one in HTTPStatus}
INVALID = b"Invalid HTTP request received."


class Serving(Protocol):
    """A connection of either kind, as the server sees it."""

    def shutdown(self) -> None: ...


class Corked:
    """A transport that sends everything written in one turn of the loop as one piece: an answer's head and body come in one packet, which
    halves the system calls of both ends. (A Go client may even drop an answer whose body comes behind its head.)"""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        data, self._waiting = self._waiting, []
        if data and not self._transport.is_closing():
            self._transport.write(data[0] if len(data) == 1 else b"".join(data))


class Connection(asyncio.Protocol):
    """A client's connection. `others`: who takes it over when it asks for what is not plain; `open_ones`: all connections."""

    def __init__(self, application: Application, others: Others, open_ones: set[Serving]) -> None:
        self._application = application
        self._others = others
        self._open_ones = open_ones
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Of the request that is being read.
        self._raw: list[bytes] = []
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._reading: Exchange | None = None
        self._is_other = False
        # Whether a request ended in the bytes at hand; so, in which bytes the next one begins is not known.
        self._ended_here = self._is_mixed = False
        # Those that are here whole, the first of them under way.
        self._queue: deque[Exchange] = deque()
        self._last = self._is_paused = False
        self._writable: asyncio.Event | None = None

    # --- the transport's side ---

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        self._forget_timer()
        if self._reading is not None:
            self._reading.leave()
        for one in self._queue:
            one.leave()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_other:
            return  # it ends after what it has asked for before
        self._forget_timer()
        self._ended_here = False
        if self._reading is None:
            self._raw.append(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_other = True
        except httptools.HttpParserError:
            if not self._is_other:
                self._refuse()
                return
        if self._is_other:
            self._hand_over()
        elif not self._head_bytes:
            self._raw.clear()  # there is no head of which a part is still to come

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def shutdown(self) -> None:
        """Ends after the answers to what is here whole."""
        self._last = True
        if not self._queue:
            self._transport.close()

    # --- the parser's side ---

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._head_bytes = 1
        self._is_mixed = self._ended_here

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        if self._is_other or not self._is_plain():
            self._is_other = True
        else:
            url = httptools.parse_url(self._url)
            self._reading = Exchange(self._application, self._parser.get_method(), url, self._headers)

    def on_body(self, body: bytes) -> None:
        if self._reading is not None and not self._is_other:
            self._reading.take(body)

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        self._ended_here = True
        if exchange is None or self._is_other:
            return
        self._queue.append(exchange)
        if len(self._queue) == 1:
            self._start(exchange)
        else:
            self._pause()

    # --- requests ---

    def _start(self, exchange: Exchange) -> None:
        exchange.task = self._loop.create_task(exchange.run(self))

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _is_plain(self) -> bool:
        parser = self._parser
        if parser.get_http_version() != "1.1" or parser.should_upgrade() or not parser.should_keep_alive():
            return False
        if parser.get_method() not in PLAIN_METHODS or self._url.startswith(ATTACH_PATH.encode()):
            return False
        for name, value in self._headers:
            if name in (b"transfer-encoding", b"expect") or (
                name == b"content-length" and int(value) > LIMIT_PLAIN_BYTES
            ):
                return False
        return True

    def _count_head(self, more_bytes: int) -> None:
        self._head_bytes += more_bytes
        if self._head_bytes > LIMIT_HEAD_BYTES:
            raise ValueError("a head that is too long")

    def _hand_over(self) -> None:
        if self._queue or self._is_mixed:
            self._last = True
            if self._queue:
                self._pause()
            else:
                self._transport.close()
            return
        self._open_ones.discard(self)
        other = self._others.connection()
        other.connection_made(self._transport)
        self._transport.set_protocol(other)
        other.data_received(b"".join(self._raw))
        self._raw.clear()

    def _refuse(self) -> None:
        head = f"{STATUS_LINES[400]}content-type: text/plain; charset=utf-8\r\ncontent-length: {len(INVALID)}\r\n"
        self._transport.write(f"{head}connection: close\r\n\r\n".encode() + INVALID)
        self._transport.close()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- answers ---

    async def answer(self, exchange: Exchange, response: Response, *, last: bool) -> None:
        """Sends it, and goes on with what waits behind it."""
        self._last = self._last or last
        await self._drained()
        if not self._transport.is_closing():
            if isinstance(response.body, bytes):
                fields = {"content-length": str(len(response.body)), **response.headers}
                self._transport.write(self._head(response.status, fields) + response.body)
            else:
                await self._stream(exchange, response)
        self._queue.popleft()
        if self._queue:
            self._start(self._queue[0])
        elif self._last:
            self._transport.close()
        elif not self._transport.is_closing():
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
            self._timer = self._loop.call_later(KEEP_ALIVE_S, self._transport.close)

    async def _stream(self, exchange: Exchange, response: Response) -> None:
        async def receive() -> dict[str, Any]:
            await exchange.left()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await self._drained()
            if self._transport.is_closing() or message["type"] == "http.response.start":
                return
            data = message["body"]
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self._transport.write(chunk if message.get("more_body") else chunk + b"0\r\n\r\n")

        self._transport.write(self._head(response.status, {**response.headers, "transfer-encoding": "chunked"}))
        await stream(receive, send, response)

    def _head(self, status: int, fields: dict[str, str]) -> bytes:
        lines = [f"{name}: {_field(value)}\r\n" for name, value in fields.items()]
        if self._last and len(self._queue) == 1:
            lines.append("connection: close\r\n")
        first = STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
        return f"{first}{''.join(lines)}\r\n".encode("latin-1", "replace")

    async def _drained(self) -> None:
        if self._writable is not None:
            await self._writable.wait()


def _field(value: Any) -> str:
    """A header's value; nothing in it begins another line."""
    text = str(value)
    return text if text.isprintable() else clean_header(text)


class Exchange:
    """A plain request and its answer."""

    __slots__ = (
        "_application",
        "_body",
        "_gone",
        "_headers",
        "_leaving",
        "_method",
        "_parts",
        "_refused",
        "_url",
        "task",
    )

    def __init__(self, application: Application, method: bytes, url: Any, headers: list[tuple[bytes, bytes]]) -> None:
        self._application = application
        self._method, self._url, self._headers = method, url, headers
        self._body = Body(application.bodies)
        self._parts: list[bytes] = []
        self._refused: AwsError | None = None
        self._gone = False
        self._leaving: asyncio.Event | None = None
        self.task: asyncio.Task[None] | None = None

    def take(self, part: bytes) -> None:
        """A part of its body."""
        if self._refused is None:
            try:
                self._body.count(len(part))
                self._parts.append(part)
            except AwsError as refused:
                self._refused = refused

    def leave(self) -> None:
        """The client has gone, perhaps in the middle of its request."""
        self._gone = True
        self._body.forget()
        if self._leaving is not None:
            self._leaving.set()

    async def left(self) -> None:
        """Returns when the client has gone."""
        if not self._gone:
            self._leaving = asyncio.Event()
            await self._leaving.wait()

    async def run(self, connection: Connection) -> None:
        failed = False
        try:
            if self._refused is None:
                response = await self._application.answer(self._request())
            else:
                self._parts.clear()
                response = refuse(self._request(), self._refused)
        except Exception:
            log.exception("a request failed")
            response, failed = FAILED, True
        finally:
            self._body.forget()
        await connection.answer(self, response, last=failed)

    def _request(self) -> Request:
        headers: dict[str, str] = {}
        for name, value in self._headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return Request(
            method=self._method.decode("ascii"),
            path=(self._url.path or b"/").decode("latin-1"),
            query=(self._url.query or b"").decode("latin-1"),
            headers=headers,
            body=self._parts[0] if len(self._parts) == 1 else b"".join(self._parts),
        )


class Others:
    """Makes uvicorn's connections, for an ASGI application. `module`: has the class that makes them."""

    def __init__(self, application: Any, module: str = "gureum.uvicorn_connections") -> None:
        self._application = application
        self._module = module
        self._made: Any = None

    @property
    def open_ones(self) -> set[Serving]:
        return self._made.open_ones if self._made is not None else set()

    def connection(self) -> Any:
        """A protocol of asyncio's, to which a transport can be given."""
        if self._made is None:
            self._made = importlib.import_module(self._module).Connections(self._application, KEEP_ALIVE_S)
        return self._made.connection()


class AsgiServer:
    """Serves a socket by uvicorn's connections until it is closed; their code is loaded with the first one."""

    def __init__(self, application: Any, module: str = "gureum.uvicorn_connections") -> None:
        self._others = Others(application, module)
        self._server: asyncio.AbstractServer | None = None

    async def serve(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._others.connection, sock=sock, ssl=tls)

    async def close(self, limit_s: float) -> None:
        """As HttpServer's."""
        await _close(self._server, lambda: self._others.open_ones, limit_s)


class HttpServer:
    """Serves a socket until it is closed."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._others = Others(application)
        self._open: set[Serving] = set()
        self._server: asyncio.AbstractServer | None = None

    async def serve(self, sock: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._application, self._others, self._open), sock=sock
        )

    async def close(self, limit_s: float) -> None:
        """Takes no new connections; calls that are under way get their answers, for at most `limit_s`."""
        await _close(self._server, lambda: self._open | self._others.open_ones, limit_s)


async def _close(server: asyncio.AbstractServer | None, open_ones: Callable[[], set[Serving]], limit_s: float) -> None:
    if server is not None:
        server.close()
    for connection in open_ones():
        connection.shutdown()
    deadline = time.monotonic() + limit_s
    while open_ones() and time.monotonic() < deadline:  # noqa: ASYNC110 (uvicorn tells nobody when one ends)
        await asyncio.sleep(0.01)
