"""Scaling policies: simple, by steps, by a target; put, deleted and shown. What they do is in scaling.py."""

from __future__ import annotations

import math
import uuid
from itertools import pairwise
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.kinds import Group, Policy, PolicySpec, Step, Tracking, object_name
from gureum.aws.autoscaling.lookup import find_group, page
from gureum.aws.autoscaling.tracking import check_tracking, drop_alarms, make_alarms
from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_kinds import MetricAlarm
from gureum.aws.cloudwatch.alarm_show import alarm_arn
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

LIMIT_POLICIES, LIMIT_STEPS = 50, 20
SIMPLE, STEPS, TARGET = "SimpleScaling", "StepScaling", "TargetTrackingScaling"
ADJUSTMENT_TYPES = ("ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity")


@operation("PutScalingPolicy")
async def put_scaling_policy(call: Call) -> Result:
    """AWS: autoscaling PutScalingPolicy: makes or replaces one. A target-tracking policy brings its own two alarms."""
    params = call.params
    group, name = find_group(call, params["AutoScalingGroupName"]), params["PolicyName"]
    key = object_name(group.spec.name, name)
    old = call.get(Policy, key)
    if old is None and len(call.by(Policy, "group", group.meta.name)) >= LIMIT_POLICIES:
        raise AwsError("LimitExceeded", f"A group can have {LIMIT_POLICIES} scaling policies at most.", status=400)
    spec = _spec(call, group, old)
    transaction = call.transaction()
    transaction.require(group)
    if old is not None:
        drop_alarms(call, transaction, old, keep=spec.type == TARGET)
    meta = old.meta if old is not None else call.meta(key, owner=group)
    policy = Policy(meta=meta, spec=spec)
    if spec.tracking is not None:
        alarms = make_alarms(call, transaction, group, policy, old)
        policy = msgspec.structs.replace(policy, spec=msgspec.structs.replace(spec, alarms=alarms))
    if old is None:
        transaction.create(policy)
    else:
        transaction.update(policy)
    await call.commit(transaction)
    return {"PolicyARN": policy.arn(group), "Alarms": _show_alarms(call, group, policy)}


@operation("DeletePolicy")
async def delete_policy(call: Call) -> Result:
    """AWS: autoscaling DeletePolicy: by name or ARN; the alarms it made itself go with it."""
    group, policy = find_policy(call, call.params["PolicyName"], call.params.get("AutoScalingGroupName"))
    transaction = call.transaction()
    drop_alarms(call, transaction, policy, keep=False)
    transaction.delete(policy)
    transaction.require(group)
    await call.commit(transaction)
    return {}


@operation("DescribePolicies")
def describe_policies(call: Call) -> Result:
    """AWS: autoscaling DescribePolicies."""
    name, names, types = (call.params.get(key) for key in ("AutoScalingGroupName", "PolicyNames", "PolicyTypes"))
    if names and not name and not all(one.startswith("arn:") for one in names):
        raise invalid("Auto Scaling group name is required when policies are named.")
    found = []
    for policy in call.by(Policy, "group", find_group(call, name).meta.name) if name else call.all(Policy):
        group = call.get(Group, policy.spec.group)
        if group is None or (types and policy.spec.type not in types):
            continue
        if not names or policy.spec.name in names or policy.arn(group) in names:
            found.append((policy, group))
    shown, token = page(call, found, lambda one: one[0].meta.name)
    return {"ScalingPolicies": [_show(call, group, policy) for policy, group in shown]} | token


@operation("GetPredictiveScalingForecast")
def get_predictive_scaling_forecast(call: Call) -> Result:
    """AWS: autoscaling GetPredictiveScalingForecast. ValidationError: no policy here is a predictive one (PutScalingPolicy refuses them)."""
    params = call.params
    if params["StartTime"] >= params["EndTime"]:
        raise invalid("The start time must be before the end time.")
    find_policy(call, params["PolicyName"], params["AutoScalingGroupName"])
    raise invalid("The scaling policy is not of type PredictiveScaling.")


