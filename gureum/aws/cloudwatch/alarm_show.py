"""Alarms as the API shows them: DescribeAlarms with its filters, DescribeAlarmsForMetric."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_history import paged_alarms
from gureum.aws.cloudwatch.alarm_kinds import Alarm, CompositeAlarm, MetricAlarm, object_name
from gureum.aws.cloudwatch.queries import show_query
from gureum.aws.cloudwatch.refusals import not_found, validation
from gureum.aws.cloudwatch.statistics import SIMPLE
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import partition_of


@operation("DescribeAlarms")
def describe_alarms(call: Call) -> Result:
    """AWS: cloudwatch DescribeAlarms. Metric alarms only, unless AlarmTypes says otherwise."""
    params = call.params
    for name, brief in (("ChildrenOfAlarmName", _show_child), ("ParentsOfAlarmName", _show_parent)):
        if name in params:
            return _relatives(call, name, brief)
    if "AlarmNames" in params and "AlarmNamePrefix" in params:
        raise validation("AlarmNames and AlarmNamePrefix cannot both be specified.")
    types = params.get("AlarmTypes") or ("MetricAlarm",)
    found: list[Alarm] = []
    if "MetricAlarm" in types:
        found += call.all(MetricAlarm)
    if "CompositeAlarm" in types:
        found += call.all(CompositeAlarm)
    shown, token = paged_alarms(params, [alarm for alarm in found if _passes(alarm, params)])
    return _answer(shown, token)


@operation("DescribeAlarmsForMetric")
def describe_alarms_for_metric(call: Call) -> Result:
    """AWS: cloudwatch DescribeAlarmsForMetric: those on exactly this metric, not those on expressions."""
    params = call.params
    dimensions = tuple(sorted((one["Name"], one["Value"]) for one in params.get("Dimensions") or ()))
    stat = params.get("Statistic") or params.get("ExtendedStatistic")
    found = []
    for alarm in call.all(MetricAlarm):
        watched = alarm.watched
        if (
            alarm.spec.single
            and (watched.namespace, watched.metric) == (params["Namespace"], params["MetricName"])
            and watched.dimensions == dimensions
            and stat in (None, watched.stat)
            and params.get("Period", watched.period_s) == watched.period_s
            and params.get("Unit", watched.unit) == watched.unit
        ):
            found.append(alarm)
    return {"MetricAlarms": [show_metric_alarm(alarm) for alarm in sorted(found, key=lambda one: one.spec.name)]}


@operation("DescribeAlarmContributors")
def describe_alarm_contributors(call: Call) -> Result:
    """AWS: cloudwatch DescribeAlarmContributors: the series of an alarm on a Metrics Insights query, of which there is none.
    ResourceNotFoundException."""
    name = object_name(call.params["AlarmName"])
    if call.get(MetricAlarm, name) is None and call.get(CompositeAlarm, name) is None:
        raise AwsError("ResourceNotFoundException", f"Unknown alarm: {call.params['AlarmName']}")
    return {"AlarmContributors": []}


def alarm_arn(scope: str, name: str) -> str:
    account, region = scope.split("/")
    return f"arn:{partition_of(region)}:cloudwatch:{region}:{account}:alarm:{name}"


def find_alarm(call: Call, name: str) -> Alarm | None:
    """The alarm of a name, or of an ARN of this account and region."""
    name = name.removeprefix(alarm_arn(call.scope, ""))
    return call.get(MetricAlarm, object_name(name)) or call.get(CompositeAlarm, object_name(name))


def show_metric_alarm(alarm: MetricAlarm) -> dict[str, Any]:
    """API form. AWS: cloudwatch MetricAlarm."""
    spec = alarm.spec
    shown = _common(alarm) | {
        "EvaluationPeriods": spec.n,
        "Threshold": spec.threshold,
        "ComparisonOperator": spec.comparison,
    }
    if spec.m is not None:
        shown["DatapointsToAlarm"] = spec.m
    if spec.treat_missing is not None:
        shown["TreatMissingData"] = spec.treat_missing
    if spec.low_samples is not None:
        shown["EvaluateLowSampleCountPercentile"] = spec.low_samples
    return shown | (_metric(alarm) if spec.single else {"Metrics": [show_query(query) for query in spec.watch]})


def show_composite_alarm(alarm: CompositeAlarm) -> dict[str, Any]:
    """API form. AWS: cloudwatch CompositeAlarm."""
    shown = _common(alarm) | {"AlarmRule": alarm.spec.rule}
    suppression = alarm.spec.suppression
    if suppression is not None:
        shown |= {
            "ActionsSuppressor": suppression.alarm,
            "ActionsSuppressorWaitPeriod": suppression.wait_s,
            "ActionsSuppressorExtensionPeriod": suppression.extension_s,
        }
    if suppression is not None and alarm.status.suppressed_by:
        shown["ActionsSuppressedBy"] = alarm.status.suppressed_by
        shown["ActionsSuppressedReason"] = f"Actions suppressed by {suppression.alarm}: {alarm.status.suppressed_by}"
    return shown


def _metric(alarm: MetricAlarm) -> dict[str, Any]:
    query = alarm.watched
    shown: dict[str, Any] = {
        "MetricName": query.metric,
        "Namespace": query.namespace,
        "Dimensions": [{"Name": name, "Value": value} for name, value in query.dimensions],
        "Period": query.period_s,
        "Statistic" if query.stat in SIMPLE else "ExtendedStatistic": query.stat,
    }
    return shown | ({"Unit": query.unit} if query.unit else {})


def _common(alarm: Alarm) -> dict[str, Any]:
    spec, status = alarm.spec, alarm.status
    shown = {
        "AlarmName": spec.name,
        "AlarmArn": alarm_arn(alarm.meta.scope, spec.name),
        "AlarmConfigurationUpdatedTimestamp": spec.updated,
        "ActionsEnabled": spec.actions.enabled,
        "OKActions": list(spec.actions.ok),
        "AlarmActions": list(spec.actions.alarm),
        "InsufficientDataActions": list(spec.actions.insufficient_data),
        "StateValue": status.state,
        "StateReason": status.reason,
        "StateUpdatedTimestamp": status.changed,
        "StateTransitionedTimestamp": status.transitioned,
    }
    if spec.description is not None:
        shown["AlarmDescription"] = spec.description
    return shown | ({"StateReasonData": status.data} if status.data else {})


def _passes(alarm: Alarm, params: dict[str, Any]) -> bool:
    spec = alarm.spec
    return (
        ("AlarmNames" not in params or spec.name in params["AlarmNames"])
        and spec.name.startswith(params.get("AlarmNamePrefix", ""))
        and params.get("StateValue", alarm.status.state) == alarm.status.state
        and ("ActionPrefix" not in params or any(arn.startswith(params["ActionPrefix"]) for arn in spec.actions.all))
    )


def _relatives(call: Call, parameter: str, brief: Any) -> Result:
    params = call.params
    if set(params) - {parameter, "MaxRecords", "NextToken"}:
        raise validation(f"Only MaxRecords and NextToken can be specified with {parameter}.")
    alarm = find_alarm(call, params[parameter])
    if alarm is None:
        raise not_found(f"The alarm {params[parameter]} does not exist.")
    found: list[Alarm]
    if parameter == "ParentsOfAlarmName":
        found = list(call.by(CompositeAlarm, "child", alarm.spec.name))
    elif isinstance(alarm, CompositeAlarm):
        found = [child for name in alarm.spec.children if (child := find_alarm(call, name)) is not None]
    else:
        raise validation("ChildrenOfAlarmName must be the name of a composite alarm.")
    shown, token = paged_alarms(params, found)
    return _answer(shown, token, brief)


def _show_child(alarm: Alarm) -> dict[str, Any]:
    full = _common(alarm)
    return {name: full[name] for name in ("AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp")}


def _show_parent(alarm: Alarm) -> dict[str, Any]:
    full = _common(alarm)
    return {name: full[name] for name in ("AlarmName", "AlarmArn")}


def _answer(alarms: Iterable[Alarm], token: str | None, brief: Any = None) -> Result:
    metric: list[dict[str, Any]] = []
    composite: list[dict[str, Any]] = []
    for alarm in alarms:
        if isinstance(alarm, MetricAlarm):
            metric.append(brief(alarm) if brief else show_metric_alarm(alarm))
        else:
            composite.append(brief(alarm) if brief else show_composite_alarm(alarm))
    return {"MetricAlarms": metric, "CompositeAlarms": composite} | ({"NextToken": token} if token else {})
