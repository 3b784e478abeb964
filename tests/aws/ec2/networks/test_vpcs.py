"""VPCs. Expected errors: docs.aws.amazon.com/ec2/latest/devguide/ec2-api-errors.html."""

from __future__ import annotations

import pytest


def test_a_new_vpc_comes_with_group_table_and_acl(cloud):
    vpc = cloud("CreateVpc", CidrBlock="10.0.0.0/16", InstanceTenancy="dedicated")["Vpc"]
    assert (vpc["State"], vpc["IsDefault"], vpc["InstanceTenancy"]) == ("pending", False, "dedicated")
    here = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    group = cloud.one(
        "DescribeSecurityGroups", "SecurityGroups", Filters=[*here, {"Name": "group-name", "Values": ["default"]}]
    )
    assert group["Description"] == "default VPC security group"
    table = cloud.one(
        "DescribeRouteTables", "RouteTables", Filters=[*here, {"Name": "association.main", "Values": ["true"]}]
    )
    assert [route["GatewayId"] for route in table["Routes"]] == ["local"]
    acl = cloud.one("DescribeNetworkAcls", "NetworkAcls", Filters=[*here, {"Name": "default", "Values": ["true"]}])
    assert acl["Associations"] == []
    assert cloud.one("DescribeVpcs", "Vpcs", VpcIds=[vpc["VpcId"]])["State"] == "available"


def test_a_second_vpc_with_the_same_cidr_is_allowed(cloud):
    assert cloud.vpc("10.0.0.0/16") != cloud.vpc("10.0.0.0/16")


@pytest.mark.parametrize(
    "cidr", ["10.0.0.0/15", "10.0.0.0/29", "0.0.0.0/16", "127.0.0.0/16", "224.0.0.0/16", "169.254.0.0/16"]
)
def test_cidrs_that_no_vpc_may_have(cloud, cidr):
    assert cloud.refused("CreateVpc", CidrBlock=cidr) == ("InvalidVpc.Range", f"The CIDR '{cidr}' is invalid.")


@pytest.mark.parametrize(
    "cidr", ["10.0.0.0", "10.0.0/16", "x/16", "10.0.0.0/ 16", "10.0.0.0/33", "10.0.0.0/255.255.0.0", "::/16"]
)
def test_what_is_no_cidr(cloud, cidr):
    assert cloud.code("CreateVpc", CidrBlock=cidr) == "InvalidParameterValue"


def test_the_cidr_is_made_canonical(cloud):
    assert cloud("CreateVpc", CidrBlock="100.68.0.18/18")["Vpc"]["CidrBlock"] == "100.68.0.0/18"


def test_ids_are_refused_as_aws_does(cloud):
    missing = "vpc-0123456789abcdef0"
    assert cloud.refused("DeleteVpc", VpcId=missing) == (
        "InvalidVpcID.NotFound",
        f"The vpc ID '{missing}' does not exist",
    )
    for bad in ("vpc-xyz", "subnet-0123456789abcdef0", "vpc-", "", "vpc-0123456789ABCDEF0"):
        assert cloud.code("DescribeVpcs", VpcIds=[bad]) == "InvalidVpcID.Malformed"
    two = ["vpc-11111111", "vpc-22222222"]
    assert cloud.refused("DescribeVpcs", VpcIds=two)[1] == "The vpc IDs 'vpc-11111111, vpc-22222222' do not exist"
    assert cloud.code("DeleteVpc") == "MissingParameter"


