"""An appliance at a network's entrance, on packets: it forwards with addresses as they are, and sees both ways. Needs root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.netns import NetnsNetworks
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import AclEntry, Rule
from gureum.ports.networks import Route
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

WEB = Rule("in", "tcp", (80, 81), cidr=ANYWHERE)
GUARDED = (Route(ANYWHERE, "interface:gate"),)
INTO = (Route("10.0.1.0/24", "interface:gate"),)


async def _guarded(one: Cloud) -> None:
    """A machine with a public address in subnet b, whose ways in and out lead through `gate` in subnet a."""
    await one.network("blue", uplink=True, entrance=INTO, a=TO_EDGE, b=GUARDED)
    await one.group("blue", "all", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("gate", "blue", "10.0.0.10", "all", public=one.public(9), source_check=False)
    await one.machine("server", "blue", "10.0.1.10", "web", public=one.public(10))


def _forwards(one: Cloud, yes: bool, name: str = "gate") -> None:
    with namespaces.entered(one.names.sandbox(name)):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1" if yes else "0")


def _forwarded(one: Cloud, name: str = "gate") -> int:
    """Packets that the appliance has passed on."""
    with namespaces.entered(one.names.sandbox(name)):
        lines = Path("/proc/self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


@on_a_cloud
async def test_what_comes_in_and_its_answers_pass_the_appliance_unchanged(one: Cloud) -> None:
    await _guarded(one)
    _forwards(one, True)
    with one.listen("server", 80) as server:
        near, far, seen = one.flow("", server, one.public(10))
        assert seen == one.public(1)
        assert far.getpeername()[1] == near.getsockname()[1], "not even the port is another"
        before = _forwarded(one)
        assert say(near, far)
        assert _forwarded(one) >= before + 2
        near.close(), far.close()
        _forwards(one, False)
        assert one.reach("", one.public(10), 80) == "silent"


@on_a_cloud
async def test_what_goes_out_passes_the_appliance_and_has_the_machines_public_address(one: Cloud) -> None:
    await _guarded(one)
    await one.network("green", "10.7.0.0/16", uplink=True, a=TO_EDGE)
    await one.group("green", "web", OUT_ALL, WEB)
    await one.machine("far", "green", "10.7.0.10", "web", public=one.public(20))
    _forwards(one, True)
    with one.listen("far", 80) as server:
        near, far, seen = one.flow("server", server, one.public(20))
        assert seen == one.public(10)
        assert say(near, far)
        near.close(), far.close()
        near, far, seen = one.flow("gate", server, one.public(20))
        assert seen == one.public(9), "the appliance's own flows have its own address"
        near.close(), far.close()
    with one.listen("gate", 80):
        assert one.reach("", one.public(9), 80) == "open"


@on_a_cloud
async def test_groups_and_acls_of_appliance_and_machine_both_count(one: Cloud) -> None:
    await _guarded(one)
    _forwards(one, True)
    with one.listen("server", 80), one.listen("server", 81), one.listen("server", 82):
        assert [one.reach("", one.public(10), port) for port in (80, 81, 82)] == ["open", "open", "silent"]
        await one.group("blue", "all", OUT_ALL, Rule("in", "tcp", (80, 80), cidr=ANYWHERE))
        assert [one.reach("", one.public(10), port) for port in (80, 81)] == ["open", "silent"]
        allow = AclEntry(10, "out", True, "all", ANYWHERE)
        await one.acl("blue", "web", "b", allow, AclEntry(10, "in", True, "tcp", ANYWHERE, (81, 81)))
        assert [one.reach("", one.public(10), port) for port in (80, 81)] == ["silent", "silent"]


@on_a_cloud
async def test_only_what_comes_from_outside_passes_the_appliance(one: Cloud) -> None:
    await _guarded(one)
    await one.machine("inside", "blue", "10.0.0.11", "web")
    _forwards(one, False)
    with one.listen("server", 80):
        assert one.reach("inside", "10.0.1.10", 80) == "open"
        await one.network("blue", uplink=True, a=TO_EDGE, b=TO_EDGE)
        assert one.reach("", one.public(10), 80) == "open"
        await one.network("blue", uplink=True, entrance=INTO, a=TO_EDGE, b=GUARDED)
        await one.networks.remove_interface("gate")
        assert one.reach("", one.public(10), 80) != "open"


@on_a_cloud
async def test_route_for_a_subnet_does_not_lead_away_what_stays_in_it(one: Cloud) -> None:
    away = (Route("10.0.0.0/16", "interface:gate"),)
    await one.network("blue", b=away)
    await one.group("blue", "all", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.machine("gate", "blue", "10.0.0.10", "all", source_check=False)
    for number in (10, 11):
        await one.machine(f"b{number}", "blue", f"10.0.1.{number}", "all")
    await one.machine("c", "blue", "10.0.2.10", "all")
    with one.listen("b11", 80), one.listen("c", 80):
        assert one.reach("b10", "10.0.1.11", 80) == "open"
        assert one.reach("b10", "10.0.2.10", 80) == "silent"
        _forwards(one, True)
        before = _forwarded(one)
        assert one.reach("b10", "10.0.2.10", 80) == "open"
        assert _forwarded(one) > before


@on_a_cloud
async def test_what_comes_in_by_one_appliance_may_go_out_by_another(one: Cloud) -> None:
    """AWS: routes alone say where a packet goes; what forwards without looking back carries half a flow."""
    await one.network("blue", uplink=True, entrance=INTO, a=TO_EDGE, b=(Route(ANYWHERE, "interface:other"),))
    await one.group("blue", "all", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("gate", "blue", "10.0.0.10", "all", source_check=False)
    await one.machine("other", "blue", "10.0.0.11", "all", source_check=False)
    await one.machine("server", "blue", "10.0.1.10", "web", public=one.public(10))
    await one.network("green", "10.7.0.0/16", uplink=True, a=TO_EDGE)
    await one.group("green", "web", OUT_ALL, WEB)
    await one.machine("far", "green", "10.7.0.10", "web", public=one.public(20))
    for name in ("gate", "other"):
        _forwards(one, True, name)
    with one.listen("server", 80) as server:
        near, far, seen = one.flow("", server, one.public(10))
        assert (seen, far.getpeername()[1]) == (one.public(1), near.getsockname()[1])
        before = [_forwarded(one, name) for name in ("gate", "other")]
        assert say(near, far)
        assert all(
            now > then for now, then in zip([_forwarded(one, name) for name in ("gate", "other")], before, strict=True)
        )
        near.close(), far.close()
        _forwards(one, False, "other")
        assert one.reach("", one.public(10), 80) == "silent"
    _forwards(one, True, "other")
    with one.listen("far", 80) as server:
        near, far, seen = one.flow("server", server, one.public(20))
        assert seen == one.public(10)
        assert say(near, far)
        near.close(), far.close()
        _forwards(one, False, "gate")
        assert one.reach("server", one.public(20), 80) == "silent"


@on_a_cloud
async def test_what_comes_in_by_an_appliance_may_go_out_straight(one: Cloud) -> None:
    """Of such a flow the appliance, and who judges behind it, sees one direction only."""
    await one.network("blue", uplink=True, entrance=INTO, a=TO_EDGE, b=TO_EDGE)
    await one.group("blue", "all", OUT_ALL, Rule("in", "all", cidr=ANYWHERE))
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("gate", "blue", "10.0.0.10", "all", source_check=False)
    await one.machine("server", "blue", "10.0.1.10", "web", public=one.public(10))
    _forwards(one, True)
    with one.listen("server", 80) as server, one.listen("server", 82):
        near, far, seen = one.flow("", server, one.public(10))
        assert (seen, far.getpeername()[1]) == (one.public(1), near.getsockname()[1])
        before = _forwarded(one)
        assert say(near, far)
        assert _forwarded(one) > before
        assert one.reach("", one.public(10), 82) == "silent"
        near.close(), far.close()


@on_a_cloud
async def test_an_appliance_outlives_the_drivers(one: Cloud) -> None:
    await _guarded(one)
    _forwards(one, True)
    with one.listen("server", 80) as server:
        near, far, _ = one.flow("", server, one.public(10))
        await one.networks.close()
        await one.firewalls.close()
        one.networks, one.firewalls = NetnsNetworks(one.home_id, one.run_dir), NftFirewalls(one.home_id)
        await one.networks.ensure_network(one.specs["blue"])
        await one.networks.ensure_interface(one.interfaces["gate"])
        await one.enforce("blue")
        assert say(near, far)
        near.close(), far.close()
        assert one.reach("", one.public(10), 80) == "open"
