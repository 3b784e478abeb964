"""The records that gureum's DNS server answers from, and the rules by which a question finds them. Pure and in memory.

    question ──> own records of who asks, of the view, then everyone's ──> type there? ──> answer, CNAMEs followed
                   │ no such name
                   ├─> `*-x` beside it, then `*` under the closest name that exists (RFC 4592)
                   └─> in one of our zones: it does not exist (NXDOMAIN and the zone's SOA); else: not ours

A name above one that has records exists too (an "empty non-terminal", RFC 8020), but only within our zones: one record
`a.example.com` does not make gureum responsible for `com`.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network

import msgspec

from gureum.drivers.dns import wire
from gureum.ports.names import EVERYWHERE, HOST_ONLY, Record, Zone

NEGATIVE_TTL_S = 5
"""How long "no such name" may be remembered: short, since the name may be an instance that is about to start."""
CHAIN_LIMIT = 8
TTL_LIMIT_S = 7 * 86400

LOCAL_ZONES = (
    *("10.in-addr.arpa", "168.192.in-addr.arpa", "254.169.in-addr.arpa", "127.in-addr.arpa", "0.in-addr.arpa"),
    *(f"{n}.172.in-addr.arpa" for n in range(16, 32)),
    *(f"{n}.100.in-addr.arpa" for n in range(64, 128)),
    *("18.198.in-addr.arpa", "19.198.in-addr.arpa", "d.f.ip6.arpa", "8.e.f.ip6.arpa"),
    *("test", "localhost", "invalid", "internal", "onion", "local"),
)
"""Names that mean something only here and are never asked elsewhere: RFC 6303, 6761, 6762, 7686; ICANN's `internal`."""


class Found(msgspec.Struct, frozen=True, gc=False):
    """`ours` is False when neither a record nor a zone of ours covers the name; then the rest says nothing."""

    ours: bool
    rcode: int = wire.NOERROR
    answers: list[wire.RRset] = []
    authority: list[wire.RRset] = []


NOT_OURS = Found(ours=False)


class Node:
    """One name in one scope. `holders`: how many (owner, name) pairs are at it or under it."""

    __slots__ = ("by_owner", "holders", "sets")

    def __init__(self) -> None:
        self.holders = 0
        self.by_owner: dict[int, dict[str, tuple[int, tuple[bytes, ...]]]] = {}
        self.sets: dict[int, wire.RRset] = {}


class Encoded(msgspec.Struct, frozen=True):
    """A Record in wire form; `scope` is its view."""

    scope: str
    name: bytes
    type: int
    ttl: int
    rdatas: tuple[bytes, ...]


class Part(msgspec.Struct, frozen=True):
    """A part of a network that has records of its own: its addresses as numbers. `percent`: how many of a hundred questions find them."""

    scope: str
    first: int
    last: int
    percent: int


