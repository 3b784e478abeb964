"""Networks: routers, sandboxes (the namespaces a machine lives in) and interfaces.

A network is a network namespace that works as a router. An interface is a veth pair between that router and a
sandbox, with a /32 route and proxy ARP: there is no bridge, so conntrack sees each packet with its interface and two
networks may have the same CIDR. One *edge* namespace holds the public pool and a link per network; the host has one
veth, one route and one blackhole, and no rule. Address translation of public addresses happens in the network's own
namespace (it has its own conntrack), so the edge only routes.
"""

from __future__ import annotations

import socket
from typing import Literal, Protocol

import msgspec


class WayOut(msgspec.Struct, frozen=True):
    """Out of the host, as the host itself and from its address, to addresses of the public internet. `link`: only by that link of
    the host; "" for wherever its routes lead. `private`: private ranges that guests reach besides."""

    link: str = ""
    private: tuple[str, ...] = ()


class EdgeSpec(msgspec.Struct, frozen=True):
    """The public side of one gureum home. `pool` is its claimed share of 198.18.0.0/15, e.g. "198.18.16.0/20";
    its first address is the host's, its second the edge router's. `way_out`: how guests leave the host, None for not at all."""

    pool: str
    way_out: WayOut | None = None


class Route(msgspec.Struct, frozen=True):
    """One route of a subnet's table. `target`: "local" (the network itself), "internet" (through the edge),
    "blackhole", "interface:NAME" (to that interface's primary address), or "peer:NAME" (through that peering). The longest prefix wins."""

    destination: str
    target: str


class Subnet(msgspec.Struct, frozen=True):
    """`gateway` is the address the router answers to in this subnet (CIDR base + 1)."""

    name: str
    cidr: str
    gateway: str
    routes: tuple[Route, ...] = ()


class Peer(msgspec.Struct, frozen=True):
    """A peering: a link to another network's router, which must wish for the same one. `cidrs`: the other's, which do not overlap with this one's."""

    name: str
    network: str
    cidrs: tuple[str, ...]


class NetworkSpec(msgspec.Struct, frozen=True):
    """`local_addresses`: further addresses that the router itself answers to (resolver at base + 2, 169.254.169.253,
    169.254.169.254). `uplink`: whether the network has a link to the edge. `entrance`: where what comes by it goes, if not straight to
    whom it is meant for; targets are interfaces or "local". `exit`: with an uplink, all leave by it from one address of the router."""

    name: str
    cidrs: tuple[str, ...]
    subnets: tuple[Subnet, ...] = ()
    local_addresses: tuple[str, ...] = ("169.254.169.253", "169.254.169.254")
    uplink: bool = False
    peers: tuple[Peer, ...] = ()
    entrance: tuple[Route, ...] = ()
    exit: bool = False


class Translation(msgspec.Struct, frozen=True):
    """What a sandbox that is a NAT gateway does: new flows that come by its one interface leave by it from one of `addresses` (those of the
    interface, at least one), answers find back, and nothing that begins elsewhere comes in. `idle_s`: when it forgets a silent flow. `draining`:
    further addresses of the interface that get no new flows, while those that have them go on."""

    addresses: tuple[str, ...]
    idle_s: int = 350
    draining: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ValueError("a translator needs an address")


class Passage(msgspec.Struct, frozen=True):
    """What a sandbox with two interfaces does that is a way between two networks: new flows (TCP, UDP) that come by eth0 leave by eth1 to `target`
    from the address `exit`, answers find back, and nothing begins at eth1. The gateways are those of the interfaces' subnets. `idle_s`: when it
    forgets a silent flow."""

    exit: str
    target: str
    entrance_gateway: str
    exit_gateway: str
    idle_s: int = 350


class SandboxSpec(msgspec.Struct, frozen=True):
    """The namespaces a machine, pod or container lives in: network, UTS hostname, and, when `guest`, a user namespace that
    owns them (so that root inside has power over its own network only). They outlive the processes in them. `translation`: no machine lives
    in it, it is a NAT gateway (never a guest). `users`: the sandbox whose user namespace it shares, instead of one of its own: the two can then share
    other namespaces too."""

    name: str
    hostname: str = ""
    guest: bool = True
    translation: Translation | None = None
    users: str = ""

    def __post_init__(self) -> None:
        if self.guest and self.translation is not None:
            raise ValueError("a translator is never a guest")


