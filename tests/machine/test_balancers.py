"""Layer-4 balancing, kept on packets: who is chosen, what he sees, whom the groups let through, and how flows end. Needs root.

What is expected of groups and client addresses is told in AWS's "Network Load Balancers" guide: "Security groups for your Network Load
Balancer", "Client IP preservation", "Deregistration delay".
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
import pytest

from gureum.drivers.networks import namespaces
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import AclEntry, BalancedPort, BalancedTarget, Rule
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)
NODE, T1, T2 = "10.0.0.5", "10.0.1.11", "10.0.1.12"
_SILENCE_S = 0.3
_ANSWER_S = 5.0


def tcp(*addresses: str, port: int = 80, to: int = 8080, **more: object) -> BalancedPort:
    return BalancedPort("tcp", port, tuple(BalancedTarget(a, to) for a in addresses), **more)  # type: ignore[arg-type]


async def public_balancer(one: Cloud, *groups: str) -> None:
    """A node with a public address in subnet a, two targets in subnet b, which has no way out; all groups are open but the node's."""
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.machine("node", "blue", NODE, *groups, public=one.public(10))
    await one.machine("t1", "blue", T1, "open")
    await one.machine("t2", "blue", T2, "open")
    await one.machine("client", "blue", "10.0.2.10", "open")


class Servers:
    """A TCP listener on each target; who was chosen is asked of the kernel."""

    def __init__(self, one: Cloud, *machines: str, port: int = 8080) -> None:
        self._held = {machine: one.listen(machine, port) for machine in machines}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._held.values():
            server.close()

    def accept(self) -> tuple[str, socket.socket, str]:
        """(machine, connection, the address it came from) of the one that somebody connected to."""
        ready = select.select(list(self._held.values()), [], [], _ANSWER_S)[0]
        assert ready, "nobody was chosen"
        connection, (seen, _) = ready[0].accept()
        connection.settimeout(_ANSWER_S)
        return next(name for name, server in self._held.items() if server is ready[0]), connection, seen


@contextlib.contextmanager
def flow(
    one: Cloud, servers: Servers, machine: str, address: str, port: int = 80
) -> Iterator[tuple[socket.socket, socket.socket, str, str]]:
    """(near, far, who was chosen, the address he sees)."""
    with one.connecting(machine, address, port) as near:
        assert select.select([], [near], [], _ANSWER_S)[1], "no answer"
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        near.settimeout(_ANSWER_S)
        chosen, far, seen = servers.accept()
        with far:
            yield near, far, chosen, seen


def chosen(one: Cloud, servers: Servers, machine: str, address: str, times: int) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()
    for _ in range(times):
        with flow(one, servers, machine, address) as (*_, who, _seen):
            found[who] += 1
    return found


# --- who is chosen ---


@on_a_cloud
async def test_flows_spread_by_weight_from_inside_and_outside(one: Cloud) -> None:
    await public_balancer(one)
    weighted = BalancedPort("tcp", 80, (BalancedTarget(T1, 8080, 300), BalancedTarget(T2, 8080, 100)))
    await one.balancer("node", weighted)
    with Servers(one, "t1", "t2") as servers:
        for machine, address in (("client", NODE), ("", one.public(10))):
            found = chosen(one, servers, machine, address, 120)
            assert 60 <= found["t1"] <= 112, found  # 90 expected; beyond is less than one in ten million
            assert found["t2"] == 120 - found["t1"]


@on_a_cloud
async def test_source_alone_chooses_always_the_same(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1, T2, by="source"))
    for number in range(20, 36):
        await one.machine(f"c{number}", "blue", f"10.0.2.{number}", "open")
    with Servers(one, "t1", "t2") as servers:
        firsts = {number: chosen(one, servers, f"c{number}", NODE, 4) for number in range(20, 36)}
        assert all(len(found) == 1 for found in firsts.values())
        assert {next(iter(found)) for found in firsts.values()} == {"t1", "t2"}
        # Somebody who is told the same in another order, or anew, moves nobody.
        await one.firewalls.close()
        one.firewalls = NftFirewalls(one.home_id)
        await one.balancer("node", tcp(T2, T1, by="source"))
        assert {number: chosen(one, servers, f"c{number}", NODE, 4) for number in firsts} == firsts


