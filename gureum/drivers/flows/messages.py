"""What the kernel says of flows, as bytes to values: entries of connection tracking (linux/netfilter/nfnetlink_conntrack.h) and refused
packets (linux/netfilter/nfnetlink_log.h). No I/O.

Thousands of entries end each second. So a tuple stays the bytes that the kernel sent until somebody wants its addresses, and the places of an
entry's attributes are looked up once for all entries that are built alike.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Literal, NamedTuple

HEADER = struct.Struct("=IHHII")
CT_NEW, CT_GET, CT_DELETE = 1 << 8, 1 << 8 | 1, 1 << 8 | 2
LOG_PACKET, LOG_CONFIG = 4 << 8, 4 << 8 | 1
DONE, ERROR = 3, 2
REQUEST, ACK, DUMP = 1, 4, 0x300
FIN, SYN, RST, SYN_ACK = 1, 2, 4, 18
_GENERIC = 4  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")
_ORIGINAL, _REPLY, _PROTOINFO, _COUNT, _REPLY_COUNT, _ID, _ZONE, _TIMESTAMP = 1, 2, 4, 9, 10, 12, 18, 20
# Inside the outer attributes the order is the kernel's own since there is ctnetlink: read by place, it costs a fifth.
_WITH_PORTS = struct.Struct("!8x4s4x4s8xB3x4xH2x4xH2x")
_SOURCE, _DESTINATION, _NEAR, _FAR = slice(8, 12), slice(16, 20), slice(36, 38), slice(44, 46)
_KIND = 0x3FFF  # without the bits for "nested" and "big-endian"
_BIND, _COPY_PACKET = 1, 2
_COPIED_BYTES = 80  # the longest IPv4 header, and the first 20 bytes behind it
_CLOSING, _RESET = range(4, 8), 8  # states of TCP: FIN_WAIT to TIME_WAIT; CLOSE


class Tuple(NamedTuple):
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int

    @property
    def reversed(self) -> Tuple:
        return Tuple(self.destination, self.source, self.protocol, self.destination_port, self.source_port)


class Counts(NamedTuple):
    """Packets and bytes, of the first packet's direction and of the replies'."""

    packets: int
    bytes: int
    reply_packets: int
    reply_bytes: int


NOTHING = Counts(0, 0, 0, 0)


class Entry(NamedTuple):
    """A flow as tracked. `key`: of this flow and none before it: a new one with the same ends is often put where the last one was, and then has
    its id, too, but not its start. `original`, `reply`: tuples as the kernel wrote them. `start_ns`, `stop_ns`: Unix time, 0 unknown."""

    key: bytes
    original: bytes
    reply: bytes
    counts: Counts
    start: bytes
    stop_ns: int
    tcp_state: int

    @property
    def start_ns(self) -> int:
        return int.from_bytes(self.start, "big")

    @property
    def closing_flags(self) -> int:
        """FIN or RST, when the state says that it was seen."""
        return FIN if self.tcp_state in _CLOSING else RST if self.tcp_state == _RESET else 0


Refuser = Literal["sender", "receiver", "entering", "leaving", "entering-back", "leaving-back", "unheard"]
"""Whose rules dropped a packet; entering, leaving: an ACL of the subnet of the balancer that it passed, back: as a reply; unheard: nobody's, a load
balancer's node does not listen for it."""
BETWEEN: tuple[Refuser, ...] = ("entering", "leaving", "entering-back", "leaving-back")


