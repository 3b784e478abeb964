"""Statistics of a bucket of values: Sum … Maximum, percentiles, trimmed and winsorized means, their counts and sums, percentile ranks.

AWS: CloudWatch User Guide, "CloudWatch statistics definitions". Values are sorted with their counts; a percentile is the value at the
nearest rank ("p99 is the maximum value of the remaining 99 %"), and a trimmed statistic keeps the whole ranks between its two:

    values 1..10, TM(20%:80%):  ranks 3..8 are kept       absolute bounds: lower exclusive, upper inclusive

Pure. A statistic that has no answer (nothing kept, no distribution, negative values) is None: that period has no data point.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import msgspec

from gureum.ports.telemetry import Bucket

SIMPLE: dict[str, Callable[[Bucket], float | None]] = {
    "SampleCount": lambda bucket: bucket.count,
    "Average": lambda bucket: bucket.sum / bucket.count if bucket.count else None,
    "Sum": lambda bucket: bucket.sum,
    "Minimum": lambda bucket: bucket.min,
    "Maximum": lambda bucket: bucket.max,
}
Family = Literal["p", "tm", "wm", "tc", "ts", "pr"]
_NUMBER = r"\d{1,20}(?:\.\d{1,10})?"
_SHORT = re.compile(rf"(p|tm|wm|tc|ts)({_NUMBER})", re.ASCII)
_RANGE = re.compile(rf"(TM|WM|TC|TS|PR)\(({_NUMBER}%?)?:({_NUMBER}%?)?\)", re.ASCII)
_ROUNDING = 1e-9


class Extended(msgspec.Struct, frozen=True):
    """A statistic that needs the values. `low`, `high`: percent or absolute; None: open."""

    family: Family
    low: float | None
    high: float | None
    percent: bool


class Statistic(msgspec.Struct, frozen=True):
    """`name` as it was given; `extended` None for the five simple ones."""

    name: str
    extended: Extended | None = None

    @property
    def percentile(self) -> float | None:
        """0..100 when it is a percentile."""
        return self.extended.high if self.extended is not None and self.extended.family == "p" else None


@lru_cache(maxsize=1024)
def parse_statistic(name: str) -> Statistic | None:
    """None for what is no statistic."""
    if name in SIMPLE:
        return Statistic(name)
    extended = _parse_extended(name)
    return Statistic(name, extended) if extended is not None else None


def _parse_extended(name: str) -> Extended | None:
    if name == "IQM":
        return Extended("tm", 25.0, 75.0, percent=True)
    short = _SHORT.fullmatch(name)
    if short is not None:
        high = float(short.group(2))
        return Extended(short.group(1), None, high, percent=True) if high <= 100 else None  # type: ignore[arg-type]
    ranged = _RANGE.fullmatch(name)
    return _parse_range(*ranged.groups()) if ranged is not None else None


def _parse_range(family: str, low: str | None, high: str | None) -> Extended | None:
    given = [bound for bound in (low, high) if bound is not None]
    if not given or len({bound.endswith("%") for bound in given}) > 1:
        return None
    percent = given[0].endswith("%")
    bounds = [None if bound is None else float(bound.rstrip("%")) for bound in (low, high)]
    if percent and (family == "PR" or any(bound is not None and bound > 100 for bound in bounds)):
        return None
    if bounds[0] is not None and bounds[1] is not None and bounds[0] >= bounds[1]:
        return None
    return Extended(family.lower(), bounds[0], bounds[1], percent)  # type: ignore[arg-type]


def compute(statistic: Statistic, bucket: Bucket) -> float | None:
    """The statistic of a bucket; `bucket.values` must be there for an extended one."""
    if statistic.extended is None:
        return SIMPLE[statistic.name](bucket)
    if not bucket.values or bucket.min < 0:
        return None
    weighted = sorted(zip(bucket.values, bucket.counts or (1.0,) * len(bucket.values), strict=True))
    return _compute_extended(statistic.extended, [pair for pair in weighted if pair[1] > 0])


def merge(buckets: list[Bucket], start_ms: int) -> Bucket:
    """One bucket of several; at least one is given. It has values only if all have."""
    whole = all(bucket.values for bucket in buckets)
    units = {bucket.unit for bucket in buckets}
    return Bucket(
        start_ms,
        sum(bucket.count for bucket in buckets),
        sum(bucket.sum for bucket in buckets),
        min(bucket.min for bucket in buckets),
        max(bucket.max for bucket in buckets),
        tuple(value for bucket in buckets for value in bucket.values) if whole else (),
        tuple(count for bucket in buckets for count in (bucket.counts or (1.0,) * len(bucket.values))) if whole else (),
        units.pop() if len(units) == 1 else "None",
    )


Weighted = list[tuple[float, float]]


def _compute_extended(what: Extended, weighted: Weighted) -> float | None:
    total = sum(count for _, count in weighted)
    if not total:
        return None
    if what.family == "p":
        assert what.high is not None
        return _at_rank(weighted, _upper_rank(what.high, total))
    kept = _kept(what, weighted, total)
    count = sum(weight for _, weight in kept)
    if what.family == "tc":
        return count
    if what.family == "pr":
        return 100.0 * count / total
    if what.family == "wm":
        return _winsorized(what, weighted, kept, total)
    amount = sum(value * weight for value, weight in kept)
    if what.family == "ts":
        return amount
    return amount / count if count else None


def _kept(what: Extended, weighted: Weighted, total: float) -> Weighted:
    if not what.percent:
        low = -math.inf if what.low is None else what.low
        high = math.inf if what.high is None else what.high
        return [(value, count) for value, count in weighted if low < value <= high]
    first, last = _ranks(what, total)
    kept, before = [], 0.0
    for value, count in weighted:
        weight = min(before + count, last) - max(before, first)
        if weight > 0:
            kept.append((value, weight))
        before += count
    return kept


def _ranks(what: Extended, total: float) -> tuple[float, float]:
    """The ranks (first, last] that are kept."""
    first = 0.0 if what.low is None else float(math.floor(what.low * total / 100 + _ROUNDING))
    return first, total if what.high is None else _upper_rank(what.high, total)


def _upper_rank(percent: float, total: float) -> float:
    return min(total, float(math.ceil(percent * total / 100 - _ROUNDING)))


def _at_rank(weighted: Weighted, rank: float) -> float:
    """The value at a rank; rank 0 is the smallest."""
    before = 0.0
    for value, count in weighted:
        before += count
        if rank <= before + _ROUNDING:
            return value
    return weighted[-1][0]


def _winsorized(what: Extended, weighted: Weighted, kept: Weighted, total: float) -> float | None:
    if not what.percent:
        low = -math.inf if what.low is None else what.low
        high = math.inf if what.high is None else what.high
        return sum(min(max(value, low), high) * count for value, count in weighted) / total
    if not kept:
        return None
    first, last = _ranks(what, total)
    amount = sum(value * weight for value, weight in kept)
    return (amount + kept[0][0] * first + kept[-1][0] * (total - last)) / total
