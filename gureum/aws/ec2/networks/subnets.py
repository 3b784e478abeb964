"""Subnets: ranges of a VPC in one Availability Zone, each with a router at its base + 1.

A subnet is part of its VPC's core Network (networks/lowering.py).
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, listing, show_own_tags
from gureum.aws.ec2.networks.block_public_access import show_states
from gureum.aws.ec2.networks.cidrs import network_of, overlaps, parse_cidr, usable_size
from gureum.aws.ec2.networks.kinds import NetworkAcl, NetworkInterface, RouteTable, Subnet, SubnetSpec, Vpc
from gureum.aws.ec2.networks.network_acls import default_acl
from gureum.aws.ec2.regions import find_zone, zone_id, zones_of
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


@operation("CreateSubnet")
async def create_subnet(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateSubnet. The CIDR is made canonical, lies in the VPC and overlaps no other subnet of it."""
    params = call.params
    for name in (
        "Ipv6CidrBlock",
        "Ipv6Native",
        "OutpostArn",
        "Ipv4IpamPoolId",
        "Ipv6IpamPoolId",
        "Ipv4NetmaskLength",
        "Ipv6NetmaskLength",
    ):
        if params.get(name):
            raise ids.not_built(f"CreateSubnet with {name}")
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    text = ids.need(call, "CidrBlock")
    siblings = call.by(Subnet, "vpc", vpc.meta.name)
    cidr = check_subnet_cidr(text, vpc, siblings)
    if len(siblings) >= call.settings.quota_subnets_per_vpc:
        raise AwsError("SubnetLimitExceeded", "The maximum number of subnets has been reached.")
    zone = _wanted_zone(call)
    transaction = call.transaction()
    transaction.require(vpc)
    transaction.require_no_newer(Subnet, call.scope)
    subnet = new_subnet(
        call,
        transaction,
        vpc,
        default_acl(call, vpc.meta.name),
        cidr=str(cidr),
        zone=zone,
        tags=tags_of(call, "subnet"),
    )
    await call.commit(transaction)
    return {"Subnet": show_subnet(call, subnet)}


