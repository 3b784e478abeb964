"""VPC peering between accounts and regions: who may do what, and what is lowered on both sides."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gureum.aws.ec2.networks.kinds import VpcPeering
from gureum.aws.ec2.networks.peering_connections import LIVES_UNACCEPTED_S, reconcile_vpc_peering
from gureum.aws.errors import AwsError


@pytest.fixture
def other(cloud, new_cloud):
    """Another account in the same store."""
    return new_cloud(cloud.client, account="999900001111")


@pytest.fixture
def pair(cloud, other):
    """VPCs of two accounts and the peering that the first has asked for."""
    vpc, far = cloud.vpc("10.1.0.0/16"), other.vpc("10.2.0.0/16")
    made = cloud("CreateVpcPeeringConnection", VpcId=vpc, PeerVpcId=far, PeerOwnerId=other.account)
    return vpc, far, made["VpcPeeringConnection"]["VpcPeeringConnectionId"]


def state(cloud, id_: str) -> str:
    shown = cloud.one("DescribeVpcPeeringConnections", "VpcPeeringConnections", VpcPeeringConnectionIds=[id_])
    return shown["Status"]["Code"]


def machine(cloud, vpc: str, cidr: str) -> str:
    """An interface that is plugged in, so that the VPC is on the machine."""
    nat = cloud("CreateNatGateway", SubnetId=cloud.subnet(vpc, cidr), ConnectivityType="private")["NatGateway"]
    return nat["NatGatewayAddresses"][0]["PrivateIp"]


def test_each_account_does_its_part_and_both_see_it(cloud, other, pair):
    _, _, pcx = pair
    assert state(cloud, pcx) == state(other, pcx) == "pending-acceptance"
    by = {"VpcPeeringConnectionId": pcx}
    assert cloud.code("AcceptVpcPeeringConnection", **by) == "OperationNotPermitted"
    assert cloud.code("RejectVpcPeeringConnection", **by) == "OperationNotPermitted"
    assert other.code("DeleteVpcPeeringConnection", **by) == "OperationNotPermitted"
    other("AcceptVpcPeeringConnection", **by)
    assert state(cloud, pcx) == state(other, pcx) == "active"
    mine = {"RequesterPeeringConnectionOptions": {"AllowDnsResolutionFromRemoteVpc": True}}
    assert other.code("ModifyVpcPeeringConnectionOptions", **by, **mine) == "OperationNotPermitted"
    cloud("ModifyVpcPeeringConnectionOptions", **by, **mine)
    other("DeleteVpcPeeringConnection", **by)
    assert state(cloud, pcx) == state(other, pcx) == "deleted"
    message = cloud.one("DescribeVpcPeeringConnections", "VpcPeeringConnections")["Status"]["Message"]
    assert message == f"Deleted by {other.account}"


def test_who_has_not_accepted_shows_nothing_of_his_vpc(cloud, other, pair):
    """Else whoever knows an id of another account's VPC learns its addresses by asking."""
    _, far, pcx = pair

    def shown() -> dict[str, Any]:
        return cloud.one("DescribeVpcPeeringConnections", "VpcPeeringConnections", VpcPeeringConnectionIds=[pcx])

    def by_cidr() -> list[Any]:
        filters = [{"Name": "accepter-vpc-info.cidr-block", "Values": ["10.2.0.0/16"]}]
        return cloud("DescribeVpcPeeringConnections", Filters=filters)["VpcPeeringConnections"]

    assert shown()["AccepterVpcInfo"] == {"OwnerId": other.account, "VpcId": far, "Region": "us-east-1"}
    assert shown()["RequesterVpcInfo"]["CidrBlock"] == "10.1.0.0/16"
    assert by_cidr() == []
    other("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    assert shown()["AccepterVpcInfo"]["CidrBlockSet"] == [{"CidrBlock": "10.2.0.0/16"}]
    assert len(by_cidr()) == 1


def test_both_networks_have_the_link_and_the_routes(cloud, other, pair):
    vpc, far, pcx = pair
    machine(cloud, vpc, "10.1.1.0/24"), machine(other, far, "10.2.1.0/24")
    table = cloud("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0][
        "RouteTableId"
    ]
    cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="10.2.0.0/16", VpcPeeringConnectionId=pcx)
    assert cloud.wished("Network")[vpc].network.peers == ()
    assert cloud.wished("Network")[vpc].network.subnets[0].routes[1].target == "blackhole"
    other("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    networks = cloud.wished("Network")
    near, away = networks[vpc].network, networks[far].network
    assert [(one.name, one.network, one.cidrs) for one in near.peers] == [(pcx, far, ("10.2.0.0/16",))]
    assert [(one.name, one.network, one.cidrs) for one in away.peers] == [(pcx, vpc, ("10.1.0.0/16",))]
    assert near.subnets[0].routes[1].target == f"peer:{pcx}"
    cloud("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.7.0.0/16")
    assert cloud.wished("Network")[far].network.peers[0].cidrs == ("10.1.0.0/16", "10.7.0.0/16")
    cloud("DeleteVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    assert cloud.wished("Network")[far].network.peers == ()


def test_rules_hold_for_members_of_the_other_accounts_group(cloud, other, pair):
    vpc, far, pcx = pair
    machine(cloud, vpc, "10.1.1.0/24")
    other("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    theirs, ours = other.group(far), cloud.group(vpc)
    pair_of = [{"GroupId": theirs, "UserId": other.account}]
    rule = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": pair_of}
    cloud("AuthorizeSecurityGroupIngress", GroupId=ours, IpPermissions=[rule])
    assert cloud.wished("FirewallGroup")[f"{ours}.{theirs}"].group.members == ()
    subnet = other.subnet(far, "10.2.1.0/24")
    other.interface(subnet, Groups=[theirs])  # plugged into nothing: no member yet
    assert cloud.wished("FirewallGroup")[f"{ours}.{theirs}"].group.members == ()
    other("DeleteVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    stale = cloud.one("DescribeStaleSecurityGroups", "StaleSecurityGroupSet", VpcId=vpc)
    assert stale["StaleIpPermissions"][0]["UserIdGroupPairs"][0]["PeeringStatus"] == "deleted"


def test_another_region_is_another_side(cloud, other_region):
    vpc, far = cloud.vpc("10.1.0.0/16"), other_region.vpc("10.2.0.0/16")
    made = cloud("CreateVpcPeeringConnection", VpcId=vpc, PeerVpcId=far, PeerRegion="eu-west-1")
    pcx = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    assert cloud.code("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx) == "OperationNotPermitted"
    other_region("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    assert state(cloud, pcx) == "active"


def test_what_cannot_be_peered_is_failed(cloud, other):
    vpc = cloud.vpc("10.1.0.0/16")
    missing = cloud(
        "CreateVpcPeeringConnection", VpcId=vpc, PeerVpcId="vpc-0123456789abcdef0", PeerOwnerId=other.account
    )
    itself = cloud("CreateVpcPeeringConnection", VpcId=vpc, PeerVpcId=vpc)
    for made, account in ((missing, other.account), (itself, cloud.account)):
        # What is answered at once is as in the examples of the AWS CLI's create-vpc-peering-connection.
        shown = made["VpcPeeringConnection"]
        assert shown["Status"] == {"Code": "initiating-request", "Message": f"Initiating Request to {account}"}
        assert shown["ExpirationTime"] == cloud.client.clock.now() + LIVES_UNACCEPTED_S
        assert state(cloud, shown["VpcPeeringConnectionId"]) == "failed"


def test_a_request_expires_after_a_week_and_is_forgotten(cloud, other, pair):
    _, _, pcx = pair
    cloud.client.clock.time += LIVES_UNACCEPTED_S
    assert state(cloud, pcx) == "expired"
    assert other.code("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx) == "InvalidStateTransition"

    def look() -> None:
        world: Any = SimpleNamespace(client=cloud.client, clock=cloud.client.clock, poke=lambda *_: None)
        for one in list(cloud.client.everywhere(VpcPeering)):
            asyncio.run(reconcile_vpc_peering(world, one))

    look()
    cloud.client.clock.time += 2 * 86400
    look()
    assert cloud.code("DescribeVpcPeeringConnections", VpcPeeringConnectionIds=[pcx]) == (
        "InvalidVpcPeeringConnectionID.NotFound"
    )


def test_a_deleted_vpc_ends_its_peerings(cloud, other, pair):
    _, far, pcx = pair
    other("AcceptVpcPeeringConnection", VpcPeeringConnectionId=pcx)
    other("DeleteVpc", VpcId=far)
    assert state(cloud, pcx) == "deleted"


@pytest.mark.usefixtures("slow_commits")
def test_two_sides_that_ask_at_once_are_peered_once(cloud, other):
    vpc, far = cloud.vpc("10.1.0.0/16"), other.vpc("10.2.0.0/16")

    async def both():
        ask = "CreateVpcPeeringConnection"
        calls = [cloud.run(ask, VpcId=vpc, PeerVpcId=far, PeerOwnerId=other.account) for _ in range(3)]
        calls += [other.run(ask, VpcId=far, PeerVpcId=vpc, PeerOwnerId=cloud.account) for _ in range(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    refused = [one.code for one in asyncio.run(both()) if isinstance(one, AwsError)]
    assert refused == ["VpcPeeringConnectionAlreadyExists"] * 5
