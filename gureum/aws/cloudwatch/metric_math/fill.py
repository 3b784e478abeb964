"""FILL: values for the periods in which a series has none.

a number, a scalar expression, another series    that value
REPEAT                                           the last real value before; nothing before the first
LINEAR                                           on the line between the real values on both sides; nothing outside them
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from gureum.aws.cloudwatch.metric_math.parser import MathError
from gureum.aws.cloudwatch.metric_math.values import TimeSeries, Value

Grid = Callable[[int], range]


def fill(value: Value, filler: Value | str, grid: Grid) -> Value:
    if isinstance(value, list):
        return [_fill(one, filler, grid) for one in value]
    if isinstance(value, TimeSeries):
        return _fill(value, filler, grid)
    raise MathError("FILL takes a time series or an array of time series.")


def _fill(series: TimeSeries, filler: Value | str, grid: Grid) -> TimeSeries:
    if isinstance(filler, list):
        raise MathError("FILL cannot fill with an array of time series.")
    at = _filler(series, filler)
    points = dict(series.points)
    for time in grid(series.period_ms):
        if time not in points and (value := at(time)) is not None:
            points[time] = value
    return series.with_points(dict(sorted(points.items())))


def _filler(series: TimeSeries, filler: float | TimeSeries | str) -> Callable[[int], float | None]:
    if isinstance(filler, float):
        return lambda time: filler
    if isinstance(filler, TimeSeries):
        return filler.points.get
    times = sorted(series.points)
    return lambda time: _between(series, times, time, linear=filler == "LINEAR")


def _between(series: TimeSeries, times: list[int], time: int, *, linear: bool) -> float | None:
    place = bisect_left(times, time)
    if place == 0 or (linear and place == len(times)):
        return None
    before = times[place - 1]
    if not linear:
        return series.points[before]
    after = times[place]
    low, high = series.points[before], series.points[after]
    return low + (high - low) * (time - before) / (after - before)
