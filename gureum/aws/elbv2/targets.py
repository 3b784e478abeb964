"""RegisterTargets and DeregisterTargets, and what other services use to do the same in commits of their own (Auto Scaling).

    registered ──deregister──► draining (until its delay is over) ──► gone
        ▲                          │
        └────────register──────────┘

A target of a group that no load balancer uses has nothing to drain and is gone at once; so is one with a delay of 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.arns import find_balancer, find_group
from gureum.aws.elbv2.attributes import attributes_of_group
from gureum.aws.elbv2.faults import invalid, not_built
from gureum.aws.elbv2.kinds import Listener, Target, TargetGroup
from gureum.aws.elbv2.target_groups import groups_of_balancer, users_of
from gureum.aws.elbv2.target_numbers import check_balancer
from gureum.aws.elbv2.target_places import OUTSIDE, zone_of_address
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation


@operation("RegisterTargets")
async def register_targets(call: Call) -> Result:
    """AWS: elbv2 RegisterTargets: all or none; one that is there already is left alone, one that drains comes back."""
    group = find_group(call, call.params["TargetGroupArn"])
    transaction = call.transaction()
    wanted = wanted_targets(call, group, call.params["Targets"])
    changed = registered(group, wanted, call.now)
    check_numbers(call, changed)
    if changed != group:
        transaction.update(changed)
    for target in wanted:
        instance = call.get(Instance, target.id) if group.spec.type == "instance" else None
        if instance is not None:
            transaction.require(instance)
    await call.commit(transaction)
    return {}


@operation("DeregisterTargets")
async def deregister_targets(call: Call) -> Result:
    """AWS: elbv2 DeregisterTargets: a target without a port is the one at the group's port; one that is not there is success."""
    group = find_group(call, call.params["TargetGroupArn"])
    names = [(one["Id"], one.get("Port") or group.spec.port) for one in call.params["Targets"]]
    changed = deregistered(call, group, names)
    if changed != group:
        transaction = call.transaction()
        transaction.update(changed)
        await call.commit(transaction)
    return {}


def registered(group: TargetGroup, wanted: Iterable[Target], now: float) -> TargetGroup:
    """The group with these targets. Pure."""
    targets = {(one.id, one.port): one for one in group.spec.targets}
    for target in wanted:
        known = targets.get((target.id, target.port))
        if known is None or known.draining_until:
            targets[target.id, target.port] = msgspec.structs.replace(target, registered=now, draining_until=0.0)
    return with_targets(group, tuple(targets.values()))


def deregistered(call: Call, group: TargetGroup, names: Iterable[tuple[str, int]]) -> TargetGroup:
    """The group with these targets (id, port) draining, or without them when there is nothing to drain."""
    gone = frozenset(names)
    delay_s = float(attributes_of_group(group)["deregistration_delay.timeout_seconds"])
    drains = delay_s > 0 and bool(users_of(call, group))
    left = []
    for target in group.spec.targets:
        if (target.id, target.port) not in gone or target.draining_until:
            left.append(target)
        elif drains:
            left.append(msgspec.structs.replace(target, draining_until=call.now + delay_s))
    return with_targets(group, tuple(left))


def with_targets(group: TargetGroup, targets: tuple[Target, ...]) -> TargetGroup:
    return msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, targets=targets))


def wanted_targets(call: Call, group: TargetGroup, given: Sequence[Mapping[str, Any]]) -> list[Target]:
    """What a call wants registered, checked. AWS: InvalidTarget, ValidationError."""
    for one in given:
        if one.get("QuicServerId"):
            raise not_built("RegisterTargets with QuicServerId")
    if group.spec.type == "instance":
        _check_instances(call, group, [one["Id"] for one in given])
    checked = {"instance": _instance, "ip": _address, "alb": _balancer}[group.spec.type]
    return [checked(call, group, one) for one in given]


