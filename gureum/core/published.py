"""How far metrics of what runs have been published: a mark that is written together with them, so that a daemon which comes after neither
publishes a look again nor leaves one out."""

from __future__ import annotations

import math

from gureum.core.look_ring import LIMIT_LOOKS
from gureum.core.world import World
from gureum.ports.telemetry import Datum, Series

SCOPE = "gureum"
"""No account's: nobody lists it."""
NAMESPACE = "gureum/published"
LONGEST_PERIOD_S = 300
MINUTE_MS = 60_000


def end_of(look_time: float, period_s: int) -> int:
    """Unix seconds of the end of the period that the look belongs to: looks are taken at an end or later, but for what timers are early by."""
    return math.floor(look_time / period_s + 0.1) * period_s


class Published:
    """The mark called `name`."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._series = Series(SCOPE, NAMESPACE, name, ())

    async def last(self) -> float:
        """The time of the newest look that has been published, 0 for none that the agent could still have. TelemetryBroken, TelemetryFull."""
        now_ms = int(self._world.clock.now() * 1000)
        oldest_ms = now_ms - (LIMIT_LOOKS + 1) * LONGEST_PERIOD_S * 1000
        found = await self._world.metrics.buckets(self._series, oldest_ms, now_ms + MINUTE_MS, MINUTE_MS)
        return max((bucket.max for bucket in found), default=0.0)

    def mark(self, look_time: float) -> Datum:
        """What to write together with the data of the look."""
        time_ms = int(look_time * 1000)
        minute_ms = time_ms - time_ms % MINUTE_MS
        return Datum(self._series, minute_ms, 1.0, look_time, look_time, look_time, unit="Seconds")
