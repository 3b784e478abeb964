"""Connections that ask for more than plain requests: uvicorn's HTTP and WebSockets, around an ASGI application.

Imported with the first such connection (`connections.Others`): it costs some tens of milliseconds and megabytes.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gureum.base.lean_imports import without
from gureum.connections import Corked, Serving

with without("uvicorn.main", "Server", "main", "run"):
    # The package imports its own command line, which is most of what it would cost: click, and processes of multiprocessing.
    from uvicorn.config import Config
    from uvicorn.importer import import_from_string
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    from uvicorn.server import ServerState

WS_PROTOCOL = "uvicorn.protocols.websockets.wsproto_impl:WSProtocol"
LIMIT_MESSAGE_BYTES = 1024 * 1024
"""Of a client's WebSocket."""
WS_PING_S = 60.0


class Connections:
    """uvicorn's protocol on a loop and transports of ours (its own server would take over signals and the loop)."""

    def __init__(self, application: Any, keep_alive_s: float) -> None:
        self._config = Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(keep_alive_s),
            ws="none",
            ws_max_size=LIMIT_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=WS_PING_S,
            ws_ping_timeout=WS_PING_S,
        )
        self._config.load()
        self._state = ServerState()

    @property
    def open_ones(self) -> set[Serving]:
        return cast("set[Serving]", self._state.connections)

    def connection(self) -> asyncio.Protocol:
        return UvicornConnection(config=self._config, server_state=self._state, app_state={})


class UvicornConnection(HttpToolsProtocol):
    """What WebSockets need is imported with the first one. The application finds a client's certificate in its state, and the connection,
    to which it may write pieces of a body that it has begun."""

    def connection_made(self, transport: Any) -> None:
        self.app_state = {"connection": self}
        peer = transport.get_extra_info("peercert")
        if peer:
            self.app_state["peer"] = peer
        super().connection_made(cast(asyncio.Transport, Corked(transport)))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.app_state = {}  # it holds this

    def write_piece(self, piece: bytes) -> bool:
        """A chunk of the body under way, with its frame, past uvicorn. False, and nothing sent, while the client does not keep up."""
        if self.flow.write_paused:
            return False
        self.transport.write(piece)
        return True

    def _should_upgrade_to_ws(self) -> bool:
        if self.config.ws_protocol_class is None:
            self.config.ws_protocol_class = import_from_string(WS_PROTOCOL)
        self.ws_protocol_class = self.config.ws_protocol_class
        return True
