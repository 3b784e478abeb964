"""The stored shapes of alarms and of their history.

    MetricAlarm ◄── children ── CompositeAlarm ◄── children ── CompositeAlarm
         └────────────────────────┴── AlarmHistory (by alarm name, two weeks)

A change of state is one commit: the new state, its history item and `pending`, what is still to be told and done because of it; the
reconcile of the alarm does that and takes `pending` away with another commit, so that a daemon killed in between does it after its restart.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import msgspec

from gureum.aws.cloudwatch.queries import Query
from gureum.engine.resource import Resource, kind

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
INITIAL_REASON = "Unchecked: Initial alarm creation"


def object_name(alarm_name: str) -> str:
    """The name in the store of what users may name as they like."""
    return quote(alarm_name, safe=" :@+=,()[]")


class Actions(msgspec.Struct, frozen=True):
    """ARNs by state."""

    enabled: bool = True
    ok: tuple[str, ...] = ()
    alarm: tuple[str, ...] = ()
    insufficient_data: tuple[str, ...] = ()

    def of(self, state: State) -> tuple[str, ...]:
        return {"OK": self.ok, "ALARM": self.alarm, "INSUFFICIENT_DATA": self.insufficient_data}[state]

    @property
    def all(self) -> tuple[str, ...]:
        return self.ok + self.alarm + self.insufficient_data


class StateText(msgspec.Struct, frozen=True):
    """A state with its reasons. `since`: Unix seconds."""

    value: State
    reason: str
    data: str
    since: float


class AlarmStatus(msgspec.Struct, frozen=True):
    """`changed`: StateUpdatedTimestamp; `transitioned`: StateTransitionedTimestamp; Unix seconds. `pending`: the state it came from, while that
    change is still to be told and acted on."""

    state: State = "INSUFFICIENT_DATA"
    reason: str = INITIAL_REASON
    data: str = ""
    changed: float = 0.0
    transitioned: float = 0.0
    pending: StateText | None = None


class MetricAlarmSpec(msgspec.Struct, frozen=True):
    """`watch`: what is watched: one metric query (`single`), or the queries of a Metrics array. `m` None: DatapointsToAlarm was not given."""

    name: str
    watch: tuple[Query, ...]
    single: bool
    n: int
    threshold: float
    comparison: str
    actions: Actions
    updated: float
    m: int | None = None
    description: str | None = None
    treat_missing: str | None = None
    low_samples: str | None = None


@kind("cloudwatch.MetricAlarm")
class MetricAlarm(Resource, frozen=True):
    spec: MetricAlarmSpec
    status: AlarmStatus = AlarmStatus()

    @property
    def watched(self) -> Query:
        """The query whose values are compared."""
        return next(query for query in self.spec.watch if query.returned)

    @property
    def period_s(self) -> int:
        """AWS: all metrics of an alarm have the same period; an expression without metrics has its own."""
        return next((one.period_s for one in self.spec.watch if one.period_s), 60)


class Suppression(msgspec.Struct, frozen=True):
    """ActionsSuppressor: another alarm's name; in ALARM it holds this one's actions back. `wait_s`: so long it is waited for before acting,
    `extension_s`: so long actions are held back after it has ended."""

    alarm: str
    wait_s: int
    extension_s: int


class CompositeAlarmSpec(msgspec.Struct, frozen=True):
    """`children`: names of the alarms in the rule."""

    name: str
    rule: str
    children: tuple[str, ...]
    actions: Actions
    updated: float
    description: str | None = None
    suppression: Suppression | None = None


class CompositeStatus(msgspec.Struct, frozen=True):
    """As AlarmStatus. `judged`: the children's states that the state was decided on, so that a state that was set stays until one of them
    changes. `suppressed_by`: "", "WaitPeriod", "ExtensionPeriod" or "Alarm"; `until`: end of the period, Unix seconds. `acted`: the state whose
    actions ran last."""

    state: State = "INSUFFICIENT_DATA"
    reason: str = INITIAL_REASON
    data: str = ""
    changed: float = 0.0
    transitioned: float = 0.0
    pending: StateText | None = None
    told: bool = False
    judged: tuple[str, ...] = ()
    suppressed_by: str = ""
    until: float = 0.0
    acted: str = ""


@kind(
    "cloudwatch.CompositeAlarm",
    indexes={
        "child": lambda alarm: alarm.spec.children,
        "suppressor": lambda alarm: (alarm.spec.suppression.alarm,) if alarm.spec.suppression else (),
    },
)
class CompositeAlarm(Resource, frozen=True):
    spec: CompositeAlarmSpec
    status: CompositeStatus = CompositeStatus()


Alarm = MetricAlarm | CompositeAlarm


class HistorySpec(msgspec.Struct, frozen=True):
    """`time`: Unix seconds."""

    alarm: str
    alarm_type: Literal["MetricAlarm", "CompositeAlarm"]
    time: float
    type: Literal["ConfigurationUpdate", "StateUpdate", "Action"]
    summary: str
    data: str


@kind("cloudwatch.AlarmHistory", indexes={"alarm": lambda item: object_name(item.spec.alarm)})
class AlarmHistory(Resource, frozen=True):
    spec: HistorySpec
