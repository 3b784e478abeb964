"""The HTTP front of the daemon: ASGI to the gateway's plain requests, and gureum's own paths beside it.

    /_gureum/…   health, status, explain, coverage, reset, logs      (admin.py)
    /metrics     Prometheus text
    else         AWS

Written to ASGI directly: the gateway wants the whole body and the raw path, which frameworks take away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gureum.admin import Admin
from gureum.aws.errors import AwsError
from gureum.aws.gateway import LIMIT_BODY_BYTES, Gateway
from gureum.aws.protocols import Request, Response, error_response

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    def __init__(self, gateway: Gateway, admin: Admin) -> None:
        self._gateway = gateway
        self._admin = admin

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        if body is None:
            response = error_response(None, "query", AwsError("RequestEntityTooLarge", "The request is too large.", status=413), "-")
        else:
            request = _request(scope, body)
            own = request.path.startswith("/_gureum/") or request.path == "/metrics"
            response = await (self._admin.handle(request) if own else self._gateway.handle(request))
        await _write(send, response)


def _request(scope: dict[str, Any], body: bytes) -> Request:
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


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, None when it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > LIMIT_BODY_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _write(send: Send, response: Response) -> None:
    headers = [
        (name.lower().encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in response.headers.items()
    ]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
