"""Network interfaces: addresses, groups, attributes."""

from __future__ import annotations

import asyncio

import pytest

from gureum.aws.ec2.interfaces.interfaces import attach, detach, drop_public, give_public, new_interface, plug
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface, Subnet


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def subnet(cloud, vpc):
    return cloud.subnet(vpc)


def shown(cloud, interface):
    return cloud.one("DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=[interface])


def test_a_new_interface_has_an_address_and_the_default_group(cloud, vpc, subnet):
    made = cloud("CreateNetworkInterface", SubnetId=subnet, Description="mine")["NetworkInterface"]
    assert (made["Status"], made["VpcId"], made["Description"]) == ("available", vpc, "mine")
    assert made["PrivateIpAddress"].startswith("10.0.1.")
    assert made["PrivateDnsName"] == f"ip-{made['PrivateIpAddress'].replace('.', '-')}.ec2.internal"
    assert made["MacAddress"].startswith("02:")
    assert made["SourceDestCheck"]
    assert [group["GroupName"] for group in made["Groups"]] == ["default"]
    assert made == shown(cloud, made["NetworkInterfaceId"])


def test_addresses_can_be_chosen_and_are_given_once(cloud, subnet):
    wished = [{"PrivateIpAddress": "10.0.1.9"}, {"PrivateIpAddress": "10.0.1.8", "Primary": True}]
    made = cloud("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddresses=wished)["NetworkInterface"]
    assert [(one["PrivateIpAddress"], one["Primary"]) for one in made["PrivateIpAddresses"]] == [
        ("10.0.1.8", True),
        ("10.0.1.9", False),
    ]
    assert cloud.refused("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress="10.0.1.9") == (
        "InvalidIPAddress.InUse",
        "Address 10.0.1.9 is in use.",
    )
    cloud("DeleteNetworkInterface", NetworkInterfaceId=made["NetworkInterfaceId"])
    cloud.interface(subnet, PrivateIpAddress="10.0.1.9")
    other = cloud.subnet(cloud.vpc())
    cloud.interface(other, PrivateIpAddress="10.0.1.9")


@pytest.mark.parametrize("address", ["10.0.1.0", "10.0.1.1", "10.0.1.3", "10.0.1.255", "10.0.2.7", "x", "::1"])
def test_addresses_aws_keeps_or_of_elsewhere_are_refused(cloud, subnet, address):
    assert cloud.code("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress=address) == "InvalidParameterValue"


def test_a_full_subnet_says_so(cloud, vpc):
    small = cloud.subnet(vpc, "10.0.2.0/28")
    cloud("CreateNetworkInterface", SubnetId=small, SecondaryPrivateIpAddressCount=10)
    assert cloud.one("DescribeSubnets", "Subnets", SubnetIds=[small])["AvailableIpAddressCount"] == 0
    assert cloud.refused("CreateNetworkInterface", SubnetId=small) == (
        "InsufficientFreeAddressesInSubnet",
        "The specified subnet does not have enough free addresses to satisfy the request.",
    )


def test_groups_must_be_of_the_vpc(cloud, subnet):
    other = cloud.group(cloud.vpc())
    assert cloud.refused("CreateNetworkInterface", SubnetId=subnet, Groups=[other]) == (
        "InvalidParameter",
        f"Security group {other} and subnet {subnet} belong to different networks.",
    )
    assert cloud.code("CreateNetworkInterface", SubnetId=subnet, Groups=["sg-12345678"]) == "InvalidGroup.NotFound"


def test_attributes(cloud, vpc, subnet):
    interface = cloud.interface(subnet)
    group = cloud.group(vpc)
    for change in ({"Description": {"Value": "new"}}, {"SourceDestCheck": {"Value": False}}, {"Groups": [group]}):
        cloud("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, **change)

    def value(attribute):
        return cloud("DescribeNetworkInterfaceAttribute", NetworkInterfaceId=interface, Attribute=attribute)

    assert value("description")["Description"] == {"Value": "new"}
    assert value("sourceDestCheck")["SourceDestCheck"] == {"Value": False}
    assert value("groupSet")["Groups"] == [{"GroupId": group, "GroupName": "web"}]
    assert "Attachment" not in value("attachment")
    cloud("ResetNetworkInterfaceAttribute", NetworkInterfaceId=interface, SourceDestCheck="true")
    assert value("sourceDestCheck")["SourceDestCheck"] == {"Value": True}
    assert cloud.code("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface) == "MissingParameter"
    kept = {"AttachmentId": "eni-attach-12345678", "DeleteOnTermination": True}
    assert (
        cloud.code("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, Attachment=kept)
        == "InvalidAttachmentID.NotFound"
    )


def test_secondary_addresses_come_go_and_move(cloud, subnet):
    first, second = cloud.interface(subnet), cloud.interface(subnet)
    given = cloud("AssignPrivateIpAddresses", NetworkInterfaceId=first, PrivateIpAddresses=["10.0.1.77"])
    assert given["AssignedPrivateIpAddresses"] == [{"PrivateIpAddress": "10.0.1.77"}]
    cloud("AssignPrivateIpAddresses", NetworkInterfaceId=first, SecondaryPrivateIpAddressCount=2)
    assert len(shown(cloud, first)["PrivateIpAddresses"]) == 4
    move = {"NetworkInterfaceId": second, "PrivateIpAddresses": ["10.0.1.77"]}
    assert cloud.code("AssignPrivateIpAddresses", **move) == "InvalidParameterValue"
    cloud("AssignPrivateIpAddresses", AllowReassignment=True, **move)
    assert len(shown(cloud, first)["PrivateIpAddresses"]) == 3
    assert shown(cloud, second)["PrivateIpAddresses"][1]["PrivateIpAddress"] == "10.0.1.77"
    primary = shown(cloud, first)["PrivateIpAddress"]
    steal = {"NetworkInterfaceId": second, "PrivateIpAddresses": [primary], "AllowReassignment": True}
    assert cloud.code("AssignPrivateIpAddresses", **steal) == "InvalidParameterValue"
    assert (
        cloud.code("UnassignPrivateIpAddresses", NetworkInterfaceId=first, PrivateIpAddresses=[primary])
        == "InvalidParameterValue"
    )
    assert (
        cloud.code("UnassignPrivateIpAddresses", NetworkInterfaceId=first, PrivateIpAddresses=["10.0.1.77"])
        == "InvalidParameterValue"
    )
    cloud("UnassignPrivateIpAddresses", **move)
    cloud.interface(subnet, PrivateIpAddress="10.0.1.77")


def test_many_at_once_never_share_an_address(cloud, vpc):
    subnet = cloud.subnet(vpc, "10.0.2.0/26")

    async def launch():
        return await asyncio.gather(*(cloud.run("CreateNetworkInterface", SubnetId=subnet) for _ in range(59)))

    made = [one["NetworkInterface"]["PrivateIpAddress"] for one in asyncio.run(launch())]
    assert len(set(made)) == 59
    assert cloud.code("CreateNetworkInterface", SubnetId=subnet) == "InsufficientFreeAddressesInSubnet"


class Machine:
    """An instance's part: its commits on interfaces."""

    def __init__(self, cloud, subnet, **fields):
        self.cloud = cloud
        call, transaction = self._begin()
        attachment = Attachment("eni-attach-0123456789abcdef0", "i-0123456789abcdef0", 0, 1_750_000_000.0)
        subnet = call.get(Subnet, subnet)
        made = new_interface(
            call, transaction, subnet, attachment=attachment, sandbox="i-0123456789abcdef0", public=True, **fields
        )
        asyncio.run(transaction.commit())
        self.id = made.meta.name

    def _begin(self):
        call = self.cloud.call()
        return call, call.transaction()

    def do(self, function, *args, with_call=False):
        call, transaction = self._begin()
        interface = call.get(NetworkInterface, self.id)
        before = (call, transaction) if with_call else (transaction,)
        function(*before, interface, *args)
        asyncio.run(transaction.commit())


def test_an_automatic_public_address_follows_the_machine(cloud, subnet):
    machine = Machine(cloud, subnet)
    found = shown(cloud, machine.id)
    public = found["Association"]["PublicIp"]
    assert found["Association"] == {"PublicIp": public, "IpOwnerId": "amazon"}
    assert found["Status"] == "in-use"
    assert found["Attachment"]["InstanceId"] == "i-0123456789abcdef0"
    assert cloud.refused("DeleteNetworkInterface", NetworkInterfaceId=machine.id) == (
        "InvalidParameterValue",
        f"Network interface '{machine.id}' is currently in use.",
    )
    machine.do(plug, "")
    machine.do(drop_public)
    assert "Association" not in shown(cloud, machine.id)
    machine.do(give_public, with_call=True)
    assert "Association" in shown(cloud, machine.id)
    machine.do(detach, with_call=True)
    found = shown(cloud, machine.id)
    assert (found["Status"], "Association" in found, "Attachment" in found) == ("available", False, False)
    machine.do(attach, Attachment("eni-attach-0123456789abcdef1", "i-0123456789abcdef1", 1, 0.0))
    by_instance = [{"Name": "attachment.instance-id", "Values": ["i-0123456789abcdef1"]}]
    assert (
        cloud.one("DescribeNetworkInterfaces", "NetworkInterfaces", Filters=by_instance)["NetworkInterfaceId"]
        == machine.id
    )


def test_public_names_are_shown_where_the_vpc_has_them(cloud, vpc, subnet):
    cloud("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    association = shown(cloud, Machine(cloud, subnet).id)["Association"]
    assert association["PublicDnsName"] == f"ec2-{association['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com"


def test_every_filter_finds_what_is_shown(cloud, subnet):
    found = shown(cloud, Machine(cloud, subnet, description="db", requester="amazon-elb").id)
    cloud.interface(subnet)
    for name, value in {
        "addresses.association.public-ip": found["Association"]["PublicIp"],
        "addresses.private-ip-address": found["PrivateIpAddress"],
        "association.ip-owner-id": "amazon-elb",
        "association.public-ip": found["Association"]["PublicIp"],
        "attachment.attachment-id": found["Attachment"]["AttachmentId"],
        "attachment.attach-time": "2025-06-15T*",
        "attachment.delete-on-termination": "false",
        "attachment.device-index": "0",
        "attachment.instance-id": "i-*",
        "attachment.instance-owner-id": "111122223333",
        "attachment.status": "attached",
        "description": "db",
        "mac-address": found["MacAddress"],
        "network-interface-id": found["NetworkInterfaceId"],
        "private-dns-name": found["PrivateDnsName"],
        "private-ip-address": found["PrivateIpAddress"],
        "requester-id": "amazon-elb",
        "requester-managed": "true",
        "status": "in-use",
    }.items():
        chosen = cloud.one(
            "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=[{"Name": name, "Values": [value]}]
        )
        assert chosen["NetworkInterfaceId"] == found["NetworkInterfaceId"], name
    for name, value in {
        "availability-zone": "us-east-1a",
        "group-id": found["Groups"][0]["GroupId"],
        "group-name": "default",
        "interface-type": "interface",
        "owner-id": "111122223333",
        "source-dest-check": "true",
        "subnet-id": subnet,
        "vpc-id": found["VpcId"],
    }.items():
        both = cloud("DescribeNetworkInterfaces", Filters=[{"Name": name, "Values": [value]}])["NetworkInterfaces"]
        assert len(both) == 2, name
