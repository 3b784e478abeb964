"""Alarm actions: who acts on which ARN, what an action is told, and what the history says of it.

A service takes part with a marked function; the name is the beginning of the ARNs that it acts on:

    @mark("alarm-action", "arn:aws:autoscaling")
    async def act(world: World, context: AlarmContext) -> None: ...

It returns when it has acted, or raises AwsError, Broken or Retry with what kept it from that. Actions are told at least once: a daemon that
died between an action and its record tells it again after its restart.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gureum.aws.cloudwatch.alarm_events import latest_values
from gureum.aws.cloudwatch.alarm_kinds import Alarm, MetricAlarm, State, StateText
from gureum.aws.cloudwatch.alarm_show import alarm_arn
from gureum.aws.errors import AwsError
from gureum.aws.partitions import without_partition
from gureum.core.world import World
from gureum.engine.errors import ReconcileError


class AlarmContext(msgspec.Struct, frozen=True):
    """`arn`: the action's. `scope`: "account/region". `before`: the state it came from (when an action is repeated: the state itself).
    `values`: the data points that the state was decided on, oldest first; when an action is repeated, the present ones.
    `dimensions`: of a single metric."""

    arn: str
    scope: str
    alarm: Alarm
    alarm_arn: str
    before: StateText
    state: State
    reason: str
    reason_data: str
    values: tuple[float, ...]
    dimensions: dict[str, str]
    now: float


class Outcome(NamedTuple):
    """`error` "": it succeeded."""

    arn: str
    error: str

    @property
    def summary(self) -> str:
        """AWS: "Successfully executed action arn:aws:sns:…"."""
        what = "AutoScaling action:" if ":autoscaling:" in self.arn else "action"
        return f"Failed to execute {what} {self.arn}" if self.error else f"Successfully executed {what} {self.arn}"


async def perform(
    world: World, alarm: Alarm, arn: str, before: StateText, values: tuple[float, ...] | None = None
) -> Outcome:
    """One action, through whoever has marked itself for its ARN. `values` None: those that its state was decided on."""
    marks = world.registry.marks("alarm-action")
    prefix = max((prefix for prefix in marks if without_partition(arn).startswith(prefix)), key=len, default="")
    if not prefix:
        return Outcome(arn, "Nothing of that kind is there.")
    try:
        await marks[prefix].target(world, _context(world, alarm, arn, before, values))
    except (AwsError, ReconcileError) as error:
        return Outcome(arn, error.message if isinstance(error, AwsError) else error.why)
    return Outcome(arn, "")


def _context(world: World, alarm: Alarm, arn: str, before: StateText, values: tuple[float, ...] | None) -> AlarmContext:
    status = alarm.status
    single = isinstance(alarm, MetricAlarm) and alarm.spec.single
    return AlarmContext(
        arn=arn,
        scope=alarm.meta.scope,
        alarm=alarm,
        alarm_arn=alarm_arn(alarm.meta.scope, alarm.spec.name),
        before=before,
        state=status.state,
        reason=status.reason,
        reason_data=status.data,
        values=latest_values(status.data) if values is None else values,
        dimensions=dict(alarm.spec.watch[0].dimensions) if single and isinstance(alarm, MetricAlarm) else {},
        now=world.clock.now(),
    )