@on_a_cloud
async def test_each_port_has_its_targets_and_other_ports_are_the_nodes_own(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1), tcp(T2, port=81))
    with Servers(one, "t1", "t2") as servers, one.listen("node", 443), one.listen("node", 80):
        for address in (NODE, one.public(10)):
            machine = "client" if address == NODE else ""
            for port, target in ((80, "t1"), (81, "t2")):
                with flow(one, servers, machine, address, port) as (near, far, who, _):
                    assert who == target
                    assert say(near, far)
            assert one.reach(machine, address, 443) == "open"
            assert one.reach(machine, address, 82) == "refused"  # by the node itself


@on_a_cloud
async def test_node_speaks_to_targets_as_any_machine(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080) as server:
        near, far, seen = one.flow("node", server, T1)
        assert seen == NODE
        assert say(near, far)
        near.close(), far.close()


@on_a_cloud
async def test_new_targets_get_new_flows_and_open_flows_stay(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1))
    with (
        Servers(one, "t1", "t2") as servers,
        flow(one, servers, "client", NODE) as (near, far, who, _),
        flow(one, servers, "", one.public(10)) as (near2, far2, who2, _),
    ):
        assert who == who2 == "t1"
        await one.balancer("node", tcp(T2))
        assert chosen(one, servers, "client", NODE, 5) == {"t2": 5}
        assert say(near, far)
        assert say(near2, far2)
        await one.balancer("node")
        assert say(near, far)
        assert say(near2, far2)


@on_a_cloud
async def test_without_targets_tcp_and_udp_are_refused(one: Cloud) -> None:
    await public_balancer(one, "lb")
    await one.group("blue", "lb", OUT_ALL, IN_ALL)
    await one.balancer("node", tcp(), BalancedPort("udp", 53, ()))
    with one.listen("node", 80):
        assert one.reach("client", NODE, 80) == "refused"
        assert one.reach("", one.public(10), 80) == "refused"
    for machine, address in (("client", NODE), ("", one.public(10))):
        assert udp_error(one, machine, address, 53) == errno.ECONNREFUSED
    # Whom the groups do not let come hears nothing.
    await one.group("blue", "lb", OUT_ALL)
    assert one.reach("client", NODE, 80) == "silent"
    assert one.reach("", one.public(10), 80) == "silent"


# --- what the target sees ---


@on_a_cloud
async def test_client_address_is_preserved_or_the_balancers(one: Cloud) -> None:
    await public_balancer(one)
    for preserve in (True, False):
        await one.balancer("node", tcp(T1, preserve_client=preserve))
        with Servers(one, "t1") as servers:
            for machine, address, own in (("client", NODE, "10.0.2.10"), ("", one.public(10), one.public(1))):
                with flow(one, servers, machine, address) as (near, far, _, seen):
                    assert seen == (own if preserve else NODE)
                    assert near.getpeername()[0] == address
                    assert say(near, far)


@on_a_cloud
async def test_udp_keeps_a_flow_at_one_target_both_ways(one: Cloud) -> None:
    await public_balancer(one)
    targets = (BalancedTarget(T1, 5300), BalancedTarget(T2, 5300))
    for preserve in (True, False):
        port = 53 if preserve else 54  # flows of one round are still known in the next
        await one.balancer("node", BalancedPort("udp", port, targets, preserve_client=preserve))
        with udp_bound(one, "t1", 5300) as first, udp_bound(one, "t2", 5300) as second:
            for machine, address, own in (("client", NODE, "10.0.2.10"), ("", one.public(10), one.public(1))):
                hit = set()
                for _ in range(24):
                    with udp_connected(one, machine, address, port) as near:
                        server = None
                        for text in (b"one", b"two", b"three"):
                            near.send(text)
                            (ready,) = select.select([first, second], [], [], _ANSWER_S)[0]
                            server = server or ready
                            assert ready is server
                            data, far = ready.recvfrom(100)
                            assert (data, far[0]) == (text, own if preserve else NODE)
                            if text != b"one":  # the first two are both of a flow without an answer
                                ready.sendto(text, far)
                                assert near.recv(100) == text
                        hit.add(server)
                assert hit == {first, second}