class SandboxPaths(msgspec.Struct, frozen=True):
    """Paths of the pinned namespaces; `user` is "" when the sandbox is not a guest. `uid_base`: the host uid that is root
    inside (0 when there is no user namespace); 65,536 uids and gids are mapped from there."""

    net: str
    user: str
    uid_base: int


class InterfaceSpec(msgspec.Struct, frozen=True):
    """One ENI. `addresses`: private IPv4 addresses, the primary first. `public`: pairs (private, public). `sandbox` "" means not
    attached: the addresses stay reserved, nothing answers. `device`: its name inside the sandbox. `prefixes`: ranges that lead to it, whatever
    it does with them."""

    name: str
    network: str
    subnet: str
    mac: str
    addresses: tuple[str, ...]
    prefix_length: int
    gateway: str
    sandbox: str = ""
    device: str = "eth0"
    default_route: bool = True
    mtu: int = 1500
    source_check: bool = True
    public: tuple[tuple[str, str], ...] = ()
    prefixes: tuple[str, ...] = ()


class Observed(msgspec.Struct, frozen=True):
    """What of this home exists on the machine, by name."""

    edge: bool
    networks: frozenset[str]
    sandboxes: frozenset[str]
    interfaces: frozenset[str]


class TranslationCounts(msgspec.Struct, frozen=True):
    """What a translator has done since it was made. Packets and bytes `in_…` have come to it from the clients (`source`) and from where they
    talk to (`destination`), `out_…` have left it. Of TCP: `attempts` to connect, connections `established`, those that are `active` now and those
    that ended by silence (`idle`). `refused_ports`: packets that no free port was found for; `dropped`: those that may not pass."""

    in_source_packets: int = 0
    in_source_bytes: int = 0
    out_destination_packets: int = 0
    out_destination_bytes: int = 0
    in_destination_packets: int = 0
    in_destination_bytes: int = 0
    out_source_packets: int = 0
    out_source_bytes: int = 0
    attempts: int = 0
    established: int = 0
    active: int = 0
    idle: int = 0
    refused_ports: int = 0
    dropped: int = 0


class InterfaceCounters(msgspec.Struct, frozen=True):
    """What an attached interface has taken in and sent out since it was attached. `translation`: of a translator's."""

    in_bytes: int
    in_packets: int
    out_bytes: int
    out_packets: int
    translation: TranslationCounts | None = None


class Networks(Protocol):
    async def ensure_edge(self, spec: EdgeSpec) -> None: ...
    async def remove_edge(self) -> None: ...
    async def ensure_network(self, spec: NetworkSpec) -> None:
        """Also brings a network that exists to `spec`: subnets, routes, addresses and uplink that are no longer wished go."""

    async def remove_network(self, name: str) -> None: ...
    async def ensure_sandbox(self, spec: SandboxSpec) -> SandboxPaths: ...
    async def remove_sandbox(self, name: str) -> None: ...
    async def ensure_passage(self, sandbox: str, passage: Passage) -> None:
        """PortError while the sandbox or one of its two interfaces is missing. It goes with the sandbox."""

    async def ensure_interface(self, spec: InterfaceSpec) -> None:
        """Both ends, addresses, routes, ARP, the edge's routes to its public addresses. Raises PortError while its network or
        sandbox is missing. Moves the interface when `sandbox` changed."""

    async def remove_interface(self, name: str) -> None: ...
    def open_socket(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"]) -> socket.socket:
        """A bound (tcp: listening) non-blocking socket inside the network's namespace; `network` "" is the host's."""

    def open_in_sandbox(self, sandbox: str, address: str, port: int) -> socket.socket:
        """A listening non-blocking TCP socket inside a sandbox, whose interface has that address."""

    async def observe(self) -> Observed: ...
    async def counters(self) -> dict[str, InterfaceCounters]:
        """Of all attached interfaces at once, by name."""

    async def close(self) -> None:
        """Gives up sockets and worker processes; leaves the machine as it is."""
