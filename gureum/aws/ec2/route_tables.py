"""Route tables: where packets of a subnet go. A subnet without an association uses its VPC's main table.

Routes end at an internet gateway, a NAT gateway, a peering or a network interface; other targets are refused honestly. A route whose
target is gone or does not carry packets is a blackhole, decided when it is looked at, never stored. Tables are part of their VPC's core
Network (network_lowering.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.cidrs import network_of, parse_cidr
from gureum.aws.ec2.endpoint_kinds import VpcEndpoint
from gureum.aws.ec2.interfaces import interfaces_of, several_interfaces
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.network_kinds import (
    InternetGateway,
    NatGateway,
    NetworkInterface,
    PrefixList,
    RouteAssociation,
    RouteEntry,
    RouteTable,
    RouteTableSpec,
    Subnet,
    Vpc,
    VpcPeering,
)
from gureum.aws.ec2.security_group_rules import weights
from gureum.aws.ec2.service_prefix_lists import list_id, service_lists
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

TARGETS = (
    "GatewayId", "InstanceId", "NetworkInterfaceId", "NatGatewayId", "VpcPeeringConnectionId", "TransitGatewayId", "LocalGatewayId",
    "CarrierGatewayId", "EgressOnlyInternetGatewayId", "CoreNetworkArn", "VpcEndpointId", "OdbNetworkArn",
)  # fmt: skip

Target = InternetGateway | NatGateway | NetworkInterface | VpcPeering


@operation("CreateRouteTable")
async def create_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateRouteTable."""
    done = call.done_before()
    if done is not None:
        return {"RouteTable": show_route_table(call, ids.find(call, RouteTable, ids.ROUTE_TABLE, done[0]))}
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    if len(call.by(RouteTable, "vpc", vpc.meta.name)) >= call.settings.quota_route_tables_per_vpc:
        raise AwsError("RouteTableLimitExceeded", "The maximum number of route tables has been reached.")
    table = RouteTable(
        meta=call.meta(new_id("rtb-"), tags=tags_of(call, "route-table")), spec=RouteTableSpec(vpc=vpc.meta.name)
    )
    transaction = call.transaction()
    transaction.require(vpc)
    transaction.create(table)
    call.remember(transaction, (table.meta.name,))
    await call.commit(transaction)
    return {"RouteTable": show_route_table(call, table)}


@operation("DeleteRouteTable")
async def delete_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteRouteTable. Neither the main table nor one with associations."""
    table = _find(call)
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


@operation("CreateRoute")
async def create_route(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateRoute. The destination is made canonical. The same route again is success."""
    table = _find(call)
    destination = _destination(call)
    entry = _entry(call, table, destination)
    old = _route_to(table, destination)
    if old is not None and old.target != entry.target:
        raise AwsError("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    destinations = {*(one.destination for one in table.spec.routes), destination}
    if weights(call, destinations) > call.settings.quota_routes_per_table:
        raise AwsError("RouteLimitExceeded", "The maximum number of routes has been reached.")
    transaction = call.transaction()
    if old is None:
        transaction.update(change(table, routes=(*table.spec.routes, entry)))
    _rely_on(call, transaction, entry)
    await call.commit(transaction)
    return {"Return": True}


@operation("ReplaceRoute")
async def replace_route(call: Call) -> dict[str, Any]:
    """AWS: ec2 ReplaceRoute."""
    table = _find(call)
    if call.params.get("LocalTarget"):
        raise ids.not_built("ReplaceRoute with LocalTarget")
    destination = _destination(call)
    entry = _entry(call, table, destination)
    if _route_to(table, destination) is None:
        text = f"There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
        raise ids.invalid(text)
    transaction = call.transaction()
    routes = tuple(entry if one.destination == destination else one for one in table.spec.routes)
    transaction.update(change(table, routes=routes))
    _rely_on(call, transaction, entry)
    await call.commit(transaction)
    return {}


@operation("DeleteRoute")
async def delete_route(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteRoute."""
    table = _find(call)
    destination = _destination(call)
    if destination in _local_cidrs(call, table):
        raise ids.invalid(f"cannot remove local route {destination} in route table {table.meta.name}")
    if _route_to(table, destination) is None:
        text = f"no route with destination-cidr-block {destination} in route table {table.meta.name}"
        raise AwsError("InvalidRoute.NotFound", text)
    transaction = call.transaction()
    transaction.update(change(table, routes=tuple(one for one in table.spec.routes if one.destination != destination)))
    await call.commit(transaction)
    return {}


@operation("AssociateRouteTable")
async def associate_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateRouteTable: with a subnet of its VPC. The same association again is success."""
    table = _find(call)
    if call.params.get("GatewayId") or call.params.get("PublicIpv4Pool"):
        raise ids.not_built("AssociateRouteTable with a gateway")
    subnet = ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))
    if subnet.spec.vpc != table.spec.vpc:
        text = f"Route table {table.meta.name} and subnet {subnet.meta.name} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    present = call.by(RouteTable, "subnet", subnet.meta.name)
    if present:
        association = next(one for one in present[0].spec.associations if one.subnet == subnet.meta.name)
        if present[0] is not table:
            text = f"the specified association for route table {table.meta.name} conflicts with an existing association"
            raise AwsError("Resource.AlreadyAssociated", text)
    else:
        association = RouteAssociation(new_id("rtbassoc-"), subnet.meta.name)
    transaction = call.transaction()
    if not present:
        # Otherwise two calls at once could give one subnet two tables: each would write another table.
        transaction.require_no_newer(RouteTable, call.scope)
        transaction.require(subnet)
        transaction.update(change(table, associations=(*table.spec.associations, association)))
    await call.commit(transaction)
    return {"AssociationId": association.id, "AssociationState": {"State": "associated"}}