@operation("DeleteSubnet")
async def delete_subnet(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteSubnet. DependencyViolation while an interface is in it; its route table association goes with it."""
    subnet = ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))
    if call.by(NetworkInterface, "subnet", subnet.meta.name):
        raise AwsError(
            "DependencyViolation", f"The subnet '{subnet.meta.name}' has dependencies and cannot be deleted."
        )
    transaction = call.transaction()
    transaction.require_no_newer(NetworkInterface, call.scope)
    for table in call.by(RouteTable, "subnet", subnet.meta.name):
        left = tuple(one for one in table.spec.associations if one.subnet != subnet.meta.name)
        spec = msgspec.structs.replace(table.spec, associations=left)
        transaction.update(msgspec.structs.replace(table, spec=spec))
    transaction.delete(subnet)
    await call.commit(transaction)
    return {}


@operation("DescribeSubnets")
def describe_subnets(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeSubnets."""
    found, token = listing(call, Subnet, ids.SUBNET, "SubnetIds", _filters(call))
    return answer("Subnets", [show_subnet(call, subnet) for subnet in found], token)


@operation("ModifySubnetAttribute")
async def modify_subnet_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifySubnetAttribute: one attribute a call."""
    params = call.params
    subnet = ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))
    given = {name: value for name, value in params.items() if name not in ("SubnetId", "DryRun")}
    if not given:
        raise AwsError("MissingParameter", "No attributes specified.")
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", "Only one subnet attribute can be modified at a time.")
    ids.choice(params, "PrivateDnsHostnameTypeOnLaunch", "ip-name", "resource-name")
    name, value = given.popitem()
    if name not in _ATTRIBUTES:
        if isinstance(value, dict) and value.get("Value") is False:
            return {}
        raise ids.not_built(f"ModifySubnetAttribute with {name}")
    wished = value.get("Value", False) if isinstance(value, dict) else value
    transaction = call.transaction()
    transaction.update(change(subnet, **{_ATTRIBUTES[name]: wished}))
    await call.commit(transaction)
    return {}


_ATTRIBUTES = {
    "MapPublicIpOnLaunch": "public_on_launch",
    "PrivateDnsHostnameTypeOnLaunch": "hostname_type",
    "EnableResourceNameDnsARecordOnLaunch": "resource_a_record",
    "EnableResourceNameDnsAAAARecordOnLaunch": "resource_aaaa_record",
}


def new_subnet(
    call: Call,
    transaction: Transaction,
    vpc: Vpc,
    acl: NetworkAcl,
    *,
    cidr: str,
    zone: str,
    default: bool = False,
    tags: dict[str, str] | None = None,
) -> Subnet:
    """A subnet of a CIDR that has been checked. `default`: the zone's default subnet, whose machines get public addresses."""
    spec = SubnetSpec(
        vpc=vpc.meta.name,
        cidr=cidr,
        zone=zone,
        acl=acl.meta.name,
        acl_association=new_id("aclassoc-"),
        default_for_zone=default,
        public_on_launch=default,
    )
    return transaction.create(Subnet(meta=call.meta(new_id("subnet-"), tags=tags), spec=spec))


def check_subnet_cidr(text: str, vpc: Vpc, siblings: list[Subnet]) -> IPv4Network:
    """AWS: InvalidSubnet.Range outside the VPC or not /16 to /28, InvalidSubnet.Conflict over another subnet."""
    cidr = parse_cidr(text)
    inside = any(cidr.subnet_of(network_of(one.cidr)) for one in vpc.spec.cidrs)
    if not inside or not 16 <= cidr.prefixlen <= 28:
        raise AwsError("InvalidSubnet.Range", f"The CIDR '{text}' is invalid.")
    if overlaps(cidr, [subnet.spec.cidr for subnet in siblings]):
        raise AwsError("InvalidSubnet.Conflict", f"The CIDR '{text}' conflicts with another subnet")
    return cidr


def change(subnet: Subnet, **fields: Any) -> Subnet:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(subnet, spec=msgspec.structs.replace(subnet.spec, **fields))


def free_addresses(call: Call, subnet: Subnet) -> int:
    """How many addresses are left to give out."""
    there = call.by(NetworkInterface, "subnet", subnet.meta.name)
    used = sum(len(one.spec.addresses) + sum(network_of(r).num_addresses for r in one.spec.prefixes) for one in there)
    return usable_size(subnet.spec.cidr) - used


def subnet_arn(call: Call, subnet: Subnet) -> str:
    return call.arn(f"subnet/{subnet.meta.name}", service="ec2")


def _wanted_zone(call: Call) -> str:
    name, id_ = call.params.get("AvailabilityZone"), call.params.get("AvailabilityZoneId")
    if name and id_:
        raise AwsError(
            "InvalidParameterCombination", "Both availabilityZone and availabilityZoneId cannot be specified."
        )
    return find_zone(call, name or "", id_ or "") if name or id_ else zones_of(call.region)[0].name


def _filters(call: Call) -> FilterTable:
    def cidr(subnet: Subnet) -> str:
        return subnet.spec.cidr

    def zone(subnet: Subnet) -> str:
        return subnet.spec.zone

    def default(subnet: Subnet) -> str:
        return boolean(subnet.spec.default_for_zone)

    return {
        "availability-zone": zone,
        "availabilityZone": zone,
        "availability-zone-id": lambda subnet: zone_id(subnet.spec.zone),
        "availabilityZoneId": lambda subnet: zone_id(subnet.spec.zone),
        "available-ip-address-count": lambda subnet: str(free_addresses(call, subnet)),
        "cidr": cidr,
        "cidr-block": cidr,
        "cidrBlock": cidr,
        "customer-owned-ipv4-pool": lambda _: (),
        "default-for-az": default,
        "defaultForAz": default,
        "enable-dns64": lambda _: "false",
        "enable-lni-at-device-index": lambda _: (),
        "ipv6-cidr-block-association.association-id": lambda _: (),
        "ipv6-cidr-block-association.ipv6-cidr-block": lambda _: (),
        "ipv6-cidr-block-association.state": lambda _: (),
        "ipv6-native": lambda _: "false",
        "map-customer-owned-ip-on-launch": lambda _: "false",
        "map-public-ip-on-launch": lambda subnet: boolean(subnet.spec.public_on_launch),
        "outpost-arn": lambda _: (),
        "owner-id": lambda _: call.account,
        "private-dns-name-options-on-launch.hostname-type": lambda subnet: subnet.spec.hostname_type,
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": lambda subnet: boolean(
            subnet.spec.resource_a_record
        ),
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": (
            lambda subnet: boolean(subnet.spec.resource_aaaa_record)
        ),
        "state": lambda _: "available",
        "subnet-arn": lambda subnet: subnet_arn(call, subnet),
        "subnet-id": lambda subnet: subnet.meta.name,
        "vpc-id": lambda subnet: subnet.spec.vpc,
    }


def show_subnet(call: Call, subnet: Subnet) -> dict[str, Any]:
    """API form. AWS: ec2 Subnet."""
    spec = subnet.spec
    return {
        "SubnetId": subnet.meta.name,
        "SubnetArn": subnet_arn(call, subnet),
        "VpcId": spec.vpc,
        "OwnerId": call.account,
        "State": "available",
        "CidrBlock": spec.cidr,
        "AvailableIpAddressCount": free_addresses(call, subnet),
        "AvailabilityZone": spec.zone,
        "AvailabilityZoneId": zone_id(spec.zone),
        "DefaultForAz": spec.default_for_zone,
        "MapPublicIpOnLaunch": spec.public_on_launch,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "Ipv6Native": False,
        "EnableDns64": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": spec.hostname_type,
            "EnableResourceNameDnsARecord": spec.resource_a_record,
            "EnableResourceNameDnsAAAARecord": spec.resource_aaaa_record,
        },
        "BlockPublicAccessStates": show_states(call.client, call.scope, subnet.meta.name, spec.vpc),
        **show_own_tags(subnet.meta.tags),
    }
