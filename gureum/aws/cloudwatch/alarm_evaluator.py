"""The evaluator: looks at every metric alarm when it is time, and changes its state when its data say so.

AWS: alarms with a period of 10, 20 or 30 seconds are evaluated every 10 seconds, the others every minute, over a sliding window that ends with
the last whole minute (or 10 seconds). For a local cloud two settings make it faster: `alarm_evaluation_s` (how often; the window then takes in
the period that has not ended, if it has data that its rest cannot undo) and `alarm_minute_s` (how long a minute of a period lasts).

Nothing of it is kept: after a restart the next evaluation decides from the same data. Each alarm is a key of a loop of its own, so that one whose
evaluation fails keeps no other from its.
"""

from __future__ import annotations

import asyncio
import math

from gureum.aws.cloudwatch.alarm_actions import perform
from gureum.aws.cloudwatch.alarm_changes import change_state
from gureum.aws.cloudwatch.alarm_kinds import INITIAL_REASON, MetricAlarm, StateText
from gureum.aws.cloudwatch.evaluation import COMPARISONS, Rule, Verdict, judge, range_of, too_few_samples
from gureum.aws.cloudwatch.metric_math import TimeSeries
from gureum.aws.cloudwatch.queries import Found, run
from gureum.aws.cloudwatch.reasons import Point, reason, reason_data
from gureum.aws.cloudwatch.running_periods import course_of
from gureum.aws.cloudwatch.statistics import parse_statistic
from gureum.aws.cloudwatch.windows import Window
from gureum.aws.errors import AwsError
from gureum.aws.partitions import without_partition
from gureum.base.settings import Settings
from gureum.core.world import World
from gureum.engine.client import Change
from gureum.engine.errors import Retry
from gureum.engine.reconcile import ReconcileLoop
from gureum.engine.registry import background
from gureum.engine.resource import key_of
from gureum.engine.tracing import Tracer
from gureum.ports.telemetry import TelemetryBroken

TICK_S, MINUTE_S = 10, 60
AFTER_S = 2.0
"""So long after the end of a minute it is looked at: what is measured by the minute is written at its end."""
REPEATED = ("arn:aws:autoscaling:",)
REPEAT_S = 60.0
"""AWS: "For Amazon EC2 Auto Scaling actions, the alarm continues to invoke the action" once a minute."""


@background("cloudwatch alarms")
async def evaluate_alarms(world: World) -> None:
    evaluator = Evaluator(world)
    try:
        await evaluator.run()
    finally:
        await evaluator.close()


class Evaluator:
    """One per world. `evaluate(key)` may be called at any time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._acted: dict[str, float] = {}
        # Spans of its own: those of every alarm at every tick would push out what people look for.
        self.loop = ReconcileLoop("alarm", self.evaluate, world.clock, world.events, Tracer())
        self._unlisten = world.client.listen(self._on_changes)

    async def run(self) -> None:
        """Until cancelled."""
        for alarm in self._world.client.everywhere(MetricAlarm):
            self.loop.poke(key_of(alarm))
        clock, settings = self._world.clock, self._world.settings
        while True:
            now = clock.now()
            due = next_tick(now, settings)
            await clock.sleep(due - now)
            minute = bool(settings.alarm_evaluation_s) or int(due - AFTER_S) % MINUTE_S == 0
            for alarm in self._world.client.everywhere(MetricAlarm):
                if minute or alarm.period_s < MINUTE_S:
                    self.loop.poke(key_of(alarm))

    async def close(self) -> None:
        self._unlisten()
        await self.loop.close()

    async def evaluate(self, key: str) -> None:
        alarm = self._world.client.by_key(key)
        if not isinstance(alarm, MetricAlarm):
            self._acted.pop(key, None)
            return
        if alarm.status.pending is not None:
            return  # first what was decided is told; that pokes nobody here, and the next tick comes
        now_ms = int(self._world.clock.now() * 1000)
        try:
            points, samples = await self._points(alarm, now_ms)
        except TelemetryBroken as broken:
            raise Retry(f"the telemetry store cannot read: {broken}") from broken
        except AwsError as error:
            raise Retry(f"the expression cannot be computed: {error.message}", after_s=MINUTE_S) from error
        rule = rule_of(alarm)
        verdict = judge([point.value for point in points], rule)
        if not _ignored(alarm, samples):
            await self._apply(alarm, rule, verdict, points, now_ms)
        used = tuple(value for index in sorted(verdict.used) if (value := points[index].value) is not None)
        await self._repeat(alarm, used)

    async def _points(self, alarm: MetricAlarm, now_ms: int) -> tuple[list[Point], float]:
        """The points of the evaluation range, oldest first, and how many samples the newest N have."""
        settings = self._world.settings
        window = window_of(alarm, now_ms, settings)
        windows = {query.id: window for query in alarm.spec.watch}
        found = await run(self._world.metrics, alarm.meta.scope, alarm.spec.watch, windows, now_ms, settings)
        points = _points_of(alarm, window, found)
        if settings.alarm_evaluation_s and not _tells_already(alarm, points[-1].value):
            points = points[:-1]
        else:
            points = points[-range_of(alarm.spec.n) :]
        return points, sum(point.samples or 0.0 for point in points[-alarm.spec.n :])

    async def _apply(self, alarm: MetricAlarm, rule: Rule, verdict: Verdict, points: list[Point], now_ms: int) -> None:
        state = verdict.state
        first = alarm.status.reason == INITIAL_REASON and state == "INSUFFICIENT_DATA"
        if state is None or (state == alarm.status.state and not first):
            return
        why = reason(alarm, rule, verdict, points, state)
        data = reason_data(alarm, verdict, points, now_ms)
        transaction = self._world.client.transaction()
        change_state(self._world.client, transaction, alarm, state, why, data, now_ms / 1000)
        await transaction.commit()
        self._acted[key_of(alarm)] = now_ms / 1000

    async def _repeat(self, alarm: MetricAlarm, values: tuple[float, ...]) -> None:
        """Auto Scaling's actions again, while the state lasts, with the values of now."""
        key, now, actions = key_of(alarm), self._world.clock.now(), alarm.spec.actions
        arns = (
            [arn for arn in actions.of(alarm.status.state) if without_partition(arn).startswith(REPEATED)]
            if actions.enabled
            else []
        )
        current = self._world.client.by_key(key)
        if not arns or current is not alarm:
            return
        last = self._acted.setdefault(key, max(alarm.status.transitioned, now - REPEAT_S))
        if now - last < REPEAT_S * self._world.settings.alarm_minute_s / MINUTE_S:
            return
        self._acted[key] = now
        status = alarm.status
        state = StateText(status.state, status.reason, status.data, status.transitioned)
        await asyncio.gather(*(perform(self._world, alarm, arn, state, values) for arn in arns))

    def _on_changes(self, changes: list[Change]) -> None:
        """A new or changed alarm is looked at at once."""
        for change in changes:
            before, after = change.before, change.after
            if after is None:
                self._acted.pop(change.key, None)
            if isinstance(after, MetricAlarm) and (
                not isinstance(before, MetricAlarm) or before.meta.generation != after.meta.generation
            ):
                self.loop.poke(change.key)


