"""What stands in the frames of the write-ahead logs. The daemon writes them; at its start it, and for sealing the worker, reads them.

Both are msgpack of columns (native little-endian arrays), a row per datum or event: so nothing is escaped, and the worker hands whole columns to
DuckDB.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec

from gureum.ports.telemetry import LogEvent
from gureum.telemetry.catalog import SeriesRow


class MetricsFrame(msgspec.Struct, frozen=True, array_like=True):
    """`series`: those that no durable frame before has told of. The columns are native little-endian arrays: ids of 4 bytes, times in ms of 8,
    doubles. Where every datum is one value, `counts`, `mins` and `maxs` are empty. `distributions`: (row, values, counts)."""

    series: list[SeriesRow]
    ids: bytes
    times: bytes
    counts: bytes
    sums: bytes
    mins: bytes
    maxs: bytes
    distributions: list[tuple[int, tuple[float, ...], tuple[float, ...]]]


class EventsFrame(msgspec.Struct, frozen=True, array_like=True):
    """A batch of one group. `first`: the number of its first event; the others count on. `streams`: their names; `places`: which of them, 4 bytes
    for each event, empty when there is only one. `times`, `ingested`: ms, 8 bytes; `ingested` holds one when all are the same. `lengths`: of the
    messages in bytes of UTF-8, 4 bytes each; `text`: the messages, one after the other."""

    group: str
    first: int
    streams: list[str]
    places: bytes
    times: bytes
    ingested: bytes
    lengths: bytes
    text: bytes

    def __len__(self) -> int:
        return len(self.times) // 8


class _EarlierGroup(msgspec.Struct, frozen=True):
    group: str


class _EarlierEvent(msgspec.Struct, frozen=True):
    """Time, number, time of ingestion, stream, message."""

    t: int
    q: int
    i: int
    s: str
    m: str


encode = msgspec.msgpack.Encoder().encode
decode_metrics = msgspec.msgpack.Decoder(MetricsFrame).decode
_columns = msgspec.msgpack.Decoder(EventsFrame)
_earlier_group, _earlier_events = msgspec.json.Decoder(_EarlierGroup), msgspec.json.Decoder(_EarlierEvent)


def decode_events(payload: bytes) -> EventsFrame:
    """Also what was written before decision 0054: JSON, a line for the group and one for each event. msgspec.DecodeError."""
    if payload[:1] != b"{":
        return _columns.decode(payload)
    head, _, lines = payload.partition(b"\n")
    events = _earlier_events.decode_lines(lines)
    found = [LogEvent(one.s, one.t, one.i, one.m) for one in events]
    return events_frame(_earlier_group.decode(head).group, events[0].q if events else 0, found)


def events_frame(group: str, first: int, events: Sequence[LogEvent]) -> EventsFrame:
    """ValueError for text that is not Unicode."""
    names = [one.stream for one in events]
    streams = list(dict.fromkeys(names))
    places = b""
    if len(streams) > 1:
        place = {name: number for number, name in enumerate(streams)}
        places = array("I", map(place.__getitem__, names)).tobytes()
    ingested = [one.ingested_ms for one in events]
    if len(set(ingested)) == 1:
        del ingested[1:]
    messages = [one.message.encode() for one in events]
    return EventsFrame(
        group=group,
        first=first,
        streams=streams,
        places=places,
        times=array("q", [one.time_ms for one in events]).tobytes(),
        ingested=array("q", ingested).tobytes(),
        lengths=array("I", map(len, messages)).tobytes(),
        text=b"".join(messages),
    )


def events_of(frame: EventsFrame) -> list[LogEvent]:
    """As they were given, without ids."""
    streams, number = frame.streams, len(frame)
    names = [streams[one] for one in array("I", frame.places)] if frame.places else streams * number
    ingested = array("q", frame.ingested)
    if len(ingested) == 1:
        ingested *= number
    found, at = [], 0
    for name, time_ms, ingested_ms, length in zip(
        names, array("q", frame.times), ingested, array("I", frame.lengths), strict=True
    ):
        found.append(LogEvent(name, time_ms, ingested_ms, frame.text[at : at + length].decode()))
        at += length
    return found
