"""Load balancers: made with a node in each zone, shown, and deleted with everything that is theirs.

What they are on the machine is in lowering.py, how their state moves in lifecycle.py. AWS: elbv2 CreateLoadBalancer, DeleteLoadBalancer,
DescribeLoadBalancers; application and network, not gateway.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.endpoints.kinds import EndpointService
from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.arns import arn_of_balancer, find_balancer
from gureum.aws.elbv2.attributes import attributes_of_balancer
from gureum.aws.elbv2.dns import hosted_zone, new_dns_name
from gureum.aws.elbv2.faults import bad_configuration, check_count, invalid, not_built, refuse
from gureum.aws.elbv2.kinds import Listener, LoadBalancer, LoadBalancerSpec, Rule, TargetGroup, ZoneNode
from gureum.aws.elbv2.nodes import Wish, add_node, check_room, remove_node, wanted_groups, wanted_zones
from gureum.aws.elbv2.paging import page
from gureum.aws.elbv2.tagging import tags_of
from gureum.aws.elbv2.target_groups import check_name
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id

DELETED_AT_ONCE = 1000
"""Listeners and rules that go in the load balancer's own commit; what is more goes with its owner (engine/owners.py)."""


@operation("CreateLoadBalancer")
async def create_load_balancer(call: Call) -> Result:
    """AWS: elbv2 CreateLoadBalancer: a second call with the same settings answers the same load balancer."""
    refuse("CreateLoadBalancer", call.params, ("CustomerOwnedIpv4Pool", "IpamPools"))
    if call.params.get("EnablePrefixForIpv6SourceNat", "off") != "off":
        raise not_built("CreateLoadBalancer with EnablePrefixForIpv6SourceNat")
    spec, wishes, tags = _wanted(call)
    known = call.by(LoadBalancer, "name", spec.name)
    if known:
        return {"LoadBalancers": [show_load_balancer(call, _same(known[0], spec, wishes))]}
    _check_number(call, spec.type)
    check_room(call, wishes, spec.type)
    id_, internal = new_id("", 16), spec.scheme == "internal"
    dns_name = new_dns_name(spec.name, id_, spec.type, internal=internal, region=call.region)
    balancer = LoadBalancer(meta=call.meta(id_, tags=tags), spec=msgspec.structs.replace(spec, dns_name=dns_name))
    transaction = call.transaction()
    nodes = tuple(add_node(call, transaction, balancer, wish) for wish in wishes)
    balancer = with_zones(balancer, nodes)
    transaction.require_no_newer(LoadBalancer, call.scope)
    transaction.create(balancer)
    await call.commit(transaction)
    return {"LoadBalancers": [show_load_balancer(call, balancer)]}


@operation("DeleteLoadBalancer")
async def delete_load_balancer(call: Call) -> Result:
    """AWS: elbv2 DeleteLoadBalancer: with its listeners, rules, interfaces and addresses. One that is gone is success."""
    try:
        balancer = find_balancer(call, call.params["LoadBalancerArn"])
    except AwsError as error:
        if error.code == "LoadBalancerNotFound":
            return {}
        raise
    arn = arn_of_balancer(balancer)
    if attributes_of_balancer(balancer)["deletion_protection.enabled"] == "true":
        text = f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        raise AwsError("OperationNotPermitted", text)
    if call.by(TargetGroup, "registered", arn):
        raise AwsError("ResourceInUse", f"Load balancer '{arn}' is currently registered as a target of a target group")
    if call.by(EndpointService, "balancer", balancer.meta.name):
        text = f"Load balancer '{arn}' cannot be deleted because it is currently associated with another service"
        raise AwsError("ResourceInUse", text)
    transaction = call.transaction()
    transaction.require_no_newer(EndpointService, call.scope)
    for node in balancer.spec.zones:
        remove_node(call, transaction, node)
    listeners = call.by(Listener, "load-balancer", balancer.meta.name)
    rules = call.by(Rule, "load-balancer", balancer.meta.name)
    for one in [*rules, *listeners][:DELETED_AT_ONCE]:
        transaction.delete(one)
    transaction.delete(balancer)
    await call.commit(transaction)
    return {}


@operation("DescribeLoadBalancers")
def describe_load_balancers(call: Call) -> Result:
    """AWS: elbv2 DescribeLoadBalancers: all, by ARN or by name."""
    arns, names = call.params.get("LoadBalancerArns"), call.params.get("Names")
    if arns and names:
        raise invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
    check_count(arns or names, "load balancers")
    if arns:
        found = [find_balancer(call, arn) for arn in dict.fromkeys(arns)]
    elif names:
        found = [_named(call, name) for name in dict.fromkeys(names)]
    else:
        found = call.all(LoadBalancer)
    shown, more = page(call.params, found, lambda balancer: balancer.spec.name)
    return {"LoadBalancers": [show_load_balancer(call, balancer) for balancer in shown], **more}


