"""Network ACLs, kept on packets: stateless, in the order of their numbers, at the boundary of a subnet and nowhere else. Needs root."""

from __future__ import annotations

import os
import select
import socket
import struct

import pytest

from gureum.drivers.networks import namespaces, netlink
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import AclEntry, Rule
from gureum.ports.networks import Route
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)
ALL_IN = AclEntry("in", 1000, True, "all", ANYWHERE)
ALL_OUT = AclEntry("out", 1000, True, "all", ANYWHERE)
WEB_IN = AclEntry("in", 100, True, "tcp", ANYWHERE, (80, 80))
WEB_OUT = AclEntry("out", 100, True, "tcp", ANYWHERE, (80, 80))
REPLIES_IN = AclEntry("in", 200, True, "tcp", ANYWHERE, (1024, 65535))
REPLIES_OUT = AclEntry("out", 200, True, "tcp", ANYWHERE, (1024, 65535))
_SILENCE_S = 0.3


async def two_subnets(one: Cloud) -> None:
    """`a` and `near` in subnet a, `b` in subnet b; their groups let everything pass. All but `near` have public addresses."""
    await one.network("blue", uplink=True, a=TO_EDGE, b=TO_EDGE)
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.machine("a", "blue", "10.0.0.10", "open", public=one.public(10))
    await one.machine("near", "blue", "10.0.0.11", "open")
    await one.machine("b", "blue", "10.0.1.10", "open", public=one.public(11))


@on_a_cloud
async def test_replies_need_an_entry_of_their_own(one: Cloud) -> None:
    await two_subnets(one)
    with one.listen("b", 80) as server:
        await one.acl("blue", "acl-1", "a", WEB_OUT)
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        await one.acl("blue", "acl-1", "a", WEB_OUT, REPLIES_IN)
        near, far, seen = one.flow("a", server, "10.0.1.10")
        assert seen == "10.0.0.10"
        assert say(near, far)
        near.close(), far.close()


@on_a_cloud
async def test_open_flow_stops_when_its_entry_goes(one: Cloud) -> None:
    await two_subnets(one)
    await one.acl("blue", "acl-1", "a", WEB_OUT, REPLIES_IN)
    with one.listen("b", 80) as server:
        near, far, _ = one.flow("a", server, "10.0.1.10")
        await one.acl("blue", "acl-1", "a", WEB_OUT)
        far.sendall(b"held back")
        assert not select.select([near], [], [], _SILENCE_S)[0]
        await one.acl("blue", "acl-1", "a", WEB_OUT, REPLIES_IN)
        assert near.recv(9) == b"held back"  # sent again by TCP
        near.close(), far.close()


@on_a_cloud
async def test_lowest_number_that_fits_decides(one: Cloud) -> None:
    await two_subnets(one)
    deny = AclEntry("in", 100, False, "tcp", "10.0.0.0/24", (80, 80))
    with one.listen("b", 80), one.listen("b", 81):
        await one.acl("blue", "acl-1", "b", ALL_IN, ALL_OUT, deny)
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        assert one.reach("a", "10.0.1.10", 81) == "open"
        earlier = AclEntry("in", 99, True, "tcp", "10.0.0.10/32", (80, 80))
        await one.acl("blue", "acl-1", "b", ALL_IN, ALL_OUT, deny, earlier)
        assert one.reach("a", "10.0.1.10", 80) == "open"
        assert one.reach("near", "10.0.1.10", 80) == "silent"
        later = AclEntry("in", 101, True, "tcp", "10.0.0.10/32", (80, 80))
        await one.acl("blue", "acl-1", "b", ALL_IN, ALL_OUT, deny, later)
        assert one.reach("a", "10.0.1.10", 80) == "silent"


@on_a_cloud
async def test_acl_stands_at_the_boundary_of_its_subnets_only(one: Cloud) -> None:
    await two_subnets(one)
    await one.machine("c", "blue", "10.0.2.10", "open")
    await one.acl("blue", "nothing", "a")
    with one.listen("near", 80), one.listen("b", 80), one.listen("c", 80):
        assert one.reach("a", "10.0.0.11", 80) == "open"
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        assert one.reach("b", "10.0.0.11", 80) == "silent"
        assert one.reach("b", "10.0.2.10", 80) == "open"


@on_a_cloud
async def test_between_two_subnets_both_acls_count_in_both_directions(one: Cloud) -> None:
    await two_subnets(one)
    client, server = (WEB_OUT, REPLIES_IN), (WEB_IN, REPLIES_OUT)
    with one.listen("b", 80):
        await one.acl("blue", "acl-a", "a", *client)
        await one.acl("blue", "acl-b", "b", *server)
        assert one.reach("a", "10.0.1.10", 80) == "open"
        for missing in range(4):
            left = [entry for number, entry in enumerate((*client, *server)) if number != missing]
            await one.acl("blue", "acl-a", "a", *(entry for entry in left if entry in client))
            await one.acl("blue", "acl-b", "b", *(entry for entry in left if entry in server))
            assert one.reach("a", "10.0.1.10", 80) == "silent"
        # One ACL of both subnets stands between them, too.
        await one.acl("blue", "acl-b", "")
        await one.acl("blue", "acl-a", "ab", *client)
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        await one.acl("blue", "acl-a", "ab", *client, *server)
        assert one.reach("a", "10.0.1.10", 80) == "open"