def next_tick(now: float, settings: Settings) -> float:
    """When to look next, Unix seconds."""
    if settings.alarm_evaluation_s:
        return (math.floor(now / settings.alarm_evaluation_s) + 1) * settings.alarm_evaluation_s
    return (math.floor((now - AFTER_S) / TICK_S) + 1) * TICK_S + AFTER_S


def window_of(alarm: MetricAlarm, now_ms: int, settings: Settings) -> Window:
    """The evaluation range; with `alarm_evaluation_s` one period more, the one that has not ended."""
    period_ms, unit_ms = alarm.period_s * 1000, min(alarm.period_s, MINUTE_S) * 1000
    if alarm.period_s >= MINUTE_S:
        period_ms = max(1000, period_ms * settings.alarm_minute_s // MINUTE_S // 1000 * 1000)
        unit_ms = settings.alarm_minute_s * 1000
    else:
        unit_ms = TICK_S * 1000
    end_ms = now_ms - now_ms % unit_ms
    length = range_of(alarm.spec.n)
    if settings.alarm_evaluation_s:
        # Aligned to the period, so that what is published for a period falls into one bucket, and that is the newest at once.
        end_ms = now_ms - now_ms % period_ms + period_ms
        length += 1
    return Window(end_ms - length * period_ms, end_ms, period_ms)


def rule_of(alarm: MetricAlarm) -> Rule:
    """AWS: alarms on AWS/DynamoDB's metrics always ignore missing data."""
    spec = alarm.spec
    compare, threshold = COMPARISONS[spec.comparison], spec.threshold
    dynamo = any(query.namespace == "AWS/DynamoDB" for query in spec.watch)
    treat = "ignore" if dynamo else spec.treat_missing or "missing"
    return Rule(spec.n, spec.m or spec.n, lambda value: compare(value, threshold), treat)


def _tells_already(alarm: MetricAlarm, value: float | None) -> bool:
    """Whether the period that has not ended counts. What it sums up only grows: below the threshold it says nothing before its end."""
    course = course_of(alarm.watched.id, {query.id: query for query in alarm.spec.watch})
    if value is None or course != "growing":
        return value is not None and course == "settled"
    compare = COMPARISONS[alarm.spec.comparison]
    return compare(value, alarm.spec.threshold) == alarm.spec.comparison.startswith("Greater")


def _points_of(alarm: MetricAlarm, window: Window, found: Found) -> list[Point]:
    value = found.values[alarm.watched.id]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, TimeSeries):
        raise AwsError("ValidationError", "An alarm's expression must give a single time series.")
    counts = {bucket.start_ms: bucket.count for bucket in found.buckets.get(alarm.watched.id, ())}
    times = range(window.start_ms, window.end_ms, window.period_ms)
    return [Point(time, value.points.get(time), counts.get(time)) for time in times]


def _ignored(alarm: MetricAlarm, samples: float) -> bool:
    statistic = parse_statistic(alarm.watched.stat)
    if alarm.spec.low_samples != "ignore" or statistic is None or statistic.percentile is None:
        return False
    return too_few_samples(statistic.percentile, samples)
