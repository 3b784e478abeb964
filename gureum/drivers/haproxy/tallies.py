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
    alike: dict[bytes, list[list[bytes]]] = {}
    for line in lines:
        fields = line.split(b"\t", 4)
        try:
            alike[fields[0]].append(fields)
        except KeyError:
            alike[fields[0]] = [fields]
    counted: list[Tally] = []
    for head, some in alike.items():
        try:
            counted.append(_counted(known, head, some))
        except ValueError:  # no request; or one among them has no such fields: each by itself
            records = (parse(b"\t".join(fields), known) for fields in some)
            counted += [tally_of(record_of(record)) for record in records if record is not None]
    return counted


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
    )


def _counted(known: Reading, text: bytes, some: list[list[bytes]]) -> Tally:
    """`some`: the first fields of lines with this head. ValueError where it is none, or where a line has others."""
    if text[:2] != b"H ":
        raise ValueError("not a request")
    head = read_head(text, known)
    received, sent = [int(up) for _, _, up, _, _ in some], [int(fields[3]) for fields in some]
    return Tally(
        proxy=known.name,
        group_arn=head.group_arn,
        kind=head.kind,
        elb_status=head.elb_status,
        target_status=head.target_status,
        target_time_s=head.target_time_s,
        actions=head.actions,
        classified=bool(head.classification),
        count=len(some),
        received_bytes=sum(received),
        sent_bytes=sum(sent),
        connected=head.waited_s >= 0,
        evaluated=head.evaluated,
    )
