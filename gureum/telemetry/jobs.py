"""What the daemon asks of the worker, and what comes back: frames of length (4 bytes, little-endian) and msgpack over a pipe."""

from __future__ import annotations

import struct

import msgspec

from gureum.ports.telemetry import LogEvent
from gureum.telemetry.catalog import FileInfo, SeriesRow

LENGTH = struct.Struct("<I")
MAX_MESSAGE_BYTES = 512 * 1024 * 1024
FILE_ROWS = 131_072
"""About so many log events are in a full file: opening it costs by what is in it."""

PointRow = tuple[int, int, float, float, float, float, list[float], list[float], bool]
"""Series id, then as buckets.Point without its unit."""


class SealMetrics(msgspec.Struct, frozen=True, tag=True):
    """Makes a file of a generation of the log."""

    generation: int
    series: list[SeriesRow]


class SealLogs(msgspec.Struct, frozen=True, tag=True):
    """Makes files per group of a generation of the log. `dropped`: group → stream → number up to which its events are gone. `cutoffs_ms`:
    group → time before which they are."""

    generation: int
    dropped: dict[str, dict[str, int]]
    cutoffs_ms: dict[str, int]


class Sealed(msgspec.Struct, frozen=True, tag=True):
    """`last_ms`: series id → its newest datum, of metrics."""

    files: list[FileInfo]
    last_ms: dict[int, int] = {}


class MergeMetrics(msgspec.Struct, frozen=True, tag=True):
    """One file of many, aggregated to `resolution_s` (1: as they are). `name`: of the new file, without its ending."""

    files: list[str]
    resolution_s: int
    name: str


class MergeLogs(msgspec.Struct, frozen=True, tag=True):
    """Full files, or one, of many files of a group, without what is dropped or over. `name`: of the new one; several count on behind it."""

    files: list[str]
    group: str
    name: str
    dropped: dict[str, int]
    cutoff_ms: int


class ReadMetrics(msgspec.Struct, frozen=True, tag=True):
    """Points of the series, aggregated to `period_ms` when it is not 0 (then without distributions)."""

    files: list[str]
    series: list[int]
    start_ms: int
    end_ms: int
    period_ms: int


class Points(msgspec.Struct, frozen=True, tag=True):
    points: list[PointRow]


class ReadLogs(msgspec.Struct, frozen=True, tag=True):
    """At most `limit` events at positions from `first` on, before `end`, in their order; or the last ones, from the last back. It ends early
    after `limit_bytes`, and after it has looked at about `look_at` rows (0: at all). `scan_rows`: how many rows it will likely have to look at.
    `needles`: ports.telemetry, Logs.read. `files`: name, time of the first and of the last event."""

    files: list[tuple[str, int, int]]
    streams: list[str]
    dropped: dict[str, int]
    first: tuple[int, int]
    end: tuple[int, int]
    limit: int
    limit_bytes: int
    forward: bool
    scan_rows: int = 0
    needles: list[list[str]] = []
    look_at: int = 0


class Events(msgspec.Struct, frozen=True, tag=True):
    """`bound_ms`: when it ended after `look_at` rows, the time up to which (from which, backward) it looked. `looked`: at so many rows, about."""

    events: list[LogEvent]
    bound_ms: int | None = None
    looked: int = 0


class Failed(msgspec.Struct, frozen=True, tag=True):
    """`full`: there is no room on the disk."""

    why: str
    full: bool = False


Job = SealMetrics | SealLogs | MergeMetrics | MergeLogs | ReadMetrics | ReadLogs
Result = Sealed | Points | Events | Failed


class Request(msgspec.Struct, frozen=True):
    id: int
    job: Job


class Answer(msgspec.Struct, frozen=True):
    id: int
    result: Result
