"""What every region of every account has from its first call on: a default VPC 172.31.0.0/16 with an internet gateway, a route to it
and a public subnet per zone; and the operations that make a default VPC or subnet again.

A marker remembers that a region has been prepared, so that a default VPC that was deleted stays deleted.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.networks.cidrs import free_block, parse_cidr
from gureum.aws.ec2.networks.dhcp_options import new_default_dhcp_options
from gureum.aws.ec2.networks.internet_gateways import new_gateway
from gureum.aws.ec2.networks.kinds import DhcpOptions, RouteEntry, Subnet, Vpc
from gureum.aws.ec2.networks.network_acls import default_acl
from gureum.aws.ec2.networks.route_tables import change as change_table
from gureum.aws.ec2.networks.subnets import new_subnet, show_subnet
from gureum.aws.ec2.networks.vpcs import new_vpc, show_vpc
from gureum.aws.ec2.regions import find_zone, zones_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation, prepare
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, kind
from gureum.store.contract import Conflict

CIDR = "172.31.0.0/16"
SUBNET_LENGTH = 20
MARKER = "defaults"


class DefaultsSpec(msgspec.Struct, frozen=True):
    """`vpc`: the default VPC that was made first."""

    vpc: str


@kind("ec2.Defaults")
class Defaults(Resource, frozen=True):
    """The marker: this region has been given its defaults."""

    spec: DefaultsSpec


@prepare("ec2")
async def prepare_region(call: Call) -> None:
    """Makes the region's defaults once. Idempotent, also when two first calls come at once."""
    if call.get(Defaults, MARKER) is not None:
        return
    transaction = call.transaction()
    dhcp_options = new_default_dhcp_options(call, transaction)
    vpc = make_default_vpc(call, transaction, dhcp_options)
    transaction.create(Defaults(meta=call.meta(MARKER), spec=DefaultsSpec(vpc.meta.name)))
    try:
        await transaction.commit()
    except Conflict:
        if call.get(Defaults, MARKER) is None:
            raise
    else:
        call.tracer.wrote(transaction.written)


@operation("CreateDefaultVpc")
async def create_default_vpc(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateDefaultVpc."""
    found = call.by(Vpc, "default", "default")
    if found:
        text = f"A Default VPC already exists for this account in this region: {found[0].meta.name}"
        raise AwsError("DefaultVpcAlreadyExists", text)
    transaction = call.transaction()
    transaction.require_no_newer(Vpc, call.scope)
    vpc = make_default_vpc(call, transaction)
    await call.commit(transaction)
    return {"Vpc": show_vpc(call, vpc, state="pending")}


@operation("CreateDefaultSubnet")
async def create_default_subnet(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateDefaultSubnet."""
    vpcs = call.by(Vpc, "default", "default")
    if not vpcs:
        raise AwsError("DefaultVpcDoesNotExist", "No default VPC exists for this account in this region.")
    zone = find_zone(call, call.params.get("AvailabilityZone") or "", call.params.get("AvailabilityZoneId") or "")
    if call.params.get("Ipv6Native"):
        raise ids.not_built("CreateDefaultSubnet with Ipv6Native")
    siblings = call.by(Subnet, "vpc", vpcs[0].meta.name)
    for subnet in siblings:
        if subnet.spec.zone == zone and subnet.spec.default_for_zone:
            text = f"'{subnet.meta.name}' is already the default subnet in {zone}."
            raise AwsError("DefaultSubnetAlreadyExistsInAvailabilityZone", text)
    cidr = free_block(vpcs[0].spec.cidr, [subnet.spec.cidr for subnet in siblings], SUBNET_LENGTH)
    if cidr is None:
        raise AwsError("InsufficientCidrBlocks", "There are not enough free CIDR blocks in the default VPC.")
    transaction = call.transaction()
    transaction.require(vpcs[0])
    transaction.require_no_newer(Subnet, call.scope)
    made = new_subnet(
        call, transaction, vpcs[0], default_acl(call, vpcs[0].meta.name), cidr=cidr, zone=zone, default=True
    )
    await call.commit(transaction)
    return {"Subnet": show_subnet(call, made)}


def make_default_vpc(call: Call, transaction: Transaction, dhcp_options: DhcpOptions | None = None) -> Vpc:
    """The default VPC with everything in it. 172.31.0.0/20 is the first zone's subnet, and so on."""
    made = new_vpc(call, transaction, parse_cidr(CIDR), is_default=True, dhcp_options=dhcp_options)
    gateway = new_gateway(call, transaction, vpc=made.vpc.meta.name)
    route = RouteEntry("0.0.0.0/0", gateway=gateway.meta.name)
    transaction.update(change_table(made.main, routes=(route,)))
    taken: list[str] = []
    for zone in zones_of(call.region):
        cidr = free_block(CIDR, taken, SUBNET_LENGTH)
        assert cidr is not None
        taken.append(cidr)
        new_subnet(call, transaction, made.vpc, made.acl, cidr=cidr, zone=zone.name, default=True)
    return made.vpc
