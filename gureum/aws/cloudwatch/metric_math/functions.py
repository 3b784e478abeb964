"""The functions of metric math: the table of the documents, each as a function over values.

What takes each point (ABS), each series (RATE, RUNNING_SUM), folds a series to a number or an array to a series (AVG, SUM …), tells of an
array (METRIC_COUNT, SLICE …), or makes a series of nothing but time (HOUR, TIME_SERIES).
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gureum.aws.cloudwatch.metric_math.parser import MathError
from gureum.aws.cloudwatch.metric_math.values import TimeSeries, Value, real

Grid = Callable[[int], range]
Apply = Callable[[list[Value], Grid, int], Value]


class Entry(NamedTuple):
    """`arguments`: least and most."""

    apply: Apply
    arguments: tuple[int, int]


def sort(value: Value, by: str, order: str, limit: Value | None) -> list[TimeSeries]:
    """AWS: SORT(TS[], AVG|MIN|MAX|SUM, ASC|DESC[, limit]). Series without points come last."""
    if by not in ("AVG", "MIN", "MAX", "SUM") or order not in ("ASC", "DESC"):
        raise MathError("SORT takes AVG, MIN, MAX or SUM, and ASC or DESC.")
    fold = FOLDS[by]
    array = _array(value, "SORT")
    with_points = [one for one in array if one.points]
    empty = [one for one in array if not one.points]
    with_points.sort(key=lambda one: fold(list(one.points.values())), reverse=order == "DESC")
    ordered = [*with_points, *empty]
    return ordered if limit is None else ordered[: _whole(limit, "SORT")]


def if_(condition: Value, then: Value, otherwise: Value | None = None, *, period_ms: int) -> Value:
    """AWS: "Using IF expressions". Of a series each point is looked at: true and no value there is 0, false and no value is dropped."""
    for value in (condition, then, otherwise):
        if isinstance(value, list):
            raise MathError("IF takes numbers and time series, not arrays of time series.")
    if isinstance(condition, TimeSeries):
        points = {}
        for time, value in condition.points.items():
            chosen = _at(then, time, 0.0) if value else _at(otherwise, time, None)
            if chosen is not None:
                points[time] = chosen
        return condition.with_points(points)
    chosen_whole = then if condition else otherwise
    return TimeSeries({}, period_ms) if chosen_whole is None else chosen_whole


def _at(value: Value | None, time: int, missing: float | None) -> float | None:
    assert not isinstance(value, list)
    return value.points.get(time, missing) if isinstance(value, TimeSeries) else value


def _array(value: Value, name: str) -> list[TimeSeries]:
    if not isinstance(value, list):
        raise MathError(f"{name} takes an array of time series.")
    return value


def _whole(value: Value, name: str) -> int:
    if not isinstance(value, float) or not value.is_integer() or value < 0:
        raise MathError(f"{name} takes whole numbers.")
    return int(value)


def _each(name: str, change: Callable[[TimeSeries], dict[int, float]]) -> Entry:
    """TS → TS, TS[] → TS[]."""

    def apply(values: list[Value], grid: Grid, period_ms: int) -> Value:
        value = values[0]
        if isinstance(value, float):
            raise MathError(f"{name} takes a time series or an array of time series.")
        if isinstance(value, list):
            return [one.with_points(real(change(one))) for one in value]
        return value.with_points(real(change(value)))

    return Entry(apply, (1, 1))


def _pointwise(name: str, change: Callable[[float], float]) -> Entry:
    return _each(name, lambda series: {time: change(value) for time, value in series.points.items()})


def _fold(name: str, fold: Callable[[Sequence[float]], float], *, missing: bool = False) -> Entry:
    """TS → S over its points, TS[] → TS over the series at each time. `missing`: a series without a value there counts as 0."""

    def apply(values: list[Value], grid: Grid, period_ms: int) -> Value:
        value = values[0]
        if isinstance(value, float):
            raise MathError(f"{name} takes a time series or an array of time series.")
        if isinstance(value, TimeSeries):
            return fold(list(value.points.values())) if value.points else EMPTY.get(name, math.nan)
        times = sorted({time for series in value for time in series.points})
        points = {}
        for time in times:
            there = [series.points[time] for series in value if time in series.points]
            points[time] = fold(there + [0.0] * (len(value) - len(there)) if missing else there)
        return TimeSeries(real(points), max((one.period_ms for one in value), default=period_ms))

    return Entry(apply, (1, 1))


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def _mean(values: Sequence[float]) -> float:
    return _sum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    """Of the whole population, not of a sample of it."""
    mean = _mean(values)
    return math.sqrt(_sum([(value - mean) * (value - mean) for value in values]) / len(values))


FOLDS: dict[str, Callable[[Sequence[float]], float]] = {"AVG": _mean, "MIN": min, "MAX": max, "SUM": _sum}
EMPTY = {"SUM": 0.0, "DATAPOINT_COUNT": 0.0}
"""What a fold of a series without points is; the others have no value."""


def _pairs(series: TimeSeries) -> list[tuple[int, float, int, float]]:
    """(time, value, time before, value before) of neighbouring points."""
    items = list(series.points.items())
    return [(time, value, *before) for before, (time, value) in itertools.pairwise(items)]


def _running_sum(series: TimeSeries) -> dict[int, float]:
    total, points = 0.0, {}
    for time, value in series.points.items():
        total += value
        points[time] = total
    return points


def _log(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda value: function(value) if value > 0 else math.nan


def _period(values: list[Value], grid: Grid, period_ms: int) -> Value:
    value = values[0]
    if not isinstance(value, TimeSeries) or not value.metric:
        raise MathError("PERIOD takes a metric, not the result of an expression.")
    return value.period_ms / 1000


def _service_quota(values: list[Value], grid: Grid, period_ms: int) -> Value:
    """AWS: the quota of a usage metric, wherever that has a point; nothing where there is no quota."""
    value = values[0]
    if not isinstance(value, TimeSeries) or not value.usage:
        raise MathError("SERVICE_QUOTA takes a usage metric, one of the namespace AWS/Usage.")
    return value.with_points({} if value.quota is None else dict.fromkeys(value.points, value.quota))


def _metric_count(values: list[Value], grid: Grid, period_ms: int) -> Value:
    return float(len(_array(values[0], "METRIC_COUNT")))


def _remove_empty(values: list[Value], grid: Grid, period_ms: int) -> Value:
    return [one for one in _array(values[0], "REMOVE_EMPTY") if one.points]


def _first(values: list[Value], grid: Grid, period_ms: int) -> Value:
    array = _array(values[0], "FIRST")
    return array[0] if array else TimeSeries({}, period_ms)


def _last(values: list[Value], grid: Grid, period_ms: int) -> Value:
    array = _array(values[0], "LAST")
    return array[-1] if array else TimeSeries({}, period_ms)


def _slice(values: list[Value], grid: Grid, period_ms: int) -> Value:
    bounds = [_whole(value, "SLICE") for value in values[1:]]
    return _array(values[0], "SLICE")[slice(bounds[0], bounds[1] if len(bounds) > 1 else None)]


def _time_series(values: list[Value], grid: Grid, period_ms: int) -> Value:
    value = values[0]
    if not isinstance(value, float):
        raise MathError("TIME_SERIES takes a number.")
    return TimeSeries(real(dict.fromkeys(grid(period_ms), value)), period_ms)


def _calendar(name: str, tell: Callable[[dt.datetime], float]) -> Entry:
    """A series without gaps whose values come from the times themselves, in UTC."""

    def apply(values: list[Value], grid: Grid, period_ms: int) -> Value:
        series = values[0]
        if not isinstance(series, TimeSeries):
            raise MathError(f"{name} takes a time series.")
        times = grid(series.period_ms)
        return series.with_points({time: tell(dt.datetime.fromtimestamp(time / 1000, dt.UTC)) for time in times})

    return Entry(apply, (1, 1))


FUNCTIONS: dict[str, Entry] = {
    "ABS": _pointwise("ABS", abs),
    "CEIL": _pointwise("CEIL", lambda value: float(math.ceil(value))),
    "FLOOR": _pointwise("FLOOR", lambda value: float(math.floor(value))),
    "LOG": _pointwise("LOG", _log(math.log)),
    "LOG10": _pointwise("LOG10", _log(math.log10)),
    "AVG": _fold("AVG", _mean, missing=True),
    "MAX": _fold("MAX", max),
    "MIN": _fold("MIN", min),
    "SUM": _fold("SUM", _sum),
    "STDDEV": _fold("STDDEV", _deviation),
    "DATAPOINT_COUNT": _fold("DATAPOINT_COUNT", lambda values: float(len(values))),
    "DIFF": _each("DIFF", lambda series: {time: value - old for time, value, _, old in _pairs(series)}),
    "DIFF_TIME": _each("DIFF_TIME", lambda series: {time: (time - old) / 1000 for time, _, old, _ in _pairs(series)}),
    "RATE": _each(
        "RATE", lambda s: {time: 1000 * (value - old) / (time - then) for time, value, then, old in _pairs(s)}
    ),
    "RUNNING_SUM": _each("RUNNING_SUM", _running_sum),
    "PERIOD": Entry(_period, (1, 1)),
    "SERVICE_QUOTA": Entry(_service_quota, (1, 1)),
    "METRIC_COUNT": Entry(_metric_count, (1, 1)),
    "REMOVE_EMPTY": Entry(_remove_empty, (1, 1)),
    "FIRST": Entry(_first, (1, 1)),
    "LAST": Entry(_last, (1, 1)),
    "SLICE": Entry(_slice, (2, 3)),
    "TIME_SERIES": Entry(_time_series, (1, 1)),
    "MINUTE": _calendar("MINUTE", lambda time: float(time.minute)),
    "HOUR": _calendar("HOUR", lambda time: float(time.hour)),
    "DAY": _calendar("DAY", lambda time: float(time.isoweekday())),
    "DATE": _calendar("DATE", lambda time: float(time.day)),
    "MONTH": _calendar("MONTH", lambda time: float(time.month)),
    "YEAR": _calendar("YEAR", lambda time: float(time.year)),
    "EPOCH": _calendar("EPOCH", lambda time: float(int(time.timestamp()))),
}
