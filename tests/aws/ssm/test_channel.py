"""The numbers of a data channel, and its messages as bytes."""

from __future__ import annotations

import hashlib
import itertools
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.ssm import channel_messages as wire
from gureum.aws.ssm.channel import LAST_WAIT_S, WINDOW, Channel
from gureum.aws.ssm.channel_messages import Message, acknowledged_number, acknowledgement, pack, unpack

NOW = 1_800_000_000.0


@given(st.binary(max_size=300), st.integers(0, 2**40), st.integers(0, 20), st.uuids())
def test_message_is_read_as_it_was_written(payload: bytes, number: int, payload_type: int, id_: uuid.UUID) -> None:
    message = Message(wire.INPUT, number, payload, payload_type, 1, str(id_))
    assert unpack(pack(message, NOW)) == message


def test_bytes_are_where_the_plugin_looks_for_them() -> None:
    id_ = "00112233-4455-6677-8899-aabbccddeeff"
    data = pack(Message(wire.OUTPUT_STREAM, 5, b"hello", wire.OUTPUT, 1, id_), NOW)
    assert data[:4] == b"\0\0\0\x74"
    assert data[4:36] == b"output_stream_data".ljust(32)
    assert data[36:40] == b"\0\0\0\1"
    assert int.from_bytes(data[40:48], "big") == int(NOW * 1000)
    assert int.from_bytes(data[48:56], "big") == 5
    assert data[64:80].hex() == "8899aabbccddeeff0011223344556677"
    assert data[80:112] == hashlib.sha256(b"hello").digest()
    assert data[112:] == b"\0\0\0\1\0\0\0\5hello"


@given(st.binary(max_size=400))
def test_nonsense_is_refused_with_one_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack(data)
    for payload in (b"[" + data, b"[" * 200_000, b"{}", b'{"AcknowledgedMessageSequenceNumber": "1"}'):
        with pytest.raises(ValueError, match=r".+"):
            acknowledged_number(Message(wire.ACKNOWLEDGE, 0, payload))


def test_a_type_padded_with_zeros_is_understood() -> None:
    data = pack(Message(wire.INPUT, 0, b""), NOW)
    assert unpack(data[:4] + b"input_stream_data".ljust(32, b"\0") + data[36:]).type == wire.INPUT


def test_what_is_acknowledged_is_not_sent_again() -> None:
    channel = Channel()
    sent = [unpack(channel.send(wire.OUTPUT, b"%d" % n, NOW)) for n in range(3)]
    assert [one.number for one in sent] == [0, 1, 2]
    assert (channel.waiting, channel.confirmed) == (3, 0)
    channel.acknowledged(acknowledged_number(acknowledgement(sent[1])), NOW + 0.01)
    assert channel.confirmed == 0
    channel.acknowledged(0, NOW + 0.01)
    assert channel.confirmed == 2
    assert [unpack(one).payload for one in channel.everything(NOW + 1)] == [b"2"]
    channel.acknowledged(77, NOW)
    channel.acknowledged(2, NOW)
    assert (channel.waiting, channel.confirmed, channel.everything(NOW)) == (0, 3, [])


def test_only_the_oldest_goes_again_each_time_later() -> None:
    channel = Channel()
    first = unpack(channel.send(wire.OUTPUT, b"a", NOW))
    channel.send(wire.OUTPUT, b"b", NOW)
    assert channel.due(NOW + 0.1) == []
    times, now = [], NOW
    while len(times) < 9:
        again = channel.due(now)
        if again:
            assert [unpack(one) for one in again] == [first]
            times.append(now)
        now += 0.05
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits == sorted(waits)
    assert waits[-1] <= LAST_WAIT_S + 0.1


def test_the_wait_follows_what_was_measured_and_not_what_went_twice() -> None:
    channel = Channel()
    for n in range(30):
        channel.send(wire.OUTPUT, b"x", NOW)
        channel.acknowledged(n, NOW + 0.9)
    channel.send(wire.OUTPUT, b"x", NOW)
    assert channel.due(NOW + 0.8) == []
    assert channel.due(NOW + 1.0)


def test_the_window_closes() -> None:
    channel = Channel(sent=7)
    for _ in range(WINDOW):
        assert channel.has_room
        channel.send(wire.OUTPUT, b"", NOW)
    assert not channel.has_room
    channel.acknowledged(7, NOW)
    assert channel.has_room
