"""NAT gateways: rules of their making, their addresses, what becomes of routes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gureum.aws.ec2.networks.kinds import NatGateway
from gureum.aws.ec2.networks.nat_gateways import reconcile_nat_gateway
from gureum.engine.events import Events


@pytest.fixture
def vpc(cloud):
    made = cloud.vpc()
    cloud.gateway(made)
    return made


@pytest.fixture
def subnet(cloud, vpc):
    return cloud.subnet(vpc)


def elastic(cloud) -> str:
    return cloud("AllocateAddress")["AllocationId"]


def nat(cloud, subnet: str, **params: Any) -> dict[str, Any]:
    return cloud("CreateNatGateway", SubnetId=subnet, **params)["NatGateway"]


def settle(cloud, seen: Any = None, current: bool = True) -> None:
    """Lets every gateway look at a machine on which all that is wished is there, or nothing of it."""
    world: Any = SimpleNamespace(
        client=cloud.client,
        clock=cloud.client.clock,
        events=Events(),
        link=SimpleNamespace(synced=True),
        lowering=cloud.lowering,
        is_current=lambda _: current,
        seen=lambda _: seen,
        poke=lambda *_: None,
    )
    for gateway in cloud.call().all(NatGateway):
        asyncio.run(reconcile_nat_gateway(world, gateway))


def state(cloud, id_: str) -> str:
    return cloud.one("DescribeNatGateways", "NatGateways", NatGatewayIds=[id_])["State"]


def test_it_is_available_when_the_machine_has_it_and_deleted_when_not(cloud, subnet):
    made = nat(cloud, subnet, AllocationId=elastic(cloud))["NatGatewayId"]
    settle(cloud, current=False)
    assert state(cloud, made) == "pending"
    settle(cloud)
    assert state(cloud, made) == "available"
    cloud("DeleteNatGateway", NatGatewayId=made)
    settle(cloud, seen=object())
    assert state(cloud, made) == "deleting"
    settle(cloud)
    gone = cloud.one("DescribeNatGateways", "NatGateways", NatGatewayIds=[made])
    assert gone["State"] == "deleted"
    assert gone["DeleteTime"]
    assert gone["NatGatewayAddresses"][0]["PublicIp"]
    cloud.client.clock.time += 3601
    settle(cloud)
    assert cloud.code("DescribeNatGateways", NatGatewayIds=[made]) == "NatGatewayNotFound"


def test_its_sandbox_translates_to_its_interfaces_addresses(cloud, subnet):
    made = nat(
        cloud,
        subnet,
        AllocationId=elastic(cloud),
        SecondaryAllocationIds=[elastic(cloud)],
        PrivateIpAddress="10.0.1.10",
        SecondaryPrivateIpAddresses=["10.0.1.11"],
    )
    interface = made["NatGatewayAddresses"][0]["NetworkInterfaceId"]
    assert cloud.wished("Sandbox")[interface].sandbox.translation.addresses == ("10.0.1.10", "10.0.1.11")
    lowered = cloud.wished("Interface")[interface]
    assert lowered.open
    assert not lowered.interface.source_check
    assert len(lowered.interface.public) == 2
    cloud("DeleteNatGateway", NatGatewayId=made["NatGatewayId"])
    assert cloud.wished("Sandbox") == cloud.wished("Interface") == {}


def test_a_named_secondary_address_does_not_become_the_primary(cloud, subnet):
    shown = nat(cloud, subnet, ConnectivityType="private", SecondaryPrivateIpAddresses=["10.0.1.50"])
    first, second = shown["NatGatewayAddresses"]
    assert (first["IsPrimary"], second["IsPrimary"], second["PrivateIp"]) == (True, False, "10.0.1.50")
    assert first["PrivateIp"] != "10.0.1.50"


def test_routes_to_it_lead_to_its_interface_and_die_with_it(cloud, vpc, subnet):
    made = nat(cloud, subnet, AllocationId=elastic(cloud))
    behind = cloud.subnet(vpc, "10.0.2.0/24")
    table = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    cloud("AssociateRouteTable", RouteTableId=table, SubnetId=behind)
    to = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": made["NatGatewayId"]}
    cloud("CreateRoute", **to)

    def target() -> str:
        network = cloud.wished("Network")[vpc].network
        routes = next(one for one in network.subnets if one.name == behind).routes
        return next(one.target for one in routes if one.destination == "0.0.0.0/0")

    assert target() == f"interface:{made['NatGatewayAddresses'][0]['NetworkInterfaceId']}"
    other = nat(cloud, subnet, ConnectivityType="private")
    cloud("DeleteNatGateway", NatGatewayId=made["NatGatewayId"])
    shown = cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])["Routes"][1]
    assert (shown["NatGatewayId"], shown["State"]) == (made["NatGatewayId"], "blackhole")
    assert target() == "blackhole"
    cloud("ReplaceRoute", **to | {"NatGatewayId": other["NatGatewayId"]})
    assert target() == f"interface:{other['NatGatewayAddresses'][0]['NetworkInterfaceId']}"
    elsewhere = cloud("CreateRouteTable", VpcId=cloud.vpc())["RouteTable"]["RouteTableId"]
    assert cloud.code("CreateRoute", **to | {"RouteTableId": elsewhere, "NatGatewayId": other["NatGatewayId"]}) == (
        "InvalidParameterValue"
    )


def test_what_aws_finds_out_late_ends_in_failed(cloud, subnet):
    alone = cloud.subnet(cloud.vpc())
    failed = nat(cloud, alone, AllocationId=elastic(cloud))
    assert (failed["State"], failed["FailureCode"], failed["NatGatewayAddresses"]) == (
        "failed",
        "Gateway.NotAttached",
        [],
    )
    used = elastic(cloud)
    nat(cloud, subnet, AllocationId=used)
    assert nat(cloud, subnet, AllocationId=used)["FailureCode"] == "Resource.AlreadyAssociated"


def test_refusals_change_nothing(cloud, vpc, subnet):
    def code(**params: Any) -> str:
        return cloud.code("CreateNatGateway", SubnetId=subnet, **params)

    assert code() == "MissingParameter"
    assert code(AllocationId="eipalloc-0123456789abcdef0") == "InvalidAllocationID.NotFound"
    free = elastic(cloud)
    assert code(AllocationId=free, ConnectivityType="private") == "InvalidParameterCombination"
    assert code(AllocationId=free, ConnectivityType="odd") == "InvalidParameterValue"
    assert code(AllocationId=free, AvailabilityMode="regional") == "NotImplemented"
    assert code(AllocationId=free, PrivateIpAddress="10.9.9.9") == "InvalidParameterValue"
    assert code(AllocationId=free, SecondaryPrivateIpAddressCount=1) == "InvalidParameterValue"
    assert code(ConnectivityType="private", SecondaryPrivateIpAddressCount=8) == "PrivateIpAddressLimitExceeded"
    private = nat(cloud, subnet, ConnectivityType="private")["NatGatewayId"]
    assert (
        cloud.code("AssociateNatGatewayAddress", NatGatewayId=private, AllocationIds=[free]) == "UnsupportedOperation"
    )
    assert cloud.code("AssignPrivateNatGatewayAddress", NatGatewayId=private) == "MissingParameter"
    assert cloud.code("DeleteNatGateway", NatGatewayId="nat-0123456789abcdef0") == "NatGatewayNotFound"
    assert cloud.code("DeleteNatGateway", NatGatewayId="nat-x") == "NatGatewayMalformed"
    assert cloud.code("DeleteSubnet", SubnetId=subnet) == "DependencyViolation"


def test_its_elastic_ip_is_free_when_it_is_deleted(cloud, subnet):
    address = elastic(cloud)
    made = nat(cloud, subnet, AllocationId=address)["NatGatewayId"]
    assert cloud.code("ReleaseAddress", AllocationId=address) == "InvalidIPAddress.InUse"
    interface = cloud.interface(subnet)
    assert cloud.code("AssociateAddress", AllocationId=address, NetworkInterfaceId=interface) == "AuthFailure"
    cloud("DeleteNatGateway", NatGatewayId=made)
    cloud("ReleaseAddress", AllocationId=address)


def test_an_address_drains_before_it_goes(cloud, subnet):
    first, second = elastic(cloud), elastic(cloud)
    made = nat(cloud, subnet, AllocationId=first, SecondaryAllocationIds=[second])
    gateway = {"NatGatewayId": made["NatGatewayId"]}
    settle(cloud)
    leaving = next(one for one in made["NatGatewayAddresses"] if not one["IsPrimary"])
    params = {**gateway, "AssociationIds": [leaving["AssociationId"]]}
    cloud("DisassociateNatGatewayAddress", **params, MaxDrainDurationSeconds=100)
    (sandbox,) = cloud.wished("Sandbox").values()
    primary = made["NatGatewayAddresses"][0]["PrivateIp"]
    assert sandbox.sandbox.translation.addresses == (primary,)
    assert sandbox.sandbox.translation.draining == (leaving["PrivateIp"],)
    cloud.client.clock.time += 99
    settle(cloud)
    shown = cloud.one("DescribeNatGateways", "NatGateways", NatGatewayIds=list(gateway.values()))
    states = {one["PrivateIp"]: one["Status"] for one in shown["NatGatewayAddresses"]}
    assert states == {primary: "succeeded", leaving["PrivateIp"]: "disassociating"}
    assert cloud.code("ReleaseAddress", AllocationId=second) == "InvalidIPAddress.InUse"
    cloud.client.clock.time += 2
    settle(cloud)
    shown = cloud.one("DescribeNatGateways", "NatGateways", NatGatewayIds=list(gateway.values()))
    assert [one["PrivateIp"] for one in shown["NatGatewayAddresses"]] == [primary]
    (sandbox,) = cloud.wished("Sandbox").values()
    assert (sandbox.sandbox.translation.addresses, sandbox.sandbox.translation.draining) == ((primary,), ())
    cloud("ReleaseAddress", AllocationId=second)
    cloud("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress=leaving["PrivateIp"])


def test_what_drains_can_be_given_up_at_once(cloud, subnet):
    made = nat(cloud, subnet, ConnectivityType="private", SecondaryPrivateIpAddresses=["10.0.1.77"])
    settle(cloud)
    params = {"NatGatewayId": made["NatGatewayId"], "PrivateIpAddresses": ["10.0.1.77"]}
    cloud("UnassignPrivateNatGatewayAddress", **params, MaxDrainDurationSeconds=4000)
    cloud("UnassignPrivateNatGatewayAddress", **params)
    cloud("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress="10.0.1.77")
    settle(cloud)
    assert cloud.code("UnassignPrivateNatGatewayAddress", **params) == "InvalidParameterValue"
