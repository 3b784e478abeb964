"""Lines of HAProxy's log, counted by their heads: what metrics need of most requests, without a `Record` of each. Pure.

This runs for each request on the cores that serve requests: a line costs a split and a look-up; what a head says is read once.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gureum.drivers.haproxy.logs import Reading, parse, read_head
from gureum.ports.proxies import Record, Request, Tally, record_of, tally_of


def tallies(lines: Iterable[bytes], known: Reading) -> list[Tally]:
    """Of what is none of ours there is nothing."""
    counted: dict[bytes, tuple[list[int], list[int], set[str]]] = {}
    others: list[Tally] = []
    for line in lines:
        try:
            head, client, up, down, _ = line.split(b"\t", 4)
            if head[:2] != b"H ":
                raise ValueError
            seen = counted.get(head)
            if seen is None:
                read_head(head, known)
                seen = counted[head] = ([], [], set())
            seen[0].append(int(up))
            seen[1].append(int(down))
            seen[2].add(client.decode())
        except ValueError:
            record = parse(line, known)
            if record is not None:
                others.append(tally_of(record_of(record)))
    return [*(_tally(known, *one) for one in counted.items()), *others]


def tallies_of(told: Iterable[Record | Request]) -> list[Tally]:
    """The same of what was parsed already and is kept meanwhile: counted by what requests have in common."""
    alike: dict[int, list[Request]] = {}  # each holds what its key is the identity of
    others: list[Tally] = []
    for one in told:
        if not isinstance(one, Request):
            others.append(tally_of(one))
        elif found := alike.get(id(one.like)):
            found.append(one)
        else:
            alike[id(one.like)] = [one]
    return [*map(_tally_of, alike.values()), *others]


def _tally_of(some: list[Request]) -> Tally:
    return msgspec.structs.replace(
        tally_of(some[0].like),
        count=len(some),
        received_bytes=sum([int(one.received_bytes) for one in some]),
        sent_bytes=sum([int(one.sent_bytes) for one in some]),
        clients={one.client for one in some},
    )


def _tally(known: Reading, text: bytes, seen: tuple[list[int], list[int], set[str]]) -> Tally:
    received, sent, clients = seen
    head = read_head(text, known)
    return Tally(
        proxy=known.name,
        group_arn=head.group_arn,
        kind=head.kind,
        elb_status=head.elb_status,
        target_status=head.target_status,
        target_time_s=head.target_time_s,
        actions=head.actions,
        classified=bool(head.classification),
        count=len(sent),
        received_bytes=sum(received),
        sent_bytes=sum(sent),
        clients=clients,
    )
