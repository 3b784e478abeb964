"""Connections of the HTTP front, on uvicorn's HTTP protocol.

    bytes ─► httptools ─► a plain request ──────► Exchange ──► Application.answer ─► one write
                      └─► all else: WebSockets, streams, uploads, HTTP/1.0 … ─► uvicorn's cycle ─► Application as ASGI

A *plain* request (nearly all are) has its whole body soon and an answer that is ready at once: for it ASGI's messages and events would cost more than
the call. What is queued behind another request on the same connection is uvicorn's, too, so that answers keep their order.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.importer import import_from_string
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gureum.asgi import ATTACH_PATH, Application, Body, Receive, Send, stream
from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request, Response, error_response
from gureum.aws.protocols.wire import clean_header

log = logging.getLogger("gureum.http")
WS_PROTOCOL = "uvicorn.protocols.websockets.wsproto_impl:WSProtocol"
LIMIT_MESSAGE_BYTES = 1024 * 1024
"""Of a client's WebSocket."""
WS_PING_S = 60.0
LIMIT_PLAIN_BYTES = 2 * 1024 * 1024
"""Of a plain request's body."""
PLAIN_METHODS = (b"POST", b"GET", b"PUT", b"DELETE", b"PATCH")
FAILED = Response(500, {"content-type": "text/plain; charset=utf-8"}, b"Internal Server Error")


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

    def write_now(self, data: bytes) -> None:
        """The same for an answer that is in one piece."""
        if self._waiting:
            self.write(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        data, self._waiting = self._waiting, []
        if data and not self._transport.is_closing():
            self._transport.write(data[0] if len(data) == 1 else b"".join(data))


class Connection(HttpToolsProtocol):
    """A client's connection. What WebSockets need is imported with the first one: it would cost every start some tens of milliseconds."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._application = self.app if isinstance(self.app, Application) else None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(cast(asyncio.Transport, Corked(transport)))

    def connection_lost(self, exc: Exception | None) -> None:
        cycle: Any = self.cycle
        if cycle.__class__ is Exchange:
            cycle.leave()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        # What ASGI wants to know is told only where it is asked for.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        if self._application is not None and self._is_plain():
            self.cycle = cast(Any, Exchange(self, self._application))
        else:
            self.describe()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if cycle.__class__ is Exchange:
            cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        if cycle.__class__ is Exchange:
            task = self.loop.create_task(cycle.run())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            super().on_message_complete()

    def describe(self) -> None:
        """Makes the request's ASGI scope."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers

    def _is_plain(self) -> bool:
        before: Any = self.cycle
        if before is not None and not before.response_complete:
            return False
        parser = self.parser
        if parser.get_http_version() != "1.1" or parser.should_upgrade() or not parser.should_keep_alive():
            return False
        if self.expect_100_continue or parser.get_method() not in PLAIN_METHODS:
            return False
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and int(value) > LIMIT_PLAIN_BYTES):
                return False
        return not self.url.startswith(ATTACH_PATH.encode())

    def _should_upgrade_to_ws(self) -> bool:
        if self.config.ws_protocol_class is None:
            self.config.ws_protocol_class = import_from_string(WS_PROTOCOL)
        self.ws_protocol_class = self.config.ws_protocol_class
        return True


class Exchange:
    """A plain request and its answer, in the place of uvicorn's cycle: so it has what uvicorn's protocol asks of one."""

    __slots__ = (
        "_application",
        "_body",
        "_connection",
        "_headers",
        "_method",
        "_parts",
        "_refused",
        "_url",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    def __init__(self, connection: Connection, application: Application) -> None:
        self._connection = connection
        self._application = application
        # The parser goes on to the next request, perhaps before this one runs.
        self._method, self._url, self._headers = connection.parser.get_method(), connection.url, connection.headers
        self._body = Body(application.bodies)
        self._parts: list[bytes] = []
        self._refused: AwsError | None = None
        self.disconnected = self.response_complete = False
        self.keep_alive = True

    @property
    def message_event(self) -> Exchange:
        return self

    def set(self) -> None:
        """Nobody waits for more of it."""

    def take(self, part: bytes) -> None:
        if self._refused is None:
            try:
                self._body.count(len(part))
                self._parts.append(part)
            except AwsError as refused:
                self._refused = refused

    def leave(self) -> None:
        """The client has gone, perhaps in the middle of its request."""
        self.disconnected = True
        self._body.forget()

    async def run(self) -> None:
        connection = self._connection
        try:
            if self._refused is None:
                response = await self._application.answer(self._request())
            else:
                response = error_response(None, "query", self._refused, "-")
        except Exception:
            log.exception("a request failed")
            response, self.keep_alive = FAILED, False
        finally:
            self._body.forget()
        if connection.flow.write_paused:
            await connection.flow.drain()
        if self.disconnected or connection.transport.is_closing():
            self.response_complete = True
        elif isinstance(response.body, bytes):
            self._write(response)
        else:
            await self._stream(response)

    def _request(self) -> Request:
        headers: dict[str, str] = {}
        for name, value in self._headers:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        url = httptools.parse_url(self._url)
        return Request(
            method=self._method.decode("ascii"),
            path=url.path.decode("latin-1"),
            query=(url.query or b"").decode("latin-1"),
            headers=headers,
            body=self._parts[0] if len(self._parts) == 1 else b"".join(self._parts),
        )

    def _write(self, response: Response) -> None:
        connection, body = self._connection, response.body
        head = [STATUS_LINE[response.status]]
        head += [b"%b: %b\r\n" % one for one in connection.server_state.default_headers]
        fields = dict(response.headers)
        fields.setdefault("content-length", str(len(body)))
        if not self.keep_alive:
            fields["connection"] = "close"
        text = "".join([f"{name}: {_field(value)}\r\n" for name, value in fields.items()])
        head += (text.encode("latin-1", "replace"), b"\r\n", body)
        cast(Corked, connection.transport).write_now(b"".join(head))
        self.response_complete = True
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()

    async def _stream(self, response: Response) -> None:
        """An answer that comes little by little: uvicorn's cycle takes over."""
        connection = self._connection
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": self._method.decode("ascii"),
            "headers": self._headers,
        }
        cycle = RequestResponseCycle(
            scope=cast(Any, scope),
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=connection.on_response_complete,
        )
        cycle.more_body = False
        if cast(Any, connection.cycle) is self:
            connection.cycle = cycle
        await stream(cast(Receive, cycle.receive), cast(Send, cycle.send), response)


def _field(value: Any) -> str:
    """A header's value; nothing in it begins another line."""
    text = str(value)
    return text if text.isprintable() else clean_header(text)


class HttpServer:
    """uvicorn's HTTP protocol on a socket and a loop of ours (its own server would take over signals and the loop)."""

    def __init__(self, application: Application) -> None:
        self._config = Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            ws="none",
            ws_max_size=LIMIT_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=WS_PING_S,
            ws_ping_timeout=WS_PING_S,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.AbstractServer | None = None

    async def serve(self, sock: socket.socket) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(config=self._config, server_state=self._state, app_state={}), sock=sock
        )

    async def close(self, limit_s: float) -> None:
        """Takes no new connections; calls that are under way get their answers, for at most `limit_s`."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        deadline = time.monotonic() + limit_s
        while self._state.connections and time.monotonic() < deadline:  # noqa: ASYNC110 (uvicorn tells nobody when one ends)
            await asyncio.sleep(0.01)
