"""Virtual private gateways, the routes to them, and customer gateways."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gureum.aws.ec2.interfaces.interfaces import new_interface
from gureum.aws.ec2.networks.customer_gateways import reconcile_customer_gateway
from gureum.aws.ec2.networks.kinds import Attachment, Subnet
from gureum.aws.ec2.networks.vpn_gateways import reconcile_vpn_gateway
from gureum.aws.ec2.networks.vpn_kinds import CustomerGateway, VpnGateway
from gureum.ports.networks import Route

DEVICE = {"Type": "ipsec.1", "IpAddress": "205.251.242.54", "BgpAsn": 65534}


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def table(cloud, vpc):
    return cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]


@pytest.fixture
def gateway(cloud):
    return made(cloud)


def made(cloud, **params):
    return cloud("CreateVpnGateway", Type="ipsec.1", **params)["VpnGateway"]["VpnGatewayId"]


def shown(cloud, gateway):
    return cloud.one("DescribeVpnGateways", "VpnGateways", VpnGatewayIds=[gateway])


def shown_table(cloud, table):
    return cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])


def plugged(cloud, subnet):
    """A machine's interface, so that there is a network at all."""
    call = cloud.call()
    transaction = call.transaction()
    attachment = Attachment("eni-attach-0123456789abcdef0", "i-0123456789abcdef0", 0, 0.0)
    new_interface(call, transaction, call.get(Subnet, subnet), attachment=attachment, sandbox="i-0123456789abcdef0")
    asyncio.run(transaction.commit())


def test_a_gateway_is_attached_detached_and_shown_as_deleted(cloud, vpc, gateway):
    assert shown(cloud, gateway)["VpcAttachments"] == []
    place = {"VpnGatewayId": gateway, "VpcId": vpc}
    attached = {"State": "attached", "VpcId": vpc}
    assert cloud("AttachVpnGateway", **place) == {"VpcAttachment": attached}
    assert cloud("AttachVpnGateway", **place) == {"VpcAttachment": attached}
    assert shown(cloud, gateway)["VpcAttachments"] == [attached]
    assert cloud.code("DeleteVpnGateway", VpnGatewayId=gateway) == "IncorrectState"
    assert cloud.code("DeleteVpc", VpcId=vpc) == "DependencyViolation"
    cloud("DetachVpnGateway", **place)
    assert cloud.code("DetachVpnGateway", **place) == "InvalidVpnGatewayAttachment.NotFound"
    assert shown(cloud, gateway)["VpcAttachments"] == [{"State": "detached", "VpcId": vpc}]
    cloud("DeleteVpc", VpcId=vpc)
    cloud("DeleteVpnGateway", VpnGatewayId=gateway)
    cloud("DeleteVpnGateway", VpnGatewayId=gateway)
    assert shown(cloud, gateway)["State"] == "deleted"
    assert cloud.code("AttachVpnGateway", **place) == "InvalidVpnGatewayID.NotFound"


