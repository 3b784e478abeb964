"""Network ACLs. Every VPC has a default one that allows everything, and every subnet uses it; changing entries is not built yet, so what is
described is what is enforced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.network_kinds import AclEntry, NetworkAcl, NetworkAclSpec, Subnet, Vpc
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

LAST_NUMBER = 32767
"""The closing deny that nobody can remove."""


@operation("DescribeNetworkAcls")
def describe_network_acls(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNetworkAcls."""
    found, token = listing(call, NetworkAcl, ids.NETWORK_ACL, "NetworkAclIds", _filters(call))
    return answer("NetworkAcls", [show_network_acl(call, acl) for acl in found], token)


def new_default_acl(call: Call, transaction: Transaction, vpc: Vpc) -> NetworkAcl:
    """The ACL that a new VPC comes with: all in, all out."""
    entries = tuple(
        AclEntry(number, egress, allow)
        for egress in (True, False)
        for number, allow in ((100, True), (LAST_NUMBER, False))
    )
    spec = NetworkAclSpec(vpc.meta.name, is_default=True, entries=entries)
    return transaction.create(NetworkAcl(meta=call.meta(new_id("acl-"), owner=vpc), spec=spec))


def default_acl(call: Call, vpc_id: str) -> NetworkAcl:
    """The default ACL of a VPC, which every VPC has."""
    return next(acl for acl in call.by(NetworkAcl, "vpc", vpc_id) if acl.spec.is_default)


def _filters(call: Call) -> FilterTable:
    def of_entries(look: Callable[[AclEntry], str]) -> Any:
        return lambda acl: [look(entry) for entry in acl.spec.entries]

    def of_subnets(look: Callable[[Subnet], str]) -> Any:
        return lambda acl: [look(subnet) for subnet in call.by(Subnet, "acl", acl.meta.name)]

    return {
        "association.association-id": of_subnets(lambda subnet: subnet.spec.acl_association),
        "association.network-acl-id": lambda acl: acl.meta.name if call.by(Subnet, "acl", acl.meta.name) else (),
        "association.subnet-id": of_subnets(lambda subnet: subnet.meta.name),
        "default": lambda acl: boolean(acl.spec.is_default),
        "entry.cidr": of_entries(lambda entry: entry.cidr),
        "entry.egress": of_entries(lambda entry: boolean(entry.egress)),
        "entry.icmp.code": lambda _: (),
        "entry.icmp.type": lambda _: (),
        "entry.ipv6-cidr": lambda _: (),
        "entry.port-range.from": lambda _: (),
        "entry.port-range.to": lambda _: (),
        "entry.protocol": of_entries(lambda entry: entry.protocol),
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
        "Entries": [
            {
                "RuleNumber": entry.number,
                "Protocol": entry.protocol,
                "RuleAction": "allow" if entry.allow else "deny",
                "Egress": entry.egress,
                "CidrBlock": entry.cidr,
            }
            for entry in acl.spec.entries
        ],
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
