"""Where targets are: the addresses behind an instance, an address or a load balancer, and why there may be none. Pure.

Lowering and DescribeTargetHealth both look here, so what is shown as unused is what gets nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Protocol, TypeVar

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.networks.cidrs import network_of
from gureum.aws.ec2.networks.kinds import NetworkInterface, Subnet, Vpc
from gureum.aws.ec2.networks.lowering import LOAD_BALANCING
from gureum.aws.elbv2.kinds import LoadBalancer, Rule, Target, TargetGroup
from gureum.engine.resource import Resource

T = TypeVar("T", bound=Resource)
# AWS: elbv2 CreateTargetGroup, target type ip: RFC 1918 and RFC 6598.
OUTSIDE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
LIVING = ("pending", "running")
REQUESTER = LOAD_BALANCING


class Look(Protocol):
    """The reads of a lower function (engine/lowering.py) or the client's own."""

    def get(self, cls: type[T], scope: str, name: str) -> T | None: ...
    def by(self, cls: type[T], scope: str, index: str, value: str) -> list[T]: ...


class Place(msgspec.Struct, frozen=True):
    """One address of a target. `zone` "": of all zones."""

    name: str
    address: str
    zone: str


class Located(msgspec.Struct, frozen=True):
    """`places`: none when nothing can go there; then `reason` and `description` are AWS's (elbv2 TargetHealth)."""

    places: tuple[Place, ...] = ()
    reason: str = ""
    description: str = ""


NOT_IN_USE = Located((), "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")
OTHER_ZONE = Located(
    (), "Target.NotInUse", "Target is in an Availability Zone that is not enabled for the load balancer"
)


def balancers_of(group: TargetGroup, look: Look) -> list[LoadBalancer]:
    """The load balancers that send to the group, by name."""
    scope = group.meta.scope
    rules = look.by(Rule, scope, "target-group", group.meta.name)
    names = sorted({rule.spec.load_balancer for rule in rules})
    return [found for name in names if (found := look.get(LoadBalancer, scope, name)) is not None]


def enabled_zones(balancers: list[LoadBalancer]) -> frozenset[str]:
    return frozenset(node.zone for balancer in balancers for node in balancer.spec.zones)


def locate(
    target: Target, group: TargetGroup, zones: frozenset[str], look: Look, taken: frozenset[str] | None = None
) -> Located:
    """Where a target of a group is whose load balancers have these zones (none: it has no load balancer). `taken`: `nodes_addresses` of the group,
    which who locates many targets asks for once."""
    if not zones:
        return NOT_IN_USE
    if group.spec.type == "instance":
        found = _instance(target, group, look)
    elif group.spec.type == "ip":
        found = _address(target, nodes_addresses(group, look) if taken is None else taken)
    else:
        found = _balancer(target, group, look)
    if not found.places:
        return found
    inside = tuple(place for place in found.places if not place.zone or place.zone in zones)
    return Located(inside) if inside else OTHER_ZONE


def _instance(target: Target, group: TargetGroup, look: Look) -> Located:
    scope = group.meta.scope
    instance = look.get(Instance, scope, target.id)
    state = instance.status.state if instance is not None else "terminated"
    if instance is None or state not in LIVING:
        word = {"stopped": "the stopped", "terminated": "the terminated"}.get(state, "an invalid")
        return Located((), "Target.InvalidState", f"Target is in {word} state")
    for interface in look.by(NetworkInterface, scope, "instance", target.id):
        if interface.spec.attachment is not None and interface.spec.attachment.device_index == 0:
            return Located((Place(target.name, interface.spec.primary.address, interface.spec.zone),))
    return Located((), "Target.InvalidState", "Target is in an invalid state")


def _address(target: Target, taken: frozenset[str]) -> Located:
    if target.zone != "all" and target.id in taken:
        text = "The IP address cannot be used as a target, as it is in use by a load balancer"
        return Located((), "Target.IpUnusable", text)
    return Located((Place(target.name, target.id, "" if target.zone == "all" else target.zone),))


def nodes_addresses(group: TargetGroup, look: Look) -> frozenset[str]:
    """Those that load balancers' nodes have, in the group's VPC; none for a group whose targets are no addresses."""
    if group.spec.type != "ip":
        return frozenset()
    scope = group.meta.scope
    balancers = look.by(LoadBalancer, scope, "vpc", group.spec.vpc)
    found = (look.get(NetworkInterface, scope, node.interface) for one in balancers for node in one.spec.zones)
    return frozenset(one.spec.primary.address for one in found if one is not None)


def _balancer(target: Target, group: TargetGroup, look: Look) -> Located:
    """An Application Load Balancer: one place per node of it."""
    scope = group.meta.scope
    id_ = target.id.rpartition("/")[2]
    balancer = look.get(LoadBalancer, scope, id_)
    if balancer is None:
        return Located((), "Target.InvalidState", "Target is in an invalid state")
    places = []
    for node in balancer.spec.zones:
        interface = look.get(NetworkInterface, scope, node.interface)
        if interface is not None:
            name = f"alb-{id_}:{target.port}@{node.zone}"
            places.append(Place(name, interface.spec.primary.address, node.zone))
    return Located(tuple(places))


def zone_of_address(address: IPv4Address, group: TargetGroup, look: Look) -> str | None:
    """The zone of the subnet of the group's VPC that has the address; "" when it is in the VPC but in no subnet, None when it is outside."""
    scope = group.meta.scope
    for subnet in look.by(Subnet, scope, "vpc", group.spec.vpc):
        if address in network_of(subnet.spec.cidr):
            return subnet.spec.zone
    vpc = look.get(Vpc, scope, group.spec.vpc)
    return "" if vpc is not None and any(address in network_of(one.cidr) for one in vpc.spec.cidrs) else None
