"""Parquet files of log events, in the worker.

    <folder>/logs/<hash of scope and group>/<name>.parquet
        scope, log_group, stream    VARCHAR
        time_ms, ingested_ms        BIGINT
        sequence                    BIGINT     number of the event in this store: the order of arrival
        message                     VARCHAR

A file is a row of blocks, each later than the one before; a block is sorted by stream, then time and number. So a page of one stream reads the few
row groups of its blocks that have the stream, and a page of all streams reads little more than it needs. Files are small, since an engine that opens
one reads what its footer says of every row group.

A read goes through windows of time that hold few blocks, in the direction of reading, until it has enough; so a page costs the same at the end of a
file as at its beginning, and files that it does not come to are not looked at. What it read of one stream is kept for the next page (log_parts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from gureum.ports.telemetry import LogEvent
from gureum.telemetry.arrow import Columns
from gureum.telemetry.catalog import FileInfo
from gureum.telemetry.frames import EventsFrame, decode_events
from gureum.telemetry.jobs import FILE_ROWS, Events, MergeLogs, ReadLogs, Sealed, SealLogs
from gureum.telemetry.log_parts import LIMIT_GROUP_ROWS, PartReader, Parts, RowGroup, Wanted
from gureum.telemetry.pages import EVENT_OVERHEAD_BYTES, size_of
from gureum.telemetry.parquet import finish, quoted
from gureum.telemetry.wal import path_of, read_frames

ROW_GROUP, BLOCK = 4096, 32_768
FIRST_WINDOW_ROWS, MAX_WINDOW_ROWS = 1024, 500_000
MARGIN = 1.1
"""So much more than the average is read at once: a second look costs more than a few rows."""
MAX_FILES_KNOWN = 4_000
LOOK_AHEAD_FILES = 200
_PLACE = "row_number() OVER (ORDER BY time_ms, sequence) - 1"
_COLUMNS = "scope, log_group, stream, time_ms, ingested_ms, sequence, message"


class Extent(NamedTuple):
    """Times of a block, or of a part of one."""

    min_ms: int
    max_ms: int
    rows: int

    def within(self, low_ms: int, high_ms: int) -> float:
        """About how many of its rows are of these times."""
        length_ms = self.max_ms + 1 - self.min_ms
        return self.rows * (min(high_ms, self.max_ms + 1) - max(low_ms, self.min_ms)) / length_ms


class FileShape(NamedTuple):
    """What its footer says of a file."""

    groups: list[RowGroup]
    extents: list[Extent]

    @property
    def in_parts(self) -> bool:
        """Whether its row groups are small."""
        return all(one.rows <= LIMIT_GROUP_ROWS for one in self.groups)


class Ahead(NamedTuple):
    """An extent, or a whole file (`extent` None) that reading comes to at the time `bound_ms`."""

    bound_ms: int
    name: str
    extent: Extent | None


class Window(NamedTuple):
    """A part of a read. `rows`: about so many. `more`: there are others behind it."""

    first_ms: int
    end_ms: int
    files: list[str]
    rows: int
    more: bool


class LogFiles:
    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        folder: Path,
        shapes: dict[str, FileShape] | None = None,
        parts: Parts | None = None,
        *,
        file_rows: int = FILE_ROWS,
        block: int = BLOCK,
    ) -> None:
        """`shapes` of files and `parts` of them, for who shares what it knows."""
        self._sql = cursor
        self._wal = folder / "wal-logs"
        self._folder = folder / "logs"
        self._shapes = {} if shapes is None else shapes
        self._parts = PartReader(cursor, self._folder, Parts() if parts is None else parts)
        self._file_rows = file_rows
        self._block = block

    def seal(self, job: SealLogs) -> Sealed:
        groups: dict[str, list[EventsFrame]] = {}
        for payload in read_frames(path_of(self._wal, job.generation)):
            frame = decode_events(payload)
            groups.setdefault(frame.group, []).append(frame)
        files = []
        for group, frames in groups.items():
            columns = _columns(frames)
            self._sql.register("events", columns)
            try:
                scope, _, name = group.partition("\0")
                source = f"SELECT {quoted(scope)} AS scope, {quoted(name)} AS log_group, * FROM events"
                condition = _kept(job.dropped.get(group, {}), job.cutoffs_ms.get(group, 0))
                files += self._write(source, condition, group, f"{job.generation:08}", "snappy")
            finally:
                self._sql.unregister("events")
        return Sealed(files)

    def merge(self, job: MergeLogs) -> Sealed:
        source = f"SELECT {_COLUMNS} FROM {self._files(job.files)}"
        return Sealed(self._write(source, _kept(job.dropped, job.cutoff_ms), job.group, job.name, "zstd"))

    def read(self, job: ReadLogs) -> Events:
        found: list[LogEvent] = []
        left_bytes, looked = job.limit_bytes, 0
        for window in self._windows(job, found):
            looked += window.rows
            events = self._in_window(job, window, job.limit - len(found))
            found += _fitting(events, left_bytes, 0 if found else 1)
            left_bytes -= size_of("".join([one.message for one in events]))
            if left_bytes < 0 and len(found) > 1:  # the page takes the first in any case, and is full at the last
                break
            if len(found) >= job.limit:
                break
            if window.more and looked >= job.look_at > 0:
                return Events(found, window.end_ms if job.forward else window.first_ms, looked)
        return Events(found, looked=looked)

    def look_ahead(self, job: ReadLogs, busy: Callable[[], bool]) -> None:
        """What the footers of the job's next files say, for pages to come: of a worker that has just started each costs some milliseconds. Ends
        when `busy()`."""
        order = (lambda one: one[1]) if job.forward else (lambda one: -one[2])
        for name, *_ in sorted(job.files, key=order)[:LOOK_AHEAD_FILES]:
            if busy():
                return
            self._shape_of(name)

    def _in_window(self, job: ReadLogs, window: Window, limit: int) -> list[LogEvent]:
        shapes = {name: self._shape_of(name) for name in window.files}
        if len(job.streams) != 1 or job.needles or not all(one.in_parts for one in shapes.values()):
            return self._rows(job, window, limit)
        wanted = [
            Wanted(name, group)
            for name, shape in shapes.items()
            for group in shape.groups
            if group.max_ms >= window.first_ms and group.min_ms < window.end_ms
        ]
        return self._parts.rows(job, wanted, window.first_ms, window.end_ms, limit)

    def _rows(self, job: ReadLogs, window: Window, limit: int) -> list[LogEvent]:
        condition, values = _wanted(job)
        rows = self._sql.execute(
            f"""
            SELECT stream, time_ms, ingested_ms, message, sequence FROM {self._files(window.files)}
            WHERE time_ms >= ? AND time_ms < ? AND {condition}
            ORDER BY time_ms {_order(job)}, sequence {_order(job)} LIMIT ?
            """,
            [window.first_ms, window.end_ms, *values, limit],
        ).fetchall()
        return list(starmap(LogEvent, rows))

    def _windows(self, job: ReadLogs, found: list[LogEvent]) -> Iterator[Window]:
        """In the order of reading; each large enough for what is missing of the limit, by what was `found` in those before."""
        ahead = self._ahead(job)
        coming = next(ahead, None)
        near: list[Ahead] = []
        last, looked = job.first[0] if job.forward else job.end[0] + 1, 0.0
        want = max(job.scan_rows * MARGIN, FIRST_WINDOW_ROWS)
        while coming is not None:
            rows, bound = 0.0, coming.bound_ms
            while coming is not None and (rows < min(want, MAX_WINDOW_ROWS) or coming.bound_ms == bound):
                assert coming.extent is not None
                rows += coming.extent.within(job.first[0], job.end[0] + 1)
                bound = coming.bound_ms
                near.append(coming)
                coming = next(ahead, None)
            if coming is not None:
                bound = coming.bound_ms
            else:
                bound = job.end[0] + 1 if job.forward else job.first[0]
            first_ms, end_ms = (last, bound) if job.forward else (bound, last)
            near = [one for one in near if one.extent and one.extent.max_ms >= first_ms and one.extent.min_ms < end_ms]
            if near:
                yield Window(first_ms, end_ms, sorted({one.name for one in near}), int(rows), coming is not None)
            last, looked = bound, looked + rows
            missing = (job.limit - len(found)) * MARGIN
            want = min(missing * looked / len(found) if found else want * 4, want * 4)

    def _ahead(self, job: ReadLogs) -> Iterator[Ahead]:
        """Extents in the order in which reading comes to them. A file is asked for its own only then."""
        low, high = job.first[0], job.end[0] + 1

        def entry(min_ms: int, max_ms: int, name: str, extent: Extent | None) -> tuple[int, int, Ahead]:
            bound = max(min_ms, low) if job.forward else min(max_ms + 1, high)
            return (bound if job.forward else -bound), extent is not None, Ahead(bound, name, extent)

        queue = [entry(min_ms, max_ms, name, None) for name, min_ms, max_ms in job.files]
        heapify(queue)
        while queue:
            *_, one = heappop(queue)
            if one.extent is not None:
                yield one
                continue
            for extent in self._shape_of(one.name).extents:
                if extent.max_ms >= low and extent.min_ms < high:
                    heappush(queue, entry(extent.min_ms, extent.max_ms, one.name, extent))

    def _shape_of(self, name: str) -> FileShape:
        """Of a file, which never changes."""
        known = self._shapes.get(name)
        if known is None:
            # Two rows of text for each row group: putting them together here costs a fifth less than in SQL.
            rows = self._sql.execute(
                f"""
                SELECT row_group_num_rows, stats_min_value, stats_max_value FROM parquet_metadata({quoted(self._folder / name)})
                WHERE path_in_schema IN ('stream', 'time_ms') ORDER BY row_group_id, path_in_schema
                """
            ).fetchall()
            if len(self._shapes) >= MAX_FILES_KNOWN:
                self._shapes.clear()
            groups, at = [], 0
            for (_, first, last), (count, low, high) in zip(rows[::2], rows[1::2], strict=True):
                groups.append(RowGroup(at, int(count), int(low), int(high), first or "", last or ""))
                at += int(count)
            extents = _joined([Extent(one.min_ms, one.max_ms, one.rows) for one in groups])
            known = self._shapes[name] = FileShape(groups, extents)
        return known

    def _write(self, source: str, condition: str, group: str, name: str, codec: str) -> list[FileInfo]:
        """Full files, none of them half as small as another, or one."""
        kept = f"FROM ({source}) WHERE {condition}"
        [(rows,)] = self._sql.execute(f"SELECT count(*) {kept}").fetchall()
        count = max(1, (2 * rows + self._file_rows) // (2 * self._file_rows))
        if rows == 0:
            return []
        if count == 1:
            return [self._write_one(kept, group, name, codec)]
        cuts = self._sql.execute(
            f"""
            SELECT time_ms, sequence FROM (SELECT time_ms, sequence, {_PLACE} AS place {kept})
            WHERE place > 0 AND place % {-(-rows // count)} = 0 ORDER BY place
            """
        ).fetchall()
        infos = []
        for number, (low, high) in enumerate(zip([None, *cuts], [*cuts, None], strict=True)):
            bounds = [f"(time_ms, sequence) >= ({low[0]}, {low[1]}) AND time_ms >= {low[0]}"] if low else []
            bounds += [f"(time_ms, sequence) < ({high[0]}, {high[1]}) AND time_ms <= {high[0]}"] if high else []
            infos.append(self._write_one(f"{kept} AND {' AND '.join(bounds)}", group, f"{name}-{number:03}", codec))
        return infos

    def _write_one(self, kept: str, group: str, name: str, codec: str) -> FileInfo:
        path = self._folder / folder_of(group) / f"{name}.parquet"
        with finish(path) as temporary:
            self._sql.execute(
                f"COPY (SELECT * EXCLUDE place FROM (SELECT *, {_PLACE} AS place {kept}) "
                f"ORDER BY place // {self._block}, stream, time_ms, sequence) TO {quoted(temporary)} "
                # Version 2: times and numbers as differences, which is smaller and also read faster.
                f"(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION {codec}, ROW_GROUP_SIZE {ROW_GROUP})"
            )
            streams = self._sql.execute(
                f"""
                SELECT stream, min(time_ms), max(time_ms), max(ingested_ms), sum(strlen(message) + {EVENT_OVERHEAD_BYTES})::BIGINT,
                    count(*), min(sequence), max(sequence)
                FROM read_parquet({quoted(temporary)}) GROUP BY stream
                """
            ).fetchall()
        file = f"{path.parent.name}/{path.name}"
        self._shapes.pop(file, None)  # of a file that was written before, and did not come to count
        self._shape_of(file)  # so that its first reader needs not wait for it
        return FileInfo(
            name=file,
            signal="logs",
            min_ms=min(row[1] for row in streams),
            max_ms=max(row[2] for row in streams),
            rows=sum(row[5] for row in streams),
            size_bytes=path.stat().st_size,
            group=group,
            min_sequence=min(row[6] for row in streams),
            max_sequence=max(row[7] for row in streams),
            streams={row[0]: row[1:5] for row in streams},
        )

    def _files(self, names: list[str]) -> str:
        return f"read_parquet([{', '.join(quoted(self._folder / name) for name in names)}])"


def _fitting(events: list[LogEvent], left_bytes: int, least: int) -> list[LogEvent]:
    """Those that fit, but at least `least`, and one more, which tells that there are more."""
    if size_of("".join([one.message for one in events])) <= left_bytes:
        return events
    for place, event in enumerate(events):
        left_bytes -= size_of(event.message)
        if left_bytes < 0 and place >= least:
            return events[: place + 1]
    return events


def _joined(extents: list[Extent]) -> list[Extent]:
    """Of row groups that follow each other, those of the same times as one: the streams of a block."""
    joined: list[Extent] = []
    for one in extents:
        before = joined[-1] if joined else None
        if before is not None and one.min_ms < before.max_ms and before.min_ms < one.max_ms:
            low, high = min(one.min_ms, before.min_ms), max(one.max_ms, before.max_ms)
            joined[-1] = Extent(low, high, one.rows + before.rows)
        else:
            joined.append(one)
    return joined


def _columns(frames: list[EventsFrame]) -> Columns:
    """In the order of the log."""
    times = np.concatenate([np.frombuffer(one.times, "<i8") for one in frames])
    numbers = np.concatenate([np.arange(one.first, one.first + len(one), dtype="<i8") for one in frames])
    names = [name.encode() for one in frames for name in _names(one)]
    columns = Columns()
    columns.text("stream", np.fromiter(map(len, names), "<i8", len(names)), b"".join(names))
    columns.integers("time_ms", times)
    columns.integers("ingested_ms", np.concatenate([_ingested(one) for one in frames]))
    columns.integers("sequence", numbers)
    lengths = np.concatenate([np.frombuffer(one.lengths, "<u4") for one in frames])
    columns.text("message", lengths, b"".join(one.text for one in frames))
    return columns


def _names(frame: EventsFrame) -> list[str]:
    if not frame.places:
        return frame.streams * len(frame)
    return [frame.streams[place] for place in np.frombuffer(frame.places, "<u4").tolist()]


def _ingested(frame: EventsFrame) -> Any:
    found = np.frombuffer(frame.ingested, "<i8")
    return np.repeat(found, len(frame)) if len(found) == 1 else found


def folder_of(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()[:24]


def _order(job: ReadLogs) -> str:
    return "ASC" if job.forward else "DESC"


def _kept(dropped: dict[str, int], cutoff_ms: int) -> str:
    parts = [f"time_ms >= {int(cutoff_ms)}"]
    for stream, upto in dropped.items():
        parts.append(f"NOT (sequence <= {int(upto)}{f' AND stream = {quoted(stream)}' if stream else ''})")
    return " AND ".join(parts)


def _wanted(job: ReadLogs) -> tuple[str, list[Any]]:
    """Of the positions: times are bounded by the window, numbers only within the first and the last millisecond."""
    parts = ["(time_ms > ? OR sequence >= ?)", "(time_ms < ? OR sequence < ?)", _kept(job.dropped, 0)]
    values: list[Any] = [job.first[0], job.first[1], job.end[0], job.end[1]]
    if job.streams:
        parts.append(f"stream IN ({', '.join('?' * len(job.streams))})")
        values += job.streams
    for texts in job.needles:
        parts.append(f"({' OR '.join(['contains(message, ?)'] * len(texts))})")
        values += texts
    return " AND ".join(parts), values
