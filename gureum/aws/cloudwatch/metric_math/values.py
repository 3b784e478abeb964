"""The values of metric math: scalars (S), time series (TS) and arrays of them (TS[]), and how operators join them.

    S op S                      a scalar
    S op TS, TS op S            each point
    TS op TS                    the points of both; a missing value counts as 0
    TS[] with S or TS           each series; TS[] with TS[]: one by one

A point whose result is no number (a division by zero, a logarithm of a negative) is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from gureum.aws.cloudwatch.metric_math.parser import MathError


class TimeSeries(msgspec.Struct, frozen=True):
    """`points`: Unix milliseconds → value, by time. `period_ms`: of the metric it came from. `metric`: it is one, and not computed. `usage`: it
    is one of AWS/Usage, and `quota` what it counts against, None for no limit."""

    points: dict[int, float]
    period_ms: int
    label: str = ""
    metric: bool = False
    usage: bool = False
    quota: float | None = None

    def with_points(self, points: dict[int, float]) -> TimeSeries:
        return TimeSeries(points, self.period_ms, self.label)


Value = float | TimeSeries | list[TimeSeries]
Operation = Callable[[float, float], float]


def _divide(left: float, right: float) -> float:
    return left / right if right else math.nan


def _power(left: float, right: float) -> float:
    try:
        result = left**right
    except (OverflowError, ZeroDivisionError):
        return math.nan
    return result if isinstance(result, float) else math.nan


OPERATORS: dict[str, Operation] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "^": _power,
    "==": lambda left, right: float(left == right),
    "!=": lambda left, right: float(left != right),
    "<": lambda left, right: float(left < right),
    "<=": lambda left, right: float(left <= right),
    ">": lambda left, right: float(left > right),
    ">=": lambda left, right: float(left >= right),
    "&&": lambda left, right: float(bool(left) and bool(right)),
    "||": lambda left, right: float(bool(left) or bool(right)),
}


def combine(operator: str, left: Value, right: Value) -> Value:
    """`left operator right`. MathError for arrays of unlike lengths."""
    apply = OPERATORS[operator]
    if isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            raise MathError(f"The arrays on both sides of '{operator}' have {len(left)} and {len(right)} time series.")
        return [_join(apply, one, other) for one, other in zip(left, right, strict=True)]
    if isinstance(left, list):
        return [_join(apply, one, right) for one in left]  # type: ignore[arg-type]
    if isinstance(right, list):
        return [_join(apply, left, one) for one in right]
    if isinstance(left, TimeSeries) or isinstance(right, TimeSeries):
        return _join(apply, left, right)
    return apply(left, right)


def _join(apply: Operation, left: float | TimeSeries, right: float | TimeSeries) -> TimeSeries:
    if isinstance(left, TimeSeries) and isinstance(right, TimeSeries):
        ours, theirs = left.points, right.points
        times = ours if ours.keys() == theirs.keys() else sorted(ours.keys() | theirs.keys())
        joined = {time: apply(ours.get(time, 0.0), theirs.get(time, 0.0)) for time in times}
        return TimeSeries(real(joined), max(left.period_ms, right.period_ms), left.label)
    if isinstance(left, TimeSeries):
        assert not isinstance(right, TimeSeries)
        return left.with_points(real({time: apply(value, right) for time, value in left.points.items()}))
    assert isinstance(right, TimeSeries)
    return right.with_points(real({time: apply(left, value) for time, value in right.points.items()}))


def real(points: dict[int, float]) -> dict[int, float]:
    """Without what is no finite number."""
    return {time: value for time, value in points.items() if math.isfinite(value)}