@operation("DisassociateRouteTable")
async def disassociate_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateRouteTable: the subnet uses the main table again. The main association stays."""
    table, association = _association(call)
    if not association.subnet:
        raise ids.invalid(f"cannot disassociate the main route table association {association.id}")
    transaction = call.transaction()
    transaction.update(change(table, associations=_without(table, association)))
    await call.commit(transaction)
    return {}


@operation("ReplaceRouteTableAssociation")
async def replace_route_table_association(call: Call) -> dict[str, Any]:
    """AWS: ec2 ReplaceRouteTableAssociation: moves a subnet's or the main association to another table; it gets a new id."""
    old, association = _association(call)
    new = _find(call)
    if old.spec.vpc != new.spec.vpc:
        raise ids.invalid(f"Route table {new.meta.name} and route table {old.meta.name} belong to different networks")
    moved = RouteAssociation(new_id("rtbassoc-"), association.subnet)
    transaction = call.transaction()
    if old is new:
        moved = association
    else:
        transaction.update(change(old, associations=_without(old, association)))
        transaction.update(change(new, associations=(*new.spec.associations, moved)))
    await call.commit(transaction)
    return {"NewAssociationId": moved.id, "AssociationState": {"State": "associated"}}


def change(table: RouteTable, **fields: Any) -> RouteTable:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(table, spec=msgspec.structs.replace(table.spec, **fields))


def order(entry: RouteEntry) -> tuple[bool, Any]:
    """Where a route stands among the others: those to prefix lists last."""
    return entry.to_list, entry.destination if entry.to_list else network_of(entry.destination)


