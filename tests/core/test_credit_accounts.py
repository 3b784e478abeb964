"""The agent holds machines to what their CPU credits leave them, on simulated drivers and a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gureum.core.cpu_credits import CpuCredits
from gureum.drivers.simulated.machine import SimulatedContainers
from gureum.engine.lowering import Desired
from gureum.ports.containers import ContainerSpec, ContainerState, Limits, Usage
from gureum.simulated import simulated_ports
from gureum.store.contract import Store
from tests.core.agent_parts import Agent, group, machine, network
from tests.core.fake_clock import FakeClock

STANDARD = CpuCredits(12, unlimited=False)  # a t3.micro: 0.2 of two processors
UNLIMITED = CpuCredits(12, unlimited=True)
ID = "Container/i-1"


class BusyContainers(SimulatedContainers):
    """Its machines use `load` processors, as far as their limit lets them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self._time, self._load, self.looks = clock, 0.0, 0
        self.cpus: dict[str, float] = {}
        self.cpus_at_signal: list[float] = []
        self._used: dict[str, tuple[float, float]] = {}

    async def start(self, spec: ContainerSpec) -> ContainerState:
        self.cpus[spec.name] = spec.limits.cpus
        self._used[spec.name] = (0.0, self._time.now())
        return await super().start(spec)

    def run_at(self, cpus: float) -> None:
        for name in self._used:
            self._use(name)
        self._load = cpus

    def _use(self, name: str) -> float:
        used, since = self._used[name]
        used += min(self._load, self.cpus[name]) * (self._time.now() - since)
        self._used[name] = (used, self._time.now())
        return used

    async def usage(self, name: str) -> Usage | None:
        self.looks += 1
        known = await super().usage(name)
        return msgspec.structs.replace(known, cpu_ns=round(self._use(name) * 1e9)) if known is not None else None

    async def kill(self, name: str, signal: int) -> None:
        if name in self.cpus:
            self.cpus_at_signal.append(self.cpus[name])
        await super().kill(name, signal)

    async def update(self, name: str, limits: Limits) -> None:
        self._use(name)
        self.cpus[name] = limits.cpus
        await super().update(name, limits)


class Burstable:
    """An agent with one machine of two processors."""

    def __init__(self, store: Store | None = None, clock: FakeClock | None = None, ports: Any = None) -> None:
        self.clock = clock or FakeClock()
        if ports is None:
            ports = msgspec.structs.replace(simulated_ports(self.clock), containers=BusyContainers(self.clock))
        self.agent = Agent(store, ports)
        self.containers: BusyContainers = ports.containers

    async def start(self) -> None:
        await self.agent.service.start()
        self.agent.service._watching[0].cancel()  # looks at the disk each second of the hours that pass here

    async def wish(self, credits_: CpuCredits | None, **container: Any) -> None:
        self.agent.service.sync([network(), group(), *self._machine(credits_, **container)])
        await self.clock.advance(0)

    async def begin(self, credits_: CpuCredits) -> None:
        await self.start()
        await self.wish(credits_)
        await self.agent.ready(ID)
        await self.clock.advance(0)

    def _machine(self, credits_: CpuCredits | None, **container: Any) -> list[Desired]:
        return machine(credits=credits_, limits=Limits(cpus=2.0), **container)

    async def balance(self) -> tuple[float, float]:
        """(credits, surplus)."""
        answer = await self.agent.service.counter_looks({"after": 0.0, "look": "now"})
        counted = answer["looks"][-1]["sample"]["credits"]["i-1"]
        return counted.balance, counted.surplus

    async def renewed(self) -> Burstable:
        """A new agent on the same machine; the machine goes on meanwhile."""
        await self.agent.service.close()
        new = Burstable(self.agent.store, self.clock, self.agent.ports)
        await new.start()
        await new.agent.ready(ID)
        await self.clock.advance(0)
        return new

    @property
    def cpus(self) -> float:
        return self.containers.cpus["i-1"]


def test_without_credits_it_starts_at_its_baseline_and_an_unlimited_one_at_full_speed() -> None:
    async def run() -> None:
        for wish, cpus in ((STANDARD, 0.2), (UNLIMITED, 2.0), (CpuCredits(12, unlimited=False, launch=60), 2.0)):
            cloud = Burstable()
            await cloud.begin(wish)
            assert cloud.cpus == pytest.approx(cpus)
            await cloud.agent.service.close()

    asyncio.run(run())


