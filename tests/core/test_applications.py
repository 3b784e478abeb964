"""When an application that has ended is started again (Docker: restart policies), on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gureum.core.specs import Restart
from gureum.ports.containers import Application
from gureum.simulated import simulated_ports
from gureum.store.memory import MemoryStore
from tests.core.agent_parts import Agent, group, machine, network
from tests.core.fake_clock import FakeClock

APPLICATION = "i-1"
SHORT_S = 0.001


class Watched:
    """An application on a simulated machine."""

    def __init__(self, policy: Restart) -> None:
        self.clock = FakeClock()
        self.agent = Agent(MemoryStore(), simulated_ports(self.clock))
        self._policy = policy

    async def start(self) -> None:
        await self.agent.service.start()
        wish = machine(APPLICATION, machine=False, application=Application(), restart=self._policy)
        self.agent.service.sync([network(), group(), *wish])
        await self.clock.advance(0)
        await self.agent.until(lambda: self.state == "running")

    async def start_again(self) -> None:
        """A new agent on the same machine."""
        await self.agent.service.close()
        self.agent = Agent(self.agent.store, self.agent.ports)
        await self.agent.service.start()
        await self.clock.advance(0)
        await self.agent.until(lambda: self.state == "restarting")

    @property
    def state(self) -> str:
        status = self.agent.status.get(f"Container/{APPLICATION}")
        return str(status.data.get("state", "")) if status is not None else ""

    @property
    def restarts(self) -> int:
        return int(self.agent.status[f"Container/{APPLICATION}"].data["restarts"])

    async def end(self, code: int = 1) -> None:
        self.agent.ports.containers.end(APPLICATION, code)
        await self.agent.until(lambda: self.state != "running")

    async def restarts_after(self, pause_s: float) -> None:
        """It waits that long, no shorter and no longer."""
        before = self.restarts
        await self.clock.advance(pause_s - SHORT_S)
        assert (self.state, self.restarts) == ("restarting", before)
        await self.clock.advance(2 * SHORT_S)
        await self.agent.until(lambda: self.state == "running")
        assert self.restarts == before + 1


def story(policy: Restart, tell: Callable[[Watched], Awaitable[None]]) -> None:
    async def run() -> None:
        watched = Watched(policy)
        await watched.start()
        await tell(watched)
        await watched.agent.service.close()

    asyncio.run(run())


def test_pauses_double_up_to_a_minute_and_begin_anew_after_a_good_run() -> None:
    async def tell(one: Watched) -> None:
        for pause_s in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0):
            await one.end()
            await one.restarts_after(pause_s)
        await one.clock.advance(10.0)
        await one.end()
        await one.restarts_after(0.1)
        await one.end()
        await one.restarts_after(0.1)

    story(Restart("always"), tell)


@pytest.mark.parametrize(
    ("policy", "codes", "end"),
    [
        (Restart("no"), [1], "exited"),
        (Restart("on-failure"), [0], "exited"),
        (Restart("on-failure", 2), [1, 1, 1], "exited"),
        (Restart("unless-stopped"), [0, 1, 0], "running"),
    ],
)
def test_policies(policy: Restart, codes: list[int], end: str) -> None:
    async def tell(one: Watched) -> None:
        for code in codes:
            await one.end(code)
            await one.clock.advance(1.0)
        await one.agent.until(lambda: one.state == end)

    story(policy, tell)


def test_a_wait_is_neither_lost_nor_made_longer_by_a_new_agent() -> None:
    async def tell(one: Watched) -> None:
        for pause_s in (0.1, 0.2, 0.4):
            await one.end()
            await one.restarts_after(pause_s)
        await one.end()
        await one.start_again()
        await one.restarts_after(0.8)

    story(Restart("always"), tell)


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    async def tell(one: Watched) -> None:
        await one.end()
        one.clock._now -= 3600
        one.agent.service.machine.poke(f"Container/{APPLICATION}")
        await one.agent.until(lambda: one.state == "running")

    story(Restart("always"), tell)
