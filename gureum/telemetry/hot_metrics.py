"""Metrics in memory: columns, a row per datum, and the rows of each series. A chunk is what one generation of the log holds."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from gureum.telemetry.buckets import Point
from gureum.telemetry.frames import MetricsFrame

Distribution = tuple[tuple[float, ...], tuple[float, ...]]


class MetricsChunk:
    """`generation`: of the log. Rows are only ever added. `sealed_ms`: series → its newest datum, once the chunk is in files."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._ids, self._times = array("I"), array("q")
        self._indexed = 0
        self.sealed_ms: dict[int, int] = {}
        self._counts, self._sums, self._mins, self._maxs = array("d"), array("d"), array("d"), array("d")
        self._distributions: dict[int, Distribution] = {}
        self._rows: dict[int, list[int]] = {}
        self._newest: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._times)

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
        rows = self._rows
        for row, series in enumerate(self._ids[self._indexed :], self._indexed):
            known = rows.get(series)
            if known is None:
                rows[series] = [row]
            else:
                known.append(row)
        self._indexed = len(self._ids)
        return rows

    def points(self, series: int, unit: str, start_ms: int, end_ms: int) -> list[Point]:
        """Of [start, end), in the order of arrival."""
        times = self._times
        return [self._point(row, unit) for row in self._index().get(series, ()) if start_ms <= times[row] < end_ms]

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