def test_it_comes_down_gradually_and_rises_when_credits_return() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, earned=20.0))
        cloud.containers.run_at(2.0)
        seen = [cloud.cpus]
        for _ in range(30):
            await cloud.clock.advance(60)
            seen.append(cloud.cpus)
        assert seen == sorted(seen, reverse=True)
        assert (seen[0], seen[2]) == (2.0, 2.0)
        assert 0.6 < seen[11] < 1.6
        assert seen[-1] == pytest.approx(0.2, abs=0.04)
        assert (await cloud.balance())[0] < 0.1
        cloud.containers.run_at(0.0)
        await cloud.clock.advance(1800)
        assert 0.2 < cloud.cpus < 2.0
        assert (await cloud.balance())[0] == pytest.approx(6.0, abs=0.2)
        await cloud.clock.advance(3600)
        assert cloud.cpus == 2.0
        await cloud.agent.service.close()

    asyncio.run(run())


def test_becoming_unlimited_lifts_it_at_once_and_standard_holds_it_again() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(STANDARD)
        assert cloud.cpus == pytest.approx(0.2)
        await cloud.wish(UNLIMITED)
        assert cloud.cpus == 2.0
        cloud.containers.run_at(2.0)
        await cloud.clock.advance(600)
        assert await cloud.balance() == (0.0, pytest.approx(18.0))
        await cloud.wish(STANDARD)
        assert cloud.cpus == pytest.approx(0.2)
        assert await cloud.balance() == (0.0, 0.0)
        await cloud.wish(None)
        await cloud.agent.service.close()

    asyncio.run(run())


def test_users_read_that_it_is_held_and_that_it_is_free_again() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(STANDARD)
        cloud.containers.run_at(2.0)
        await cloud.clock.advance(120)
        await cloud.wish(UNLIMITED)
        told = [(one.kind, one.reason) for one in cloud.agent.service.events.of(ID) if "Credits" in one.reason]
        assert told == [("Warning", "NoCpuCredits"), ("Normal", "CpuCredits")]
        await cloud.agent.service.close()

    asyncio.run(run())


def test_a_new_agent_goes_on_with_the_account_and_counts_what_happened_meanwhile() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, earned=100.0))
        await cloud.clock.advance(400)
        await cloud.agent.service.close()
        cloud.containers.run_at(2.0)
        await cloud.clock.advance(600)
        new = await cloud.renewed()
        # 1,000 seconds at 12 an hour are earned, and ten minutes of two processors spent.
        assert (await new.balance())[0] == pytest.approx(100 + 1000 / 300 - 20, abs=1e-3)
        await new.agent.service.close()

    asyncio.run(run())


def test_an_account_that_was_lost_is_computed_from_the_machines_own_counters() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, earned=100.0))
        cloud.containers.run_at(1.0)
        await cloud.clock.advance(600)
        cloud.agent.service.machine.kept.clear()
        await cloud.agent.service.machine._keep("credits/i-1", "")
        new = await cloud.renewed()
        assert (await new.balance())[0] == pytest.approx(100 + 2 - 10, abs=1e-3)
        await new.agent.service.close()

    asyncio.run(run())


def test_a_reboot_keeps_what_is_left_and_gives_no_launch_credits() -> None:
    async def run() -> None:
        cloud = Burstable()
        wish = CpuCredits(12, unlimited=False, start=1, launch=60.0)
        await cloud.begin(wish)
        cloud.containers.run_at(2.0)
        await cloud.clock.advance(600)
        cloud.containers.end("i-1", 129)
        await cloud.clock.advance(0)
        cloud.containers.run_at(0.0)
        assert (await cloud.balance())[0] == pytest.approx(60 + 2 - 20, abs=0.1)
        await cloud.wish(wish, boot=2)
        assert (await cloud.balance())[0] == pytest.approx(60 + 2 - 20, abs=0.1)
        await cloud.agent.service.close()

    asyncio.run(run())


