"""Virtual private gateways: a VPC's end of VPN connections, at most one per VPC.

There are no VPN connections here, so a gateway carries nothing: a route to it is active while it is attached, as on AWS, and what takes it is
dropped; and no table that lets it propagate routes gets any, since those come from connections. Deleted ones are shown for an hour.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.instances.lifecycle import VISIBLE_AFTER_TERMINATION_S
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.kinds import RouteTable, Vpc
from gureum.aws.ec2.networks.route_associations import leave_gateway
from gureum.aws.ec2.networks.route_tables import change as change_table
from gureum.aws.ec2.networks.route_tables import find_table
from gureum.aws.ec2.networks.vpn_kinds import VpnGateway, VpnGatewaySpec
from gureum.aws.ec2.regions import find_zone
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of

DEFAULT_ASN = 64512
_PRIVATE_ASNS = (range(64512, 65535), range(4_200_000_000, 4_294_967_295))


@operation("CreateVpnGateway", level="state")
async def create_vpn_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpnGateway. VpnGatewayLimitExceeded."""
    check_type(call)
    asn = call.params.get("AmazonSideAsn")
    if asn is not None and not any(asn in allowed for allowed in _PRIVATE_ASNS):
        raise ids.invalid(f"Value ({asn}) for parameter amazonSideAsn is invalid. It must be a private ASN.")
    zone = call.params.get("AvailabilityZone")
    room = call.settings.quota_vpn_gateways - sum(not one.spec.deleted for one in call.all(VpnGateway))
    if room <= 0:
        raise AwsError("VpnGatewayLimitExceeded", "The maximum number of virtual private gateways has been reached.")
    spec = VpnGatewaySpec(DEFAULT_ASN if asn is None else asn, zone=find_zone(call, zone, "") if zone else "")
    transaction = call.transaction()
    count_at_commit(call, transaction, VpnGateway, room)
    gateway = transaction.create(
        VpnGateway(meta=call.meta(new_id("vgw-"), tags=tags_of(call, "vpn-gateway")), spec=spec)
    )
    await call.commit(transaction)
    shown = show_gateway(gateway)
    if not gateway.meta.tags:
        del shown["Tags"]
    return {"VpnGateway": shown}


@operation("AttachVpnGateway", level="state")
async def attach_vpn_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 AttachVpnGateway: VpnGatewayAttachmentLimitExceeded for one that another VPC has, InvalidVpcState for a VPC that has another. The same
    attachment again is success."""
    gateway = _find(call)
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId")).meta.name
    if gateway.spec.vpc not in ("", vpc):
        text = "The maximum number of virtual private gateway attachments has been reached."
        raise AwsError("VpnGatewayAttachmentLimitExceeded", text)
    if any(one is not gateway for one in call.by(VpnGateway, "vpc", vpc)):
        text = f"VPC {vpc} is currently attached to the Virtual Private Gateway."
        raise AwsError("InvalidVpcState", text)
    transaction = call.transaction()
    transaction.require(ids.find(call, Vpc, ids.VPC, vpc))
    transaction.require_no_newer(VpnGateway, call.scope)
    transaction.update(_with(gateway, vpc=vpc, left=""))
    await call.commit(transaction)
    return {"VpcAttachment": {"State": "attached", "VpcId": vpc}}


@operation("DetachVpnGateway", level="state")
async def detach_vpn_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DetachVpnGateway. Routes to it become blackholes; no table stands at it or gets routes from it any more."""
    gateway = _find(call)
    vpc = ids.need(call, "VpcId")
    if gateway.spec.vpc != vpc:
        raise AwsError(
            "InvalidVpnGatewayAttachment.NotFound",
            f"No attachment exists between vpn gateway '{gateway.meta.name}' and VPC '{vpc}'",
        )
    transaction = call.transaction()
    leave_gateway(call, transaction, gateway)
    _propagate_no_more(call, transaction, gateway)
    transaction.update(_with(gateway, vpc="", left=vpc))
    await call.commit(transaction)
    return {}


@operation("DeleteVpnGateway", level="state")
async def delete_vpn_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteVpnGateway. IncorrectState while it is attached. Again it is success."""
    gateway = ids.find(call, VpnGateway, ids.VPN_GATEWAY, ids.need(call, "VpnGatewayId"))
    if gateway.spec.vpc:
        raise AwsError("IncorrectState", f"The VPN gateway {gateway.meta.name} is attached to {gateway.spec.vpc}.")
    transaction = call.transaction()
    if not gateway.spec.deleted:
        transaction.update(_with(gateway, deleted=call.now))
    await call.commit(transaction)
    return {}


@operation("DescribeVpnGateways", level="state")
def describe_vpn_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpnGateways."""
    found, token = listing(call, VpnGateway, ids.VPN_GATEWAY, "VpnGatewayIds", _FILTERS)
    return answer("VpnGateways", [show_gateway(gateway) for gateway in found], token)


