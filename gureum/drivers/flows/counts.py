"""What has come together of flows between two collects: sums of tracked flows, refused packets, and how they become what is told. Pure."""

from __future__ import annotations

import msgspec

from gureum.drivers.flows import messages as flow_messages
from gureum.drivers.flows.messages import Counts, Entry, Tuple
from gureum.drivers.flows.views import Owners, Seen, Stop
from gureum.ports.flows import Flow

_NS = 1_000_000_000
Ends = tuple[str, str, int, int, int]
"""A flow_messages.Tuple, or one like it."""
Place = tuple[str, Ends, str]
"""Interface, ends, direction."""


class FlowSum(msgspec.Struct):
    """What ended of one flow since the last collect. Its own to change."""

    seen: Entry
    counts: Counts
    fresh: bool


class Refusal(msgspec.Struct):
    packets: int
    bytes: int
    flags: int
    start: int
    end: int


def address_of(interface: str, owned: Owners) -> str:
    """The interface's primary address."""
    return next((address for address, name in owned.interfaces.items() if name == interface), "")


def receiver_of(tuple_: Tuple, owned: Owners) -> str:
    private = owned.balancers.get(tuple_.destination, tuple_.destination)
    return owned.interfaces.get(private, "")


def refused_flow(
    interface: str, there: Tuple, refusal: Refusal, *, by_sender: bool = True, accepted_there: bool = False
) -> Flow:
    return Flow(
        interface=interface,
        source=there.source,
        destination=there.destination,
        source_port=there.source_port,
        destination_port=there.destination_port,
        protocol=there.protocol,
        packets=refusal.packets,
        bytes=refusal.bytes,
        start=refusal.start,
        end=refusal.end,
        action="ACCEPT" if accepted_there else "REJECT",
        direction="egress" if by_sender else "ingress",
        tcp_flags=refusal.flags,
    )


def stopped_flow(stop: Stop, refusal: Refusal, *, accepted_there: bool = False) -> Flow:
    """What an interface on the way of a balancer's flow tells of a packet that was refused on it, or later."""
    flow = refused_flow(
        stop.interface, stop.there, refusal, by_sender=stop.direction == "egress", accepted_there=accepted_there
    )
    return msgspec.structs.replace(flow, packet_source=stop.packet_source, packet_destination=stop.packet_destination)


def put(flows: dict[Place, Flow], flow: Flow) -> None:
    """Flows with the same ends are one: a port that was used twice, a balancer's with one source."""
    there = (flow.source, flow.destination, flow.protocol, flow.source_port, flow.destination_port)
    place = (flow.interface, there, flow.direction)
    before = flows.setdefault(place, flow)
    if before is flow:
        return
    flows[place] = msgspec.structs.replace(
        flow,
        packets=before.packets + flow.packets,
        bytes=before.bytes + flow.bytes,
        start=min(before.start, flow.start),
        end=max(before.end, flow.end),
        tcp_flags=before.tcp_flags | flow.tcp_flags,
    )


def take_off(flows: dict[Place, Flow], place: Place, refusal: Refusal) -> bool:
    """What was refused was counted before it was judged. Says whether it belongs to a known flow."""
    flow = flows.get(place)
    if flow is not None:
        packets, size = max(flow.packets - refusal.packets, 0), max(flow.bytes - refusal.bytes, 0)
        flows[place] = msgspec.structs.replace(flow, packets=packets, bytes=size)
    return flow is not None


def seen_of(sum_: FlowSum, since: int, now: int) -> Seen:
    """Times within the interval: when it started, or when we looked last."""
    entry = sum_.seen
    started, stopped = entry.start_ns // _NS, entry.stop_ns // _NS or now
    opening, answering = _flags_of(entry, fresh=sum_.fresh)
    original, reply = flow_messages.both_decoded(entry.original, entry.reply)
    return Seen(
        original,
        reply,
        sum_.counts,
        max(since, started),
        max(since, stopped),
        opening,
        answering,
    )


def _flags_of(entry: Entry, *, fresh: bool) -> tuple[int, int]:
    """The TCP flags that records tell, of both directions: what its state says has passed. Where each side has sent one packet and the flow is
    reset, nobody listened: the reply was the reset."""
    flags = entry.closing_flags
    opening, answering = (flow_messages.SYN, flow_messages.SYN_ACK) if fresh else (0, 0)
    if flags == flow_messages.RST and entry.counts.packets == entry.counts.reply_packets == 1:
        return opening, flags
    return flags | opening, flags | answering


def less(counts: Counts, before: Counts | None) -> Counts:
    if before is None:
        return counts
    return Counts(*(max(now - then, 0) for now, then in zip(counts, before, strict=True)))


def plus(one: Counts, other: Counts) -> Counts:
    return Counts(*(a + b for a, b in zip(one, other, strict=True)))