def test_one_gateway_a_vpc_and_one_vpc_a_gateway(cloud, vpc, gateway):
    cloud("AttachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    # The text as told in github.com/cloudposse/terraform-aws-vpn-connection/issues/22.
    assert cloud.refused("AttachVpnGateway", VpnGatewayId=made(cloud), VpcId=vpc) == (
        "InvalidVpcState",
        f"VPC {vpc} is currently attached to the Virtual Private Gateway.",
    )
    other = cloud.vpc()
    code = cloud.code("AttachVpnGateway", VpnGatewayId=gateway, VpcId=other)
    assert code == "VpnGatewayAttachmentLimitExceeded"


def test_autonomous_systems_of_gateways_are_private_ones(cloud):
    assert shown(cloud, made(cloud))["AmazonSideAsn"] == 64512
    for asn in (64512, 65534, 4_200_000_000, 4_294_967_294):
        assert shown(cloud, made(cloud, AmazonSideAsn=asn))["AmazonSideAsn"] == asn
        cloud("DeleteVpnGateway", VpnGatewayId=cloud("DescribeVpnGateways")["VpnGateways"][0]["VpnGatewayId"])
    for asn in (-1, 0, 64511, 65535, 4_199_999_999, 4_294_967_295, 2**63):
        assert cloud.code("CreateVpnGateway", Type="ipsec.1", AmazonSideAsn=asn) == "InvalidParameterValue"
    assert cloud.code("CreateVpnGateway", Type="ipsec.2") == "InvalidParameterValue"


def test_so_many_gateways_and_no_more(cloud):
    for _ in range(5):
        gateway = made(cloud)
    assert cloud.code("CreateVpnGateway", Type="ipsec.1") == "VpnGatewayLimitExceeded"
    cloud("DeleteVpnGateway", VpnGatewayId=gateway)
    made(cloud)


def test_gateways_are_found_by_their_filters(cloud, vpc, gateway):
    other = made(cloud, AvailabilityZone="us-east-1b", AmazonSideAsn=65000)
    cloud("AttachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    for name, value, expected in (
        ("attachment.vpc-id", vpc, gateway),
        ("attachment.state", "attached", gateway),
        ("availability-zone", "us-east-1b", other),
        ("amazon-side-asn", "65000", other),
        ("vpn-gateway-id", other, other),
    ):
        found = cloud.one("DescribeVpnGateways", "VpnGateways", Filters=[{"Name": name, "Values": [value]}])
        assert found["VpnGatewayId"] == expected
    for name, value in (("attachment.state", "detached"), ("state", "deleted"), ("type", "ipsec.2")):
        assert cloud("DescribeVpnGateways", Filters=[{"Name": name, "Values": [value]}])["VpnGateways"] == []


def test_what_is_routed_to_a_gateway_is_dropped(cloud, vpc, gateway):
    plugged(cloud, cloud.subnet(vpc))
    main = cloud.one("DescribeRouteTables", "RouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    route = {"RouteTableId": main["RouteTableId"], "DestinationCidrBlock": "192.168.0.0/16", "GatewayId": gateway}
    assert cloud.code("CreateRoute", **route) == "InvalidParameterValue"
    cloud("AttachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    cloud("CreateRoute", **route)
    states = []
    for step in (
        lambda: None,
        lambda: cloud("DetachVpnGateway", VpnGatewayId=gateway, VpcId=vpc),
        lambda: cloud("DeleteVpnGateway", VpnGatewayId=gateway),
    ):
        step()
        (_, way) = shown_table(cloud, main["RouteTableId"])["Routes"]
        states.append((way["GatewayId"], way["State"]))
        assert Route("192.168.0.0/16", "blackhole") in cloud.wished("Network")[vpc].network.subnets[0].routes
    assert states == [(gateway, "active"), (gateway, "blackhole"), (gateway, "blackhole")]
    assert cloud.code("ReplaceRoute", **route) == "InvalidVpnGatewayID.NotFound"


def test_a_table_lets_an_attached_gateway_propagate_routes(cloud, vpc, table, gateway):
    both = {"RouteTableId": table, "GatewayId": gateway}
    assert cloud.refused("EnableVgwRoutePropagation", **both) == (
        "Gateway.NotAttached",
        f"resource {gateway} is not attached to network {vpc}",
    )
    cloud("AttachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    for _ in range(2):
        cloud("EnableVgwRoutePropagation", **both)
        assert shown_table(cloud, table)["PropagatingVgws"] == [{"GatewayId": gateway}]
    for _ in range(2):
        cloud("DisableVgwRoutePropagation", **both)
        assert shown_table(cloud, table)["PropagatingVgws"] == []
    cloud("EnableVgwRoutePropagation", **both)
    cloud("DetachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    assert shown_table(cloud, table)["PropagatingVgws"] == []


def test_a_table_stands_at_a_gateway_until_it_is_detached(cloud, vpc, table, gateway):
    both = {"RouteTableId": table, "GatewayId": gateway}
    assert cloud.code("AssociateRouteTable", **both) == "InvalidParameterValue"
    cloud("AttachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    cloud("EnableVgwRoutePropagation", **both)
    association = cloud("AssociateRouteTable", **both)["AssociationId"]
    (one,) = shown_table(cloud, table)["Associations"]
    assert (one["RouteTableAssociationId"], one["GatewayId"], one["Main"]) == (association, gateway, False)
    cloud("DetachVpnGateway", VpnGatewayId=gateway, VpcId=vpc)
    left = shown_table(cloud, table)
    assert (left["Associations"], left["PropagatingVgws"]) == ([], [])


def test_a_customer_gateway_reads_back_and_its_like_is_the_same(cloud):
    one = cloud("CreateCustomerGateway", **DEVICE)["CustomerGateway"]
    assert {name: one[name] for name in ("Type", "State", "BgpAsn", "IpAddress")} == {
        "Type": "ipsec.1",
        "State": "available",
        "BgpAsn": "65534",
        "IpAddress": "205.251.242.54",
    }
    assert cloud("CreateCustomerGateway", **DEVICE)["CustomerGateway"]["CustomerGatewayId"] == one["CustomerGatewayId"]
    named = cloud("CreateCustomerGateway", DeviceName="second", **DEVICE)["CustomerGateway"]
    assert named["CustomerGatewayId"] != one["CustomerGatewayId"]
    assert named["DeviceName"] == "second"
    long = cloud("CreateCustomerGateway", Type="ipsec.1", PublicIp="205.251.242.55", BgpAsnExtended=2**31)
    assert long["CustomerGateway"]["BgpAsnExtended"] == str(2**31)
    assert "BgpAsn" not in long["CustomerGateway"]
    cloud("DeleteCustomerGateway", CustomerGatewayId=one["CustomerGatewayId"])
    ids = [one["CustomerGatewayId"]]
    gone = cloud.one("DescribeCustomerGateways", "CustomerGateways", CustomerGatewayIds=ids)
    assert gone["State"] == "deleted"
    again = cloud("CreateCustomerGateway", **DEVICE)["CustomerGateway"]
    assert again["CustomerGatewayId"] != one["CustomerGatewayId"]
    here = [{"Name": "ip-address", "Values": ["205.251.242.5?"]}, {"Name": "state", "Values": ["available"]}]
    assert len(cloud("DescribeCustomerGateways", Filters=here)["CustomerGateways"]) == 3


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Type": "ipsec.1"}, "MissingParameter"),
        (DEVICE | {"Type": "ipsec.9"}, "InvalidParameterValue"),
        (DEVICE | {"IpAddress": "300.1.1.1"}, "InvalidParameterValue"),
        (DEVICE | {"IpAddress": "1.1.1.1\0"}, "InvalidParameterValue"),
        (DEVICE | {"IpAddress": "224.0.0.1"}, "InvalidParameterValue"),
        (DEVICE | {"IpAddress": "2001:db8::1"}, "NotImplemented"),
        (DEVICE | {"BgpAsn": 0}, "InvalidParameterValue"),
        (DEVICE | {"BgpAsnExtended": 2**31}, "InvalidParameterCombination"),
        ({"Type": "ipsec.1", "IpAddress": "1.1.1.1", "BgpAsnExtended": 65000}, "InvalidParameterValue"),
        (DEVICE | {"DeviceName": "x" * 256}, "InvalidParameterValue"),
    ],
)
def test_customer_gateways_that_cannot_be(cloud, params, code):
    assert cloud.code("CreateCustomerGateway", **params) == code


def test_ids_of_customer_gateways_are_checked(cloud):
    assert cloud.code("DeleteCustomerGateway", CustomerGatewayId="cgw-0123abcd") == "InvalidCustomerGatewayID.NotFound"
    assert cloud.code("DeleteCustomerGateway", CustomerGatewayId="cgw-x") == "InvalidCustomerGatewayId.Malformed"


def test_what_was_deleted_is_forgotten_after_an_hour(cloud, gateway):
    device = cloud("CreateCustomerGateway", **DEVICE)["CustomerGateway"]["CustomerGatewayId"]
    cloud("DeleteVpnGateway", VpnGatewayId=gateway)
    cloud("DeleteCustomerGateway", CustomerGatewayId=device)

    def look() -> None:
        world: Any = SimpleNamespace(client=cloud.client, clock=cloud.client.clock, poke=lambda *_: None)
        for one in list(cloud.client.everywhere(VpnGateway)):
            asyncio.run(reconcile_vpn_gateway(world, one))
        for other in list(cloud.client.everywhere(CustomerGateway)):
            asyncio.run(reconcile_customer_gateway(world, other))

    cloud.client.clock.time += 3599
    look()
    assert shown(cloud, gateway)["State"] == "deleted"
    cloud.client.clock.time += 1
    look()
    assert cloud.code("DescribeVpnGateways", VpnGatewayIds=[gateway]) == "InvalidVpnGatewayID.NotFound"
    code = cloud.code("DescribeCustomerGateways", CustomerGatewayIds=[device])
    assert code == "InvalidCustomerGatewayID.NotFound"
