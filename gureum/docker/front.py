"""The socket of the Engine API, and loading what answers on it: with the first call, or at the start when there are containers or files of images.

So a gureum that nobody asks for Docker's API pays nothing for it but a socket.
"""

from __future__ import annotations

import contextlib
import grp
import importlib
import os
import socket
import stat
from pathlib import Path
from typing import Any

from gureum.base.fd_store import FdStore
from gureum.core.world import World
from gureum.docker.server import Request, Responder, Server

PACKAGE = "gureum.docker"
_MODE = 0o660


class Docker:
    """`path`: of the socket, "" for none."""

    def __init__(self, world: World, path: str) -> None:
        self._world = world
        self._path = path
        self._api: Any = None
        self._server = Server(self._handle)

    @property
    def faults(self) -> int:
        return self._api.faults if self._api is not None else 0

    async def serve(self) -> None:
        if self._is_used():
            self._load()
        if self._path:
            sock = listen(self._path)
            admit(self._path, self._world.settings.docker_group)
            await self._server.serve(sock)

    def _is_used(self) -> bool:
        stored = self._world.client.store.range("docker.")
        return bool(stored) or Path(self._world.settings.home, "docker/blobs").exists()

    async def close(self) -> None:
        await self._server.close()

    def _load(self) -> Any:
        if self._api is None:
            self._world.load(PACKAGE)
            self._api = importlib.import_module(f"{PACKAGE}.api").Api(self._world)
        return self._api

    async def _handle(self, request: Request, responder: Responder) -> None:
        await self._load().handle(request, responder)


def listen(path: str) -> socket.socket:
    """The socket that the supervisor kept while its file is still there, else a new one; root's and its group's alone."""
    shelf = FdStore.from_environment()
    kept = shelf.get_all().get("docker")
    if kept is not None:
        if _is_at(kept, path):
            return kept
        kept.close()
    file = Path(path)
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(file.stat().st_mode):
            raise OSError(f"{path} is no socket (setting docker_socket)")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(path)
            except OSError:
                file.unlink()  # one that a dead gureum left
            else:
                raise OSError(f"another program listens at {path} (setting docker_socket)")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(path)
    finally:
        os.umask(before)
    os.chmod(path, _MODE)
    made.listen(1024)
    made.setblocking(False)
    shelf.put("docker", made)
    return made


def admit(path: str, group: str) -> None:
    """The socket's group is `group`, root's where that is empty. OSError for one that the host does not know."""
    if group or os.geteuid() == 0:
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid if group else 0)
        except KeyError as error:
            raise OSError(f"this host has no group {group} (setting docker_group)") from error


def _is_at(kept: socket.socket, path: str) -> bool:
    try:
        return kept.getsockname() == path and stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