@on_a_cloud
async def test_clients_of_two_networks_with_one_cidr_come_to_their_own(one: Cloud) -> None:
    for place, name in enumerate(("blue", "green")):
        await one.network(name, uplink=True, a=TO_EDGE)
        await one.group(name, "open", OUT_ALL, IN_ALL)
        await one.machine(f"{name}-node", name, NODE, public=one.public(10 + place))
        await one.machine(f"{name}-t", name, T1, "open")
        await one.machine(f"{name}-client", name, "10.0.0.10", "open", public=one.public(20 + place))
        await one.balancer(f"{name}-node", tcp(T1))
    with Servers(one, "blue-t", "green-t") as servers:
        for place, name in enumerate(("blue", "green")):
            with flow(one, servers, f"{name}-client", NODE) as (near, far, who, seen):
                assert (who, seen) == (f"{name}-t", "10.0.0.10")
                assert say(near, far)
            for client, public in (("blue-client", one.public(20)), ("green-client", one.public(21))):
                with flow(one, servers, client, one.public(10 + place)) as (near, far, who, seen):
                    assert (who, seen) == (f"{name}-t", public)
                    assert say(near, far)


@on_a_cloud
async def test_public_address_counts_only_where_its_subnet_leads_to_the_edge(one: Cloud) -> None:
    await one.network("blue", uplink=True)
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.machine("node", "blue", NODE, public=one.public(10))
    await one.machine("t1", "blue", T1, "open")
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080):
        assert one.reach("", one.public(10), 80) != "open"
        await one.network("blue", uplink=True, a=TO_EDGE)
        assert one.reach("", one.public(10), 80) == "open"


# --- groups ---


async def guarded(one: Cloud, **rules: tuple[Rule, ...]) -> None:
    """client (group cl) -> node (group lb) -> t1 (group tg); each group with the rules given, else open."""
    if "blue" not in one.specs:
        await one.network("blue", uplink=True, a=TO_EDGE, c=TO_EDGE)
        for name in ("cl", "lb", "tg"):
            await one.group("blue", name)
        await one.machine("node", "blue", NODE, "lb", public=one.public(10))
        await one.machine("t1", "blue", T1, "tg")
        await one.machine("client", "blue", "10.0.2.10", "cl", public=one.public(11))
    for name in ("cl", "lb", "tg"):
        await one.group("blue", name, *rules.get(name, (OUT_ALL, IN_ALL)))


@pytest.mark.parametrize("preserve", [True, False])
def test_clients_egress_is_judged_by_the_balancers_address_and_port(preserve: bool, tmp_path: object) -> None:
    @on_a_cloud
    async def story(one: Cloud) -> None:
        await guarded(one)
        await one.balancer("node", tcp(T1, preserve_client=preserve))
        with one.listen("t1", 8080):
            for rule, met in (
                (Rule("out", "tcp", (80, 80), cidr=f"{NODE}/32"), "open"),
                (Rule("out", "tcp", (80, 80), group="lb"), "open"),
                (Rule("out", "tcp", (8080, 8080), cidr=f"{T1}/32"), "silent"),
                (Rule("out", "tcp", (81, 81), cidr=ANYWHERE), "silent"),
                (Rule("out", "all", group="tg"), "silent"),
            ):
                await guarded(one, cl=(rule,))
                assert one.reach("client", NODE, 80) == met, rule

    story(tmp_path)  # type: ignore[arg-type]


@on_a_cloud
async def test_balancers_ingress_is_judged_by_the_client(one: Cloud) -> None:
    await guarded(one)
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080):
        for rule, inside, outside in (
            (Rule("in", "tcp", (80, 80), cidr="10.0.2.10/32"), "open", "silent"),
            (Rule("in", "tcp", (80, 80), group="cl"), "open", "silent"),
            (Rule("in", "tcp", (80, 80), cidr=f"{one.public(1)}/32"), "silent", "open"),
            (Rule("in", "tcp", (8080, 8080), cidr=ANYWHERE), "silent", "silent"),
            (Rule("in", "all", group="lb"), "silent", "silent"),
        ):
            await guarded(one, lb=(OUT_ALL, rule))
            assert one.reach("client", NODE, 80) == inside, rule
            assert one.reach("", one.public(10), 80) == outside, rule


