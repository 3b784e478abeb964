"""The way out through the host: stock clients' machines and containers reach an internet that is a namespace, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker
from tests.cloud.running import Cloud, until, whole_life
from tests.cloud.test_vpc_networking import EVERYWHERE, Place, launch
from tests.internet import ASIDE, HOST, METADATA, NAME, PORT, PRIVATE, RESOLVER, WEB, Internet, internet


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    if os.geteuid() != 0:
        pytest.skip("machines need root")
    with internet(tmp_path_factory.mktemp("internet")) as made:
        yield made


@pytest.fixture(scope="module")
def cloud(world: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Its host is the namespace; guests go out by `world` alone. Afterwards the host is as before."""
    before = world.state()
    made = Cloud(tmp_path_factory.mktemp("gureum"), resolvers=RESOLVER, flow_log_interval_s="1")
    leave_by(made, "world")
    with whole_life(made):
        yield made
    assert world.state() == before


def leave_by(cloud: Cloud, egress: str) -> None:
    (cloud.home / "gureum.toml").write_text(f'egress = "{egress}"\n')


def fetched(docker: Docker, address: str, *options: str, port: int = 80) -> str:
    """What a container gets from there; "" for nothing."""
    ask = f"timeout 1 wget -qO- http://{address}:{port}/; true"
    return docker("run", "--rm", *options, BUSYBOX, "sh", "-c", ask)


def test_a_container_fetches_from_the_internet_by_name(docker: Docker) -> None:
    docker("network", "create", "mine")
    assert fetched(docker, NAME) == HOST
    assert fetched(docker, NAME, "--network", "mine") == HOST


def test_where_there_is_no_way_there_are_no_names_either(docker: Docker) -> None:
    docker("network", "create", "--internal", "inside")
    assert fetched(docker, WEB, "--network", "inside") == ""
    assert fetched(docker, WEB, "--network", "none") == ""
    docker("create", "--name", "both", "--network", "inside", BUSYBOX, "sh", "-c", f"wget -qO- http://{NAME}/")
    docker("network", "create", "outside")
    docker("network", "connect", "outside", "both")
    assert docker("start", "-a", "both") == HOST, "out by the one that is not internal"
    asked = docker.run("run", "--rm", "--network", "inside", BUSYBOX, "nslookup", NAME, check=False)
    assert WEB not in asked.stdout.decode()


def test_neither_host_nor_its_neighbours_are_within_reach(docker: Docker, world: Internet, cloud: Cloud) -> None:
    assert fetched(docker, WEB) == HOST, "with the first network the host knows its pool, which was nobody's before"
    places = [PRIVATE, METADATA, ASIDE, HOST, str(cloud.pool[1])]
    for address in places:
        assert world.in_host("wget", "-qO-", f"http://{address}:{PORT}/"), "the host itself gets there"
    ask = "; ".join(f"timeout 1 wget -qO- http://{address}:{PORT}/" for address in (*places, WEB))
    assert docker("run", "--rm", BUSYBOX, "sh", "-c", ask) == HOST