def test_a_stopped_machine_tells_what_it_has_left_and_the_next_start_begins_as_is_wished() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, start=1, earned=30.0))
        await cloud.clock.advance(3600)
        await cloud.wish(msgspec.structs.replace(STANDARD, start=1, earned=30.0), wish="stopped")
        await cloud.clock.advance(3600)
        assert cloud.agent.status[ID].data["credits"] == pytest.approx(42.0)
        # The same start goes on with it (an image was made meanwhile); another one is the daemon's to say.
        await cloud.wish(msgspec.structs.replace(STANDARD, start=1, earned=30.0), boot=2)
        assert (await cloud.balance())[0] == pytest.approx(42.0)
        await cloud.wish(msgspec.structs.replace(STANDARD, start=1), wish="stopped")
        await cloud.wish(msgspec.structs.replace(STANDARD, start=3, earned=7.0), boot=3)
        assert (await cloud.balance())[0] == pytest.approx(7.0)
        await cloud.agent.service.close()

    asyncio.run(run())


def test_one_that_is_held_has_all_its_processors_to_stop_in_time_and_is_held_again() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, start=1))
        await cloud.wish(msgspec.structs.replace(STANDARD, start=1), boot=2)
        await cloud.agent.until(lambda: cloud.agent.status[ID].data.get("run") == 2)
        assert cloud.containers.cpus_at_signal == [2.0]
        assert cloud.cpus == pytest.approx(0.2)
        await cloud.agent.service.close()

    asyncio.run(run())


def test_what_is_left_outlives_a_home_that_goes_down_and_nothing_is_earned_meanwhile() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, earned=30.0))
        await cloud.clock.advance(3600)
        await cloud.agent.service.stop_machines(5.0)
        await cloud.agent.service.close()
        await cloud.clock.advance(7200)
        new = Burstable(cloud.agent.store, cloud.clock, cloud.agent.ports)
        await new.start()
        await new.agent.ready(ID)
        await new.clock.advance(0)
        assert (await new.balance())[0] == pytest.approx(42.0)
        await new.agent.service.close()

    asyncio.run(run())


def test_a_counter_that_was_read_before_a_restart_is_not_the_new_runs() -> None:
    """A container that was removed and made anew begins with run 1 again."""

    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, earned=100.0))
        accounts = cloud.agent.service._containers.credits
        turns = accounts.turns()
        await cloud.wish(msgspec.structs.replace(STANDARD, earned=100.0), wish="stopped")
        await cloud.wish(msgspec.structs.replace(STANDARD, earned=100.0))
        await cloud.agent.ready(ID)
        assert cloud.agent.status[ID].data["run"] == 1
        old = Usage(cpu_ns=3000 * 10**9, memory_bytes=0, pids=1)
        assert accounts.count(turns, {"i-1": old}, cloud.clock.now()) == {}
        assert (await cloud.balance())[0] == pytest.approx(100.0)
        await cloud.agent.service.close()

    asyncio.run(run())


def test_a_clock_that_was_set_back_frees_no_machine_and_holds_none_for_ever() -> None:
    async def run() -> None:
        cloud = Burstable()
        await cloud.begin(msgspec.structs.replace(STANDARD, earned=40.0))
        assert cloud.cpus == 2.0
        cloud.clock.set_by(-7 * 86400.0)
        cloud.containers.run_at(2.0)
        await cloud.clock.advance(3600)
        assert cloud.cpus == pytest.approx(0.2, abs=0.04)
        cloud.containers.run_at(0.0)
        await cloud.clock.advance(6 * 3600)
        assert cloud.cpus == 2.0
        assert (await cloud.balance())[0] == pytest.approx(72.0, abs=2.0)
        await cloud.agent.service.close()

    asyncio.run(run())


def test_unlimited_machines_and_full_accounts_cost_next_to_no_looks() -> None:
    async def run() -> None:
        for wish, most in ((UNLIMITED, 0), (msgspec.structs.replace(STANDARD, earned=288.0), 13), (STANDARD, 241)):
            cloud = Burstable()
            await cloud.begin(wish)
            await cloud.agent.service._counters.close()  # metrics look each minute anyway
            before = cloud.containers.looks
            await cloud.clock.advance(3600)
            assert cloud.containers.looks - before <= most
            await cloud.agent.service.close()

    asyncio.run(run())
