"""One tracked flow, as each interface sees it: pure values, from tuples of connection tracking to `ports.flows.Flow`.

    first packet  client -> addressed     (original tuple)          plain: client -> server, both tuples are one another's reverse
    replies       server -> seen          (reply tuple)             translated: they are not

    the client's interface   client -> addressed, and back
    the server's interface   seen -> server, and back; with a public address it is still the private one that the interface has
    a balancer's interface   client -> balancer, balancer -> server, and both back. Where the client's address is preserved, the
                             packets to and from the server carry it: pkt-srcaddr, pkt-dstaddr

    a translator's interface as any client's, for what it sends on; and what its own connection tracking says (`translated`): client -> translator,
                             and back, where the packets carry the server's address

An interface is found by its addresses, so what another interface forwards for others is told where it starts and ends, not at the interface between.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import msgspec

from gureum.drivers.flow_messages import Counts, Tuple
from gureum.ports.firewalls import RuleSet
from gureum.ports.flows import Direction, Flow

_UNTOLD = ("169.254.169.253", "169.254.169.254", "169.254.169.123")
"""Names, metadata and time (AWS: "flow log limitations")."""


class Owners(msgspec.Struct, frozen=True):
    """Who has which address in a network. `balancers`: address or public address -> the balancer's private one. `untold`: addresses of the
    network's own services."""

    interfaces: dict[str, str]
    balancers: dict[str, str]
    untold: frozenset[str]


class Seen(msgspec.Struct, frozen=True):
    """What is new of a flow: both tuples, packets, times in Unix seconds, and TCP flags of each direction."""

    original: Tuple
    reply: Tuple
    counts: Counts
    start: int
    end: int
    flags: int = 0
    reply_flags: int = 0


def owners(rules: RuleSet) -> Owners:
    interfaces = {address: port.interface for port in rules.ports for address in port.addresses}
    balancers = {one.address: one.address for one in rules.balancers}
    balancers |= {one.public: one.address for one in rules.balancers if one.public}
    resolvers = (str(IPv4Network(cidr)[2]) for cidr in rules.cidrs)
    return Owners(interfaces, balancers, frozenset((*_UNTOLD, *resolvers)))


def views(seen: Seen, owners: Owners) -> Iterator[Flow]:
    """The flow at each interface that has a part in it."""
    original, reply = seen.original, seen.reply
    if original.destination in owners.untold:
        return
    client, server = owners.interfaces.get(original.source), owners.interfaces.get(reply.source)
    if client is not None:
        yield from _both(seen, client, original, outwards=True)
    if original.destination in owners.balancers and reply.source != original.destination:
        yield from _balanced(seen, owners)
    if server is not None:
        yield from _both(seen, server, reply.reversed, outwards=False)


def translated(seen: Seen, interface: str) -> Iterator[Flow]:
    """A flow that a translator knows, at its interface, on the client's side. `seen`: of the translator's own connection tracking."""
    counts, server = seen.counts, seen.original.destination
    there = seen.original._replace(destination=seen.reply.destination)
    if counts.packets:
        yield _flow(interface, there, counts.packets, counts.bytes, seen, "ingress", seen.flags, there.source, server)
    if counts.reply_packets:
        back = there.reversed
        yield _flow(
            interface,
            back,
            counts.reply_packets,
            counts.reply_bytes,
            seen,
            "egress",
            seen.reply_flags,
            server,
            back.destination,
        )


def at_translator(flow: Flow, own: str) -> Flow:
    """A refused packet between a client and the translator whose address is `own`: it carries the server's address instead."""
    if flow.direction == "ingress" and flow.destination != own:
        return msgspec.structs.replace(flow, destination=own, packet_destination=flow.destination)
    if flow.direction == "egress" and flow.source != own:
        return msgspec.structs.replace(flow, source=own, packet_source=flow.source)
    return flow


def _balanced(seen: Seen, owners: Owners) -> Iterator[Flow]:
    address = owners.balancers[seen.original.destination]
    interface = owners.interfaces.get(address)
    if interface is None:
        return
    yield from _both(seen, interface, seen.original._replace(destination=address), outwards=False)
    onward = seen.reply.reversed
    carried = onward.source if onward.source != address else ""
    yield from _both(seen, interface, onward._replace(source=address), outwards=True, carried=carried)


def _both(seen: Seen, interface: str, there: Tuple, *, outwards: bool, carried: str = "") -> Iterator[Flow]:
    """`carried`: the client's address in the packets, where a balancer's stands in `there`."""
    ways: tuple[Direction, Direction] = ("egress", "ingress") if outwards else ("ingress", "egress")
    counts = seen.counts
    if counts.packets:
        yield _flow(
            interface, there, counts.packets, counts.bytes, seen, ways[0], seen.flags, carried, there.destination
        )
    if counts.reply_packets:
        back = there.reversed
        yield _flow(
            interface,
            back,
            counts.reply_packets,
            counts.reply_bytes,
            seen,
            ways[1],
            seen.reply_flags,
            back.source,
            carried,
        )


def _flow(
    interface: str,
    there: Tuple,
    packets: int,
    size: int,
    seen: Seen,
    direction: Direction,
    flags: int,
    packet_source: str,
    packet_destination: str,
) -> Flow:
    return Flow(
        interface=interface,
        source=there.source,
        destination=there.destination,
        source_port=there.source_port,
        destination_port=there.destination_port,
        protocol=there.protocol,
        packets=packets,
        bytes=size,
        start=seen.start,
        end=seen.end,
        direction=direction,
        tcp_flags=flags if there.protocol == 6 else 0,
        packet_source=packet_source if packet_source != there.source else "",
        packet_destination=packet_destination if packet_destination != there.destination else "",
    )
