"""Routes of a route table: what may be asked for, and where a route may lead.

    destination                      target
    outside the VPC                  internet, virtual private or NAT gateway, peering, network interface; other targets are refused honestly
    all of a subnet of the VPC       NAT gateway or network interface
    a CIDR of the VPC ("local")      NAT gateway or network interface, by ReplaceRoute, and back to local

In a table of an internet gateway only the last two, and only to a network interface or local (AWS: "gateway route tables").
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.endpoints.service_prefix_lists import service_lists
from gureum.aws.ec2.interfaces.interfaces import interfaces_of, several_interfaces
from gureum.aws.ec2.networks.cidrs import network_of, parse_cidr
from gureum.aws.ec2.networks.kinds import (
    InternetGateway,
    NatGateway,
    NetworkInterface,
    PrefixList,
    RouteEntry,
    RouteTable,
    Subnet,
    Vpc,
    VpcPeering,
)
from gureum.aws.ec2.networks.route_tables import change, find_table, local_cidrs, target_kind
from gureum.aws.ec2.networks.security_group_rules import weights
from gureum.aws.ec2.networks.vpn_kinds import VpnGateway
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.engine.client import Transaction

TARGETS = (
    "GatewayId", "InstanceId", "NetworkInterfaceId", "NatGatewayId", "VpcPeeringConnectionId", "TransitGatewayId", "LocalGatewayId",
    "CarrierGatewayId", "EgressOnlyInternetGatewayId", "CoreNetworkArn", "VpcEndpointId", "OdbNetworkArn",
)  # fmt: skip
OTHER_GATEWAYS = ("vpce-", "eigw-", "tgw-", "lgw-", "cagw-")
RESERVED = IPv4Network("169.254.168.0/22")
"""AWS: "You cannot add routes to IPv4 addresses that are an exact match or a subset of" it; machines find metadata, time and names there."""


@operation("CreateRoute")
async def create_route(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateRoute. The destination is made canonical. The same route again is success."""
    table = find_table(call)
    destination = _destination(call)
    entry = _entry(call, table, destination)
    old = _route_to(table, destination)
    if entry.is_local or (old is not None and old.target != entry.target):
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
    """AWS: ec2 ReplaceRoute. With LocalTarget the VPC's own route leads to all of the VPC again."""
    table = find_table(call)
    destination = _destination(call)
    others = tuple(one for one in table.spec.routes if one.destination != destination)
    transaction = call.transaction()
    if call.params.get("LocalTarget"):
        _check_restored(call, table, destination)
        transaction.update(change(table, routes=others))
        await call.commit(transaction)
        return {}
    entry = _entry(call, table, destination)
    if _route_to(table, destination) is None and not entry.is_local:
        text = f"There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
        raise ids.invalid(text)
    transaction.update(change(table, routes=(*others, entry)))
    _rely_on(call, transaction, entry)
    await call.commit(transaction)
    return {}


