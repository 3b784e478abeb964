"""Bad input to the network operations: always an AWS error or a result of the model's shape, never another exception, and what is stored
stays consistent: addresses and claims match, associations stand on both sides."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.ec2.interfaces.addresses import address_space
from gureum.aws.ec2.networks.kinds import (
    Address,
    NetworkAcl,
    NetworkInterface,
    RouteTable,
    SecurityGroup,
    Subnet,
    Vpc,
)
from gureum.aws.errors import AwsError

MODEL = botocore.session.get_session().get_service_model("ec2")
FOLDERS = (
    "addresses", "defaults", "dhcp_options", "interface_attributes", "interfaces", "internet_gateways", "network_acl_entries",
    "network_acls", "prefix_lists", "regions", "route_tables", "security_group_rules", "security_groups", "subnets", "tags", "vpcs",
)  # fmt: skip
WORDS = [
    "", "0", "-1", "x" * 300, "10.0.0.0/16", "10.0.1.0/24", "10.0.0.0/99", "0.0.0.0/0", "::/0", "10.0.1.10", "10.0.1.4", "999.1.1.1", "tcp",
    "udp", "icmp", "icmpv6", "50", "9" * 5000, "default", "web", "us-east-1a", "use1-az1", "us-east-1", "true", "vpc", "network-interface",
    "sg-", "vpc-0123456789abcdef0", "igw-0123456789abcdef0", "pl-12345678", "i-0123456789abcdef0", "eni-attach-0123456789abcdef0", "*", "\\", "?",
    "tag:a", "tag-key", "vpc-id", "é", "\u0000", "🦀", "enableDnsSupport", "resource-name", "198.18.16.9", "-",
]  # fmt: skip


# What a member is usually given; one draw in five is any other word.
USUAL = {
    "CidrBlock": ["10.0.0.0/16", "10.0.1.0/24", "10.0.2.0/24", "10.1.0.0/16", "10.0.3.0/28"],
    "DestinationCidrBlock": ["0.0.0.0/0", "10.0.0.0/16", "9.0.0.0/8"],
    "CidrIp": ["0.0.0.0/0", "10.0.0.0/8"],
    "CidrIpv4": ["0.0.0.0/0", "10.0.0.0/8"],
    "CidrIpv6": ["::/0"],
    "Protocol": ["-1", "6", "17", "1", "50"],
    "RuleAction": ["allow", "deny"],
    "IpProtocol": ["tcp", "udp", "icmp", "-1", "50"],
    "PrivateIpAddress": ["10.0.1.10", "10.0.1.11", "10.0.1.20", "10.0.1.21"],
    "GroupName": ["web", "db", "default"],
    "Description": ["words"],
    "AvailabilityZone": ["us-east-1a", "us-east-1b"],
    "Domain": ["vpc"],
    "ResourceType": ["vpc", "subnet", "network-interface", "security-group", "elastic-ip"],
    "Key": ["a", "b"],
    "Value": ["x"],
    "Name": ["vpc-id", "tag:a", "tag-key", "state", "owner-id", "group-id", "subnet-id"],
}
PREFIXES = {
    "VpcId": "vpc-", "SubnetId": "subnet-", "RouteTableId": "rtb-", "InternetGatewayId": "igw-", "GatewayId": "igw-", "AllocationId": "eipalloc-",
    "NetworkInterfaceId": "eni-", "GroupId": "sg-", "ReferencedGroupId": "sg-", "SecurityGroupRuleId": "sgr-", "NetworkAclId": "acl-",
    "AssociationId": "", "Resources": "", "Groups": "sg-", "SecurityGroupGroupIds": "sg-",
}  # fmt: skip
SELDOM = re.compile(
    r"Ipv6(?!Ranges)|Ipam|Prefix|Outpost|Pool|Customer|Operator|Sourc|Encryption|Peering|EnaSrd|NextToken|MaxResults|Nat|Lni|Dns64"
)


def values(shape: Any, known: list[str], name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    if shape.type_name == "structure":
        return structures(shape, known, depth)
    if shape.type_name == "list":
        return st.lists(
            values(shape.member, known, name.removesuffix("s") if name != "Groups" else name, depth + 1), max_size=3
        )
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name in ("integer", "long"):
        return st.sampled_from([-(2**31), -2, -1, 0, 1, 5, 22, 80, 80, 80, 255, 65535, 65536, 2**31 - 1])
    if shape.type_name == "timestamp":
        return st.just(0)
    if shape.type_name in ("double", "float"):
        return st.floats(allow_nan=False)
    anything = st.sampled_from([*WORDS, *known, *(shape.enum or ())])
    usual = USUAL.get(name) or [id_ for id_ in known if name in PREFIXES and id_.startswith(PREFIXES[name])]
    if not usual:
        return anything
    return st.integers(0, 4).flatmap(lambda n: st.sampled_from(usual) if n else anything)


@st.composite
def structures(draw: Any, shape: Any, known: list[str], depth: int) -> dict[str, Any]:
    found = {}
    for name, member in shape.members.items():
        if name == "DryRun" or depth > 3:
            continue
        often = 0 if SELDOM.search(name) else 6 if len(shape.members) > 3 else 8
        if draw(st.integers(0, 9)) <= often:
            found[name] = draw(values(member, known, name, depth + 1))
    return found


def inhabited(cloud: Any) -> list[str]:
    """Something of everything; returns all its ids."""
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    gateway = cloud.gateway(vpc)
    interface = cloud.interface(
        subnet,
        PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.10", "Primary": True}, {"PrivateIpAddress": "10.0.1.11"}],
    )
    group = cloud.group(vpc)
    address = cloud("AllocateAddress")["AllocationId"]
    association = cloud("AssociateAddress", AllocationId=address, NetworkInterfaceId=interface)["AssociationId"]
    table = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    routing = cloud("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"]
    rule = cloud("DescribeSecurityGroupRules")["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    acls = cloud("DescribeNetworkAcls", Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]
    filtering = acls[0]["Associations"][0]["NetworkAclAssociationId"]
    acl = cloud("CreateNetworkAcl", VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    return [
        vpc,
        subnet,
        gateway,
        interface,
        group,
        address,
        association,
        table,
        routing,
        rule,
        acls[0]["NetworkAclId"],
        acl,
        filtering,
        cloud.interface(subnet),
    ]


def names(registry: Any) -> list[str]:
    marks = registry.marks("operation").values()
    return sorted(one.options["operation"] for one in marks if one.target.__module__.rpartition(".")[2] in FOLDERS)


def check_consistent(cloud: Any) -> None:
    client, scope = cloud.client, f"{cloud.account}/{cloud.region}"
    interfaces = client.all(NetworkInterface, scope)
    held = [(one.spec.subnet, private.address) for one in interfaces for private in one.spec.addresses]
    assert len(held) == len(set(held))
    assert all(client.claimed(address_space(subnet), address) for subnet, address in held)
    publics = [private.public for one in interfaces for private in one.spec.addresses if private.public]
    assert len(publics) == len(set(publics))
    addresses = client.all(Address, scope)
    on_addresses = {(one.spec.interface, one.spec.private, one.meta.name) for one in addresses if one.spec.association}
    on_interfaces = {
        (one.meta.name, private.address, private.allocation)
        for one in interfaces
        for private in one.spec.addresses
        if private.allocation
    }
    assert on_addresses == on_interfaces
    claimed = {entry.key.rpartition("/")[2] for entry in client.store.range("claim/public/")}
    assert claimed == {one.spec.public for one in addresses} | set(publics)
    vpcs = {vpc.meta.name for vpc in client.all(Vpc, scope)}
    for cls in (Subnet, RouteTable, SecurityGroup, NetworkInterface):
        assert {one.spec.vpc for one in client.all(cls, scope)} <= vpcs
    for vpc in vpcs:
        assert len(client.by(RouteTable, scope, "main", vpc)) == 1
    acls = client.all(NetworkAcl, scope)
    assert {one.spec.vpc for one in acls} <= vpcs
    assert sorted(one.spec.vpc for one in acls if one.spec.is_default) == sorted(vpcs)
    assert {(one.spec.vpc, one.spec.acl) for one in client.all(Subnet, scope)} <= {
        (one.spec.vpc, one.meta.name) for one in acls
    }
    for one in acls:
        numbers = [(entry.egress, entry.number) for entry in one.spec.entries]
        assert len(numbers) == len(set(numbers))
        assert {(False, 32767), (True, 32767)} <= set(numbers)
    rules = [rule.id for group in client.all(SecurityGroup, scope) for rule in group.spec.rules]
    assert len(rules) == len(set(rules))


@pytest.fixture(scope="module")
def shared(request):
    return {}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_input_is_answered_and_leaves_a_consistent_state(new_cloud, registry, shared, data):
    if shared.get("left", 0) == 0:
        shared["cloud"], shared["left"] = new_cloud(), 25
        shared["ids"] = inhabited(shared["cloud"])
    shared["left"] -= 1
    cloud, known = shared["cloud"], shared["ids"]
    name = data.draw(st.sampled_from(names(registry)), label="operation")
    shape = MODEL.operation_model(name).input_shape
    params = data.draw(values(shape, known), label="params")
    before, refused = cloud.client.store.revision, False
    try:
        asyncio.run(cloud.run(name, **params))
    except AwsError:
        refused = True
    assert not refused or cloud.client.store.revision == before
    check_consistent(cloud)
