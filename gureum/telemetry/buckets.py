"""Aggregation of what was measured into buckets of a period: pure.

Data of different units are never put together (AWS: CloudWatch concepts, Units: "aggregated separately").
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gureum.ports.telemetry import Bucket, Datum


class Point(msgspec.Struct, frozen=True, gc=False):
    """A datum, or many that were rolled up, without its series. `exact`: `values` with `counts` are all there was."""

    time_ms: int
    count: float
    sum: float
    min: float
    max: float
    unit: str
    values: tuple[float, ...]
    counts: tuple[float, ...]
    exact: bool


class _Growing:
    __slots__ = ("count", "exact", "max", "min", "sum", "weights")

    def __init__(self) -> None:
        self.count = self.sum = 0.0
        self.min, self.max = float("inf"), float("-inf")
        self.exact = True
        self.weights: dict[float, float] = {}

    def add(self, point: Point, distribution: bool) -> None:
        self.count += point.count
        self.sum += point.sum
        self.min = min(self.min, point.min)
        self.max = max(self.max, point.max)
        if not point.exact:
            self.exact = False
        elif distribution and self.exact:
            for value, count in zip(point.values, point.counts, strict=True):
                self.weights[value] = self.weights.get(value, 0.0) + count


def point_of(datum: Datum) -> Point:
    """A datum of one value has a distribution also when it does not repeat the value."""
    values, counts, exact = datum.values, datum.counts, bool(datum.values)
    if not exact and datum.min == datum.max and datum.count > 0:
        # AWS: "Percentiles": a statistic set counts as values when its minimum and maximum are the same.
        values, counts, exact = (datum.min,), (datum.count,), True
    return Point(datum.time_ms, datum.count, datum.sum, datum.min, datum.max, datum.unit, values, counts, exact)


def collect(points: Iterable[Point], period_ms: int, *, distribution: bool) -> list[Bucket]:
    """Buckets by start and unit, sorted by both."""
    growing: dict[tuple[int, str], _Growing] = {}
    for point in points:
        key = (point.time_ms - point.time_ms % period_ms, point.unit)
        one = growing.get(key)
        if one is None:
            one = growing[key] = _Growing()
        one.add(point, distribution)
    return [_bucket(key, growing[key]) for key in sorted(growing)]


def _bucket(key: tuple[int, str], one: _Growing) -> Bucket:
    ordered = sorted(one.weights.items()) if one.exact else []
    return Bucket(
        start_ms=key[0],
        count=one.count,
        sum=one.sum,
        min=one.min,
        max=one.max,
        values=tuple(value for value, _ in ordered),
        counts=tuple(count for _, count in ordered),
        unit=key[1],
    )
