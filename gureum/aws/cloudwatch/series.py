"""Reading one metric: the buckets of a window from the store, and a statistic of each.

The store's buckets are aligned since 1970, a query's to its start; where the two differ the store is asked in smaller steps, which are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gureum.aws.cloudwatch.statistics import merge
from gureum.aws.cloudwatch.windows import Window
from gureum.ports.telemetry import Bucket, Metrics, Series


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


def join_units(buckets: list[Bucket]) -> list[Bucket]:
    """One bucket per time, whatever the units: for who wants one value."""
    if len({bucket.start_ms for bucket in buckets}) == len(buckets):
        return buckets
    groups: dict[int, list[Bucket]] = {}
    for bucket in buckets:
        groups.setdefault(bucket.start_ms, []).append(bucket)
    return [merge(group, start_ms) for start_ms, group in groups.items()]