class Refused(NamedTuple):
    """A packet that was dropped. `into`, `out_of`: numbers of the links it came by and would have left by, 0 without. `number`: one more than
    the one's before; a gap tells that the kernel could not deliver some. `mark`: of the flow of one that was dropped on its way by a balancer."""

    tuple_: Tuple
    bytes: int
    tcp_flags: int
    into: int
    out_of: int
    by: Refuser
    number: int = 0
    mark: int = 0


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body behind struct nfgenmsg) of each message in a datagram; of errors the body as it is."""
    place = 0
    while place + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, place)
        if length < HEADER.size:
            return
        skipped = 0 if kind in (DONE, ERROR) else _GENERIC
        yield kind, data[place + HEADER.size + skipped : place + length]
        place += (length + 3) & ~3


class EntryReader:
    """Reads entries; keeps how those of each length are built, as long as they are built so."""

    def __init__(self) -> None:
        self._layouts: dict[int, _Layout] = {}

    def read(self, body: bytes) -> Entry | None:
        """None for what is not IPv4 or not counted, and for legs of a flow in a zone of their own (nft_appliances): the flow is told once."""
        layout = self._layouts.get(len(body))
        if layout is None or layout.heads.unpack(body) != layout.shape:
            layout = self._layouts[len(body)] = _layout(body)
        if layout.pick is None:
            return None
        packets, size, reply_packets, reply_size, original, reply, id_, start, stop_ns, state = layout.pick(
            layout.values.unpack(body) + _ABSENT
        )
        if original[4] != 8:  # an address of 4 bytes is an attribute of 8
            return None
        counts = Counts(packets, size, reply_packets, reply_size)
        return Entry(original + id_ + start, original, reply, counts, start, stop_ns, state)


class _Layout(NamedTuple):
    """`heads` reads the headers of all attributes, which are `shape`; `values` what is wanted of them, from which `pick` takes the fields in
    their order; None when something needed is missing."""

    heads: struct.Struct
    shape: tuple[bytes, ...]
    values: struct.Struct
    pick: Any


_ABSENT = (b"", b"\0" * 8, 0)
"""An id, a start, a number: where the kernel says nothing."""


def _layout(body: bytes) -> _Layout:
    heads, values, fields = "", "!", 0
    places: dict[str, int] = {}
    shape, place = [], 0
    while place + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, place)
        if length < 4:
            break
        size = min(length - 4, len(body) - place - 4)
        padding = min(-length % 4, len(body) - place - 4 - size)
        form, names = _wanted(kind & _KIND, size)
        heads += f"4s{size + padding}x"
        values += f"4x{form or f'{size}x'}{padding}x"
        for name in names:
            places.setdefault(name, fields)
            fields += 1
        shape.append(body[place : place + 4])
        place += 4 + size + padding
    heads, values = heads + f"{len(body) - place}x", values + f"{len(body) - place}x"
    absent = {"id": fields, "start": fields + 1}
    order = [places.get(name, absent.get(name, fields + 2)) for name in _FIELDS]
    zoned = any(_ATTRIBUTE.unpack(head)[1] & _KIND == _ZONE for head in shape)
    whole = "original" in places and "reply" in places and not zoned
    return _Layout(struct.Struct(heads), tuple(shape), struct.Struct(values), itemgetter(*order) if whole else None)


_FIELDS = ("packets", "bytes", "reply packets", "reply bytes", "original", "reply", "id", "start", "stop", "state")


def _wanted(kind: int, size: int) -> tuple[str, tuple[str, ...]]:
    """How to read an attribute's value, and the fields in it; ("", ()) for one that is not wanted."""
    if kind in (_ORIGINAL, _REPLY) and size >= 20:
        # A zone of one direction alone stands behind, and is nobody's business (nft_balancers).
        told = min(size, _WITH_PORTS.size)
        return f"{told}s{size - told}x", ("original" if kind == _ORIGINAL else "reply",)
    if kind in (_COUNT, _REPLY_COUNT) and size >= 24:
        return f"4xQ4xQ{size - 24}x", ("packets", "bytes") if kind == _COUNT else ("reply packets", "reply bytes")
    if kind == _ID:
        return f"{size}s", ("id",)
    if kind == _TIMESTAMP and size >= 24:
        return f"4x8s4xQ{size - 24}x", ("start", "stop")
    if kind == _TIMESTAMP and size >= 12:  # live flows have a start only
        return f"4x8s{size - 12}x", ("start",)
    if kind == _PROTOINFO and size > 8:
        return f"8xB{size - 9}x", ("state",)
    return "", ()


