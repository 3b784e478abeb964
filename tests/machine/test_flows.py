"""Flows of real packets, held against what was counted beside them (links' counters, sizes sent). Needs root."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gureum.drivers.flows.readers import NetlinkFlows
from gureum.drivers.networks import namespaces
from gureum.ports.firewalls import AclEntry, BalancedPort, BalancedTarget, Rule
from gureum.ports.flows import Collected, Flow
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

WEB = Rule("in", "tcp", (80, 80), cidr=ANYWHERE)
BOTH = frozenset({"a", "b"})


@contextlib.asynccontextmanager
async def watching(one: Cloud, *interfaces: str) -> AsyncIterator[NetlinkFlows]:
    flows = NetlinkFlows(one.home_id, one.run_dir, one.firewalls)
    try:
        await flows.watch("blue", frozenset(interfaces))
        yield flows
    finally:
        await flows.close()


async def two_machines(one: Cloud) -> None:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "web", OUT_ALL, WEB)
    await one.machine("a", "blue", "10.0.0.10", "web", public=one.public(10))
    await one.machine("b", "blue", "10.0.1.10", "web")


def of(found: Collected, interface: str, direction: str, action: str = "ACCEPT") -> list[Flow]:
    return [
        flow for flow in found.flows if (flow.interface, flow.direction, flow.action) == (interface, direction, action)
    ]


def ends(flow: Flow) -> tuple[str, str, str, str]:
    return flow.source, flow.packet_source, flow.destination, flow.packet_destination


def talk(one: Cloud, frm: str, server: socket.socket, address: str) -> int:
    """A whole connection; the client's port."""
    near, far, _ = one.flow(frm, server, address)
    port = int(near.getsockname()[1])
    assert say(near, far, b"x" * 5000)
    near.close(), far.close()
    return port


async def sent_and_received(one: Cloud, interface: str) -> tuple[int, int]:
    counters = (await one.networks.counters())[interface]
    return counters.in_packets, counters.out_packets


def udp(one: Cloud, frm: str, address: str, port: int, *sizes: int) -> None:
    with namespaces.entered(one.names.sandbox(frm)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        for size in sizes:
            opened.sendto(b"x" * size, (address, port))


@on_a_cloud
async def test_both_interfaces_tell_both_directions_of_a_connection(one: Cloud) -> None:
    await two_machines(one)
    async with watching(one, "a", "b") as flows:
        with one.listen("b", 80) as server:
            port = talk(one, "a", server, "10.0.1.10")
        found = await flows.collect()
    there, back = ("10.0.0.10", "10.0.1.10", port, 80), ("10.0.1.10", "10.0.0.10", 80, port)
    for interface, direction, ends in (
        ("a", "egress", there),
        ("b", "ingress", there),
        ("b", "egress", back),
        ("a", "ingress", back),
    ):
        (flow,) = of(found, interface, direction)
        assert (flow.source, flow.destination, flow.source_port, flow.destination_port) == ends
        assert flow.protocol == 6
        assert flow.bytes > 5000
    assert of(found, "a", "egress")[0].tcp_flags & 2
    assert of(found, "a", "ingress")[0].tcp_flags & 18 == 18
    assert not found.skipped


@on_a_cloud
async def test_datagrams_are_counted_exactly_and_once(one: Cloud) -> None:
    await two_machines(one)
    await one.group("blue", "web", OUT_ALL, Rule("in", "udp", (9, 9), cidr=ANYWHERE))
    with namespaces.entered(one.names.sandbox("b")):
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("", 9))
    with sink:
        async with watching(one, "a", "b") as flows:
            udp(one, "a", "10.0.1.10", 9, 100, 200, 300)
            (flow,) = of(await flows.collect(), "b", "ingress")
            assert (flow.packets, flow.bytes) == (3, 600 + 3 * 28)
            assert (await flows.collect()).flows == ()


