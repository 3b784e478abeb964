"""Processes of a group that can be suspended, its metrics, its notifications, and what Auto Scaling says of itself."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid
from gureum.aws.autoscaling.group_settings import TERMINATION_POLICIES
from gureum.aws.autoscaling.groups import replace_spec
from gureum.aws.autoscaling.kinds import Group, LaunchConfiguration
from gureum.aws.autoscaling.limits import GROUPS, LAUNCH_CONFIGURATIONS
from gureum.aws.autoscaling.lookup import find_group
from gureum.aws.autoscaling.sentences import clock_text
from gureum.aws.call import Call
from gureum.aws.marks import Result, operation

PROCESSES = (
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
)
METRICS = (
    "GroupMinSize",
    "GroupMaxSize",
    "GroupDesiredCapacity",
    "GroupInServiceInstances",
    "GroupPendingInstances",
    "GroupStandbyInstances",
    "GroupTerminatingInstances",
    "GroupTotalInstances",
    "GroupInServiceCapacity",
    "GroupPendingCapacity",
    "GroupStandbyCapacity",
    "GroupTerminatingCapacity",
    "GroupTotalCapacity",
    "WarmPoolMinSize",
    "WarmPoolDesiredCapacity",
    "WarmPoolPendingCapacity",
    "WarmPoolTerminatingCapacity",
    "WarmPoolWarmedCapacity",
    "WarmPoolTotalCapacity",
    "GroupAndWarmPoolDesiredCapacity",
    "GroupAndWarmPoolTotalCapacity",
)


@operation("SuspendProcesses")
async def suspend_processes(call: Call) -> Result:
    """AWS: autoscaling SuspendProcesses: those named, or all."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    reason = {name: "User suspended at " + clock_text(call.now) for name in _named(call)}
    await replace_spec(call, group, msgspec.structs.replace(group.spec, suspended=reason | group.spec.suspended))
    return {}


@operation("ResumeProcesses")
async def resume_processes(call: Call) -> Result:
    """AWS: autoscaling ResumeProcesses."""
    group, named = find_group(call, call.params["AutoScalingGroupName"]), _named(call)
    left = {name: why for name, why in group.spec.suspended.items() if name not in named}
    await replace_spec(call, group, msgspec.structs.replace(group.spec, suspended=left))
    return {}


@operation("DescribeScalingProcessTypes")
def describe_scaling_process_types(call: Call) -> Result:
    """AWS: autoscaling DescribeScalingProcessTypes."""
    return {"Processes": [{"ProcessName": name} for name in PROCESSES]}


@operation("EnableMetricsCollection")
async def enable_metrics_collection(call: Call) -> Result:
    """AWS: autoscaling EnableMetricsCollection: those named, or all, each minute."""
    group, named = find_group(call, call.params["AutoScalingGroupName"]), _metrics(call)
    if call.params["Granularity"] != "1Minute":
        raise invalid("Valid metric granularities are: [1Minute].")
    metrics = tuple(name for name in METRICS if name in named or name in group.spec.metrics)
    await replace_spec(call, group, msgspec.structs.replace(group.spec, metrics=metrics))
    return {}


@operation("DisableMetricsCollection")
async def disable_metrics_collection(call: Call) -> Result:
    """AWS: autoscaling DisableMetricsCollection."""
    group, named = find_group(call, call.params["AutoScalingGroupName"]), _metrics(call)
    metrics = tuple(name for name in group.spec.metrics if name not in named)
    await replace_spec(call, group, msgspec.structs.replace(group.spec, metrics=metrics))
    return {}


@operation("DescribeMetricCollectionTypes")
def describe_metric_collection_types(call: Call) -> Result:
    """AWS: autoscaling DescribeMetricCollectionTypes."""
    return {"Metrics": [{"Metric": name} for name in METRICS], "Granularities": [{"Granularity": "1Minute"}]}


@operation("DescribeAdjustmentTypes")
def describe_adjustment_types(call: Call) -> Result:
    """AWS: autoscaling DescribeAdjustmentTypes."""
    names = ("ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity")
    return {"AdjustmentTypes": [{"AdjustmentType": name} for name in names]}


@operation("DescribeTerminationPolicyTypes")
def describe_termination_policy_types(call: Call) -> Result:
    """AWS: autoscaling DescribeTerminationPolicyTypes."""
    return {"TerminationPolicyTypes": list(TERMINATION_POLICIES)}


@operation("DescribeAccountLimits")
def describe_account_limits(call: Call) -> Result:
    """AWS: autoscaling DescribeAccountLimits."""
    return {
        "MaxNumberOfAutoScalingGroups": GROUPS,
        "MaxNumberOfLaunchConfigurations": LAUNCH_CONFIGURATIONS,
        "NumberOfAutoScalingGroups": len(call.all(Group)),
        "NumberOfLaunchConfigurations": len(call.all(LaunchConfiguration)),
    }


def _named(call: Call) -> list[str]:
    names = call.params.get("ScalingProcesses") or list(PROCESSES)
    for name in names:
        if name not in PROCESSES:
            raise invalid(f"Invalid scaling process type: {name}. Valid types are: {', '.join(PROCESSES)}")
    return list(names)


def _metrics(call: Call) -> list[str]:
    names: list[Any] = call.params.get("Metrics") or list(METRICS)
    for name in names:
        if name not in METRICS:
            raise invalid(f"Valid metric types are: [{', '.join(METRICS)}].")
    return names
