"""Talks with registries: in threads that nothing else waits for, so that a registry which does not answer hinders nobody but who asks it; and cut off
when nobody waits for their end any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gureum.core.world import World
from gureum.docker.images.references import Reference
from gureum.docker.images.registry import Registry, certificate_folders
from gureum.docker.images.registry_auth import Auth

T = TypeVar("T")
AT_ONCE = 64
"""Talks of a daemon. Further ones wait until one is over."""


class Talk:
    """One of them, of one user. Its registries are closed at its end."""

    def __init__(self, auth: Auth, certificates: Sequence[Path] = ()) -> None:
        self.over = threading.Event()
        self._auth, self._certificates = auth, certificates
        self._opened: list[Registry] = []

    def registry(self, reference: Reference) -> Registry:
        """For one thread."""
        made = Registry(reference, self._auth, self._certificates, self.over)
        self._opened.append(made)
        return made

    def cut(self) -> None:
        """From any thread: who waits for a registry, waits no longer, and none is asked again."""
        self.over.set()
        for one in self._opened:
            one.cut()

    def close(self) -> None:
        for one in self._opened:
            one.close()


class Talks:
    """A daemon's."""

    def __init__(self, world: World) -> None:
        self._certificates = certificate_folders(world)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="registries")

    async def run(self, auth: Auth, work: Callable[[Talk], T]) -> T:
        """What `work` gives, from a thread. Cancelled, the talk is cut."""
        talk = Talk(auth, self._certificates)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _whole, work, talk)
        finally:
            talk.cut()


def _whole(work: Callable[[Talk], T], talk: Talk) -> T:
    try:
        return work(talk)
    finally:
        talk.close()