@on_a_cloud
async def test_what_passed_before_is_not_told_and_a_live_flow_tells_its_news(one: Cloud) -> None:
    await two_machines(one)
    with one.listen("b", 80) as server:
        near, far, _ = one.flow("a", server, "10.0.1.10")
        assert say(near, far, b"x" * 1000)
        async with watching(one, "a") as flows:
            assert (await flows.collect()).flows == ()
            assert say(near, far, b"y" * 50)
            found = await flows.collect()
            assert sum(flow.bytes for flow in of(found, "a", "egress")) < 500
            assert of(found, "a", "egress")[0].tcp_flags == 0
            assert {flow.interface for flow in found.flows} == {"a"}
        near.close(), far.close()


def notes_beginnings(one: Cloud) -> bool:
    with namespaces.entered(one.names.network("blue")):
        return Path("/proc/sys/net/netfilter/nf_conntrack_timestamp").read_text().strip() == "1"


@on_a_cloud
async def test_when_flows_begin_is_noted_only_while_they_are_watched_and_a_flow_from_before_is_told_from_then_on(
    one: Cloud,
) -> None:
    await two_machines(one)
    assert not notes_beginnings(one)
    with one.listen("b", 80) as server:
        before = one.flow("a", server, "10.0.1.10")
        started = int(time.time())
        async with watching(one, "a") as flows:
            assert notes_beginnings(one)
            after = one.flow("a", server, "10.0.1.10")
            for near, far, _ in (before, after):
                assert say(near, far, b"y" * 50)
            told = of(await flows.collect(), "a", "egress")
            assert len(told) == 2
            assert all(started <= flow.start <= flow.end <= time.time() for flow in told)
            await flows.watch("blue", frozenset())
            assert not notes_beginnings(one)
        for near, far, _ in (before, after):
            near.close(), far.close()


@on_a_cloud
async def test_a_new_connection_from_a_port_that_was_used_before_is_told_whole(one: Cloud) -> None:
    await two_machines(one)

    def knock(server: socket.socket) -> None:
        with namespaces.entered(one.names.sandbox("a")):
            client = socket.socket()
        with client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.bind(("10.0.0.10", 40000))
            client.connect(("10.0.1.10", 80))
            server.accept()[0].close()

    with one.listen("b", 80) as server:
        knock(server)
        async with watching(one, "a") as flows:
            knock(server)
            (flow,) = of(await flows.collect(), "a", "egress")
            assert flow.packets >= 3
            assert flow.tcp_flags & 2
            knock(server)
            knock(server)
            (flow,) = of(await flows.collect(), "a", "egress")
            assert flow.packets >= 6


@on_a_cloud
async def test_many_connections_are_all_told_with_the_packets_that_the_link_counted(one: Cloud) -> None:
    await two_machines(one)
    with one.listen("b", 80) as server:
        talk(one, "a", server, "10.0.1.10")  # neighbours are known from now on
        async with watching(one, "a", "b") as flows:
            before = await sent_and_received(one, "b")
            ports = {talk(one, "a", server, "10.0.1.10") for _ in range(200)}
            after = await sent_and_received(one, "b")
            found = await flows.collect()
    into = of(found, "b", "ingress")
    assert {flow.source_port for flow in into} >= ports
    out = of(found, "b", "egress")
    counted = [now - then for now, then in zip(after, before, strict=True)]
    told = [
        sum(f.packets for f in into if f.source_port in ports),
        sum(f.packets for f in out if f.destination_port in ports),
    ]
    # The link counts some questions for neighbours besides, and the last acknowledgement of the connection before.
    assert all(0 <= link - flow <= 8 for link, flow in zip(counted, told, strict=True)), (counted, told)


