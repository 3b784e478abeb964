"""The agent's accounts of CPU credits: settles them, and holds machines to what these leave them, by the quota of their control group.

    counters that metrics read anyway ─► settle        every STEP_S, of those that may have come to a new step: a look ─► settle ─► quota
                                            └────► kept on disk now and then (core/cpu_credits.py: what was not kept is computed again)

The daemon only says what is wished; while it is away accounts go on. While the agent is away the kernel holds the last quota. An unlimited machine
costs no look of its own, and one with much left costs one in five minutes.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Mapping

import msgspec

from gureum.core.cpu_credits import (
    LONGEST_S,
    STEP_S,
    Account,
    CpuCredits,
    cpus_allowed,
    look_again_s,
    opened,
    settled,
    switched,
)
from gureum.core.machine import Machine
from gureum.core.specs import Container
from gureum.engine.errors import Retry
from gureum.engine.events import Events
from gureum.ports import PortError
from gureum.ports.containers import ContainerState, Limits, Usage

log = logging.getLogger("gureum.agent")
KEEP_S = 300.0
_decoder = msgspec.json.Decoder(Account)


class Counted(msgspec.Struct, frozen=True):
    """What metrics tell of an account, in credits. `charged`: since the machine's start."""

    balance: float
    surplus: float
    charged: float


