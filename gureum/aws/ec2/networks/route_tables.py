"""Route tables: where packets of a subnet, or those that come in by an internet gateway, go. A subnet without an association uses its VPC's
main table.

Routes are told in routes.py, what uses a table in route_associations.py. A route whose target is gone or does not carry packets is a blackhole,
decided when it is looked at, never stored. Tables are part of their VPC's core Network (networks/lowering.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.endpoints.kinds import VpcEndpoint
from gureum.aws.ec2.endpoints.service_prefix_lists import list_id
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.cidrs import network_of
from gureum.aws.ec2.networks.kinds import (
    InternetGateway,
    NatGateway,
    NetworkInterface,
    RouteAssociation,
    RouteEntry,
    RouteTable,
    RouteTableSpec,
    Vpc,
    VpcPeering,
)
from gureum.aws.ec2.networks.vpn_kinds import VpnGateway
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id

Target = InternetGateway | NatGateway | NetworkInterface | VpcPeering | VpnGateway


@operation("CreateRouteTable")
async def create_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateRouteTable."""
    done = call.done_before()
    if done is not None:
        table = ids.find(call, RouteTable, ids.ROUTE_TABLE, done[0])
        return {"RouteTable": show_route_table(call, table)} | call.told_token()
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    room = call.settings.quota_route_tables_per_vpc - len(call.by(RouteTable, "vpc", vpc.meta.name))
    if room <= 0:
        raise AwsError("RouteTableLimitExceeded", "The maximum number of route tables has been reached.")
    table = RouteTable(
        meta=call.meta(new_id("rtb-"), tags=tags_of(call, "route-table")), spec=RouteTableSpec(vpc=vpc.meta.name)
    )
    transaction = call.transaction()
    transaction.require(vpc)
    count_at_commit(call, transaction, RouteTable, room)
    transaction.create(table)
    call.remember(transaction, (table.meta.name,))
    await call.commit(transaction)
    return {"RouteTable": show_route_table(call, table)} | call.told_token()


@operation("DeleteRouteTable")
async def delete_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteRouteTable. Neither the main table nor one with associations."""
    table = find_table(call)
    if table.spec.associations:
        raise AwsError(
            "DependencyViolation", f"The routeTable '{table.meta.name}' has dependencies and cannot be deleted."
        )
    transaction = call.transaction()
    transaction.require_no_newer(VpcEndpoint, call.scope)
    for endpoint in call.by(VpcEndpoint, "route-table", table.meta.name):
        left = tuple(name for name in endpoint.spec.tables if name != table.meta.name)
        spec = msgspec.structs.replace(endpoint.spec, tables=left)
        transaction.update(msgspec.structs.replace(endpoint, spec=spec))
    transaction.delete(table)
    await call.commit(transaction)
    return {}


@operation("DescribeRouteTables")
def describe_route_tables(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeRouteTables."""
    found, token = listing(call, RouteTable, ids.ROUTE_TABLE, "RouteTableIds", _filters(call), default=100)
    return answer("RouteTables", [show_route_table(call, table) for table in found], token)


def change(table: RouteTable, **fields: Any) -> RouteTable:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(table, spec=msgspec.structs.replace(table.spec, **fields))


def order(entry: RouteEntry) -> tuple[bool, Any]:
    """Where a route stands among the others: those to prefix lists last."""
    return entry.to_list, entry.destination if entry.to_list else network_of(entry.destination)


def is_active(entry: RouteEntry, target: Target | None, vpc_id: str) -> bool:
    """Whether the route is in force: its gateway is attached to the VPC, its interface plugged into a running machine, its NAT gateway not
    deleted, its peering active."""
    if isinstance(target, VpcPeering):
        sides = (target.spec.requester.vpc, target.spec.accepter.vpc)
        return target.status.state == "active" and vpc_id in sides
    if target is None or target.spec.vpc != vpc_id:
        return False
    if isinstance(target, NatGateway):
        return target.status.state in ("pending", "available")
    return bool(target.spec.sandbox) if isinstance(target, NetworkInterface) else True


def target_kind(entry: RouteEntry) -> tuple[type[Target], str]:
    """The kind and the id of what the route leads to."""
    if entry.gateway:
        return VpnGateway if entry.gateway.startswith("vgw-") else InternetGateway, entry.gateway
    if entry.peering:
        return VpcPeering, entry.peering
    return (NatGateway, entry.nat) if entry.nat else (NetworkInterface, entry.interface)


def find_table(call: Call) -> RouteTable:
    """The table that the call names."""
    return ids.find(call, RouteTable, ids.ROUTE_TABLE, ids.need(call, "RouteTableId"))