@on_a_cloud
async def test_the_receivers_refusal_is_told_there_and_the_sender_has_sent(one: Cloud) -> None:
    await two_machines(one)
    async with watching(one, "a", "b") as flows:
        udp(one, "a", "10.0.1.10", 53, 10, 20)
        assert one.reach("a", "10.0.1.10", 81) == "silent"
        found = await flows.collect()
    names, tcp = (next(f for f in of(found, "b", "ingress", "REJECT") if f.protocol == number) for number in (17, 6))
    assert (names.source, names.destination, names.destination_port) == ("10.0.0.10", "10.0.1.10", 53)
    assert (names.packets, names.bytes) == (2, 30 + 2 * 28)
    assert (tcp.destination_port, tcp.tcp_flags) == (81, 2)
    assert {(f.destination_port, f.packets) for f in of(found, "a", "egress")} >= {(53, 2)}
    assert of(found, "a", "egress", "REJECT") == []


@on_a_cloud
async def test_the_senders_refusal_is_told_at_the_sender_alone(one: Cloud) -> None:
    await two_machines(one)
    await one.group("blue", "shut", WEB)
    await one.machine("a", "blue", "10.0.0.10", "shut")
    async with watching(one, "a", "b") as flows:
        udp(one, "a", "10.0.1.10", 80, 10)
        (flow,) = (await flows.collect()).flows
    assert (flow.interface, flow.direction, flow.action, flow.packets) == ("a", "egress", "REJECT", 1)


@on_a_cloud
async def test_an_acl_that_refuses_replies_is_told_and_taken_off(one: Cloud) -> None:
    await two_machines(one)
    await one.acl("blue", "acl-1", "b", AclEntry("in", 100, True, "all", ANYWHERE))
    async with watching(one, "a", "b") as flows:
        with one.listen("b", 80):
            assert one.reach("a", "10.0.1.10", 80) == "silent"
            found = await flows.collect()
    assert of(found, "b", "ingress")[0].packets >= 1
    assert of(found, "b", "egress", "REJECT")[0].source_port == 80
    assert of(found, "b", "egress") == []
    assert of(found, "a", "ingress") == []


@on_a_cloud
async def test_with_a_public_address_the_interface_still_has_its_private_one(one: Cloud) -> None:
    await two_machines(one)
    async with watching(one, "a") as flows:
        with one.listen("a", 80) as server:
            talk(one, "", server, one.public(10))
        found = await flows.collect()
    assert [flow.destination for flow in of(found, "a", "ingress")] == ["10.0.0.10"]
    assert [flow.source for flow in of(found, "a", "egress")] == ["10.0.0.10"]


@on_a_cloud
async def test_a_balancer_tells_clients_and_targets(one: Cloud) -> None:
    await two_machines(one)
    await one.machine("lb", "blue", "10.0.2.10")
    await one.balancer("lb", BalancedPort("tcp", 80, (BalancedTarget("10.0.1.10", 80),)))
    async with watching(one, "a", "b", "lb") as flows:
        with one.listen("b", 80) as server:
            talk(one, "a", server, "10.0.2.10")
        found = await flows.collect()
    assert [ends(f) for f in of(found, "a", "egress")] == [("10.0.0.10", "", "10.0.2.10", "")]
    assert [ends(f) for f in of(found, "lb", "ingress") if f.source == "10.0.0.10"] == [
        ("10.0.0.10", "", "10.0.2.10", "")
    ]
    assert [ends(f) for f in of(found, "lb", "egress") if f.destination == "10.0.1.10"] == [
        ("10.0.2.10", "10.0.0.10", "10.0.1.10", "")
    ]
    assert [ends(f) for f in of(found, "b", "ingress")] == [("10.0.0.10", "", "10.0.1.10", "")]


