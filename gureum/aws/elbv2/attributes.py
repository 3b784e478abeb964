"""Describe and modify attributes of load balancers, listeners and target groups (attribute_tables.py has the rules)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.elbv2 import attribute_tables as tables
from gureum.aws.elbv2 import log_buckets
from gureum.aws.elbv2.arns import find_balancer, find_group, find_listener
from gureum.aws.elbv2.faults import bad_configuration, invalid
from gureum.aws.elbv2.kinds import LoadBalancer, TargetGroup
from gureum.aws.elbv2.target_groups import groups_of_balancer
from gureum.aws.elbv2.target_numbers import check_balancer
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

LIMIT_ATTRIBUTES = 100


@operation("DescribeLoadBalancerAttributes")
def describe_load_balancer_attributes(call: Call) -> Result:
    """AWS: elbv2 DescribeLoadBalancerAttributes."""
    return _shown(attributes_of_balancer(find_balancer(call, call.params["LoadBalancerArn"])))


@operation("ModifyLoadBalancerAttributes")
async def modify_load_balancer_attributes(call: Call) -> Result:
    """AWS: elbv2 ModifyLoadBalancerAttributes: all or none."""
    balancer = find_balancer(call, call.params["LoadBalancerArn"])
    table, spec = tables.of_balancer(balancer), balancer.spec
    changed = tables.merged("Load balancer", table, tables.KNOWN_OF_BALANCERS, spec.attributes, _asked(call))
    before, after = attributes_of_balancer(balancer), tables.in_force(table, changed)
    tables.check_balancer(after)
    logs = log_buckets.begun(before, after)
    log_buckets.check_buckets(call, logs, after)
    await log_buckets.try_buckets(call, logs, after, spec.name)
    balancer = msgspec.structs.replace(balancer, spec=msgspec.structs.replace(spec, attributes=changed))
    if before["load_balancing.cross_zone.enabled"] != after["load_balancing.cross_zone.enabled"]:
        _check_targets(call, balancer)
    transaction = call.transaction()
    transaction.update(balancer)
    await call.commit(transaction)
    return _shown(attributes_of_balancer(balancer))


def _check_targets(call: Call, balancer: LoadBalancer) -> None:
    """AWS: what crosses zones may have fewer targets. The operation's own error is InvalidConfigurationRequest."""
    try:
        check_balancer(call, balancer, groups_of_balancer(call, balancer))
    except AwsError as too_many:
        raise bad_configuration(too_many.message) from too_many


@operation("DescribeListenerAttributes")
def describe_listener_attributes(call: Call) -> Result:
    """AWS: elbv2 DescribeListenerAttributes."""
    listener, _ = find_listener(call, call.params["ListenerArn"])
    return _shown(tables.in_force(tables.of_listener(listener), listener.spec.attributes))


@operation("ModifyListenerAttributes")
async def modify_listener_attributes(call: Call) -> Result:
    """AWS: elbv2 ModifyListenerAttributes: all or none."""
    listener, _ = find_listener(call, call.params["ListenerArn"])
    table, spec = tables.of_listener(listener), listener.spec
    changed = tables.merged("Listener", table, tables.KNOWN_OF_LISTENERS, spec.attributes, _asked(call))
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(listener, spec=msgspec.structs.replace(spec, attributes=changed)))
    await call.commit(transaction)
    return _shown(tables.in_force(table, changed))


@operation("DescribeTargetGroupAttributes")
def describe_target_group_attributes(call: Call) -> Result:
    """AWS: elbv2 DescribeTargetGroupAttributes."""
    return _shown(attributes_of_group(find_group(call, call.params["TargetGroupArn"])))


@operation("ModifyTargetGroupAttributes")
async def modify_target_group_attributes(call: Call) -> Result:
    """AWS: elbv2 ModifyTargetGroupAttributes: all or none."""
    group = find_group(call, call.params["TargetGroupArn"])
    table, spec = tables.of_group(group), group.spec
    changed = tables.merged("Target group", table, tables.KNOWN_OF_GROUPS, spec.attributes, _asked(call))
    tables.check_group(group, tables.in_force(table, changed))
    tables.check_thresholds(changed)
    group = msgspec.structs.replace(group, spec=msgspec.structs.replace(spec, attributes=changed))
    transaction = call.transaction()
    transaction.update(group)
    await call.commit(transaction)
    return _shown(attributes_of_group(group))


def attributes_of_balancer(balancer: LoadBalancer) -> dict[str, str]:
    """Every attribute with the value in force."""
    return tables.in_force(tables.of_balancer(balancer), balancer.spec.attributes)


def attributes_of_group(group: TargetGroup) -> dict[str, str]:
    """Every attribute with the value in force."""
    return tables.in_force(tables.of_group(group), group.spec.attributes)


def crosses_zones(balancer: LoadBalancer, group: TargetGroup) -> bool:
    """AWS: load_balancing.cross_zone.enabled of the group, which may leave it to the load balancer's."""
    value = attributes_of_group(group)["load_balancing.cross_zone.enabled"]
    if value == "use_load_balancer_configuration":
        value = attributes_of_balancer(balancer)["load_balancing.cross_zone.enabled"]
    return value == "true"


def mitigates_anomalies(group: TargetGroup) -> bool:
    """AWS: load_balancing.algorithm.anomaly_mitigation."""
    return attributes_of_group(group).get("load_balancing.algorithm.anomaly_mitigation") == "on"


def _asked(call: Call) -> dict[str, str]:
    given = call.params["Attributes"]
    asked = {one.get("Key") or "": one.get("Value") or "" for one in given}
    if "" in asked:
        raise invalid("An attribute key must be specified")
    if len(asked) != len(given):
        raise invalid("An attribute key was specified multiple times")
    if len(asked) > LIMIT_ATTRIBUTES:
        raise invalid(f"At most {LIMIT_ATTRIBUTES} attributes can be specified in a single call")
    return asked


def _shown(values: Mapping[str, str]) -> dict[str, Any]:
    return {"Attributes": [{"Key": key, "Value": value} for key, value in values.items()]}