def is_active(entry: RouteEntry, target: Target | None, vpc_id: str) -> bool:
    """Whether the route carries packets: its gateway is attached to the VPC, its interface plugged into a running machine, its NAT gateway not
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
        return InternetGateway, entry.gateway
    if entry.peering:
        return VpcPeering, entry.peering
    return (NatGateway, entry.nat) if entry.nat else (NetworkInterface, entry.interface)


def _find(call: Call) -> RouteTable:
    return ids.find(call, RouteTable, ids.ROUTE_TABLE, ids.need(call, "RouteTableId"))


def _association(call: Call) -> tuple[RouteTable, RouteAssociation]:
    id_ = ids.check_id(ids.ROUTE_ASSOCIATION, ids.need(call, "AssociationId"))
    tables = call.by(RouteTable, "association", id_)
    if not tables:
        raise ids.not_found(ids.ROUTE_ASSOCIATION, id_)
    return tables[0], next(one for one in tables[0].spec.associations if one.id == id_)


def _without(table: RouteTable, association: RouteAssociation) -> tuple[RouteAssociation, ...]:
    return tuple(one for one in table.spec.associations if one.id != association.id)


def _destination(call: Call) -> str:
    if call.params.get("DestinationIpv6CidrBlock"):
        raise ids.not_built(f"{call.operation} with DestinationIpv6CidrBlock")
    if call.params.get("DestinationPrefixListId"):
        if call.params.get("DestinationCidrBlock"):
            raise AwsError("InvalidParameterCombination", "Only one destination can be specified.")
        if call.params["DestinationPrefixListId"] in service_lists(call):
            raise ids.invalid("Routes to prefix lists of AWS's services are made and removed with their VPC endpoint.")
        found = ids.find(call, PrefixList, ids.PREFIX_LIST, call.params["DestinationPrefixListId"])
        if found.spec.family != "IPv4":
            raise ids.not_built(f"{call.operation} with a prefix list of IPv6")
        return found.meta.name
    return str(parse_cidr(ids.need(call, "DestinationCidrBlock"), "destinationCidrBlock"))


def _entry(call: Call, table: RouteTable, destination: str) -> RouteEntry:
    """The route a call asks for. AWS: one target, of this VPC, and a destination that is not inside the VPC."""
    given = [name for name in TARGETS if call.params.get(name)]
    if len(given) != 1:
        code = "InvalidParameterCombination" if given else "MissingParameter"
        raise AwsError(
            code, "The request must contain exactly one of gatewayId, instanceId, networkInterfaceId or another target"
        )
    if destination in _local_cidrs(call, table):
        raise AwsError("RouteAlreadyExists", f"The route identified by {destination} already exists.")
    if given[0] == "GatewayId":
        return RouteEntry(destination, gateway=_gateway(call, table, call.params["GatewayId"]))
    if given[0] == "NatGatewayId":
        return RouteEntry(destination, nat=_nat_gateway(call, table, call.params["NatGatewayId"]))
    if given[0] == "VpcPeeringConnectionId":
        return RouteEntry(destination, peering=_peering(call, table, call.params["VpcPeeringConnectionId"]))
    if given[0] == "NetworkInterfaceId":
        interface = ids.find(call, NetworkInterface, ids.INTERFACE, call.params["NetworkInterfaceId"])
    elif given[0] == "InstanceId":
        interface = _only_interface(call, call.params["InstanceId"])
    else:
        raise ids.not_built(f"{call.operation} with {given[0]}")
    if interface.spec.vpc != table.spec.vpc:
        text = f"route table {table.meta.name} and interface {interface.meta.name} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    return RouteEntry(destination, interface=interface.meta.name)


def _gateway(call: Call, table: RouteTable, id_: str) -> str:
    if not id_.startswith("igw-"):
        raise ids.not_built(f"{call.operation} with gateway {id_.partition('-')[0]}")
    gateway = ids.find(call, InternetGateway, ids.INTERNET_GATEWAY, id_)
    if gateway.spec.vpc != table.spec.vpc:
        text = f"route table {table.meta.name} and network gateway {id_} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    return id_


def _nat_gateway(call: Call, table: RouteTable, id_: str) -> str:
    """AWS knows no deleted one here."""
    gateway = call.get(NatGateway, id_)
    if gateway is None or gateway.status.state not in ("pending", "available"):
        raise AwsError("InvalidNatGatewayID.NotFound", f"The natGateway ID '{id_}' does not exist")
    if gateway.spec.vpc != table.spec.vpc:
        text = f"route table {table.meta.name} and network gateway {id_} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    return id_


def _peering(call: Call, table: RouteTable, id_: str) -> str:
    """AWS takes one that is not accepted yet: the route is a blackhole until it is."""
    peering = ids.find(call, VpcPeering, ids.PEERING, id_)
    if peering.status.state not in ("pending-acceptance", "active"):
        raise ids.not_found(ids.PEERING, id_)
    if table.spec.vpc not in (peering.spec.requester.vpc, peering.spec.accepter.vpc):
        text = f"route table {table.meta.name} and vpc peering connection {id_} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    return id_


def _only_interface(call: Call, instance_id: str) -> NetworkInterface:
    interfaces = interfaces_of(call, instance_id)
    if not interfaces:
        raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    if len(interfaces) > 1:
        raise several_interfaces(instance_id)
    return interfaces[0]


def _rely_on(call: Call, transaction: Transaction, entry: RouteEntry) -> None:
    target = call.get(*target_kind(entry))
    if target is not None:
        transaction.require(target)
    if entry.to_list:
        transaction.require(ids.find(call, PrefixList, ids.PREFIX_LIST, entry.destination))


def _route_to(table: RouteTable, destination: str) -> RouteEntry | None:
    return next((one for one in table.spec.routes if one.destination == destination), None)


def _local_cidrs(call: Call, table: RouteTable) -> list[str]:
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
        "association.gateway-id": lambda _: (),
        "association.main": of_associations(lambda one: boolean(not one.subnet)),
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
        "PropagatingVgws": [],
        "Tags": show_tags(table.meta.tags),
    }


def show_routes(call: Call, table: RouteTable) -> list[dict[str, Any]]:
    """API form of the table's routes, the local ones first. AWS: ec2 Route."""
    local = [
        {"DestinationCidrBlock": cidr, "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}
        for cidr in _local_cidrs(call, table)
    ]
    ordered = sorted(table.spec.routes, key=order)
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
        "Main": not one.subnet,
        "AssociationState": {"State": "associated"},
    }
    return shown | ({"SubnetId": one.subnet} if one.subnet else {})
