"""Flows: what passed, or was refused, at network interfaces, as counted by the kernel. VPC flow logs are made of it.

A flow is told from one interface's point of view: traffic between two machines is four flows, each direction at each interface. Addresses are those
that the interface sees; `packet_source` and `packet_destination` are the packet's own where a translation stands between (AWS: pkt-srcaddr).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

Action = Literal["ACCEPT", "REJECT"]
Direction = Literal["ingress", "egress"]
NONE: Mapping[str, str] = MappingProxyType({})


class Flow(msgspec.Struct, frozen=True):
    """Packets of one kind at `interface` since the last `collect`. `start`, `end`: Unix seconds of the first and the last packet.
    `tcp_flags`: those seen, or-ed (FIN 1, SYN 2, RST 4, SYN-ACK 18). `packet_source`, `packet_destination` "": as source and destination."""

    interface: str
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    packets: int
    bytes: int
    start: int
    end: int
    action: Action = "ACCEPT"
    direction: Direction = "ingress"
    tcp_flags: int = 0
    packet_source: str = ""
    packet_destination: str = ""


class Collected(msgspec.Struct, frozen=True):
    """`skipped`: interfaces of which some flows may be missing, since the kernel told more than could be heard."""

    flows: tuple[Flow, ...] = ()
    skipped: frozenset[str] = frozenset()


class Flows(Protocol):
    async def watch(self, network: str, interfaces: frozenset[str], translators: Mapping[str, str] = NONE) -> None:
        """`translators`: those among the interfaces that a translator stands behind, with the sandbox it is in: what passes that for others is
        told too. From now on flows of these interfaces of the network (the name of a NetworkSpec that exists) are counted, and of no others there; an
        interface that is not there yet is watched once it comes, and what one that is watched no more did is told by the next `collect`.
        Without interfaces nothing of that network is watched; that succeeds also when the network is gone."""

    async def collect(self) -> Collected:
        """What has passed since the last call, of all networks. Flows that still live are told with what they did meanwhile."""

    async def close(self) -> None: ...
