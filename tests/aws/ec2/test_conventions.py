"""What all operations of EC2 have in common, asked of each that is built: filters, pages, dry runs, tags on create, client tokens."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from gureum.engine.registry import Registry

_registry = Registry()
_registry.scan("gureum.aws.ec2")
_model = botocore.session.get_session().get_service_model("ec2")
OPERATIONS = sorted(name.partition(":")[2] for name in _registry.marks("operation"))
RETIRED = {"DescribeVpcClassicLink", "DescribeVpcClassicLinkDnsSupport"}
SUBNET, VPC = "$subnet", "$vpc"
NEEDED: dict[str, dict[str, Any]] = {
    "DescribeLaunchTemplateVersions": {"Versions": ["$Latest"]},
    "GetSecurityGroupsForVpc": {"VpcId": VPC},
    "GetSubnetCidrReservations": {"SubnetId": SUBNET},
    "DescribeStaleSecurityGroups": {"VpcId": VPC},
}
"""Parameters without which a reading operation does not answer."""

CREATING: dict[str, tuple[dict[str, Any], str, str]] = {
    "AllocateAddress": ({}, "elastic-ip", "AllocationId"),
    "CreateDhcpOptions": (
        {"DhcpConfigurations": [{"Key": "domain-name", "Values": ["a.example"]}]},
        "dhcp-options",
        "DhcpOptions.DhcpOptionsId",
    ),
    "CreateNetworkInsightsPath": (
        {"Source": "$near", "Destination": "$far", "Protocol": "tcp", "ClientToken": "tags"},
        "network-insights-path",
        "NetworkInsightsPath.NetworkInsightsPathId",
    ),
    "CreateVpnGateway": ({"Type": "ipsec.1"}, "vpn-gateway", "VpnGateway.VpnGatewayId"),
    "CreateCustomerGateway": (
        {"Type": "ipsec.1", "IpAddress": "192.0.2.1"},
        "customer-gateway",
        "CustomerGateway.CustomerGatewayId",
    ),
    "CreateInternetGateway": ({}, "internet-gateway", "InternetGateway.InternetGatewayId"),
    "CreateManagedPrefixList": (
        {"PrefixListName": "one", "MaxEntries": 5, "AddressFamily": "IPv4"},
        "prefix-list",
        "PrefixList.PrefixListId",
    ),
    "CreateNatGateway": (
        {"SubnetId": SUBNET, "ConnectivityType": "private"},
        "natgateway",
        "NatGateway.NatGatewayId",
    ),
    "CreateNetworkAcl": ({"VpcId": VPC}, "network-acl", "NetworkAcl.NetworkAclId"),
    "CreateNetworkInterface": (
        {"SubnetId": SUBNET},
        "network-interface",
        "NetworkInterface.NetworkInterfaceId",
    ),
    "CreateRouteTable": ({"VpcId": VPC}, "route-table", "RouteTable.RouteTableId"),
    "CreateSecurityGroup": (
        {"VpcId": VPC, "GroupName": "a", "Description": "a"},
        "security-group",
        "GroupId",
    ),
    "CreateSubnet": ({"VpcId": VPC, "CidrBlock": "10.0.2.0/24"}, "subnet", "Subnet.SubnetId"),
    "CreateSubnetCidrReservation": (
        {"SubnetId": SUBNET, "Cidr": "10.0.1.64/28", "ReservationType": "explicit"},
        "subnet-cidr-reservation",
        "SubnetCidrReservation.SubnetCidrReservationId",
    ),
    "CreateVpc": ({"CidrBlock": "10.8.0.0/16"}, "vpc", "Vpc.VpcId"),
    "CreateVpcBlockPublicAccessExclusion": (
        {"VpcId": VPC, "InternetGatewayExclusionMode": "allow-egress"},
        "vpc-block-public-access-exclusion",
        "VpcBlockPublicAccessExclusion.ExclusionId",
    ),
    "CreateVpcEndpoint": (
        {"VpcId": VPC, "ServiceName": "com.amazonaws.us-east-1.s3"},
        "vpc-endpoint",
        "VpcEndpoint.VpcEndpointId",
    ),
    "CreateVpcPeeringConnection": (
        {"VpcId": VPC, "PeerVpcId": "$other"},
        "vpc-peering-connection",
        "VpcPeeringConnection.VpcPeeringConnectionId",
    ),
}
"""Operations of the network that make something: parameters, the type in tags, and where the id stands in the result."""


def members(name: str) -> set[str]:
    shape = _model.operation_model(name).input_shape
    return set(shape.members) if shape is not None else set()


def needs_no_more(name: str) -> bool:
    shape = _model.operation_model(name).input_shape
    return shape is not None and set(shape.required_members) <= NEEDED.get(name, {}).keys()


def reading(*wanted: str) -> list[str]:
    """Built operations that only read, and take one of these parameters."""
    found = [one for one in OPERATIONS if one.startswith(("Describe", "Get", "List")) and needs_no_more(one)]
    return [one for one in found if one not in RETIRED and members(one) & set(wanted)]


@pytest.fixture(scope="module")
def place(new_cloud_type):
    """A cloud with a VPC, and the values for "$vpc" and the like."""
    cloud = new_cloud_type()
    vpc = cloud.vpc()
    yield cloud, ends(cloud, vpc) | {"$other": cloud.vpc("10.9.0.0/16")}
    cloud.lowering.close()
    cloud.client.close()


def ends(cloud, vpc: str) -> dict[str, str]:
    subnet = cloud.subnet(vpc)
    return {VPC: vpc, SUBNET: subnet, "$near": cloud.interface(subnet), "$far": cloud.interface(subnet)}


def filled(params: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    return {name: values.get(value, value) if isinstance(value, str) else value for name, value in params.items()}


@pytest.mark.parametrize("name", reading("Filters", "Filter"))
def test_an_unknown_filter_is_refused(place, name):
    cloud, values = place
    member = "Filters" if "Filters" in members(name) else "Filter"
    params = filled(NEEDED.get(name, {}), values)
    code, text = cloud.refused(name, **params, **{member: [{"Name": "no-such", "Values": ["x"]}]})
    assert (code, text) == ("InvalidParameterValue", "The filter 'no-such' is invalid")


@pytest.mark.parametrize("name", reading("NextToken"))
def test_a_token_that_nobody_gave_is_refused(place, name):
    cloud, values = place
    code = cloud.code(name, **filled(NEEDED.get(name, {}), values), NextToken="bad!")
    assert code in ("InvalidParameterValue", "InvalidNextToken", "InvalidPaginationToken")


CAPPED = {
    "DescribeVpcEndpoints",
    "DescribeVpcEndpointConnections",
    "DescribeVpcEndpointServices",
    "DescribeVpcEndpointServiceConfigurations",
    "DescribeVpcEndpointServicePermissions",
}
"""AWS, their parameter MaxResults: of more than 1,000 only 1,000 are returned."""


@pytest.mark.parametrize("name", reading("MaxResults"))
def test_pages_have_a_size_that_may_be(place, name):
    cloud, values = place
    params = filled(NEEDED.get(name, {}), values)
    if name in CAPPED:
        cloud(name, **params, MaxResults=100_000)
    else:
        assert cloud.code(name, **params, MaxResults=100_000) == "InvalidParameterValue"
    cloud(name, **params, MaxResults=100)
    least = _model.operation_model(name).input_shape.members["MaxResults"].metadata.get("min", 5)
    cloud(name, **params, MaxResults=least)


@pytest.mark.parametrize("name", [one for one in reading("DryRun") if "Filters" in members(one)])
def test_a_dry_run_of_reading_says_that_it_would_succeed(place, name):
    cloud, values = place
    assert cloud.code(name, **filled(NEEDED.get(name, {}), values), DryRun=True) == "DryRunOperation"


@pytest.mark.parametrize(
    ("name", "things"),
    [
        ("DescribeVpcs", 7),
        ("DescribeSecurityGroups", 7),
        ("DescribeRouteTables", 7),
        ("DescribeNetworkAcls", 7),
        ("DescribeSecurityGroupRules", 7),
    ],
)
def test_pages_follow_each_other_and_tell_all_once(cloud, name, things):
    for number in range(things):
        cloud.vpc(f"10.{number}.0.0/16")
    (member,) = (one for one in _model.operation_model(name).output_shape.members if one != "NextToken")
    whole, pages, token = cloud(name, MaxResults=1000)[member], [], None
    while token is not None or not pages:
        found = cloud(name, MaxResults=5, **({"NextToken": token} if token else {}))
        pages.append(found[member])
        token = found.get("NextToken")
    assert len(whole) > things
    assert [len(one) for one in pages[:-1]] == [5] * (len(pages) - 1)
    assert [one for found in pages for one in found] == whole


def found_id(result: dict[str, Any], path: str) -> str:
    value: Any = result
    for step in path.split("."):
        value = value[step]
    return str(value)


@pytest.mark.parametrize("name", CREATING)
def test_tags_come_with_what_is_made(place, name):
    cloud, values = place
    params, type_, path = CREATING[name]
    params = filled(params, values)
    wrong = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
    assert cloud.code(name, **params, TagSpecifications=wrong) == "InvalidParameterValue"
    tags = [{"ResourceType": type_, "Tags": [{"Key": "Name", "Value": name}]}]
    assert cloud.code(name, **params, TagSpecifications=tags, DryRun=True) == "DryRunOperation"
    made = found_id(cloud(name, **params, TagSpecifications=tags), path)
    rows = cloud("DescribeTags", Filters=[{"Name": "resource-id", "Values": [made]}])["Tags"]
    assert rows == [{"ResourceId": made, "ResourceType": type_, "Key": "Name", "Value": name}]


def test_all_that_take_tags_are_tested():
    taking = {name for name in OPERATIONS if "TagSpecifications" in members(name)}
    assert {one for one in taking if "Network" in one or "Vpc" in one or "Subnet" in one} <= CREATING.keys() | {
        "StartNetworkInsightsAnalysis",
        "CreateVpcEndpointServiceConfiguration",  # needs a load balancer: tests/wire/operations/endpoint_services.txt
    }
    assert CREATING.keys() <= taking


@pytest.mark.parametrize("name", [one for one in CREATING if "ClientToken" in members(one)])
def test_a_client_token_makes_one_thing(cloud, name):
    vpc = cloud.vpc()
    values = ends(cloud, vpc)
    params, type_, path = CREATING[name]
    params = filled(params, values) | {"ClientToken": "once"}
    first = cloud(name, **params)
    revision = cloud.client.store.revision
    again = cloud(name, **params)
    assert found_id(again, path) == found_id(first, path)
    told = {"once"} if "ClientToken" in _model.operation_model(name).output_shape.members else {None}
    assert {one.get("ClientToken") for one in (first, again)} == told
    assert cloud.client.store.revision == revision
    tags = [{"ResourceType": type_, "Tags": [{"Key": "Name", "Value": "other"}]}]
    assert cloud.code(name, **params, TagSpecifications=tags) == "IdempotentParameterMismatch"


def test_a_call_has_at_most_50_filters_of_200_values(cloud):
    """AWS: "You can specify up to 50 filters and up to 200 values per filter in a single request"."""
    one = {"Name": "vpc-id", "Values": ["*"]}
    assert cloud("DescribeVpcs", Filters=[one] * 50)["Vpcs"]
    assert cloud.code("DescribeVpcs", Filters=[one] * 51) == "FilterLimitExceeded"
    assert cloud.code("DescribeVpcs", Filters=[{**one, "Values": ["*"] * 201}]) == "FilterLimitExceeded"
