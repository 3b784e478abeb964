"""NAT gateways, kept on packets: whose address is seen, what comes back, what does not come in. Needs root."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from pathlib import Path

import pytest

from gureum.drivers.flows.readers import NetlinkFlows
from gureum.drivers.networks import namespaces
from gureum.ports.firewalls import AclEntry, Rule
from gureum.ports.flows import Flow
from gureum.ports.networks import Route, SandboxSpec, Translation, TranslationCounts
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)
TO_NAT = (Route(ANYWHERE, "interface:nat"),)


async def behind_a_gateway(one: Cloud, *more: str, idle_s: int = 350) -> None:
    """Blue: `inside` in subnet b without a public address, `nat` in subnet a with one. Red, with the same CIDR: `far` with a public address."""
    await one.network("blue", uplink=True, a=TO_EDGE, b=TO_NAT)
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.network("red", uplink=True, a=TO_EDGE)
    await one.group("red", "open", OUT_ALL, IN_ALL)
    await one.machine("inside", "blue", "10.0.1.10", "open")
    await one.machine("far", "red", "10.0.0.10", "open", public=one.public(20))
    addresses = ("10.0.0.5", *more)
    await one.networks.ensure_sandbox(SandboxSpec("nat", guest=False, translation=Translation(addresses, idle_s)))
    public = tuple((private, one.public(10 + place)) for place, private in enumerate(addresses))
    await one.translator("nat", "blue", addresses, public)


@on_a_cloud
async def test_what_leaves_has_the_gateways_public_address(one: Cloud) -> None:
    await behind_a_gateway(one)
    with one.listen("far", 80) as server:
        near, far, seen = one.flow("inside", server, one.public(20))
        assert seen == one.public(10)
        assert say(near, far)
        near.close(), far.close()


@on_a_cloud
async def test_nothing_begins_outside(one: Cloud) -> None:
    await behind_a_gateway(one)
    with one.listen("inside", 80), one.listen("nat", 80):
        assert one.reach("far", one.public(10), 80) == "silent"


@on_a_cloud
async def test_flows_end_with_the_gateway(one: Cloud) -> None:
    await behind_a_gateway(one)
    with one.listen("far", 80) as server:
        near, far, _ = one.flow("inside", server, one.public(20))
        await one.networks.remove_interface("nat")
        await one.networks.remove_sandbox("nat")
        near.sendall(b"lost")
        assert not select.select([far], [], [], 0.3)[0]
        assert one.reach("inside", one.public(20), 80) in ("silent", "unreachable")
        near.close(), far.close()


@on_a_cloud
async def test_flows_are_spread_over_secondary_addresses(one: Cloud) -> None:
    await behind_a_gateway(one, "10.0.0.6")
    await one.machine("second", "blue", "10.0.1.11", "open")
    await one.machine("third", "blue", "10.0.1.12", "open")
    await one.machine("fourth", "blue", "10.0.1.13", "open")
    seen = set()
    with one.listen("far", 80) as server:
        for name in ("inside", "second", "third", "fourth"):
            near, far, address = one.flow(name, server, one.public(20))
            assert say(near, far)
            near.close(), far.close()
            seen.add(address)
    assert seen == {one.public(10), one.public(11)}


@on_a_cloud
async def test_two_machines_with_the_same_port_have_two(one: Cloud) -> None:
    await behind_a_gateway(one)
    await one.machine("second", "blue", "10.0.1.11", "open")
    with namespaces.entered(one.names.sandbox("far")):
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("", 53))
    far.settimeout(5)
    met = {}
    senders = []
    for name in ("inside", "second"):
        with namespaces.entered(one.names.sandbox(name)):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        senders.append(sender)
        sender.settimeout(5)
        sender.bind(("", 5000))
        sender.sendto(name.encode(), (one.public(20), 53))
        text, where = far.recvfrom(100)
        met[where] = text
        far.sendto(text, where)
        assert sender.recv(100) == name.encode()
    assert len(met) == 2
    assert {address for address, _ in met} == {one.public(10)}
    assert all(port >= 1024 for _, port in met)
    for one_of_them in (far, *senders):
        one_of_them.close()


@on_a_cloud
async def test_a_forgotten_flow_is_reset(one: Cloud) -> None:
    await behind_a_gateway(one, idle_s=1)
    with one.listen("far", 80) as server:
        near, far, _ = one.flow("inside", server, one.public(20))
        assert say(near, far)
        await one.until(lambda: not known_flows(one))
        near.sendall(b"late")
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        near.close(), far.close()


def known_flows(one: Cloud) -> str:
    """What the gateway still knows; a look is no packet of a flow, and the kernel shows none that is over."""
    with namespaces.entered(one.names.sandbox("nat")):
        return Path("/proc/thread-self/net/nf_conntrack").read_text()


async def counted(one: Cloud) -> TranslationCounts:
    found = (await one.networks.counters())["nat"].translation
    assert found is not None
    return found


@on_a_cloud
async def test_what_passes_is_counted_in_both_directions_and_connections_by_how_they_went(one: Cloud) -> None:
    await behind_a_gateway(one, idle_s=1)
    assert {name for name, found in (await one.networks.counters()).items() if found.translation} == {"nat"}
    with one.listen("far", 80) as server:
        near, far, _ = one.flow("inside", server, one.public(20))
        assert say(near, far, b"x" * 5000)
        open_ = await counted(one)
        assert (open_.attempts, open_.established, open_.active, open_.idle) == (1, 1, 1, 0)
        assert 5000 < open_.in_source_bytes == open_.out_destination_bytes < 6000
        assert open_.in_source_packets == open_.out_destination_packets >= 3
        assert 5000 < open_.in_destination_bytes == open_.out_source_bytes < 6000
        near.close(), far.close()
        await until_counted(one, active=0)
        assert (await counted(one)).idle == 0
        assert one.reach("inside", one.public(20), 81) == "refused"
        refused = await counted(one)
        assert (refused.attempts, refused.established, refused.active) == (2, 1, 0)
        near, far, _ = one.flow("inside", server, one.public(20))
        await until_counted(one, idle=1)
        near.close(), far.close()
    before = await counted(one)
    assert one.reach("far", one.public(10), 80) == "silent"
    assert (await counted(one)).dropped > before.dropped


@on_a_cloud
async def test_what_was_counted_stays_when_the_rules_are_replaced(one: Cloud) -> None:
    await behind_a_gateway(one)
    with one.listen("far", 80) as server:
        near, far, _ = one.flow("inside", server, one.public(20))
        before = await counted(one)
        translation = Translation(("10.0.0.5",), 300)
        await one.networks.ensure_sandbox(SandboxSpec("nat", guest=False, translation=translation))
        assert say(near, far)
        after = await counted(one)
        assert (after.attempts, after.established, after.active, after.idle) == (1, 1, 1, 0)
        assert after.in_source_packets > before.in_source_packets
        near.close(), far.close()


@on_a_cloud
async def test_packets_that_no_port_is_free_for_are_counted(one: Cloud) -> None:
    """One machine has taken all of them towards a server; another comes."""
    await behind_a_gateway(one)
    await one.machine("second", "blue", "10.0.1.11", "open")
    for name, ports in (("inside", range(1024, 65536)), ("second", range(5000, 5020))):
        with namespaces.entered(one.names.sandbox(name)):
            for port in ports:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.bind(("", port))
                    sender.sendto(b"x", (one.public(20), 53))
    assert (await counted(one)).refused_ports == 20


async def until_counted(one: Cloud, **wanted: int) -> None:
    async with asyncio.timeout(30):
        while True:
            found = await counted(one)
            if all(getattr(found, name) == value for name, value in wanted.items()):
                return
            await asyncio.sleep(0.02)


def told(flows: tuple[Flow, ...], interface: str) -> set[tuple[str, str, str, str, str, str]]:
    """(direction, action, source, its own, destination, its own) of TCP."""
    return {
        (
            flow.direction,
            flow.action,
            flow.source,
            flow.packet_source or flow.source,
            flow.destination,
            flow.packet_destination or flow.destination,
        )
        for flow in flows
        if flow.interface == interface and flow.protocol == 6
    }


@on_a_cloud
async def test_flow_logs_tell_both_sides_of_a_gateway(one: Cloud) -> None:
    """AWS: "Flow log record examples", "Traffic through a NAT gateway"."""
    await behind_a_gateway(one)
    client, gateway, server = "10.0.1.10", "10.0.0.5", one.public(20)
    flows = NetlinkFlows(one.home_id, one.run_dir, one.firewalls)
    await flows.watch("blue", frozenset({"nat", "inside"}), {"nat": "nat"})
    with one.listen("far", 80) as listening:
        near, far, _ = one.flow("inside", listening, server)
        assert say(near, far, b"x" * 5000)
        found = (await flows.collect()).flows
        assert told(found, "inside") == {
            ("egress", "ACCEPT", client, client, server, server),
            ("ingress", "ACCEPT", server, server, client, client),
        }
        assert told(found, "nat") == {
            ("ingress", "ACCEPT", client, client, gateway, server),
            ("egress", "ACCEPT", gateway, gateway, server, server),
            ("ingress", "ACCEPT", server, server, gateway, gateway),
            ("egress", "ACCEPT", gateway, server, client, client),
        }
        assert len({(flow.packets, flow.bytes) for flow in found if flow.source in (client, gateway)}) <= 2
        assert all(flow.bytes > 5000 for flow in found)
        assert say(near, far, b"y" * 100)
        again = (await flows.collect()).flows
        assert told(again, "nat") == told(found, "nat")
        assert all(0 < flow.bytes < 1000 for flow in again)
        near.close(), far.close()
    await flows.collect()
    await one.acl(
        "blue", "acl-1", "a", AclEntry("out", 100, True, "all", ANYWHERE)
    )  # nothing may come in to the gateway's subnet
    assert one.reach("inside", server, 80) == "silent"
    assert ("ingress", "REJECT", client, client, gateway, server) in told((await flows.collect()).flows, "nat")
    await one.networks.remove_interface("nat")
    await one.networks.remove_sandbox("nat")
    assert not (await flows.collect()).skipped
    await flows.watch("blue", frozenset({"inside"}))
    await flows.close()


@on_a_cloud
async def test_an_address_that_drains_keeps_its_flows_and_gets_no_new_ones(one: Cloud) -> None:
    await behind_a_gateway(one, "10.0.0.6")
    with one.listen("far", 80) as server:
        flows: dict[str, tuple[str, socket.socket, socket.socket]] = {}
        for number in range(11, 31):  # spread by their addresses
            name = f"m{number}"
            await one.machine(name, "blue", f"10.0.1.{number}", "open")
            near, far, seen = one.flow(name, server, one.public(20))
            flows[seen] = (name, near, far)
            if one.public(11) in flows:
                break
        name, near, far = flows[one.public(11)]
        translation = Translation(("10.0.0.5",), draining=("10.0.0.6",))
        await one.networks.ensure_sandbox(SandboxSpec("nat", guest=False, translation=translation))
        assert say(near, far)
        again, its_far, seen = one.flow(name, server, one.public(20))
        assert seen == one.public(10)
        for end in (near, far, again, its_far):
            end.close()
