"""The SSH endpoint of serial consoles: its socket and its host key, and when its code is loaded: with the first who connects.

So a gureum on whose consoles nobody is pays nothing for them but a socket.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import socket
from pathlib import Path
from typing import Any

from gureum.aws.services import Services
from gureum.core.world import World

log = logging.getLogger("gureum.serial-ssh")
SERVICE = "ec2-instance-connect"


class SerialService:
    """`folder`: where the host key is kept."""

    def __init__(self, world: World, services: Services, folder: Path) -> None:
        self._world, self._services, self._folder = world, services, folder
        self._socket: socket.socket | None = None
        self._server: Any = None
        self._starting: asyncio.Task[None] | None = None
        self._showing: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()
        self.address = ""
        """"127.0.0.1:4522"; "" while it does not listen."""
        self.fingerprint = ""

    def listen(self, sock: socket.socket) -> None:
        """Serves from the first connection on."""
        self._socket = sock
        host, port = sock.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        asyncio.get_running_loop().add_reader(sock.fileno(), self._begin)

    def start(self) -> None:
        """Makes the host key when there is none, and tells its fingerprint: when all else is ready, which its cryptography would hold up."""
        if self._socket is not None:
            self._showing = asyncio.get_running_loop().create_task(self._show_key())

    async def _show_key(self) -> None:
        try:
            self.fingerprint = (await self._host_key()).fingerprint
        except OSError as error:
            log.error("the host key of serial consoles is not there", extra={"why": str(error)})

    async def _host_key(self) -> Any:
        def make() -> Any:
            return importlib.import_module("gureum.base.ssh_host_keys").host_key(self._folder)

        async with self._making:
            return await asyncio.to_thread(make)

    async def close(self) -> None:
        if self._socket is not None and self._starting is None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        for task in (self._showing, self._starting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._server is not None:
            await self._server.close()

    def _begin(self) -> None:
        """Somebody waits to be accepted; the server does that."""
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        try:
            self._services.load(SERVICE)
            module = await asyncio.to_thread(importlib.import_module, "gureum.serial_ssh")
            self._server = module.SerialSsh(self._world)
            await self._server.serve(self._socket, (await self._host_key()).path)
        except Exception:
            log.exception("serial consoles cannot be reached")
            raise
