"""Security groups in further VPCs of their region: interfaces there may use them, too.

In each VPC the group is a core FirewallGroup of its own (security_groups.py). A rule that names a group means that group's members in the same
VPC.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.networks.kinds import NetworkInterface, SecurityGroup, Vpc
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.engine.resource import Resource, kind

STATE = "associated"


class GroupAssociationSpec(msgspec.Struct, frozen=True):
    group: str
    vpc: str


@kind("ec2.GroupAssociation", indexes={"group": lambda one: one.spec.group, "vpc": lambda one: one.spec.vpc})
class GroupAssociation(Resource, frozen=True):
    """Its name is "GROUP.VPC"; its owner the VPC it is for."""

    spec: GroupAssociationSpec


@operation("AssociateSecurityGroupVpc")
async def associate_security_group_vpc(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateSecurityGroupVpc. Neither default groups nor the default VPC. Again it is success."""
    group, vpc = _named(call)
    if group.spec.group_name == "default":
        raise ids.invalid("The default security group of a VPC cannot be associated with another VPC.")
    if vpc.spec.is_default:
        raise ids.invalid("A security group cannot be associated with the default VPC.")
    if group.spec.vpc == vpc.meta.name:
        raise ids.invalid(f"The security group '{group.meta.name}' was created in VPC '{vpc.meta.name}'.")
    transaction = call.transaction()
    if not is_in(call, group, vpc.meta.name):
        transaction.require(group)
        transaction.require(vpc)
        spec = GroupAssociationSpec(group.meta.name, vpc.meta.name)
        transaction.create(GroupAssociation(meta=call.meta(_name(group, vpc.meta.name), owner=vpc), spec=spec))
    await call.commit(transaction)
    return {"State": "associating"}


@operation("DisassociateSecurityGroupVpc")
async def disassociate_security_group_vpc(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateSecurityGroupVpc: not while an interface there uses it."""
    group, vpc = _named(call)
    association = call.get(GroupAssociation, _name(group, vpc.meta.name))
    if association is None:
        text = f"The security group '{group.meta.name}' is not associated with VPC '{vpc.meta.name}'."
        raise AwsError("InvalidParameterValue", text)
    if any(one.spec.vpc == vpc.meta.name for one in call.by(NetworkInterface, "group", group.meta.name)):
        raise AwsError("DependencyViolation", f"resource {group.meta.name} has a dependent object")
    transaction = call.transaction()
    transaction.require_no_newer(NetworkInterface, call.scope)
    transaction.delete(association)
    await call.commit(transaction)
    return {"State": "disassociating"}


@operation("DescribeSecurityGroupVpcAssociations")
def describe_security_group_vpc_associations(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeSecurityGroupVpcAssociations."""
    found = apply_filters(call.all(GroupAssociation), call.params.get("Filters"), _filters(call))
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name)
    rows = [
        {
            "GroupId": one.spec.group,
            "VpcId": one.spec.vpc,
            "VpcOwnerId": call.account,
            "GroupOwnerId": call.account,
            "State": STATE,
        }
        for one in shown
    ]
    return answer("SecurityGroupVpcAssociations", rows, token)


def is_in(call: Call, group: SecurityGroup, vpc_id: str) -> bool:
    """Whether the group is the VPC's own or associated with it."""
    return group.spec.vpc == vpc_id or call.get(GroupAssociation, _name(group, vpc_id)) is not None


def in_vpc(call: Call, vpc_id: str) -> list[SecurityGroup]:
    """The VPC's own groups and those that are associated with it."""
    further = (call.get(SecurityGroup, one.spec.group) for one in call.by(GroupAssociation, "vpc", vpc_id))
    return [*call.by(SecurityGroup, "vpc", vpc_id), *(one for one in further if one is not None)]


def _name(group: SecurityGroup, vpc_id: str) -> str:
    return f"{group.meta.name}.{vpc_id}"


def _named(call: Call) -> tuple[SecurityGroup, Vpc]:
    group = ids.find(call, SecurityGroup, ids.SECURITY_GROUP, call.params["GroupId"])
    return group, ids.find(call, Vpc, ids.VPC, call.params["VpcId"])


def _filters(call: Call) -> FilterTable:
    return {
        "group-id": lambda one: one.spec.group,
        "group-owner-id": lambda _: call.account,
        "state": lambda _: STATE,
        "vpc-id": lambda one: one.spec.vpc,
        "vpc-owner-id": lambda _: call.account,
    }
