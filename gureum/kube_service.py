"""The Kubernetes API beside the others: its socket, and when its code is loaded."""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gureum.base.clock import SystemClock
from gureum.base.homes import Home
from gureum.base.sealing import Sealer
from gureum.connections import AsgiServer
from gureum.store.contract import Store

log = logging.getLogger("gureum.kube")
LIMIT_START_S = 10.0


class KubeService:
    """The Kubernetes API: its socket listens from the start, its code is loaded when everything else is ready, which it would delay by a
    fifth of a second. Who connects before that waits as long. `seals`: the folder for the keys of Secrets, then where they may lie from before."""

    def __init__(self, home: Home, store: Store, sealer: Sealer, clock: SystemClock, seals: Sequence[Path]) -> None:
        self._home = home
        self._seals = seals
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._socket: socket.socket | None = None
        self._server: AsgiServer | None = None
        self._face: Any = None
        self._starting: asyncio.Task[None] | None = None

    def listen(self, sock: socket.socket) -> None:
        self._socket = sock

    def start(self) -> None:
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def keys(self, issuer: str) -> dict[str, Any] | None:
        """The keys of the cluster whose tokens say `issuer`, as `core.issuers.Issuers` promises."""
        if self._face is None and self._starting is not None:
            await asyncio.wait([self._starting], timeout=LIMIT_START_S)
        if self._face is None:
            return None
        found: dict[str, Any] | None = self._face.keys(issuer)
        return found

    async def reset(self) -> None:
        """After the store was emptied."""
        if self._face is not None:
            await self._face.reset()

    async def close(self, limit_s: float) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._face is not None:
            await self._face.close()
        if self._server is not None:
            await self._server.close(limit_s)

    async def _start(self) -> None:
        try:
            module = await asyncio.to_thread(importlib.import_module, "gureum.kube.face")
            home = self._home
            folder, url = home.kubeconfig.parent, home.kube_endpoint
            face = module.KubeFace(folder, self._seals, home.bind, url, self._store, self._sealer, self._clock)
            context = await face.prepare()
            self._face = face
            self._server = AsgiServer(face.front)
            assert self._socket is not None
            await self._server.serve(self._socket, context)
            await face.resume()
        except Exception:
            log.exception("the Kubernetes API does not start")
            raise
