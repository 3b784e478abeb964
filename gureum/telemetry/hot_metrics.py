"""Metrics in memory: columns, a row per datum, and the rows of each series. A chunk is what one generation of the log holds."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from gureum.telemetry.buckets import Point
from gureum.telemetry.frames import MetricsFrame

Distribution = tuple[tuple[float, ...], tuple[float, ...]]
FOLD_FROM = 64
"""Rows of a series from which on they are folded: what programs measure many times a minute is read as one point of the minute."""
FOLD_TO = 4
"""Rows in a point, on average, for which that is worth its memory."""


class _Folded:
    """Points of a series without distributions, by time: [count, sum, min, max]. `seen`: so many of its rows are in them. `again`: at so many rows
    it is tried again, when it was not worth it."""

    __slots__ = ("again", "by_time", "seen")

    def __init__(self) -> None:
        self.by_time: dict[int, list[float]] = {}
        self.seen = 0
        self.again = FOLD_FROM


class MetricsChunk:
    """`generation`: of the log. Rows are only ever added. `sealed_ms`: series → its newest datum, once the chunk is in files; `newest_ms`: of
    them all."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._ids, self._times = array("I"), array("q")
        self._indexed = 0
        self.sealed_ms: dict[int, int] = {}
        self.newest_ms = 0
        self._counts, self._sums, self._mins, self._maxs = array("d"), array("d"), array("d"), array("d")
        self._distributions: dict[int, Distribution] = {}
        self._rows: dict[int, list[int]] = {}
        self._newest: dict[int, tuple[int, int]] = {}
        self._folded: dict[int, _Folded] = {}
        # Series with a row that is older than the one before it.
        self._unordered: set[int] = set()

    def __len__(self) -> int:
        return len(self._times)

    def seal(self, last_ms: dict[int, int]) -> None:
        """It is in files; nothing is added any more."""
        self.sealed_ms, self.newest_ms = last_ms, max(last_ms.values(), default=0)

    @property
    def series(self) -> Sequence[int]:
        """Ids of the series that have rows."""
        return list(set(self._ids))

    def extend(self, frame: MetricsFrame) -> None:
        start = len(self._times)
        self._ids.frombytes(frame.ids)
        self._times.frombytes(frame.times)
        self._counts.frombytes(frame.counts or array("d", [1.0]).tobytes() * (len(frame.ids) // self._ids.itemsize))
        self._sums.frombytes(frame.sums)
        self._mins.frombytes(frame.mins or frame.sums)
        self._maxs.frombytes(frame.maxs or frame.sums)
        for row, values, counts in frame.distributions:
            self._distributions[start + row] = (values, counts)

    def _index(self) -> dict[int, list[int]]:
        """Series → its rows. Brought up to date by those who read: bulk that nobody looks at before it is in files costs nothing."""
        rows, times = self._rows, self._times
        for row, series in enumerate(self._ids[self._indexed :], self._indexed):
            known = rows.get(series)
            if known is None:
                rows[series] = [row]
            else:
                if times[row] < times[known[-1]]:
                    self._unordered.add(series)
                known.append(row)
        self._indexed = len(self._ids)
        return rows

    def points(self, series: int, unit: str, start_ms: int, end_ms: int, *, distribution: bool = True) -> list[Point]:
        """Of [start, end). `distribution`: each datum, in the order of arrival; else those of one time may be one point."""
        times, rows = self._times, self._index().get(series, ())
        if not distribution and (folded := self._fold(series, rows)) is not None:
            return [
                Point(time_ms, count, total, low, high, unit, (), (), False)
                for time_ms, (count, total, low, high) in folded.by_time.items()
                if start_ms <= time_ms < end_ms
            ]
        if series in self._unordered:
            return [self._point(row, unit) for row in rows if start_ms <= times[row] < end_ms]
        # Nearly all: then a window costs what is in it, not what has come since its chunk began.
        low, high = (bisect_left(rows, bound, key=times.__getitem__) for bound in (start_ms, end_ms))
        return [self._point(row, unit) for row in rows[low:high]]

    def _fold(self, series: int, rows: Sequence[int]) -> _Folded | None:
        """Looks at each row once. None when it is not worth it."""
        if len(rows) < FOLD_FROM:
            return None
        folded = self._folded.setdefault(series, _Folded())
        if len(rows) < folded.again:
            return None
        by_time = folded.by_time
        times, counts, sums, mins, maxs = self._times, self._counts, self._sums, self._mins, self._maxs
        for row in rows[folded.seen :] if folded.seen else rows:
            point = by_time.get(times[row])
            if point is None:
                by_time[times[row]] = [counts[row], sums[row], mins[row], maxs[row]]
            else:
                point[0] += counts[row]
                point[1] += sums[row]
                point[2] = min(point[2], mins[row])
                point[3] = max(point[3], maxs[row])
        folded.seen = len(rows)
        if len(by_time) * FOLD_TO <= folded.seen:
            return folded
        folded.by_time, folded.seen, folded.again = {}, 0, 2 * len(rows)
        return None

    def last_ms(self, series: int) -> int | None:
        """Of its newest datum; None without data. Looks at each row once."""
        rows = self._index().get(series)
        if rows is None:
            return None
        seen, newest = self._newest.get(series, (0, self._times[rows[0]]))
        if seen < len(rows):
            newest = max(newest, *(self._times[row] for row in rows[seen:]))
            self._newest[series] = (len(rows), newest)
        return newest

    def _point(self, row: int, unit: str) -> Point:
        low, high, count = self._mins[row], self._maxs[row], self._counts[row]
        found = self._distributions.get(row)
        exact = found is not None or low == high
        values, counts = found or (((low,), (count,)) if exact else ((), ()))
        return Point(self._times[row], count, self._sums[row], low, high, unit, values, counts, exact)
