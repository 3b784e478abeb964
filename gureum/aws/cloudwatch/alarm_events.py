"""What an alarm's change of state looks like to others: the EventBridge event, and the message of an SNS topic. Pure.

AWS: CloudWatch User Guide, "Alarm events and EventBridge".
"""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import Any

import msgspec

from gureum.aws.cloudwatch.alarm_kinds import Alarm, CompositeAlarm, MetricAlarm, StateText
from gureum.aws.cloudwatch.alarm_show import alarm_arn
from gureum.aws.cloudwatch.queries import Query
from gureum.aws.cloudwatch.reasons import precise
from gureum.aws.cloudwatch.statistics import SIMPLE
from gureum.aws.ec2.regions import region_of


def state_change_event(alarm: Alarm, before: StateText) -> dict[str, Any]:
    """AWS: "CloudWatch Alarm State Change"."""
    account, region = alarm.meta.scope.split("/")
    status = alarm.status
    configuration: dict[str, Any] = {"description": alarm.spec.description or ""}
    if isinstance(alarm, MetricAlarm):
        configuration["metrics"] = [_query(query, alarm) for query in alarm.spec.watch]
    else:
        configuration["alarmRule"] = alarm.spec.rule
    after = StateText(status.state, status.reason, status.data, status.transitioned)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": account,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.transitioned)),
        "region": region,
        "resources": [alarm_arn(alarm.meta.scope, alarm.spec.name)],
        "detail": {
            "alarmName": alarm.spec.name,
            "configuration": configuration,
            "previousState": _state(before),
            "state": _state(after),
        },
    }


def topic_message(alarm: Alarm, before: StateText) -> dict[str, Any]:
    """What AWS publishes to an SNS topic."""
    account, region = alarm.meta.scope.split("/")
    spec, status = alarm.spec, alarm.status
    message = {
        "AlarmName": spec.name,
        "AlarmDescription": spec.description,
        "AWSAccountId": account,
        "AlarmConfigurationUpdatedTimestamp": precise(int(spec.updated * 1000)),
        "NewStateValue": status.state,
        "NewStateReason": status.reason,
        "StateChangeTime": precise(int(status.transitioned * 1000)),
        "Region": name_of_region(region),
        "AlarmArn": alarm_arn(alarm.meta.scope, spec.name),
        "OldStateValue": before.value,
        "OKActions": list(spec.actions.ok),
        "AlarmActions": list(spec.actions.alarm),
        "InsufficientDataActions": list(spec.actions.insufficient_data),
    }
    if isinstance(alarm, CompositeAlarm):
        return message | {"AlarmRule": alarm.spec.rule, "TriggeringChildren": _triggering(status.data)}
    return message | {"Trigger": _trigger(alarm)}


def latest_values(data: str) -> tuple[float, ...]:
    """The data points of a StateReasonData, oldest first; what a scaling policy looks at."""
    try:
        found = json.loads(data) if data else {}
    except ValueError:
        return ()
    values = found.get("recentDatapoints") if isinstance(found, dict) else None
    return tuple(float(value) for value in values if type(value) in (int, float)) if isinstance(values, list) else ()


class _State(msgspec.Struct, frozen=True):
    value: str
    timestamp: str


class _Child(msgspec.Struct, frozen=True):
    arn: str
    state: _State


class _Triggering(msgspec.Struct, frozen=True):
    """StateReasonData of a composite alarm."""

    children: tuple[_Child, ...] = msgspec.field(default=(), name="triggeringAlarms")


def _triggering(data: str) -> list[dict[str, Any]]:
    """The children whose change decided; none where somebody has set the state with data of his own."""
    try:
        found = msgspec.json.decode(data, type=_Triggering) if data else _Triggering()
    except msgspec.ValidationError:
        return []
    return [
        {"Arn": one.arn, "State": {"Value": one.state.value, "Timestamp": one.state.timestamp}}
        for one in found.children
    ]


def name_of_region(region: str) -> str:
    """As alarms speak of it: "US East (N. Virginia)", and of Europe still "EU (Ireland)"."""
    long_name = region_of(region).long_name.removesuffix(" 1")
    return re.sub("^Europe ", "EU ", long_name)


def _state(state: StateText) -> dict[str, Any]:
    told = {"value": state.value, "reason": state.reason, "timestamp": precise(int(state.since * 1000))}
    return told | ({"reasonData": state.data} if state.data else {})


def _query(query: Query, alarm: MetricAlarm) -> dict[str, Any]:
    returned = {"id": query.id, "returnData": query.returned}
    if query.expression:
        return {"expression": query.expression, "label": query.label or query.id} | returned
    metric = {"namespace": query.namespace, "name": query.metric, "dimensions": dict(query.dimensions)}
    stat: dict[str, Any] = {"metric": metric, "period": query.period_s, "stat": query.stat}
    return {"metricStat": stat | ({"unit": query.unit} if query.unit else {})} | returned


def _trigger(alarm: MetricAlarm) -> dict[str, Any]:
    spec, watched = alarm.spec, alarm.watched
    told: dict[str, Any] = {
        "Period": alarm.period_s,
        "EvaluationPeriods": spec.n,
        **({"DatapointsToAlarm": spec.m} if spec.m else {}),
        "ComparisonOperator": spec.comparison,
        "Threshold": spec.threshold,
        "TreatMissingData": spec.treat_missing or "missing",
        "EvaluateLowSampleCountPercentile": spec.low_samples or "",
    }
    if not spec.single:
        return told | {"Metrics": [_spoken_query(query) for query in spec.watch]}
    simple = watched.stat in SIMPLE
    return told | {
        "MetricName": watched.metric,
        "Namespace": watched.namespace,
        "StatisticType": "Statistic" if simple else "ExtendedStatistic",
        "Statistic" if simple else "ExtendedStatistic": _spoken(watched.stat) if simple else watched.stat,
        "Unit": watched.unit or None,
        "Dimensions": _spoken_dimensions(watched),
    }


def _spoken_query(query: Query) -> dict[str, Any]:
    """One of the metrics and expressions that an alarm is made of, as messages have it."""
    told: dict[str, Any] = {"Id": query.id}
    if query.expression:
        told["Expression"] = query.expression
    else:
        metric = {"Dimensions": _spoken_dimensions(query), "MetricName": query.metric, "Namespace": query.namespace}
        unit = {"Unit": query.unit} if query.unit else {}
        told["MetricStat"] = {"Metric": metric, "Period": query.period_s, "Stat": query.stat} | unit
    if query.label is not None:
        told["Label"] = query.label
    return told | {"ReturnData": query.returned}


def _spoken_dimensions(query: Query) -> list[dict[str, str]]:
    return [{"value": value, "name": name} for name, value in query.dimensions]


def _spoken(statistic: str) -> str:
    """ "SampleCount" → "SAMPLE_COUNT" """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", statistic).upper()