def find_policy(call: Call, name: str, group_name: str | None) -> tuple[Group, Policy]:
    """By name within a group, or by ARN. AWS: ValidationError."""
    if name.startswith("arn:"):
        for policy in call.all(Policy):
            group = call.get(Group, policy.spec.group)
            if group is not None and policy.arn(group) == name:
                return group, policy
        raise invalid("PolicyARN not found")
    if not group_name:
        raise invalid("Group name is required when a policy is given by its name")
    group = find_group(call, group_name)
    found = call.get(Policy, object_name(group.spec.name, name))
    if found is None:
        raise invalid(f"No scaling policy named {name} found for Auto Scaling group {group_name}")
    return group, found


def _spec(call: Call, group: Group, old: Policy | None) -> PolicySpec:
    params = call.params
    kind = params.get("PolicyType") or SIMPLE
    if kind == "PredictiveScaling" or params.get("PredictiveScalingConfiguration"):
        raise not_built("Predictive scaling")
    if kind not in (SIMPLE, STEPS, TARGET):
        raise invalid(f"Policy type {kind} is not valid.")
    base = PolicySpec(
        group.meta.name,
        params["PolicyName"],
        old.spec.uuid if old is not None else str(uuid.uuid4()),
        kind,
        enabled=params.get("Enabled", True),
        warmup_s=params.get("EstimatedInstanceWarmup"),
    )
    if kind == TARGET:
        return msgspec.structs.replace(base, tracking=_tracking(call, params))
    if params.get("TargetTrackingConfiguration"):
        raise invalid("TargetTrackingConfiguration can only be used with the policy type TargetTrackingScaling.")
    adjustment = params.get("AdjustmentType")
    if adjustment not in ADJUSTMENT_TYPES:
        raise invalid(f"Valid adjustment types are: [{', '.join(ADJUSTMENT_TYPES)}].")
    magnitude = params.get("MinAdjustmentMagnitude", params.get("MinAdjustmentStep", 0))
    if magnitude and adjustment != "PercentChangeInCapacity":
        raise invalid("MinAdjustmentMagnitude is only supported with the adjustment type PercentChangeInCapacity.")
    base = msgspec.structs.replace(base, adjustment_type=adjustment, min_magnitude=magnitude)
    return _simple(base, params) if kind == SIMPLE else _stepped(base, params)


def _tracking(call: Call, params: dict[str, Any]) -> Tracking:
    given = params.get("TargetTrackingConfiguration")
    if not given:
        raise invalid("TargetTrackingConfiguration is required for the policy type TargetTrackingScaling.")
    for name in (
        "AdjustmentType",
        "StepAdjustments",
        "ScalingAdjustment",
        "Cooldown",
        "MinAdjustmentMagnitude",
        "MetricAggregationType",
    ):
        # Terraform sends zeroes of what a policy had never been given.
        if params.get(name):
            raise invalid(f"{name} is not supported by the policy type TargetTrackingScaling.")
    check_tracking(call, given)
    return Tracking(given["TargetValue"], given, not given.get("DisableScaleIn", False))


def _simple(base: PolicySpec, params: dict[str, Any]) -> PolicySpec:
    if params.get("ScalingAdjustment") is None:
        raise invalid("You must specify a ScalingAdjustment for a simple scaling policy.")
    for name in ("StepAdjustments", "EstimatedInstanceWarmup", "MetricAggregationType"):
        if params.get(name):
            raise invalid(f"{name} is not supported by the policy type SimpleScaling.")
    adjustment = params["ScalingAdjustment"]
    if base.adjustment_type == "ExactCapacity" and adjustment < 0:
        raise invalid("ScalingAdjustment must not be negative with ExactCapacity.")
    return msgspec.structs.replace(base, adjustment=adjustment, cooldown_s=params.get("Cooldown"))


