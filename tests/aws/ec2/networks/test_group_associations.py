"""Security groups that are used in further VPCs."""

from __future__ import annotations

import asyncio

import pytest

from gureum.aws.ec2.interfaces.interfaces import new_interface
from gureum.aws.ec2.networks.kinds import Attachment, Subnet


@pytest.fixture
def home(cloud):
    return cloud.vpc()


@pytest.fixture
def other(cloud):
    return cloud.vpc("10.1.0.0/16")


def machine(cloud, subnet, instance, group):
    call = cloud.call()
    transaction = call.transaction()
    attachment = Attachment("eni-attach-0123456789abcdef0", instance, 0, 0.0)
    place = call.get(Subnet, subnet)
    made = new_interface(call, transaction, place, groups=[group], attachment=attachment, sandbox=instance)
    asyncio.run(transaction.commit())
    return made.meta.name


def test_an_associated_group_is_enforced_where_it_is_used(cloud, home, other):
    group, subnet = cloud.group(home), cloud.subnet(other, "10.1.1.0/24")
    assert cloud.code("CreateNetworkInterface", SubnetId=subnet, Groups=[group]) == "InvalidParameter"
    assert cloud("AssociateSecurityGroupVpc", GroupId=group, VpcId=other)["State"] == "associating"
    machine(cloud, subnet, "i-1", group)
    wished = cloud.wished("FirewallGroup")[f"{group}.{other}"]
    assert (wished.network, wished.group.name, len(wished.group.rules)) == (other, group, 1)
    assert group not in cloud.wished("FirewallGroup")
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=[permission])
    assert len(cloud.wished("FirewallGroup")[f"{group}.{other}"].group.rules) == 2


def test_it_stays_while_it_is_used(cloud, home, other):
    group, subnet = cloud.group(home), cloud.subnet(other, "10.1.1.0/24")
    for _ in range(2):  # again is success
        cloud("AssociateSecurityGroupVpc", GroupId=group, VpcId=other)
    interface = cloud.interface(subnet, Groups=[group])
    named = {"GroupId": group, "VpcId": other}
    assert cloud.code("DisassociateSecurityGroupVpc", **named) == "DependencyViolation"
    cloud("DeleteNetworkInterface", NetworkInterfaceId=interface)
    assert cloud.code("DeleteSecurityGroup", GroupId=group) == "DependencyViolation"
    assert cloud("DisassociateSecurityGroupVpc", **named)["State"] == "disassociating"
    assert cloud.code("DisassociateSecurityGroupVpc", **named) == "InvalidParameterValue"
    cloud("DeleteSecurityGroup", GroupId=group)


def test_associations_are_listed(cloud, home, other):
    group = cloud.group(home)
    cloud("AssociateSecurityGroupVpc", GroupId=group, VpcId=other)
    wanted = [{"Name": "vpc-id", "Values": [other]}]
    found = cloud.one("DescribeSecurityGroupVpcAssociations", "SecurityGroupVpcAssociations", Filters=wanted)
    assert (found["GroupId"], found["VpcId"], found["State"]) == (group, other, "associated")
    rows = cloud("GetSecurityGroupsForVpc", VpcId=other)["SecurityGroupForVpcs"]
    assert (group, home) in [(one["GroupId"], one["PrimaryVpcId"]) for one in rows]


def test_neither_default_groups_nor_the_default_vpc(cloud, home, other):
    default = [{"Name": "vpc-id", "Values": [home]}, {"Name": "group-name", "Values": ["default"]}]
    own = cloud.one("DescribeSecurityGroups", "SecurityGroups", Filters=default)["GroupId"]
    assert cloud.code("AssociateSecurityGroupVpc", GroupId=own, VpcId=other) == "InvalidParameterValue"
    default_vpc = cloud.one("DescribeVpcs", "Vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["VpcId"]
    group = cloud.group(home)
    for vpc in (home, default_vpc):
        assert cloud.code("AssociateSecurityGroupVpc", GroupId=group, VpcId=vpc) == "InvalidParameterValue"
