"""A clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """Fills ports.clock.Clock. `advance` wakes sleepers in their order and lets the loop settle after each."""

    def __init__(self) -> None:
        self._now = 1_800_000_000.0
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def set_by(self, seconds: float) -> None:
        """Somebody sets the clock; who sleeps still sleeps for as long as was asked."""
        self._now += seconds
        self._sleepers = [(at + seconds, number, waker) for at, number, waker in self._sleepers]

    async def sleep(self, seconds: float) -> None:
        waker = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), waker))
        await waker

    async def advance(self, seconds: float) -> None:
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                waker.set_result(None)
                await settle()
        self._now = end
        await settle()


async def settle() -> None:
    """Everything that can run without time passing has run."""
    for _ in range(50):
        await asyncio.sleep(0)
