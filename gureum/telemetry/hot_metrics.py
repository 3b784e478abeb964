"""Metrics in memory: columns, a row per datum, and the rows of each series. A chunk is what one generation of the log holds."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from gureum.telemetry.buckets import Point
from gureum.telemetry.frames import MetricsFrame, ids_of

Distribution = tuple[tuple[float, ...], tuple[float, ...]]


class MetricsChunk:
    """`generation`: of the log. Rows are only ever added."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._times = array("q")
        self._counts, self._sums, self._mins, self._maxs = array("d"), array("d"), array("d"), array("d")
        self._distributions: dict[int, Distribution] = {}
        self._rows: dict[int, list[int]] = {}
        self._newest: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._times)

    @property
    def series(self) -> Sequence[int]:
        """Ids of the series that have rows."""
        return list(self._rows)

    def extend(self, frame: MetricsFrame) -> None:
        start, rows = len(self._times), self._rows
        for row, series in enumerate(ids_of(frame), start):
            known = rows.get(series)
            if known is None:
                rows[series] = [row]
            else:
                known.append(row)
        self._times.frombytes(frame.times)
        self._counts.frombytes(frame.counts)
        self._sums.frombytes(frame.sums)
        self._mins.frombytes(frame.mins)
        self._maxs.frombytes(frame.maxs)
        for row, values, counts in frame.distributions:
            self._distributions[start + row] = (values, counts)

    def points(self, series: int, unit: str, start_ms: int, end_ms: int) -> list[Point]:
        """Of [start, end), in the order of arrival."""
        times = self._times
        return [self._point(row, unit) for row in self._rows.get(series, ()) if start_ms <= times[row] < end_ms]

    def last_ms(self, series: int) -> int | None:
        """Of its newest datum; None without data. Looks at each row once."""
        rows = self._rows.get(series)
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
