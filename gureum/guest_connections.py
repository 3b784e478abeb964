"""Connections of machines of the cloud, as the agent hands them on (guest_api.py). Imported with the first one."""

from __future__ import annotations

import asyncio

from gureum.uvicorn_connections import Connections as UvicornConnections
from gureum.uvicorn_connections import UvicornConnection

LIMIT_GUEST_BYTES = 100
LIMIT_GUEST_HEAD_BYTES, LIMIT_GUEST_AHEAD = 512 * 1024, 16
"""What may come without a whole head or a piece of a body in it (one read is up to 256 KiB); requests that wait behind the one being answered."""


class Connections(UvicornConnections):
    """uvicorn's, with the bounds that guests have."""

    def connection(self) -> asyncio.Protocol:
        return GuestConnection(config=self._config, server_state=self._state, app_state={})


class GuestConnection(UvicornConnection):
    """A connection that the agent hands on for a guest: the first line says whose it is and by which gate ("NETWORK ADDRESS [SERVICE]"), HTTP
    follows. The application is told it as the client's name. What a parser would gather without a bound (heads, trailers, requests sent ahead) has
    one here, and no request becomes a WebSocket."""

    _head: bytes | None = b""
    _gathered_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            line, end, data = (self._head + data).partition(b"\n")
            if not end and len(line) > LIMIT_GUEST_BYTES:
                self.transport.abort()
                return
            if not end:
                self._head = line
                return
            self._head = None
            self.client = (line.decode("ascii", "replace"), 0)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > LIMIT_GUEST_HEAD_BYTES:
            self.transport.abort()
        elif data:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        self._gathered_bytes = 0
        if len(self.pipeline) >= LIMIT_GUEST_AHEAD:
            raise ValueError("too many requests at once")  # the parser's error, answered 400
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._gathered_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._gathered_bytes = 0
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """A guest's doing is no news."""
