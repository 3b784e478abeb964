"""Quotas of the network: AWS's defaults, AWS's codes, and nothing half made when they are met."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance, InstanceStatus
from gureum.aws.errors import AwsError
from gureum.base.quotas import Quotas
from gureum.base.settings import Settings

AWS_DEFAULTS = {
    "quota_vpcs": 5,
    "quota_cidrs_per_vpc": 5,
    "quota_subnets_per_vpc": 200,
    "quota_route_tables_per_vpc": 200,
    "quota_internet_gateways": 5,
    "quota_vpn_gateways": 5,
    "quota_customer_gateways": 50,
    "quota_elastic_ips": 5,
    "quota_nat_gateways_per_zone": 5,
    "quota_elastic_ips_per_nat_gateway": 2,
    "quota_network_interfaces": 5000,
    "quota_security_groups": 2500,
    "quota_rules_per_security_group": 60,
    "quota_security_groups_per_interface": 5,
    "quota_rules_per_network_acl": 20,
    "quota_volume_modifications": 4,
}


class Place:
    """What the calls below need, in one VPC."""

    def __init__(self, cloud: Any) -> None:
        self.vpc = cloud.vpc()
        self.other = cloud.vpc("10.9.0.0/16")
        self.subnet = cloud.subnet(self.vpc)
        self.group = cloud.group(self.vpc, "own")
        cloud.gateway(self.vpc)
        self.table = cloud("CreateRouteTable", VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.acl = cloud("CreateNetworkAcl", VpcId=self.vpc)["NetworkAcl"]["NetworkAclId"]
        self.interface = cloud.interface(self.subnet)
        addresses = [cloud("AllocateAddress")["AllocationId"] for _ in range(3)]
        self.first, self.second, self.third = addresses


def permission(port: int) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]


def entry(number: int) -> dict[str, Any]:
    return {"RuleNumber": number, "Protocol": "-1", "RuleAction": "deny", "Egress": False, "CidrBlock": "10.0.0.0/8"}


# Quota, the least value that the things of Place already use up, the call that is one too many, its code.
Row = tuple[str, int, str, Callable[[Place], dict[str, Any]], str]
ROWS: list[Row] = [
    ("quota_vpcs", 3, "CreateVpc", lambda _: {"CidrBlock": "10.1.0.0/16"}, "VpcLimitExceeded"),
    (
        "quota_cidrs_per_vpc",
        1,
        "AssociateVpcCidrBlock",
        lambda one: {"VpcId": one.vpc, "CidrBlock": "10.5.0.0/16"},
        "CidrLimitExceeded",
    ),
    (
        "quota_subnets_per_vpc",
        1,
        "CreateSubnet",
        lambda one: {"VpcId": one.vpc, "CidrBlock": "10.0.2.0/24"},
        "SubnetLimitExceeded",
    ),
    ("quota_route_tables_per_vpc", 2, "CreateRouteTable", lambda one: {"VpcId": one.vpc}, "RouteTableLimitExceeded"),
    (
        "quota_routes_per_table",
        0,
        "CreateRoute",
        lambda one: {
            "RouteTableId": one.table,
            "DestinationCidrBlock": "1.2.3.0/24",
            "NetworkInterfaceId": one.interface,
        },
        "RouteLimitExceeded",
    ),
    ("quota_internet_gateways", 2, "CreateInternetGateway", lambda _: {}, "InternetGatewayLimitExceeded"),
    ("quota_vpn_gateways", 0, "CreateVpnGateway", lambda _: {"Type": "ipsec.1"}, "VpnGatewayLimitExceeded"),
    (
        "quota_customer_gateways",
        0,
        "CreateCustomerGateway",
        lambda _: {"Type": "ipsec.1", "IpAddress": "192.0.2.1"},
        "CustomerGatewayLimitExceeded",
    ),
    ("quota_elastic_ips", 3, "AllocateAddress", lambda _: {}, "AddressLimitExceeded"),
    (
        "quota_nat_gateways_per_zone",
        0,
        "CreateNatGateway",
        lambda one: {"SubnetId": one.subnet, "AllocationId": one.first},
        "NatGatewayLimitExceeded",
    ),
    (
        "quota_elastic_ips_per_nat_gateway",
        2,
        "CreateNatGateway",
        lambda one: {
            "SubnetId": one.subnet,
            "AllocationId": one.first,
            "SecondaryAllocationIds": [one.second, one.third],
        },
        "AddressLimitExceeded",
    ),
    (
        "quota_outstanding_peerings",
        0,
        "CreateVpcPeeringConnection",
        lambda one: {"VpcId": one.vpc, "PeerVpcId": one.other},
        "OutstandingVpcPeeringConnectionLimitExceeded",
    ),
    (
        "quota_network_interfaces",
        1,
        "CreateNetworkInterface",
        lambda one: {"SubnetId": one.subnet},
        "NetworkInterfaceLimitExceeded",
    ),
    (
        "quota_security_groups",
        4,
        "CreateSecurityGroup",
        lambda one: {"VpcId": one.vpc, "GroupName": "further", "Description": "one too many"},
        "SecurityGroupLimitExceeded",
    ),
    (
        "quota_rules_per_security_group",
        1,
        "AuthorizeSecurityGroupEgress",
        lambda one: {"GroupId": one.group, "IpPermissions": permission(80)},
        "RulesPerSecurityGroupLimitExceeded",
    ),
    ("quota_network_acls_per_vpc", 2, "CreateNetworkAcl", lambda one: {"VpcId": one.vpc}, "NetworkAclLimitExceeded"),
    (
        "quota_gateway_endpoints",
        0,
        "CreateVpcEndpoint",
        lambda one: {"VpcId": one.vpc, "ServiceName": "com.amazonaws.us-east-1.s3"},
        "VpcEndpointLimitExceeded",
    ),
    (
        "quota_interface_endpoints_per_vpc",
        0,
        "CreateVpcEndpoint",
        lambda one: {
            "VpcId": one.vpc,
            "VpcEndpointType": "Interface",
            "ServiceName": "com.amazonaws.us-east-1.ec2",
            "PrivateDnsEnabled": False,
        },
        "VpcEndpointLimitExceeded",
    ),
    (
        "quota_prefix_lists",
        0,
        "CreateManagedPrefixList",
        lambda _: {"PrefixListName": "one", "MaxEntries": 5, "AddressFamily": "IPv4"},
        "PrefixListLimitExceeded",
    ),
]


@pytest.mark.parametrize(
    ("quota", "used", "name", "params", "code"), ROWS, ids=lambda row: row if isinstance(row, str) else ""
)
def test_one_more_than_the_quota_is_refused(cloud, quota, used, name, params, code):
    place = Place(cloud)
    cloud.settings = msgspec.structs.replace(cloud.settings, **{quota: used})
    assert cloud.code(name, **params(place)) == code
    cloud.settings = msgspec.structs.replace(cloud.settings, **{quota: used + 1})
    cloud(name, **params(place))


def test_rules_of_acls_and_groups_of_interfaces_are_counted(cloud):
    place = Place(cloud)
    cloud.settings = msgspec.structs.replace(
        cloud.settings, quota_rules_per_network_acl=1, quota_security_groups_per_interface=1
    )
    cloud("CreateNetworkAclEntry", NetworkAclId=place.acl, **entry(1))
    code = cloud.code("CreateNetworkAclEntry", NetworkAclId=place.acl, **entry(2))
    assert code == "NetworkAclEntryLimitExceeded"
    groups = [place.group, cloud.group(place.vpc, "two")]
    code = cloud.code("CreateNetworkInterface", SubnetId=place.subnet, Groups=groups)
    assert code == "SecurityGroupsPerInterfaceLimitExceeded"


def test_defaults_are_those_of_a_new_account():
    settings = Settings()
    assert {name: getattr(settings, name) for name in AWS_DEFAULTS} == AWS_DEFAULTS


def test_every_quota_is_looked_at(cloud):
    """One that is a setting and does nothing would be a lie."""
    tested = {row[0] for row in ROWS} | {"quota_rules_per_network_acl", "quota_security_groups_per_interface"}
    elsewhere = {
        "quota_peerings_per_vpc",
        "quota_entries_per_prefix_list",
        "quota_addresses_per_nat_gateway",
        "quota_on_demand_vcpus",
        "quota_volume_modifications",
        "quota_names_per_certificate",
    }
    assert {field.name for field in msgspec.structs.fields(Quotas)} == tested | elsewhere


def test_vcpus_of_on_demand_instances_are_counted_where_they_have_a_quota(cloud):
    """Two vCPUs each. Of a range as many are launched as may be; Spot Instances have a quota of their own on AWS."""
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_on_demand_vcpus=5)
    launch = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano"}
    made = cloud("RunInstances", **launch, MinCount=1, MaxCount=4)["Instances"]
    assert len(made) == 2
    assert cloud.code("RunInstances", **launch, MinCount=1, MaxCount=1) == "VcpuLimitExceeded"
    cloud("RunInstances", **launch, MinCount=1, MaxCount=1, InstanceMarketOptions={"MarketType": "spot"})
    first = made[0]["InstanceId"]
    cloud("StopInstances", InstanceIds=[first])
    cloud("RunInstances", **launch, MinCount=1, MaxCount=1)
    stopped = cloud.client.get(Instance, cloud.call().scope, first)
    transaction = cloud.client.transaction()
    transaction.update(msgspec.structs.replace(stopped, status=InstanceStatus("stopped")))
    asyncio.run(transaction.commit())
    assert cloud.code("StartInstances", InstanceIds=[first]) == "VcpuLimitExceeded"
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_on_demand_vcpus=0)
    cloud("StartInstances", InstanceIds=[first])


def test_account_attributes_tell_them(cloud):
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_elastic_ips=7)
    names = ["vpc-max-elastic-ips", "vpc-max-security-groups-per-interface"]
    found = cloud("DescribeAccountAttributes", AttributeNames=names)["AccountAttributes"]
    assert {one["AttributeName"]: one["AttributeValues"][0]["AttributeValue"] for one in found} == {
        "vpc-max-elastic-ips": "7",
        "vpc-max-security-groups-per-interface": "5",
    }


numbers = itertools.count()
AT_ONCE = [
    ("quota_vpcs", "CreateVpc", lambda _: {"CidrBlock": "10.8.0.0/16"}, "VpcLimitExceeded"),
    ("quota_internet_gateways", "CreateInternetGateway", lambda _: {}, "InternetGatewayLimitExceeded"),
    ("quota_vpn_gateways", "CreateVpnGateway", lambda _: {"Type": "ipsec.1"}, "VpnGatewayLimitExceeded"),
    ("quota_elastic_ips", "AllocateAddress", lambda _: {}, "AddressLimitExceeded"),
    (
        "quota_nat_gateways_per_zone",
        "CreateNatGateway",
        lambda one: {"SubnetId": one.subnet, "ConnectivityType": "private"},
        "NatGatewayLimitExceeded",
    ),
    ("quota_route_tables_per_vpc", "CreateRouteTable", lambda one: {"VpcId": one.other}, "RouteTableLimitExceeded"),
    ("quota_network_acls_per_vpc", "CreateNetworkAcl", lambda one: {"VpcId": one.other}, "NetworkAclLimitExceeded"),
    (
        "quota_prefix_lists",
        "CreateManagedPrefixList",
        lambda _: {"PrefixListName": "a", "MaxEntries": 1, "AddressFamily": "IPv4"},
        "PrefixListLimitExceeded",
    ),
    (
        "quota_gateway_endpoints",
        "CreateVpcEndpoint",
        lambda one: {"VpcId": one.vpc, "ServiceName": "com.amazonaws.us-east-1.s3"},
        "VpcEndpointLimitExceeded",
    ),
    (
        "quota_network_interfaces",
        "CreateNetworkInterface",
        lambda one: {"SubnetId": one.subnet},
        "NetworkInterfaceLimitExceeded",
    ),
    (
        "quota_security_groups",
        "CreateSecurityGroup",
        lambda one: {"VpcId": one.vpc, "GroupName": f"further-{next(numbers)}", "Description": "one of many"},
        "SecurityGroupLimitExceeded",
    ),
]


@pytest.mark.parametrize(("quota", "name", "params", "code"), AT_ONCE, ids=[row[1] for row in AT_ONCE])
@pytest.mark.usefixtures("slow_commits")
def test_calls_at_once_get_no_more_than_the_quota(cloud, quota, name, params, code):
    place = Place(cloud)

    async def all_at_once(number: int) -> list[str]:
        calls = (cloud.run(name, **params(place)) for _ in range(number))
        found = await asyncio.gather(*calls, return_exceptions=True)
        return [one.code for one in found if isinstance(one, AwsError)]

    cloud.settings = msgspec.structs.replace(cloud.settings, **{quota: 8})
    refused = asyncio.run(all_at_once(12))
    assert set(refused) == {code}
    # What there is now is the quota: with one more there is room for one.
    cloud.settings = msgspec.structs.replace(cloud.settings, **{quota: 9})
    assert asyncio.run(all_at_once(3)) == [code] * 2


@pytest.mark.usefixtures("slow_commits")
def test_far_from_the_quota_calls_at_once_do_not_wait_for_each_other(cloud):
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_elastic_ips=200)

    async def all_at_once():
        await asyncio.gather(*(cloud.run("AllocateAddress") for _ in range(60)))

    asyncio.run(all_at_once())  # each is tried 20 times at most
    assert len(cloud("DescribeAddresses")["Addresses"]) == 60


LAUNCH = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}


def all_at_once(cloud: Any, number: int, name: str, **params: Any) -> list[str]:
    """The codes of those that are refused."""

    async def run() -> list[Any]:
        return await asyncio.gather(*(cloud.run(name, **params) for _ in range(number)), return_exceptions=True)

    return [getattr(one, "code", repr(one)) for one in asyncio.run(run()) if isinstance(one, BaseException)]


@pytest.mark.usefixtures("slow_commits")
def test_launches_at_once_get_no_more_vcpus_than_the_quota(cloud):
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_on_demand_vcpus=6)
    assert all_at_once(cloud, 5, "RunInstances", **LAUNCH) == ["VcpuLimitExceeded"] * 2


@pytest.mark.usefixtures("slow_commits")
def test_launches_at_once_keep_to_what_a_spread_placement_group_holds(cloud):
    cloud("CreatePlacementGroup", GroupName="apart", Strategy="spread")
    place = {"GroupName": "apart", "AvailabilityZone": "us-east-1a"}
    refused = all_at_once(cloud, 10, "RunInstances", **LAUNCH, Placement=place)
    assert refused == ["InsufficientInstanceCapacity"] * 3


def test_interfaces_of_one_launch_are_counted_together(cloud):
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_network_interfaces=3)
    assert cloud.code("RunInstances", **LAUNCH | {"MinCount": 4, "MaxCount": 4}) == "NetworkInterfaceLimitExceeded"
    cloud("RunInstances", **LAUNCH | {"MinCount": 3, "MaxCount": 3})
