"""NAT gateways on real machines: a machine without a public address reaches another network's, which sees the gateway's address.

AWS: VPC User Guide, "NAT gateways": public and private ones, what they let in, what becomes of routes to one that is gone.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, until

WHO = """#!/bin/sh
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho\\necho from $REMOTE_ADDR\\n' > /www/cgi-bin/who
chmod 755 /www/cgi-bin/who
httpd -p 80 -h /www
"""
ANYWHERE = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]


class Net:
    """A VPC with a public subnet, a private one, and an open group."""

    def __init__(self, ec2: Any, cidr: str) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock=f"{cidr}.0.0/16")["Vpc"]["VpcId"]
        self.public, self.private = (
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"{cidr}.{number}.0/24", AvailabilityZone="us-east-1a")[
                "Subnet"
            ]["SubnetId"]
            for number in (1, 2)
        )
        self.igw = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.igw, VpcId=self.vpc)
        self.tables = {subnet: self.table(subnet) for subnet in (self.public, self.private)}
        self.route(self.public, GatewayId=self.igw)
        self.group = ec2.create_security_group(GroupName="open", Description="open", VpcId=self.vpc)["GroupId"]
        ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=ANYWHERE)

    def table(self, subnet: str) -> str:
        table = str(self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"])
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        return table

    def route(self, subnet: str, **target: str) -> None:
        self.ec2.create_route(RouteTableId=self.tables[subnet], DestinationCidrBlock="0.0.0.0/0", **target)

    def state_of_route(self, subnet: str) -> str:
        (table,) = self.ec2.describe_route_tables(RouteTableIds=[self.tables[subnet]])["RouteTables"]
        return str(next(one for one in table["Routes"] if one["DestinationCidrBlock"] == "0.0.0.0/0")["State"])

    def launch(self, subnet: str, *, public: bool, user_data: str = "") -> str:
        interface = {"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": public, "Groups": [self.group]}
        made = self.ec2.run_instances(
            ImageId=BUSYBOX,
            InstanceType=NANO,
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[interface],
            UserData=user_data,
        )
        return str(made["Instances"][0]["InstanceId"])


def instance(ec2: Any, name: str) -> dict[str, Any]:
    return dict(ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0])


def until_nat(ec2: Any, nat: str, state: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        (found,) = ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
        return found if found["State"] == state else None

    return dict(until(look))


@pytest.fixture(scope="module")
def net(ec2: Any) -> Net:
    return Net(ec2, "10.10")


@pytest.fixture(scope="module")
def client(cloud: Cloud, ec2: Any, net: Net) -> str:
    name = net.launch(net.private, public=False)
    cloud.until_state(ec2, [name], "running")
    return name


@pytest.fixture(scope="module")
def server(cloud: Cloud, ec2: Any) -> str:
    """The public address of a machine in another VPC, which tells who called."""
    other = Net(ec2, "10.20")
    name = other.launch(other.public, public=True, user_data=WHO)
    cloud.until_state(ec2, [name], "running")
    return str(cloud.own(instance(ec2, name)["PublicIpAddress"]))


def ask(cloud: Cloud, client: str, address: str) -> str:
    """Who the server says has called; "" when it cannot be reached."""
    request = f"printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 80"
    found = cloud.inside(client, "sh", "-c", request)
    return found.stdout.rpartition("from ")[2].strip().strip("[]").removeprefix("::ffff:")


def test_a_public_gateway_lends_its_address_and_lets_nothing_in(
    cloud: Cloud, ec2: Any, net: Net, client: str, server: str
) -> None:
    assert ask(cloud, client, server) == ""
    elastic = ec2.allocate_address()
    nat = ec2.create_nat_gateway(SubnetId=net.public, AllocationId=elastic["AllocationId"])["NatGateway"]
    assert nat["State"] == "pending"
    name = nat["NatGatewayId"]
    net.route(net.private, NatGatewayId=name)
    (address,) = until_nat(ec2, name, "available")["NatGatewayAddresses"]
    assert (address["PublicIp"], address["Status"]) == (elastic["PublicIp"], "succeeded")
    assert until(lambda: ask(cloud, client, server)) == elastic["PublicIp"]

    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[address["NetworkInterfaceId"]])[
        "NetworkInterfaces"
    ]
    assert interface["Description"] == f"Interface for NAT Gateway {name}"
    assert (interface["InterfaceType"], interface["SourceDestCheck"]) == ("nat_gateway", False)
    # From outside its address answers nobody, and leads to no machine.
    assert ask(cloud, client, elastic["PublicIp"]) == ""
    assert cloud.inside(client, "ping", "-c", "1", "-W", "2", server).returncode == 0

    old = cloud.process("agent")
    os.kill(old, signal.SIGKILL)
    until(lambda: cloud.process("agent") != old)
    until(lambda: ask(cloud, client, server) == elastic["PublicIp"])

    ec2.delete_nat_gateway(NatGatewayId=name)
    until_nat(ec2, name, "deleted")
    assert net.state_of_route(net.private) == "blackhole"
    until(lambda: ask(cloud, client, server) == "")
    assert "AssociationId" not in ec2.describe_addresses(AllocationIds=[elastic["AllocationId"]])["Addresses"][0]
    ec2.release_address(AllocationId=elastic["AllocationId"])
    ec2.delete_route(RouteTableId=net.tables[net.private], DestinationCidrBlock="0.0.0.0/0")


def test_a_private_gateway_lends_private_addresses(cloud: Cloud, ec2: Any, net: Net, client: str) -> None:
    """Seen by a machine of the same VPC that is called by a route which is more special than the VPC's own."""
    target = net.launch(net.public, public=False, user_data=WHO)
    cloud.until_state(ec2, [target], "running")
    address = instance(ec2, target)["PrivateIpAddress"]
    nat = ec2.create_nat_gateway(
        SubnetId=net.public, ConnectivityType="private", PrivateIpAddress="10.10.1.77", SecondaryPrivateIpAddressCount=2
    )["NatGateway"]
    found = until_nat(ec2, nat["NatGatewayId"], "available")["NatGatewayAddresses"]
    assert found[0]["PrivateIp"] == "10.10.1.77"
    assert len({one["PrivateIp"] for one in found}) == 3
    table = net.tables[net.private]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.10.1.0/24", NatGatewayId=nat["NatGatewayId"])
    until(lambda: ask(cloud, client, address) in {one["PrivateIp"] for one in found})
    ec2.unassign_private_nat_gateway_address(
        NatGatewayId=nat["NatGatewayId"],
        PrivateIpAddresses=[one["PrivateIp"] for one in found[1:]],
        MaxDrainDurationSeconds=1,
    )
    until(lambda: len(until_nat(ec2, nat["NatGatewayId"], "available")["NatGatewayAddresses"]) == 1)
    until(lambda: ask(cloud, client, address) == "10.10.1.77")
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="10.10.1.0/24")
    ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    until_nat(ec2, nat["NatGatewayId"], "deleted")