def local_cidrs(call: Call, table: RouteTable) -> list[str]:
    """The CIDRs of the VPC, which each table has routes to."""
    vpc = call.get(Vpc, table.spec.vpc)
    return [one.cidr for one in vpc.spec.cidrs] if vpc else []


def _filters(call: Call) -> FilterTable:
    def of_associations(look: Callable[[RouteAssociation], str]) -> Any:
        return lambda table: [found for one in table.spec.associations if (found := look(one))]

    def of_routes(look: Callable[[dict[str, Any]], str | None]) -> Any:
        return lambda table: [found for one in show_routes(call, table) if (found := look(one))]

    def member(name: str) -> Any:
        return of_routes(lambda route: route.get(name))

    return {
        "association.gateway-id": of_associations(lambda one: one.gateway),
        "association.main": of_associations(lambda one: boolean(one.main)),
        "association.route-table-association-id": of_associations(lambda one: one.id),
        "association.route-table-id": lambda table: table.meta.name if table.spec.associations else (),
        "association.subnet-id": of_associations(lambda one: one.subnet),
        "owner-id": lambda _: call.account,
        "route-table-id": lambda table: table.meta.name,
        "route.destination-cidr-block": member("DestinationCidrBlock"),
        "route.destination-ipv6-cidr-block": lambda _: (),
        "route.destination-prefix-list-id": member("DestinationPrefixListId"),
        "route.egress-only-internet-gateway-id": lambda _: (),
        "route.gateway-id": member("GatewayId"),
        "route.instance-id": member("InstanceId"),
        "route.nat-gateway-id": member("NatGatewayId"),
        "route.network-interface-id": member("NetworkInterfaceId"),
        "route.origin": member("Origin"),
        "route.state": member("State"),
        "route.transit-gateway-id": lambda _: (),
        "route.vpc-peering-connection-id": member("VpcPeeringConnectionId"),
        "vpc-id": lambda table: table.spec.vpc,
    }


def show_route_table(call: Call, table: RouteTable) -> dict[str, Any]:
    """API form. AWS: ec2 RouteTable."""
    return {
        "RouteTableId": table.meta.name,
        "VpcId": table.spec.vpc,
        "OwnerId": call.account,
        "Routes": show_routes(call, table),
        "Associations": [_show_association(table, one) for one in table.spec.associations],
        "PropagatingVgws": [{"GatewayId": one} for one in table.spec.propagating],
        "Tags": show_tags(table.meta.tags),
    }


def show_routes(call: Call, table: RouteTable) -> list[dict[str, Any]]:
    """API form of the table's routes, the local ones first. AWS: ec2 Route."""
    replaced = {one.destination: one for one in table.spec.routes if one.is_local}
    local = [
        _show_route(call, table, replaced[cidr])
        if cidr in replaced
        else {"DestinationCidrBlock": cidr, "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}
        for cidr in local_cidrs(call, table)
    ]
    ordered = sorted((one for one in table.spec.routes if not one.is_local), key=order)
    endpoints = [
        {
            "DestinationPrefixListId": list_id(one.spec.service),
            "GatewayId": one.meta.name,
            "Origin": "CreateRoute",
            "State": "active",
        }
        for one in call.by(VpcEndpoint, "route-table", table.meta.name)
    ]
    return [*local, *(_show_route(call, table, one) for one in ordered), *endpoints]


def _show_route(call: Call, table: RouteTable, entry: RouteEntry) -> dict[str, Any]:
    target = call.get(*target_kind(entry))
    shown: dict[str, Any] = {
        ("DestinationPrefixListId" if entry.to_list else "DestinationCidrBlock"): entry.destination,
        "Origin": entry.origin,
        "State": "active" if is_active(entry, target, table.spec.vpc) else "blackhole",
    }
    if entry.gateway:
        return shown | {"GatewayId": entry.gateway}
    if entry.nat:
        return shown | {"NatGatewayId": entry.nat}
    if entry.peering:
        return shown | {"VpcPeeringConnectionId": entry.peering}
    shown["NetworkInterfaceId"] = entry.interface
    if isinstance(target, NetworkInterface) and target.spec.attachment is not None:
        shown |= {"InstanceId": target.spec.attachment.instance, "InstanceOwnerId": call.account}
    return shown


def _show_association(table: RouteTable, one: RouteAssociation) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "RouteTableAssociationId": one.id,
        "RouteTableId": table.meta.name,
        "Main": one.main,
        "AssociationState": {"State": "associated"},
    }
    if one.gateway:
        return shown | {"GatewayId": one.gateway}
    return shown | ({"SubnetId": one.subnet} if one.subnet else {})