def test_a_vpc_goes_only_when_it_is_empty(cloud):
    vpc = cloud.vpc()
    group = cloud.group(vpc)
    table = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    subnet = cloud.subnet(vpc)
    gateway = cloud.gateway(vpc)
    for remove in (
        lambda: cloud("DeleteSecurityGroup", GroupId=group),
        lambda: cloud("DeleteRouteTable", RouteTableId=table),
        lambda: cloud("DeleteSubnet", SubnetId=subnet),
        lambda: cloud("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc),
    ):
        assert cloud.code("DeleteVpc", VpcId=vpc) == "DependencyViolation"
        remove()
    cloud("DeleteVpc", VpcId=vpc)
    assert cloud.code("DescribeVpcs", VpcIds=[vpc]) == "InvalidVpcID.NotFound"
    for left in ("DescribeSecurityGroups", "DescribeRouteTables", "DescribeNetworkAcls"):
        assert list(cloud(left, Filters=[{"Name": "vpc-id", "Values": [vpc]}]).values()) == [[]]


def test_dns_attributes(cloud):
    vpc = cloud.vpc()

    def value(attribute: str, member: str) -> bool:
        return cloud("DescribeVpcAttribute", VpcId=vpc, Attribute=attribute)[member]["Value"]

    assert value("enableDnsSupport", "EnableDnsSupport")
    assert not value("enableDnsHostnames", "EnableDnsHostnames")
    cloud("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert value("enableDnsHostnames", "EnableDnsHostnames")
    cloud("ModifyVpcAttribute", VpcId=vpc, EnableNetworkAddressUsageMetrics={"Value": True})
    assert value("enableNetworkAddressUsageMetrics", "EnableNetworkAddressUsageMetrics")
    both = {"EnableDnsHostnames": {"Value": True}, "EnableDnsSupport": {"Value": True}}
    assert cloud.code("ModifyVpcAttribute", VpcId=vpc, **both) == "InvalidParameterCombination"
    assert cloud.code("ModifyVpcAttribute", VpcId=vpc) == "MissingParameter"
    assert cloud.code("DescribeVpcAttribute", VpcId=vpc, Attribute="colour") == "InvalidParameterValue"


def test_a_further_cidr_takes_subnets_and_goes_when_it_has_none(cloud):
    vpc = cloud.vpc("10.0.0.0/16")
    assert cloud.code("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.0.128.0/20") == "InvalidParameterValue"
    more = cloud("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.1.0.0/16")["CidrBlockAssociation"]["AssociationId"]
    subnet = cloud.subnet(vpc, "10.1.3.0/24")
    assert cloud.code("DisassociateVpcCidrBlock", AssociationId=more) == "DependencyViolation"
    cloud("DeleteSubnet", SubnetId=subnet)
    cloud("DisassociateVpcCidrBlock", AssociationId=more)
    shown = cloud.one("DescribeVpcs", "Vpcs", VpcIds=[vpc])["CidrBlockAssociationSet"]
    assert [one["CidrBlock"] for one in shown] == ["10.0.0.0/16"]
    assert cloud.code("DisassociateVpcCidrBlock", AssociationId=shown[0]["AssociationId"]) == "OperationNotPermitted"
    assert cloud.code("DisassociateVpcCidrBlock", AssociationId=more) == "InvalidVpcCidrBlockAssociationID.NotFound"


@pytest.mark.parametrize(
    ("first", "allowed", "restricted"),
    [
        ("10.9.0.0/16", ["10.0.0.0/16", "100.64.0.0/16"], ["172.16.0.0/16", "192.168.0.0/24", "198.19.0.0/16"]),
        ("10.1.0.0/16", ["10.2.0.0/16"], ["10.0.128.0/20"]),
        ("172.20.0.0/16", ["172.21.0.0/16", "8.8.0.0/16"], ["10.0.0.0/16", "172.31.0.0/20"]),
        ("192.168.0.0/24", ["192.168.1.0/24"], ["172.16.0.0/16", "10.0.0.0/16"]),
        ("198.19.0.0/24", ["198.19.1.0/24", "100.64.0.0/16"], ["10.0.0.0/16"]),
        ("100.64.0.0/16", ["8.8.0.0/16"], ["10.0.0.0/16", "198.19.0.0/16"]),
    ],
)
def test_the_first_range_restricts_further_ones(cloud, first, allowed, restricted):
    """AWS: "IPv4 CIDR block association restrictions" (VPC user guide)."""
    vpc = cloud.vpc(first)
    for cidr in restricted:
        code, text = cloud.refused("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=cidr)
        assert code == "InvalidVpc.Range"
        assert text.startswith(f"The CIDR '{cidr}' is restricted.")
    for cidr in allowed:
        cloud("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock=cidr)


def test_a_dry_run_changes_nothing_and_says_it_would_have_worked(cloud):
    assert cloud.code("CreateVpc", CidrBlock="10.0.0.0/16", DryRun=True) == "DryRunOperation"
    assert cloud.code("DescribeVpcs", DryRun=True) == "DryRunOperation"
    assert cloud.code("CreateVpc", CidrBlock="10.0.0.0/1", DryRun=True) == "InvalidVpc.Range"


def test_pages_follow_each_other(cloud):
    made = {cloud.vpc() for _ in range(11)}
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = cloud("DescribeVpcs", MaxResults=5, **token)
        seen += [vpc["VpcId"] for vpc in answer["Vpcs"]]
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert len(seen) == len(set(seen)) == 12
    assert made < set(seen)
    assert cloud.code("DescribeVpcs", MaxResults=4) == "InvalidParameterValue"
    assert cloud.code("DescribeVpcs", NextToken="nonsense") == "InvalidParameterValue"
    assert cloud.code("DescribeVpcs", MaxResults=5, VpcIds=[seen[0]]) == "InvalidParameterCombination"


def test_every_filter_finds_what_is_shown(cloud):
    cloud.vpc("10.5.0.0/16")
    found = cloud.one("DescribeVpcs", "Vpcs", Filters=[{"Name": "is-default", "Values": ["false"]}])
    block = found["CidrBlockAssociationSet"][0]
    for name, value in {
        "cidr": "10.5.0.0/16",
        "cidr-block": "10.5.0.0/16",
        "cidr-block-association.cidr-block": "10.5.*",
        "cidr-block-association.association-id": block["AssociationId"],
        "vpc-id": found["VpcId"],
    }.items():
        assert cloud.one("DescribeVpcs", "Vpcs", Filters=[{"Name": name, "Values": [value]}]) == found, name
    everything = {
        "cidr-block-association.state": "associated",
        "dhcp-options-id": found["DhcpOptionsId"],
        "owner-id": "111122223333",
        "state": "available",
    }
    for name, value in everything.items():
        assert len(cloud("DescribeVpcs", Filters=[{"Name": name, "Values": [value]}])["Vpcs"]) == 2, name
    assert cloud.refused("DescribeVpcs", Filters=[{"Name": "colour", "Values": ["x"]}]) == (
        "InvalidParameterValue",
        "The filter 'colour' is invalid",
    )


def test_what_is_not_built_says_so(cloud):
    assert cloud.code("CreateVpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True) == "NotImplemented"
    assert cloud.code("DescribeVpcClassicLink") == "UnsupportedOperation"


def test_words_that_are_none_of_an_enumeration_are_refused(cloud):
    wrong = {"CidrBlock": "10.0.0.0/16", "InstanceTenancy": "lodger"}
    assert cloud.code("CreateVpc", **wrong) == "InvalidParameterValue"
    subnet = cloud.subnet(cloud.vpc())
    name = {"SubnetId": subnet, "PrivateDnsHostnameTypeOnLaunch": "nickname"}
    assert cloud.code("ModifySubnetAttribute", **name) == "InvalidParameterValue"


def test_answers_of_making_and_growing_are_as_recorded(cloud):
    """As in github.com/localstack/localstack (snapshots) and getmoto/moto (tests that were run against AWS)."""
    made = cloud("CreateVpc", CidrBlock="10.10.0.0/24")["Vpc"]
    assert made["Ipv6CidrBlockAssociationSet"] == []
    assert "BlockPublicAccessStates" not in made
    for third in range(1, 5):
        cloud("AssociateVpcCidrBlock", VpcId=made["VpcId"], CidrBlock=f"10.10.{third}.0/24")
    assert cloud.refused("AssociateVpcCidrBlock", VpcId=made["VpcId"], CidrBlock="10.10.5.0/24") == (
        "CidrLimitExceeded",
        f"This network {made['VpcId']} has met its maximum number of allowed CIDRs: 5",
    )