@operation("EnableVgwRoutePropagation", level="state")
async def enable_vgw_route_propagation(call: Call) -> dict[str, Any]:
    """AWS: ec2 EnableVgwRoutePropagation. Again it is success; Gateway.NotAttached for a gateway that the table's VPC has not."""
    table, gateway = find_table(call), _find(call, "GatewayId")
    name, vpc = gateway.meta.name, table.spec.vpc
    if gateway.spec.vpc != vpc:
        raise AwsError("Gateway.NotAttached", f"resource {name} is not attached to network {vpc}")
    transaction = call.transaction()
    transaction.require(gateway)
    if name not in table.spec.propagating:
        transaction.update(change_table(table, propagating=(*table.spec.propagating, name)))
    await call.commit(transaction)
    return {}


@operation("DisableVgwRoutePropagation", level="state")
async def disable_vgw_route_propagation(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisableVgwRoutePropagation. Where it was not enabled it is success."""
    table = find_table(call)
    gateway = ids.find(call, VpnGateway, ids.VPN_GATEWAY, ids.need(call, "GatewayId"))
    transaction = call.transaction()
    if gateway.meta.name in table.spec.propagating:
        transaction.update(_without(table, gateway))
    await call.commit(transaction)
    return {}


@reconcile(VpnGateway)
async def reconcile_vpn_gateway(world: World, gateway: VpnGateway) -> None:
    """Forgets a deleted one after an hour."""
    await forget(world, gateway, gateway.spec.deleted)


async def forget(world: World, gone: Any, deleted: float) -> None:
    """Deletes an object that was shown as deleted for long enough. `deleted`: since when, Unix seconds; 0 for one that is there."""
    if not deleted:
        return
    left = deleted + VISIBLE_AFTER_TERMINATION_S - world.clock.now()
    if left > 0:
        world.poke(key_of(gone), left)
        return
    transaction = world.client.transaction()
    transaction.delete(gone)
    await transaction.commit()


def check_type(call: Call) -> None:
    """The one type that AWS has. AWS: InvalidParameterValue."""
    type_ = ids.need(call, "Type")
    if type_ != "ipsec.1":
        raise ids.invalid(f"Value ({type_}) for parameter type is invalid.")


def _find(call: Call, parameter: str = "VpnGatewayId") -> VpnGateway:
    """One that is not deleted."""
    gateway = ids.find(call, VpnGateway, ids.VPN_GATEWAY, ids.need(call, parameter))
    if gateway.spec.deleted:
        raise ids.not_found(ids.VPN_GATEWAY, gateway.meta.name)
    return gateway


def _propagate_no_more(call: Call, transaction: Transaction, gateway: VpnGateway) -> None:
    for table in call.by(RouteTable, "vpc", gateway.spec.vpc):
        if gateway.meta.name in table.spec.propagating:
            transaction.update(_without(transaction.current(table), gateway))


def _without(table: RouteTable, gateway: VpnGateway) -> RouteTable:
    return change_table(table, propagating=tuple(one for one in table.spec.propagating if one != gateway.meta.name))


def _with(gateway: VpnGateway, **fields: Any) -> VpnGateway:
    return msgspec.structs.replace(gateway, spec=msgspec.structs.replace(gateway.spec, **fields))


_FILTERS: FilterTable = {
    "amazon-side-asn": lambda one: str(one.spec.asn),
    "attachment.state": lambda one: [shown["State"] for shown in _attachments(one)],
    "attachment.vpc-id": lambda one: [shown["VpcId"] for shown in _attachments(one)],
    "availability-zone": lambda one: one.spec.zone or (),
    "state": lambda one: one.spec.state,
    "type": lambda _: "ipsec.1",
    "vpn-gateway-id": lambda one: one.meta.name,
}


def show_gateway(gateway: VpnGateway) -> dict[str, Any]:
    """API form. AWS: ec2 VpnGateway."""
    shown: dict[str, Any] = {
        "VpnGatewayId": gateway.meta.name,
        "Type": "ipsec.1",
        "State": gateway.spec.state,
        "AmazonSideAsn": gateway.spec.asn,
        "VpcAttachments": _attachments(gateway),
        "Tags": show_tags(gateway.meta.tags),
    }
    return shown | ({"AvailabilityZone": gateway.spec.zone} if gateway.spec.zone else {})


def _attachments(gateway: VpnGateway) -> list[dict[str, str]]:
    """AWS shows the last one as detached."""
    if gateway.spec.vpc:
        return [{"State": "attached", "VpcId": gateway.spec.vpc}]
    return [{"State": "detached", "VpcId": gateway.spec.left}] if gateway.spec.left else []
