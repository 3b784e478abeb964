"""EC2's network half with boto3: the order in which people build a VPC, waiters, paginators, resources, errors on the wire."""

from __future__ import annotations

import itertools
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

accounts = itertools.count(100000000000)


@pytest.fixture
def session(endpoint):
    """A session of an account of its own."""
    return boto3.Session(str(next(accounts)), "secret", region_name="us-east-1")


@pytest.fixture
def ec2(endpoint, session) -> Any:
    return session.client("ec2", endpoint_url=endpoint.url, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def resource(endpoint, session) -> Any:
    return session.resource("ec2", endpoint_url=endpoint.url)


def code(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"]


def test_a_vpc_from_nothing_to_nothing(ec2):
    vpc = ec2.create_vpc(
        CidrBlock="10.0.0.0/16", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "a"}]}]
    )["Vpc"]
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc["VpcId"]])
    ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.1.0/24")["Subnet"]
    ec2.get_waiter("subnet_available").wait(SubnetIds=[subnet["SubnetId"]])
    ec2.modify_subnet_attribute(SubnetId=subnet["SubnetId"], MapPublicIpOnLaunch={"Value": True})
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc["VpcId"])
    table = ec2.create_route_table(VpcId=vpc["VpcId"])["RouteTable"]["RouteTableId"]
    assert ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)["Return"] is True
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet["SubnetId"])["AssociationId"]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc["VpcId"])["GroupId"]
    rule = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    )["SecurityGroupRules"][0]
    assert (rule["CidrIpv4"], rule["FromPort"], rule["IsEgress"]) == ("0.0.0.0/0", 80, False)
    eni = ec2.create_network_interface(SubnetId=subnet["SubnetId"], Groups=[group])["NetworkInterface"]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni["NetworkInterfaceId"]])
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=eni["NetworkInterfaceId"])
    found = ec2.describe_network_interfaces(
        Filters=[{"Name": "association.public-ip", "Values": [address["PublicIp"]]}]
    )
    assert found["NetworkInterfaces"][0]["Association"]["PublicDnsName"].startswith("ec2-198-18-")
    shown = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet["SubnetId"]]}])
    assert [one["State"] for one in shown["RouteTables"][0]["Routes"]] == ["active", "active"]

    assert code(ec2.delete_vpc, VpcId=vpc["VpcId"]) == "DependencyViolation"
    assert code(ec2.detach_internet_gateway, InternetGatewayId=gateway, VpcId=vpc["VpcId"]) == "DependencyViolation"
    ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"])
    ec2.release_address(AllocationId=address["AllocationId"])
    ec2.disassociate_route_table(AssociationId=association)
    ec2.delete_route_table(RouteTableId=table)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc["VpcId"])
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    ec2.delete_security_group(GroupId=group)
    ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert code(ec2.describe_vpcs, VpcIds=[vpc["VpcId"]]) == "InvalidVpcID.NotFound"