@on_a_cloud
async def test_the_world_is_seen_by_its_public_addresses_and_the_subnet_by_private_ones(one: Cloud) -> None:
    await two_subnets(one)
    host = f"{one.public(1)}/32"
    from_host = AclEntry("in", 100, True, "tcp", host, (80, 80))
    to_host = AclEntry("out", 100, True, "tcp", host, (1024, 65535))
    with one.listen("a", 80), one.listen("b", 80):
        await one.acl("blue", "acl-1", "a", from_host)
        assert one.reach("", one.public(10), 80) == "silent"
        await one.acl("blue", "acl-1", "a", from_host, to_host)
        assert one.reach("", one.public(10), 80) == "open"
        assert one.reach("b", one.public(10), 80) == "silent"
        assert one.reach("b", "10.0.0.10", 80) == "silent"
        # By its public address a neighbour comes as anyone from outside.
        neighbour = f"{one.public(11)}/32"
        await one.acl(
            "blue",
            "acl-1",
            "a",
            AclEntry("in", 100, True, "tcp", neighbour, (80, 80)),
            AclEntry("out", 100, True, "tcp", neighbour, (1024, 65535)),
        )
        assert one.reach("b", one.public(10), 80) == "open"
        assert one.reach("b", "10.0.0.10", 80) == "silent"
        assert one.reach("", one.public(10), 80) == "silent"


@on_a_cloud
async def test_way_out_needs_both_directions(one: Cloud) -> None:
    await two_subnets(one)
    await one.network("green", uplink=True, a=TO_EDGE)
    await one.group("green", "open", OUT_ALL, IN_ALL)
    await one.machine("green", "green", "10.0.0.10", "open", public=one.public(20))
    with one.listen("green", 80):
        await one.acl("blue", "acl-1", "a", WEB_OUT, REPLIES_IN)
        assert one.reach("a", one.public(20), 80) == "open"
        await one.acl("blue", "acl-1", "a", WEB_OUT)
        assert one.reach("a", one.public(20), 80) == "silent"
        await one.acl("blue", "acl-1", "a", REPLIES_IN)
        assert one.reach("a", one.public(20), 80) == "silent"


@on_a_cloud
async def test_names_and_metadata_pass_an_acl_that_denies_everything(one: Cloud) -> None:
    await two_subnets(one)
    await one.acl("blue", "nothing", "ab")
    open_socket = one.networks.open_socket
    with open_socket("blue", "169.254.169.254", 80, "tcp"), open_socket("blue", "10.0.0.2", 53, "tcp"):
        for machine in ("a", "b"):
            assert one.reach(machine, "169.254.169.254", 80) == "open"
            assert one.reach(machine, "10.0.0.2", 53) == "open"


@on_a_cloud
async def test_icmp_by_type(one: Cloud) -> None:
    await two_subnets(one)
    question = AclEntry("out", 100, True, "icmp", ANYWHERE, (8, -1))
    answer = AclEntry("in", 100, True, "icmp", ANYWHERE, (0, 0))
    await one.acl("blue", "acl-1", "a", question)
    assert not pings(one, "a", "10.0.1.10")
    await one.acl("blue", "acl-1", "a", question, answer)
    assert pings(one, "a", "10.0.1.10")
    await one.acl("blue", "acl-1", "a", question, AclEntry("in", 100, True, "icmp", ANYWHERE, (0, 1)))
    assert not pings(one, "a", "10.0.1.10")


@on_a_cloud
async def test_what_an_interface_forwards_leaves_and_enters_the_interfaces_subnet(one: Cloud) -> None:
    await one.network("blue", b=(Route("192.0.2.0/24", "interface:gate"),))
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.machine("client", "blue", "10.0.1.10", "open")
    await one.machine("gate", "blue", "10.0.0.10", "open", source_check=False)
    with namespaces.entered(one.names.sandbox("gate")), netlink.Netlink() as kernel:
        kernel.send([netlink.add_address(netlink.LOOPBACK, "192.0.2.7", 32)])
    into, out = AclEntry("in", 100, True, "all", "10.0.1.0/24"), AclEntry("out", 100, True, "all", "10.0.1.0/24")
    with one.listen("gate", 80):
        for entries, met in (((into,), "silent"), ((out,), "silent"), ((into, out), "open")):
            await one.acl("blue", "acl-1", "a", *entries)
            assert one.reach("client", "192.0.2.7", 80) == met


@on_a_cloud
async def test_acls_change_hands_and_outlive_the_driver(one: Cloud) -> None:
    await two_subnets(one)
    with one.listen("b", 80):
        await one.acl("blue", "nothing", "a")
        await one.acl("blue", "all", "b", ALL_IN, ALL_OUT)
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        await one.firewalls.close()
        one.firewalls = NftFirewalls(one.home_id)
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        await one.enforce("blue")
        assert one.reach("a", "10.0.1.10", 80) == "silent"
        one.acls["blue"].clear()
        await one.acl("blue", "all", "ab", ALL_IN, ALL_OUT)
        assert one.reach("a", "10.0.1.10", 80) == "open"
        await one.acl("blue", "nothing", "c")
        await one.machine("c", "blue", "10.0.2.10", "open")
        assert one.reach("c", "10.0.1.10", 80) == "silent"
        one.acls["blue"].clear()
        await one.enforce("blue")
        assert one.reach("c", "10.0.1.10", 80) == "open"


def pings(one: Cloud, machine: str, address: str) -> bool:
    """Whether an echo request is answered."""
    with namespaces.entered(one.names.sandbox(machine)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with opened:
        header = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
        total = sum(struct.unpack("!4H", header))
        opened.sendto(header[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[4:], (address, 0))
        return bool(select.select([opened], [], [], _SILENCE_S)[0])
