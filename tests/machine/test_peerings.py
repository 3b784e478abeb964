"""Peered networks, kept on packets: what passes between two, and what does not pass on to a third. Needs root."""

from __future__ import annotations

import contextlib
import os
import socket

import msgspec
import pytest

from gureum.drivers.networks import namespaces
from gureum.ports.firewalls import BalancedPort, BalancedTarget, Group, Rule
from gureum.ports.networks import Peer, Route, SandboxSpec, Translation
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

WEB = Rule("in", "tcp", (80, 80), cidr=ANYWHERE)
CIDRS = {"one": "10.1.0.0/16", "two": "10.2.0.0/16", "three": "10.3.0.0/16"}


async def peered(one: Cloud, *pairs: tuple[str, str], further: dict[str, dict[str, str]] | None = None) -> None:
    """Networks one, two and three, a machine of the same name in each, and peerings between the pairs, with routes both ways. `further`: routes
    of a network, destination -> the other end of a peering."""
    for name, cidr in CIDRS.items():
        peers, routes = [], []
        for pair in pairs:
            if name in pair:
                other = pair[0] if pair[1] == name else pair[1]
                peers.append(Peer("-".join(pair), other, (CIDRS[other],)))
                routes.append(Route(CIDRS[other], f"peer:{'-'.join(pair)}"))
        routes += [Route(far, f"peer:{peering}") for far, peering in (further or {}).get(name, {}).items()]
        await one.network(name, cidr, peers=tuple(peers), a=tuple(routes), b=tuple(routes))
        if name not in one.interfaces:
            await one.group(name, "web", OUT_ALL, WEB)
            await one.machine(name, name, cidr.replace("0.0/16", "0.10"), "web")


