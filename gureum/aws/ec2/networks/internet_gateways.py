"""Internet gateways: a VPC's link to the edge, where public addresses live. One per VPC.

The gateway is part of its VPC's core Network (networks/lowering.py): attached, the network has an uplink; routes to it open the way.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.kinds import InternetGateway, InternetGatewaySpec, NetworkInterface, Vpc
from gureum.aws.ec2.networks.route_associations import leave_gateway
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


@operation("CreateInternetGateway")
async def create_internet_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateInternetGateway."""
    room = call.settings.quota_internet_gateways - len(call.all(InternetGateway))
    if room <= 0:
        raise AwsError("InternetGatewayLimitExceeded", "The maximum number of internet gateways has been reached.")
    transaction = call.transaction()
    count_at_commit(call, transaction, InternetGateway, room)
    gateway = new_gateway(call, transaction, tags=tags_of(call, "internet-gateway"))
    await call.commit(transaction)
    return {"InternetGateway": show_gateway(call, gateway)}


@operation("AttachInternetGateway")
async def attach_internet_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 AttachInternetGateway."""
    gateway = _find(call)
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    if gateway.spec.vpc:
        text = f"resource {gateway.meta.name} is already attached to network {gateway.spec.vpc}"
        raise AwsError("Resource.AlreadyAssociated", text)
    if call.by(InternetGateway, "vpc", vpc.meta.name):
        text = f"Network {vpc.meta.name} already has an internet gateway attached"
        raise AwsError("InvalidParameterValue", text)
    transaction = call.transaction()
    transaction.require(vpc)
    transaction.require_no_newer(InternetGateway, call.scope)
    transaction.update(_with_vpc(gateway, vpc.meta.name))
    await call.commit(transaction)
    return {}


@operation("DetachInternetGateway")
async def detach_internet_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DetachInternetGateway. DependencyViolation while an interface of the VPC has a public address."""
    gateway = _find(call)
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    name = vpc.meta.name
    if gateway.spec.vpc != name:
        raise AwsError("Gateway.NotAttached", f"resource {gateway.meta.name} is not attached to network {name}")
    if any(one.public for interface in call.by(NetworkInterface, "vpc", name) for one in interface.spec.addresses):
        raise AwsError(
            "DependencyViolation",
            f"Network {name} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
        )
    transaction = call.transaction()
    transaction.require_no_newer(NetworkInterface, call.scope)
    leave_gateway(call, transaction, gateway)
    transaction.update(_with_vpc(gateway, ""))
    await call.commit(transaction)
    return {}


@operation("DeleteInternetGateway")
async def delete_internet_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteInternetGateway. Routes to it become blackholes."""
    gateway = _find(call)
    if gateway.spec.vpc:
        text = f"The internetGateway '{gateway.meta.name}' has dependencies and cannot be deleted."
        raise AwsError("DependencyViolation", text)
    transaction = call.transaction()
    transaction.delete(gateway)
    await call.commit(transaction)
    return {}


@operation("DescribeInternetGateways")
def describe_internet_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeInternetGateways."""
    found, token = listing(call, InternetGateway, ids.INTERNET_GATEWAY, "InternetGatewayIds", _filters(call))
    return answer("InternetGateways", [show_gateway(call, gateway) for gateway in found], token)


def new_gateway(
    call: Call, transaction: Transaction, *, vpc: str = "", tags: dict[str, str] | None = None
) -> InternetGateway:
    """A gateway; `vpc`: attached to it at once."""
    return transaction.create(
        InternetGateway(meta=call.meta(new_id("igw-"), tags=tags), spec=InternetGatewaySpec(vpc=vpc))
    )


def _find(call: Call) -> InternetGateway:
    return ids.find(call, InternetGateway, ids.INTERNET_GATEWAY, ids.need(call, "InternetGatewayId"))


def _with_vpc(gateway: InternetGateway, vpc: str) -> InternetGateway:
    return msgspec.structs.replace(gateway, spec=msgspec.structs.replace(gateway.spec, vpc=vpc))


def _filters(call: Call) -> FilterTable:
    return {
        "attachment.state": lambda gateway: "available" if gateway.spec.vpc else (),
        "attachment.vpc-id": lambda gateway: gateway.spec.vpc or (),
        "internet-gateway-id": lambda gateway: gateway.meta.name,
        "owner-id": lambda _: call.account,
    }


def show_gateway(call: Call, gateway: InternetGateway) -> dict[str, Any]:
    """API form. AWS: ec2 InternetGateway."""
    return {
        "InternetGatewayId": gateway.meta.name,
        "OwnerId": call.account,
        "Attachments": [{"State": "available", "VpcId": gateway.spec.vpc}] if gateway.spec.vpc else [],
        "Tags": show_tags(gateway.meta.tags),
    }
