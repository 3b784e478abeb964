"""The HTTP front of the daemon: ASGI to the gateway's plain requests, and gureum's own paths beside it.

    /_gureum/attach/ID   a stream to a program in a machine               (attach.py)
    /_gureum/…           health, status, explain, coverage, console, reset (admin.py)
    /metrics             Prometheus text
    WebSockets           channels of AWS services (Session Manager's)
    else                 AWS

Written to ASGI directly: the gateway wants the whole body and the raw path, which frameworks take away. A web page that a user happens to look at
must not reach this server through the user's browser: requests that a browser marks as made by a page of elsewhere are refused.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from gureum.admin import Admin
from gureum.attach import Stream, relay
from gureum.aws.errors import AwsError
from gureum.aws.gateway import LIMIT_BODY_BYTES, Gateway, refuse
from gureum.aws.protocols import Request, Response, error_response
from gureum.aws.websockets import WebSocket
from gureum.engine.wire import line, read_line
from gureum.ports import PortError

ATTACH_PATH = "/_gureum/attach/"
LIMIT_BODIES_BYTES = 4 * LIMIT_BODY_BYTES
PRIVATE_DOMAINS = (
    *(
        f".{name}"
        for name in ("localhost", "local", "internal", "test", "example", "invalid", "lan", "home.arpa", "svc")
    ),
    *(".amazonaws.com", ".amazonaws.com.cn", ".api.aws"),
    # What many have in their settings for a cloud on their own machine: whoever registered it has it point to 127.0.0.1.
    "localhost.localstack.cloud",
)
FOREIGN = "Requests from web pages of other sites, and by names that are not this gureum's (setting endpoint_name), are not answered."
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """Answers plain requests (`answer`), and as an ASGI application everything. `agent_socket`: path of the agent's socket, "" when there is
    none; `endpoint_name`: the setting."""

    def __init__(self, gateway: Gateway, admin: Admin, agent_socket: str, endpoint_name: str) -> None:
        self._gateway = gateway
        self._admin = admin
        self._agent_socket = agent_socket
        self._endpoint_name = endpoint_name
        self.bodies = Bodies()

    async def answer(self, request: Request) -> Response:
        """To a request that is here whole and asks for no stream."""
        headers = request.headers
        if is_foreign(
            headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site"), self._endpoint_name
        ):
            return _refusal()
        return await self._answer(request)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._channel(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        if is_foreign_page(scope["headers"], self._endpoint_name):
            await write_response(send, _refusal())
            return
        if scope["method"] == "POST" and scope["path"].startswith(ATTACH_PATH):
            name = scope["path"].removeprefix(ATTACH_PATH)
            await relay(receive, send, partial(open_program, self._agent_socket, name), _socket_of(scope))
            return
        body = Body(self.bodies)
        try:
            response = await self._answer(request_of(scope, await body.read(receive)))
        except AwsError as refused:
            response = refuse(request_of(scope, b""), refused)
        except ClientLeft:
            return
        finally:
            body.forget()
        if isinstance(response.body, bytes):
            await write_response(send, response)
        else:
            await stream(receive, send, response)

    async def _channel(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """A WebSocket; refused with 403 before it is open when a page of elsewhere wants it, or nothing is on its path."""
        foreign = is_foreign_page(scope["headers"], self._endpoint_name)
        if foreign or not await self._gateway.channel(WebSocket(scope, receive, send)):
            await send({"type": "websocket.close"})

    async def _answer(self, request: Request) -> Response:
        own = request.path.startswith("/_gureum/") or request.path == "/metrics"
        return await (self._admin.handle(request) if own else self._gateway.handle(request))


def _socket_of(scope: dict[str, Any]) -> int:
    """The fd of the client's socket, -1 when the server does not tell it."""
    connection = (scope.get("state") or {}).get("connection")
    found = connection.transport.get_extra_info("socket") if connection is not None else None
    return found.fileno() if found is not None else -1


async def open_program(agent_socket: str, name: str, header: dict[str, Any]) -> Stream:
    """Starts a program in the machine `name`; frames follow on the streams. PortError when it cannot be had."""
    if not agent_socket:
        raise PortError("this cloud is simulated: no machine runs that a program could run in")
    try:
        reader, writer = await asyncio.open_unix_connection(agent_socket)
    except OSError as error:
        raise PortError(f"the agent does not answer: {error}") from error
    wanted: dict[str, Any] = {key: header[key] for key in ("args", "terminal", "env") if key in header}
    writer.write(line({"op": "attach", "name": name, **wanted}))
    answer = json.loads(await read_line(reader) or b'{"error": "the agent closed the connection"}')
    if "error" in answer:
        writer.close()
        raise PortError(str(answer["error"]))
    return reader, writer


