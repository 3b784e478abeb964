"""Looks that are kept while nobody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gureum.core import look_ring
from gureum.core.look_ring import LookRing
from gureum.ports import PortError
from tests.core.fake_clock import FakeClock, settle


class Parts:
    def __init__(self, period_s: int = 60, weight: int = 1) -> None:
        self.clock = FakeClock()
        self.taken = 0
        self.broken = False
        self.weight = weight
        self.ring = LookRing(self._take, self.clock, period_s)
        self.began = self.clock.now()

    async def _take(self, alone: bool) -> tuple[str, int]:
        if self.broken:
            raise PortError("away")
        self.taken += 1
        return f"{self.taken}{' alone' if alone else ''}", self.weight

    async def told(self, after: float = 0.0, keep: float = 0.0, look: str = "now") -> list[tuple[int, str]]:
        found, _ = await self.ring.since({"after": after, "keep": keep, "look": look})
        return [(int(one.time - self.began), one.found) for one in found]


def run(story: Callable[[Parts], Awaitable[None]], **of: int) -> None:
    async def whole() -> None:
        parts = Parts(**of)
        parts.ring.start()
        await settle()
        try:
            await story(parts)
        finally:
            await parts.ring.close()

    asyncio.run(whole())


def test_while_a_daemon_asks_at_every_end_the_agent_takes_no_look_of_its_own() -> None:
    async def story(parts: Parts) -> None:
        for minute in range(3):
            assert await parts.told(after=parts.clock.now() - 1) == [(60 * minute, str(minute + 1))]
            await parts.clock.advance(60)
        assert parts.taken == 3

    run(story)


def test_what_nobody_asked_for_is_told_to_the_next_who_does() -> None:
    async def story(parts: Parts) -> None:
        await parts.told()
        await parts.clock.advance(190)
        assert await parts.told(after=parts.began, look="no") == [(62, "2 alone"), (122, "3 alone"), (182, "4 alone")]
        assert await parts.told(look="first") == [(0, "1"), (62, "2 alone"), (122, "3 alone"), (182, "4 alone")]
        assert await parts.told(keep=parts.began + 100) == [(122, "3 alone"), (182, "4 alone"), (190, "5")]

    run(story)


def test_the_first_look_is_taken_where_there_is_none() -> None:
    async def story(parts: Parts) -> None:
        assert await parts.told(look="no") == []
        assert await parts.told(look="first") == [(0, "1")]
        assert await parts.told(look="first") == [(0, "1")]

    run(story)


def test_a_look_that_fails_is_missing_and_the_next_comes() -> None:
    async def story(parts: Parts) -> None:
        parts.broken = True
        await parts.clock.advance(65)
        parts.broken = False
        await parts.clock.advance(60)
        assert [time for time, _ in await parts.told(look="no")] == [122]

    run(story)


def test_too_much_is_forgotten_the_oldest_first_and_answers_come_in_parts() -> None:
    async def story(parts: Parts) -> None:
        for _ in range(5):
            await parts.told()
            await parts.clock.advance(1)
        found, more = await parts.ring.since({"look": "no"})
        assert [one.found for one in found] == ["3"]  # one always goes
        assert more
        found, more = await parts.ring.since({"look": "no", "after": found[-1].time})
        assert [one.found for one in found] == ["4"]

    run(story, weight=look_ring.LIMIT_WEIGHT // 3)
