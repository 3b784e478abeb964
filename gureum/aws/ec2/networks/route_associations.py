"""What uses a route table: subnets, a VPC as its main table, and a gateway for what comes in by it ("edge association"): an internet one, or a
virtual private one, by which nothing comes.

Each subnet and each gateway has one table at most; who has none of its own meets the main one, a gateway none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.networks.kinds import InternetGateway, RouteAssociation, RouteTable, Subnet
from gureum.aws.ec2.networks.route_tables import change, find_table
from gureum.aws.ec2.networks.routes import check_gateway_routes, find_gateway
from gureum.aws.ec2.networks.vpn_kinds import VpnGateway
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


@operation("AssociateRouteTable")
async def associate_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateRouteTable: with a subnet or a gateway of its VPC. The same association again is success."""
    table = find_table(call)
    wanted = _wanted(call, table)
    present = call.by(RouteTable, "subnet", wanted.subnet) or call.by(RouteTable, "edge", wanted.gateway)
    if present:
        if present[0] is not table:
            text = f"the specified association for route table {table.meta.name} conflicts with an existing association"
            raise AwsError("Resource.AlreadyAssociated", text)
        association = next(one for one in table.spec.associations if _same_end(one, wanted))
    else:
        association = msgspec.structs.replace(wanted, id=new_id("rtbassoc-"))
    transaction = call.transaction()
    if not present:
        # Otherwise two calls at once could give one subnet two tables: each would write another table.
        transaction.require_no_newer(RouteTable, call.scope)
        transaction.require(_end(call, association))
        transaction.update(change(table, associations=(*table.spec.associations, association)))
    await call.commit(transaction)
    return {"AssociationId": association.id, "AssociationState": {"State": "associated"}}


@operation("DisassociateRouteTable")
async def disassociate_route_table(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateRouteTable: a subnet uses the main table again. The main association stays."""
    table, association = _association(call)
    if association.main:
        raise ids.invalid(f"cannot disassociate the main route table association {association.id}")
    transaction = call.transaction()
    transaction.update(change(table, associations=_without(table, association)))
    await call.commit(transaction)
    return {}


@operation("ReplaceRouteTableAssociation")
async def replace_route_table_association(call: Call) -> dict[str, Any]:
    """AWS: ec2 ReplaceRouteTableAssociation: moves an association to another table; it gets a new id. No gateway's table becomes the main one."""
    old, association = _association(call)
    new = find_table(call)
    if old.spec.vpc != new.spec.vpc:
        raise ids.invalid(f"Route table {new.meta.name} and route table {old.meta.name} belong to different networks")
    if association.main and new.spec.at_gateway:
        raise ids.invalid(
            f"Route table {new.meta.name} is associated with a gateway and cannot be the main route table."
        )
    if association.gateway:
        _check_for_gateway(call, new)
    moved = msgspec.structs.replace(association, id=new_id("rtbassoc-"))
    transaction = call.transaction()
    if old is new:
        moved = association
    else:
        transaction.update(change(old, associations=_without(old, association)))
        transaction.update(change(new, associations=(*new.spec.associations, moved)))
    await call.commit(transaction)
    return {"NewAssociationId": moved.id, "AssociationState": {"State": "associated"}}


def leave_gateway(call: Call, transaction: Transaction, gateway: InternetGateway | VpnGateway) -> None:
    """The gateway leaves its VPC: no table is for it any more."""
    transaction.require_no_newer(RouteTable, call.scope)
    for table in call.by(RouteTable, "edge", gateway.meta.name):
        left = tuple(one for one in table.spec.associations if one.gateway != gateway.meta.name)
        transaction.update(change(table, associations=left))


def _wanted(call: Call, table: RouteTable) -> RouteAssociation:
    """The association that the call asks for, without an id."""
    if call.params.get("PublicIpv4Pool"):
        raise ids.not_built("AssociateRouteTable with PublicIpv4Pool")
    gateway_id = call.params.get("GatewayId")
    if gateway_id and call.params.get("SubnetId"):
        raise AwsError("InvalidParameterCombination", "Only one of subnetId and gatewayId can be specified.")
    if not gateway_id:
        subnet = ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))
        if subnet.spec.vpc != table.spec.vpc:
            text = f"Route table {table.meta.name} and subnet {subnet.meta.name} belong to different networks"
            raise ids.invalid(text)
        return RouteAssociation("", subnet=subnet.meta.name)
    gateway = find_gateway(call, gateway_id)
    if gateway.spec.vpc != table.spec.vpc:
        raise ids.invalid(f"Route table {table.meta.name} and gateway {gateway_id} belong to different networks")
    _check_for_gateway(call, table)
    return RouteAssociation("", gateway=gateway.meta.name)


def _check_for_gateway(call: Call, table: RouteTable) -> None:
    if table.spec.main:
        raise ids.invalid(f"The main route table {table.meta.name} cannot be associated with a gateway.")
    check_gateway_routes(call, table, table.spec.routes)


def _same_end(one: RouteAssociation, other: RouteAssociation) -> bool:
    return (one.subnet, one.gateway) == (other.subnet, other.gateway)


def _end(call: Call, one: RouteAssociation) -> Subnet | InternetGateway | VpnGateway:
    end = call.get(Subnet, one.subnet) if one.subnet else find_gateway(call, one.gateway)
    assert end is not None, "found just now"
    return end


def _association(call: Call) -> tuple[RouteTable, RouteAssociation]:
    id_ = ids.check_id(ids.ROUTE_ASSOCIATION, ids.need(call, "AssociationId"))
    tables = call.by(RouteTable, "association", id_)
    if not tables:
        raise ids.not_found(ids.ROUTE_ASSOCIATION, id_)
    return tables[0], next(one for one in tables[0].spec.associations if one.id == id_)


def _without(table: RouteTable, association: RouteAssociation) -> tuple[RouteAssociation, ...]:
    return tuple(one for one in table.spec.associations if one.id != association.id)
