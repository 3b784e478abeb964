"""What a load balancer's node does not listen for gets no answer, kept on packets. Needs root.

AWS: "Listeners for your Network Load Balancers" (what is for no configured listener, and ICMP but for type 3, is unintended traffic and dropped; a
TCP packet for a listener's port that belongs to no connection is reset), "Security groups for your Application Load Balancer" (they respond to ping).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from gureum.drivers.networks import namespaces
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import AclEntry, BalancedPort, BalancedTarget, Listens, Rule
from tests.machine.cloud_network import ANYWHERE, Cloud, on_a_cloud, say
from tests.machine.test_balancers import (
    IN_ALL,
    NODE,
    OUT_ALL,
    T1,
    T2,
    Servers,
    flow,
    public_balancer,
    tcp,
    udp_connected,
)
from tests.machine.test_flows import of, watching

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

_SILENCE_S = 0.3
_ANSWER_S = 5.0
_NUMBERS = itertools.count(1)


async def listens(one: Cloud, *ports: int, ping: bool = False) -> None:
    one.listens["node"] = Listens(ports, ping)
    await one.enforce("blue")


def both(one: Cloud) -> tuple[tuple[str, str], ...]:
    """Who asks from inside and from outside, and where."""
    return ("client", NODE), ("", one.public(10))


@on_a_cloud
async def test_a_port_without_listener_is_silent_also_after_the_last_has_gone(one: Cloud) -> None:
    await public_balancer(one)
    await listens(one, 443)
    await one.balancer("node", tcp(T1))
    with one.listen("t1", 8080), one.listen("node", 443):
        for machine, address in both(one):
            assert one.reach(machine, address, 80) == "open"  # the kernel's
            assert one.reach(machine, address, 443) == "open"  # the proxy's
            assert one.reach(machine, address, 81) == "silent"
            assert not udp_heard(one, machine, address)
        await one.balancer("node")
        await listens(one)
        for machine, address in both(one):
            assert [one.reach(machine, address, port) for port in (80, 443, 81)] == ["silent"] * 3
        # Who begins anew and knows nothing of before comes to the same.
        await one.firewalls.close()
        one.firewalls = NftFirewalls(one.home_id)
        await listens(one, 443)
        for machine, address in both(one):
            assert [one.reach(machine, address, port) for port in (80, 443, 81)] == ["silent", "open", "silent"]


@on_a_cloud
async def test_a_listener_without_targets_is_refused_and_no_port_without_listener(one: Cloud) -> None:
    await public_balancer(one)
    await listens(one)
    await one.balancer("node", tcp())
    for machine, address in both(one):
        assert one.reach(machine, address, 80) == "refused"
        assert one.reach(machine, address, 81) == "silent"


@on_a_cloud
async def test_ping_is_answered_by_application_nodes_whose_groups_let_it_in(one: Cloud) -> None:
    await public_balancer(one, "lb")
    for ping, rule, answered in (
        (True, IN_ALL, True),
        (False, IN_ALL, False),
        (True, Rule("in", "tcp", cidr=ANYWHERE), False),
    ):
        await one.group("blue", "lb", OUT_ALL, rule)
        await listens(one, ping=ping)
        assert pings(one, "client", NODE) == answered, (ping, rule)


@on_a_cloud
async def test_a_nodes_own_connections_and_open_ones_go_on(one: Cloud) -> None:
    await public_balancer(one, "open")
    await listens(one, 443)
    with one.listen("node", 443) as proxy, one.listen("t1", 8080) as target:
        near, far, _ = one.flow("client", proxy, NODE)
        await listens(one)
        assert say(near, far)
        own, its, seen = one.flow("node", target, T1)
        assert seen == NODE
        assert say(own, its)
        assert say(its, own)
        for end in (near, far, own, its):
            end.close()


@on_a_cloud
async def test_errors_about_a_nodes_own_flows_come_to_it(one: Cloud) -> None:
    """Type 3 is intended traffic: a machine that nobody listens at says so, and by the same way a router tells the path's MTU."""
    await public_balancer(one, "open")
    await listens(one)
    with udp_connected(one, "node", T1, 9) as near:
        near.send(b"anybody?")
        assert select.select([near], [], [], _ANSWER_S)[0]
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


@on_a_cloud
async def test_packets_of_no_connection_are_reset_at_listeners_alone(one: Cloud) -> None:
    await public_balancer(one)
    await listens(one, 443)
    await one.balancer("node", tcp(T1))
    for port, reset in ((80, True), (443, True), (81, False)):
        assert is_reset(one, "client", "10.0.2.10", NODE, port) == reset, port


@on_a_cloud
async def test_a_load_balancer_behind_another_hears_only_its_listeners(one: Cloud) -> None:
    """An application load balancer's node as a target; its clients' addresses may be hidden from it."""
    await public_balancer(one)
    await one.machine("alb", "blue", "10.0.1.20", "open")
    one.listens["alb"] = Listens((8080,), ping=True)
    await listens(one)
    for preserve in (True, False):
        port = 80 if preserve else 82
        told = {"preserve_client": preserve}
        to_alb = [BalancedPort("tcp", port + n, (BalancedTarget("10.0.1.20", 8080 + n),), **told) for n in (0, 1)]  # type: ignore[arg-type]
        await one.balancer("node", *to_alb)
        with Servers(one, "alb") as servers:
            with flow(one, servers, "client", NODE, port) as (near, far, _, seen):
                assert seen == ("10.0.2.10" if preserve else NODE)
                assert say(near, far)
            assert one.reach("client", NODE, port + 1) == "silent"


