"""Passages between networks, kept on packets: what arrives, from whom, and that equal addresses on both sides are no matter. Needs root."""

from __future__ import annotations

import os

import pytest

from gureum.ports.firewalls import Rule
from gureum.ports.networks import Passage, SandboxSpec
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)


async def joined(one: Cloud, client: str = "10.0.0.10", far: str = "10.0.0.20") -> None:
    """Two networks with the same CIDR: `client` in blue, `server` in red, and a way from blue's 10.0.0.5 to the server, who sees red's 10.0.0.6."""
    for name, machine, address in (("blue", "client", client), ("red", "server", far)):
        await one.network(name, a=())
        await one.group(name, "open", OUT_ALL, IN_ALL)
        await one.machine(machine, name, address, "open")
    await one.networks.ensure_sandbox(SandboxSpec("way", guest=False))
    for number, (network, address) in enumerate((("blue", "10.0.0.5"), ("red", "10.0.0.6"))):
        await one.machine(f"way{number}", network, address, "open", sandbox="way", device=f"eth{number}", exists=True)
    for _ in range(2):  # again is the same
        await one.networks.ensure_passage("way", Passage("10.0.0.6", far, "10.0.0.1", "10.0.0.1"))


@on_a_cloud
async def test_flows_pass_from_the_exits_own_address(one: Cloud) -> None:
    await joined(one)
    with one.listen("server", 80) as server:
        near, far, seen = one.flow("client", server, "10.0.0.5")
        assert seen == "10.0.0.6"
        assert say(near, far)
        assert say(far, near)
        near.close(), far.close()


@on_a_cloud
async def test_addresses_that_the_way_has_itself_are_no_matter(one: Cloud) -> None:
    """The client has the exit's address, the server the entrance's."""
    await joined(one, client="10.0.0.6", far="10.0.0.5")
    with one.listen("server", 80) as server:
        near, far, seen = one.flow("client", server, "10.0.0.5")
        assert seen == "10.0.0.6"
        assert say(near, far)
        near.close(), far.close()


@on_a_cloud
async def test_nothing_begins_at_the_exit(one: Cloud) -> None:
    await joined(one)
    with one.listen("client", 80):
        assert one.reach("server", "10.0.0.6", 80) == "silent"
        assert one.reach("client", "10.0.0.5", 81) == "refused"