@on_a_cloud
async def test_an_acl_of_the_balancers_subnet_refuses_at_the_balancer(one: Cloud) -> None:
    await two_machines(one)
    await one.machine("lb", "blue", "10.0.2.10")
    await one.balancer("lb", BalancedPort("tcp", 80, (BalancedTarget("10.0.1.10", 80),)))
    entries = (AclEntry("in", 100, True, "all", ANYWHERE), AclEntry("out", 100, True, "all", "10.0.1.10/32"))
    await one.acl("blue", "acl-1", "c", *entries)  # no replies to the client
    async with watching(one, "a", "b", "lb") as flows:
        with one.listen("b", 80):
            assert one.reach("a", "10.0.2.10", 80) == "silent"
        found = await flows.collect()
    told = {(flow.interface, flow.direction, flow.action) for flow in found.flows}
    assert told >= {("a", "egress", "ACCEPT"), ("b", "ingress", "ACCEPT"), ("b", "egress", "ACCEPT")}
    assert {one for one in told if one[2] == "REJECT"} == {("lb", "egress", "REJECT")}
    (refused,) = (flow for flow in found.flows if flow.action == "REJECT")
    assert (refused.source, refused.source_port, refused.destination) == ("10.0.2.10", 80, "10.0.0.10")
    assert refused.packets > 0


@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("way", ["in", "out"])
def test_an_acl_of_the_balancers_subnet_refuses_what_begins(way: str, preserve: bool, tmp_path: Path) -> None:
    """Towards the balancer at its listener's port; towards the target from the balancer, with the client's address in the packet where it is kept."""

    @on_a_cloud
    async def story(one: Cloud) -> None:
        await two_machines(one)
        await one.machine("lb", "blue", "10.0.2.10")
        port = BalancedPort("tcp", 80, (BalancedTarget("10.0.1.10", 8080),), preserve_client=preserve)
        await one.balancer("lb", port)
        other = AclEntry("out" if way == "in" else "in", 100, True, "all", ANYWHERE)
        await one.acl("blue", "acl-1", "c", other)
        async with watching(one, "a", "b", "lb") as flows:
            with one.listen("b", 8080):
                assert one.reach("a", "10.0.2.10", 80) == "silent"
            found = await flows.collect()
        told = {
            (flow.interface, flow.direction, flow.action, flow.source, flow.destination, flow.destination_port)
            for flow in found.flows
        }
        came = ("lb", "ingress", "REJECT" if way == "in" else "ACCEPT", "10.0.0.10", "10.0.2.10", 80)
        left = ("lb", "egress", "REJECT", "10.0.2.10", "10.0.1.10", 8080)
        sent = ("a", "egress", "ACCEPT", "10.0.0.10", "10.0.2.10", 80)
        assert told == {sent, came} | ({left} if way == "out" else set())
        carried = {flow.packet_source for flow in found.flows if flow.direction == "egress" and flow.interface == "lb"}
        assert carried == ({"10.0.0.10" if preserve else ""} if way == "out" else set())

    story(tmp_path)


@on_a_cloud
async def test_without_interfaces_nothing_is_watched_and_a_network_that_is_gone_is_no_error(one: Cloud) -> None:
    await two_machines(one)
    async with watching(one, "a", "b") as flows:
        udp(one, "a", "10.0.1.10", 53, 10)
        await flows.watch("blue", frozenset())
        assert {flow.interface for flow in (await flows.collect()).flows} == BOTH  # what was before is still told
        udp(one, "a", "10.0.1.10", 53, 10)
        assert (await flows.collect()).flows == ()
        await flows.watch("blue", BOTH)
        for name in BOTH:
            await one.networks.remove_interface(name)
        await one.networks.remove_network("blue")
        await flows.collect()
        await flows.watch("blue", frozenset())


@on_a_cloud
async def test_more_refusals_than_can_be_heard_are_said_to_be_missing(one: Cloud) -> None:
    await two_machines(one)
    async with watching(one, "a", "b") as flows:
        with one.listen("b", 80):
            udp(one, "a", "10.0.1.10", 53, 10)
            assert not (await flows.collect()).skipped
            # Nobody reads meanwhile; a refusal takes some 700 bytes of a buffer of 64 MB.
            udp(one, "a", "10.0.1.10", 53, *[10] * 150_000)
            await flows.collect()
            udp(one, "a", "10.0.1.10", 53, 10)
            found = await flows.collect()
    assert found.skipped == BOTH