@on_a_cloud
async def test_balancers_egress_is_judged_by_target_and_its_port(one: Cloud) -> None:
    await guarded(one)
    for preserve in (True, False):
        await one.balancer("node", tcp(T1, preserve_client=preserve))
        with one.listen("t1", 8080):
            for rule, met in (
                (Rule("out", "tcp", (8080, 8080), cidr=f"{T1}/32"), "open"),
                (Rule("out", "tcp", (8080, 8080), group="tg"), "open"),
                (Rule("out", "tcp", (80, 80), cidr=ANYWHERE), "silent"),
                (Rule("out", "all", cidr="10.0.1.99/32"), "silent"),
            ):
                await guarded(one, lb=(IN_ALL, rule))
                assert one.reach("client", NODE, 80) == met, rule
                assert one.reach("", one.public(10), 80) == met, rule


@on_a_cloud
async def test_targets_ingress_names_the_client_or_a_group_of_the_balancer(one: Cloud) -> None:
    await guarded(one)
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080):
        for rule, inside, outside, direct in (
            (Rule("in", "tcp", (8080, 8080), cidr="10.0.2.10/32"), "open", "silent", "open"),
            (Rule("in", "tcp", (8080, 8080), cidr=f"{one.public(1)}/32"), "silent", "open", "silent"),
            (Rule("in", "tcp", (8080, 8080), group="lb"), "open", "open", "silent"),
            (Rule("in", "tcp", (80, 80), group="lb"), "silent", "silent", "silent"),
            (Rule("in", "all", group="tg"), "silent", "silent", "silent"),
            # The client is seen, not the balancer.
            (Rule("in", "all", cidr=f"{NODE}/32"), "silent", "silent", "silent"),
        ):
            await guarded(one, tg=(OUT_ALL, rule))
            assert one.reach("client", NODE, 80) == inside, rule
            assert one.reach("", one.public(10), 80) == outside, rule
            assert one.reach("client", T1, 8080) == direct, rule


@on_a_cloud
async def test_targets_ingress_sees_the_balancer_where_the_client_is_not_preserved(one: Cloud) -> None:
    await guarded(one)
    await one.balancer("node", tcp(T1, preserve_client=False))
    with one.listen("t1", 8080):
        for rule, met in (
            (Rule("in", "tcp", (8080, 8080), cidr=f"{NODE}/32"), "open"),
            (Rule("in", "tcp", (8080, 8080), group="lb"), "open"),
            (Rule("in", "all", cidr="10.0.2.10/32"), "silent"),
            (Rule("in", "all", cidr=f"{one.public(1)}/32"), "silent"),
            (Rule("in", "all", group="cl"), "silent"),
            (Rule("in", "tcp", (80, 80), cidr=ANYWHERE), "silent"),
        ):
            await guarded(one, tg=(OUT_ALL, rule))
            assert one.reach("client", NODE, 80) == met, rule
            assert one.reach("", one.public(10), 80) == met, rule


@on_a_cloud
async def test_another_balancer_is_no_way_around_a_group(one: Cloud) -> None:
    """Its targets name `lb`; a second balancer, of another group, and its clients stay out."""
    await guarded(one, tg=(OUT_ALL, Rule("in", "all", group="lb")))
    await one.group("blue", "other", OUT_ALL, IN_ALL)
    await one.machine("node2", "blue", "10.0.0.6", "other", public=one.public(12))
    await one.balancer("node", tcp(T1))
    await one.balancer("node2", tcp(T1))
    with one.listen("t1", 8080):
        assert one.reach("client", NODE, 80) == "open"
        assert one.reach("client", "10.0.0.6", 80) == "silent"
        assert one.reach("", one.public(12), 80) == "silent"


@on_a_cloud
async def test_stranger_with_the_balancers_address_or_mark_stays_out(one: Cloud) -> None:
    await guarded(one, tg=(OUT_ALL, Rule("in", "all", group="lb")))
    await one.balancer("node", BalancedPort("udp", 53, (BalancedTarget(T1, 5300),)))
    with udp_bound(one, "t1", 5300) as server, namespaces.entered(one.names.sandbox("client")):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for mark in (0, 0x4000_0000, 0x6000_0000, 0xFFFF_FFFF):
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
                stranger.sendto(b"direct", (T1, 5300))
        assert not select.select([server], [], [], _SILENCE_S)[0]


# --- ways ---


