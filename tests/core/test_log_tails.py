"""Watchers of log events: what they hold, and that many of them leave others their turn."""

from __future__ import annotations

import asyncio

from gureum.core.log_tails import LIMIT_AT_ONCE, LIMIT_WAITING, LIMIT_WAITING_CHARACTERS, LogTails, each
from gureum.ports.telemetry import LogEvent


def events(number: int, size: int = 10) -> list[LogEvent]:
    return [LogEvent("s", n, n, f"{n:0{size}}") for n in range(number)]


async def turns_while(work: asyncio.Future[None]) -> int:
    """Turns of the loop that somebody else had."""
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    await work
    return turns


def test_a_large_batch_is_looked_at_in_pieces() -> None:
    async def run() -> None:
        async def work() -> None:
            assert await each(lambda event: event.time_ms, events(1000, 1000)) == list(range(1000))

        assert await turns_while(asyncio.ensure_future(work())) >= 1000 * 1000 // LIMIT_AT_ONCE

    asyncio.run(run())


def test_many_watchers_of_a_large_batch_leave_others_their_turn() -> None:
    async def run() -> None:
        tails = LogTails()
        watchers = [tails.open("here", frozenset("g"), lambda event: event.time_ms % 2 == 0) for _ in range(15)]
        batch = events(1000, 1000)
        assert await turns_while(asyncio.ensure_future(tails.publish("here", "g", batch))) >= 15 * 10
        assert [len(tail.take()) for tail in watchers] == [500] * 15

    asyncio.run(run())


def test_a_slow_watcher_holds_the_newest_only() -> None:
    async def run() -> None:
        tails = LogTails()
        tail = tails.open("here", frozenset("g"), lambda event: True)
        for _ in range(3):
            await tails.publish("here", "g", events(LIMIT_WAITING))
        await tails.publish("here", "other", events(3))
        await tails.publish("there", "g", events(3))
        found = tail.take()
        assert len(found) == LIMIT_WAITING
        assert found[-1][1].time_ms == LIMIT_WAITING - 1
        large = events(20, LIMIT_WAITING_CHARACTERS // 10)
        await tails.publish("here", "g", large)
        assert [event for _, event in tail.take()] == large[-10:]
        tails.forget(tail)
        await tails.publish("here", "g", events(3))
        assert tail.take() == []

    asyncio.run(run())
