"""Ways between VPCs by the API, felt by packets of machines that run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, until

EVERYWHERE = "0.0.0.0/0"
SETTINGS = {"metrics_period_s": "1", "flow_log_interval_s": "1"}
# Each client is told the address it comes from.
WHO = """#!/bin/sh
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR\\n' > /www/cgi-bin/who
chmod +x /www/cgi-bin/who
httpd -p 80 -h /www
"""


class Place:
    """A VPC with one subnet, its own route table and, if `public`, an internet gateway."""

    def __init__(self, ec2: Any, cidr: str, *, public: bool) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        self.gateway = ""
        if public:
            self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
            ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.subnet, self.table = self.add_subnet(cidr.replace("0.0/16", "0.0/24"), self.gateway)
        of_vpc = [{"Name": "vpc-id", "Values": [self.vpc]}]
        self.group = ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"][0]["GroupId"]

    def add_subnet(self, cidr: str, gateway: str = "") -> tuple[str, str]:
        subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]
        table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        if gateway:
            self.ec2.create_route(RouteTableId=table, DestinationCidrBlock=EVERYWHERE, GatewayId=gateway)
        return subnet, table

    def allow(self, **source: Any) -> None:
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, **source}
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[rule])

    def refuse(self, **source: Any) -> None:
        rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, **source}
        self.ec2.revoke_security_group_ingress(GroupId=self.group, IpPermissions=[rule])


def launch(cloud: Cloud, ec2: Any, subnet: str, *groups: str, public: bool = False) -> dict[str, Any]:
    interface: dict[str, Any] = {"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": public}
    if groups:
        interface["Groups"] = list(groups)
    made = ec2.run_instances(
        ImageId=BUSYBOX, InstanceType=NANO, MinCount=1, MaxCount=1, UserData=WHO, NetworkInterfaces=[interface]
    )
    return dict(cloud.until_state(ec2, [made["Instances"][0]["InstanceId"]], "running")[0])


def seen(cloud: Cloud, instance: str, address: str) -> str:
    """The address by which a machine is seen there; "" when nothing answers."""
    asked = cloud.inside(instance, "timeout", "1", "wget", "-qO-", f"http://{address}/cgi-bin/who")
    return asked.stdout.strip().strip("[]").removeprefix("::ffff:") if asked.returncode == 0 else ""


@pytest.fixture(scope="module")
def client(cloud: Cloud) -> Any:
    return cloud.client("ec2")


@pytest.fixture(scope="module")
def left(client: Any) -> Place:
    return Place(client, "10.1.0.0/16", public=True)


@pytest.fixture(scope="module")
def right(client: Any) -> Place:
    place = Place(client, "10.2.0.0/16", public=True)
    place.allow(IpRanges=[{"CidrIp": EVERYWHERE}])
    return place


@pytest.fixture(scope="module")
def server(cloud: Cloud, client: Any, right: Place) -> dict[str, Any]:
    return launch(cloud, client, right.subnet, public=True)


@pytest.fixture(scope="module")
def hidden(cloud: Cloud, client: Any, left: Place) -> dict[str, Any]:
    """A machine of the left VPC in a subnet that leads nowhere at first, with "Table", its route table."""
    subnet, table = left.add_subnet("10.1.5.0/24")
    return launch(cloud, client, subnet) | {"Table": table}


def flow_log(cloud: Cloud, ec2: Any, interface: str) -> Callable[[], set[str]]:
    """A flow log of the interface; what it has told so far."""
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="flows")
    fields = ("srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr", "flow-direction", "traffic-path")
    made = ec2.create_flow_logs(
        ResourceIds=[interface],
        ResourceType="NetworkInterface",
        TrafficType="ALL",
        LogGroupName="flows",
        DeliverLogsPermissionArn="arn:aws:iam::111122223333:role/flows",
        LogFormat=" ".join(f"${{{name}}}" for name in fields),
    )
    assert made["Unsuccessful"] == []
    pages = logs.get_paginator("filter_log_events")
    return lambda: {one["message"] for page in pages.paginate(logGroupName="flows") for one in page["events"]}


def moved(cloud: Cloud, nat: str, name: str) -> float:
    """What AWS/NATGateway has told, summed."""
    now = dt.datetime.now(dt.UTC)
    found = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/NATGateway",
        MetricName=name,
        Dimensions=[{"Name": "NatGatewayId", "Value": nat}],
        StartTime=now - dt.timedelta(seconds=120),
        EndTime=now + dt.timedelta(seconds=60),
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in found["Datapoints"]))


def block_and_open(client: Any, far: str, passes: Callable[[], bool]) -> None:
    """Block Public Access: who comes through a NAT gateway passes while ingress alone is blocked, to a VPC that is excluded."""
    mode = client.modify_vpc_block_public_access_options
    mode(InternetGatewayBlockMode="block-ingress")
    until(lambda: not passes())
    exclusion = client.create_vpc_block_public_access_exclusion(
        VpcId=far, InternetGatewayExclusionMode="allow-bidirectional"
    )["VpcBlockPublicAccessExclusion"]["ExclusionId"]
    until(passes)
    mode(InternetGatewayBlockMode="block-bidirectional")
    until(lambda: not passes())
    mode(InternetGatewayBlockMode="off")
    until(passes)
    client.delete_vpc_block_public_access_exclusion(ExclusionId=exclusion)


def test_a_nat_gateway_leads_out_under_its_elastic_ip_until_it_is_deleted(
    cloud: Cloud, client: Any, left: Place, server: dict[str, Any], hidden: dict[str, Any]
) -> None:
    name, address = hidden["InstanceId"], cloud.own(server["PublicIpAddress"])
    assert not seen(cloud, name, address)
    elastic = client.allocate_address()
    made = client.create_nat_gateway(SubnetId=left.subnet, AllocationId=elastic["AllocationId"])
    nat = made["NatGateway"]["NatGatewayId"]
    client.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat], WaiterConfig={"Delay": 1})
    route = {"RouteTableId": hidden["Table"], "DestinationCidrBlock": EVERYWHERE}
    client.create_route(NatGatewayId=nat, **route)
    records = flow_log(cloud, client, made["NatGateway"]["NatGatewayAddresses"][0]["NetworkInterfaceId"])
    until(lambda: seen(cloud, name, address) == elastic["PublicIp"])
    inside, own = hidden["PrivateIpAddress"], made["NatGateway"]["NatGatewayAddresses"][0]["PrivateIp"]
    # AWS: "Traffic through a NAT gateway"; each way at the gateway's interface, and how what leaves it goes on.
    wanted = {
        f"{inside} {own} {inside} {address} ingress -",
        f"{own} {address} {own} {address} egress 8",
        f"{address} {own} {address} {own} ingress -",
        f"{own} {inside} {address} {inside} egress 1",
    }
    until(lambda: seen(cloud, name, address) and wanted <= records())
    until(lambda: moved(cloud, nat, "ConnectionEstablishedCount") >= 2)
    until(lambda: moved(cloud, nat, "BytesOutToDestination") == moved(cloud, nat, "BytesInFromSource") > 100)
    cloud.command("restart")
    until(lambda: seen(cloud, name, address) == elastic["PublicIp"])
    block_and_open(client, server["VpcId"], lambda: seen(cloud, name, address) == elastic["PublicIp"])
    client.delete_nat_gateway(NatGatewayId=nat)
    until(lambda: not seen(cloud, name, address))
    client.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[nat], WaiterConfig={"Delay": 1})
    routes = client.describe_route_tables(RouteTableIds=[hidden["Table"]])["RouteTables"][0]["Routes"]
    assert [one["State"] for one in routes if one.get("NatGatewayId") == nat] == ["blackhole"]
    client.delete_route(**route)
    client.release_address(AllocationId=elastic["AllocationId"])


def test_peered_vpcs_reach_each_other_by_private_addresses_and_groups(
    cloud: Cloud, client: Any, left: Place, right: Place, server: dict[str, Any], hidden: dict[str, Any]
) -> None:
    name, private = hidden["InstanceId"], hidden["PrivateIpAddress"]
    address = server["PrivateIpAddress"]
    made = client.create_vpc_peering_connection(VpcId=left.vpc, PeerVpcId=right.vpc)
    pcx = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    by = {"VpcPeeringConnectionId": pcx}
    client.accept_vpc_peering_connection(**by)
    client.create_route(RouteTableId=hidden["Table"], DestinationCidrBlock="10.2.0.0/16", **by)
    client.create_route(RouteTableId=right.table, DestinationCidrBlock="10.1.0.0/16", **by)
    until(lambda: seen(cloud, name, address) == private)
    # Only members of the left VPC's group, by a rule of the right one's.
    right.refuse(IpRanges=[{"CidrIp": EVERYWHERE}])
    until(lambda: not seen(cloud, name, address))
    members = {"UserIdGroupPairs": [{"GroupId": left.group}]}
    right.allow(**members)
    until(lambda: seen(cloud, name, address) == private)
    cloud.command("restart")
    assert seen(cloud, name, address) == private
    client.delete_vpc_peering_connection(**by)
    until(lambda: not seen(cloud, name, address))
    right.refuse(**members)
    right.allow(IpRanges=[{"CidrIp": EVERYWHERE}])


def test_a_prefix_list_is_enforced_as_it_changes(
    cloud: Cloud, client: Any, right: Place, server: dict[str, Any]
) -> None:
    # Of a group of its own, since members of the default group reach each other.
    group = client.create_security_group(VpcId=right.vpc, GroupName="asks", Description="asks")["GroupId"]
    other = launch(cloud, client, right.subnet, group)
    name, address = other["InstanceId"], server["PrivateIpAddress"]
    until(lambda: seen(cloud, name, address))
    made = client.create_managed_prefix_list(PrefixListName="who", AddressFamily="IPv4", MaxEntries=5, Entries=[])
    listed = made["PrefixList"]["PrefixListId"]
    right.allow(PrefixListIds=[{"PrefixListId": listed}])
    right.refuse(IpRanges=[{"CidrIp": EVERYWHERE}])
    until(lambda: not seen(cloud, name, address))
    own = [{"Cidr": f"{other['PrivateIpAddress']}/32"}]
    client.modify_managed_prefix_list(PrefixListId=listed, CurrentVersion=1, AddEntries=own)
    until(lambda: seen(cloud, name, address))
    client.modify_managed_prefix_list(PrefixListId=listed, CurrentVersion=2, RemoveEntries=own)
    until(lambda: not seen(cloud, name, address))
    right.allow(IpRanges=[{"CidrIp": EVERYWHERE}])


def test_a_machine_is_told_its_vpcs_dhcp_options_when_it_starts(cloud: Cloud, client: Any, left: Place) -> None:
    told = {"domain-name": ["corp.example"], "domain-name-servers": ["10.1.0.9", "AmazonProvidedDNS"]}
    told["ntp-servers"] = ["10.1.0.8"]
    wanted = [{"Key": key, "Values": values} for key, values in told.items()]
    made = client.create_dhcp_options(DhcpConfigurations=wanted)["DhcpOptions"]["DhcpOptionsId"]
    before = client.describe_vpcs(VpcIds=[left.vpc])["Vpcs"][0]["DhcpOptionsId"]
    client.associate_dhcp_options(DhcpOptionsId=made, VpcId=left.vpc)
    name = launch(cloud, client, left.subnet)["InstanceId"]
    expected = "search corp.example\nnameserver 10.1.0.9\nnameserver 169.254.169.253\n"
    until(lambda: cloud.inside(name, "cat", "/etc/resolv.conf").stdout == expected)
    assert "ntp-servers 10.1.0.8" in cloud.inside(name, "cat", "/run/gureum/dhcp").stdout
    client.associate_dhcp_options(DhcpOptionsId=before, VpcId=left.vpc)
    client.reboot_instances(InstanceIds=[name])
    until(lambda: "search ec2.internal" in cloud.inside(name, "cat", "/etc/resolv.conf").stdout)
    client.delete_dhcp_options(DhcpOptionsId=made)


def test_what_is_routed_to_a_virtual_private_gateway_is_dropped(
    cloud: Cloud, client: Any, left: Place, server: dict[str, Any]
) -> None:
    name, address = launch(cloud, client, left.subnet, public=True)["InstanceId"], server["PublicIpAddress"]
    until(lambda: seen(cloud, name, address))
    gateway = client.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]
    client.attach_vpn_gateway(VpnGatewayId=gateway, VpcId=left.vpc)
    route = {"RouteTableId": left.table, "DestinationCidrBlock": f"{address}/32"}
    # The narrower of two routes counts, and does not fall back on the wider one.
    client.create_route(GatewayId=gateway, **route)
    until(lambda: not seen(cloud, name, address))
    client.detach_vpn_gateway(VpnGatewayId=gateway, VpcId=left.vpc)
    assert not seen(cloud, name, address)
    client.delete_route(**route)
    until(lambda: seen(cloud, name, address))
    client.delete_vpn_gateway(VpnGatewayId=gateway)
