"""Work that is due at the end of every period (metrics), aligned to multiples of the period since 1970."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from gureum.core.world import World
from gureum.engine.reconcile import ReconcileLoop
from gureum.engine.tracing import Tracer

MINUTE_S = 60


async def at_each_end(world: World, key: str, period_s: int, work: Callable[[str], Awaitable[None]]) -> None:
    """Calls `work(key)` at the end of every period, until cancelled. What goes wrong in one is logged and counted, and the next one comes."""
    loop = ReconcileLoop("metrics", work, world.clock, world.events, Tracer())
    try:
        while True:
            now = world.clock.now()
            await world.clock.sleep((math.floor(now / period_s) + 1) * float(period_s) - now)
            loop.poke(key)
    finally:
        await loop.close()


def ended(world: World, period_s: int) -> int:
    """Unix seconds of the end of the period that has just ended."""
    return round(world.clock.now() / period_s) * period_s