@on_a_cloud
async def test_acls_of_clients_and_targets_subnets_are_passed(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1))
    into = AclEntry("in", 100, True, "tcp", ANYWHERE, (8080, 8080))
    back = AclEntry("out", 100, True, "tcp", ANYWHERE, (1024, 65535))
    with one.listen("t1", 8080):
        for entries, met in (((into,), "silent"), ((back,), "silent"), ((into, back), "open")):
            await one.acl("blue", "acl-b", "b", *entries)
            assert one.reach("client", NODE, 80) == met
            assert one.reach("", one.public(10), 80) == met


@on_a_cloud
async def test_target_has_no_way_out_of_its_own(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080):
        assert one.reach("", one.public(10), 80) == "open"
    with one.listen("node", 443):
        assert one.reach("t1", one.public(10), 443) == "unreachable"


# --- ends ---


@on_a_cloud
async def test_ended_flows_are_reset_and_others_go_on(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1, T2))
    with Servers(one, "t1", "t2") as servers, one.listen("t1", 9090) as direct, contextlib.ExitStack() as stack:
        flows = [
            stack.enter_context(flow(one, servers, machine, address))
            for machine, address in (("client", NODE), ("", one.public(10)))
            for _ in range(12)
        ]
        near, far, _ = one.flow("client", direct, T1)
        other = tcp(T1, port=81)
        await one.balancer("node", tcp(T1, T2), other)
        by_other = [
            stack.enter_context(flow(one, servers, machine, address, 81))
            for machine, address in (("client", NODE), ("", one.public(10)))
        ]
        await one.balancer("node", tcp(T2), other)
        await one.firewalls.end_flows("blue", T1, 8080, [("node", "tcp", 80)])
        assert {who for *_, who, _ in flows} == {"t1", "t2"}
        for place, (client, server, who, _) in enumerate(flows):
            if who == "t2":
                assert say(client, server)
            elif place % 2:
                assert is_reset(client)
            else:
                assert is_reset(server)
        assert say(near, far)
        assert all(say(client, server) for client, server, *_ in by_other), "another listener sends there"
        near.close(), far.close()


@on_a_cloud
async def test_ended_udp_flow_goes_to_another_target(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", BalancedPort("udp", 53, (BalancedTarget(T1, 5300),)))
    with (
        udp_bound(one, "t1", 5300) as first,
        udp_bound(one, "t2", 5300) as second,
        udp_connected(one, "client", NODE, 53) as near,
    ):
        near.send(b"one")
        assert first.recv(10) == b"one"
        await one.balancer("node", BalancedPort("udp", 53, (BalancedTarget(T2, 5300),)))
        near.send(b"two")
        assert first.recv(10) == b"two"
        await one.firewalls.end_flows("blue", T1, 5300, [("node", "udp", 53)])
        near.send(b"three")
        assert second.recv(10) == b"three"


@on_a_cloud
async def test_udp_flows_that_a_target_leaves_behind_are_shared_by_all_others(one: Cloud) -> None:
    await public_balancer(one)
    places = [("t1", T1, 5300), ("t1", T1, 5301), ("t2", T2, 5300), ("t2", T2, 5301)]
    targets = [BalancedTarget(address, port) for _, address, port in places]
    await one.balancer("node", BalancedPort("udp", 53, tuple(targets)))
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(udp_bound(one, machine, port)) for machine, _, port in places]
        flows = [stack.enter_context(udp_connected(one, "client", NODE, 53)) for _ in range(200)]
        assert all(_received(servers, flows))
        left = [flow for flow in flows if not flow.send(b"again") or _first(servers) is servers[0]]
        await one.balancer("node", BalancedPort("udp", 53, tuple(targets[1:])))
        await one.firewalls.end_flows("blue", T1, 5300, [("node", "udp", 53)])
        now = _received(servers, left)
        assert now[0] == 0
        assert min(now[1:]) * 4 > len(left) / 3, "each has about a third of them"


def _first(servers: list[socket.socket]) -> socket.socket:
    """Who has received one datagram; it is taken."""
    (found,), _, _ = select.select(servers, [], [], 5)
    found.recv(10)
    return found


def _received(servers: list[socket.socket], flows: list[socket.socket]) -> list[int]:
    """How many of the flows each server hears, one datagram of each."""
    counts = [0] * len(servers)
    for flow in flows:
        flow.send(b"hello")
        counts[servers.index(_first(servers))] += 1
    return counts


