"""Machines are held while the host's disk is full, on simulated drivers: when, which, and that they go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gureum.core.disk_guard import RESERVE_BYTES, DiskGuard
from gureum.ports.containers import Usage
from gureum.ports.volumes import Room
from tests.core.agent_parts import Agent, group, machine, network

DISK = 100 << 30
PLENTY = 50 << 30


class Guarded(Agent):
    """Two machines, and a disk whose room the test sets; nobody looks but the test."""

    def __init__(self) -> None:
        super().__init__()
        self.free = PLENTY
        self.guard = DiskGuard(self.service.machine)

        async def room() -> Room:
            return Room(self.free, DISK)

        async def never() -> None: ...

        self.ports.volumes.room = room
        self.service._guard.run = never  # type: ignore[method-assign]

    async def begin(self) -> None:
        await self.service.start()
        self.service.sync([network(), group(), *machine("i-1"), *machine("i-2")])
        await self.ready("Container/i-1", "Container/i-2")

    async def look(self, free: int) -> set[str]:
        """The paused machines after a look at a disk with so much room."""
        self.free = free
        await self.guard.look()
        return {state.name for state in await self.ports.containers.observe() if state.paused}


def guarded(story: Callable[[Guarded], Awaitable[None]]) -> None:
    async def run() -> None:
        agent = Guarded()
        await agent.begin()
        await story(agent)
        await agent.service.close()

    asyncio.run(run())


def test_machines_are_held_below_the_reserve_and_go_on_when_there_is_three_times_as_much() -> None:
    async def story(agent: Guarded) -> None:
        assert await agent.look(PLENTY) == set()
        agent.guard = DiskGuard(agent.service.machine)  # a fall from plenty in one look would count for itself
        assert await agent.look(RESERVE_BYTES) == set()
        assert await agent.look(RESERVE_BYTES - 1) == {"i-1", "i-2"}
        assert await agent.look(3 * RESERVE_BYTES - 1) == {"i-1", "i-2"}
        assert await agent.look(3 * RESERVE_BYTES) == set()
        assert agent.service.machine.held == ""

    guarded(story)


def test_machines_are_held_before_a_fast_writer_reaches_the_reserve() -> None:
    async def story(agent: Guarded) -> None:
        await agent.look(6 << 30)
        assert await agent.look(4 << 30) == {"i-1", "i-2"}
        assert await agent.look(4 << 30) == set(), "it does not fall any more"

    guarded(story)


def test_what_is_written_but_still_in_memory_counts() -> None:
    async def story(agent: Guarded) -> None:
        usage = Usage(0, 0, 1, unwritten_bytes=RESERVE_BYTES)

        async def unwritten(name: str) -> Usage:
            return usage

        agent.ports.containers.usage = unwritten
        assert await agent.look(3 * RESERVE_BYTES) == set()
        agent.guard = DiskGuard(agent.service.machine)
        assert await agent.look(3 * RESERVE_BYTES - 1) == {"i-1", "i-2"}

    guarded(story)


def test_what_is_no_longer_wished_ends_and_nothing_is_started_while_machines_are_held() -> None:
    async def story(agent: Guarded) -> None:
        assert await agent.look(0) == {"i-1", "i-2"}
        agent.service.sync([network(), group(), *machine("i-2"), *machine("i-3")])
        await agent.until(lambda: "Container/i-1" not in agent.status)
        await agent.until(lambda: "disk is full" in agent.status["Container/i-3"].reason)
        assert await agent.look(PLENTY) == set()
        await agent.ready("Container/i-3")

    guarded(story)


def test_next_agent_lets_what_is_paused_go_on() -> None:
    async def story(agent: Guarded) -> None:
        await agent.look(0)
        await agent.service.close()
        agent.guard = DiskGuard(Agent(agent.store, agent.ports).service.machine)
        assert await agent.look(PLENTY) == set()

    guarded(story)
