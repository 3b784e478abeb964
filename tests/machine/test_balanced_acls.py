"""Network ACLs of the client's, the balancer's and the target's subnets, kept on packets of layer-4 flows: at each boundary by the addresses and
ports that the packet has there. Needs root.

AWS tells which entries a balancer's and its targets' subnets need in "Network Load Balancers", "Register targets", "Network ACLs".
"""

from __future__ import annotations

import os
import select
import socket

import pytest

from gureum.ports.firewalls import AclEntry, BalancedPort, BalancedTarget, Rule
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say
from tests.machine.test_balancers import Servers, flow, tcp, udp_bound, udp_connected

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)
CLIENT, NODE, T1 = "10.0.2.10", "10.0.0.5", "10.0.1.11"
HIGH = (1024, 65535)
ALL_IN, ALL_OUT = AclEntry("in", 1000, True, "all", ANYWHERE), AclEntry("out", 1000, True, "all", ANYWHERE)
_SILENCE_S = 0.3

Acls = dict[str, tuple[AclEntry, ...]]


async def three_subnets(one: Cloud) -> None:
    """A node with a public address in subnet a, a target in b, a client in c; their groups let everything pass."""
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.machine("node", "blue", NODE, public=one.public(10))
    await one.machine("t1", "blue", T1, "open")
    await one.machine("client", "blue", CLIENT, "open")


def needed(client: str, seen: str, protocol: str = "tcp") -> Acls:
    """What each subnet must let pass at least. `seen`: whom the target sees."""

    def entry(way: str, number: int, far: str, ports: tuple[int, int]) -> AclEntry:
        return AclEntry(way, number, True, protocol, f"{far}/32", ports)  # type: ignore[arg-type]

    at_node = (entry("in", 100, client, (80, 80)), entry("out", 100, T1, (8080, 8080)))
    back_at_node = (entry("in", 200, T1, HIGH), entry("out", 200, client, HIGH))
    found = {
        "a": (*at_node, *back_at_node),
        "b": (entry("in", 100, seen, (8080, 8080)), entry("out", 200, seen, HIGH)),
        "c": (entry("out", 100, NODE, (80, 80)), entry("in", 200, NODE, HIGH)),
    }
    return found if client == CLIENT else {subnet: found[subnet] for subnet in "ab"}


async def enforce(one: Cloud, acls: Acls) -> None:
    for subnet, entries in acls.items():
        await one.acl("blue", f"acl-{subnet}", subnet, *entries)