def is_foreign_page(headers: list[tuple[bytes, bytes]], endpoint_name: str) -> bool:
    """Whether a browser made this request for a page that is not ours: it says so by Origin and Sec-Fetch-Site (Fetch Metadata). A page whose
    name was made to point here (DNS rebinding) says neither when it reads from what it takes for its own site, but calls us by that name:
    so nobody may call us by a name that a stranger can own."""
    found = {
        name: value.decode("latin-1") for name, value in headers if name in (b"origin", b"sec-fetch-site", b"host")
    }
    return is_foreign(found.get(b"host", ""), found.get(b"origin"), found.get(b"sec-fetch-site"), endpoint_name)


@functools.lru_cache(maxsize=1024)
def is_foreign(host: str, origin: str | None, fetch_site: str | None, endpoint_name: str) -> bool:
    """The same, of the headers that matter; None: not sent."""
    host = host.lower()
    name = host_name(host)
    if origin is None and fetch_site in (None, "none"):
        return not (_is_endpoint(name, endpoint_name) or _is_private(name))
    ours = name in ("127.0.0.1", "localhost", "::1") or _is_endpoint(name, endpoint_name)
    same_origin = urlsplit(f"http://{host}" if origin is None else origin).netloc == host
    return not (ours and same_origin and fetch_site in (None, "same-origin", "none"))


def _refusal() -> Response:
    return error_response(None, "query", AwsError("AccessDenied", FOREIGN, status=403), "-")


def host_name(host: str) -> str:
    """Of "name:port", "name", "[::1]:port" the name or address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def _is_endpoint(name: str, endpoint_name: str) -> bool:
    return name == endpoint_name or name.endswith((f".{endpoint_name}", f"-{endpoint_name}"))


def _is_private(name: str) -> bool:
    """Addresses, names without a dot, and those below domains that nobody can register (RFC 2606, 6761, 8375, ICANN's "internal") or that are
    the cloud's own."""
    return ":" in name or "." not in name or name.rpartition(".")[2].isdigit() or name.endswith(PRIVATE_DOMAINS)


def request_of(scope: dict[str, Any], body: bytes) -> Request:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    return Request(
        method=scope["method"],
        path=raw_path.split(b"?", 1)[0].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
    )


class ClientLeft(Exception):
    """Nobody waits for an answer any more."""


class Bodies:
    """How much of all requests' bodies is in memory now, of `limit_bytes` (LIMIT_BODIES_BYTES)."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.size_bytes = 0
        self.limit_bytes = LIMIT_BODIES_BYTES if limit_bytes is None else limit_bytes


class Body:
    """One request's body, counted among all."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size_bytes = 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body. AwsError when it, or all bodies together, are too large. ClientLeft when it does not come to its end: half a
        request is none."""
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            part = message.get("body", b"")
            self.count(len(part))
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def count(self, more_bytes: int) -> None:
        """AwsError when it is too much."""
        self._size_bytes += more_bytes
        self._bodies.size_bytes += more_bytes
        if self._size_bytes > LIMIT_BODY_BYTES:
            raise AwsError("RequestEntityTooLarge", "The request is too large.", status=413)
        if self._bodies.size_bytes > self._bodies.limit_bytes:
            raise AwsError("ServiceUnavailable", "Too many large requests at once. Try again.", status=503)

    def forget(self) -> None:
        self._bodies.size_bytes -= self._size_bytes
        self._size_bytes = 0


async def write_response(send: Send, response: Response) -> None:
    length = [] if "content-length" in response.headers else [(b"content-length", str(len(response.body)).encode())]
    headers = [*_headers(response), *length]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def stream(receive: Receive, send: Send, response: Response) -> None:
    """Sends a body that comes little by little, until it ends or the client leaves; then it is closed in any case."""
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": _headers(response)})
        while (data := await _next_or_left(response.body, leaving)) is not None:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        await response.body.aclose()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next_or_left(body: Any, leaving: asyncio.Future[None]) -> bytes | None:
    """The next piece; None at the end, or when the client has left."""
    coming = asyncio.ensure_future(anext(body, None))
    try:
        await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _headers(response: Response) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in response.headers.items()
    ]