@on_a_cloud
async def test_ending_flows_of_a_network_that_is_gone_is_nothing(one: Cloud) -> None:
    await one.firewalls.end_flows("grey", T1, 80, [("node", "tcp", 80)])


@on_a_cloud
async def test_balancer_goes_and_its_address_is_the_nodes_alone(one: Cloud) -> None:
    await public_balancer(one, "open")
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080), one.listen("node", 80) as own:
        assert one.reach("client", NODE, 80) == "open"
        one.balancers.clear()
        await one.enforce("blue")
        near, far, _ = one.flow("client", own, NODE)
        assert say(near, far)
        near.close(), far.close()


def is_reset(end: socket.socket) -> bool:
    """Whether what `end` says next is answered with a reset."""
    with contextlib.suppress(BrokenPipeError):
        end.sendall(b"still there?")
    try:
        end.recv(1)
    except ConnectionResetError:
        return True
    return False


def udp_bound(one: Cloud, machine: str, port: int) -> socket.socket:
    with namespaces.entered(one.names.sandbox(machine)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("", port))
    opened.settimeout(_ANSWER_S)
    return opened


def udp_connected(one: Cloud, machine: str, address: str, port: int) -> socket.socket:
    where = namespaces.entered(one.names.sandbox(machine)) if machine else contextlib.nullcontext()
    with where:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.connect((address, port))
    opened.settimeout(_ANSWER_S)
    return opened


def udp_error(one: Cloud, machine: str, address: str, port: int) -> int | None:
    with udp_connected(one, machine, address, port) as near:
        near.send(b"anybody?")
        try:
            near.recv(1)
        except OSError as error:
            return error.errno
    return None


@on_a_cloud
async def test_flows_end_with_the_last_balancer_of_a_network(one: Cloud) -> None:
    """The targets' subnet has no way out: without the balancer's marks nothing would find back."""
    await public_balancer(one)
    await one.balancer("node", tcp(T1))
    with (
        Servers(one, "t1", "t2") as servers,
        one.listen("t2", 9000) as other,
        flow(one, servers, "client", NODE) as (near, far, *_),
        flow(one, servers, "", one.public(10)) as (near2, far2, *_),
    ):
        plain, its, _ = one.flow("client", other, T2)
        del one.balancers["node"]
        await one.enforce("blue")
        for end in (near, far2):
            end.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        assert far.fileno() >= 0 <= near2.fileno()
        assert say(plain, its)
        plain.close(), its.close()
        await one.balancer("node", tcp(T2))
        assert chosen(one, servers, "client", NODE, 3) == {"t2": 3}


# --- silent flows ---


@on_a_cloud
async def test_a_silent_flow_is_forgotten_after_its_listeners_time_and_reset_when_it_goes_on(one: Cloud) -> None:
    """AWS, "Listener attributes": after the idle timeout, "the client receives a TCP RST packet" when it sends."""
    await public_balancer(one)
    await one.balancer("node", tcp(T1, idle_s=1), tcp(T2, port=81, idle_s=6000))
    router = one.names.network("blue")
    with (
        Servers(one, "t1", "t2") as servers,
        flow(one, servers, "client", NODE) as (near, far, *_),
        flow(one, servers, "", one.public(10)) as (near2, *_),
        flow(one, servers, "client", NODE, 81) as (near3, far3, *_),
    ):
        assert 5000 < limits_left(router, T2)[0] <= 6000
        # Neither a change of the targets nor a new agent lets flows forget their limit.
        await one.balancer("node", tcp(T1, T2, idle_s=1), tcp(T2, port=81, idle_s=350))
        await one.firewalls.close()
        one.firewalls = NftFirewalls(one.home_id)
        await one.enforce("blue")
        assert say(near3, far3)
        assert 5000 < limits_left(router, T2)[0] <= 6000
        while limits_left(router, T1):
            await asyncio.sleep(0.05)
        for end in (near, near2, far):
            end.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        assert say(near3, far3)