def test_boto3_resources_work(resource):
    vpc = resource.create_vpc(CidrBlock="10.0.0.0/16")
    vpc.wait_until_available()
    subnet = vpc.create_subnet(CidrBlock="10.0.0.0/24")
    group = vpc.create_security_group(GroupName="g", Description="d")
    group.authorize_ingress(IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8")
    assert group.ip_permissions[0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]
    vpc.create_tags(Tags=[{"Key": "k", "Value": "v"}])
    vpc.reload()
    assert vpc.tags == [{"Key": "k", "Value": "v"}]
    assert [one.id for one in vpc.subnets.all()] == [subnet.id]
    assert {one.group_name for one in vpc.security_groups.all()} == {"default", "g"}
    assert vpc.describe_attribute(Attribute="enableDnsSupport")["EnableDnsSupport"] == {"Value": True}
    assert not vpc.is_default


def test_paginators_see_everything(ec2):
    made = {ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"] for _ in range(12)}
    pages = list(ec2.get_paginator("describe_vpcs").paginate(PaginationConfig={"PageSize": 5}))
    assert len(pages) == 3
    assert made < {vpc["VpcId"] for page in pages for vpc in page["Vpcs"]}


def test_errors_have_ec2s_form(ec2):
    with pytest.raises(ClientError) as caught:
        ec2.delete_subnet(SubnetId="subnet-0123456789abcdef0")
    response = caught.value.response
    assert response["Error"] == {
        "Code": "InvalidSubnetID.NotFound",
        "Message": "The subnet ID 'subnet-0123456789abcdef0' does not exist",
    }
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RequestId"]
    assert code(ec2.create_vpc, CidrBlock="10.0.0.0/16", DryRun=True) == "DryRunOperation"


def test_accounts_are_apart(endpoint, ec2):
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    other = boto3.client(
        "ec2",
        endpoint_url=endpoint.url,
        region_name="us-east-1",
        aws_access_key_id="999900001111",
        aws_secret_access_key="x",
    )
    assert code(other.describe_vpcs, VpcIds=[vpc]) == "InvalidVpcID.NotFound"
    assert other.describe_vpcs()["Vpcs"][0]["OwnerId"] == "999900001111"


def test_every_describe_of_the_network_answers_in_a_fresh_account(ec2):
    for name, member in {
        "describe_account_attributes": "AccountAttributes",
        "describe_addresses": "Addresses",
        "describe_addresses_attribute": "Addresses",
        "describe_availability_zones": "AvailabilityZones",
        "describe_dhcp_options": "DhcpOptions",
        "describe_internet_gateways": "InternetGateways",
        "describe_managed_prefix_lists": "PrefixLists",
        "describe_network_acls": "NetworkAcls",
        "describe_network_interfaces": "NetworkInterfaces",
        "describe_prefix_lists": "PrefixLists",
        "describe_regions": "Regions",
        "describe_route_tables": "RouteTables",
        "describe_security_group_rules": "SecurityGroupRules",
        "describe_security_groups": "SecurityGroups",
        "describe_subnets": "Subnets",
        "describe_tags": "Tags",
        "describe_vpcs": "Vpcs",
    }.items():
        params = {"Attribute": "domain-name"} if name == "describe_addresses_attribute" else {}
        assert isinstance(getattr(ec2, name)(**params)[member], list), name


def test_network_acls_with_boto3_resources(ec2, resource):
    vpc = resource.create_vpc(CidrBlock="10.0.0.0/16")
    subnet = vpc.create_subnet(CidrBlock="10.0.0.0/24")
    (default,) = vpc.network_acls.all()
    assert default.is_default
    acl = vpc.create_network_acl()
    acl.create_entry(
        RuleNumber=100,
        Protocol="6",
        RuleAction="allow",
        Egress=False,
        CidrBlock="10.0.0.0/8",
        PortRange={"From": 80, "To": 81},
    )
    acl.create_entry(
        RuleNumber=110,
        Protocol="1",
        RuleAction="deny",
        Egress=False,
        CidrBlock="0.0.0.0/0",
        IcmpTypeCode={"Type": 8, "Code": -1},
    )
    acl.reload()
    assert [entry for entry in acl.entries if entry["RuleNumber"] != 32767] == [
        {
            "CidrBlock": "10.0.0.0/8",
            "Egress": False,
            "PortRange": {"From": 80, "To": 81},
            "Protocol": "6",
            "RuleAction": "allow",
            "RuleNumber": 100,
        },
        {
            "CidrBlock": "0.0.0.0/0",
            "Egress": False,
            "IcmpTypeCode": {"Code": -1, "Type": 8},
            "Protocol": "1",
            "RuleAction": "deny",
            "RuleNumber": 110,
        },
    ]
    acl.replace_entry(RuleNumber=110, Protocol="-1", RuleAction="deny", Egress=False, CidrBlock="192.0.2.0/24")
    default.reload()
    (link,) = default.associations
    moved = acl.replace_association(AssociationId=link["NetworkAclAssociationId"])["NewAssociationId"]
    found = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet.id]}])
    assert [one["NetworkAclId"] for one in found["NetworkAcls"]] == [acl.id]
    assert code(ec2.delete_network_acl, NetworkAclId=acl.id) == "DependencyViolation"
    assert code(ec2.delete_network_acl, NetworkAclId=default.id) == "InvalidParameterValue"
    entry = {"NetworkAclId": acl.id, "RuleNumber": 110, "Egress": False}
    acl.delete_entry(RuleNumber=110, Egress=False)
    assert code(ec2.delete_network_acl_entry, **entry) == "InvalidNetworkAclEntry.NotFound"
    assert code(ec2.describe_network_acls, NetworkAclIds=["acl-0123456789abcdef0"]) == "InvalidNetworkAclID.NotFound"
    ec2.replace_network_acl_association(AssociationId=moved, NetworkAclId=default.id)
    acl.delete()
    subnet.delete()
    vpc.delete()
