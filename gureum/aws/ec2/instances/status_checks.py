"""Status checks of running instances: looks that the agent makes, and what they say of an instance.

    agent: one look at all machines ─► system    the host runs the machine
                                       instance  its kernel answers ARP at its first interface
                                       disks     its volumes take writes ("attached EBS")

AWS: "Status checks for your instances": every minute; reachability is asked by ARP. A check has failed when it fails several times in a row,
the later ones asked for soon, so that a machine that boots anew is not taken for a broken one; it passes again at the first look that says so. An
instance that has just begun to run is looked at at once and is "initializing" until then. Only changes are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from gureum.aws.ec2.instances.kinds import Instance, StatusChecks
from gureum.core.looks import Look
from gureum.core.world import World
from gureum.engine.client import Change
from gureum.engine.reconcile import ReconcileLoop
from gureum.engine.registry import background
from gureum.engine.resource import key_of
from gureum.engine.tracing import Tracer
from gureum.ports import PortError

KEY = "status-checks/ec2"
PERIOD_S = 60
FIRST_LOOK_S = 0.2
"""After an instance has begun to run: what starts with it is looked at together."""
FAILURES, AGAIN_S = 3, 5.0
"""So often in a row a check must fail; so soon it is looked again."""
ASK_LIMIT_S = 30.0
WRITES_AT_ONCE = 100
PASSED = StatusChecks()
SYSTEM, INSTANCE, DISKS = range(3)


@background("ec2 status checks")
async def check_instances(world: World) -> None:
    """Looks at the end of every period, and soon where something is new or fails, until cancelled."""
    checker = Checker(world)
    loop = ReconcileLoop("status checks", checker.work, world.clock, world.events, Tracer())
    checker.again = partial(loop.poke_after, KEY)
    unlisten = world.client.listen(checker.on_changes)
    period_s = world.settings.metrics_period_s or PERIOD_S
    try:
        loop.poke(KEY)
        while True:
            now = world.clock.now()
            await world.clock.sleep((math.floor(now / period_s) + 1) * float(period_s) - now)
            loop.poke(KEY)
    finally:
        unlisten()
        await loop.close()


class Checker:
    """Counts failures in a row; they begin anew with the daemon. `again`: asks for another look."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._failures: dict[str, list[int]] = {}
        self.again: Callable[[float], None] = lambda _: None
        self._again_s = min(AGAIN_S, world.settings.metrics_period_s or AGAIN_S)

    def on_changes(self, changes: list[Change]) -> None:
        if any(isinstance(one.after, Instance) and _is_new(one.after) for one in changes):
            self.again(FIRST_LOOK_S)

    async def work(self, _: str) -> None:
        running = [one for one in self._world.client.everywhere(Instance) if one.status.state == "running"]
        if not running:
            self._failures.clear()
            return
        try:
            answer = await self._world.link.ask({"op": "looks"}, timeout_s=ASK_LIMIT_S)
        except PortError:
            return  # nobody can look: what was seen last stays
        looks = msgspec.convert(answer["machines"], dict[str, Look])
        names = {one.meta.name for one in running}
        self._failures = {name: failed for name, failed in self._failures.items() if name in names}
        changed: list[tuple[Instance, StatusChecks]] = []
        for instance in running:
            look = looks.get(instance.meta.name)
            checks = self._judged(instance, look) if look is not None else instance.status.checks
            if checks is not None and checks != instance.status.checks:
                changed.append((instance, checks))
        for first in range(0, len(changed), WRITES_AT_ONCE):
            await self._write(changed[first : first + WRITES_AT_ONCE])
        if self._failures or any(_is_new(one) and looks.get(one.meta.name) is None for one in running):
            self.again(self._again_s)

    def _judged(self, instance: Instance, look: Look) -> StatusChecks | None:
        """None: nothing is known of it yet. Failures are counted only until they count."""
        name, now = instance.meta.name, self._world.clock.now()
        before = instance.status.checks
        since = msgspec.structs.astuple(before) if before is not None else (0.0, 0.0, 0.0)
        counts = self._failures.pop(name, [0, 0, 0])
        passes = (look.runs, look.answers, look.disks)
        counts = [0 if passed else count + 1 for passed, count in zip(passes, counts, strict=True)]
        failed = [
            not passed and (old or count >= FAILURES) for passed, old, count in zip(passes, since, counts, strict=True)
        ]
        if any(0 < count < FAILURES and not old for count, old in zip(counts, since, strict=True)):
            self._failures[name] = counts
            if before is None:
                return None
        return StatusChecks(*((old or now) if fails else 0.0 for fails, old in zip(failed, since, strict=True)))

    async def _write(self, changed: Sequence[tuple[Instance, StatusChecks]]) -> None:
        transaction = self._world.client.transaction()
        for instance, checks in changed:
            status = msgspec.structs.replace(instance.status, checks=checks)
            transaction.update(msgspec.structs.replace(instance, status=status))
        await transaction.commit()
        for instance, checks in changed:
            if instance.status.checks is not None or checks != PASSED:
                text = ", ".join(f"{name} {'failed' if since else 'passed'}" for name, since in _named(checks))
                self._world.events.record(
                    key_of(instance), self._world.clock.now(), "StatusChecks", text, warning=checks != PASSED
                )


def show_checks(instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceStatus's SystemStatus, InstanceStatus and AttachedEbsStatus."""
    names = ("SystemStatus", "InstanceStatus", "AttachedEbsStatus")
    return {name: _show(instance, place) for place, name in enumerate(names)}


def status_of(instance: Instance, place: int) -> tuple[str, str]:
    """(status, reachability) of SYSTEM, INSTANCE or DISKS. AWS: SummaryStatus, StatusType; "" where it does not apply."""
    checks = instance.status.checks
    if instance.status.state != "running":
        return "not-applicable", ""
    if checks is None:
        return "initializing", "initializing"
    return ("impaired", "failed") if msgspec.structs.astuple(checks)[place] else ("ok", "passed")


def is_impaired(instance: Instance) -> bool:
    """Of the checks that EC2 itself makes of it; what its disks do is told apart."""
    checks = instance.status.checks
    return instance.status.state == "running" and checks is not None and bool(checks.system or checks.instance)


def _show(instance: Instance, place: int) -> dict[str, Any]:
    status, reachability = status_of(instance, place)
    if not reachability:
        return {"Status": status}
    detail: dict[str, Any] = {"Name": "reachability", "Status": reachability}
    if instance.status.checks is not None and reachability == "failed":
        detail["ImpairedSince"] = msgspec.structs.astuple(instance.status.checks)[place]
    return {"Status": status, "Details": [detail]}


def _is_new(instance: Instance) -> bool:
    return instance.status.state == "running" and instance.status.checks is None


def _named(checks: StatusChecks) -> list[tuple[str, float]]:
    return [("system", checks.system), ("instance", checks.instance), ("attached EBS", checks.disks)]