class Records:
    """All records and zones of all owners. Not for several threads. `dice`: a number of 0 to 1, less than 1."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        self._dice = dice
        self._nodes: dict[str, dict[bytes, Node]] = {}
        self._zones: dict[str, dict[bytes, set[str]]] = {}
        self._owned: dict[str, tuple[list[Encoded], list[tuple[str, bytes]]]] = {}
        self._apart: dict[str, int] = {}
        self._parts: dict[str, list[Part]] = {}
        local = tuple(Zone(name=name) for name in LOCAL_ZONES)
        loopback = tuple(
            record
            for name in ("localhost", "*.localhost")
            for record in (Record(name, "A", ("127.0.0.1",)), Record(name, "AAAA", ("::1",)))
        )
        self.replace("", loopback, local)

    def replace(self, owner: str, records: tuple[Record, ...], zones: tuple[Zone, ...]) -> None:
        encoded = [encode(record) for record in records]
        areas = [(zone.view, wire.name_to_wire(zone.name)) for zone in zones]
        parts = {record.scope: part_of(record.scope) for record in encoded if "/" in record.scope}
        self.forget(owner)
        for record in encoded:
            self._add(owner, record)
            if "@" in record.scope[1:]:
                self._apart[record.scope] = self._apart.get(record.scope, 0) + 1
                if record.scope in parts and self._apart[record.scope] == 1:
                    self._parts.setdefault(record.scope.partition("@")[0], []).append(parts[record.scope])
        for scope, name in areas:
            self._zones.setdefault(scope, {}).setdefault(name, set()).add(owner)
        self._owned[owner] = (encoded, areas)

    def forget(self, owner: str) -> None:
        records, zones = self._owned.pop(owner, ([], []))
        for record in records:
            self._remove(owner, record)
            if record.scope in self._apart:
                self._apart[record.scope] -= 1
                if not self._apart[record.scope]:
                    del self._apart[record.scope]
                    self._leave_part(record.scope)
        for scope, name in zones:
            owners = self._zones[scope].get(name, set())
            owners.discard(owner)
            if not owners:
                self._zones[scope].pop(name, None)

    def _leave_part(self, scope: str) -> None:
        network = scope.partition("@")[0]
        left = [part for part in self._parts.get(network, ()) if part.scope != scope]
        if left:
            self._parts[network] = left
        else:
            self._parts.pop(network, None)

    def hears_apart(self, view: str, asker: str) -> bool:
        """Whether there are records for this asker alone, or for the part of the network that it is in."""
        return bool(self._apart) and (
            f"{view}@{asker}" in self._apart or any(True for _ in self._parts_of(view, asker))
        )

    def _parts_of(self, view: str, asker: str) -> Iterator[Part]:
        parts = self._parts.get(view)
        if parts:
            try:
                number = int(IPv4Address(asker))
            except AddressValueError:
                return
            yield from (part for part in parts if part.first <= number <= part.last)

    def _scopes_apart(self, view: str, asker: str) -> Iterator[str]:
        """The narrower ones first."""
        if f"{view}@{asker}" in self._apart:
            yield f"{view}@{asker}"
        for part in self._parts_of(view, asker):
            if self._dice() * 100 < part.percent:
                yield part.scope

    def find(self, view: str, name: bytes, qtype: int, asker: str = "") -> Found:
        """`view` as in Names.serve. Never raises."""
        scopes: tuple[str, ...] = (HOST_ONLY if view == "" else view, EVERYWHERE)
        if self._apart:
            scopes = (*self._scopes_apart(view, asker), *scopes)
        answers: list[wire.RRset] = []
        asked = name
        for _ in range(CHAIN_LIMIT):
            zone = self._zone(scopes, asked)
            sets = self._sets(scopes, asked, zone is not None)
            if sets is None and zone is None:
                return Found(ours=True, answers=answers) if answers else NOT_OURS
            soa = [soa_of(zone)] if zone is not None else []
            if sets is None:
                return Found(ours=True, rcode=wire.NXDOMAIN, answers=answers, authority=soa)
            matched = pick(sets, asked, qtype)
            if not matched:
                if qtype == wire.SOA and soa and soa[0].name == asked:
                    return Found(ours=True, answers=answers + soa)
                return Found(ours=True, answers=answers, authority=soa)
            answers.extend(matched)
            if matched[0].type != wire.CNAME or qtype in (wire.CNAME, wire.ANY):
                return Found(ours=True, answers=answers)
            asked = matched[0].rdatas[0]
        return Found(ours=True, answers=answers)

    def _zone(self, scopes: tuple[str, ...], name: bytes) -> bytes | None:
        tables = [table for scope in scopes if (table := self._zones.get(scope))]
        for ancestor in ancestors(name):
            if any(ancestor in table for table in tables):
                return ancestor
        return None

    def _sets(self, scopes: tuple[str, ...], name: bytes, in_zone: bool) -> list[dict[int, wire.RRset]] | None:
        """The sets of each scope that knows the name, the view's own first; None when the name does not exist."""
        tables = [table for scope in scopes if (table := self._nodes.get(scope))]
        nodes = [node for table in tables if (node := table.get(name))]
        if nodes and (in_zone or any(node.sets for node in nodes)):
            return [node.sets for node in nodes]
        if not nodes:
            for pattern in self._patterns(tables, name):
                found = [node.sets for table in tables if (node := table.get(pattern)) and node.sets]
                if found:
                    return found
        return [] if in_zone and self._zone(scopes, name) == name else None

    def _patterns(self, tables: list[dict[bytes, Node]], name: bytes) -> Iterator[bytes]:
        size = name[0]
        for at in range(2, 1 + size):
            if name[at] == 0x2D:
                rest = name[at : 1 + size]
                yield bytes((1 + len(rest),)) + b"*" + rest + name[1 + size :]
        for ancestor in ancestors(name, skip=1):
            if any(ancestor in table for table in tables):
                yield b"\x01*" + ancestor
                return

    def _add(self, owner: str, record: Encoded) -> None:
        table = self._nodes.setdefault(record.scope, {})
        for ancestor in ancestors(record.name):
            table.setdefault(ancestor, Node()).holders += 1
        node = table[record.name]
        values = node.by_owner.setdefault(record.type, {})
        ttl, rdatas = values.get(owner, (record.ttl, ()))
        values[owner] = (min(ttl, record.ttl), rdatas + record.rdatas)
        merge(node, record)

    def _remove(self, owner: str, record: Encoded) -> None:
        table = self._nodes[record.scope]
        node = table[record.name]
        if (values := node.by_owner.get(record.type)) is not None:
            values.pop(owner, None)
            merge(node, record)
        for ancestor in ancestors(record.name):
            table[ancestor].holders -= 1
            if not table[ancestor].holders:
                del table[ancestor]


