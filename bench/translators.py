"""New connections through a NAT gateway beside the same ones by plain routing, in turns within one run. Needs root.

    python -m bench.translators [--rounds 8] [--connections 1000]

    plain     machine with a public address ─► its network's router ─► edge ─► the other network's router ─► server
    NAT       machine ─► router ─► translator ─► router ─► edge ─► router ─► server
    peer      machine ─► router ─► the peered network's router ─► server        (one network less of address translation)
    peer NAT  machine ─► router ─► translator ─► router ─► peered router ─► server

One client opens a connection, reads a byte that the server sends, resets it, and opens the next: what the client and the server
themselves take is the same in each row, and "loopback" shows how much that is. Nothing reaches beyond the namespaces made here; all is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.netns import NetnsNetworks, clean
from gureum.drivers.networks.network_names import HomeNames
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import Group, PeerLink, Port, Rule, RuleSet
from gureum.ports.networks import (
    EdgeSpec,
    InterfaceSpec,
    NetworkSpec,
    Peer,
    Route,
    SandboxSpec,
    Subnet,
    Translation,
)

POOL = "240.255.128.0/24"
ANYWHERE = "0.0.0.0/0"
OPEN = Group("open", (Rule("out", "all", cidr=ANYWHERE), Rule("in", "all", cidr=ANYWHERE)))
RESET = struct.pack("ii", 1, 0)
SERVER_PUBLIC, SERVER_PRIVATE, SERVER_PORT = "240.255.128.20", "10.2.0.10", 80
TIMEOUT_S = 10.0


def subnet(network: int, number: int, *routes: Route) -> Subnet:
    return Subnet(f"net-{network}-{number}", f"10.{network}.{number}.0/24", f"10.{network}.{number}.1", routes)


def networks() -> tuple[NetworkSpec, NetworkSpec]:
    """The clients' network: subnet 0 leads out, subnet 1 through the translator; and the server's."""
    to_edge, to_peer = Route(ANYWHERE, "internet"), Route("10.2.0.0/16", "peer:pcx")
    to_nat = Route(ANYWHERE, "interface:nat")
    near = NetworkSpec(
        "near",
        ("10.1.0.0/16",),
        (subnet(1, 0, to_edge, to_peer), subnet(1, 1, to_nat)),
        uplink=True,
        peers=(Peer("pcx", "far", ("10.2.0.0/16",)),),
    )
    back = Route("10.1.0.0/16", "peer:pcx")
    far = NetworkSpec(
        "far",
        ("10.2.0.0/16",),
        (subnet(2, 0, to_edge, back),),
        uplink=True,
        peers=(Peer("pcx", "near", ("10.1.0.0/16",)),),
    )
    return near, far


def interface(name: str, network: str, address: str, public: str = "") -> InterfaceSpec:
    number = address.split(".")
    return InterfaceSpec(
        name,
        network,
        f"net-{number[1]}-{number[2]}",
        "02:00:" + ":".join(f"{int(part):02x}" for part in number),
        (address,),
        24,
        address.rpartition(".")[0] + ".1",
        name,
        public=((address, public),) if public else (),
    )


async def make(home: NetnsNetworks, firewalls: NftFirewalls) -> None:
    await home.ensure_edge(EdgeSpec(POOL))
    specs = networks()
    for spec in (*specs, *specs):  # a peering's link waits for both
        await home.ensure_network(spec)
    translator = msgspec.structs.replace(interface("nat", "near", "10.1.0.20", "240.255.128.11"), source_check=False)
    placed = [
        interface("plain", "near", "10.1.0.10", "240.255.128.10"),
        interface("hidden", "near", "10.1.1.10"),
        interface("server", "far", SERVER_PRIVATE, SERVER_PUBLIC),
        translator,
    ]
    for one in placed:
        translation = Translation(one.addresses) if one is translator else None
        await home.ensure_sandbox(SandboxSpec(one.name, guest=False, translation=translation))
        await home.ensure_interface(one)
    for spec in specs:
        ports = tuple(
            Port(one.name, one.addresses, ("open",), one.public, not one.source_check, one is translator)
            for one in placed
            if one.network == spec.name
        )
        internet = tuple(each.cidr for each in spec.subnets if any(way.target == "internet" for way in each.routes))
        peers = tuple(PeerLink(peer.name, peer.cidrs) for peer in spec.peers)
        await firewalls.apply(RuleSet(spec.name, spec.cidrs, (OPEN,), ports, internet, peers=peers))


@contextmanager
def server(sandbox: Path) -> Iterator[None]:
    """A process that greets whoever connects, in that namespace."""
    with namespaces.entered(sandbox):
        listening = socket.socket()
    listening.bind(("", SERVER_PORT))
    listening.listen(1024)
    child = os.fork()
    if child == 0:
        while True:
            one, _ = listening.accept()
            one.send(b"!")
            one.close()
    listening.close()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def connections(sandbox: Path, address: str, number: int) -> float:
    """Per second."""
    start = time.perf_counter()
    with namespaces.entered(sandbox):
        for _ in range(number):
            one = socket.socket()
            one.settimeout(TIMEOUT_S)
            one.connect((address, SERVER_PORT))
            one.recv(1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()
    return number / (time.perf_counter() - start)


def measure(names: HomeNames, rounds: int, number: int) -> dict[str, list[float]]:
    ways = {
        "loopback": ("server", SERVER_PRIVATE),
        "plain": ("plain", SERVER_PUBLIC),
        "NAT": ("hidden", SERVER_PUBLIC),
        "peer": ("plain", SERVER_PRIVATE),
        "peer NAT": ("hidden", SERVER_PRIVATE),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for place in range(rounds + 1):
        for name, (machine, address) in ways.items():
            rate = connections(names.sandbox(machine), address, number)
            if place:  # the first round warms up
                found[name].append(rate)
    return found


def show(found: dict[str, list[float]]) -> None:
    for name, base in (("loopback", ""), ("plain", ""), ("NAT", "plain"), ("peer", ""), ("peer NAT", "peer")):
        shown = f"{name:<10} {statistics.median(found[name]):9.0f} new connections/s"
        if base:
            ratios = [one / other for one, other in zip(found[name], found[base], strict=True)]
            shown += f"   {statistics.median(ratios):5.2f} of {base}, in turns"
        print(shown, flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=1000)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    home_id = "b" + secrets.token_hex(8)[:5]
    with tempfile.TemporaryDirectory() as folder:
        home, firewalls = NetnsNetworks(home_id, Path(folder)), NftFirewalls(home_id)
        try:
            await make(home, firewalls)
            names = HomeNames(home_id, Path(folder))
            with server(names.sandbox("server")):
                show(measure(names, arguments.rounds, arguments.connections))
        finally:
            await home.close()
            await firewalls.close()
            await clean(home_id, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
