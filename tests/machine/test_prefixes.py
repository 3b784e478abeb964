"""Prefixes of interfaces and ways out without a way in, kept on packets. Needs root."""

from __future__ import annotations

import os

import pytest

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.netlink import LOOPBACK, Netlink, add_address
from gureum.drivers.networks.netns import NetnsNetworks
from gureum.ports.firewalls import Rule
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)
WEB_OF_GROUP = Rule("in", "tcp", (80, 80), group="open")


async def with_a_prefix(one: Cloud) -> None:
    """`node` has a prefix, and as many programs behind it as it has addresses (here, addresses on its loopback)."""
    await one.network("blue")
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.group("blue", "closed", OUT_ALL, WEB_OF_GROUP)
    await one.machine("node", "blue", "10.0.0.10", "open", prefixes=("10.0.0.32/28",))
    await one.machine("peer", "blue", "10.0.0.11", "closed")
    give(one, "node", "10.0.0.33")


def give(one: Cloud, machine: str, address: str) -> None:
    with namespaces.entered(one.names.sandbox(machine)), Netlink() as kernel:
        kernel.send([add_address(LOOPBACK, address, 32)])


def flows(one: Cloud) -> bool:
    """From the subnet and from another one alike."""
    with one.listen("node", 80, "10.0.0.33") as server:
        near, far, _ = one.flow("peer", server, "10.0.0.33")
        with near, far:
            return say(near, far)


@on_a_cloud
async def test_a_prefix_leads_to_its_interface(one: Cloud) -> None:
    await with_a_prefix(one)
    assert flows(one)
    await one.machine("node", "blue", "10.0.0.10", "open")
    with one.listen("node", 80, "10.0.0.33"):
        assert one.reach("peer", "10.0.0.33", 80) in ("silent", "unreachable")


@on_a_cloud
async def test_it_may_send_from_its_prefix_as_a_member_of_its_groups(one: Cloud) -> None:
    await with_a_prefix(one)
    give(one, "node", "10.0.0.99")
    with one.listen("peer", 80) as server:
        assert one.reach_from("node", "10.0.0.33", "10.0.0.11", 80) == "open"
        assert one.reach_from("node", "10.0.0.99", "10.0.0.11", 80) == "silent"
        assert server.accept()[1][0] == "10.0.0.33"


@on_a_cloud
async def test_a_new_agent_finds_prefixes_and_takes_them_away(one: Cloud) -> None:
    await with_a_prefix(one)
    await one.networks.close()
    one.networks = NetnsNetworks(one.home_id, one.run_dir)
    await one.machine("node", "blue", "10.0.0.10", "open", prefixes=("10.0.0.32/28",))
    assert flows(one)
    await one.networks.close()
    one.networks = NetnsNetworks(one.home_id, one.run_dir)
    await one.machine("node", "blue", "10.0.0.10", "open")
    with one.listen("node", 80, "10.0.0.33"):
        assert one.reach("peer", "10.0.0.33", 80) in ("silent", "unreachable")


@on_a_cloud
async def test_a_way_out_is_no_way_in(one: Cloud) -> None:
    for name, number in (("blue", 10), ("red", 11)):
        await one.network(name, uplink=True, a=TO_EDGE)
        await one.group(name, "open", OUT_ALL, IN_ALL)
        await one.machine(name, name, "10.0.0.10", "open", public=one.public(number))
    with one.listen("blue", 80), one.listen("red", 80):
        assert one.reach("red", one.public(10), 80) == one.reach("blue", one.public(11), 80) == "open"
        one.egress_only["blue"] = ("10.0.0.0/24",)
        await one.enforce("blue")
        assert one.reach("red", one.public(10), 80) == "silent"
        assert one.reach("blue", one.public(11), 80) == "open"
        del one.egress_only["blue"]
        await one.enforce("blue")
        assert one.reach("red", one.public(10), 80) == "open"
