"""Reading one metric: the buckets of a window from the store, and a statistic of each.

The store's buckets are aligned since 1970, a query's to its start; where the two differ the store is asked in smaller steps, which are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gureum.aws.cloudwatch.statistics import merge
from gureum.aws.cloudwatch.windows import Window
from gureum.ports.telemetry import Bucket, Metrics, Series

UNITS = (
    "Megabits", "Terabits", "Gigabits", "Count", "Bytes", "Gigabytes", "Gigabytes/Second",
    "Kilobytes", "Kilobits/Second", "Terabytes", "Terabits/Second", "Bytes/Second", "Percent", "Megabytes",
    "Megabits/Second", "Milliseconds", "Microseconds", "Kilobytes/Second", "Gigabits/Second", "Megabytes/Second", "Bits",
    "Bits/Second", "Count/Second", "Seconds", "Kilobits", "Terabytes/Second", "None",
)  # fmt: skip
"""The order in which AWS's errors list the units; its answers to queries without a unit prefer what stands first in it."""


def series_of(scope: str, namespace: str, name: str, dimensions: Sequence[dict[str, Any]]) -> Series:
    """A metric is its namespace, its name and exactly these dimensions."""
    return Series(scope, namespace, name, tuple(sorted((one["Name"], one["Value"]) for one in dimensions)))


async def read_buckets(
    metrics: Metrics, series: Series, window: Window, now_ms: int, *, unit: str = "", distribution: bool = False
) -> list[Bucket]:
    """The window's non-empty buckets, oldest first, of each unit its own; none from before data of its period is kept."""
    start_ms = window.available_from(now_ms)
    if start_ms >= window.end_ms:
        return []
    step_ms = window.step_ms
    found = await metrics.buckets(series, start_ms, window.end_ms, step_ms, unit=unit, distribution=distribution)
    if step_ms == window.period_ms:
        return found
    groups: dict[tuple[int, str], list[Bucket]] = {}
    for bucket in found:
        place = (bucket.start_ms - window.start_ms) // window.period_ms
        groups.setdefault((place, bucket.unit), []).append(bucket)
    return [merge(group, window.start_ms + place * window.period_ms) for (place, _), group in sorted(groups.items())]


def of_one_unit(buckets: list[Bucket]) -> tuple[list[Bucket], tuple[str, ...]]:
    """For who wants one value per time and names no unit: the buckets of the unit that AWS prefers, and all units that there are. What is measured
    in different units is not added up."""
    units = {bucket.unit for bucket in buckets}
    if len(units) < 2:
        return buckets, tuple(units)
    chosen = min(units, key=lambda unit: (UNITS.index(unit) if unit in UNITS else len(UNITS), unit))
    return [bucket for bucket in buckets if bucket.unit == chosen], tuple(sorted(units))
