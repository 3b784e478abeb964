"""Elastic IPs."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def interface(cloud, vpc):
    cloud.gateway(vpc)
    return cloud.interface(cloud.subnet(vpc))


def allocate(cloud):
    return cloud("AllocateAddress", Domain="vpc")["AllocationId"]


def shown(cloud, allocation):
    return cloud.one("DescribeAddresses", "Addresses", AllocationIds=[allocation])


def test_an_address_comes_from_the_pool_and_goes_back(cloud):
    made = cloud("AllocateAddress")
    address = ip_address(made["PublicIp"])
    pool = ip_network("198.18.16.0/20")
    assert address in pool
    assert int(address) - int(pool[0]) >= 3
    assert (made["Domain"], made["NetworkBorderGroup"]) == ("vpc", "us-east-1")
    cloud("ReleaseAddress", AllocationId=made["AllocationId"])
    assert cloud.code("DescribeAddresses", AllocationIds=[made["AllocationId"]]) == "InvalidAllocationID.NotFound"
    again = cloud("AllocateAddress", Address=made["PublicIp"])
    assert again["PublicIp"] == made["PublicIp"]
    assert cloud.code("AllocateAddress", Address=made["PublicIp"]) == "AddressInUse"
    assert cloud.code("AllocateAddress", Address="8.8.8.8") == "InvalidAddress.NotFound"


def test_accounts_and_regions_share_one_pool(cloud, other_region):
    public = cloud("AllocateAddress")["PublicIp"]
    assert other_region.code("AllocateAddress", Address=public) == "AddressInUse"


def test_an_association_stands_on_both_sides(cloud, interface):
    allocation = allocate(cloud)
    association = cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)["AssociationId"]
    assert (
        cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)["AssociationId"] == association
    )
    address = shown(cloud, allocation)
    eni = cloud.one("DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=[interface])
    assert address["AssociationId"] == association
    assert (address["NetworkInterfaceId"], address["PrivateIpAddress"]) == (interface, eni["PrivateIpAddress"])
    assert eni["Association"] == {
        "PublicIp": address["PublicIp"],
        "IpOwnerId": "111122223333",
        "AllocationId": allocation,
        "AssociationId": association,
    }
    assert cloud.refused("ReleaseAddress", AllocationId=allocation) == (
        "InvalidIPAddress.InUse",
        f"Address {address['PublicIp']} is in use.",
    )
    cloud("DisassociateAddress", AssociationId=association)
    assert "AssociationId" not in shown(cloud, allocation)
    eni = cloud.one("DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=[interface])
    assert "Association" not in eni
    assert cloud.code("DisassociateAddress", AssociationId=association) == "InvalidAssociationID.NotFound"
    cloud("ReleaseAddress", PublicIp=address["PublicIp"])


def test_a_network_without_gateway_takes_none(cloud):
    vpc = cloud.vpc()
    interface = cloud.interface(cloud.subnet(vpc))
    assert cloud.refused("AssociateAddress", AllocationId=allocate(cloud), NetworkInterfaceId=interface) == (
        "Gateway.NotAttached",
        f"Network {vpc} is not attached to any internet gateway",
    )


def test_an_address_moves_unless_told_not_to(cloud, vpc, interface):
    other = cloud.interface(cloud.subnet(vpc, "10.0.2.0/24"))
    allocation = allocate(cloud)
    first = cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)["AssociationId"]
    stay = {"AllocationId": allocation, "NetworkInterfaceId": other, "AllowReassociation": False}
    assert cloud.refused("AssociateAddress", **stay) == (
        "Resource.AlreadyAssociated",
        f"resource {allocation} is already associated with associate-id {first}",
    )
    second = cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=other)["AssociationId"]
    assert second != first
    assert shown(cloud, allocation)["NetworkInterfaceId"] == other
    replacing = allocate(cloud)
    cloud("AssociateAddress", AllocationId=replacing, NetworkInterfaceId=other)
    assert "AssociationId" not in shown(cloud, allocation)


def test_a_gateway_stays_while_addresses_are_mapped(cloud, vpc, interface):
    allocation = allocate(cloud)
    cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)
    gateway = cloud.one(
        "DescribeInternetGateways", "InternetGateways", Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}]
    )
    detach = {"InternetGatewayId": gateway["InternetGatewayId"], "VpcId": vpc}
    assert cloud.refused("DetachInternetGateway", **detach) == (
        "DependencyViolation",
        f"Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
    )
    cloud("DisassociateAddress", PublicIp=shown(cloud, allocation)["PublicIp"])
    cloud("DetachInternetGateway", **detach)
    assert cloud.code("DetachInternetGateway", **detach) == "Gateway.NotAttached"


def test_a_deleted_interface_leaves_its_address(cloud, interface):
    allocation = allocate(cloud)
    cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)
    cloud("DeleteNetworkInterface", NetworkInterfaceId=interface)
    assert "NetworkInterfaceId" not in shown(cloud, allocation)


def test_secondary_private_addresses_take_addresses_of_their_own(cloud, interface):
    cloud("AssignPrivateIpAddresses", NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.50"])
    allocation = allocate(cloud)
    wished = {"AllocationId": allocation, "NetworkInterfaceId": interface}
    assert cloud.code("AssociateAddress", PrivateIpAddress="10.0.1.51", **wished) == "InvalidParameterValue"
    cloud("AssociateAddress", PrivateIpAddress="10.0.1.50", **wished)
    assert shown(cloud, allocation)["PrivateIpAddress"] == "10.0.1.50"
    cloud("UnassignPrivateIpAddresses", NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.1.50"])
    assert "PrivateIpAddress" not in shown(cloud, allocation)


def test_reverse_names_are_kept(cloud):
    allocation = allocate(cloud)
    cloud("ModifyAddressAttribute", AllocationId=allocation, DomainName="mail.example.com.")
    here = {"AllocationIds": [allocation], "Attribute": "domain-name"}
    assert cloud.one("DescribeAddressesAttribute", "Addresses", **here)["PtrRecord"] == "mail.example.com."
    cloud("ResetAddressAttribute", AllocationId=allocation, Attribute="domain-name")
    assert "PtrRecord" not in cloud.one("DescribeAddressesAttribute", "Addresses", **here)


def test_errors(cloud):
    assert cloud.code("ReleaseAddress") == "MissingParameter"
    assert cloud.code("ReleaseAddress", AllocationId="eipalloc-12345678") == "InvalidAllocationID.NotFound"
    assert cloud.code("DescribeAddresses", PublicIps=["198.18.16.9"]) == "InvalidAddress.NotFound"
    assert cloud.code("AssociateAddress", AllocationId=allocate(cloud)) == "MissingParameter"
    assert (
        cloud.code("AssociateAddress", AllocationId=allocate(cloud), InstanceId="i-12345678")
        == "InvalidInstanceID.NotFound"
    )


def test_filters(cloud, interface):
    allocation = allocate(cloud)
    cloud("AssociateAddress", AllocationId=allocation, NetworkInterfaceId=interface)
    allocate(cloud)
    found = shown(cloud, allocation)
    for name, value in {
        "allocation-id": allocation,
        "association-id": found["AssociationId"],
        "network-interface-id": interface,
        "private-ip-address": found["PrivateIpAddress"],
        "public-ip": found["PublicIp"],
    }.items():
        assert cloud.one("DescribeAddresses", "Addresses", Filters=[{"Name": name, "Values": [value]}]) == found, name
    assert len(cloud("DescribeAddresses", Filters=[{"Name": "domain", "Values": ["vpc"]}])["Addresses"]) == 2


def test_an_address_is_named_in_one_way(cloud, interface):
    """Otherwise one of two addresses would go unasked."""
    first, second = cloud("AllocateAddress"), cloud("AllocateAddress")
    both = {"AllocationId": first["AllocationId"], "PublicIp": second["PublicIp"]}
    refusal = (
        "InvalidParameterCombination",
        "You may specify public IP or allocation id, but not both in the same call",
    )
    assert cloud.refused("ReleaseAddress", **both) == refusal
    assert cloud.refused("AssociateAddress", NetworkInterfaceId=interface, **both) == refusal
    association = cloud("AssociateAddress", NetworkInterfaceId=interface, AllocationId=first["AllocationId"])
    by_both = {"AssociationId": association["AssociationId"], "PublicIp": second["PublicIp"]}
    assert cloud.code("DisassociateAddress", **by_both) == "InvalidParameterCombination"
