"""A real container burns its CPU credits and is brought down, step by step, to its baseline by the kernel. The way down, fifteen minutes long, is
made as short as a test may be. Needs root."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gureum.base.clock import SystemClock
from gureum.core import cpu_credits, credit_accounts
from gureum.core.cpu_credits import CpuCredits
from gureum.core.credit_accounts import CreditAccounts
from gureum.core.specs import Container
from gureum.engine.events import Events
from gureum.engine.lowering import Desired
from gureum.ports.containers import ContainerState, Limits
from tests.machine.container_host import CGROUPS, Host, host_test

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")]
NANO = CpuCredits(6, unlimited=False, earned=0.05)  # a t3.nano with three seconds of a processor in hand
CPUS, BASELINE = 2.0, 0.1
BURN = "for i in 1 2; do (while :; do :; done) & done; wait"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_credits, "FADE_S", 3.0)
    monkeypatch.setattr(cpu_credits, "STEP_S", 0.1)
    monkeypatch.setattr(credit_accounts, "STEP_S", 0.1)


class Burning:
    """A container of two processors that uses all it may."""

    def __init__(self, host: Host, wish: CpuCredits) -> None:
        self._host, self.name = host, "burning"
        self.spec = Container("s", "i", "v", limits=Limits(cpus=CPUS), credits=wish)
        self.state = ContainerState(self.name, "running", 1)
        kept: dict[str, str] = {}

        async def keep(name: str, text: str) -> None:
            kept[name] = text

        ports = SimpleNamespace(containers=host.containers, clock=SystemClock())
        self._machine: Any = SimpleNamespace(ports=ports, kept=kept, keep=keep, desired={})
        self.accounts = CreditAccounts(self._machine, Events())
        self._wish(self.spec)

    def _wish(self, spec: Container) -> None:
        self.spec = spec
        self._machine.desired[f"Container/{self.name}"] = Desired("Container", self.name, "x", spec)

    async def start(self) -> None:
        await self.accounts.start(self.name, self.spec, None)
        limits = self.accounts.limits(self.name, self.spec)
        self.state = await self._host.start(self.name, BURN, limits=limits)
        self.accounts.started(self.name, self.spec, self.state)
        await self.accounts.look(self.name, self.spec, self.state)

    async def become(self, *, unlimited: bool) -> None:
        assert self.spec.credits is not None
        wish = msgspec.structs.replace(self.spec.credits, unlimited=unlimited)
        self._wish(msgspec.structs.replace(self.spec, credits=wish))
        await self.accounts.look(self.name, self.spec, self.state)

    @property
    def quota(self) -> float:
        """Processors that the kernel gives it."""
        group = f"gureum-{self._host.home_id}/{self.name}"
        if (CGROUPS / "cgroup.controllers").exists():
            quota, period = (CGROUPS / group / "cpu.max").read_text().split()
        else:
            files = [CGROUPS / "cpu" / group / f"cpu.cfs_{what}_us" for what in ("quota", "period")]
            quota, period = (Path(file).read_text() for file in files)
        return int(quota) / int(period)

    async def speed(self) -> float:
        began, used = time.monotonic(), await self._used_s()
        await asyncio.sleep(2.0)
        return (await self._used_s() - used) / (time.monotonic() - began)

    async def _used_s(self) -> float:
        usage = await self._host.containers.usage(self.name)
        assert usage is not None
        return usage.cpu_ns / 1e9


@host_test
async def test_a_burnt_out_container_is_brought_down_gradually_and_let_go_when_it_is_unlimited(host: Host) -> None:
    burning = Burning(host, NANO)
    await burning.start()
    watching = asyncio.create_task(burning.accounts.run())
    assert burning.quota == CPUS
    between = set()
    while (quota := burning.quota) > BASELINE * 1.5:
        await asyncio.sleep(0.05)
        between |= {quota} - {CPUS}
    assert len(between) > 3
    assert await burning.speed() < 2 * BASELINE
    await burning.become(unlimited=True)
    assert burning.quota == CPUS
    while await burning.speed() < 2.5 * BASELINE:
        pass  # others have the processors at the moment
    await burning.become(unlimited=False)
    assert burning.quota == pytest.approx(BASELINE)
    watching.cancel()


@host_test
async def test_an_unlimited_container_burns_on(host: Host) -> None:
    burning = Burning(host, msgspec.structs.replace(NANO, unlimited=True))
    await burning.start()
    watching = asyncio.create_task(burning.accounts.run())
    for _ in range(3):
        await burning.speed()
        assert burning.quota == CPUS
    watching.cancel()
