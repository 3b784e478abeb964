"""The HTTP front of the clusters: ASGI in, plain requests to the cluster, answers and streams out.

    /…                      the default cluster
    /clusters/NAME/…        another one
    what management.py has  concerns clusters as a whole

A web page must not reach the API through a browser: that asks for a client's certificate or a token, which pages have not.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gureum.kube.clusters import DEFAULT, Clusters
from gureum.kube.errors import StatusError, no_such_path
from gureum.kube.management import CLUSTERS, Management, concerns
from gureum.kube.requests import BETWEEN, STRANGER, Request, Response, User, parse_query
from gureum.kube.verbs.bodies import LIMIT_BODY_BYTES

LIMIT_BODIES_BYTES = 64 * 1024 * 1024
COMPRESSED_FROM_BYTES = 128 * 1024
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientLeft(Exception):
    """Nobody waits for the answer."""


class Front:
    def __init__(self, clusters: Clusters, management: Management) -> None:
        self._clusters = clusters
        self._management = management
        self._streams: dict[asyncio.Task[Any], str] = {}
        self._bodies_bytes = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            return
        try:
            response = await self._answer(scope, receive)
        except ClientLeft:
            return
        except StatusError as error:
            response = Response(error.code, error.body())
        if isinstance(response.body, bytes):
            await _write(scope, send, response)
        else:
            connection = (scope.get("state") or {}).get("connection")
            if response.attach is not None and connection is not None and scope["method"] == "GET":
                response.attach(connection)
            await self._stream(receive, send, response, _cluster_of(_path_of(scope))[0])

    def close(self, name: str = "") -> None:
        """Ends the streams of a cluster, or all, which would go on for as long as their clients like."""
        for task, cluster in list(self._streams.items()):
            if name in ("", cluster):
                task.cancel()

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> Response:
        whole = _path_of(scope)
        managed = concerns(scope["method"], whole)
        name, path = (DEFAULT, whole) if managed else _cluster_of(whole)
        cluster = await self._clusters.open(name)
        if cluster is None:
            raise no_such_path()
        authority = self._clusters.keys[name].name
        body = await self._read(receive)
        try:
            request = Request(
                method=scope["method"],
                path=path,
                query=parse_query(scope["query_string"].decode("latin-1")),
                headers=_headers(scope),
                body=body,
                peer=peer_of((scope.get("state") or {}).get("peer"), authority),
            )
            if not managed:
                return await cluster.handle(request)
            return await self._management.answer(cluster, request, self.close)
        finally:
            self._bodies_bytes -= len(body)

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            part = message.get("body", b"")
            size += len(part)
            if size > LIMIT_BODY_BYTES:
                raise StatusError(
                    413, "RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT_BODY_BYTES}"
                )
            parts.append(part)
            if not message.get("more_body"):
                break
        if self._bodies_bytes + size > LIMIT_BODIES_BYTES:
            raise StatusError(429, "TooManyRequests", "too many large requests at once, please try again later", {}, 1)
        self._bodies_bytes += size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _stream(self, receive: Receive, send: Send, response: Response, cluster: str) -> None:
        """A body that comes little by little, until it ends, the client leaves or the server closes."""
        body = response.body
        assert not isinstance(body, bytes)
        sending = asyncio.ensure_future(_send_pieces(send, response, body))
        self._streams[sending] = cluster
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            if not leaving.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            for task in (sending, leaving):
                task.cancel()
            self._streams.pop(sending, None)
            await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_pieces(send: Send, response: Response, body: AsyncIterator[bytes]) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": _header_lines(response)})
    async for piece in body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(scope: dict[str, Any], send: Send, response: Response) -> None:
    body = response.body
    assert isinstance(body, bytes)
    if len(body) >= COMPRESSED_FROM_BYTES and _takes_gzip(scope):
        body = await asyncio.to_thread(_gzip, body)
        response.headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    headers = [*_header_lines(response), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def _takes_gzip(scope: dict[str, Any]) -> bool:
    return any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])


def _path_of(scope: dict[str, Any]) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.split(b"?", 1)[0].decode("latin-1")


def _cluster_of(path: str) -> tuple[str, str]:
    if path.startswith(f"{CLUSTERS}/"):
        name, slash, rest = path.removeprefix(f"{CLUSTERS}/").partition("/")
        return name, slash + rest if slash else "/"
    return DEFAULT, path


def _headers(scope: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        between = BETWEEN if key.startswith("impersonate-") else ", "
        found[key] = f"{found[key]}{between}{text}" if key in found else text
    return found


def _header_lines(response: Response) -> list[tuple[bytes, bytes]]:
    lines = [(b"content-type", response.content_type.encode("latin-1"))]
    lines += [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in response.headers.items()]
    return lines


def peer_of(certificate: dict[str, Any] | None, authority: str) -> User | None:
    """Who the client's certificate names (ssl.SSLSocket.getpeercert): its common name, and organisations as groups. STRANGER when it is another
    cluster's: TLS only says that one of the authorities has issued it. `authority`: the common name of the cluster's."""
    if not certificate:
        return None
    if _names(certificate, "issuer").get("commonName") != [authority]:
        return STRANGER
    found = _names(certificate, "subject")
    names = found.get("commonName", [])
    groups = (*found.get("organizationName", ()), "system:authenticated")
    return User(names[0], groups) if names else STRANGER


def _names(certificate: dict[str, Any], whose: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in certificate.get(whose, ()):
        for name, value in part:
            found.setdefault(name, []).append(value)
    return found
