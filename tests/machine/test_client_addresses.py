"""Clients' addresses behind listeners that need a program (TLS, the PROXY protocol), kept on packets: whom the target sees, whom its groups let
in, and that nobody else can speak so. Needs root.

AWS, "Network Load Balancers" guide: "Client IP preservation", "Proxy protocol", "Security groups for your Network Load Balancer".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from gureum.base.sealing import Sealer
from gureum.drivers.haproxy.proxies import HaproxyProxies
from gureum.drivers.haproxy.proxies import clean as clean_proxies
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.netns import NetnsNetworks
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import Rule
from gureum.ports.proxies import Forward, Group, Listener, ProxySpec, Server
from gureum.ports.proxies import Rule as ProxyRule
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, TO_EDGE, Cloud, on_a_cloud, say
from tests.machine.proxy_host import new_certificate

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")]

IN_ALL = Rule("in", "all", cidr=ANYWHERE)
NODE, TARGET, CLIENT = "10.0.0.5", "10.0.1.11", "10.0.2.10"
TLS, TCP = 443, 80
_ANSWER_S, _SILENCE_S = 5.0, 0.3


class Node:
    """A proxy at the node of a cloud, as a load balancer has it there."""

    def __init__(self, one: Cloud, name: str = "node", address: str = NODE, beside: Node | None = None) -> None:
        self.one, self.name, self.address = one, name, address
        if beside is not None:
            self.sealer, self.certificate, self.proxies = beside.sealer, beside.certificate, beside.proxies
            return
        (one.run_dir / "keys").mkdir(mode=0o700)
        self.sealer = Sealer(one.run_dir / "keys" / "key")
        self.certificate = new_certificate(self.sealer, "nlb.example.com")
        self.proxies = self.driver()

    def driver(self) -> HaproxyProxies:
        return HaproxyProxies(self.one.home_id, self.one.run_dir, self.sealer)

    def spec(
        self, *, preserve: bool = True, proxy_protocol: bool = False, protocol: Literal["TCP", "TLS"] = "TCP"
    ) -> ProxySpec:
        group = Group(
            "tg-a",
            "arn:tg-a",
            protocol,
            servers=(Server(f"{TARGET}:8080", TARGET, 8080, up=True),),
            preserve_client=preserve,
            proxy_protocol=proxy_protocol,
        )
        rules = (ProxyRule(0, Forward((("tg-a", 1),))),)
        tls = Listener(TLS, "TLS", "arn:tls", rules, (self.certificate.name,))
        tcp = Listener(TCP, "TCP", "arn:tcp", rules)
        net = str(self.one.names.sandbox(self.name))
        return ProxySpec(self.name, net, self.address, "net/lb/1", (tls, tcp), (group,), (self.certificate,))

    async def bring(self, **wished: Any) -> None:
        """As the agent does: first the network's rules, then the proxy."""
        spec = self.spec(**wished)
        self.one.speaking.add(self.name)
        await self.one.enforce("blue")
        await self.proxies.ensure(spec)


@contextlib.asynccontextmanager
async def a_node(one: Cloud, *groups: str, target_groups: tuple[str, ...] = ("open",)) -> AsyncIterator[Node]:
    await one.network("blue", uplink=True, a=TO_EDGE)
    await one.group("blue", "open", OUT_ALL, IN_ALL)
    await one.group("blue", "lb", OUT_ALL, IN_ALL)
    await one.machine("node", "blue", NODE, *groups, public=one.public(10), source_check=False, guest=False)
    await one.machine("t1", "blue", TARGET, *target_groups)
    await one.machine("client", "blue", CLIENT, "open")
    node = Node(one)
    await node.bring()
    try:
        yield node
    finally:
        await node.proxies.close()
        await clean_proxies(one.home_id, one.run_dir)


@contextlib.contextmanager
def connected(one: Cloud, machine: str, address: str, port: int) -> Iterator[socket.socket]:
    """A client's connection, after the TLS handshake where the port has one."""
    with one.connecting(machine, address, port) as near:
        assert select.select([], [near], [], _ANSWER_S)[1], "no answer"
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        near.settimeout(_ANSWER_S)
        if port != TLS:
            yield near
            return
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(near) as wrapped:
            yield wrapped


@contextlib.contextmanager
def served(
    one: Cloud, machine: str, address: str, port: int, server: socket.socket
) -> Iterator[tuple[socket.socket, socket.socket, str]]:
    """(near, far, whom the target sees)."""
    with connected(one, machine, address, port) as near:
        far, (seen, _) = server.accept()
        with far:
            far.settimeout(_ANSWER_S)
            yield near, far, seen


def is_silent(server: socket.socket) -> bool:
    return not select.select([server], [], [], _SILENCE_S)[0]


