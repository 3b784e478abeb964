"""Metrics on disk: fills `ports.telemetry.Metrics` over the log, chunks in memory and Parquet files.

Recent data stay in memory also when they are in files, so that alarms and recent reads ask nobody: `_sealed` keeps at least the newest `KEEP_ROWS`,
in whole chunks. Per series it is known up to which time there may be data only in files (`_floor`); a read from later on needs no worker.
A *number* is a series of one unit; what is stored and aggregated is always of one number.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import chain, islice

from gureum.ports.telemetry import ALL_SERIES, Bucket, Datum, Series, SeriesQuery, TelemetryBroken
from gureum.telemetry.archive import Archive
from gureum.telemetry.buckets import Point, collect, stored_ms, weights_of
from gureum.telemetry.catalog import METRICS, SeriesRow
from gureum.telemetry.frames import MetricsFrame, decode_metrics, encode
from gureum.telemetry.generations import Generations, Limits
from gureum.telemetry.hot_metrics import MetricsChunk
from gureum.telemetry.jobs import Points, ReadMetrics, Sealed, SealMetrics
from gureum.telemetry.metric_upkeep import tend_metrics
from gureum.telemetry.series_index import SeriesIndex
from gureum.telemetry.wal import decoded, open_wal

KEEP_ROWS = 500_000
NEVER = -(2**62)


class DiskMetrics:
    """Made by `store.open_telemetry`."""

    def __init__(self, archive: Archive, limits: Limits) -> None:
        """Blocking: reads the log. TelemetryFull, TelemetryBroken."""
        self._archive = archive
        self._rows: dict[int, SeriesRow] = {one.id: one for one in archive.catalog.series}
        self._numbers: dict[str, dict[Series, int]] = {}
        self._scopes: dict[str, dict[Series, list[int]]] = {}
        self._indexes: dict[str, SeriesIndex] = {}
        self._floor = {one.id: one.last_ms for one in archive.catalog.series}
        self._undeclared: dict[int, SeriesRow] = {}
        self._sealed: list[MetricsChunk] = []
        for row in archive.catalog.series:
            self._remember(row)
        self._next = max(self._rows, default=0) + 1
        folder = archive.folder / "wal-metrics"
        wal, left = open_wal(folder, archive.catalog.sealed("metrics"))
        chunks = [self._replayed(generation, frames) for generation, frames in left]
        chunks = chunks or [MetricsChunk(wal.generation)]
        self._generations = Generations(folder, wal, chunks, MetricsChunk, self._seal, self._tend, limits)

    async def write(self, datums: Sequence[Datum]) -> None:
        if not datums:
            return
        frame = self._frame(datums)
        await self._generations.commit(encode(frame), lambda: self._show(frame))

    async def buckets(
        self, series: Series, start_ms: int, end_ms: int, period_ms: int, *, unit: str = "", distribution: bool = False
    ) -> list[Bucket]:
        numbers = self._numbers_of(series, unit)
        if not numbers:
            return []
        if all(self._floor.get(one, NEVER) < start_ms for one in numbers):
            # A quiet cloud has hundreds of small chunks of the last days, an alarm looks at minutes.
            sealed = [one for one in self._sealed if one.newest_ms >= start_ms]
            chunks: Sequence[MetricsChunk] = (*sealed, *self._generations.chunks)
            points = chain.from_iterable(self._hot(chunks, numbers, start_ms, end_ms, distribution))
            return collect(points, period_ms, distribution=distribution)
        hot: list[list[Point]] = []

        def job() -> ReadMetrics | None:
            # In one turn of the loop: what is in memory only, and which files hold the rest.
            hot[:] = self._hot(self._generations.chunks, numbers, start_ms, end_ms, distribution)
            files = self._files(start_ms, end_ms)
            return ReadMetrics(files, numbers, start_ms, end_ms, 0 if distribution else period_ms) if files else None

        answer = await self._archive.ask(job)
        if answer is not None and not isinstance(answer, Points):
            raise TelemetryBroken("the worker gave another answer than was asked for")
        cold = [self._cold(row) for row in answer.points] if answer is not None else []
        return collect(chain(cold, *hot), period_ms, distribution=distribution)

    async def series(self, scope: str, query: SeriesQuery = ALL_SERIES) -> list[Series]:
        index, numbers = self._indexes.get(scope), self._scopes.get(scope, {})
        if index is None:
            return []
        active = (one for one in index.find(query) if self._has_since(numbers[one], query.since_ms))
        return list(islice(active, query.limit or None))

    async def flush(self) -> None:
        """All into files, then the upkeep of files: for tests and tools; otherwise it happens by itself."""
        await self._generations.seal_now()
        await tend_metrics(self._archive)

    async def close(self) -> None:
        await self._generations.close()

    def _frame(self, datums: Sequence[Datum]) -> MetricsFrame:
        # One comprehension per column is the fastest way.
        ids = self._ids(datums)
        values = [one.values for one in datums]
        sums = [one.sum for one in datums]
        lows = [one.min for one in datums]
        highs = [one.max for one in datums]
        counts = [one.count for one in datums]
        single = lows == sums == highs and counts.count(1.0) == len(counts)
        new = [self._undeclared[one] for one in set(ids) & self._undeclared.keys()] if self._undeclared else []
        return MetricsFrame(
            series=new,
            ids=array("I", ids).tobytes(),
            times=array("q", _stored_times(datums)).tobytes(),
            counts=b"" if single else array("d", counts).tobytes(),
            sums=array("d", sums).tobytes(),
            mins=b"" if single else array("d", lows).tobytes(),
            maxs=b"" if single else array("d", highs).tobytes(),
            distributions=_distributions(datums, sums, single) if any(values) else [],
        )

    def _ids(self, datums: Sequence[Datum]) -> list[int]:
        units = {one.unit for one in datums}
        if len(units) == 1:
            known = self._numbers.setdefault(units.pop(), {})
            try:
                return [known[one.series] for one in datums]
            except KeyError:
                pass
        return [self._number(one.series, one.unit) for one in datums]

    def _number(self, series: Series, unit: str) -> int:
        found = self._numbers.setdefault(unit, {}).get(series)
        if found is None:
            found, self._next = self._next, self._next + 1
            row = SeriesRow(found, series.scope, series.namespace, series.name, series.dimensions, unit)
            self._undeclared[found] = row
            self._remember(row)
        return found

    def _remember(self, row: SeriesRow) -> None:
        series = Series(row.scope, row.namespace, row.name, row.dimensions)
        self._rows[row.id] = row
        self._numbers.setdefault(row.unit, {})[series] = row.id
        numbers = self._scopes.setdefault(row.scope, {}).setdefault(series, [])
        if not numbers:
            self._indexes.setdefault(row.scope, SeriesIndex()).add(series)
        numbers.append(row.id)

    def _show(self, frame: MetricsFrame) -> None:
        self._generations.active.extend(frame)
        for row in frame.series:
            self._undeclared.pop(row.id, None)

    def _replayed(self, generation: int, frames: Sequence[bytes]) -> MetricsChunk:
        chunk = MetricsChunk(generation)
        for frame in decoded(self._archive.folder / "wal-metrics", generation, frames, decode_metrics):
            for row in frame.series:
                if row.id not in self._rows:
                    self._remember(row)
            chunk.extend(frame)
        self._next = max(self._rows, default=0) + 1
        return chunk

    def _numbers_of(self, series: Series, unit: str) -> list[int]:
        found = self._scopes.get(series.scope, {}).get(series, [])
        return [one for one in found if unit in ("", self._rows[one].unit)]

    def _hot(
        self, chunks: Sequence[MetricsChunk], numbers: Sequence[int], start_ms: int, end_ms: int, distribution: bool
    ) -> list[list[Point]]:
        return [
            chunk.points(one, self._rows[one].unit, start_ms, end_ms, distribution=distribution)
            for one in numbers
            for chunk in chunks
        ]

    def _cold(self, row: tuple[int, int, float, float, float, float, list[float], list[float], bool]) -> Point:
        number, time_ms, count, total, low, high, values, counts, exact = row
        return Point(time_ms, count, total, low, high, self._rows[number].unit, tuple(values), tuple(counts), exact)

    def _files(self, start_ms: int, end_ms: int) -> list[str]:
        return sorted(
            one.name
            for one in self._archive.catalog.files_of(METRICS)
            if one.max_ms >= start_ms and one.min_ms < end_ms
        )

    def _has_since(self, numbers: Sequence[int], since_ms: int) -> bool:
        """Whether one of them has data at or after this time. What is in files stands in the rows of the catalog."""
        if any((self._rows[one].last_ms or NEVER) >= since_ms for one in numbers):
            return True
        chunks = reversed(self._generations.chunks)
        return any((chunk.last_ms(one) or NEVER) >= since_ms for chunk in chunks for one in numbers)

    async def _seal(self, chunk: MetricsChunk, then: Callable[[], None]) -> None:
        numbers = chunk.series
        result = await self._archive.worker.do(SealMetrics(chunk.generation, [self._rows[one] for one in numbers]))
        if not isinstance(result, Sealed):
            raise TelemetryBroken("the worker gave another answer than was asked for")
        rows = [self._with_last(number, result.last_ms[number]) for number in numbers]

        def show() -> None:
            then()
            self._rows.update((one.id, one) for one in rows)
            chunk.seal(result.last_ms)
            self._sealed.append(chunk)
            while sum(len(one) for one in self._sealed[1:]) >= KEEP_ROWS:
                self._forget(self._sealed.pop(0))

        await self._archive.replace(result.files, series=rows, meta={"sealed metrics": chunk.generation}, then=show)

    async def _tend(self, busy: Callable[[], bool]) -> None:
        await tend_metrics(self._archive, busy)

    def _with_last(self, number: int, last_ms: int) -> SeriesRow:
        row = self._rows[number]
        return SeriesRow(
            row.id, row.scope, row.namespace, row.name, row.dimensions, row.unit, max(row.last_ms or NEVER, last_ms)
        )

    def _forget(self, chunk: MetricsChunk) -> None:
        for number, last_ms in chunk.sealed_ms.items():
            self._floor[number] = max(self._floor.get(number, NEVER), last_ms)


def _stored_times(datums: Sequence[Datum]) -> list[int]:
    """`buckets.stored_ms` of each. A batch has few different times, and most of one resolution."""
    times = [one.time_ms for one in datums]
    resolutions = {one.resolution_s for one in datums}
    if len(resolutions) > 1:
        return [stored_ms(one) for one in datums]
    step_ms = 1000 * resolutions.pop()
    stored = {time_ms: time_ms - time_ms % step_ms for time_ms in set(times)}
    return [stored[time_ms] for time_ms in times]


def _distributions(
    datums: Sequence[Datum], sums: Sequence[float], single: bool
) -> list[tuple[int, tuple[float, ...], tuple[float, ...]]]:
    """Not of a single value: that one is known by its minimum, which is its maximum."""
    return [
        (row, one.values, weights_of(one))
        for row, one in enumerate(datums)
        if one.values and not (single and one.values == (sums[row],) and weights_of(one) == (1.0,))
    ]
