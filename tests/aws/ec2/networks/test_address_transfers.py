"""Elastic IPs offered to another account."""

from __future__ import annotations

import pytest

from gureum.aws.ec2.networks.address_transfers import OFFERED_S


@pytest.fixture
def other(cloud, new_cloud):
    return new_cloud(cloud.client, account="999900001111")


@pytest.fixture
def address(cloud):
    return cloud("AllocateAddress")


def offer(cloud, address, other):
    to = {"AllocationId": address["AllocationId"], "TransferAccountId": other.account}
    return cloud("EnableAddressTransfer", **to)["AddressTransfer"]


def test_an_accepted_address_is_the_other_accounts(cloud, other, address):
    assert offer(cloud, address, other)["AddressTransferStatus"] == "pending"
    accepted = other("AcceptAddressTransfer", Address=address["PublicIp"])["AddressTransfer"]
    assert accepted["AddressTransferStatus"] == "accepted"
    assert other.one("DescribeAddresses", "Addresses")["AllocationId"] == accepted["AllocationId"]
    assert cloud("DescribeAddresses")["Addresses"] == []
    seen = cloud.one("DescribeAddressTransfers", "AddressTransfers")
    assert (seen["AllocationId"], seen["AddressTransferStatus"]) == (address["AllocationId"], "accepted")
    # Nobody else gets it, and released it is free.
    assert cloud.code("AllocateAddress", Address=address["PublicIp"]) == "AddressInUse"
    other("ReleaseAddress", AllocationId=accepted["AllocationId"])
    cloud("AllocateAddress", Address=address["PublicIp"])


def test_only_whom_it_is_offered_to_may_take_it_and_only_for_a_while(cloud, other, new_cloud, address):
    offer(cloud, address, other)
    stranger = new_cloud(cloud.client, account="555566667777")
    take = {"Address": address["PublicIp"]}
    assert stranger.code("AcceptAddressTransfer", **take) == "InvalidAddress.NotFound"
    cloud.client.clock.time += OFFERED_S
    assert other.code("AcceptAddressTransfer", **take) == "InvalidAddress.NotFound"
    offer(cloud, address, other)
    assert cloud("DisableAddressTransfer", AllocationId=address["AllocationId"])["AddressTransfer"][
        "AddressTransferStatus"
    ] == ("disabled")
    assert other.code("AcceptAddressTransfer", **take) == "InvalidAddress.NotFound"
    assert cloud.code("DisableAddressTransfer", AllocationId=address["AllocationId"]) == "InvalidAllocationID.NotFound"


def test_one_in_use_stays(cloud, other, address):
    vpc = cloud.vpc()
    cloud.gateway(vpc)
    interface = cloud.interface(cloud.subnet(vpc))
    cloud("AssociateAddress", AllocationId=address["AllocationId"], NetworkInterfaceId=interface)
    offer(cloud, address, other)
    taken = other.code("AcceptAddressTransfer", Address=address["PublicIp"])
    assert taken == "InvalidTransfer.AddressAssociated"
    to_itself = {"AllocationId": address["AllocationId"], "TransferAccountId": cloud.account}
    assert cloud.code("EnableAddressTransfer", **to_itself) == "InvalidParameterValue"


def test_a_released_address_is_offered_to_nobody(cloud, other, address):
    offer(cloud, address, other)
    cloud("ReleaseAddress", AllocationId=address["AllocationId"])
    assert cloud("DescribeAddressTransfers")["AddressTransfers"] == []
    by_id = {"AllocationId": address["AllocationId"]}
    assert cloud.code("DisableAddressTransfer", **by_id) == "InvalidAllocationID.NotFound"
    assert other.code("AcceptAddressTransfer", Address=address["PublicIp"]) == "InvalidAddress.NotFound"