@on_a_cloud
async def test_flows_of_a_node_that_is_gone_end_also_where_others_are(one: Cloud) -> None:
    """They are translated in the router, and would go on without the node, at an address that may be another's by then."""
    await public_balancer(one)
    await one.machine("other", "blue", "10.0.0.6")
    one.listens["other"] = Listens()
    await listens(one)
    await one.balancer("other", tcp(T2))
    await one.balancer("node", tcp(T1))
    with (
        Servers(one, "t1", "t2") as servers,
        flow(one, servers, "client", NODE) as (near, far, *_),
        flow(one, servers, "client", "10.0.0.6") as (near2, far2, *_),
    ):
        assert say(near, far)
        await one.balancer("node")
        assert say(near, far)  # as long as the node is there
        for kept in (one.interfaces, one.balancers, one.listens):
            del kept["node"]
        await one.enforce("blue")
        near.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        with contextlib.suppress(
            ConnectionResetError, TimeoutError
        ):  # an acknowledgement of before may have met a reset
            far.settimeout(_SILENCE_S)
            assert far.recv(1) == b""
        assert say(near2, far2)


@on_a_cloud
async def test_flow_logs_tell_that_no_rule_refused_it(one: Cloud) -> None:
    await public_balancer(one, "lb")
    await one.group("blue", "lb", OUT_ALL, Rule("in", "tcp", (80, 81), cidr=ANYWHERE))
    await listens(one, 80)
    async with watching(one, "node", "client") as flows:
        for port in (81, 82):
            assert one.reach("client", NODE, port) == "silent"
        assert one.reach("", one.public(10), 81) == "silent"
        found = await flows.collect()
    into = {(f.source, f.destination, f.destination_port, f.action) for f in of(found, "node", "ingress")}
    refused = {(f.source, f.destination, f.destination_port, f.action) for f in of(found, "node", "ingress", "REJECT")}
    assert into | refused == {
        ("10.0.2.10", NODE, 81, "ACCEPT"),
        (one.public(1), NODE, 81, "ACCEPT"),
        ("10.0.2.10", NODE, 82, "REJECT"),
    }
    assert {(f.destination_port, f.tcp_flags) for f in of(found, "client", "egress")} == {(81, 2), (82, 2)}
    assert of(found, "node", "egress") == of(found, "client", "ingress") == []


@on_a_cloud
async def test_acls_are_judged_before(one: Cloud) -> None:
    await public_balancer(one, "open")
    await listens(one, 443)
    await one.acl(
        "blue",
        "shut",
        "a",
        AclEntry("in", 1, False, "tcp", ANYWHERE, (443, 443)),
        AclEntry("in", 2, True, "all", ANYWHERE),
    )
    async with watching(one, "node") as flows:
        with one.listen("node", 443):
            assert one.reach("client", NODE, 443) == "silent"
        assert one.reach("client", NODE, 81) == "silent"
        found = await flows.collect()
    assert {f.destination_port for f in of(found, "node", "ingress", "REJECT")} == {443}
    assert {f.destination_port for f in of(found, "node", "ingress")} == {81}


# --- packets ---


def udp_heard(one: Cloud, machine: str, address: str) -> bool:
    """Whether anything comes back, an error included."""
    with udp_connected(one, machine, address, 53) as near:
        near.send(b"anybody?")
        return bool(select.select([near], [], [], _SILENCE_S)[0])


@contextlib.contextmanager
def raw(one: Cloud, machine: str, protocol: int) -> Iterator[socket.socket]:
    with namespaces.entered(one.names.sandbox(machine)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    with opened:
        yield opened


def pings(one: Cloud, machine: str, address: str) -> bool:
    echo = struct.pack("!BBHHH", 8, 0, 0, next(_NUMBERS), 1)
    echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
    with raw(one, machine, socket.IPPROTO_ICMP) as near:
        near.sendto(echo, (address, 0))
        while select.select([near], [], [], _SILENCE_S)[0]:
            answer = near.recv(1500)
            if answer[20] == 0 and socket.inet_ntoa(answer[12:16]) == address:
                return True
    return False


def is_reset(one: Cloud, machine: str, source: str, address: str, port: int) -> bool:
    """Whether an acknowledgement of a connection that never was is answered with a reset."""
    ports = 45_000 + port, port
    header = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, 0x10, 1000, 0, 0)
    ends = socket.inet_aton(source) + socket.inet_aton(address)
    header = header[:16] + struct.pack("!H", checksum(ends + struct.pack("!HH", 6, len(header)) + header)) + header[18:]
    with raw(one, machine, socket.IPPROTO_TCP) as near:
        near.sendto(header, (address, 0))
        while select.select([near], [], [], _SILENCE_S)[0]:
            answer = near.recv(1500)[20:]
            if struct.unpack_from("!HH", answer) == ports[::-1] and answer[13] & 4:
                return True
    return False


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