@on_a_cloud
async def test_targets_see_the_client_behind_tls_and_tcp_from_inside_and_outside(one: Cloud) -> None:
    async with a_node(one) as node:
        with one.listen("t1", 8080) as server:
            for port in (TLS, TCP):
                with served(one, "client", NODE, port, server) as (near, far, seen):
                    assert seen == CLIENT
                    assert say(near, far)
                with served(one, "", one.public(10), port, server) as (near, far, seen):
                    assert seen == host_address(one)
                    assert say(near, far)
            await node.bring(preserve=False)
            for machine, address in (("client", NODE), ("", one.public(10))):
                with served(one, machine, address, TLS, server) as (near, far, seen):
                    assert seen == NODE
                    assert say(near, far)
            # Health checks and the like are the node's own.
            near, far, seen = one.flow("node", server, TARGET)
            assert (seen, say(near, far)) == (NODE, True)
            near.close(), far.close()


@on_a_cloud
async def test_open_connections_outlive_changes_and_a_new_agent(one: Cloud) -> None:
    async with a_node(one) as node:
        with (
            one.listen("t1", 8080) as server,
            served(one, "client", NODE, TLS, server) as (near, far, _),
            served(one, "", one.public(10), TLS, server) as (near2, far2, _),
        ):
            await node.proxies.close()
            await one.networks.close()
            await one.firewalls.close()
            node.proxies, one.firewalls = node.driver(), NftFirewalls(one.home_id)
            one.networks = NetnsNetworks(one.home_id, one.run_dir)
            await one.networks.ensure_network(one.specs["blue"])
            for spec in one.interfaces.values():
                await one.networks.ensure_interface(spec)
            await node.bring()
            assert say(near, far)
            assert say(near2, far2)
            with served(one, "client", NODE, TLS, server) as (near3, far3, seen):
                assert (seen, say(near3, far3)) == (CLIENT, True)
            await node.bring(preserve=False)
            assert say(near, far)
            assert say(near2, far2)


@on_a_cloud
async def test_nodes_may_choose_the_same_port_for_a_client_and_the_client_too(one: Cloud) -> None:
    """Each node's kernel chooses the ports of its connections, and knows of no other's."""
    async with a_node(one) as first:
        await one.machine("node2", "blue", "10.0.0.6", source_check=False, guest=False)
        second = Node(one, "node2", "10.0.0.6", beside=first)
        await second.bring()
        for name in ("node", "node2"):
            with namespaces.entered(one.names.sandbox(name)):
                Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40000")
        with (
            one.listen("t1", 8080) as server,
            served(one, "client", NODE, TLS, server) as (near, far, seen),
            served(one, "client", "10.0.0.6", TLS, server) as (near2, far2, seen2),
        ):
            assert seen == seen2 == CLIENT
            assert far.getpeername() != far2.getpeername()
            with namespaces.entered(one.names.sandbox("client")):
                own = socket.socket()
            with own:
                own.bind((CLIENT, 40000))
                own.settimeout(_ANSWER_S)
                own.connect((TARGET, 8080))
                far3, _ = server.accept()
                with far3:
                    far3.settimeout(_ANSWER_S)
                    for ends in ((near, far), (near2, far2), (own, far3)):
                        assert say(*ends)


@on_a_cloud
async def test_proxy_protocol_and_the_clients_address_at_once(one: Cloud) -> None:
    """AWS: "the source IP addresses provided to your applications are the client IP addresses", and so says the header."""
    async with a_node(one) as node:
        await node.bring(proxy_protocol=True)
        with one.listen("t1", 8080) as server:
            for machine, address, known in (("client", NODE, CLIENT), ("", one.public(10), host_address(one))):
                with served(one, machine, address, TCP, server) as (near, far, seen):
                    near.sendall(b"hi")
                    signature, verb, family, length = struct.unpack("!12sBBH", _exactly(far, 16))
                    rest = _exactly(far, length)
                    source, destination, from_port, to_port = struct.unpack("!4s4sHH", rest[:12])
                    assert (signature, verb, family) == (b"\r\n\r\n\0\r\nQUIT\n", 0x21, 0x11)
                    assert socket.inet_ntoa(source) == known == seen
                    assert (socket.inet_ntoa(destination), to_port) == (NODE, TCP)
                    assert from_port == near.getsockname()[1]
                    assert _exactly(far, 2) == b"hi"


