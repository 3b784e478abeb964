"""PutMetricAlarm: checks what an alarm watches and stores it. The evaluator looks at a new or changed one at once."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_history import note
from gureum.aws.cloudwatch.alarm_kinds import (
    Actions,
    AlarmStatus,
    CompositeAlarm,
    MetricAlarm,
    MetricAlarmSpec,
    object_name,
)
from gureum.aws.cloudwatch.alarm_show import alarm_arn, show_metric_alarm
from gureum.aws.cloudwatch.evaluation import COMPARISONS
from gureum.aws.cloudwatch.queries import Query, check_single_series, read_queries
from gureum.aws.cloudwatch.refusals import invalid, not_built, validation
from gureum.aws.cloudwatch.statistics import parse_statistic
from gureum.aws.cloudwatch.tag_sets import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

LIMIT_ALARMS, LIMIT_METRICS = 5000, 10
DAY_S = 86400
HIGH_RESOLUTION = (10, 20, 30)
TREATMENTS = ("breaching", "notBreaching", "ignore", "missing")
METRIC_PARAMETERS = (
    "MetricName",
    "Namespace",
    "Dimensions",
    "Period",
    "Unit",
    "Statistic",
    "ExtendedStatistic",
)
NOT_BUILT = (
    "ThresholdMetricId",
    "EvaluationCriteria",
    "EvaluationInterval",
    "WarmUpConfiguration",
    "ActionConfiguration",
)
_ARN = re.compile(r"arn:aws[a-z-]*:(?P<service>[a-z0-9-]+):(?P<region>[a-z0-9-]*):[^:\s]*:\S+", re.ASCII)
_BUILT_ACTIONS = frozenset({"automate", "swf", "autoscaling", "sns"})
_KNOWN_ACTIONS = _BUILT_ACTIONS | {"lambda", "ssm", "ssm-incidents", "aiops"}
EC2_ACTIONS = frozenset({"automate", "swf"})


@operation("PutMetricAlarm")
async def put_metric_alarm(call: Call) -> Result:
    """AWS: cloudwatch PutMetricAlarm. ValidationError, LimitExceeded. An alarm that is there keeps its state and its tags."""
    params = call.params
    check_name(params["AlarmName"])
    spec = _spec(call)
    old = call.get(MetricAlarm, object_name(spec.name))
    if call.get(CompositeAlarm, object_name(spec.name)) is not None:
        raise validation(f"Alarm {spec.name} already exists as a composite alarm.")
    transaction = call.transaction()
    if old is None:
        if len(call.all(MetricAlarm)) >= LIMIT_ALARMS:
            raise AwsError("LimitExceeded", f"The maximum number of alarms ({LIMIT_ALARMS}) has been reached.")
        status = AlarmStatus(changed=call.now, transitioned=call.now)
        meta = call.meta(object_name(spec.name), tags=tags_of(params))
        alarm = transaction.create(MetricAlarm(meta=meta, spec=spec, status=status))
        data = {"version": "1.0", "type": "Create", "createdAlarm": _configuration(alarm)}
        note(call.client, transaction, alarm, call.now, "ConfigurationUpdate", f'Alarm "{spec.name}" created', data)
    else:
        alarm = transaction.update(msgspec.structs.replace(old, spec=spec))
        data = {"version": "1.0", "type": "Update", "updatedAlarm": _configuration(alarm)}
        note(call.client, transaction, alarm, call.now, "ConfigurationUpdate", f'Alarm "{spec.name}" updated', data)
    await call.commit(transaction)
    return {}


def check_name(name: str) -> None:
    if not name.isprintable() or len(name) > 255:
        raise validation("The alarm name can't contain ASCII control characters.")


def read_actions(call: Call, *, single_metric: bool, dimensions: tuple[str, ...] = ()) -> Actions:
    """The actions of the call. AWS: EC2 actions act on the InstanceId of a single metric."""
    params = call.params
    actions = Actions(
        params.get("ActionsEnabled", True),
        tuple(params.get("OKActions") or ()),
        tuple(params.get("AlarmActions") or ()),
        tuple(params.get("InsufficientDataActions") or ()),
    )
    for arn in actions.all:
        service = _action_service(call, arn)
        if service in EC2_ACTIONS and not single_metric:
            raise validation("Only alarms on a single metric can perform EC2 actions.")
        if service in EC2_ACTIONS and "InstanceId" not in dimensions:
            raise validation(f"The action {arn} requires the metric to have the dimension InstanceId.")
    return actions


def _action_service(call: Call, arn: str) -> str:
    found = _ARN.fullmatch(arn)
    if found is None or found.group("service") not in _KNOWN_ACTIONS:
        raise validation(f"Invalid arn syntax: {arn}")
    if found.group("region") not in ("", call.region):
        text = f"Invalid region {found.group('region')} specified. Only {call.region} is supported."
        raise validation(text)
    service = found.group("service")
    if service not in _BUILT_ACTIONS:
        raise not_built(f"alarm actions of {service}")
    if service == "automate" and not re.search(r":ec2:(stop|terminate|reboot|recover)$", arn):
        raise validation(f"Invalid arn syntax: {arn}")
    if service == "swf" and not re.search(
        r":action/actions/AWS_EC2\.InstanceId\.(Stop|Terminate|Reboot|Recover)/1\.0$", arn
    ):
        raise validation(f"Invalid arn syntax: {arn}")
    return service


def _spec(call: Call) -> MetricAlarmSpec:
    params = call.params
    for name in NOT_BUILT:
        if name in params:
            raise not_built(f"{name} of PutMetricAlarm")
    if "WallClockWindow" in params.get("EvaluationWindow", {}):
        raise not_built("EvaluationWindow.WallClockWindow of PutMetricAlarm")
    single = "Metrics" not in params
    watch = (_single_query(params),) if single else _math_queries(call)
    n, m = _periods(params, watch)
    return MetricAlarmSpec(
        name=params["AlarmName"],
        watch=watch,
        single=single,
        n=n,
        m=m,
        threshold=_threshold(params),
        comparison=_comparison(params),
        actions=read_actions(call, single_metric=single, dimensions=tuple(name for name, _ in watch[0].dimensions)),
        updated=call.now,
        description=params.get("AlarmDescription"),
        treat_missing=_treat_missing(params),
        low_samples=_low_samples(params, watch, single),
    )


def _single_query(params: dict[str, Any]) -> Query:
    for name in ("MetricName", "Namespace", "Period"):
        if name not in params:
            raise _null(name)
    if ("Statistic" in params) == ("ExtendedStatistic" in params):
        raise validation("Exactly one of Statistic and ExtendedStatistic must be specified.")
    stat = params.get("Statistic") or params["ExtendedStatistic"]
    statistic = parse_statistic(stat)
    if statistic is None or (statistic.extended is None) == ("ExtendedStatistic" in params):
        raise invalid(f"The value {stat[:100]} for parameter ExtendedStatistic is not supported.")
    _check_period(params["Period"])
    names = [one["Name"] for one in params.get("Dimensions") or ()]
    if len(set(names)) != len(names):
        raise validation("No Dimension name may be given twice.")
    return Query(
        id="m1",
        namespace=params["Namespace"],
        metric=params["MetricName"],
        dimensions=tuple(sorted((one["Name"], one["Value"]) for one in params.get("Dimensions") or ())),
        stat=stat,
        unit=params.get("Unit", ""),
        period_s=params["Period"],
    )


def _math_queries(call: Call) -> tuple[Query, ...]:
    params = call.params
    given = [name for name in METRIC_PARAMETERS if name in params]
    if given:
        raise validation(f"{given[0]} must not be specified when the Metrics list is specified.")
    queries = read_queries(params["Metrics"], call.account, "Metrics")
    if len(queries) > LIMIT_METRICS * 2 or sum(1 for query in queries if not query.expression) > LIMIT_METRICS:
        raise validation(f"An alarm can watch at most {LIMIT_METRICS} metrics.")
    check_single_series(queries)
    periods = {query.period_s for query in queries if query.period_s}
    if len(periods) > 1:
        raise validation("All metrics of an alarm must have the same period.")
    if not periods:
        raise validation("Period must be specified for an expression that uses no metric.")
    _check_period(periods.pop())
    return queries


def _check_period(period: int) -> None:
    if period not in HIGH_RESOLUTION and (period <= 0 or period % 60):
        raise validation("Period must be 10, 20, 30 or a multiple of 60.")


def _periods(params: dict[str, Any], watch: tuple[Query, ...]) -> tuple[int, int | None]:
    """N, and M where it was given. AWS: N periods are a day at most, seven days for periods of an hour and more."""
    n, m = params.get("EvaluationPeriods"), params.get("DatapointsToAlarm")
    if n is None:
        raise _null("EvaluationPeriods")
    if m is not None and m > n:
        raise validation("DatapointsToAlarm must be less than or equal to EvaluationPeriods.")
    period = next(query.period_s for query in watch if query.period_s)
    limit, words = (7 * DAY_S, "7 days") if period >= 3600 else (DAY_S, "a day")
    if n * period > limit:
        text = f"Metrics cannot be checked across more than {words} (EvaluationPeriods * Period must be <= {limit})."
        raise validation(text)
    return n, m


def _threshold(params: dict[str, Any]) -> float:
    if "Threshold" not in params:
        raise _null("Threshold")
    threshold = params["Threshold"]
    if not math.isfinite(threshold):
        raise validation(f"Threshold must not be {threshold}.")
    return float(threshold)


def _comparison(params: dict[str, Any]) -> str:
    if "ComparisonOperator" not in params:
        raise _null("ComparisonOperator")
    name: str = params["ComparisonOperator"]
    if name not in COMPARISONS:
        raise not_built(f"ComparisonOperator {name} (anomaly detection)")
    return name


def _low_samples(params: dict[str, Any], watch: tuple[Query, ...], single: bool) -> str | None:
    """AWS: only alarms based on percentiles know it."""
    choice: str | None = params.get("EvaluateLowSampleCountPercentile")
    if choice not in (None, "evaluate", "ignore"):
        supported = "Supported options for parameter EvaluateLowSampleCountPercentile are evaluate and ignore."
        raise validation(f"Option {choice} is not supported. {supported}")
    statistic = parse_statistic(watch[0].stat) if single else None
    if choice is not None and (statistic is None or statistic.percentile is None):
        raise validation("EvaluateLowSampleCountPercentile can only be specified for alarms based on percentiles.")
    return choice


def _treat_missing(params: dict[str, Any]) -> str | None:
    value: str | None = params.get("TreatMissingData")
    if value not in (None, *TREATMENTS):
        supported = f"Supported values are [{', '.join(TREATMENTS)}]."
        raise validation(f"The value {value} is not supported for TreatMissingData parameter. {supported}")
    return value


def _null(name: str) -> AwsError:
    member = name[0].lower() + name[1:]
    text = (
        f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
    )
    return validation(text)


def _configuration(alarm: MetricAlarm) -> dict[str, Any]:
    """What the history tells of a configuration."""
    shown = show_metric_alarm(alarm)
    kept = {name[0].lower() + name[1:]: value for name, value in shown.items() if not name.startswith("State")}
    return kept | {"alarmArn": alarm_arn(alarm.meta.scope, alarm.spec.name)}
