"""Health of targets: what one look at a target makes of its state (`judged`, pure), and when the next look is due (`HealthChecks`).

    initial ──first pass──► healthy ──unhealthy_threshold failures in a row──► unhealthy
       └──unhealthy_threshold failures in a row──► unhealthy ──healthy_threshold passes in a row──► healthy
                                                   (told as unhealthy.draining for the group's interval, if it was healthy)

Each node of a load balancer looks for itself, and sends by what it has seen ("each load balancer node checks the health of each target").
AWS: elbv2 "health checks for your target groups", "target health status". A look that could not be made (there is no place to ask from) says
nothing about the target: its state stays, and it is tried again soon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from gureum.ports import PortError
from gureum.ports.checks import Checks, Outcome, Probe
from gureum.ports.clock import Clock

log = logging.getLogger("gureum.agent")
LOOKS_AT_ONCE = 256
"""Over all groups: each holds a socket."""
SILENT_S, SILENT_LOOKS_AT_ONCE = 0.5, 512
"""A look that has no answer after so long makes room for others, and goes on among so many of its kind: dead targets hold theirs for the whole
timeout, and what is new among hundreds of them is looked at once."""
NO_PLACE_RETRY_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""A target whose very first look failed is looked at again so soon, then ever later, until it passes or its next look is due."""
FURTHER_LOOKS_AT_ONCE = 64
"""Of those. They have places of their own: many targets that never answer delay nobody's first look."""

State = Literal["initial", "healthy", "unhealthy"]


class Health(msgspec.Struct, frozen=True):
    """`in_row`: so many looks one after the other have said the opposite of `state` (of an initial target: have failed). `draining_until`: Unix
    seconds, of one that was healthy and may keep for so long what is under way."""

    state: State = "initial"
    reason: str = ""
    description: str = ""
    in_row: int = 0
    draining_until: float = 0.0


