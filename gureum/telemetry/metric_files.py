"""Parquet files of metrics, in the worker.

<folder>/metrics/<resolution>-<name>.parquet      sorted by series, then time
    series       UINTEGER   number of the series and unit in this store
    scope, namespace, name, dimensions (a JSON object), unit      VARCHAR
    time_ms      BIGINT     the start of what the row holds: a second, or a minute, 5 minutes, an hour where rolled up
    count, sum, min, max    DOUBLE
    values, counts          DOUBLE[]   NULL: not known, except when min = max
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from gureum.telemetry.catalog import FileInfo
from gureum.telemetry.frames import MetricsFrame, decode_metrics
from gureum.telemetry.jobs import MergeMetrics, PointRow, Points, ReadMetrics, Sealed, SealMetrics
from gureum.telemetry.parquet import finish, quoted
from gureum.telemetry.wal import path_of, read_frames

ROW_GROUP = 32_768
LABELS = "series, scope, namespace, name, dimensions, unit"
COLUMNS = LABELS + ", time_ms, count, sum, min, max, values, counts"
_ALL_VALUES = "CASE WHEN values IS NOT NULL THEN values WHEN min = max THEN [min] END"
_ALL_COUNTS = "CASE WHEN values IS NOT NULL THEN counts WHEN min = max THEN [count] END"
_MERGED = f"""
    count(*) = count({_ALL_VALUES}) AS exact,
    CASE WHEN exact THEN flatten(list({_ALL_VALUES})) END AS values, CASE WHEN exact THEN flatten(list({_ALL_COUNTS})) END AS counts
"""


class MetricFiles:
    def __init__(self, cursor: duckdb.DuckDBPyConnection, folder: Path) -> None:
        self._sql = cursor
        self._wal = folder / "wal-metrics"
        self._folder = folder / "metrics"

    def seal(self, job: SealMetrics) -> Sealed:
        frames = [decode_metrics(one) for one in read_frames(path_of(self._wal, job.generation))]
        data = _columns(frames)
        if not len(data["series"]):
            return Sealed([])
        labels = _labels(job)
        distributions = _distributions(frames)
        self._sql.register("data", data)
        self._sql.register("labels", labels)
        self._sql.register("distributions", distributions)
        try:
            source = f"""
                SELECT {COLUMNS} FROM data JOIN labels USING (series)
                LEFT JOIN (SELECT row, list(value) AS values, list(weight) AS counts FROM distributions GROUP BY row) USING (row)
            """
            return self._write(source, f"{job.generation:08}", 1)
        finally:
            for view in ("data", "labels", "distributions"):
                self._sql.unregister(view)

    def merge(self, job: MergeMetrics) -> Sealed:
        source = f"SELECT {COLUMNS} FROM {self._files(job.files)}"
        if job.resolution_s > 1:
            step = job.resolution_s * 1000
            source = f"""
                SELECT {LABELS}, start AS time_ms, count, sum, min, max, values, counts FROM (
                    SELECT {LABELS}, time_ms - time_ms % {step} AS start, sum(count) AS count, sum(sum) AS sum, min(min) AS min,
                        max(max) AS max, {_MERGED}
                    FROM {self._files(job.files)} GROUP BY ALL)
            """
        return self._write(source, job.name, job.resolution_s)

    def read(self, job: ReadMetrics) -> Points:
        wanted = f"""
            FROM {self._files(job.files)}
            WHERE series IN ({", ".join(str(int(one)) for one in job.series)}) AND time_ms >= ? AND time_ms < ?
        """
        span = [job.start_ms, job.end_ms]
        if job.period_ms:
            step = int(job.period_ms)
            found = self._sql.execute(
                f"SELECT series, time_ms - time_ms % {step}, sum(count), sum(sum), min(min), max(max) {wanted} GROUP BY ALL",
                span,
            ).fetchall()
            return Points([(*row, [], [], False) for row in found])
        found = self._sql.execute(
            f"SELECT series, time_ms, count, sum, min, max, {_ALL_VALUES}, {_ALL_COUNTS} {wanted}", span
        ).fetchall()
        return Points([_point(row) for row in found])

    def _write(self, source: str, name: str, resolution_s: int) -> Sealed:
        path = self._folder / f"{resolution_s}-{name}.parquet"
        codec = "snappy" if resolution_s == 1 else "zstd"
        with finish(path) as temporary:
            self._sql.execute(
                f"COPY ({source} ORDER BY series, time_ms) TO {quoted(temporary)} "
                f"(FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE {ROW_GROUP})"
            )
            last = self._sql.execute(
                f"SELECT series, max(time_ms), min(time_ms), count(*) FROM read_parquet({quoted(temporary)}) GROUP BY series"
            ).fetchall()
        info = FileInfo(
            name=path.name,
            signal="metrics",
            min_ms=min(row[2] for row in last),
            max_ms=max(row[1] for row in last),
            rows=sum(row[3] for row in last),
            size_bytes=path.stat().st_size,
            resolution_s=resolution_s,
        )
        return Sealed([info], {row[0]: row[1] for row in last})

    def _files(self, names: list[str]) -> str:
        return f"read_parquet([{', '.join(quoted(self._folder / name) for name in names)}])"


def _columns(frames: list[MetricsFrame]) -> dict[str, Any]:
    def joined(field: str, dtype: str) -> Any:
        return np.frombuffer(b"".join(getattr(one, field) or one.sums for one in frames), dtype)

    series = joined("ids", "<u4")
    counts = [np.frombuffer(one.counts, "<f8") if one.counts else np.ones(len(one.ids) // 4) for one in frames]
    return {
        "series": series,
        "row": np.arange(len(series), dtype="i8"),
        "time_ms": joined("times", "<i8"),
        "count": np.concatenate(counts) if counts else np.ones(0),
        "sum": joined("sums", "<f8"),
        "min": joined("mins", "<f8"),
        "max": joined("maxs", "<f8"),
    }


def _distributions(frames: list[MetricsFrame]) -> dict[str, Any]:
    rows: list[int] = []
    values: list[float] = []
    weights: list[float] = []
    start = 0
    for frame in frames:
        for row, one_values, one_counts in frame.distributions:
            rows += [start + row] * len(one_values)
            values += one_values
            weights += one_counts
        start += len(frame.ids) // 4
    return {
        "row": np.array(rows, "i8"),
        "value": np.array(values, "f8"),
        "weight": np.array(weights, "f8"),
    }


def _labels(job: SealMetrics) -> dict[str, Any]:
    def texts(values: list[str]) -> Any:
        return np.array(values, dtype=object)

    return {
        "series": np.array([one.id for one in job.series], "u4"),
        "scope": texts([one.scope for one in job.series]),
        "namespace": texts([one.namespace for one in job.series]),
        "name": texts([one.name for one in job.series]),
        "dimensions": texts([json.dumps(dict(one.dimensions), ensure_ascii=False) for one in job.series]),
        "unit": texts([one.unit for one in job.series]),
    }


def _point(row: tuple[Any, ...]) -> PointRow:
    series, time_ms, count, total, low, high, values, counts = row
    return (series, time_ms, count, total, low, high, values or [], counts or [], values is not None)
