"""DNS messages as bytes: reading a question, writing an answer. Pure; knows no records and no sockets.

Names are kept in wire form and lower case (b"\\x03www\\x07example\\x00"): a length octet is at most 63, so
`bytes.lower()` changes letters only, and cutting a label off is a slice. A question is echoed as it came, so that a
resolver that mixes upper and lower case as a check sees its own spelling. Nothing here raises on any packet.

Sources: RFC 1035 (messages), 6891 (EDNS0), 2308 (negative answers), 9619 (exactly one question).
"""

from __future__ import annotations

import ipaddress
import struct

import msgspec

A, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 5, 6, 12, 16, 28, 33, 41, 255
TYPES = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "PTR": PTR, "TXT": TXT, "SRV": SRV}

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

HEADER = struct.Struct("!HHHHHH")
RR_TAIL = struct.Struct("!HHIH")
CLASS_IN = 1
PAYLOAD_BYTES = 1232
"""The largest UDP answer: it fits every path unfragmented (DNS flag day 2020)."""
TCP_BYTES = 65535
ADDITIONAL_LIMIT = 4

QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080


class Question(msgspec.Struct, frozen=True, gc=False):
    """`echo`: name, type and class as they came. `name`: lower case. `payload`: largest UDP answer the asker takes, 512
    without EDNS. `flags`: the header's."""

    ident: int
    flags: int
    echo: bytes
    name: bytes
    type: int
    qclass: int
    edns: bool
    edns_version: int
    dnssec_ok: bool
    payload: int


class RRset(msgspec.Struct, frozen=True, gc=False):
    """`rdatas`: encoded, names in them not compressed."""

    name: bytes
    type: int
    ttl: int
    rdatas: tuple[bytes, ...]


def name_to_wire(name: str) -> bytes:
    """ "www.Example." → b"\\x03www\\x07example\\x00". ValueError when it is not a name."""
    text = name.removesuffix(".")
    try:
        labels = text.lower().encode("ascii").split(b".") if text else []
    except UnicodeEncodeError as error:
        raise ValueError(f"not a DNS name: {name!r}") from error
    if any(not 0 < len(label) < 64 or not label.isascii() or b" " in label for label in labels):
        raise ValueError(f"not a DNS name: {name!r}")
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > 255:
        raise ValueError(f"DNS name is longer than 253 characters: {name!r}")
    return wire


def wire_to_name(wire: bytes) -> str:
    """The inverse for names without odd octets, no final dot; "." for the root."""
    labels = []
    at = 0
    while at < len(wire) and (size := wire[at]):
        labels.append(wire[at + 1 : at + 1 + size].decode("ascii", "backslashreplace"))
        at += 1 + size
    return ".".join(labels) or "."


def encode_value(type_name: str, value: str) -> bytes:
    """A record's value as rdata. ValueError when it does not fit the type."""
    if type_name == "A":
        return ipaddress.IPv4Address(value).packed
    if type_name == "AAAA":
        return ipaddress.IPv6Address(value).packed
    if type_name in ("CNAME", "PTR"):
        return name_to_wire(value)
    if type_name == "TXT":
        data = value.encode()
        if len(data) > 4000:
            raise ValueError("a TXT value is at most 4000 bytes")
        pieces = [data[at : at + 255] for at in range(0, len(data), 255)] or [b""]
        return b"".join(bytes((len(piece),)) + piece for piece in pieces)
    if type_name == "SRV":
        fields = value.split()
        if len(fields) != 4 or not all(f.isdigit() and int(f) < 65536 for f in fields[:3]):
            raise ValueError(f'an SRV value is "priority weight port target", not {value!r}')
        return struct.pack("!HHH", *map(int, fields[:3])) + name_to_wire(fields[3])
    raise ValueError(f"no such record type: {type_name!r}")


def decode_value(rtype: int, rdata: bytes) -> str:
    """The text of an rdata that `encode_value` made."""
    if rtype == A:
        return str(ipaddress.IPv4Address(rdata))
    if rtype == AAAA:
        return str(ipaddress.IPv6Address(rdata))
    if rtype == TXT:
        text, at = b"", 0
        while at < len(rdata):
            text += rdata[at + 1 : at + 1 + rdata[at]]
            at += 1 + rdata[at]
        return text.decode()
    if rtype == SRV:
        priority, weight, port = struct.unpack_from("!HHH", rdata)
        return f"{priority} {weight} {port} {wire_to_name(rdata[6:])}"
    return wire_to_name(rdata)