REGISTERING = Health("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
CHECKING = Health("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")
HEALTHY = Health("healthy")


def judged(health: Health, outcome: Outcome, healthy_threshold: int, unhealthy_threshold: int) -> Health:
    """What a target's health is after one more look."""
    if outcome.passed:
        if health.state in ("initial", "healthy"):
            return HEALTHY
        passes = health.in_row + 1
        return HEALTHY if passes >= healthy_threshold else msgspec.structs.replace(health, in_row=passes)
    if health.state == "unhealthy":
        return Health("unhealthy", outcome.reason, outcome.description, 0, health.draining_until)
    failures = health.in_row + 1
    if failures >= unhealthy_threshold:
        return Health("unhealthy", outcome.reason, outcome.description)
    return msgspec.structs.replace(HEALTHY if health.state == "healthy" else CHECKING, in_row=failures)


def summed(healths: Iterable[Health]) -> Health:
    """What several places see of one target, in one word: unhealthy where one of them finds it so, with that one's reason; healthy when all do."""
    found = tuple(healths)
    for state in ("unhealthy", "initial"):
        those = [one for one in found if one.state == state]
        if those:
            return max(those, key=lambda one: one.draining_until)
    return found[0] if found else REGISTERING


def told(health: Health, now: float) -> list[str]:
    """State, reason and description, as AWS tells them."""
    drains = health.state == "unhealthy" and health.draining_until > now
    return ["unhealthy.draining" if drains else health.state, health.reason, health.description]


class Look(msgspec.Struct, frozen=True):
    """How one target is looked at: from `source` in `sandbox`, each `interval_s` seconds. `registration`: which of the target's this is of."""

    sandbox: str
    source: str
    address: str
    port: int
    probe: Probe
    interval_s: float
    registration: str = ""


Watched = tuple[str, str]
"""A target, and the sandbox that it is looked at from."""
Heard = Callable[[str, str, str, Outcome], None]


class Made(msgspec.Struct, frozen=True):
    """A look at a target of `group` that was made: when it began (Unix seconds), how long it took, and what came of it."""

    group: str
    look: Look
    began: float
    took_s: float
    outcome: Outcome


MadeSink = Callable[[Made], None]


class HealthChecks:
    """Looks at the targets of all groups. `heard(group, target, sandbox, outcome)` is called in the loop after each look that was made.

    Each target has a task and a cadence of its own at each place, from its registration on: a slow target delays no other, and those that came at
    different times are not looked at in one burst. A look starts each `interval_s`, however long the one before took. What is registered is often
    about to serve: between its first two looks it is asked again, and of the answers only the first that passes is heard. `made`: who is told of
    every look."""

    def __init__(self, clock: Clock, checks: Checks, heard: Heard) -> None:
        self.made: MadeSink | None = None
        self._clock = clock
        self._checks = checks
        self._heard = heard
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._silent = asyncio.Semaphore(SILENT_LOOKS_AT_ONCE)
        self._further = asyncio.Semaphore(FURTHER_LOOKS_AT_ONCE)
        self._looks: dict[str, dict[Watched, Look]] = {}
        self._tasks: dict[tuple[str, Watched], asyncio.Task[None]] = {}

    def watch(self, group: str, looks: dict[Watched, Look]) -> None:
        """From now on exactly these targets of `group` are looked at; a new one, or one that is to be looked at in another way, at once."""
        before = self._looks.get(group, {})
        for watched in before.keys() | looks.keys():
            if before.get(watched) != looks.get(watched):
                self._restart(group, watched, looks.get(watched))
        self._looks[group] = looks

    def forget(self, group: str) -> None:
        self.watch(group, {})
        del self._looks[group]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _restart(self, group: str, watched: Watched, look: Look | None) -> None:
        running = self._tasks.pop((group, watched), None)
        if running is not None:
            running.cancel()
        if look is not None:
            target = watched[0]
            task = asyncio.get_running_loop().create_task(self._go_on(group, target, look), name=f"check {target}")
            self._tasks[group, watched] = task

    async def _go_on(self, group: str, target: str, look: Look) -> None:
        first = True
        while True:
            pause = asyncio.ensure_future(self._clock.sleep(look.interval_s))
            ends = self._clock.now() + look.interval_s
            try:
                outcome = await self._once(group, target, look, self._slots)
                if outcome is None:
                    await self._clock.sleep(min(NO_PLACE_RETRY_S, look.interval_s))
                    continue
                self._heard(group, target, look.sandbox, outcome)
                if first and not outcome.passed and await self._passes_before(ends, group, target, look):
                    self._heard(group, target, look.sandbox, Outcome(True))
                first = False
                await pause
            finally:
                pause.cancel()

    async def _passes_before(self, ends: float, group: str, target: str, look: Look) -> bool:
        after_s = FIRST_PAUSE_S
        while self._clock.now() + after_s < ends:
            await self._clock.sleep(after_s)
            outcome = await self._once(group, target, look, self._further)
            if outcome is not None and outcome.passed:
                return True
            after_s = min(after_s * 2, LONGEST_PAUSE_S)
        return False

    async def _once(self, group: str, target: str, look: Look, slots: asyncio.Semaphore) -> Outcome | None:
        """None when there was no place to look from."""
        await slots.acquire()
        began = self._clock.now()
        asked = asyncio.ensure_future(
            self._checks.check(look.sandbox, look.source, look.address, look.port, look.probe)
        )
        soon = asyncio.ensure_future(self._clock.sleep(SILENT_S))
        try:
            await asyncio.wait({asked, soon}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() and slots is self._slots and not self._silent.locked():
                await self._silent.acquire()  # there is room: it does not wait
                slots.release()
                slots = self._silent
            outcome = await asked
        except PortError as refused:
            log.warning("a target cannot be checked", extra={"target": target, "why": refused.why})
            return None
        finally:
            soon.cancel()
            asked.cancel()
            slots.release()
        if self.made is not None:
            self.made(Made(group, look, began, self._clock.now() - began, outcome))
        return outcome
