"""A ring of looks: what the agent has counted at the end of each period, kept until the daemon has published it.

    daemon asks at every end ──► look, kept, answered            daemon away ──► the agent looks by itself, a moment later
    {"after": t, "keep": k, …}   looks since t; those before k go                and the next daemon gets all of them

So metrics have no hole where a daemon was down. What cannot be kept (`LIMIT_LOOKS`, `LIMIT_WEIGHT`) goes, the oldest first.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar

from gureum.ports import PortError
from gureum.ports.clock import Clock

log = logging.getLogger("gureum.metrics")
T = TypeVar("T")
LIMIT_LOOKS = 480
LIMIT_WEIGHT = 100_000
"""Of all looks together; about as many structs of a few numbers."""
LIMIT_ANSWER = 20_000
"""Of one answer, which is one line of JSON."""
GRACE_S = 2.0
"""How long after the end of a period the daemon's own look is waited for."""


class Look(NamedTuple, Generic[T]):
    """`time`: Unix seconds. `alone`: no daemon asked for it."""

    time: float
    alone: bool
    found: T
    weight: int


class LookRing(Generic[T]):
    """`take(alone)` looks, and says what it weighs. All belongs to the agent's loop; looks are taken one after the other."""

    def __init__(self, take: Callable[[bool], Awaitable[tuple[T, int]]], clock: Clock, period_s: int) -> None:
        self._take = take
        self._clock = clock
        self._period_s = period_s
        self._looks: deque[Look[T]] = deque()
        self._weight = 0
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def since(self, request: dict[str, Any]) -> tuple[list[Look[T]], bool]:
        """The oldest looks after `after` (Unix seconds), and whether there are more; those before `keep` are forgotten. `look`: "now" takes a new
        one before, "first" only where there is none yet, "no" none. PortError."""
        after, keep = float(request.get("after", 0.0)), float(request.get("keep", 0.0))
        wish = request.get("look", "now")
        if wish == "now" or (wish == "first" and not self._looks):
            await self._look(alone=False)
        while self._looks and self._looks[0].time < keep:
            self._forget()
        found: list[Look[T]] = []
        weight = 0
        for look in self._looks:
            if look.time > after:
                weight += look.weight
                if found and weight > LIMIT_ANSWER:
                    return found, True
                found.append(look)
        return found, False

    async def _watch(self) -> None:
        grace_s = min(GRACE_S, self._period_s / 4)
        while True:
            now = self._clock.now()
            end = (math.floor((now - grace_s) / self._period_s) + 1) * self._period_s
            await self._clock.sleep(end + grace_s - now)
            if self._looks and self._looks[-1].time > end - self._period_s / 2:
                continue
            try:
                await self._look(alone=True)
            except PortError as away:
                log.debug("no look", extra={"why": away.why})

    async def _look(self, *, alone: bool) -> None:
        async with self._lock:
            found, weight = await self._take(alone)
            self._looks.append(Look(self._clock.now(), alone, found, weight))
            self._weight += weight
            while len(self._looks) > 1 and (len(self._looks) > LIMIT_LOOKS or self._weight > LIMIT_WEIGHT):
                self._forget()

    def _forget(self) -> None:
        self._weight -= self._looks.popleft().weight
