"""VPCs: private networks. Each comes with a default security group, a main route table and a default network ACL, and goes only when
nothing but those is left in it.

A VPC is lowered to a core Network (networks/lowering.py) only while something in it is attached, so that regions that are only looked at
make no namespaces.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.endpoints.kinds import VpcEndpoint
from gureum.aws.ec2.listing import answer, listing, show_own_tags
from gureum.aws.ec2.networks.block_public_access import show_states
from gureum.aws.ec2.networks.cidrs import network_of, overlaps, parse_cidr
from gureum.aws.ec2.networks.dhcp_options import default_dhcp_options
from gureum.aws.ec2.networks.kinds import (
    CidrAssociation,
    DhcpOptions,
    InternetGateway,
    NetworkAcl,
    NetworkInterface,
    RouteAssociation,
    RouteTable,
    RouteTableSpec,
    SecurityGroup,
    SecurityGroupSpec,
    Subnet,
    Vpc,
    VpcSpec,
)
from gureum.aws.ec2.networks.network_acls import new_default_acl
from gureum.aws.ec2.networks.peering_connections import end_peerings, follow_cidrs
from gureum.aws.ec2.networks.routes import forget_local
from gureum.aws.ec2.networks.security_group_rules import allow_all_out, allow_own_group
from gureum.aws.ec2.networks.vpn_kinds import VpnGateway
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource

NOT_BUILT = (
    "AmazonProvidedIpv6CidrBlock",
    "Ipv6CidrBlock",
    "Ipv6Pool",
    "Ipv6NetmaskLength",
    "Ipv6CidrBlockNetworkBorderGroup",
    "Ipv4IpamPoolId",
    "Ipv4NetmaskLength",
    "Ipv6IpamPoolId",
    "VpcEncryptionControl",
)
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_RFC_1918 = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
_BENCHMARK = IPv4Network("198.19.0.0/16")
# (where the first range is, what is closed to it of its own private range).
_CLOSED = (
    (IPv4Network("10.0.0.0/15"), IPv4Network("10.0.0.0/16")),
    (IPv4Network("172.16.0.0/12"), IPv4Network("172.31.0.0/16")),
)
ATTRIBUTES = {
    "enableDnsSupport": ("EnableDnsSupport", "dns_support"),
    "enableDnsHostnames": ("EnableDnsHostnames", "dns_hostnames"),
    "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", "address_usage_metrics"),
}
"""Name in DescribeVpcAttribute → (member, field of the spec)."""

OF_IPV6_OR_IPAM = (
    *("AmazonProvidedIpv6CidrBlock", "Ipv6CidrBlock", "Ipv6CidrBlockNetworkBorderGroup", "Ipv6Pool"),
    *("Ipv4IpamPoolId", "Ipv4NetmaskLength", "Ipv6IpamPoolId", "Ipv6NetmaskLength"),
)


@operation("CreateVpc")
async def create_vpc(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpc. The CIDR is made canonical; its length is /16 to /28."""
    params = call.params
    for name in NOT_BUILT:
        if params.get(name):
            raise ids.not_built(f"CreateVpc with {name}")
    cidr = check_vpc_cidr(ids.need(call, "CidrBlock"))
    room = call.settings.quota_vpcs - len(call.all(Vpc))
    if room <= 0:
        raise AwsError("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
    transaction = call.transaction()
    count_at_commit(call, transaction, Vpc, room)
    tenancy = ids.choice(params, "InstanceTenancy", "default", "dedicated")
    vpc = new_vpc(call, transaction, cidr, tenancy=tenancy, tags=tags_of(call, "vpc")).vpc
    await call.commit(transaction)
    shown = show_vpc(call, vpc, state="pending") | {"Ipv6CidrBlockAssociationSet": []}
    del shown["BlockPublicAccessStates"]
    return {"Vpc": shown}


@operation("DeleteVpc")
async def delete_vpc(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteVpc. DependencyViolation while anything but its own defaults is in it."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    name = vpc.meta.name
    if _dependants(call, name):
        raise AwsError("DependencyViolation", f"The vpc '{name}' has dependencies and cannot be deleted.")
    transaction = call.transaction()
    for cls in (
        Subnet,
        InternetGateway,
        VpnGateway,
        NetworkInterface,
        SecurityGroup,
        RouteTable,
        NetworkAcl,
        VpcEndpoint,
    ):
        transaction.require_no_newer(cls, call.scope)
    own: list[Resource] = [
        *call.by(SecurityGroup, "vpc", name),
        *call.by(RouteTable, "vpc", name),
        *call.by(NetworkAcl, "vpc", name),
    ]
    for obj in own:
        transaction.delete(obj)
    end_peerings(call, transaction, vpc)
    transaction.delete(vpc)
    await call.commit(transaction)
    return {}


@operation("DescribeVpcs")
def describe_vpcs(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcs."""
    found, token = listing(call, Vpc, ids.VPC, "VpcIds", _filters(call))
    return answer("Vpcs", [show_vpc(call, vpc) for vpc in found], token)


@operation("ModifyVpcAttribute")
async def modify_vpc_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcAttribute: one attribute a call."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    given = [
        (field, call.params[member]["Value"])
        for member, field in ATTRIBUTES.values()
        if "Value" in (call.params.get(member) or {})
    ]
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", "Fields for multiple attribute types specified")
    if not given:
        raise AwsError("MissingParameter", "No attributes specified.")
    changed = dict(given)
    if changed.get("dns_hostnames") and not vpc.spec.dns_support:
        raise ids.invalid("DNS hostnames cannot be enabled while DNS support is disabled.")
    transaction = call.transaction()
    transaction.update(change(vpc, **changed))
    await call.commit(transaction)
    return {}


@operation("DescribeVpcAttribute")
def describe_vpc_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcAttribute."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    attribute = ids.need(call, "Attribute")
    if attribute not in ATTRIBUTES:
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    member, field = ATTRIBUTES[attribute]
    call.end_dry_run()
    return {"VpcId": vpc.meta.name, member: {"Value": getattr(vpc.spec, field)}}


@operation("ModifyVpcTenancy", level="state")
async def modify_vpc_tenancy(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcTenancy: only back to "default"."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    if call.params.get("InstanceTenancy") != "default":
        raise AwsError("InvalidTenancy", "The tenancy of a VPC can only be changed to 'default'.")
    transaction = call.transaction()
    transaction.update(change(vpc, tenancy="default"))
    await call.commit(transaction)
    return {"ReturnValue": True}


@operation("AssociateVpcCidrBlock")
async def associate_vpc_cidr_block(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateVpcCidrBlock: a further IPv4 range."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    others = [name for name in OF_IPV6_OR_IPAM if call.params.get(name)]
    if others or not call.params.get("CidrBlock"):
        raise ids.not_built("AssociateVpcCidrBlock for IPv6 or IPAM")
    cidr = check_vpc_cidr(call.params["CidrBlock"])
    if len(vpc.spec.cidrs) >= call.settings.quota_cidrs_per_vpc:
        text = f"This network {vpc.meta.name} has met its maximum number of allowed CIDRs: {len(vpc.spec.cidrs)}"
        raise AwsError("CidrLimitExceeded", text)
    if overlaps(cidr, [one.cidr for one in vpc.spec.cidrs]):
        raise ids.invalid(f"The CIDR '{cidr}' conflicts with another CIDR of the VPC.")
    _check_range(network_of(vpc.spec.cidrs[0].cidr), cidr)
    association = CidrAssociation(new_id("vpc-cidr-assoc-"), str(cidr))
    transaction = call.transaction()
    changed = transaction.update(change(vpc, cidrs=(*vpc.spec.cidrs, association)))
    follow_cidrs(call, transaction, changed)
    await call.commit(transaction)
    return {"VpcId": vpc.meta.name, "CidrBlockAssociation": _show_cidr(association, "associating")}


@operation("DisassociateVpcCidrBlock")
async def disassociate_vpc_cidr_block(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateVpcCidrBlock: not the primary one, none that a subnet uses."""
    id_ = ids.need(call, "AssociationId")
    vpc = next((vpc for vpc in call.all(Vpc) if any(one.id == id_ for one in vpc.spec.cidrs)), None)
    if vpc is None:
        raise ids.not_found(ids.CIDR_ASSOCIATION, id_)
    association = next(one for one in vpc.spec.cidrs if one.id == id_)
    if association == vpc.spec.cidrs[0]:
        text = f"The vpc CIDR block with association ID {id_} may not be disassociated. It is the primary IPv4 CIDR block of the VPC"
        raise AwsError("OperationNotPermitted", text)
    inside = network_of(association.cidr)
    if any(network_of(subnet.spec.cidr).subnet_of(inside) for subnet in call.by(Subnet, "vpc", vpc.meta.name)):
        text = f"The vpc CIDR block with association ID {id_} has dependencies and cannot be disassociated."
        raise AwsError("DependencyViolation", text)
    transaction = call.transaction()
    transaction.require_no_newer(Subnet, call.scope)
    changed = transaction.update(change(vpc, cidrs=tuple(one for one in vpc.spec.cidrs if one.id != id_)))
    forget_local(call, transaction, vpc, association.cidr)
    follow_cidrs(call, transaction, changed)
    await call.commit(transaction)
    return {"VpcId": vpc.meta.name, "CidrBlockAssociation": _show_cidr(association, "disassociating")}


@operation("DescribeVpcClassicLink", level="state")
def describe_vpc_classic_link(_: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcClassicLink. EC2-Classic is retired: no VPC has it."""
    raise AwsError("UnsupportedOperation", "The functionality you requested is not available in this region.")


@operation("DescribeVpcClassicLinkDnsSupport", level="state")
def describe_vpc_classic_link_dns_support(_: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcClassicLinkDnsSupport. EC2-Classic is retired."""
    raise AwsError("UnsupportedOperation", "The functionality you requested is not available in this region.")


class NewVpc(msgspec.Struct, frozen=True):
    """A VPC that a transaction makes, with its main route table and its default ACL."""

    vpc: Vpc
    main: RouteTable
    acl: NetworkAcl


def new_vpc(
    call: Call,
    transaction: Transaction,
    cidr: IPv4Network,
    *,
    is_default: bool = False,
    tenancy: str = "default",
    tags: dict[str, str] | None = None,
    dhcp_options: DhcpOptions | None = None,
) -> NewVpc:
    """A VPC of a CIDR that has been checked, and what comes with it. `dhcp_options`: the region's default when not given."""
    dhcp_options = dhcp_options or default_dhcp_options(call)
    vpc = Vpc(
        meta=call.meta(new_id("vpc-"), tags=tags),
        spec=VpcSpec(
            cidrs=(CidrAssociation(new_id("vpc-cidr-assoc-"), str(cidr)),),
            dhcp_options=dhcp_options.meta.name,
            is_default=is_default,
            tenancy=tenancy,
            dns_hostnames=is_default,
        ),
    )
    transaction.create(vpc)
    group_id = new_id("sg-")
    transaction.create(
        SecurityGroup(
            meta=call.meta(group_id, owner=vpc),
            spec=SecurityGroupSpec(
                "default", "default VPC security group", vpc.meta.name, (allow_own_group(group_id), allow_all_out())
            ),
        )
    )
    main = transaction.create(
        RouteTable(
            meta=call.meta(new_id("rtb-"), owner=vpc),
            spec=RouteTableSpec(vpc.meta.name, associations=(RouteAssociation(new_id("rtbassoc-")),)),
        )
    )
    return NewVpc(vpc, main, new_default_acl(call, transaction, vpc))


def check_vpc_cidr(text: str) -> IPv4Network:
    """AWS: InvalidVpc.Range for lengths other than /16 to /28 and for ranges that no network may have."""
    cidr = parse_cidr(text)
    if (
        not 16 <= cidr.prefixlen <= 28
        or cidr.is_multicast
        or cidr.is_loopback
        or cidr.is_link_local
        or cidr.is_reserved
        or cidr.subnet_of(_THIS_NETWORK)
    ):
        raise AwsError("InvalidVpc.Range", f"The CIDR '{text}' is invalid.")
    return cidr


def _check_range(primary: IPv4Network, further: IPv4Network) -> None:
    """AWS: InvalidVpc.Range by "IPv4 CIDR block association restrictions" (VPC user guide): which ranges a VPC may have beside its first."""
    home = next((one for one in _RFC_1918 if primary.subnet_of(one)), None)
    restricted = [one for one in _RFC_1918 if one is not home]
    if not primary.subnet_of(_BENCHMARK):
        restricted.append(_BENCHMARK)
    restricted += [closed for where, closed in _CLOSED if primary.subnet_of(where)]
    if any(further.overlaps(one) for one in restricted):
        text = (
            f"The CIDR '{further}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, or use a "
            "publicly-routable CIDR. For additional restrictions, see "
            "https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Subnets.html#vpc-resize"
        )
        raise AwsError("InvalidVpc.Range", text)


def change(vpc: Vpc, **fields: Any) -> Vpc:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(vpc, spec=msgspec.structs.replace(vpc.spec, **fields))


def _dependants(call: Call, vpc_id: str) -> bool:
    return bool(
        call.by(Subnet, "vpc", vpc_id)
        or call.by(InternetGateway, "vpc", vpc_id)
        or call.by(VpnGateway, "vpc", vpc_id)
        or call.by(NetworkInterface, "vpc", vpc_id)
        or call.by(VpcEndpoint, "vpc", vpc_id)
        or [group for group in call.by(SecurityGroup, "vpc", vpc_id) if group.spec.group_name != "default"]
        or [table for table in call.by(RouteTable, "vpc", vpc_id) if not table.spec.main]
        or [acl for acl in call.by(NetworkAcl, "vpc", vpc_id) if not acl.spec.is_default]
    )


def _filters(call: Call) -> FilterTable:
    return {
        "cidr": lambda vpc: vpc.spec.cidr,
        "cidr-block": lambda vpc: vpc.spec.cidr,  # undocumented, as cidrBlock is; Ansible's ec2_vpc_net asks by it
        "cidr-block-association.cidr-block": lambda vpc: [one.cidr for one in vpc.spec.cidrs],
        "cidr-block-association.association-id": lambda vpc: [one.id for one in vpc.spec.cidrs],
        "cidr-block-association.state": lambda _: "associated",
        "cidrBlock": lambda vpc: vpc.spec.cidr,
        "dhcp-options-id": lambda vpc: vpc.spec.dhcp_options,
        "dhcpOptionsId": lambda vpc: vpc.spec.dhcp_options,
        "ipv6-cidr-block-association.association-id": lambda _: (),
        "ipv6-cidr-block-association.ipv6-cidr-block": lambda _: (),
        "ipv6-cidr-block-association.ipv6-pool": lambda _: (),
        "ipv6-cidr-block-association.state": lambda _: (),
        "is-default": lambda vpc: boolean(vpc.spec.is_default),
        "isDefault": lambda vpc: boolean(vpc.spec.is_default),
        "owner-id": lambda _: call.account,
        "state": lambda _: "available",
        "vpc-id": lambda vpc: vpc.meta.name,
    }


def show_vpc(call: Call, vpc: Vpc, *, state: str = "available") -> dict[str, Any]:
    """API form. AWS: ec2 Vpc."""
    return {
        "VpcId": vpc.meta.name,
        "OwnerId": call.account,
        "State": state,
        "CidrBlock": vpc.spec.cidr,
        "CidrBlockAssociationSet": [_show_cidr(one, "associated") for one in vpc.spec.cidrs],
        "DhcpOptionsId": vpc.spec.dhcp_options,
        "InstanceTenancy": vpc.spec.tenancy,
        "IsDefault": vpc.spec.is_default,
        "BlockPublicAccessStates": show_states(call.client, call.scope, vpc.meta.name),
        **show_own_tags(vpc.meta.tags),
    }


def _show_cidr(one: CidrAssociation, state: str) -> dict[str, Any]:
    return {"AssociationId": one.id, "CidrBlock": one.cidr, "CidrBlockState": {"State": state}}
