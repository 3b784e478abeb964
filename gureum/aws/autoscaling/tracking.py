"""What a target-tracking policy watches, and the two alarms that it makes for itself.

    TargetTracking-GROUP-AlarmHigh-UUID   above the target for 3 periods        TargetTracking-GROUP-AlarmLow-UUID   below 90 % of it for 15

AWS: "Target tracking scaling policies": the alarms are the policy's own; who changes them changes them back by putting the policy again.
Settings `alarm_minute_s` and `scaling_low_periods` make both quicker on a local cloud.
"""

from __future__ import annotations

import math
import uuid
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.kinds import Group, Policy
from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_kinds import Actions, AlarmStatus, MetricAlarm, MetricAlarmSpec, object_name
from gureum.aws.cloudwatch.queries import Query, check_single_series, read_queries
from gureum.aws.elbv2.kinds import LoadBalancer, TargetGroup
from gureum.engine.client import Transaction

PREDEFINED = {
    "ASGAverageCPUUtilization": "CPUUtilization",
    "ASGAverageNetworkIn": "NetworkIn",
    "ASGAverageNetworkOut": "NetworkOut",
}
REQUESTS = "ALBRequestCountPerTarget"
PERIOD_S, HIGH_PERIODS = 60, 3
LOW_SHARE = 0.9


def check_tracking(call: Call, given: dict[str, Any]) -> None:
    """AWS: ValidationError for what cannot be tracked."""
    predefined, customized = given.get("PredefinedMetricSpecification"), given.get("CustomizedMetricSpecification")
    if bool(predefined) == bool(customized):
        raise invalid(
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be specified."
        )
    if not math.isfinite(given["TargetValue"]):
        raise invalid("Target value must be a finite number.")
    if given["TargetValue"] <= 0:
        raise invalid("Target value must be greater than 0.")
    if predefined and predefined["PredefinedMetricType"] not in (*PREDEFINED, REQUESTS):
        raise not_built(f"The metric type {predefined['PredefinedMetricType']}")
    if predefined and predefined["PredefinedMetricType"] == REQUESTS:
        _label(call, predefined.get("ResourceLabel") or "")
    elif predefined and predefined.get("ResourceLabel"):
        raise invalid(f"Resource label is not supported for the metric type {predefined['PredefinedMetricType']}.")
    if customized:
        _customized(call, customized, 60)


def watched(call: Call, group: Group, config: dict[str, Any]) -> tuple[Query, ...]:
    """The metric's queries; the returned one is compared."""
    predefined = config.get("PredefinedMetricSpecification")
    if not predefined:
        return _customized(call, config["CustomizedMetricSpecification"], PERIOD_S)
    if predefined["PredefinedMetricType"] == REQUESTS:
        balancer, targets = _label(call, predefined["ResourceLabel"])
        dimensions = (("LoadBalancer", balancer), ("TargetGroup", targets))
        metric = Query(
            "m1",
            namespace="AWS/ApplicationELB",
            metric="RequestCountPerTarget",
            dimensions=dimensions,
            stat="Sum",
            period_s=PERIOD_S,
        )
        return (metric,)
    name = PREDEFINED[predefined["PredefinedMetricType"]]
    own = (("AutoScalingGroupName", group.spec.name),)
    return (Query("m1", namespace="AWS/EC2", metric=name, dimensions=own, stat="Average", period_s=PERIOD_S),)


def make_alarms(
    call: Call, transaction: Transaction, group: Group, policy: Policy, old: Policy | None
) -> tuple[str, ...]:
    """Names of the policy's alarms, made or changed in this transaction."""
    tracking = policy.spec.tracking
    assert tracking is not None
    queries = watched(call, group, tracking.config)
    names = old.spec.alarms if old is not None else ()
    high = next((name for name in names if "-AlarmHigh-" in name), _name(group, "High"))
    low = next((name for name in names if "-AlarmLow-" in name), _name(group, "Low"))
    wanted = [(high, "GreaterThanThreshold", tracking.target, HIGH_PERIODS)]
    if tracking.scale_in:
        threshold = round(tracking.target * LOW_SHARE, 6)
        wanted.append((low, "LessThanThreshold", threshold, call.settings.scaling_low_periods))
    for name, comparison, threshold, periods in wanted:
        spec = MetricAlarmSpec(
            name,
            queries,
            len(queries) == 1,
            periods,
            threshold,
            comparison,
            Actions(alarm=(policy.arn(group),)),
            call.now,
            description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn(group)}.",
        )
        known = call.get(MetricAlarm, object_name(name))
        if known is None:
            status = AlarmStatus(changed=call.now, transitioned=call.now)
            transaction.create(MetricAlarm(meta=call.meta(object_name(name), owner=group), spec=spec, status=status))
        else:
            transaction.update(msgspec.structs.replace(known, spec=spec))
    if not tracking.scale_in and low in names and (known := call.get(MetricAlarm, object_name(low))) is not None:
        transaction.delete(known)
    return tuple(name for name, *_ in wanted)


def drop_alarms(call: Call, transaction: Transaction, policy: Policy, *, keep: bool) -> None:
    """The alarms that the policy made itself go; `keep`: they are about to be changed instead."""
    for name in () if keep else policy.spec.alarms:
        alarm = call.get(MetricAlarm, object_name(name))
        if alarm is not None:
            transaction.delete(alarm)


def _name(group: Group, which: str) -> str:
    return f"TargetTracking-{group.spec.name}-Alarm{which}-{uuid.uuid4()}"


def _label(call: Call, label: str) -> tuple[str, str]:
    """(load balancer, target group) as CloudWatch's dimensions have them. AWS: "app/NAME/ID/targetgroup/NAME/ID"."""
    balancer, found, targets = label.partition("/targetgroup/")
    ids = balancer.rpartition("/")[2], targets.rpartition("/")[2]
    if not found or not balancer.startswith("app/") or balancer.count("/") != 2 or targets.count("/") != 1:
        raise invalid(
            f"Invalid resource label: {label}. It must be app/<load-balancer>/<id>/targetgroup/<target-group>/<id>."
        )
    if call.get(LoadBalancer, ids[0]) is None or call.get(TargetGroup, ids[1]) is None:
        raise invalid(f"The load balancer or target group of the resource label {label} does not exist.")
    return balancer, f"targetgroup/{targets}"


def _customized(call: Call, given: dict[str, Any], period_s: int) -> tuple[Query, ...]:
    if given.get("Metrics"):
        queries = []
        for one in given["Metrics"]:
            stat = one.get("MetricStat")
            period = {"Period": stat.get("Period") or one.get("Period") or period_s} if stat else {}
            query = {
                name: one[name] for name in ("Id", "Expression", "Label", "ReturnData") if one.get(name) is not None
            }
            queries.append(query | ({"MetricStat": stat | period} if stat else {}))
        read = read_queries(queries, call.account)
        check_single_series(read)
        return read
    for name in ("MetricName", "Namespace", "Statistic"):
        if not given.get(name):
            raise invalid(f"CustomizedMetricSpecification must have {name}.")
    dimensions = tuple(sorted((one["Name"], one["Value"]) for one in given.get("Dimensions") or ()))
    return (
        Query(
            "m1", namespace=given["Namespace"], metric=given["MetricName"], dimensions=dimensions, stat=given["Statistic"],
            unit=given.get("Unit") or "", period_s=given.get("Period") or period_s,
        ),
    )  # fmt: skip
