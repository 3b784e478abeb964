"""At which interfaces a network's flows and refused packets are told: the sums of a network become what each interface has seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from gureum.drivers.flows.counts import (
    FlowSum,
    Place,
    Refusal,
    address_of,
    put,
    receiver_of,
    refused_flow,
    seen_of,
    stopped_flow,
    take_off,
)
from gureum.drivers.flows.messages import BETWEEN, Refuser, Tuple
from gureum.drivers.flows.views import Owners, Stop, at_translator, stops, views
from gureum.ports.flows import Flow

_PER_TURN = 1000
"""Flows that are gone through before others have their turn: names and metadata wait for nobody's records."""
RefusalKey = tuple[Tuple, int, int, Refuser, int]
T = TypeVar("T")


class Watched(msgspec.Struct, frozen=True):
    """`links`: interfaces by the number of their link; `translators`: those of NAT gateways."""

    interfaces: frozenset[str]
    links: Mapping[int, str]
    translators: Collection[str]
    owned: Owners


def batched(items: list[T]) -> Iterator[list[T]]:
    """Parts that are gone through in one turn of the loop."""
    for start in range(0, len(items), _PER_TURN):
        yield items[start : start + _PER_TURN]


async def attributed(
    sums: list[FlowSum], refusals: Mapping[RefusalKey, Refusal], since: int, watched: Watched
) -> list[Flow]:
    """All that is told of the interfaces of `watched` since `since`. Refused packets of known flows are taken off what these were counted as."""
    accepted: dict[Place, Flow] = {}
    for part in batched(sums):
        now = int(time.time())
        for sum_ in part:
            for flow in views(seen_of(sum_, since, now), watched.owned):
                if flow.interface in watched.interfaces:
                    put(accepted, flow)
        await asyncio.sleep(0)
    found: list[Flow] = []
    for (tuple_, into, out_of, by, mark), refusal in refusals.items():
        way = stops(tuple_, mark, watched.owned, is_reply=by.endswith("-back")) if by in BETWEEN else ()
        if way:
            found += _refused_between(way, by, refusal, accepted, watched)
        else:
            found += _refused_flows(tuple_, into, out_of, by, refusal, accepted, watched)
    return found + [flow for flow in accepted.values() if flow.packets]


def _refused_flows(
    tuple_: Tuple,
    into: int,
    out_of: int,
    by: Refuser,
    refusal: Refusal,
    accepted: dict[Place, Flow],
    watched: Watched,
) -> Iterator[Flow]:
    owned = watched.owned
    sender = watched.links.get(into) or owned.interfaces.get(tuple_.source, "")
    receiver = watched.links.get(out_of) or receiver_of(tuple_, owned)
    if tuple_.destination in owned.untold or not (out_of or receiver):
        return  # to the router itself
    if by == "unheard":
        for end in (sender, receiver):
            if end in watched.interfaces:
                put(accepted, refused_flow(end, tuple_, refusal, by_sender=end == sender, accepted_there=True))
        return
    known = take_off(accepted, (receiver, tuple_, "ingress"), refusal)
    if by in BETWEEN:
        return  # it was sent, and has not come; whose balancer refused it is not known any more
    by_sender = by == "sender"
    if by_sender:
        take_off(accepted, (sender, tuple_, "egress"), refusal)
    elif not known and sender in watched.interfaces:
        put(accepted, refused_flow(sender, tuple_, refusal, accepted_there=True))
    refuser = sender if by_sender else receiver
    if refuser in watched.interfaces:
        flow = refused_flow(refuser, tuple_, refusal, by_sender=by_sender)
        yield at_translator(flow, address_of(refuser, owned)) if refuser in watched.translators else flow


def _refused_between(
    way: Sequence[Stop], by: Refuser, refusal: Refusal, accepted: dict[Place, Flow], watched: Watched
) -> Iterator[Flow]:
    """At the balancer's interface, where its subnet's ACL has refused; what the packet passed before has accepted it."""
    last = 1 if by.startswith("entering") else 2
    known = [take_off(accepted, (one.interface, one.there, one.direction), refusal) for one in way[last:]]
    for one in way[:last] if not any(known) else ():
        if one.interface in watched.interfaces:
            put(accepted, stopped_flow(one, refusal, accepted_there=True))
    if way[last].interface in watched.interfaces:
        yield stopped_flow(way[last], refusal)
