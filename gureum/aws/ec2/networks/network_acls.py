"""Network ACLs: the stateless filter at the boundary of a subnet. Every subnet has exactly one; a new one has its VPC's default ACL, which
allows everything until somebody changes it.

ACLs are part of their VPC's core Network (networks/lowering.py). Their entries: network_acl_entries.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.kinds import AclEntry, NetworkAcl, NetworkAclSpec, Subnet, Vpc
from gureum.aws.ec2.networks.network_acl_entries import (
    ICMP,
    ICMP6,
    closing_entries,
    ordered,
    protocol_names,
    show_entry,
)
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


@operation("CreateNetworkAcl")
async def create_network_acl(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateNetworkAcl. It denies everything and has no subnets."""
    done = call.done_before()
    if done is not None:
        return {
            "NetworkAcl": show_network_acl(call, ids.find(call, NetworkAcl, ids.NETWORK_ACL, done[0]))
        } | call.told_token()
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    room = call.settings.quota_network_acls_per_vpc - len(call.by(NetworkAcl, "vpc", vpc.meta.name))
    if room <= 0:
        raise AwsError("NetworkAclLimitExceeded", "The maximum number of network ACLs has been reached.")
    acl = NetworkAcl(
        meta=call.meta(new_id("acl-"), tags=tags_of(call, "network-acl")),
        spec=NetworkAclSpec(vpc.meta.name, is_default=False, entries=closing_entries()),
    )
    transaction = call.transaction()
    transaction.require(vpc)
    count_at_commit(call, transaction, NetworkAcl, room)
    transaction.create(acl)
    call.remember(transaction, (acl.meta.name,))
    await call.commit(transaction)
    return {"NetworkAcl": show_network_acl(call, acl)} | call.told_token()


@operation("DeleteNetworkAcl")
async def delete_network_acl(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNetworkAcl. Neither the default one nor one that a subnet uses."""
    acl = ids.find(call, NetworkAcl, ids.NETWORK_ACL, ids.need(call, "NetworkAclId"))
    name = acl.meta.name
    if acl.spec.is_default:
        raise ids.invalid(f"cannot delete default network ACL {name}")
    if call.by(Subnet, "acl", name):
        raise AwsError("DependencyViolation", f"The networkAcl '{name}' has dependencies and cannot be deleted.")
    transaction = call.transaction()
    transaction.require_no_newer(Subnet, call.scope)
    transaction.delete(acl)
    await call.commit(transaction)
    return {}


@operation("ReplaceNetworkAclAssociation")
async def replace_network_acl_association(call: Call) -> dict[str, Any]:
    """AWS: ec2 ReplaceNetworkAclAssociation: the subnet gets another ACL, and the association another id."""
    id_ = ids.check_id(ids.ACL_ASSOCIATION, ids.need(call, "AssociationId"))
    subnets = call.by(Subnet, "acl-association", id_)
    if not subnets:
        raise ids.not_found(ids.ACL_ASSOCIATION, id_)
    subnet = subnets[0]
    acl = ids.find(call, NetworkAcl, ids.NETWORK_ACL, ids.need(call, "NetworkAclId"))
    if acl.spec.vpc != subnet.spec.vpc:
        raise ids.invalid(f"networkAcl {acl.meta.name} and subnet {subnet.meta.name} belong to different networks")
    association = new_id("aclassoc-")
    spec = msgspec.structs.replace(subnet.spec, acl=acl.meta.name, acl_association=association)
    transaction = call.transaction()
    transaction.require(acl)
    transaction.update(msgspec.structs.replace(subnet, spec=spec))
    await call.commit(transaction)
    return {"NewAssociationId": association}


@operation("DescribeNetworkAcls")
def describe_network_acls(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNetworkAcls."""
    found, token = listing(call, NetworkAcl, ids.NETWORK_ACL, "NetworkAclIds", _filters(call))
    return answer("NetworkAcls", [show_network_acl(call, acl) for acl in found], token)


def new_default_acl(call: Call, transaction: Transaction, vpc: Vpc) -> NetworkAcl:
    """The ACL that a new VPC comes with: all in, all out."""
    entries = (AclEntry(100, egress=True, allow=True), AclEntry(100, egress=False, allow=True))
    spec = NetworkAclSpec(vpc.meta.name, is_default=True, entries=(*entries, *closing_entries()))
    return transaction.create(NetworkAcl(meta=call.meta(new_id("acl-"), owner=vpc), spec=spec))


def default_acl(call: Call, vpc_id: str) -> NetworkAcl:
    """The default ACL of a VPC, which every VPC has."""
    return next(acl for acl in call.by(NetworkAcl, "vpc", vpc_id) if acl.spec.is_default)


def _filters(call: Call) -> FilterTable:
    def of_entries(look: Callable[[AclEntry], str]) -> Any:
        return lambda acl: [look(entry) for entry in acl.spec.entries]

    def of_ports(place: int, *, icmp: bool) -> Any:
        return lambda acl: [
            str(entry.ports[place])
            for entry in acl.spec.entries
            if entry.ports is not None and (entry.protocol in (ICMP, ICMP6)) == icmp
        ]

    def of_subnets(look: Callable[[Subnet], str]) -> Any:
        return lambda acl: [look(subnet) for subnet in call.by(Subnet, "acl", acl.meta.name)]

    return {
        "association.association-id": of_subnets(lambda subnet: subnet.spec.acl_association),
        "association.network-acl-id": lambda acl: acl.meta.name if call.by(Subnet, "acl", acl.meta.name) else (),
        "association.subnet-id": of_subnets(lambda subnet: subnet.meta.name),
        "default": lambda acl: boolean(acl.spec.is_default),
        "entry.cidr": lambda acl: [entry.cidr for entry in acl.spec.entries if not entry.cidr6],
        "entry.egress": of_entries(lambda entry: boolean(entry.egress)),
        "entry.icmp.code": of_ports(1, icmp=True),
        "entry.icmp.type": of_ports(0, icmp=True),
        "entry.ipv6-cidr": lambda acl: [entry.cidr6 for entry in acl.spec.entries if entry.cidr6],
        "entry.port-range.from": of_ports(0, icmp=False),
        "entry.port-range.to": of_ports(1, icmp=False),
        "entry.protocol": lambda acl: [name for entry in acl.spec.entries for name in protocol_names(entry)],
        "entry.rule-action": of_entries(lambda entry: "allow" if entry.allow else "deny"),
        "entry.rule-number": of_entries(lambda entry: str(entry.number)),
        "network-acl-id": lambda acl: acl.meta.name,
        "owner-id": lambda _: call.account,
        "vpc-id": lambda acl: acl.spec.vpc,
    }


def show_network_acl(call: Call, acl: NetworkAcl) -> dict[str, Any]:
    """API form. AWS: ec2 NetworkAcl."""
    subnets = sorted(call.by(Subnet, "acl", acl.meta.name), key=lambda subnet: subnet.meta.name)
    return {
        "NetworkAclId": acl.meta.name,
        "VpcId": acl.spec.vpc,
        "OwnerId": call.account,
        "IsDefault": acl.spec.is_default,
        "Entries": [show_entry(entry) for entry in ordered(acl.spec.entries)],
        "Associations": [
            {
                "NetworkAclAssociationId": subnet.spec.acl_association,
                "NetworkAclId": acl.meta.name,
                "SubnetId": subnet.meta.name,
            }
            for subnet in subnets
        ],
        "Tags": show_tags(acl.meta.tags),
    }
