"""Names and metadata inside real networks: who asks is told apart, a token goes no further than its hop limit. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import dnslib
import pytest

from gureum.drivers.dns.server import DnsNames
from gureum.drivers.imds.server import Imds
from gureum.drivers.keys.local_ca import LocalCa
from gureum.drivers.networks import namespaces
from gureum.ports.metadata import InstanceMetadata, MetadataOptions
from gureum.ports.names import Record, Zone
from tests.machine.cloud_network import OUT_ALL, Cloud, cloud, remains

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

METADATA = "169.254.169.254"
PUT = b"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
GET = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n\r\n"
SILENCE_S = 0.5


class WallClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Place:
    """A cloud with one network per name, one machine i-NAME at 10.0.0.10 in each, and the servers in them."""

    def __init__(self, one: Cloud, folder: Path) -> None:
        self.cloud = one
        self.names = DnsNames()
        self.metadata = self.new_metadata(folder)
        self.listeners: dict[str, socket.socket] = {}

    @staticmethod
    def new_metadata(folder: Path) -> Imds:
        return Imds(folder / "imds.key", LocalCa(folder / "ca", WallClock()), WallClock())

    async def add(self, name: str) -> None:
        await self.cloud.network(name)
        await self.cloud.group(name, "open", OUT_ALL)
        await self.cloud.machine(f"i-{name}", name, "10.0.0.10", "open")
        self.describe(self.metadata, name)
        opened = functools.partial(self.cloud.networks.open_socket, name)
        self.listeners[name] = opened(METADATA, 80, "tcp")
        await self.metadata.serve(name, [self.listeners[name].dup()])
        resolvers = [(address, kind) for address in ("10.0.0.2", "169.254.169.253") for kind in ("udp", "tcp")]
        await self.names.serve(name, [opened(address, 53, kind) for address, kind in resolvers])

    @staticmethod
    def describe(metadata: Imds, name: str, **options: Any) -> None:
        tree = {"meta-data/instance-id": f"i-{name}"}
        metadata.replace(InstanceMetadata(f"i-{name}", name, ("10.0.0.10",), tree, MetadataOptions(**options)))

    async def close(self) -> None:
        await self.names.close()
        await self.metadata.close()
        for listener in self.listeners.values():
            listener.close()


def on_a_cloud(test: Callable[[Place], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Runs the test on networks "blue" and "green" with the same addresses, and asserts that nothing of them remains."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        async def main() -> None:
            async with cloud(tmp_path) as one:
                home_ids.append(one.home_id)
                place = Place(one, tmp_path)
                try:
                    for name in ("blue", "green"):
                        await place.add(name)
                    await test(place)
                finally:
                    await place.close()

        home_ids: list[str] = []
        asyncio.run(asyncio.wait_for(main(), timeout=60))
        assert remains(home_ids[0]) == []

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would take the test's argument for a fixture
    return run


async def http(where: Path, *requests: bytes, wait_s: float = 10.0) -> bytes:
    """All that comes back for `requests` on one connection from the namespace `where`, until as many answers are there."""
    with namespaces.entered(where):
        client = socket.socket()
    got = b""
    with client, contextlib.suppress(TimeoutError):
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(wait_s):
            await loop.sock_connect(client, (METADATA, 80))
            for number, request in enumerate(requests, 1):
                await loop.sock_sendall(client, request)
                while got.count(b"HTTP/1.1 ") < number:
                    got += await loop.sock_recv(client, 65536)
    return got


async def resolve(where: Path, server: str, name: str, kind: socket.SocketKind, rtype: str = "A") -> list[str]:
    question = dnslib.DNSRecord.question(name, rtype).pack()
    with namespaces.entered(where):
        client = socket.socket(socket.AF_INET, kind)
    with client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            await loop.sock_connect(client, (server, 53))
            length = len(question).to_bytes(2, "big") if kind == socket.SOCK_STREAM else b""
            await loop.sock_sendall(client, length + question)
            reply = (await loop.sock_recv(client, 4096))[len(length) :]
    return [str(rr.rdata) for rr in dnslib.DNSRecord.parse(reply).rr]


@on_a_cloud
async def test_machines_with_one_address_in_two_networks_see_their_own_metadata(place: Place) -> None:
    for name in ("blue", "green"):
        sandbox = place.cloud.names.sandbox(f"i-{name}")
        assert (await http(sandbox, GET)).endswith(f"i-{name}".encode())
        token = (await http(sandbox, PUT))[-56:]
        with_token = GET.replace(b"\r\n\r\n", b"\r\nX-aws-ec2-metadata-token: " + token + b"\r\n\r\n")
        assert (await http(sandbox, with_token)).endswith(f"i-{name}".encode())
        other = place.cloud.names.sandbox("i-green" if name == "blue" else "i-blue")
        assert (await http(other, with_token)).startswith(b"HTTP/1.1 401 ")


@on_a_cloud
async def test_each_network_resolves_its_own_view_at_both_resolvers(place: Place) -> None:
    public = "ec2-198-18-0-5.compute-1.amazonaws.com"
    records = (Record(public, "A", ("198.18.0.5",)), Record(public, "A", ("10.0.0.10",), view="blue"))
    place.names.replace("i-blue", records, (Zone("compute-1.amazonaws.com"),))
    blue, green = (place.cloud.names.sandbox(f"i-{name}") for name in ("blue", "green"))
    for server in ("10.0.0.2", "169.254.169.253"):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            assert await resolve(blue, server, public, kind) == ["10.0.0.10"]
            assert await resolve(green, server, public, kind) == ["198.18.0.5"]
            assert await resolve(blue, server, "example.org", kind) == []


@contextlib.contextmanager
def container_behind(machine: Path, name: str) -> Iterator[Path]:
    """A namespace one hop behind the machine's, whose packets leave with the machine's address: as a container in it."""

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def inside(*command: str) -> None:
        run("nsenter", f"--net={machine}", *command)

    run("ip", "netns", "add", name)
    try:
        inside("ip", "link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", name)
        inside("ip", "addr", "add", "172.17.0.1/24", "dev", "c0")
        inside("ip", "link", "set", "c0", "up")
        inside("sysctl", "-qw", "net.ipv4.ip_forward=1")
        inside("nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }")
        inside("nft", "add rule ip nat out ip saddr 172.17.0.0/24 masquerade")
        for command in ("addr add 172.17.0.2/24 dev eth0", "link set eth0 up", "route add default via 172.17.0.1"):
            run("ip", "-n", name, *command.split())
        yield Path("/run/netns") / name
    finally:
        run("ip", "netns", "del", name)


@on_a_cloud
async def test_container_in_a_machine_gets_a_token_only_with_a_hop_limit_of_two(place: Place) -> None:
    machine = place.cloud.names.sandbox("i-blue")
    with container_behind(machine, f"ct-{place.cloud.home_id}") as container:
        assert b"\r\n\r\nAQAEA" in await http(machine, PUT)
        assert (await http(container, GET)).endswith(b"i-blue"), "what is no token goes any distance"
        assert await http(container, PUT, wait_s=SILENCE_S) == b""
        assert b"AQAEA" not in await http(container, GET, PUT, wait_s=SILENCE_S)
        assert b"AQAEA" not in await http(container, PUT + GET, wait_s=SILENCE_S), "nor by a retransmission"
        place.describe(place.metadata, "blue", hop_limit=2)
        assert b"\r\n\r\nAQAEA" in await http(container, PUT)


@contextlib.asynccontextmanager
async def packets_into(where: Path) -> AsyncIterator[list[tuple[int, bytes]]]:
    """TTL and payload of each TCP packet that comes into the namespace from the metadata address."""
    with namespaces.entered(where):
        tap = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    seen: list[tuple[int, bytes]] = []

    def read() -> None:
        packet = tap.recv(65535)
        if packet[12:16] == socket.inet_aton(METADATA):
            head = (packet[0] & 15) * 4
            seen.append((packet[8], packet[head + (packet[head + 12] >> 4) * 4 :]))

    with tap:
        tap.setblocking(False)
        asyncio.get_running_loop().add_reader(tap.fileno(), read)
        try:
            yield seen
        finally:
            asyncio.get_running_loop().remove_reader(tap.fileno())


@on_a_cloud
async def test_packets_that_carry_a_token_have_the_hop_limit_as_ttl(place: Place) -> None:
    machine = place.cloud.names.sandbox("i-blue")
    for hop_limit in (1, 3, 64):
        place.describe(place.metadata, "blue", hop_limit=hop_limit)
        async with packets_into(machine) as seen:
            await http(machine, GET, PUT, GET)
            async with asyncio.timeout(10):
                while sum(payload.startswith(b"HTTP/1.1 200") for _, payload in seen) < 3:
                    await asyncio.sleep(0.01)
        answers = [ttl for ttl, payload in seen if payload.startswith(b"HTTP/1.1 200")]
        assert answers == [64, hop_limit, hop_limit], "and never raised again on the connection"


@on_a_cloud
async def test_requests_made_while_the_agent_restarts_are_answered_by_the_next_one(place: Place) -> None:
    """The listening socket is kept by the supervisor; here by the test."""
    machine = place.cloud.names.sandbox("i-blue")
    token = (await http(machine, PUT))[-56:]
    await place.metadata.close()
    request = GET.replace(b"\r\n\r\n", b"\r\nX-aws-ec2-metadata-token: " + token + b"\r\n\r\n")
    asked = asyncio.create_task(http(machine, request))
    await asyncio.sleep(0)
    reborn = place.new_metadata(place.cloud.run_dir)
    place.describe(reborn, "blue")
    await reborn.serve("blue", [place.listeners["blue"].dup()])
    try:
        assert (await asked).endswith(b"i-blue")
    finally:
        await reborn.close()