def read_question(packet: bytes) -> Question | int | None:
    """The question of a query; an rcode when it must be answered with that alone; None when it must not be answered
    (too short for a header, or itself an answer: answering those makes two servers talk for ever)."""
    if len(packet) < 12:
        return None
    ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(packet)
    if flags & QR:
        return None
    if flags & 0x7800:
        return NOTIMP
    if questions != 1 or answers or authorities or additionals > ADDITIONAL_LIMIT:
        return FORMERR
    end = skip_name(packet, 12)
    if end < 0 or end + 4 > len(packet):
        return FORMERR
    edns, version, dnssec_ok, payload = False, 0, False, 512
    at = end + 4
    for _ in range(additionals):
        start, at = at, skip_name(packet, at)
        if at < 0 or at + 10 > len(packet):
            return FORMERR
        rtype, size_or_class, ttl, length = RR_TAIL.unpack_from(packet, at)
        if rtype == OPT:
            if edns or packet[start] != 0:
                return FORMERR
            edns, version, dnssec_ok = True, ttl >> 16 & 0xFF, bool(ttl & 0x8000)
            payload = min(max(size_or_class, 512), PAYLOAD_BYTES)
        at += 10 + length
        if at > len(packet):
            return FORMERR
    qtype, qclass = packet[end] << 8 | packet[end + 1], packet[end + 2] << 8 | packet[end + 3]
    return Question(
        ident=ident,
        flags=flags,
        echo=packet[12 : end + 4],
        name=packet[12:end].lower(),
        type=qtype,
        qclass=qclass,
        edns=edns,
        edns_version=version,
        dnssec_ok=dnssec_ok,
        payload=payload,
    )


def skip_name(packet: bytes, at: int) -> int:
    """Where the name at `at` ends, -1 when it is none. A pointer is refused: a query has nothing to point back to."""
    start, size = at, len(packet)
    while at < size:
        length = packet[at]
        if length == 0:
            return at + 1 if at + 1 - start <= 255 else -1
        if length > 63:
            return -1
        at += 1 + length
    return -1


def bare_reply(packet: bytes, rcode: int) -> bytes:
    """An answer to a packet whose question could not be read: its id and the rcode, nothing else."""
    flags = int.from_bytes(packet[2:4], "big")
    return packet[:2] + HEADER.pack(0, QR | flags & (0x7800 | RD) | RA | rcode, 0, 0, 0, 0)[2:]


def write_reply(
    question: Question,
    rcode: int,
    answers: list[RRset],
    authority: list[RRset],
    *,
    authoritative: bool,
    limit: int,
    turn: int = 0,
) -> bytes:
    """The answer, at most `limit` bytes (more: nothing but TC, so that the asker comes by TCP). `turn` turns the
    order of the values of each set."""
    flags = QR | question.flags & RD | RA | (AA if authoritative else 0) | rcode & 15
    additional = b""
    if question.edns:
        tail = RR_TAIL.pack(OPT, PAYLOAD_BYTES, (rcode >> 4) << 24 | (0x8000 if question.dnssec_ok else 0), 0)
        additional = b"\0" + tail
    parts = [b"", question.echo]
    offsets = {question.name: 12}
    size = 12 + len(question.echo) + len(additional)
    counts = [0, 0]
    for section, rrsets in enumerate((answers, authority)):
        for rrset in rrsets:
            offset = offsets.get(rrset.name)
            owner = rrset.name if offset is None else (0xC000 | offset).to_bytes(2, "big")
            number = len(rrset.rdatas)
            for index in range(number):
                rdata = rrset.rdatas[(index + turn) % number]
                parts.append(owner + RR_TAIL.pack(rrset.type, CLASS_IN, rrset.ttl, len(rdata)) + rdata)
                size += len(parts[-1])
                if rrset.type == CNAME and size - len(additional) - len(rdata) < 0x4000:
                    offsets[rdata] = size - len(additional) - len(rdata)
            counts[section] += number
    if size > limit:
        parts, counts, flags = [b"", question.echo], [0, 0], flags | TC
    parts[0] = HEADER.pack(question.ident, flags, 1, counts[0], counts[1], 1 if question.edns else 0)
    parts.append(additional)
    return b"".join(parts)


def write_query(ident: int, question: Question) -> bytes:
    """The same question anew, for an upstream: nothing of the asker's packet goes on but name, type, class and DO."""
    opt = b"\0" + RR_TAIL.pack(OPT, PAYLOAD_BYTES, 0x8000 if question.dnssec_ok else 0, 0) if question.edns else b""
    return HEADER.pack(ident, RD, 1, 0, 0, 1 if opt else 0) + question.echo + opt
