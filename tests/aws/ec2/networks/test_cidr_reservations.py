"""Subnet CIDR reservations and prefixes of interfaces: who gets which addresses."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest

from gureum.aws.ec2.interfaces.interfaces import attach
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface
from gureum.core.networks import plan_rules


@pytest.fixture
def subnet(cloud):
    return cloud.subnet(cloud.vpc(), "10.0.1.0/24")


def reserve(cloud, subnet, cidr, type_="explicit", **params):
    made = cloud("CreateSubnetCidrReservation", SubnetId=subnet, Cidr=cidr, ReservationType=type_, **params)
    return made["SubnetCidrReservation"]["SubnetCidrReservationId"]


def addresses(cloud, interface):
    found = cloud.one("DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=[interface])
    return [one["PrivateIpAddress"] for one in found["PrivateIpAddresses"]]


def prefixes(cloud, interface):
    found = cloud.one("DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=[interface])
    return [one["Ipv4Prefix"] for one in found["Ipv4Prefixes"]]


def assign(cloud, interface, **params):
    made = cloud("AssignPrivateIpAddresses", NetworkInterfaceId=interface, **params)
    return [one["Ipv4Prefix"] for one in made["AssignedIpv4Prefixes"]]


def test_automatic_addresses_keep_out_and_named_ones_do_not(cloud, subnet):
    reserve(cloud, subnet, "10.0.1.128/25")
    reserve(cloud, subnet, "10.0.1.0/26", "prefix")
    interface = cloud.interface(subnet, SecondaryPrivateIpAddressCount=49)
    assert all(ip_address(one) in ip_network("10.0.1.64/26") for one in addresses(cloud, interface))
    assert addresses(cloud, cloud.interface(subnet, PrivateIpAddress="10.0.1.200")) == ["10.0.1.200"]
    assert addresses(cloud, cloud.interface(subnet, PrivateIpAddress="10.0.1.20")) == ["10.0.1.20"]


def test_a_reserved_subnet_has_no_automatic_addresses_left(cloud, subnet):
    reservation = reserve(cloud, subnet, "10.0.1.0/24")
    assert cloud.code("CreateNetworkInterface", SubnetId=subnet) == "InsufficientFreeAddressesInSubnet"
    cloud("DeleteSubnetCidrReservation", SubnetCidrReservationId=reservation)
    cloud.interface(subnet)


def test_reservations_are_shown_and_filtered(cloud, subnet):
    tags = [{"ResourceType": "subnet-cidr-reservation", "Tags": [{"Key": "for", "Value": "pods"}]}]
    reserve(cloud, subnet, "10.0.1.77/26", "prefix", Description="pods", TagSpecifications=tags)
    reserve(cloud, subnet, "10.0.1.128/28")
    wanted = [{"Name": "tag:for", "Values": ["pods"]}]
    (one,) = cloud("GetSubnetCidrReservations", SubnetId=subnet, Filters=wanted)["SubnetIpv4CidrReservations"]
    assert (one["Cidr"], one["ReservationType"], one["Description"]) == ("10.0.1.64/26", "prefix", "pods")
    wanted = [{"Name": "reservationType", "Values": ["explicit"]}]
    (one,) = cloud("GetSubnetCidrReservations", SubnetId=subnet, Filters=wanted)["SubnetIpv4CidrReservations"]
    assert one["Cidr"] == "10.0.1.128/28"
    assert cloud.code("GetSubnetCidrReservations", SubnetId=subnet, Filters=[{"Name": "cidr", "Values": ["a"]}]) == (
        "InvalidParameterValue"
    )


@pytest.mark.parametrize(
    ("cidr", "type_"),
    [("10.0.2.0/28", "explicit"), ("10.0.0.0/23", "explicit"), ("10.0.1.0/25", "explicit"), ("10.0.1.0/29", "prefix")],
)
def test_what_is_outside_overlaps_or_is_too_small_is_refused(cloud, subnet, cidr, type_):
    reserve(cloud, subnet, "10.0.1.96/28")
    params = {"SubnetId": subnet, "Cidr": cidr, "ReservationType": type_}
    assert cloud.code("CreateSubnetCidrReservation", **params) == "InvalidParameterValue"


def test_prefixes_come_from_what_is_reserved_for_them(cloud, subnet):
    reserve(cloud, subnet, "10.0.1.192/27", "prefix")
    interface = cloud.interface(subnet, Ipv4PrefixCount=1)
    assert prefixes(cloud, interface) == ["10.0.1.192/28"]
    assert assign(cloud, interface, Ipv4PrefixCount=1) == ["10.0.1.208/28"]
    params = {"NetworkInterfaceId": interface, "Ipv4PrefixCount": 1}
    assert cloud.code("AssignPrivateIpAddresses", **params) == "InsufficientCidrBlocks"
    assert assign(cloud, interface, Ipv4Prefixes=["10.0.1.32/28"]) == ["10.0.1.32/28"]


def test_a_prefix_and_its_addresses_exclude_each_other(cloud, subnet):
    first, second = cloud.interface(subnet, PrivateIpAddress="10.0.1.20"), cloud.interface(subnet)
    params = {"NetworkInterfaceId": second}
    assert cloud.code("AssignPrivateIpAddresses", **params, Ipv4Prefixes=["10.0.1.16/28"]) == "InvalidIPAddress.InUse"
    cloud("DeleteNetworkInterface", NetworkInterfaceId=first)
    free = cloud.one("DescribeSubnets", "Subnets", SubnetIds=[subnet])["AvailableIpAddressCount"]
    assert assign(cloud, second, Ipv4Prefixes=["10.0.1.16/28"]) == ["10.0.1.16/28"]
    assert cloud.one("DescribeSubnets", "Subnets", SubnetIds=[subnet])["AvailableIpAddressCount"] == free - 16
    taken = {"SubnetId": subnet, "PrivateIpAddress": "10.0.1.20"}
    assert cloud.code("CreateNetworkInterface", **taken) == "InvalidIPAddress.InUse"
    cloud("UnassignPrivateIpAddresses", **params, Ipv4Prefixes=["10.0.1.16/28"])
    assert prefixes(cloud, second) == []
    cloud("CreateNetworkInterface", **taken)


@pytest.mark.parametrize("prefix", ["10.0.1.0/28", "10.0.1.240/28", "10.0.2.0/28", "10.0.1.32/27", "10.0.1.32"])
def test_a_prefix_is_sixteen_usable_addresses_of_the_subnet(cloud, subnet, prefix):
    assert cloud.code("CreateNetworkInterface", SubnetId=subnet, Ipv4Prefixes=[{"Ipv4Prefix": prefix}]) == (
        "InvalidParameterValue"
    )


def test_everything_of_a_deleted_interface_can_be_given_again(cloud, subnet):
    first = {"PrivateIpAddress": "10.0.1.4"}  # in the first /28, which is none, like the last
    interface = cloud.interface(subnet, Ipv4PrefixCount=14, **first)
    held = prefixes(cloud, interface)
    assert len(held) == 14
    cloud("DeleteNetworkInterface", NetworkInterfaceId=interface)
    assert prefixes(cloud, cloud.interface(subnet, Ipv4PrefixCount=14, **first)) == held


def test_prefixes_lead_to_the_machine_and_count_as_its_groups_members(cloud, subnet):
    interface = cloud.interface(subnet, Ipv4Prefixes=[{"Ipv4Prefix": "10.0.1.32/28"}])
    call = cloud.call()
    transaction = call.transaction()
    found = call.get(NetworkInterface, interface)
    attach(transaction, found, Attachment("eni-attach-0123456789abcdef0", "i-1", 0, 0.0), "i-1")
    asyncio.run(transaction.commit())
    wished = cloud.wished("Interface")[interface]
    assert wished.interface.prefixes == ("10.0.1.32/28",)
    (network,) = cloud.wished("Network").values()
    (port,) = plan_rules(network, [], [wished]).ports
    assert port.addresses[0] == found.spec.primary.address
    assert {"10.0.1.32", "10.0.1.47"} < set(port.addresses)
    assert len(port.addresses) == 17
