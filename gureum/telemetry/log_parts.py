"""Parts: what was read of files of log events is kept for the next page. In the worker.

    page 1 of a stream ─► row groups that may hold it ─► DuckDB, once each ─► part (columns of the stream's rows in it) ─► page
    page 2, or 1 again ─────────────────────────────────────────────────────► part ─► page

A file never changes, so neither does a part: nothing has to be made invalid. What was dropped, positions and limits are looked at when a page is cut
from its parts. A look by DuckDB costs about the same for a thousand events as for the four thousand of a row group: whole parts cost
the first page little, and save the next three most of theirs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from gureum.ports.telemetry import LogEvent
from gureum.telemetry.jobs import ReadLogs
from gureum.telemetry.parquet import quoted

LIMIT_BYTES = 64 * 1024 * 1024
"""Of all parts that are kept."""
LIMIT_GROUP_ROWS = 16_384
"""A file with larger row groups (of an older gureum) is not read by parts."""
GROUPS_AT_ONCE = 4
ROW_BYTES = 8 * 4 + 56
"""Of a row in memory, beside its message's characters: times and numbers, a reference, and what Python adds to a text."""


class RowGroup(NamedTuple):
    """`at`: its first row's place in the file. `first_stream`, `last_stream`: "" when the file does not tell."""

    at: int
    rows: int
    min_ms: int
    max_ms: int
    first_stream: str
    last_stream: str

    def may_have(self, stream: str) -> bool:
        return not self.last_stream or self.first_stream <= stream <= self.last_stream


class Part(NamedTuple):
    """Rows of one stream in one row group, in the order of time and number: columns of numpy."""

    times: Any
    numbers: Any
    ingested: Any
    messages: Any


class Parts:
    """The newest looked at, for all threads. `limit_bytes`: of all."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._known: OrderedDict[tuple[str, int, str], tuple[Part, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._limit_bytes = limit_bytes
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, file: str, at: int, stream: str) -> Part | None:
        with self._lock:
            found = self._known.get((file, at, stream))
            if found is None:
                return None
            self._known.move_to_end((file, at, stream))
            return found[0]

    def keep(self, file: str, at: int, stream: str, part: Part) -> None:
        size_bytes = ROW_BYTES * len(part.times) + sum(map(len, part.messages.tolist())) + 512
        with self._lock:
            if (file, at, stream) not in self._known:
                self._known[file, at, stream] = part, size_bytes
                self.size_bytes += size_bytes
            while self.size_bytes > self._limit_bytes:
                _, (_, over_bytes) = self._known.popitem(last=False)
                self.size_bytes -= over_bytes


class Wanted(NamedTuple):
    """A row group of a file that may hold what is looked for."""

    file: str
    group: RowGroup


class PartReader:
    """Of one thread."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, folder: Path, parts: Parts) -> None:
        self._sql = cursor
        self._folder = folder
        self._parts = parts

    def rows(self, job: ReadLogs, wanted: list[Wanted], first_ms: int, end_ms: int, limit: int) -> list[LogEvent]:
        """Of a job for one stream without needles: its first `limit` events (the last, backward) with first <= time < end that are in these row
        groups, in the order of reading."""
        [stream] = job.streams
        near = [one for one in wanted if one.group.may_have(stream)]
        near.sort(key=lambda one: one.group.min_ms if job.forward else -one.group.max_ms)
        parts: list[Part] = []
        for place in range(0, len(near), GROUPS_AT_ONCE):
            parts += self._read(near[place : place + GROUPS_AT_ONCE], stream)
            # What is certain: nothing in row groups that were not read yet comes before it.
            rest = near[place + GROUPS_AT_ONCE :]
            low, high = first_ms, end_ms
            if rest and job.forward:
                high = min(end_ms, rest[0].group.min_ms)
            elif rest:
                low = max(first_ms, rest[0].group.max_ms + 1)
            if not rest or sum(_count(part, low, high) for part in parts) >= limit:
                found = _cut(job, parts, stream, low, high, limit)
                if not rest or len(found) == limit:
                    return found
        return []

    def _read(self, wanted: Sequence[Wanted], stream: str) -> list[Part]:
        found: list[Part] = []
        missing: list[Wanted] = []
        for one in wanted:
            part = self._parts.find(one.file, one.group.at, stream)
            if part is None:
                missing.append(one)
            else:
                found.append(part)
        for file in dict.fromkeys(one.file for one in missing):
            found += self._load(file, sorted(one.group for one in missing if one.file == file), stream)
        return found

    def _load(self, file: str, groups: list[RowGroup], stream: str) -> list[Part]:
        """In one look: what lies between these row groups and has nothing of the stream is passed over by what is known of it."""
        rows = self._sql.execute(
            f"""
            SELECT file_row_number, time_ms, sequence, ingested_ms, message
            FROM read_parquet({quoted(self._folder / file)}, file_row_number = true)
            WHERE file_row_number >= ? AND file_row_number < ? AND stream = ?
            """,
            [groups[0].at, groups[-1].at + groups[-1].rows, stream],
        ).fetchnumpy()
        columns = [np.asarray(rows[name]) for name in ("time_ms", "sequence", "ingested_ms", "message")]
        order = np.lexsort((columns[1], columns[0]))
        places = np.asarray(rows["file_row_number"])[order]
        columns = [one[order] for one in columns]
        parts = []
        for group in groups:
            here = (places >= group.at) & (places < group.at + group.rows)
            part = Part(*(one[here] for one in columns))
            self._parts.keep(file, group.at, stream, part)
            parts.append(part)
        return parts


def _count(part: Part, low_ms: int, high_ms: int) -> int:
    low, high = np.searchsorted(part.times, (low_ms, high_ms))
    return max(int(high - low), 0)


def _cut(job: ReadLogs, parts: list[Part], stream: str, low_ms: int, high_ms: int, limit: int) -> list[LogEvent]:
    """The rows that the job asks for, of these times."""
    slices = [_between(part, low_ms, high_ms) for part in parts]
    slices = [part for part in slices if len(part.times)]
    if not slices:
        return []
    whole = slices[0]
    if len(slices) > 1:
        joined = Part(*(np.concatenate(columns) for columns in zip(*slices, strict=True)))
        order = np.lexsort((joined.numbers, joined.times))
        whole = Part(*(column[order] for column in joined))
    times, numbers, *_ = whole
    kept = numbers > max(job.dropped.get("", -1), job.dropped.get(stream, -1))
    kept &= (times > job.first[0]) | (numbers >= job.first[1])
    kept &= (times < job.end[0]) | (numbers < job.end[1])
    if not kept.all():
        whole = Part(*(column[kept] for column in whole))
    part = Part(*(column[:limit] if job.forward else column[: -limit - 1 : -1] for column in whole))
    times, numbers, ingested, messages = (column.tolist() for column in part)
    return list(map(LogEvent, repeat(stream), times, ingested, messages, numbers))


def _between(part: Part, low_ms: int, high_ms: int) -> Part:
    low, high = np.searchsorted(part.times, (low_ms, high_ms))
    return Part(*(column[low:high] for column in part))