def both_decoded(original: bytes, reply: bytes) -> tuple[Tuple, Tuple]:
    """The same of an entry's two; of most the one is the other's reverse, which is looked at before anything is read."""
    first = decoded(original)
    size = _WITH_PORTS.size
    if (
        len(original) == len(reply) == size
        and original[_SOURCE] == reply[_DESTINATION]
        and original[_DESTINATION] == reply[_SOURCE]
        and original[_NEAR] == reply[_FAR]
        and original[_FAR] == reply[_NEAR]
    ):
        return first, first.reversed
    return first, decoded(reply)


def decoded(tuple_: bytes) -> Tuple:
    """A tuple's addresses and ports; other protocols than TCP and UDP have none (AWS: 0)."""
    if len(tuple_) == _WITH_PORTS.size:
        source, destination, protocol, near, far = _WITH_PORTS.unpack(tuple_)
        return Tuple(socket.inet_ntoa(source), socket.inet_ntoa(destination), protocol, near, far)
    parts = _attributes(tuple_)
    addresses, how = _attributes(parts.get(1, b"")), _attributes(parts.get(2, b""))
    protocol = how.get(1, b"\0")[0]
    near, far = (int.from_bytes(how.get(place, b""), "big") for place in (2, 3))
    return Tuple(socket.inet_ntoa(addresses[1]), socket.inet_ntoa(addresses[2]), protocol, near, far)


def refused(body: bytes) -> Refused | None:
    """None for what is no whole IPv4 header."""
    found = _attributes(body)
    packet = found.get(9, b"")
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    protocol, ports, flags = packet[9], (0, 0), 0
    behind = (packet[0] & 15) * 4
    first = not int.from_bytes(packet[6:8], "big") & 0x1FFF  # later fragments have no ports
    if first and protocol in (6, 17) and len(packet) >= behind + 4:
        ports = struct.unpack_from("!HH", packet, behind)
    if first and protocol == 6 and len(packet) > behind + 13:
        flags = told_flags(packet[behind + 13])
    which = Tuple(socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), protocol, *ports)
    into, out_of = (int.from_bytes(found.get(kind, b""), "big") for kind in (4, 5))
    number = int.from_bytes(found.get(12, b""), "big")
    by = _REFUSERS.get(found.get(10, b"").rstrip(b"\0"), "receiver")
    mark = int.from_bytes(found.get(2, b""), "big") if by in BETWEEN else 0
    return Refused(which, int.from_bytes(packet[2:4], "big"), flags, into, out_of, by, number, mark)


_REFUSERS: dict[bytes, Refuser] = {b"out": "sender", b"unheard": "unheard", **{one.encode(): one for one in BETWEEN}}


def told_flags(flags: int) -> int:
    """Of a packet's TCP flags those that records tell: an acknowledgement only beside SYN (AWS: tcp-flags)."""
    return flags & (SYN_ACK if flags & SYN else 0) | flags & (FIN | RST | SYN)


def dump_request() -> bytes:
    body = struct.pack("=BBH", socket.AF_INET, 0, 0)
    return HEADER.pack(HEADER.size + len(body), CT_GET, REQUEST | DUMP, 1, 0) + body


def log_request(group: int) -> bytes:
    """Binds the socket to a group of refused packets. None waits in the kernel for others: what is collected now is whole."""
    parts = (
        _attribute(1, bytes([_BIND])),
        _attribute(2, struct.pack("!IBB", _COPIED_BYTES, _COPY_PACKET, 0)),
        _attribute(5, struct.pack("!I", 1)),
        _attribute(6, struct.pack("!H", 1)),
    )
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, group) + b"".join(parts)
    return HEADER.pack(HEADER.size + len(body), LOG_CONFIG, REQUEST | ACK, 1, 0) + body


def error_number(body: bytes) -> int:
    return -int(struct.unpack_from("=i", body)[0]) if len(body) >= 4 else 0


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, place, end = {}, 0, len(data)
    while place + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < 4:
            break
        found[kind & _KIND] = data[place + 4 : place + length]
        place += (length + 3) & ~3
    return found
