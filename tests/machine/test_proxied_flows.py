"""Flows through a layer-7 balancer's node, held against packets that a capture in the node's namespace counted. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from gureum.base.sealing import Sealer
from gureum.drivers.flows.readers import NetlinkFlows
from gureum.drivers.haproxy.proxies import HaproxyProxies
from gureum.drivers.haproxy.proxies import clean as clean_proxies
from gureum.drivers.networks import namespaces
from gureum.ports.firewalls import Rule as GroupRule
from gureum.ports.flows import Flow
from gureum.ports.proxies import Forward, Group, Listener, ProxySpec, Rule, Server
from tests.machine.cloud_network import ANYWHERE, OUT_ALL, Cloud, on_a_cloud

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")]

CLIENT, NODE, TARGET = "10.0.0.10", "10.0.2.10", "10.0.1.10"
REQUESTS = 20
_ETH_P_ALL, _ETH_P_IP, _TCP = 3, 0x0800, 6
Counts = dict[tuple[str, str], tuple[int, int]]
"""(source, destination) -> packets, bytes of IP."""


class Capture:
    """Counts each TCP packet that enters or leaves a sandbox."""

    def __init__(self, one: Cloud, sandbox: str) -> None:
        with namespaces.entered(one.names.sandbox(sandbox)):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            self.socket.bind(("eth0", _ETH_P_ALL))
        self.socket.setblocking(False)
        self.packets: Counter[tuple[str, str]] = Counter()
        self.bytes: Counter[tuple[str, str]] = Counter()

    def counts(self) -> Counts:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, kind, *_rest) = self.socket.recvfrom(65536)
                if kind == _ETH_P_IP and data[9] == _TCP:
                    ends = (socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20]))
                    self.packets[ends] += 1
                    self.bytes[ends] += struct.unpack_from("!H", data, 2)[0]
        return {ends: (packets, self.bytes[ends]) for ends, packets in self.packets.items()}


def spec(one: Cloud) -> ProxySpec:
    group = Group("tg-a", "arn:tg-a", "HTTP", servers=(Server("t", TARGET, 80, up=True),))
    listener = Listener(80, "HTTP", "arn:http", (Rule(0, Forward((("tg-a", 1),))),))
    return ProxySpec("node", str(one.names.sandbox("node")), NODE, "app/lb/1", (listener,), (group,))


@contextlib.contextmanager
def answering(server: socket.socket) -> Iterator[None]:
    """A web server whose connections end with their answer."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                far, _ = server.accept()
                with far:
                    while not far.recv(4096).endswith(b"\r\n\r\n"):
                        pass
                    far.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def ask(one: Cloud) -> bytes:
    with one.connecting("client", NODE, 80) as near:
        near.setblocking(True)
        near.settimeout(10)
        near.sendall(b"GET / HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n")
        parts = []
        while part := near.recv(4096):
            parts.append(part)
        return b"".join(parts)


def summed(flows: list[Flow], interface: str) -> Counts:
    packets: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for flow in flows:
        if flow.interface == interface:
            assert (flow.action, flow.protocol) == ("ACCEPT", _TCP)
            packets[flow.source, flow.destination] += flow.packets
            sizes[flow.source, flow.destination] += flow.bytes
    return {ends: (count, sizes[ends]) for ends, count in packets.items()}


@on_a_cloud
async def test_both_sides_of_a_proxy_are_told_with_the_packets_that_its_node_saw(one: Cloud) -> None:
    await one.network("blue")
    await one.group("blue", "web", OUT_ALL, GroupRule("in", "tcp", (80, 80), cidr=ANYWHERE))
    for name, address in (("client", CLIENT), ("target", TARGET), ("node", NODE)):
        await one.machine(name, "blue", address, "web", guest=name != "node")
    (one.run_dir / "keys").mkdir(mode=0o700)
    proxies = HaproxyProxies(one.home_id, one.run_dir, Sealer(one.run_dir / "keys" / "key"))
    flows = NetlinkFlows(one.home_id, one.run_dir, one.firewalls)
    told: list[Flow] = []
    try:
        await proxies.ensure(spec(one))
        await flows.watch("blue", frozenset({"client", "node", "target"}))
        capture = Capture(one, "node")
        with one.listen("target", 80) as server, answering(server), capture.socket:
            for _ in range(REQUESTS):
                assert (await asyncio.to_thread(ask, one)).endswith(b"hello")
            async with asyncio.timeout(30):
                while True:  # the last packets of connections pass after their answers
                    seen = capture.counts()
                    told += (await flows.collect()).flows
                    if summed(told, "node") == seen == capture.counts():
                        break
                    await asyncio.sleep(0.02)
    finally:
        await flows.close()
        await proxies.close()
        await clean_proxies(one.home_id, one.run_dir)
    front, back = {(CLIENT, NODE), (NODE, CLIENT)}, {(NODE, TARGET), (TARGET, NODE)}
    assert set(seen) == front | back
    assert all(packets >= 3 * REQUESTS for packets, _ in seen.values()), seen  # an answer may carry its FIN
    # The client's and the target's interfaces tell their own side alone, and the same packets.
    assert summed(told, "client") == {ends: counts for ends, counts in seen.items() if ends in front}
    assert summed(told, "target") == {ends: counts for ends, counts in seen.items() if ends in back}
    assert {(flow.packet_source, flow.packet_destination) for flow in told} == {("", "")}
