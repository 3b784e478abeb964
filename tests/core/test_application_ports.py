"""When the ports of an application are published, and again, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from gureum.ports import PortError
from gureum.ports.containers import Application
from gureum.ports.publishing import Publication, Published
from gureum.simulated import simulated_ports
from gureum.store.memory import MemoryStore
from tests.core.agent_parts import Agent, group, machine, network
from tests.core.fake_clock import FakeClock

NAME = "i-1"
WISH = Publication(NAME, "vpc-1", "10.0.1.5", (Published("127.0.0.1", 8001, 80),))


class Noted:
    """A publisher that notes what it is asked for. `taken`: by somebody else."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.there: set[str] = set()
        self.taken = False
        self._died: asyncio.Queue[str] = asyncio.Queue()

    async def publish(self, wish: Publication) -> None:
        if wish.name in self.there:
            return
        if self.taken:
            raise PortError("address already in use", retry=False)
        self.there.add(wish.name)
        self.published.append(wish.network)

    async def withdraw(self, name: str) -> None:
        self.there.discard(name)

    async def died(self) -> str:
        return await self._died.get()

    async def observe(self) -> frozenset[str]:
        return frozenset(self.there)

    async def close(self) -> None:
        pass

    def end(self) -> None:
        self.there.discard(NAME)
        self._died.put_nowait(NAME)


class Story:
    def __init__(self) -> None:
        self.clock, self.publisher = FakeClock(), Noted()
        ports = msgspec.structs.replace(simulated_ports(self.clock), publisher=self.publisher)
        self.agent = Agent(MemoryStore(), ports)
        self.wishes = [group(), *machine(NAME, machine=False, application=Application(), published=WISH)]

    @property
    def state(self) -> str:
        status = self.agent.status.get(f"Container/{NAME}")
        return str(status.data.get("state", "")) if status is not None else ""

    async def running(self) -> None:
        self.agent.service.sync([network(), *self.wishes])
        await self.clock.advance(0)
        await self.agent.until(lambda: self.state == "running")

    async def settled(self) -> None:
        await self.clock.advance(0)
        await self.agent.service.loop.idle()


def story(tell: Callable[[Story], Awaitable[None]]) -> None:
    async def run() -> None:
        one = Story()
        await one.agent.service.start()
        await tell(one)
        await one.agent.service.close()

    asyncio.run(run())


def test_nothing_is_published_before_its_network_is_there() -> None:
    """The proxy opens the network's namespace as it starts, and ends when there is none."""

    async def tell(one: Story) -> None:
        one.agent.service.sync(one.wishes)
        await one.agent.ready(f"Image/{NAME}", f"Sandbox/{NAME}", f"Volume/vol-{NAME}")
        await one.settled()
        assert one.publisher.published == []
        await one.running()
        assert one.publisher.published == ["vpc-1"]

    story(tell)


def test_ports_whose_process_has_ended_are_published_again_and_later_if_it_ends_again_and_again() -> None:
    async def tell(one: Story) -> None:
        await one.running()
        for ends in range(1, 4):
            one.publisher.end()
            await one.agent.until(lambda ends=ends: len(one.publisher.published) == 1 + ends)
        one.publisher.end()
        await one.settled()
        await one.agent.until(lambda: "again and again" in _events(one))
        assert len(one.publisher.published) == 4
        await one.clock.advance(0.3)
        await one.agent.until(lambda: len(one.publisher.published) == 5)
        assert one.state == "running"

    story(tell)


def test_a_program_runs_on_while_somebody_else_has_its_port() -> None:
    async def tell(one: Story) -> None:
        await one.running()
        one.publisher.taken = True
        one.publisher.end()
        await one.agent.until(lambda: "address already in use" in _events(one))
        status = one.agent.status[f"Container/{NAME}"]
        assert (status.phase, status.data["state"]) == ("ready", "running")
        one.publisher.taken = False
        await one.clock.advance(6.0)
        await one.agent.until(lambda: one.publisher.there)

    story(tell)


def _events(one: Story) -> str:
    return " ".join(event.message for event in one.agent.service.events.of(f"Container/{NAME}"))
