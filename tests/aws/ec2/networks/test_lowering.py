"""What VPCs and interfaces become on the machine."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.ec2.interfaces.interfaces import new_interface, plug
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface, Subnet
from gureum.core.appliances import appliances_of
from gureum.ports.firewalls import Appliance, Rule
from gureum.ports.names import Record
from gureum.ports.networks import Route

INSTANCE = "i-0123456789abcdef0"


def machine(cloud, subnet, *, instance=INSTANCE, index=0, **fields):
    call = cloud.call()
    transaction = call.transaction()
    attachment = Attachment("eni-attach-0123456789abcdef0", instance, index, 0.0)
    made = new_interface(call, transaction, call.get(Subnet, subnet), attachment=attachment, sandbox=instance, **fields)
    asyncio.run(transaction.commit())
    return made.meta.name


def stop(cloud, interface):
    call = cloud.call()
    transaction = call.transaction()
    plug(transaction, call.get(NetworkInterface, interface), "")
    asyncio.run(transaction.commit())


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def subnet(cloud, vpc):
    return cloud.subnet(vpc)


def test_what_is_only_described_makes_nothing(cloud, subnet):
    cloud.interface(subnet)
    assert cloud.lowering.desired() == []


def test_an_attached_interface_brings_its_network_groups_and_names(cloud, vpc, subnet):
    interface = machine(cloud, subnet, addresses=["10.0.1.10"])
    network = cloud.wished("Network")[vpc]
    assert network.network.cidrs == ("10.0.0.0/16",)
    assert network.network.local_addresses == ("10.0.0.2", "169.254.169.253", "169.254.169.254")
    assert (network.network.uplink, network.internet) == (False, ())
    (lowered,) = network.network.subnets
    assert (lowered.name, lowered.cidr, lowered.gateway) == (subnet, "10.0.1.0/24", "10.0.1.1")
    assert lowered.routes == (Route("10.0.0.0/16", "local"),)
    spec = cloud.wished("Interface")[interface]
    assert (spec.interface.addresses, spec.interface.prefix_length, spec.interface.gateway) == (
        ("10.0.1.10",),
        24,
        "10.0.1.1",
    )
    assert (spec.interface.sandbox, spec.interface.device, spec.interface.default_route) == (INSTANCE, "eth0", True)
    assert set(spec.groups) == set(cloud.wished("FirewallGroup"))
    assert cloud.wished("Names")[interface].records == (
        Record("ip-10-0-1-10.ec2.internal", "A", ("10.0.1.10",), view=vpc),
        Record("10.1.0.10.in-addr.arpa", "PTR", ("ip-10-0-1-10.ec2.internal",), view=vpc),
    )


def test_a_stopped_machine_keeps_its_network_and_names_but_not_its_interface(cloud, vpc, subnet):
    interface = machine(cloud, subnet)
    stop(cloud, interface)
    assert cloud.wished("Interface") == {}
    assert list(cloud.wished("Network")) == [vpc]
    assert list(cloud.wished("Names")) == [interface]


def test_internet_is_for_subnets_whose_table_leads_there(cloud, vpc, subnet):
    private = cloud.subnet(vpc, "10.0.2.0/24")
    machine(cloud, subnet, public=True)
    gateway = cloud.gateway(vpc)
    table = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    assert cloud.wished("Network")[vpc].internet == ()
    association = cloud("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"]
    network = cloud.wished("Network")[vpc]
    assert network.network.uplink
    assert network.internet == ("10.0.1.0/24",)
    public_routes, private_routes = (one.routes for one in network.network.subnets)
    assert public_routes == (Route("10.0.0.0/16", "local"), Route("0.0.0.0/0", "internet"))
    assert private_routes == (Route("10.0.0.0/16", "local"),)
    cloud("DisassociateRouteTable", AssociationId=association)
    assert cloud.wished("Network")[vpc].internet == ()
    assert private in {one.name for one in cloud.wished("Network")[vpc].network.subnets}


def test_an_appliance_at_the_gateway_is_the_entrance_and_the_way_out(cloud, vpc, subnet):
    guarded = cloud.subnet(vpc, "10.0.2.0/24")
    appliance = machine(cloud, subnet, source_dest_check=False)
    gateway = cloud.gateway(vpc)
    edge, out = (cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
    cloud("CreateRoute", RouteTableId=out, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=appliance)
    cloud("AssociateRouteTable", RouteTableId=out, SubnetId=guarded)
    cloud("AssociateRouteTable", RouteTableId=edge, GatewayId=gateway)
    network = cloud.wished("Network")[vpc]
    assert (network.network.entrance, network.internet) == ((), ())
    cloud("CreateRoute", RouteTableId=edge, DestinationCidrBlock="10.0.2.0/24", NetworkInterfaceId=appliance)
    network = cloud.wished("Network")[vpc]
    way_in = Route("10.0.2.0/24", f"interface:{appliance}")
    assert network.network.entrance == (Route("10.0.0.0/16", "local"), way_in)
    assert network.internet == ("10.0.2.0/24",)
    stop(cloud, appliance)
    machine(cloud, subnet, instance="i-0123456789abcdef1")
    network = cloud.wished("Network")[vpc]
    assert network.network.entrance[1].target == "blackhole"
    assert network.internet == ()


def test_way_out_may_lead_through_another_appliance_than_the_way_in(cloud, vpc, subnet):
    guarded = cloud.subnet(vpc, "10.0.2.0/24")
    first = machine(cloud, subnet, source_dest_check=False)
    second = machine(cloud, subnet, source_dest_check=False, instance="i-0123456789abcdef1")
    gateway = cloud.gateway(vpc)
    edge, out = (cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
    cloud("CreateRoute", RouteTableId=out, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=first)
    cloud("AssociateRouteTable", RouteTableId=out, SubnetId=guarded)
    cloud("AssociateRouteTable", RouteTableId=edge, GatewayId=gateway)
    cloud("CreateRoute", RouteTableId=edge, DestinationCidrBlock="10.0.2.0/24", NetworkInterfaceId=second)
    network = cloud.wished("Network")[vpc]
    assert network.internet == ("10.0.2.0/24",)
    assert list(appliances_of(network.network, {first, second})) == [
        Appliance(second, "10.0.2.0/24"),
        Appliance(first, "10.0.2.0/24"),
    ]
    assert list(appliances_of(network.network, {first})) == []


def test_a_route_to_a_machine_is_a_blackhole_while_it_is_stopped(cloud, vpc, subnet):
    router = machine(cloud, subnet, source_dest_check=False)
    main = cloud.one("DescribeRouteTables", "RouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])[
        "RouteTableId"
    ]
    cloud("CreateRoute", RouteTableId=main, DestinationCidrBlock="192.168.0.0/16", InstanceId=INSTANCE)

    def target():
        return cloud.wished("Network")[vpc].network.subnets[0].routes[-1]

    assert target() == Route("192.168.0.0/16", f"interface:{router}")
    assert not cloud.wished("Interface")[router].interface.source_check
    stop(cloud, router)
    assert target() == Route("192.168.0.0/16", "blackhole")


def test_public_addresses_are_pairs_and_have_names(cloud, vpc, subnet):
    cloud("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": True})
    cloud.gateway(vpc)
    interface = machine(cloud, subnet, addresses=["10.0.1.10"])
    elastic = cloud("AllocateAddress")
    public, name = elastic["PublicIp"], f"ec2-{elastic['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com"
    cloud("AssociateAddress", AllocationId=elastic["AllocationId"], InstanceId=INSTANCE)
    assert cloud.wished("Interface")[interface].interface.public == (("10.0.1.10", public),)
    records = cloud.wished("Names")[interface].records
    assert Record(name, "A", (public,)) in records
    assert Record(name, "A", ("10.0.1.10",), view=vpc) in records
    cloud("ModifyVpcAttribute", VpcId=vpc, EnableDnsHostnames={"Value": False})
    assert name not in {record.name for record in cloud.wished("Names")[interface].records}
    cloud("ModifyVpcAttribute", VpcId=vpc, EnableDnsSupport={"Value": False})
    assert cloud.wished("Names") == {}
    assert cloud.wished("Network")[vpc].network.local_addresses == ("169.254.169.254",)


def test_rules_of_groups(cloud, vpc, subnet):
    group = cloud.group(vpc)
    permissions = [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 23, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
        {"IpProtocol": "udp", "FromPort": 0, "ToPort": 65535, "UserIdGroupPairs": [{"GroupId": group}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.9.0.0/16"}]},
        {"IpProtocol": "50", "IpRanges": [{"CidrIp": "10.9.0.0/16"}]},
        {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
    ]
    cloud("AuthorizeSecurityGroupIngress", GroupId=group, IpPermissions=permissions)
    assert cloud.wished("FirewallGroup") == {}
    machine(cloud, subnet, groups=[group])
    lowered = cloud.wished("FirewallGroup")[group]
    assert lowered.network == vpc
    assert set(lowered.group.rules) == {
        Rule("out", "all", cidr="0.0.0.0/0"),
        Rule("in", "tcp", (22, 23), cidr="10.0.0.0/8"),
        Rule("in", "udp", group=group),
        Rule("in", "icmp", (8, -1), cidr="0.0.0.0/0"),
        Rule("in", "icmp", cidr="10.9.0.0/16"),
        Rule("in", "50", cidr="10.9.0.0/16"),
    }
    assert len(cloud.wished("FirewallGroup")) == 2


steps = st.lists(
    st.sampled_from(["associate", "disassociate", "route", "unroute", "attach", "detach", "start", "stop"]), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_lowering_is_what_describing_says_after_any_steps(new_cloud, chosen):
    """The routes on the machine are those that DescribeRouteTables calls active, whatever happened before."""
    cloud = new_cloud()
    vpc = cloud.vpc()
    subnet, other = cloud.subnet(vpc), cloud.subnet(vpc, "10.0.2.0/24")
    keeper = machine(cloud, other, instance="i-00000000000000001")
    table = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    gateway = cloud("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
    association = None
    for step in chosen:
        present = {
            one["DestinationCidrBlock"]
            for one in cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])["Routes"]
        }
        attached = cloud.one("DescribeInternetGateways", "InternetGateways", InternetGatewayIds=[gateway])[
            "Attachments"
        ]
        if step == "associate" and association is None:
            association = cloud("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"]
        elif step == "disassociate" and association is not None:
            cloud("DisassociateRouteTable", AssociationId=association)
            association = None
        elif step == "route" and attached and "0.0.0.0/0" not in present:
            cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        elif step == "route" and not attached and "9.0.0.0/8" not in present:
            cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="9.0.0.0/8", NetworkInterfaceId=keeper)
        elif step == "unroute" and "0.0.0.0/0" in present:
            cloud("DeleteRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
        elif step == "attach" and not attached:
            cloud("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        elif step == "detach" and attached:
            cloud("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        elif step == "stop":
            stop(cloud, keeper)
    spec = cloud.wished("Network")[vpc]
    shown = cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])["Routes"]
    local = [Route("10.0.0.0/16", "local")]
    own = [Route(one["DestinationCidrBlock"], _target(one)) for one in shown if one.get("GatewayId") != "local"]
    by_name = {one.name: list(one.routes) for one in spec.network.subnets}
    assert by_name == {subnet: local + (own if association else []), other: local}
    assert spec.internet == (("10.0.1.0/24",) if association and Route("0.0.0.0/0", "internet") in own else ())


def _target(route):
    if route["State"] == "blackhole":
        return "blackhole"
    return "internet" if "GatewayId" in route else f"interface:{route['NetworkInterfaceId']}"