def test_a_firewall_of_the_hosts_own_counts_too_and_doctor_names_it(
    docker: Docker, world: Internet, cloud: Cloud
) -> None:
    def told() -> dict[str, Any]:
        findings = json.loads(cloud.command("doctor", "--json", check=False).stdout)
        return next(dict(one) for one in findings if one["what"] == "way out")

    assert told()["level"] == "ok"
    world.in_host(
        "nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )
    try:
        assert "ip filter FORWARD" in told()["seen"]
        assert fetched(docker, WEB) == ""
    finally:
        world.in_host("nft", "delete", "table", "ip", "filter")
    assert fetched(docker, WEB) == HOST


def test_subnets_differ_in_their_ways_out(cloud: Cloud, world: Internet) -> None:
    ec2, logs = cloud.client("ec2"), cloud.client("logs")
    place = Place(ec2, "10.1.0.0/16", public=True)
    alone, _ = place.add_subnet("10.1.1.0/24")
    behind, table = place.add_subnet("10.1.2.0/24")
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=place.subnet, AllocationId=allocation)["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[gateway], WaiterConfig={"Delay": 1})
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=EVERYWHERE, NatGatewayId=gateway)
    logs.create_log_group(logGroupName="flows")
    ec2.create_flow_logs(
        ResourceIds=[place.vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName="flows",
        DeliverLogsPermissionArn="arn:aws:iam::111122223333:role/flows",
    )
    public = launch(cloud, ec2, place.subnet, public=True)
    private, lonely = (launch(cloud, ec2, subnet) for subnet in (behind, alone))

    def gets(machine: dict[str, Any], address: str = NAME) -> str:
        ask = ("timeout", "1", "wget", "-qO-", f"http://{address}/")
        return cloud.inside(machine["InstanceId"], *ask).stdout

    assert until(lambda: gets(public)) == HOST
    assert until(lambda: gets(private)) == HOST
    assert gets(lonely, WEB) == ""
    assert gets(public, ASIDE) == "", "by the named interface only"

    address = public["PublicIpAddress"]
    come_in = ["nsenter", f"--net={world.world}", "wget", "-T1", "-t1", "-qO-", f"http://{address}/"]
    assert subprocess.run(come_in, check=False, capture_output=True).returncode != 0
    place.allow(IpRanges=[{"CidrIp": EVERYWHERE}])
    assert subprocess.run(come_in, check=False, capture_output=True).returncode != 0

    def told() -> bool:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="flows")
        records = [event["message"].split() for page in pages for event in page["events"]]
        return any(one[3:5] == [public["PrivateIpAddress"], WEB] and one[12] == "ACCEPT" for one in records)

    until(told)

    every = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": EVERYWHERE}]}]
    ec2.revoke_security_group_egress(GroupId=place.group, IpPermissions=every)
    until(lambda: gets(public, WEB) == "")
    ec2.authorize_security_group_egress(GroupId=place.group, IpPermissions=every)
    assert until(lambda: gets(public, WEB)) == HOST
    of_vpc = [{"Name": "vpc-id", "Values": [place.vpc]}]
    acl = ec2.describe_network_acls(Filters=of_vpc)["NetworkAcls"][0]["NetworkAclId"]
    denied = {"NetworkAclId": acl, "RuleNumber": 50, "Egress": True}
    ec2.create_network_acl_entry(**denied, Protocol="-1", RuleAction="deny", CidrBlock=f"{WEB}/32")
    until(lambda: gets(public, WEB) == "")


def test_traffic_goes_on_while_daemon_and_agent_are_killed(cloud: Cloud, docker: Docker, world: Internet) -> None:
    loop = f"while true; do timeout 2 wget -qO- http://{WEB}/tick || wget -qO- http://{WEB}/late; sleep 0.1; done"
    docker("run", "-d", "--name", "ticker", BUSYBOX, "sh", "-c", loop)
    until(lambda: f"{HOST} /tick" in world.seen())
    old = [cloud.process(name) for name in ("daemon", "agent")]
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    count = len(world.seen())
    until(lambda: len(world.seen()) > count + 5)
    until(lambda: all(pid != cloud.process(name) for pid, name in zip(old, ("daemon", "agent"), strict=True)))
    until(lambda: fetched(docker, NAME) == HOST)
    assert f"{HOST} /late" not in world.seen()
    docker("rm", "-f", "ticker")


def test_without_a_way_out_nothing_leaves_and_it_comes_and_goes(cloud: Cloud, docker: Docker, world: Internet) -> None:
    table = f"gureum-{cloud.identity['id']}"
    assert fetched(docker, NAME) == HOST, "the way comes with the first network that has one"
    assert table in world.state()
    leave_by(cloud, "off")
    cloud.command("restart")
    until(lambda: table not in world.state())
    assert fetched(docker, WEB) == ""
    assert "forwarding = 1" not in world.state()
    leave_by(cloud, "host")
    cloud.command("restart")
    assert until(lambda: fetched(docker, NAME)) == HOST
    assert fetched(docker, ASIDE) == "192.0.2.130", "as the host's routes lead"
    leave_by(cloud, "world")
    cloud.command("restart")
    until(lambda: fetched(docker, NAME) == HOST and not fetched(docker, ASIDE))