def part_of(scope: str) -> Part:
    """Of "NETWORK@CIDR" or "NETWORK@CIDR%PERCENT". ValueError."""
    cidr, _, percent = scope.partition("@")[2].partition("%")
    addresses = IPv4Network(cidr)
    return Part(scope, int(addresses[0]), int(addresses[-1]), int(percent or 100))


def encode(record: Record) -> Encoded:
    """ValueError names the record."""
    if not record.values or not 0 <= record.ttl <= TTL_LIMIT_S:
        raise ValueError(f"record {record.name!r} needs a value and a ttl of 0-{TTL_LIMIT_S} s")
    try:
        rdatas = tuple(dict.fromkeys(wire.encode_value(record.type, value) for value in record.values))
        name = wire.name_to_wire(record.name)
    except (ValueError, struct.error) as error:
        raise ValueError(f"record {record.name!r} {record.type}: {error}") from error
    if record.type == "CNAME" and len(rdatas) > 1:
        raise ValueError(f"record {record.name!r}: a CNAME has one value")
    return Encoded(record.view, name, wire.TYPES[record.type], record.ttl, rdatas)


def merge(node: Node, record: Encoded) -> None:
    """Sets of several owners become one, in the owners' order, so that the answer does not hang on who came first."""
    values = node.by_owner.get(record.type, {})
    if not values:
        node.by_owner.pop(record.type, None)
        node.sets.pop(record.type, None)
        return
    rdatas = tuple(dict.fromkeys(rdata for owner in sorted(values) for rdata in values[owner][1]))
    if record.type == wire.CNAME:
        rdatas = rdatas[:1]
    ttl = min(ttl for ttl, _ in values.values())
    node.sets[record.type] = wire.RRset(record.name, record.type, ttl, rdatas)


def pick(scoped: list[dict[int, wire.RRset]], name: bytes, qtype: int) -> list[wire.RRset]:
    """The sets that answer: the first scope's with the type or a CNAME. One found by a pattern takes the asked name."""
    for sets in scoped:
        if qtype == wire.ANY and sets:
            return [renamed(rrset, name) for rrset in sets.values()]
        rrset = sets.get(qtype) or sets.get(wire.CNAME)
        if rrset is not None:
            return [renamed(rrset, name)]
    return []


def renamed(rrset: wire.RRset, name: bytes) -> wire.RRset:
    """The same set under the name that was asked."""
    return rrset if rrset.name == name else wire.RRset(name, rrset.type, rrset.ttl, rrset.rdatas)


def ancestors(name: bytes, skip: int = 0) -> Iterator[bytes]:
    """The name itself (unless skipped) and all above it; not the root."""
    while name[0]:
        if skip:
            skip -= 1
        else:
            yield name
        name = name[1 + name[0] :]


def soa_of(zone: bytes) -> wire.RRset:
    """RFC 2308: the SOA's last field and its TTL say how long the "no" may be remembered. The serial is constant:
    nobody transfers these zones."""
    rdata = b"\x02ns" + zone + b"\x0ahostmaster" + zone + struct.pack("!IIIII", 1, 3600, 600, 86400, NEGATIVE_TTL_S)
    return wire.RRset(zone, wire.SOA, NEGATIVE_TTL_S, (rdata,))
