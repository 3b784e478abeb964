"""Calls about one thing take turns; nothing is left when nobody is busy."""

from __future__ import annotations

import asyncio

from gureum.drivers.workers.turns import Turns


def test_one_after_the_other_by_name_and_nothing_left() -> None:
    async def scene() -> None:
        turns, order = Turns(), list[str]()

        async def call(name: str, label: str) -> None:
            async with turns.of(name):
                order.append(f"{label} in")
                await asyncio.sleep(0)
                order.append(f"{label} out")

        await asyncio.gather(call("a", "1"), call("a", "2"), call("b", "3"))
        assert order == ["1 in", "3 in", "1 out", "3 out", "2 in", "2 out"]
        assert turns._locks == {}

    asyncio.run(scene())


def test_cancelled_waiter_leaves_the_turn_to_the_next() -> None:
    async def scene() -> None:
        turns = Turns()
        async with turns.of("a", "b"):
            waiting = asyncio.ensure_future(_enter(turns))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(_enter(turns), 5)
        assert turns._locks == {}

    asyncio.run(scene())


async def _enter(turns: Turns) -> None:
    async with turns.of("b"):
        pass