def check_numbers(call: Call, group: TargetGroup) -> None:
    """AWS: TooManyTargets for the group and for each load balancer that uses it."""
    alive = [target for target in group.spec.targets if not target.draining_until]
    if len(alive) > limits.TARGETS_PER_GROUP or (group.spec.type == "alb" and len(alive) > 1):
        most = 1 if group.spec.type == "alb" else limits.TARGETS_PER_GROUP
        raise AwsError("TooManyTargets", f"The maximum number of targets per target group is {most}")
    for balancer in users_of(call, group):
        others = [one for one in groups_of_balancer(call, balancer) if one.meta.name != group.meta.name]
        check_balancer(call, balancer, [*others, group])


def _check_instances(call: Call, group: TargetGroup, ids: list[str]) -> None:
    instances = {id_: call.get(Instance, id_) for id_ in ids}
    malformed = [id_ for id_ in ids if not id_.startswith("i-")]
    if malformed:
        raise invalid(f"Instance ID '{malformed[0]}' is not valid")
    idle = [id_ for id_, one in instances.items() if one is None or one.status.state != "running"]
    if idle:
        names = ", ".join(f"'{id_}'" for id_ in idle)
        text = f"The following targets are not in a running state and cannot be registered: {names}"
        raise AwsError("InvalidTarget", text)
    foreign = [id_ for id_, one in instances.items() if one is not None and one.spec.vpc != group.spec.vpc]
    if foreign:
        names = ", ".join(f"'{id_}'" for id_ in foreign)
        text = f"The following targets are not in the target group VPC '{group.spec.vpc}': {names}"
        raise AwsError("InvalidTarget", text)


def _instance(call: Call, group: TargetGroup, given: Mapping[str, Any]) -> Target:
    _refuse_zone(group, given)
    return Target(given["Id"], given.get("Port") or group.spec.port)


def _refuse_zone(group: TargetGroup, given: Mapping[str, Any]) -> None:
    if given.get("AvailabilityZone"):
        raise invalid(f"You cannot specify an Availability Zone for a target of type '{group.spec.type}'")


def _address(call: Call, group: TargetGroup, given: Mapping[str, Any]) -> Target:
    id_, asked = given["Id"], given.get("AvailabilityZone") or ""
    try:
        address = IPv4Address(id_)
    except AddressValueError:
        raise invalid(f"The IP address '{id_}' is not a valid IPv4 address") from None
    zone = zone_of_address(address, group, call.client)
    if zone is None and not any(address in network for network in OUTSIDE):
        raise invalid(
            f"The IP address '{id_}' is not within the VPC of the target group, the RFC 1918 range or the RFC 6598 range"
        )
    if zone is None and asked != "all":
        raise invalid(f"The Availability Zone of the IP address '{id_}', which is outside the VPC, must be 'all'")
    if zone and asked and asked != zone:
        raise invalid(f"The IP address '{id_}' is in the Availability Zone '{zone}', not in '{asked}'")
    return Target(str(address), given.get("Port") or group.spec.port, zone or asked)


def _balancer(call: Call, group: TargetGroup, given: Mapping[str, Any]) -> Target:
    _refuse_zone(group, given)
    id_, port = given["Id"], given.get("Port") or group.spec.port
    try:
        balancer = find_balancer(call, id_)
    except AwsError as error:
        raise AwsError("InvalidTarget", f"The following targets are not valid load balancers: '{id_}'") from error
    if balancer.spec.type != "application" or balancer.spec.vpc != group.spec.vpc:
        text = f"The following targets are not Application Load Balancers in the target group VPC '{group.spec.vpc}': '{id_}'"
        raise AwsError("InvalidTarget", text)
    listeners = call.by(Listener, "load-balancer", balancer.meta.name)
    if port != group.spec.port or all(listener.spec.port != port for listener in listeners):
        text = f"The Application Load Balancer '{id_}' must have a listener whose port is that of the target group, '{group.spec.port}'"
        raise AwsError("InvalidTarget", text)
    return Target(id_, port)