@on_a_cloud
async def test_udp_flows_have_the_limit_of_their_listener_from_the_first_packet(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", BalancedPort("udp", 53, (BalancedTarget(T1, 8053),), idle_s=777))
    with namespaces.entered(one.names.sandbox("client")):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.sendto(b"x", (NODE, 53))
        (left,) = limits_left(one.names.network("blue"), T1)
        assert 700 < left <= 777
    await one.balancer("node")
    assert one.reach("client", T1, 8080) == "refused"


def limits_left(router: Path, target: str) -> list[int]:
    """Seconds after which each flow to the target is forgotten, as connection tracking counts them down."""
    with namespaces.entered(router):
        rows = Path("/proc/thread-self/net/nf_conntrack").read_text().splitlines()
    return [int(row.split()[4]) for row in rows if f" src={target} " in row]


# --- what is counted ---


@on_a_cloud
async def test_flows_packets_and_resets_are_counted_per_node_and_protocol(one: Cloud) -> None:
    await public_balancer(one)
    await one.balancer("node", tcp(T1), tcp(port=82), BalancedPort("udp", 53, (BalancedTarget(T2, 5300),)))
    with Servers(one, "t1") as servers:
        with (
            flow(one, servers, "client", NODE) as (near, far, *_),
            flow(one, servers, "", one.public(10)) as (near2, *_),
        ):
            assert say(near, far, b"x" * 1000)
            stream, datagrams = await one.firewalls.balanced_counts("blue", True)
            assert (stream.interface, stream.protocol, stream.flows, stream.active) == ("node", "tcp", 2, 2)
            # Three packets for each handshake, two of 1000 bytes, and acknowledgements.
            assert 8 <= stream.packets <= 20
            assert 2 * 1052 < stream.bytes < 2 * 1052 + 16 * 60
            assert (datagrams.protocol, datagrams.flows, datagrams.packets) == ("udp", 0, 0)
            reset(near)
            with pytest.raises(ConnectionResetError):
                far.recv(1)
            assert near2.fileno() >= 0
        with flow(one, servers, "client", NODE) as (near, far, *_):
            reset(far)
            with pytest.raises(ConnectionResetError):
                near.recv(1)
    assert one.reach("client", NODE, 82) == "refused"
    with udp_bound(one, "t2", 5300) as server, udp_connected(one, "client", NODE, 53) as near:
        for _ in range(3):
            near.send(b"question")
            server.recv(100)
    stream, datagrams = await one.firewalls.balanced_counts("blue", True)
    assert (stream.flows, stream.client_resets, stream.target_resets, stream.elb_resets) == (3, 1, 1, 1)
    assert (datagrams.flows, datagrams.packets, datagrams.bytes, datagrams.active) == (1, 3, 3 * 36, 1)
    assert (await one.firewalls.balanced_counts("blue", False))[1].active == 0
    await one.balancer("node", tcp(T1))
    (stream,) = await one.firewalls.balanced_counts("blue", True)
    assert stream.flows == 3


@on_a_cloud
async def test_flows_of_a_port_that_fails_open_are_counted_by_themselves_too(one: Cloud) -> None:
    async def counts() -> tuple[int, int]:
        (stream,) = await one.firewalls.balanced_counts("blue", False)
        return stream.flows, stream.open_flows

    await public_balancer(one)
    well = tcp(T1)
    with Servers(one, "t1") as servers:
        for port, told in (
            (well, (1, 0)),
            (msgspec.structs.replace(well, fail_open=True), (2, 1)),
            (well, (3, 1)),
        ):
            await one.balancer("node", port)
            with flow(one, servers, "client", NODE):
                pass
            assert await counts() == told


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


@on_a_cloud
async def test_flows_that_the_balancers_groups_refuse_are_counted_as_such(one: Cloud) -> None:
    await public_balancer(one, "lb")
    await one.balancer("node", tcp(T1), tcp(T2, port=81))
    cases = [
        ((Rule("in", "tcp", (81, 81), cidr=ANYWHERE), OUT_ALL), (1, 0)),
        ((IN_ALL, Rule("out", "tcp", (9, 9), cidr=ANYWHERE)), (1, 1)),
        ((IN_ALL, OUT_ALL), (1, 1)),
    ]
    with Servers(one, "t1"):
        for rules, blocked in cases:
            await one.group("blue", "lb", *rules)
            (before,) = await one.firewalls.balanced_counts("blue", False)
            met = one.reach("client", NODE, 80)
            (after,) = await one.firewalls.balanced_counts("blue", False)
            assert met == ("open" if after.flows > before.flows else "silent")
            assert (after.blocked_in, after.blocked_out) == blocked
    assert after.flows == 1