@on_a_cloud
async def test_two_networks_reach_each_other_by_private_addresses(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    with one.listen("two", 80) as server:
        near, far, seen = one.flow("one", server, "10.2.0.10")
        assert seen == "10.1.0.10"
        assert say(near, far)
        near.close(), far.close()
    with one.listen("one", 80), one.listen("two", 81):
        assert one.reach("two", "10.1.0.10", 80) == "open"
        assert one.reach("one", "10.2.0.10", 81) == "silent"  # the receiver's groups judge
    assert one.reach("three", "10.1.0.10", 80) == "unreachable"


@on_a_cloud
async def test_nothing_passes_through_to_a_third(one: Cloud) -> None:
    pairs = (("one", "two"), ("two", "three"))
    await peered(one, *pairs, further={"one": {CIDRS["three"]: "one-two"}, "three": {CIDRS["one"]: "two-three"}})
    with one.listen("three", 80), one.listen("two", 80):
        assert one.reach("one", "10.2.0.10", 80) == "open"
        assert one.reach("one", "10.3.0.10", 80) == "silent"


@on_a_cloud
async def test_one_without_a_route_gives_no_answers(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    spec = one.specs["two"]
    bare = tuple(msgspec.structs.replace(subnet, routes=()) for subnet in spec.subnets)
    await one.networks.ensure_network(msgspec.structs.replace(spec, subnets=bare))
    with one.listen("two", 80):
        assert one.reach("one", "10.2.0.10", 80) == "silent"


@on_a_cloud
async def test_the_way_ends_with_the_peering_and_comes_back_with_it(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    with one.listen("two", 80):
        assert one.reach("one", "10.2.0.10", 80) == "open"
        await peered(one)
        assert one.reach("one", "10.2.0.10", 80) == "unreachable"
        await peered(one, ("one", "two"))
        assert one.reach("one", "10.2.0.10", 80) == "open"


@on_a_cloud
async def test_it_does_not_matter_who_is_made_first_or_anew(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    spec = one.specs["two"]
    await one.networks.remove_network("two")
    await one.firewalls.forget("two")
    assert one.reach("one", "10.2.0.10", 80) in ("unreachable", "silent")
    await one.networks.ensure_network(spec)
    await one.networks.ensure_interface(one.interfaces["two"])
    await one.enforce("two")
    with one.listen("two", 80):
        assert one.reach("one", "10.2.0.10", 80) == "open"


@on_a_cloud
async def test_rules_know_members_of_the_other_networks_groups(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    one.groups["two"]["friends"] = Group("friends", members=("10.1.0.10",))
    await one.group("two", "web", OUT_ALL, Rule("in", "tcp", (80, 80), group="friends"))
    await one.machine("stranger", "one", "10.1.0.11", "web")
    with one.listen("two", 80):
        assert one.reach("one", "10.2.0.10", 80) == "open"
        assert one.reach("stranger", "10.2.0.10", 80) == "silent"


@on_a_cloud
async def test_a_private_nat_gateway_is_who_is_seen_in_the_other_network(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    translation = Translation(("10.1.0.20",))
    await one.networks.ensure_sandbox(SandboxSpec("nat", guest=False, translation=translation))
    spec = one.specs["one"]
    await one.network(
        "one", CIDRS["one"], peers=spec.peers, a=spec.subnets[0].routes, c=(Route(CIDRS["two"], "interface:nat"),)
    )
    await one.translator("nat", "one", ("10.1.0.20",), ())
    await one.machine("hidden", "one", "10.1.2.10", "web")
    with one.listen("two", 80) as server:
        near, far, seen = one.flow("hidden", server, "10.2.0.10")
        assert seen == "10.1.0.20"
        assert say(near, far)
        near.close(), far.close()


@on_a_cloud
async def test_a_balancer_sends_on_to_targets_in_the_other_network_what_comes_from_inside_and_outside(
    one: Cloud,
) -> None:
    """AWS: "Register targets": addresses in a peered VPC. The node is in subnet a, which has the way there and one to the internet."""
    await peered(one, ("one", "two"))
    spec = one.specs["one"]
    way = spec.subnets[0].routes
    await one.network("one", CIDRS["one"], uplink=True, peers=spec.peers, a=(*way, *TO_EDGE), b=way)
    await one.machine("node", "one", "10.1.0.5", public=one.public(10))
    await one.balancer("node", BalancedPort("tcp", 8080, (BalancedTarget("10.2.0.10", 80),), preserve_client=False))
    with one.listen("two", 80) as server:
        for machine, address in (("one", "10.1.0.5"), ("", one.public(10))):
            with one.connecting(machine, address, 8080) as near:
                far, (seen, _) = server.accept()
                near.settimeout(5)
                with far:
                    assert seen == "10.1.0.5"
                    assert say(near, far)
        # Without a balancer nobody passes from outside.
        await one.balancer("node")
        assert one.reach("", one.public(10), 8080) == "refused"


@on_a_cloud
async def test_what_a_balancer_sends_to_the_other_network_goes_its_own_way_whoever_the_client_is(one: Cloud) -> None:
    """AWS, "Client IP preservation": targets may be in a peered VPC. The client's own subnet has no way there."""
    await peered(one, ("one", "two"))
    spec = one.specs["one"]
    await one.network("one", CIDRS["one"], uplink=True, peers=spec.peers, a=(*spec.subnets[0].routes, *TO_EDGE))
    await one.machine("node", "one", "10.1.0.5", public=one.public(10))
    await one.machine("inside", "one", "10.1.2.10", "web")
    assert one.reach("inside", "10.2.0.10", 80) == "unreachable"
    with one.listen("two", 80) as server:
        for preserve in (False, True):
            to = BalancedPort("tcp", 8080, (BalancedTarget("10.2.0.10", 80),), preserve_client=preserve)
            await one.balancer("node", to)
            known = "10.1.2.10" if preserve else "10.1.0.5"
            # Of who is of neither network the other sees the node.
            for machine, address, whom in (("inside", "10.1.0.5", known), ("", one.public(10), "10.1.0.5")):
                with one.connecting(machine, address, 8080) as near:
                    far, (seen, _) = server.accept()
                    near.settimeout(5)
                    with far:
                        assert seen == whom
                        assert all(say(near, far) for _ in range(3))
    assert one.reach("inside", "10.2.0.10", 80) == "unreachable"


@on_a_cloud
async def test_datagrams_without_an_answer_find_the_other_network_each_time(one: Cloud) -> None:
    await peered(one, ("one", "two"))
    spec = one.specs["one"]
    await one.network("one", CIDRS["one"], uplink=True, peers=spec.peers, a=(*spec.subnets[0].routes, *TO_EDGE))
    await one.group("two", "web", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.machine("node", "one", "10.1.0.5", public=one.public(10))
    await one.machine("inside", "one", "10.1.2.10", "web")
    await one.balancer("node", BalancedPort("udp", 53, (BalancedTarget("10.2.0.10", 5300),)))
    with namespaces.entered(one.names.sandbox("two")):
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("", 5300))
    far.settimeout(5)
    with far:
        for machine, address, whom in (("inside", "10.1.0.5", "10.1.2.10"), ("", one.public(10), "10.1.0.5")):
            with namespaces.entered(one.names.sandbox(machine)) if machine else contextlib.nullcontext():
                near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            near.connect((address, 53))
            near.settimeout(5)
            with near:
                for text in (b"one", b"two", b"three"):
                    near.send(text)
                    data, seen = far.recvfrom(100)
                    assert (data, seen[0]) == (text, whom)
                far.sendto(b"answer", seen)
                assert near.recv(100) == b"answer"
