"""What changes of a load balancer that is there: its zones, its security groups, its address type; and its capacity, which is as it comes."""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.networks.kinds import SecurityGroup
from gureum.aws.elbv2.arns import find_balancer
from gureum.aws.elbv2.faults import bad_configuration, invalid, not_built
from gureum.aws.elbv2.kinds import ZoneNode
from gureum.aws.elbv2.load_balancers import check_address_type, show_zones, with_zones
from gureum.aws.elbv2.nodes import Wish, add_node, check_room, regroup_node, remove_node, wanted_groups, wanted_zones
from gureum.aws.marks import Result, operation


@operation("SetSubnets")
async def set_subnets(call: Call) -> Result:
    """AWS: elbv2 SetSubnets: the subnets named are all it has afterwards; a zone that stays as it is keeps its node and addresses."""
    balancer = find_balancer(call, call.params["LoadBalancerArn"])
    check_address_type(call.params)
    if call.params.get("EnablePrefixForIpv6SourceNat", "off") != "off":
        raise not_built("SetSubnets with EnablePrefixForIpv6SourceNat")
    wishes = wanted_zones(call, balancer.spec.type, balancer.spec.scheme)
    if wishes[0].subnet.spec.vpc != balancer.spec.vpc:
        raise bad_configuration(f"All subnets must belong to the same VPC: '{balancer.spec.vpc}'")
    kept = {node.subnet: node for node in balancer.spec.zones}
    stays = {
        wish.subnet.meta.name
        for wish in wishes
        if (node := kept.get(wish.subnet.meta.name)) is not None
        and (wish.allocation or node.allocation, wish.private or node.private) == (node.allocation, node.private)
    }
    new = [wish for wish in wishes if wish.subnet.meta.name not in stays]
    check_room(call, new, balancer.spec.type)
    transaction = call.transaction()
    for node in balancer.spec.zones:
        if node.subnet not in stays:
            remove_node(call, transaction, node)
    added = {wish.subnet.meta.name: add_node(call, transaction, balancer, wish) for wish in new}
    nodes = tuple(_node_of(wish, kept | added) for wish in wishes)
    balancer = with_zones(balancer, nodes)
    transaction.update(balancer)
    await call.commit(transaction)
    shown = {"AvailabilityZones": show_zones(call, balancer), "IpAddressType": "ipv4"}
    return shown | ({"EnablePrefixForIpv6SourceNat": "off"} if balancer.spec.type == "network" else {})


@operation("SetSecurityGroups")
async def set_security_groups(call: Call) -> Result:
    """AWS: elbv2 SetSecurityGroups: of all nodes at once; a network load balancer must have been made with some. What they are to do with traffic
    by PrivateLink is kept; none comes to a load balancer that has groups (decision 0160)."""
    balancer = find_balancer(call, call.params["LoadBalancerArn"])
    if not call.params["SecurityGroups"]:
        raise invalid("At least one security group must be specified")
    if balancer.spec.type == "network" and not balancer.spec.groups:
        text = "You cannot set security groups on a Network Load Balancer that was created without security groups"
        raise bad_configuration(text)
    enforce = call.params.get("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic")
    if enforce and balancer.spec.type != "network":
        raise bad_configuration("Inbound rules on PrivateLink traffic are only for Network Load Balancers")
    groups = wanted_groups(call, balancer.spec.vpc, balancer.spec.type)
    transaction = call.transaction()
    for name in groups:
        group = call.get(SecurityGroup, name)
        assert group is not None
        transaction.require(group)
    for node in balancer.spec.zones:
        regroup_node(call, transaction, node, groups)
    private_link = enforce or balancer.spec.enforce_private_link
    spec = msgspec.structs.replace(balancer.spec, groups=groups, enforce_private_link=private_link)
    transaction.update(msgspec.structs.replace(balancer, spec=spec))
    await call.commit(transaction)
    shown = {"SecurityGroupIds": list(groups)}
    return shown | ({"EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": private_link} if private_link else {})


@operation("SetIpAddressType")
async def set_ip_address_type(call: Call) -> Result:
    """AWS: elbv2 SetIpAddressType: to ipv4, which it is; no subnet here has IPv6 addresses."""
    find_balancer(call, call.params["LoadBalancerArn"])
    check_address_type(call.params)
    return {"IpAddressType": "ipv4"}


@operation("DescribeCapacityReservation")
def describe_capacity_reservation(call: Call) -> Result:
    """AWS: elbv2 DescribeCapacityReservation: none is ever reserved (ModifyCapacityReservation is not built)."""
    find_balancer(call, call.params["LoadBalancerArn"])
    return {"CapacityReservationState": []}


def _node_of(wish: Wish, nodes: dict[str, ZoneNode]) -> ZoneNode:
    return nodes[wish.subnet.meta.name]