def _stepped(base: PolicySpec, params: dict[str, Any]) -> PolicySpec:
    if params.get("ScalingAdjustment") or params.get("Cooldown"):
        raise invalid("ScalingAdjustment and Cooldown are not supported by the policy type StepScaling.")
    aggregation = params.get("MetricAggregationType") or "Average"
    if aggregation not in ("Minimum", "Maximum", "Average"):
        raise invalid("Valid metric aggregation types are: [Minimum, Maximum, Average].")
    given = params.get("StepAdjustments") or []
    if not given:
        raise invalid("At least one step adjustment must be specified for the policy type StepScaling.")
    if len(given) > LIMIT_STEPS:
        raise AwsError("LimitExceeded", f"A policy can have {LIMIT_STEPS} step adjustments at most.", status=400)
    steps = tuple(
        Step(one["ScalingAdjustment"], one.get("MetricIntervalLowerBound"), one.get("MetricIntervalUpperBound"))
        for one in given
    )
    _check_steps(steps)
    return msgspec.structs.replace(base, aggregation=aggregation, steps=steps)


def _check_steps(steps: tuple[Step, ...]) -> None:
    """AWS: no gap, no overlap, at most one open end on either side."""
    bounds = [bound for step in steps for bound in (step.lower, step.upper) if bound is not None]
    if not all(map(math.isfinite, bounds)):
        raise invalid("The bounds of a step adjustment must be finite numbers.")
    if any(step.lower is None and step.upper is None for step in steps) and len(steps) > 1:
        raise invalid("At least one of the step adjustment's bounds must be specified.")
    ordered = sorted(steps, key=lambda step: float("-inf") if step.lower is None else step.lower)
    if sum(step.lower is None for step in steps) > 1 or sum(step.upper is None for step in steps) > 1:
        raise invalid(
            "There can't be more than one step adjustment with an unspecified lower bound, nor with an unspecified upper bound."
        )
    for step in ordered:
        if step.lower is not None and step.upper is not None and step.lower >= step.upper:
            raise invalid("The lower bound of a step adjustment must be less than its upper bound.")
    for before, after in pairwise(ordered):
        if before.upper != after.lower:
            raise invalid("Step adjustment intervals can't overlap or have a gap between them.")


def _show_alarms(call: Call, group: Group, policy: Policy) -> list[dict[str, str]]:
    """Its own alarms, and those of the user that name it among their actions."""
    arn = policy.arn(group)
    names = set(policy.spec.alarms)
    names |= {alarm.spec.name for alarm in call.all(MetricAlarm) if arn in alarm.spec.actions.all}
    return [{"AlarmName": name, "AlarmARN": alarm_arn(call.scope, name)} for name in sorted(names)]


def _show(call: Call, group: Group, policy: Policy) -> dict[str, Any]:
    """API form. AWS: autoscaling ScalingPolicy."""
    spec = policy.spec
    shown: dict[str, Any] = {
        "AutoScalingGroupName": group.spec.name,
        "PolicyName": spec.name,
        "PolicyARN": policy.arn(group),
        "PolicyType": spec.type,
        "Enabled": spec.enabled,
        "Alarms": _show_alarms(call, group, policy),
        "StepAdjustments": [_show_step(step) for step in spec.steps],
    }
    if spec.type == SIMPLE:
        shown["ScalingAdjustment"] = spec.adjustment
    optional = {
        "AdjustmentType": spec.adjustment_type or None,
        "MinAdjustmentMagnitude": spec.min_magnitude or None,
        "Cooldown": spec.cooldown_s,
        "MetricAggregationType": spec.aggregation if spec.type == STEPS else None,
        "EstimatedInstanceWarmup": spec.warmup_s,
    }
    shown |= {name: value for name, value in optional.items() if value is not None}
    if spec.tracking is not None:
        shown["TargetTrackingConfiguration"] = {"DisableScaleIn": False} | spec.tracking.config
    return shown


def _show_step(step: Step) -> dict[str, Any]:
    shown: dict[str, Any] = {"ScalingAdjustment": step.adjustment}
    if step.lower is not None:
        shown["MetricIntervalLowerBound"] = step.lower
    if step.upper is not None:
        shown["MetricIntervalUpperBound"] = step.upper
    return shown