def with_zones(balancer: LoadBalancer, nodes: tuple[ZoneNode, ...]) -> LoadBalancer:
    return msgspec.structs.replace(balancer, spec=msgspec.structs.replace(balancer.spec, zones=nodes))


def check_address_type(params: dict[str, Any]) -> None:
    """AWS: InvalidConfigurationRequest for IPv6, which no subnet here has."""
    if params.get("IpAddressType", "ipv4") != "ipv4":
        raise bad_configuration("You must specify subnets with an associated IPv6 CIDR block.")


def _wanted(call: Call) -> tuple[LoadBalancerSpec, list[Wish], dict[str, str]]:
    params = call.params
    name = check_name("Load balancer", params["Name"])
    if name.startswith("internal-"):
        raise invalid(f"Load balancer name '{name}' cannot begin with 'internal-'")
    type_: Any = params.get("Type") or "application"
    if type_ not in ("application", "network"):
        raise not_built(f"A load balancer of type {type_}")
    check_address_type(params)
    scheme: Any = params.get("Scheme") or "internet-facing"
    if scheme not in ("internet-facing", "internal"):
        raise AwsError("InvalidScheme", f"Scheme '{scheme}' is not valid")
    tags = tags_of(call)
    wishes = wanted_zones(call, type_, scheme)
    vpc = wishes[0].subnet.spec.vpc
    groups = wanted_groups(call, vpc, type_)
    spec = LoadBalancerSpec(
        name=name,
        type=type_,
        scheme=scheme,
        vpc=vpc,
        dns_name="",
        zones=(),
        groups=groups,
        enforce_private_link="on" if type_ == "network" and groups else "",
    )
    return spec, wishes, tags


def _same(known: LoadBalancer, wanted: LoadBalancerSpec, wishes: list[Wish]) -> LoadBalancer:
    """AWS: the same settings again are success, others DuplicateLoadBalancerName."""
    private_link = wanted.enforce_private_link
    bare = msgspec.structs.replace(known.spec, zones=(), attributes={}, dns_name="", enforce_private_link=private_link)
    zones = [(node.subnet, node.allocation, node.private) for node in known.spec.zones]
    if bare != wanted or zones != [(wish.subnet.meta.name, wish.allocation, wish.private) for wish in wishes]:
        text = f"A load balancer with the same name '{wanted.name}' exists, but with different settings"
        raise AwsError("DuplicateLoadBalancerName", text)
    return known


def _check_number(call: Call, type_: str) -> None:
    most = limits.APPLICATION_LOAD_BALANCERS if type_ == "application" else limits.NETWORK_LOAD_BALANCERS
    if sum(1 for one in call.all(LoadBalancer) if one.spec.type == type_) >= most:
        raise AwsError("TooManyLoadBalancers", f"The maximum number of {type_} load balancers is {most}")


def _named(call: Call, name: str) -> LoadBalancer:
    found = call.by(LoadBalancer, "name", name)
    if not found:
        raise AwsError("LoadBalancerNotFound", f"Load balancers '[{name}]' not found")
    return found[0]


def show_load_balancer(call: Call, balancer: LoadBalancer) -> dict[str, Any]:
    """API form. AWS: elbv2 LoadBalancer."""
    spec, status = balancer.spec, balancer.status
    shown: dict[str, Any] = {
        "LoadBalancerArn": arn_of_balancer(balancer),
        "DNSName": spec.dns_name,
        "CanonicalHostedZoneId": hosted_zone(call.region, spec.type),
        "CreatedTime": balancer.meta.created,
        "LoadBalancerName": spec.name,
        "Scheme": spec.scheme,
        "VpcId": spec.vpc,
        "State": {"Code": status.state} | ({"Reason": status.reason} if status.reason else {}),
        "Type": spec.type,
        "AvailabilityZones": show_zones(call, balancer),
        "IpAddressType": "ipv4",
    }
    if spec.groups:
        shown["SecurityGroups"] = list(spec.groups)
    if spec.type == "network":
        shown["EnablePrefixForIpv6SourceNat"] = "off"
    if spec.enforce_private_link:
        shown["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] = spec.enforce_private_link
    return shown


def show_zones(call: Call, balancer: LoadBalancer) -> list[dict[str, Any]]:
    """API form. AWS: elbv2 AvailabilityZone; the addresses are those the user chose."""
    return [
        {"ZoneName": node.zone, "SubnetId": node.subnet, "LoadBalancerAddresses": _show_addresses(call, node)}
        for node in balancer.spec.zones
    ]


def _show_addresses(call: Call, node: ZoneNode) -> list[dict[str, str]]:
    if node.private:
        return [{"PrivateIPv4Address": node.private}]
    interface = call.get(NetworkInterface, node.interface) if node.allocation else None
    if interface is None:
        return []
    return [{"IpAddress": interface.spec.primary.public, "AllocationId": node.allocation}]
