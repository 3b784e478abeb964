"""A WebSocket of a client, as faces use it: over ASGI, bounded, closed once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
POLICY_VIOLATION, GOING_AWAY = 1008, 1001
"""RFC 6455 7.4.1."""


class WebSocket:
    """`path` of the request. A client that has left: `receive` gives None, `send` raises OSError. `send` waits while the client does not read."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.path = str(scope["path"])
        self._receive = receive
        self._send = send
        self._open = False
        self._left = False

    async def accept(self) -> bool:
        """False when the client has left already."""
        if (await self._receive())["type"] != "websocket.connect":
            self._left = True
            return False
        await self._send({"type": "websocket.accept"})
        self._open = True
        return True

    async def receive(self) -> str | bytes | None:
        """The next message; None when there is none any more."""
        if self._left:
            return None
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._left, self._open = True, False
            return None
        data = message.get("bytes")
        return data if data is not None else str(message.get("text", ""))

    async def send(self, data: bytes) -> None:
        if not self._open:
            raise ConnectionResetError("the WebSocket is closed")
        await self._send({"type": "websocket.send", "bytes": data})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Of a closed one it is success."""
        if self._open:
            self._open = False
            await self._send({"type": "websocket.close", "code": code, "reason": reason[:120]})
