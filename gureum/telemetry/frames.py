"""What stands in the frames of the write-ahead logs. The daemon writes them; at its start it, and for sealing the worker, reads them.

Metrics: msgpack of columns, a row per datum. Logs: a line of JSON that names the group, then a line of JSON per event, as DuckDB reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gureum.telemetry.catalog import SeriesRow


class MetricsFrame(msgspec.Struct, frozen=True, array_like=True):
    """`series`: those that no durable frame before has told of. The columns are native little-endian arrays: ids of 4 bytes, times in ms of 8,
    doubles. `distributions`: (row, values, counts)."""

    series: list[SeriesRow]
    ids: bytes
    times: bytes
    counts: bytes
    sums: bytes
    mins: bytes
    maxs: bytes
    distributions: list[tuple[int, tuple[float, ...], tuple[float, ...]]]


class EventLine(msgspec.Struct, gc=False):
    """Time, number (`q`), time of ingestion, stream, message. Short names: they stand in each line."""

    t: int
    q: int
    i: int
    s: str
    m: str


class GroupLine(msgspec.Struct, frozen=True):
    group: str


_encoder = msgspec.json.Encoder()
_line = msgspec.json.Decoder(EventLine)
_group = msgspec.json.Decoder(GroupLine)
encode_metrics = msgspec.msgpack.Encoder().encode
decode_metrics = msgspec.msgpack.Decoder(MetricsFrame).decode


def encode_events(group: str, events: Sequence[EventLine]) -> bytes:
    """ValueError for text that is not Unicode."""
    return _encoder.encode(GroupLine(group)) + b"\n" + _encoder.encode_lines(events)


def split_events(frame: bytes) -> tuple[str, memoryview]:
    """The group, and the lines as they stand."""
    end = frame.index(b"\n")
    return _group.decode(frame[:end]).group, memoryview(frame)[end + 1 :]


def decode_events(frame: bytes) -> tuple[str, list[EventLine]]:
    group, lines = split_events(frame)
    return group, _line.decode_lines(lines)