@pytest.mark.parametrize("preserve", [True, False])
def test_each_boundary_judges_by_what_it_sees(preserve: bool, tmp_path: object) -> None:
    """All that is needed opens the way; without any one of it nothing comes, or nothing comes back."""

    @on_a_cloud
    async def story(one: Cloud) -> None:
        await three_subnets(one)
        await one.balancer("node", tcp(T1, preserve_client=preserve))
        with one.listen("t1", 8080):
            for machine, address, client in (("client", NODE, CLIENT), ("", one.public(10), one.public(1))):
                one.acls.clear()
                acls = needed(client, client if preserve else NODE)
                await enforce(one, acls)
                assert one.reach(machine, address, 80) == "open"
                for subnet, entries in acls.items():
                    for missing in entries:
                        await enforce(one, {subnet: tuple(entry for entry in entries if entry is not missing)})
                        assert one.reach(machine, address, 80) == "silent", (client, subnet, missing)
                    await enforce(one, {subnet: entries})
                assert one.reach(machine, address, 80) == "open"

    story(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("preserve", [True, False])
def test_udp_is_judged_both_ways(preserve: bool, tmp_path: object) -> None:
    @on_a_cloud
    async def story(one: Cloud) -> None:
        await three_subnets(one)
        port = BalancedPort("udp", 80, (BalancedTarget(T1, 8080),), preserve_client=preserve)
        await one.balancer("node", port)
        acls = needed(CLIENT, CLIENT if preserve else NODE, "udp")
        with udp_bound(one, "t1", 8080) as server:
            for missing in (None, *acls["a"]):
                await enforce(one, acls | {"a": tuple(entry for entry in acls["a"] if entry is not missing)})
                there = missing is None or missing.number != 100
                with udp_connected(one, "client", NODE, 80) as near:
                    near.send(b"question")
                    assert bool(select.select([server], [], [], _SILENCE_S)[0]) == there, missing
                    if there:
                        server.sendto(b"answer", server.recvfrom(100)[1])
                        assert bool(select.select([near], [], [], _SILENCE_S)[0]) == (missing is None), missing

    story(tmp_path)  # type: ignore[arg-type]


@on_a_cloud
async def test_an_open_flow_stops_when_an_entry_of_the_balancers_subnet_goes(one: Cloud) -> None:
    await three_subnets(one)
    await one.balancer("node", tcp(T1))
    acls = needed(CLIENT, CLIENT)
    await enforce(one, acls)
    with Servers(one, "t1") as servers, flow(one, servers, "client", NODE) as (near, far, *_):
        assert say(near, far)
        for missing in acls["a"]:
            await enforce(one, {"a": tuple(entry for entry in acls["a"] if entry is not missing)})
            sender, receiver = (near, far) if missing.number == 100 else (far, near)
            sender.sendall(b"held")
            assert not select.select([receiver], [], [], _SILENCE_S)[0], missing
            await enforce(one, acls)
            assert receiver.recv(4) == b"held"  # sent again by TCP


@pytest.mark.parametrize("preserve", [True, False])
def test_ways_within_the_balancers_subnet_pass_no_acl(preserve: bool, tmp_path: object) -> None:
    """Whoever lies beside the balancer speaks to it freely; the other way is judged."""

    @on_a_cloud
    async def story(one: Cloud) -> None:
        await three_subnets(one)
        await one.machine("near", "blue", "10.0.0.11", "open")
        await one.acl("blue", "nothing", "a")
        with one.listen("t1", 8080), one.listen("near", 8080):
            await one.balancer("node", tcp(T1, preserve_client=preserve))
            assert one.reach("near", NODE, 80) == "silent"
            out, back = (
                AclEntry("out", 1, True, "tcp", f"{T1}/32", (8080, 8080)),
                AclEntry("in", 1, True, "tcp", f"{T1}/32"),
            )
            await one.acl("blue", "nothing", "a", out, back)
            assert one.reach("near", NODE, 80) == "open"
            await one.acl("blue", "nothing", "a")
            await one.balancer("node", tcp("10.0.0.11", preserve_client=preserve))
            assert one.reach("client", NODE, 80) == "silent"
            into = AclEntry("in", 1, True, "tcp", f"{CLIENT}/32", (80, 80))
            await one.acl("blue", "nothing", "a", into, AclEntry("out", 1, True, "tcp", f"{CLIENT}/32", HIGH))
            assert one.reach("client", NODE, 80) == "open"
            # Both beside it.
            await one.machine("beside", "blue", "10.0.0.12", "open")
            await one.acl("blue", "nothing", "a")
            assert one.reach("beside", NODE, 80) == "open"

    story(tmp_path)  # type: ignore[arg-type]


@on_a_cloud
async def test_client_and_target_in_one_subnet_leave_it_for_the_balancer(one: Cloud) -> None:
    await three_subnets(one)
    await one.machine("client-b", "blue", "10.0.1.10", "open")
    await one.balancer("node", tcp(T1))
    await one.acl("blue", "acl-b", "b")
    with one.listen("t1", 8080):
        assert one.reach("client-b", T1, 8080) == "open"
        assert one.reach("client-b", NODE, 80) == "silent"
        to, back = (
            AclEntry("out", 1, True, "tcp", f"{NODE}/32", (80, 80)),
            AclEntry("in", 1, True, "tcp", f"{NODE}/32", HIGH),
        )
        into = AclEntry("in", 2, True, "tcp", "10.0.1.10/32", (8080, 8080))
        answer = AclEntry("out", 2, True, "tcp", "10.0.1.10/32", HIGH)
        for missing in (None, to, back, into, answer):
            await one.acl("blue", "acl-b", "b", *(one for one in (to, back, into, answer) if one is not missing))
            assert one.reach("client-b", NODE, 80) == ("silent" if missing else "open"), missing


@on_a_cloud
async def test_target_that_is_its_own_client_passes_its_subnets_acl_four_times(one: Cloud) -> None:
    """By a balancer that hides its clients' addresses: with them preserved a target drops what comes from itself."""
    await three_subnets(one)
    await one.balancer("node", tcp(T1, preserve_client=False))
    entries = (
        AclEntry("out", 1, True, "tcp", f"{NODE}/32", (80, 80)),
        AclEntry("in", 1, True, "tcp", f"{NODE}/32", (8080, 8080)),
        AclEntry("out", 2, True, "tcp", f"{NODE}/32", HIGH),
        AclEntry("in", 2, True, "tcp", f"{NODE}/32", (32768, 65535)),
    )
    with one.listen("t1", 8080):
        for missing in (None, *entries):
            await one.acl("blue", "acl-b", "b", *(entry for entry in entries if entry is not missing))
            assert one.reach("t1", NODE, 80) == ("silent" if missing else "open"), missing


@on_a_cloud
async def test_what_acls_refuse_is_no_refusal_of_the_balancers_groups(one: Cloud) -> None:
    """AWS: SecurityGroupBlockedFlowCount tells of security groups only. A listener without targets refuses whom the ACL lets come."""
    await three_subnets(one)
    await one.balancer("node", tcp(T1), tcp(port=81))
    deny = AclEntry("out", 1, False, "tcp", f"{T1}/32")
    await one.acl("blue", "acl-a", "a", deny, ALL_IN, ALL_OUT)
    assert one.reach("client", NODE, 80) == "silent"
    (counts,) = await one.firewalls.balanced_counts("blue", False)
    assert (counts.blocked_in, counts.blocked_out, counts.flows) == (0, 0, 0)
    assert one.reach("client", NODE, 81) == "refused"
    await one.acl("blue", "acl-a", "a", AclEntry("in", 1, False, "tcp", ANYWHERE, (81, 81)), ALL_IN, ALL_OUT)
    assert one.reach("client", NODE, 81) == "silent"


@on_a_cloud
async def test_errors_of_a_flow_come_back_where_the_acl_lets_icmp_pass(one: Cloud) -> None:
    """A target that nobody listens at says so to its UDP client, through the balancer's subnet."""
    await three_subnets(one)
    await one.balancer("node", BalancedPort("udp", 80, (BalancedTarget(T1, 8080),)))
    udp = (AclEntry("in", 1, True, "udp", ANYWHERE), AclEntry("out", 1, True, "udp", ANYWHERE))
    icmp = (AclEntry("in", 2, True, "icmp", ANYWHERE, (3, -1)), AclEntry("out", 2, True, "icmp", ANYWHERE, (3, 3)))
    for entries, told in (((*udp, *icmp), True), ((*udp, icmp[0]), False), ((*udp, icmp[1]), False)):
        await one.acl("blue", "acl-a", "a", *entries)
        with udp_connected(one, "client", NODE, 80) as near:
            near.send(b"anybody?")
            heard = bool(select.select([near], [], [], _SILENCE_S)[0])
            assert heard == told, entries
            assert bool(near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) == told
