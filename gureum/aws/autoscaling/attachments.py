"""Target groups of a group: attached, detached and shown, under their own name and as "traffic sources".

Attaching registers the instances that serve; they are taken into account for health checks from then on. AWS: "Attach an Elastic Load
Balancing load balancer to your Auto Scaling group".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, no_classic_balancers
from gureum.aws.autoscaling.group_settings import check_target_groups, traffic_sources
from gureum.aws.autoscaling.kinds import Group
from gureum.aws.autoscaling.lookup import find_group, members_of, page
from gureum.aws.autoscaling.targets import deregister_from, register_in
from gureum.aws.call import Call
from gureum.aws.elbv2.kinds import TargetGroup
from gureum.aws.marks import Result, operation


@operation("AttachLoadBalancerTargetGroups")
async def attach_load_balancer_target_groups(call: Call) -> Result:
    """AWS: autoscaling AttachLoadBalancerTargetGroups. Those that are attached already are left alone."""
    await _attach(call, check_target_groups(call, call.params["TargetGroupARNs"]))
    return {}


@operation("DetachLoadBalancerTargetGroups")
async def detach_load_balancer_target_groups(call: Call) -> Result:
    """AWS: autoscaling DetachLoadBalancerTargetGroups: the instances drain."""
    await _detach(call, call.params["TargetGroupARNs"])
    return {}


@operation("DescribeLoadBalancerTargetGroups")
def describe_load_balancer_target_groups(call: Call) -> Result:
    """AWS: autoscaling DescribeLoadBalancerTargetGroups."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    shown, token = page(call, group.spec.target_groups, str, default=100)
    return {
        "LoadBalancerTargetGroups": [{"LoadBalancerTargetGroupARN": arn, "State": _state(group)} for arn in shown]
    } | token


@operation("AttachTrafficSources")
async def attach_traffic_sources(call: Call) -> Result:
    """AWS: autoscaling AttachTrafficSources: target groups; other kinds are not built."""
    await _attach(call, traffic_sources(call, call.params["TrafficSources"]))
    return {}


@operation("DetachTrafficSources")
async def detach_traffic_sources(call: Call) -> Result:
    """AWS: autoscaling DetachTrafficSources."""
    await _detach(call, [one["Identifier"] for one in call.params["TrafficSources"]])
    return {}


@operation("DescribeTrafficSources")
def describe_traffic_sources(call: Call) -> Result:
    """AWS: autoscaling DescribeTrafficSources."""
    group, kind = find_group(call, call.params["AutoScalingGroupName"]), call.params.get("TrafficSourceType")
    if kind not in (None, "elb", "elbv2", "vpc-lattice"):
        raise invalid(f"Invalid traffic source type: {kind}")
    arns: Sequence[str] = group.spec.target_groups if kind in (None, "elbv2") else ()
    shown, token = page(call, arns, str)
    sources: list[dict[str, Any]] = [
        {"TrafficSource": arn, "Identifier": arn, "Type": "elbv2", "State": _state(group)} for arn in shown
    ]
    return {"TrafficSources": sources} | token


@operation("AttachLoadBalancers")
def attach_load_balancers(call: Call) -> Result:
    """AWS: autoscaling AttachLoadBalancers: Classic ones, of which there are none. ValidationError."""
    return _without_classic(call)


@operation("DetachLoadBalancers")
def detach_load_balancers(call: Call) -> Result:
    """AWS: autoscaling DetachLoadBalancers: Classic ones, of which no group has any. ValidationError."""
    return _without_classic(call)


@operation("DescribeLoadBalancers")
def describe_load_balancers(call: Call) -> Result:
    """AWS: autoscaling DescribeLoadBalancers: Classic Load Balancers, of which there are none."""
    find_group(call, call.params["AutoScalingGroupName"])
    return {"LoadBalancers": []}


def _without_classic(call: Call) -> Result:
    find_group(call, call.params["AutoScalingGroupName"])
    if call.params["LoadBalancerNames"]:
        raise no_classic_balancers()
    return {}


def _state(group: Group) -> str:
    return "InService" if "ELB" in group.spec.health_type else "Added"


async def _attach(call: Call, arns: Sequence[str]) -> None:
    group = find_group(call, call.params["AutoScalingGroupName"])
    new = [arn for arn in arns if arn not in group.spec.target_groups]
    wanted = check_target_groups(call, [*group.spec.target_groups, *new])
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, target_groups=wanted)))
    if "AddToLoadBalancer" not in group.spec.suspended:
        for member in members_of(call, group):
            if member.spec.state == "InService":
                for targets in _found(call, new):
                    register_in(call, transaction, targets, member.meta.name)
    await call.commit(transaction)


async def _detach(call: Call, arns: Sequence[str]) -> None:
    group = find_group(call, call.params["AutoScalingGroupName"])
    missing = [arn for arn in arns if arn not in group.spec.target_groups]
    if missing:
        raise invalid("Provided Target Groups may not be valid. Please ensure they exist and try again.")
    left = tuple(arn for arn in group.spec.target_groups if arn not in arns)
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, target_groups=left)))
    for member in members_of(call, group):
        for targets in _found(call, arns):
            deregister_from(call, transaction, targets, member.meta.name)
    await call.commit(transaction)


def _found(call: Call, arns: Sequence[str]) -> list[TargetGroup]:
    return [found for arn in arns if (found := call.get(TargetGroup, arn.rpartition("/")[2])) is not None]
