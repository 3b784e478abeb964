"""Turns: calls about one thing go one after the other, calls about different things side by side. Nothing is kept of a thing that nobody
is busy with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """Locks by name, each as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, list[None]]] = {}

    @contextlib.asynccontextmanager
    async def of(self, *names: str) -> AsyncIterator[None]:
        """Waits for the turn of every name, in the order given; use one order everywhere."""
        async with contextlib.AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self._one(name))
            yield

    @contextlib.asynccontextmanager
    async def _one(self, name: str) -> AsyncIterator[None]:
        lock, busy = self._locks.setdefault(name, (asyncio.Lock(), []))
        busy.append(None)
        try:
            async with lock:
                yield
        finally:
            busy.pop()
            if not busy:
                del self._locks[name]
