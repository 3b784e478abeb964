"""NAT gateways, kept on packets: whose address is seen, what comes back, what does not come in. Needs root."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest

from gureum.drivers import namespaces
from gureum.ports.firewalls import Rule
from gureum.ports.networks import Route, SandboxSpec, Translation
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
