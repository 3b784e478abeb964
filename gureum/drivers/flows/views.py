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

from ipaddress import IPv4Network

import msgspec

from gureum.drivers.flows.messages import Counts, Tuple
from gureum.drivers.networks.network_names import UPLINK_MARK
from gureum.drivers.nft.balancers import listeners
from gureum.ports.firewalls import RuleSet
from gureum.ports.flows import Direction, Flow

_TCP, _UDP = 6, 17
_UNTOLD = ("169.254.169.253", "169.254.169.254", "169.254.169.123", "169.254.169.249")
"""Names, metadata, time and the API (AWS: "flow log limitations")."""


class Listening(msgspec.Struct, frozen=True):
    """A balancer's listener, at its node's interface and private address. `hides`: targets see the balancer as their client."""

    interface: str
    address: str
    protocol: int
    port: int
    hides: bool


class Owners(msgspec.Struct, frozen=True):
    """Who has which address in a network. `balancers`: address or public address -> the balancer's private one. `untold`: addresses of the
    network's own services. `listeners`: of balancers, by the mark of their flows."""

    interfaces: dict[str, str]
    balancers: dict[str, str]
    untold: frozenset[str]
    listeners: dict[int, Listening] = {}


class Stop(msgspec.Struct, frozen=True):
    """An interface that a packet passes, and what it tells of it; interface "": none of the network's."""

    interface: str
    there: Tuple
    direction: Direction
    packet_source: str = ""
    packet_destination: str = ""

    @property
    def back(self) -> Stop:
        """The same of a reply."""
        way: Direction = "ingress" if self.direction == "egress" else "egress"
        return Stop(self.interface, self.there.reversed, way, self.packet_destination, self.packet_source)


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
    listening = {
        one.number: Listening(
            one.balancer.interface,
            one.balancer.address,
            _TCP if one.port.protocol == "tcp" else _UDP,
            one.port.port,
            not one.port.preserve_client,
        )
        for one in listeners(rules)
    }
    return Owners(interfaces, balancers, frozenset((*_UNTOLD, *resolvers)), listening)


def views(seen: Seen, owners: Owners) -> list[Flow]:
    """The flow at each interface that has a part in it."""
    original, reply = seen.original, seen.reply
    if original.destination in owners.untold:
        return []
    found: list[Flow] = []
    client, server = owners.interfaces.get(original.source), owners.interfaces.get(reply.source)
    if client is not None:
        _add(found, seen, client, original, "egress", "ingress")
    if original.destination in owners.balancers and reply.source != original.destination:
        _add_balanced(found, seen, owners)
    if server is not None:
        _add(found, seen, server, reply.reversed, "ingress", "egress")
    return found


def stops(packet: Tuple, mark: int, owners: Owners, *, is_reply: bool) -> list[Stop]:
    """What a packet between client and target passes, in its order: who sends it, the balancer twice, who gets it. Nothing where no listener
    marks its flows so, and of what is about a flow and not of it (ICMP)."""
    listener = owners.listeners.get(mark & ~UPLINK_MARK)
    if listener is None or packet.protocol != listener.protocol:
        return []
    onward = packet.reversed if is_reply else packet
    away = onward._replace(source=listener.address)
    came = onward._replace(destination=listener.address, destination_port=listener.port)
    client, target = (owners.interfaces.get(address, "") for address in (onward.source, onward.destination))
    way = [
        Stop(client, came, "egress"),
        Stop(listener.interface, came, "ingress"),
        Stop(listener.interface, away, "egress", "" if listener.hides else onward.source),
        Stop(target, away if listener.hides else onward, "ingress"),
    ]
    return [stop.back for stop in reversed(way)] if is_reply else way


def translated(seen: Seen, interface: str) -> list[Flow]:
    """A flow that a translator knows, at its interface, on the client's side. `seen`: of the translator's own connection tracking."""
    there = seen.original._replace(destination=seen.reply.destination)
    found: list[Flow] = []
    _add(found, seen, interface, there, "ingress", "egress", server=seen.original.destination)
    return found


def at_translator(flow: Flow, own: str) -> Flow:
    """A refused packet between a client and the translator whose address is `own`: it carries the server's address instead."""
    if flow.direction == "ingress" and flow.destination != own:
        return msgspec.structs.replace(flow, destination=own, packet_destination=flow.destination)
    if flow.direction == "egress" and flow.source != own:
        return msgspec.structs.replace(flow, source=own, packet_source=flow.source)
    return flow


def _add_balanced(found: list[Flow], seen: Seen, owners: Owners) -> None:
    address = owners.balancers[seen.original.destination]
    interface = owners.interfaces.get(address)
    if interface is None:
        return
    _add(found, seen, interface, seen.original._replace(destination=address), "ingress", "egress")
    onward = seen.reply.reversed
    carried = onward.source if onward.source != address else ""
    _add(found, seen, interface, onward._replace(source=address), "egress", "ingress", carried)


def _add(
    found: list[Flow],
    seen: Seen,
    interface: str,
    there: Tuple,
    way: Direction,
    back: Direction,
    carried: str = "",
    server: str = "",
) -> None:
    """Both directions, `there` and back. `carried`: the client's address in the packets, where a balancer's stands in `there`; `server`: the
    server's, where a translator's does. Values stand by place: there are four a connection, and thousands of those a second."""
    source, destination, protocol, near, far = there
    packets, size, reply_packets, reply_size = seen.counts
    flags, reply_flags = (seen.flags, seen.reply_flags) if protocol == _TCP else (0, 0)
    start, end = seen.start, seen.end
    if packets:
        found.append(
            Flow(
                interface,
                source,
                destination,
                near,
                far,
                protocol,
                packets,
                size,
                start,
                end,
                "ACCEPT",
                way,
                flags,
                carried,
                server,
            )
        )
    if reply_packets:
        found.append(
            Flow(
                interface,
                destination,
                source,
                far,
                near,
                protocol,
                reply_packets,
                reply_size,
                start,
                end,
                "ACCEPT",
                back,
                reply_flags,
                server,
                carried,
            )
        )
