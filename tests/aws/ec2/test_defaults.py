"""A region's defaults. Expected answers: docs.aws.amazon.com/vpc/latest/userguide/default-vpc-components.html."""

from __future__ import annotations

import pytest

from gureum.aws.ec2.regions import region_of


def test_a_fresh_region_has_a_default_vpc_with_a_public_subnet_per_zone(cloud):
    vpc = cloud.one("DescribeVpcs", "Vpcs")
    assert (vpc["CidrBlock"], vpc["IsDefault"], vpc["State"]) == ("172.31.0.0/16", True, "available")
    subnets = cloud("DescribeSubnets")["Subnets"]
    assert len(subnets) == 6
    assert {one["AvailabilityZone"] for one in subnets} == {f"us-east-1{letter}" for letter in "abcdef"}
    assert all(one["MapPublicIpOnLaunch"] and one["DefaultForAz"] for one in subnets)
    assert min(one["CidrBlock"] for one in subnets) == "172.31.0.0/20"
    assert {one["AvailableIpAddressCount"] for one in subnets} == {4091}


def test_the_default_vpc_leads_to_the_internet_and_has_names(cloud):
    vpc = cloud.one("DescribeVpcs", "Vpcs")["VpcId"]
    gateway = cloud.one("DescribeInternetGateways", "InternetGateways")
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc}]
    table = cloud.one("DescribeRouteTables", "RouteTables")
    assert [route["DestinationCidrBlock"] for route in table["Routes"]] == ["172.31.0.0/16", "0.0.0.0/0"]
    assert table["Routes"][1]["GatewayId"] == gateway["InternetGatewayId"]
    assert table["Associations"][0]["Main"]
    for attribute, member in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames")):
        assert cloud("DescribeVpcAttribute", VpcId=vpc, Attribute=attribute)[member] == {"Value": True}


def test_the_default_group_lets_its_own_members_in_and_everything_out(cloud):
    group = cloud.one("DescribeSecurityGroups", "SecurityGroups")
    assert group["GroupName"] == "default"
    assert group["IpPermissions"] == [
        {
            "IpProtocol": "-1",
            "IpRanges": [],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [{"GroupId": group["GroupId"], "UserId": "111122223333"}],
        }
    ]
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]


def test_the_default_acl_allows_all_and_every_subnet_uses_it(cloud):
    acl = cloud.one("DescribeNetworkAcls", "NetworkAcls")
    assert acl["IsDefault"]
    assert len(acl["Associations"]) == 6
    assert [(entry["RuleNumber"], entry["RuleAction"], entry["Egress"]) for entry in acl["Entries"]] == [
        (100, "allow", True), (32767, "deny", True), (100, "allow", False), (32767, "deny", False),
    ]  # fmt: skip


def test_regions_are_apart(cloud, other_region):
    vpc = cloud.vpc()
    assert other_region.code("DescribeVpcs", VpcIds=[vpc]) == "InvalidVpcID.NotFound"
    assert other_region.one("DescribeVpcs", "Vpcs")["IsDefault"]


def test_a_deleted_default_vpc_stays_deleted_until_it_is_made_again(cloud):
    vpc = cloud.one("DescribeVpcs", "Vpcs")["VpcId"]
    assert cloud.code("CreateDefaultVpc") == "DefaultVpcAlreadyExists"
    gateway = cloud.one("DescribeInternetGateways", "InternetGateways")["InternetGatewayId"]
    assert cloud.refused("DeleteVpc", VpcId=vpc) == (
        "DependencyViolation",
        f"The vpc '{vpc}' has dependencies and cannot be deleted.",
    )
    for subnet in cloud("DescribeSubnets")["Subnets"]:
        cloud("DeleteSubnet", SubnetId=subnet["SubnetId"])
    cloud("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud("DeleteInternetGateway", InternetGatewayId=gateway)
    cloud("DeleteVpc", VpcId=vpc)
    cloud._prepare_again()
    assert cloud("DescribeVpcs")["Vpcs"] == []
    for empty in ("DescribeSecurityGroups", "DescribeRouteTables", "DescribeNetworkAcls"):
        assert list(cloud(empty).values()) == [[]]
    assert cloud.code("CreateSecurityGroup", GroupName="web", Description="x") == "VPCIdNotSpecified"
    assert cloud.code("CreateDefaultSubnet", AvailabilityZone="us-east-1a") == "DefaultVpcDoesNotExist"
    assert cloud("CreateDefaultVpc")["Vpc"]["IsDefault"]
    assert len(cloud("DescribeSubnets")["Subnets"]) == 6


def test_a_default_subnet_can_be_made_again_in_its_zone(cloud):
    assert cloud.code("CreateDefaultSubnet", AvailabilityZone="us-east-1c") == (
        "DefaultSubnetAlreadyExistsInAvailabilityZone"
    )
    filters = [{"Name": "availability-zone", "Values": ["us-east-1c"]}]
    old = cloud.one("DescribeSubnets", "Subnets", Filters=filters)
    cloud("DeleteSubnet", SubnetId=old["SubnetId"])
    new = cloud("CreateDefaultSubnet", AvailabilityZone="us-east-1c")["Subnet"]
    assert (new["CidrBlock"], new["DefaultForAz"], new["AvailabilityZoneId"]) == (old["CidrBlock"], True, "use1-az3")


def test_regions_and_zones_are_described(cloud):
    regions = cloud("DescribeRegions", RegionNames=["eu-west-1", "ap-northeast-2"])["Regions"]
    assert [one["RegionName"] for one in regions] == ["ap-northeast-2", "eu-west-1"]
    assert regions[1]["Endpoint"] == "ec2.eu-west-1.amazonaws.com"
    assert cloud.code("DescribeRegions", RegionNames=["moon-1"]) == "InvalidParameterValue"
    # AWS: DescribeRegions without AllRegions: those that are enabled for the account, in whatever way.
    enabled, every = (cloud("DescribeRegions", AllRegions=value)["Regions"] for value in (False, True))
    assert enabled == [one for one in every if one["OptInStatus"] != "not-opted-in"]
    assert len(every) > len(enabled) > 10
    zones = cloud("DescribeAvailabilityZones", Filters=[{"Name": "zone-id", "Values": ["use1-az2"]}])
    assert [one["ZoneName"] for one in zones["AvailabilityZones"]] == ["us-east-1b"]
    attributes = cloud("DescribeAccountAttributes", AttributeNames=["default-vpc"])["AccountAttributes"]
    vpc = cloud.one("DescribeVpcs", "Vpcs")["VpcId"]
    assert attributes == [{"AttributeName": "default-vpc", "AttributeValues": [{"AttributeValue": vpc}]}]


@pytest.mark.parametrize(
    ("region", "abbreviation"),
    [
        ("us-gov-east-1", "usge1"),
        ("cn-northwest-1", "cnnw1"),
        ("ap-southeast-5", "apse5"),
        ("mx-central-1", "mxc1"),
        ("us-west-1", "usw1"),
    ],
)
def test_zone_ids_begin_with_the_regions_abbreviation(region, abbreviation):
    """AWS, "Availability Zone IDs for your AWS resources"."""
    assert region_of(region).short == abbreviation