class CreditAccounts:
    """Of the machines that burst, by name; for all others each method does nothing. All belongs to the agent's loop."""

    def __init__(self, machine: Machine, events: Events) -> None:
        """`events`: where users read that a machine is held (`gureum explain`)."""
        self._machine = machine
        self._events = events
        self._held: set[str] = set()
        self._accounts: dict[str, Account] = {}
        self._allowed: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._turns: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def limits(self, name: str, spec: Container) -> Limits:
        """Its limits, with the processors that it may use now."""
        account = self._accounts.get(name)
        if spec.credits is None or account is None:
            return spec.limits
        return msgspec.structs.replace(spec.limits, cpus=cpus_allowed(account, spec.credits, spec.limits.cpus))

    async def start(self, name: str, spec: Container, before: ContainerState | None) -> None:
        """Before it is started, the first time or again after `before`, whose spending counts. PortError, Retry."""
        if spec.credits is None:
            return
        now, found = self._machine.ports.clock.now(), self._found(name, spec.credits)
        if found is None:
            self._accounts[name] = opened(spec.credits, now)
            return
        # Without a state it went down with the host: nobody knows when, and meanwhile it earned nothing.
        await self.rest(name, spec, before.finished if before is not None else found.time)
        self._accounts[name] = msgspec.structs.replace(self._accounts[name], time=now)
        await self._keep(name)

    async def look(self, name: str, spec: Container, state: ContainerState) -> None:
        """It runs: settles its account, follows what is wished now, and holds it to what that leaves it. PortError, Retry."""
        if spec.credits is None:
            self._drop(name)
            return
        usage = await self._machine.ports.containers.usage(name)
        account = self._found(name, spec.credits) or opened(spec.credits, state.started)
        if account.run != state.run:
            account = msgspec.structs.replace(account, time=max(account.time, state.started))
        if usage is not None:
            account = settled(account, spec.credits, self._machine.ports.clock.now(), state.run, usage.cpu_ns)
        self._accounts[name] = switched(account, spec.credits.unlimited)
        if account.unlimited != spec.credits.unlimited:
            await self._keep(name)
        await self._hold(name, spec)

    async def _look_again(self, name: str, spec: Container) -> None:
        turn = self._turns.get(name, 0)
        usage = await self._machine.ports.containers.usage(name)
        account = self._accounts.get(name)
        # Unless it was stopped, or started anew, while its counter was read.
        if account is None or not account.run or self._turns.get(name, 0) != turn:
            return
        if usage is not None and spec.credits is not None:
            now = self._machine.ports.clock.now()
            self._accounts[name] = settled(account, spec.credits, now, account.run, usage.cpu_ns)
            await self._hold(name, spec)

    async def _hold(self, name: str, spec: Container) -> None:
        assert spec.credits is not None
        account, limits = self._accounts[name], self.limits(name, spec)
        self._due[name] = account.time + look_again_s(account, spec.credits, spec.limits.cpus)
        self._tell(name, spec, limits.cpus)
        if self._allowed.get(name) == limits.cpus:
            return
        self._allowed[name] = limits.cpus
        try:
            await self._machine.ports.containers.update(name, limits)
        except PortError:
            self._allowed.pop(name, None)
            raise

    def _tell(self, name: str, spec: Container, cpus: float) -> None:
        """That it came down to its baseline, and that it is free again; the steps between are nobody's news."""
        assert spec.credits is not None
        baseline = min(spec.limits.cpus, spec.credits.baseline)
        if name not in self._held and math.isclose(cpus, baseline, rel_tol=1e-6) and baseline < spec.limits.cpus:
            self._held.add(name)
            text = f"it may use {baseline:g} of its {spec.limits.cpus:g} processors until it has earned credits or is unlimited"
            self._record(name, "NoCpuCredits", text, warning=True)
        elif name in self._held and cpus >= spec.limits.cpus:
            self._held.discard(name)
            self._record(name, "CpuCredits", f"it may use its {spec.limits.cpus:g} processors again", warning=False)

    def _record(self, name: str, reason: str, text: str, *, warning: bool) -> None:
        log.info("how fast a machine may be", extra={"machine": name, "why": reason})
        self._events.record(f"Container/{name}", self._machine.ports.clock.now(), reason, text, warning=warning)

    def started(self, name: str, spec: Container, state: ContainerState) -> None:
        """With what `limits` said."""
        account = self._accounts.get(name)
        if spec.credits is None or account is None:
            return
        self._turn(name)
        self._accounts[name] = msgspec.structs.replace(account, run=state.run, cpu_ns=0)
        self._allowed[name] = self.limits(name, spec).cpus

    def _turn(self, name: str) -> None:
        """Counters that were read before tell nothing of what runs from now on, though it may be a first run again."""
        self._turns[name] = next(self._numbers)

    async def free(self, name: str, spec: Container) -> None:
        """It is told to stop, and has but seconds before it is killed: a baseline of a twentieth would cost it what it has not written yet."""
        self._due.pop(name, None)
        if spec.credits is None or self._allowed.get(name) == spec.limits.cpus:
            return
        self._allowed.pop(name, None)
        with contextlib.suppress(PortError):  # it has ended meanwhile
            await self._machine.ports.containers.update(name, spec.limits)

    async def rest(self, name: str, spec: Container, at: float) -> None:
        """It has ended, at that time: it earns nothing until it is started again. While its counters are still there. PortError, Retry."""
        self._due.pop(name, None)
        self._allowed.pop(name, None)
        account = self._found(name, spec.credits) if spec.credits is not None else None
        if spec.credits is None or account is None or not account.run:
            return
        usage = await self._machine.ports.containers.usage(name)
        cpu_ns = usage.cpu_ns if usage is not None else account.cpu_ns
        account = settled(self._accounts[name], spec.credits, at, account.run, cpu_ns)
        self._turn(name)
        self._accounts[name] = msgspec.structs.replace(account, run=0, cpu_ns=0)
        await self._keep(name)

    def left(self, name: str, spec: Container) -> float:
        """Earned credits that one which has ended has left."""
        account = self._found(name, spec.credits) if spec.credits is not None else None
        return account.earned if account is not None else 0.0

    async def forget(self, name: str) -> None:
        self._drop(name)
        await self._machine.keep(f"credits/{name}", "")

    def turns(self) -> dict[str, int]:
        """Whose counters, read from now on, `count` takes."""
        return {name: self._turns.get(name, 0) for name, account in self._accounts.items() if account.run}

    def count(self, turns: Mapping[str, int], usages: Mapping[str, Usage], now: float) -> dict[str, Counted]:
        """Settles what has run on since `turns` by counters that somebody has read, and tells of it."""
        found = {}
        for name, turn in turns.items():
            account, wish, usage = self._accounts.get(name), self._wish(name), usages.get(name)
            if account is None or self._turns.get(name, 0) != turn or not account.run:
                continue
            if wish is None or wish.credits is None or usage is None:
                continue
            account = self._accounts[name] = settled(account, wish.credits, now, account.run, usage.cpu_ns)
            found[name] = Counted(account.balance, account.surplus, account.charged)
        return found

    async def run(self) -> None:
        """Until cancelled."""
        clock = self._machine.ports.clock
        kept_at = clock.now()
        while True:
            await clock.sleep(STEP_S)
            now = clock.now()
            for name in [name for name, due in self._due.items() if _is_due(due, now)]:
                spec = self._wish(name)
                if spec is None or name not in self._accounts:
                    self._due.pop(name, None)
                    continue
                try:
                    await self._look_again(name, spec)
                except PortError as failed:
                    log.debug("credits are not looked at", extra={"machine": name, "why": failed.why})
            if abs(now - kept_at) >= KEEP_S:
                kept_at = now
                await self._keep_all()

    async def _keep_all(self) -> None:
        for name in list(self._accounts):
            try:
                await self._keep(name)
            except Retry as full:
                log.debug("credits are not kept", extra={"machine": name, "why": str(full)})

    async def _keep(self, name: str) -> None:
        account = self._accounts.get(name)
        if account is not None:
            await self._machine.keep(f"credits/{name}", msgspec.json.encode(account).decode())

    def _found(self, name: str, wish: CpuCredits) -> Account | None:
        """The account of this start, also one that an earlier agent kept."""
        account = self._accounts.get(name)
        if account is None and (text := self._machine.kept.get(f"credits/{name}")):
            with contextlib.suppress(msgspec.DecodeError):  # of another version: it is computed anew
                account = _decoder.decode(text)
        if account is None or account.start != wish.start:
            return None
        self._accounts[name] = account
        return account

    def _wish(self, name: str) -> Container | None:
        wished = self._machine.desired.get(f"Container/{name}")
        return wished.spec if wished is not None and isinstance(wished.spec, Container) else None

    def _drop(self, name: str) -> None:
        self._held.discard(name)
        self._accounts.pop(name, None)
        self._allowed.pop(name, None)
        self._due.pop(name, None)
        self._turns.pop(name, None)


def _is_due(due: float, now: float) -> bool:
    """No look waits longer than LONGEST_S but those that never come: one that does was told before the clock was set back."""
    return due <= now or LONGEST_S < due - now < math.inf
