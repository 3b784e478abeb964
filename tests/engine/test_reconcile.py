from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from gureum.engine.errors import Broken, Retry
from gureum.engine.events import LIMIT_PER_OBJECT, Events
from gureum.engine.reconcile import LAST_BACKOFF_S, ReconcileLoop
from gureum.engine.tracing import Tracer
from gureum.store.contract import Conflict, StoreFull, Unchanged
from tests.engine.things import FakeClock, settle


def loop_for(work: Callable[[str], Awaitable[None]], clock: FakeClock, events: Events | None = None) -> ReconcileLoop:
    return ReconcileLoop("test", work, clock, events or Events(), Tracer(), concurrency=4)


def test_one_key_is_worked_on_by_one_task_and_again_when_it_was_poked_meanwhile() -> None:
    async def run() -> None:
        running: dict[str, int] = {}
        most: dict[str, int] = {}
        seen: list[str] = []
        gate = asyncio.Event()

        async def work(key: str) -> None:
            running[key] = running.get(key, 0) + 1
            most[key] = max(most.get(key, 0), running[key])
            await gate.wait()
            seen.append(key)
            running[key] -= 1

        loop = loop_for(work, FakeClock())
        for _ in range(3):
            loop.poke("a")
            loop.poke("b")
            await settle()
        gate.set()
        await loop.idle()
        assert most == {"a": 1, "b": 1}
        assert sorted(seen) == ["a", "a", "b", "b"], "pokes while it works make one more run, not one each"

    asyncio.run(run())


def test_no_more_keys_at_once_than_there_are_slots() -> None:
    async def run() -> None:
        at_once, most = 0, 0

        async def work(key: str) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await settle()
            at_once -= 1

        loop = loop_for(work, FakeClock())
        for number in range(20):
            loop.poke(str(number))
        await loop.idle()
        assert (most, loop.runs) == (4, 20)

    asyncio.run(run())


def test_retry_waits_its_time_and_a_poke_comes_first() -> None:
    async def run() -> None:
        clock, times = FakeClock(), []

        async def work(key: str) -> None:
            times.append(clock.now())
            if len(times) < 3:
                raise Retry("not yet", 10.0)

        loop = loop_for(work, clock)
        loop.poke("a")
        await clock.advance(9.0)
        assert len(times) == 1
        await clock.advance(1.0)
        assert len(times) == 2
        loop.poke("a")
        await settle()
        assert len(times) == 3
        await clock.advance(100.0)
        assert len(times) == 3

    asyncio.run(run())


def test_back_off_doubles_up_to_its_limit_and_starts_anew_after_success() -> None:
    async def run() -> None:
        clock, times = FakeClock(), []

        async def work(key: str) -> None:
            times.append(clock.now())
            if len(times) != 15:
                raise Retry("not yet")

        loop = loop_for(work, clock)
        loop.poke("a")
        await clock.advance(300.0)
        waits = [round(after - before, 2) for before, after in itertools.pairwise(times)]
        assert waits[:4] == [0.05, 0.1, 0.2, 0.4]
        assert max(waits) == LAST_BACKOFF_S
        assert len(times) == 15
        loop.poke("a")
        await clock.advance(0.05)
        assert round(times[-1] - times[-2], 2) == 0.05
        await loop.close()

    asyncio.run(run())


def test_broken_waits_for_the_user_and_says_why() -> None:
    async def run() -> None:
        clock, events, runs = FakeClock(), Events(), []

        async def work(key: str) -> None:
            runs.append(key)
            raise Broken("the disk is full: free some space")

        loop = loop_for(work, clock, events)
        loop.poke("a")
        await clock.advance(1000.0)
        assert runs == ["a"]
        assert [(event.kind, event.message) for event in events.of("a")] == [
            ("Warning", "the disk is full: free some space")
        ]
        loop.poke("a")
        await settle()
        assert len(runs) == 2

    asyncio.run(run())


def test_what_nobody_expected_is_counted_and_tried_again() -> None:
    async def run() -> None:
        clock, runs = FakeClock(), []

        async def work(key: str) -> None:
            runs.append(key)
            if len(runs) == 1:
                raise ZeroDivisionError

        loop = loop_for(work, clock)
        loop.poke("a")
        await clock.advance(1.0)
        assert (loop.faults, len(runs)) == (1, 2)

    asyncio.run(run())


def test_a_full_store_is_no_fault_but_a_wait() -> None:
    async def run() -> None:
        clock, events, runs = FakeClock(), Events(), []

        async def work(key: str) -> None:
            runs.append(key)
            if len(runs) == 1:
                raise StoreFull("no space left")

        loop = loop_for(work, clock, events)
        loop.poke("a")
        await clock.advance(1.0)
        assert (loop.faults, loop.retries, len(runs)) == (0, 1, 2)
        assert "no space left" in events.of("a")[0].message

    asyncio.run(run())


def test_a_lost_race_is_run_again_at_once() -> None:
    async def run() -> None:
        runs: list[str] = []

        async def work(key: str) -> None:
            runs.append(key)
            if len(runs) < 3:
                raise Conflict(Unchanged("k", 1), "k", 2)

        loop = loop_for(work, FakeClock())
        loop.poke("a")
        await loop.idle()
        assert len(runs) == 3

    asyncio.run(run())


def test_after_close_nothing_runs() -> None:
    async def run() -> None:
        clock, runs = FakeClock(), []

        async def work(key: str) -> None:
            runs.append(key)

        loop = loop_for(work, clock)
        loop.poke_after("a", 5.0)
        await loop.close()
        loop.poke("b")
        await clock.advance(10.0)
        assert runs == []

    asyncio.run(run())


def test_the_same_event_again_is_counted_and_old_ones_go() -> None:
    events = Events()
    for time in (1.0, 2.0, 3.0):
        events.record("a", time, "Retry", "waits")
    assert [(event.count, event.first, event.last) for event in events.of("a")] == [(3, 1.0, 3.0)]
    for number in range(2 * LIMIT_PER_OBJECT):
        events.record("a", 4.0, "Retry", str(number))
    assert len(events.of("a")) == LIMIT_PER_OBJECT