@operation("DeleteRoute")
async def delete_route(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteRoute."""
    table = find_table(call)
    destination = _destination(call)
    if destination in local_cidrs(call, table):
        raise ids.invalid(f"cannot remove local route {destination} in route table {table.meta.name}")
    if _route_to(table, destination) is None:
        text = f"no route with destination-cidr-block {destination} in route table {table.meta.name}"
        raise AwsError("InvalidRoute.NotFound", text)
    transaction = call.transaction()
    transaction.update(change(table, routes=tuple(one for one in table.spec.routes if one.destination != destination)))
    await call.commit(transaction)
    return {}


def check_gateway_routes(call: Call, table: RouteTable, entries: Iterable[RouteEntry]) -> None:
    """What a table of an internet gateway may hold. AWS: InvalidParameterValue."""
    for entry in entries:
        if entry.to_list:
            raise ids.invalid(f"Route table {table.meta.name} contains a route to prefix list {entry.destination}.")
        if not entry.interface:
            target = next(one for one in entry.target if one)
            raise ids.invalid(f"Route table contains unsupported route target: {target}.")
        if not _is_inside(entry.destination, local_cidrs(call, table)):
            raise ids.invalid(f"Route destination {entry.destination} is outside of the VPC's CIDR blocks.")


def forget_local(call: Call, transaction: Transaction, vpc: Vpc, cidr: str) -> None:
    """The VPC loses a CIDR: where its own route had another target, that goes with it."""
    for table in call.by(RouteTable, "vpc", vpc.meta.name):
        left = tuple(one for one in table.spec.routes if not (one.is_local and one.destination == cidr))
        if left != table.spec.routes:
            transaction.update(change(table, routes=left))


def _check_restored(call: Call, table: RouteTable, destination: str) -> None:
    if any(call.params.get(name) for name in TARGETS):
        raise AwsError("InvalidParameterCombination", "LocalTarget cannot be specified with another target.")
    if destination not in local_cidrs(call, table):
        raise ids.invalid(f"Only the local route can have the local target, not {destination}.")


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
    """The route a call asks for: one target, of this VPC, that may stand for this destination."""
    given = [name for name in TARGETS if call.params.get(name)]
    if len(given) != 1:
        code = "InvalidParameterCombination" if given else "MissingParameter"
        raise AwsError(
            code, "The request must contain exactly one of gatewayId, instanceId, networkInterfaceId or another target"
        )
    cidrs = local_cidrs(call, table)
    if not destination.startswith("pl-") and network_of(destination).subnet_of(RESERVED):
        raise ids.invalid(
            f"Value ({destination}) for parameter destinationCidrBlock is invalid. {RESERVED} is reserved for use by AWS services."
        )
    if not destination.startswith("pl-") and _is_inside(destination, cidrs):
        _check_inside(call, table, destination, given[0])
    origin = "CreateRouteTable" if destination in cidrs else "CreateRoute"
    entry = _leading(call, table, msgspec.structs.replace(RouteEntry(destination), origin=origin), given[0])
    if table.spec.at_gateway:
        check_gateway_routes(call, table, [entry])
    return entry


def _check_inside(call: Call, table: RouteTable, destination: str, target: str) -> None:
    """AWS: a route within the VPC is one for all of a subnet, or the local one, and leads to an interface or a NAT gateway."""
    if target not in ("NetworkInterfaceId", "InstanceId", "NatGatewayId", "VpcEndpointId"):
        raise ids.invalid("Route target is not supported. This route only supports interface and instance targets.")
    subnets = (one.spec.cidr for one in call.by(Subnet, "vpc", table.spec.vpc))
    if destination not in (*subnets, *local_cidrs(call, table)):
        raise ids.invalid("Route destination doesn't match any subnet CIDR blocks.")


def _leading(call: Call, table: RouteTable, entry: RouteEntry, target: str) -> RouteEntry:
    def to(**place: str) -> RouteEntry:
        return msgspec.structs.replace(entry, **place)

    if target == "GatewayId":
        return to(gateway=_gateway(call, table, call.params["GatewayId"]))
    if target == "NatGatewayId":
        return to(nat=_nat_gateway(call, table, call.params["NatGatewayId"]))
    if target == "VpcPeeringConnectionId":
        return to(peering=_peering(call, table, call.params["VpcPeeringConnectionId"]))
    if target == "NetworkInterfaceId":
        interface = ids.find(call, NetworkInterface, ids.INTERFACE, call.params["NetworkInterfaceId"])
    elif target == "InstanceId":
        interface = _only_interface(call, call.params["InstanceId"])
    else:
        raise ids.not_built(f"{call.operation} with {target}")
    if interface.spec.vpc != table.spec.vpc:
        text = f"route table {table.meta.name} and interface {interface.meta.name} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    return to(interface=interface.meta.name)


def _gateway(call: Call, table: RouteTable, id_: str) -> str:
    if id_.startswith(OTHER_GATEWAYS):
        raise ids.not_built(f"{call.operation} with gateway {id_.partition('-')[0]}")
    if not id_.startswith(("igw-", "vgw-")):
        raise AwsError("InvalidGatewayID.NotFound", f"The gateway ID '{id_}' does not exist")
    gateway = find_gateway(call, id_)
    if gateway.spec.vpc != table.spec.vpc:
        text = f"route table {table.meta.name} and network gateway {id_} belong to different networks"
        raise AwsError("InvalidParameterValue", text)
    return id_


def find_gateway(call: Call, id_: str) -> InternetGateway | VpnGateway:
    """The internet gateway, or the virtual private one, that is not deleted. AWS: Malformed, NotFound."""
    if not id_.startswith("vgw-"):
        return ids.find(call, InternetGateway, ids.INTERNET_GATEWAY, id_)
    gateway = ids.find(call, VpnGateway, ids.VPN_GATEWAY, id_)
    if gateway.spec.deleted:
        raise ids.not_found(ids.VPN_GATEWAY, id_)
    return gateway


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


def _is_inside(destination: str, cidrs: Iterable[str]) -> bool:
    return any(network_of(destination).subnet_of(network_of(cidr)) for cidr in cidrs)
