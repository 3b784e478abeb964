"""Entries of connection tracking, from the bytes that the kernel writes (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.drivers.flows.counts import FlowSum, seen_of
from gureum.drivers.flows.messages import FIN, RST, SYN, SYN_ACK, Counts, EntryReader, Tuple, decoded


def attribute(kind: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def ends(kind: int, source: str, destination: str, near: int, far: int, protocol: int = 6) -> bytes:
    addresses = attribute(0x8001, attribute(1, socket.inet_aton(source)), attribute(2, socket.inet_aton(destination)))
    ports = attribute(
        0x8002,
        attribute(1, bytes([protocol])),
        attribute(2, struct.pack("!H", near)),
        attribute(3, struct.pack("!H", far)),
    )
    return attribute(kind | 0x8000, addresses, ports)


def counts(kind: int, packets: int, size: int) -> bytes:
    return attribute(kind | 0x8000, attribute(1, struct.pack("!Q", packets)), attribute(2, struct.pack("!Q", size)))


def times(*stamps: int) -> bytes:
    return attribute(20 | 0x8000, *(attribute(n, struct.pack("!Q", stamp)) for n, stamp in enumerate(stamps, 1)))


ORIGINAL, REPLY = ends(1, "10.0.0.1", "10.0.1.2", 40000, 80), ends(2, "10.0.1.2", "10.0.0.1", 80, 40000)
STATE = attribute(4 | 0x8000, attribute(1 | 0x8000, attribute(1, b"\x07")))
MARK, ID = attribute(8, b"mark"), attribute(12, b"iiii")
WHOLE = [ORIGINAL, REPLY, MARK, ID, counts(9, 6, 700), counts(10, 5, 900), times(11, 22), STATE]


@pytest.mark.parametrize("order", [WHOLE, WHOLE[::-1], [*WHOLE, b"\x03"]])
def test_an_entry_is_read_however_it_is_built(order: list[bytes]) -> None:
    reader = EntryReader()
    for _ in range(2):  # the second time by what the first has learnt
        entry = reader.read(b"".join(order))
        assert entry is not None
        assert decoded(entry.original) == Tuple("10.0.0.1", "10.0.1.2", 6, 40000, 80)
        assert decoded(entry.reply) == Tuple("10.0.1.2", "10.0.0.1", 6, 80, 40000)
        assert entry.counts == Counts(6, 700, 5, 900)
        assert (entry.start_ns, entry.stop_ns, entry.closing_flags) == (11, 22, FIN)


def test_a_leg_in_a_zone_of_its_own_is_none() -> None:
    assert EntryReader().read(b"".join([*WHOLE[:3], attribute(18, b"\0\1"), *WHOLE[3:]])) is None


def test_what_is_built_otherwise_with_the_same_length_is_read_anew() -> None:
    reader = EntryReader()
    first = reader.read(b"".join(WHOLE))
    swapped = [REPLY, ORIGINAL, *WHOLE[2:]]
    assert len(b"".join(swapped)) == len(b"".join(WHOLE))
    assert first is not None
    assert reader.read(b"".join(swapped)) == first


def test_a_live_flow_has_a_start_only_and_a_flow_without_counts_none() -> None:
    live = EntryReader().read(ORIGINAL + REPLY + counts(9, 1, 60) + counts(10, 0, 0) + times(33))
    assert live is not None
    assert (live.start_ns, live.stop_ns, live.counts, live.closing_flags) == (33, 0, Counts(1, 60, 0, 0), 0)
    bare = EntryReader().read(ORIGINAL + REPLY)
    assert bare is not None
    assert (bare.counts, bare.start_ns) == (Counts(0, 0, 0, 0), 0)


@pytest.mark.parametrize(
    ("state", "packets", "replies", "fresh", "told"),
    [
        (7, 6, 5, True, (SYN | FIN, SYN_ACK | FIN)),
        (7, 6, 5, False, (FIN, FIN)),
        (3, 6, 5, True, (SYN, SYN_ACK)),
        (8, 1, 1, True, (SYN, RST)),
        (8, 1, 1, False, (0, RST)),
        (8, 4, 3, True, (SYN | RST, SYN_ACK | RST)),
    ],
    ids=["ended", "ended later", "open", "nobody listened", "nobody listened, told later", "reset"],
)
def test_the_flags_told_of_a_flow(state: int, packets: int, replies: int, fresh: bool, told: tuple[int, int]) -> None:
    """AWS: flow log records, tcp-flags: FIN 1, SYN 2, RST 4, SYN-ACK 18; who was reset on the first packet has no SYN-ACK."""
    tracked = attribute(4 | 0x8000, attribute(1 | 0x8000, attribute(1, bytes([state]))))
    entry = EntryReader().read(
        ORIGINAL + REPLY + counts(9, packets, 700) + counts(10, replies, 900) + times(11, 22) + tracked
    )
    assert entry is not None
    seen = seen_of(FlowSum(entry, entry.counts, fresh), 0, 1)
    assert (seen.flags, seen.reply_flags) == told


def test_a_new_flow_with_the_same_ends_and_id_has_another_key() -> None:
    reader = EntryReader()
    one, other = (reader.read(ORIGINAL + REPLY + ID + times(stamp)) for stamp in (1, 2))
    assert one is not None
    assert other is not None
    assert one.key != other.key


@pytest.mark.parametrize("body", [b"", ORIGINAL, REPLY + STATE, attribute(1, b"x" * 40) + attribute(2, b"y" * 40)])
def test_what_is_no_flow_of_ipv4_is_none(body: bytes) -> None:
    assert EntryReader().read(body) is None


@given(st.lists(st.binary(max_size=60) | st.sampled_from(WHOLE), max_size=8))
def test_no_bytes_break_it(parts: list[bytes]) -> None:
    reader = EntryReader()
    for cut in range(3):
        reader.read(b"".join(parts)[cut:])