@on_a_cloud
async def test_from_tls_to_tls_the_target_sees_the_client(one: Cloud) -> None:
    async with a_node(one) as node:
        await node.bring(protocol="TLS")
        pem = one.run_dir / "target.pem"
        key = node.sealer.open(node.certificate.sealed_key, node.certificate.name)
        pem.write_text(key + node.certificate.chain_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

        def answer(server: socket.socket) -> tuple[str, bytes]:
            plain, (seen, _) = server.accept()
            plain.settimeout(_ANSWER_S)
            with context.wrap_socket(plain, server_side=True) as far:
                heard = far.recv(5)
                far.sendall(heard)
                return seen, heard

        with one.listen("t1", 8080) as server:
            serving = asyncio.get_running_loop().run_in_executor(None, answer, server)
            with connected(one, "client", NODE, TLS) as near:
                near.sendall(b"hello")
                assert await serving == (CLIENT, b"hello")
                assert near.recv(5) == b"hello"


@on_a_cloud
async def test_targets_groups_name_the_client_or_the_balancers_group(one: Cloud) -> None:
    async with a_node(one, "lb", target_groups=("web",)):
        cases = [
            (Rule("in", "tcp", (8080, 8080), cidr=f"{CLIENT}/32"), True),
            (Rule("in", "tcp", (8080, 8080), cidr=f"{NODE}/32"), False),
            (Rule("in", "tcp", (8080, 8080), group="lb"), True),
            (Rule("in", "tcp", (8081, 8081), group="lb"), False),
            (Rule("in", "tcp", (8080, 8080), group="web"), False),
        ]
        with one.listen("t1", 8080) as server:
            for rule, passes in cases:
                await one.group("blue", "web", OUT_ALL, rule)
                with contextlib.suppress(ConnectionResetError), connected(one, "client", NODE, TLS):
                    if passes:
                        far, (seen, _) = server.accept()
                        assert seen == CLIENT
                        far.close()
                    else:
                        assert is_silent(server), rule
            # What lets the balancer in lets in nobody beside it.
            await one.group("blue", "web", OUT_ALL, Rule("in", "tcp", (8080, 8080), group="lb"))
            assert one.reach("client", TARGET, 8080) == "silent"
            # The balancer's own groups judge what it sends on.
            await one.group("blue", "lb", IN_ALL, Rule("out", "tcp", (9, 9), cidr=ANYWHERE))
            with contextlib.suppress(ConnectionResetError), connected(one, "client", NODE, TLS):
                assert is_silent(server)


@on_a_cloud
async def test_nobody_else_can_speak_as_a_client_nor_hear_its_replies(one: Cloud) -> None:
    async with a_node(one):
        await one.machine("mallory", "blue", "10.0.2.66", "open")
        with one.listen("t1", 8080) as server:
            with one.connecting("mallory", TARGET, 8080), spoofed(one, "mallory") as liar:
                liar.sendto(_syn(CLIENT, TARGET, 4444, 8080), (TARGET, 0))
                far, (seen, _) = server.accept()
                far.close()
                assert seen == "10.0.2.66"
                assert is_silent(server)
            with served(one, "client", NODE, TLS, server) as (near, far, seen):
                port = far.getpeername()[1]
                with spoofed(one, "mallory") as liar:
                    # Into the very flow: nothing of it arrives, and its replies still go where they went.
                    liar.sendto(_syn(CLIENT, TARGET, port, 8080, flags=4), (TARGET, 0))
                    assert say(near, far)
            # The client itself, with the port of a flow that is the node's: that flow goes on, and is not mixed with his.
            with served(one, "client", NODE, TLS, server) as (near, far, _):
                port = far.getpeername()[1]
                with namespaces.entered(one.names.sandbox("client")):
                    own = socket.socket()
                with own:
                    own.bind((CLIENT, port))
                    own.setblocking(False)
                    with contextlib.suppress(BlockingIOError, OSError):
                        own.connect((TARGET, 8080))
                    assert say(near, far)


@on_a_cloud
async def test_who_forwards_and_is_no_node_gets_no_replies_to_others(one: Cloud) -> None:
    """A machine without source/destination check may send others' packets; the replies go to whom the address belongs."""
    async with a_node(one):
        await one.machine("gate", "blue", "10.0.2.7", "open", source_check=False)
        with one.listen("t1", 8080) as server, hearing(one, "client") as heard, spoofed(one, "gate") as sent:
            sent.sendto(_syn(CLIENT, TARGET, 4444, 8080), (TARGET, 0))
            answer = heard.recv(4096)
            assert (answer[12:16], answer[33]) == (socket.inet_aton(TARGET), 0x12)  # SYN-ACK
            assert is_silent(server)


def host_address(one: Cloud) -> str:
    return one.public(1)


@contextlib.contextmanager
def hearing(one: Cloud, machine: str) -> Iterator[socket.socket]:
    """All TCP packets for the machine."""
    with namespaces.entered(one.names.sandbox(machine)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with opened:
        opened.settimeout(_ANSWER_S)
        yield opened


@contextlib.contextmanager
def spoofed(one: Cloud, machine: str) -> Iterator[socket.socket]:
    """A raw socket whose packets bring their own IP header."""
    with namespaces.entered(one.names.sandbox(machine)):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with opened:
        yield opened


def _syn(source: str, destination: str, from_port: int, to_port: int, flags: int = 2) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    tcp = struct.pack("!HHIIBBHHH", from_port, to_port, 1, 0, 0x50, flags, 1024, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, 6, len(tcp))
    return head + tcp[:16] + struct.pack("!H", _checksum(pseudo + tcp)) + tcp[18:]


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, "closed early"
        data += piece
    return data
