"""Subnets. Sizes and reserved addresses: docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html."""

from __future__ import annotations

import pytest


def test_a_subnet_is_shown_as_made(cloud):
    vpc = cloud.vpc()
    subnet = cloud("CreateSubnet", VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]
    assert subnet["AvailableIpAddressCount"] == 251
    assert (subnet["AvailabilityZone"], subnet["AvailabilityZoneId"]) == ("us-east-1b", "use1-az2")
    assert not subnet["MapPublicIpOnLaunch"]
    assert subnet["SubnetArn"] == f"arn:aws:ec2:us-east-1:111122223333:subnet/{subnet['SubnetId']}"
    assert cloud.one("DescribeSubnets", "Subnets", SubnetIds=[subnet["SubnetId"]]) == subnet
    by_id = cloud("CreateSubnet", VpcId=vpc, CidrBlock="10.0.2.0/24", AvailabilityZoneId="use1-az4")["Subnet"]
    assert by_id["AvailabilityZone"] == "us-east-1d"
    assert (
        cloud.code("CreateSubnet", VpcId=vpc, CidrBlock="10.0.3.0/24", AvailabilityZone="us-east-1z")
        == "InvalidParameterValue"
    )


@pytest.mark.parametrize("cidr", ["10.1.0.0/24", "10.0.0.0/29", "10.0.0.0/15", "192.168.0.0/16"])
def test_ranges_outside_the_vpc_or_of_other_sizes_are_refused(cloud, cidr):
    assert cloud.refused("CreateSubnet", VpcId=cloud.vpc(), CidrBlock=cidr) == (
        "InvalidSubnet.Range",
        f"The CIDR '{cidr}' is invalid.",
    )


@pytest.mark.parametrize("cidr", ["10.0.1.0/24", "10.0.1.128/25", "10.0.0.0/16", "10.0.0.0/23"])
def test_overlapping_subnets_are_refused(cloud, cidr):
    vpc = cloud.vpc()
    cloud.subnet(vpc, "10.0.1.0/24")
    assert cloud.refused("CreateSubnet", VpcId=vpc, CidrBlock=cidr) == (
        "InvalidSubnet.Conflict",
        f"The CIDR '{cidr}' conflicts with another subnet",
    )


def test_a_subnet_with_an_interface_stays(cloud):
    subnet = cloud.subnet(cloud.vpc())
    interface = cloud.interface(subnet)
    assert cloud.refused("DeleteSubnet", SubnetId=subnet) == (
        "DependencyViolation",
        f"The subnet '{subnet}' has dependencies and cannot be deleted.",
    )
    assert cloud.one("DescribeSubnets", "Subnets", SubnetIds=[subnet])["AvailableIpAddressCount"] == 250
    cloud("DeleteNetworkInterface", NetworkInterfaceId=interface)
    cloud("DeleteSubnet", SubnetId=subnet)
    assert cloud.code("DescribeSubnets", SubnetIds=[subnet]) == "InvalidSubnetID.NotFound"


def test_a_deleted_subnet_leaves_its_route_table(cloud):
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    table = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    cloud("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    cloud("DeleteSubnet", SubnetId=subnet)
    cloud("DeleteRouteTable", RouteTableId=table)


def test_attributes_change_one_at_a_time(cloud):
    subnet = cloud.subnet(cloud.vpc())
    cloud("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    cloud("ModifySubnetAttribute", SubnetId=subnet, PrivateDnsHostnameTypeOnLaunch="resource-name")
    cloud("ModifySubnetAttribute", SubnetId=subnet, EnableResourceNameDnsARecordOnLaunch={"Value": True})
    cloud("ModifySubnetAttribute", SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": False})
    shown = cloud.one("DescribeSubnets", "Subnets", SubnetIds=[subnet])
    assert shown["MapPublicIpOnLaunch"]
    assert shown["PrivateDnsNameOptionsOnLaunch"] == {
        "HostnameType": "resource-name",
        "EnableResourceNameDnsARecord": True,
        "EnableResourceNameDnsAAAARecord": False,
    }
    two = {"MapPublicIpOnLaunch": {"Value": True}, "EnableDns64": {"Value": False}}
    assert cloud.code("ModifySubnetAttribute", SubnetId=subnet, **two) == "InvalidParameterCombination"
    assert cloud.code("ModifySubnetAttribute", SubnetId=subnet, EnableDns64={"Value": True}) == "NotImplemented"


def test_every_filter_finds_what_is_shown(cloud):
    vpc = cloud.vpc()
    made = cloud.subnet(vpc, "10.0.9.0/24", AvailabilityZone="us-east-1f")
    shown = cloud.one("DescribeSubnets", "Subnets", SubnetIds=[made])
    for name, value in {
        "vpc-id": vpc,
        "cidr": "10.0.9.0/24",
        "cidr-block": "10.0.9.0/24",
        "cidrBlock": "10.0.9.?/24",
        "subnet-id": made,
        "subnet-arn": shown["SubnetArn"],
        "available-ip-address-count": "251",
        "default-for-az": "false",
        "map-public-ip-on-launch": "false",
    }.items():
        assert cloud.one("DescribeSubnets", "Subnets", Filters=[{"Name": name, "Values": [value]}]) == shown, name
    zone = cloud("DescribeSubnets", Filters=[{"Name": "availability-zone-id", "Values": ["use1-az6"]}])["Subnets"]
    assert len(zone) == 2
