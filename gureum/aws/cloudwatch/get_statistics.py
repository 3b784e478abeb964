"""GetMetricStatistics: statistics of one metric."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.cloudwatch.refusals import both, clash, invalid
from gureum.aws.cloudwatch.series import read_buckets, series_of
from gureum.aws.cloudwatch.statistics import Statistic, compute, parse_statistic
from gureum.aws.cloudwatch.windows import Window, is_period, window, wrong_order
from gureum.aws.marks import Result, operation
from gureum.ports.telemetry import Bucket

LIMIT_POINTS = 1440


@operation("GetMetricStatistics")
async def get_metric_statistics(call: Call) -> Result:
    """AWS: cloudwatch GetMetricStatistics. InvalidParameterCombination for more than 1,440 points."""
    params = call.params
    simple, extended = _statistics(params)
    now_ms = int(call.now * 1000)
    span = _window(params, now_ms)
    series = series_of(call.scope, params["Namespace"], params["MetricName"], params.get("Dimensions") or ())
    buckets = await read_buckets(
        call.metrics, series, span, now_ms, unit=params.get("Unit", ""), distribution=bool(extended)
    )
    points = [_show(bucket, simple, extended) for bucket in buckets]
    return {"Label": params["MetricName"], "Datapoints": [point for point in points if len(point) > 2]}


def _statistics(params: dict[str, Any]) -> tuple[list[Statistic], list[Statistic]]:
    simple, extended = params.get("Statistics") or (), params.get("ExtendedStatistics") or ()
    if simple and extended:
        raise both("Statistics", "ExtendedStatistics")
    if not simple and not extended:
        raise clash("Must specify either Statistics or ExtendedStatistics")
    return [Statistic(name) for name in simple], [_extended(name) for name in extended]


def _extended(name: str) -> Statistic:
    found = parse_statistic(name)
    if found is None or found.extended is None:
        raise invalid(f"The value {name[:100]} for parameter ExtendedStatistics is not supported.")
    return found


def _window(params: dict[str, Any], now_ms: int) -> Window:
    period = params["Period"]
    if not is_period(period):
        raise invalid(f"The value {period} for parameter Period is invalid. Use 1, 5, 10, 20, 30, or a multiple of 60.")
    start_ms, end_ms = (int(params[name].timestamp() * 1000) for name in ("StartTime", "EndTime"))
    if (
        wrong := wrong_order(start_ms, end_ms, "The parameter StartTime must be less than the parameter EndTime.")
    ) is not None:
        raise invalid(wrong)
    span = window(start_ms, end_ms, period, now_ms)
    if span.buckets > LIMIT_POINTS:
        raise clash(
            f"You have requested up to {span.buckets:,} datapoints, which exceeds the limit of {LIMIT_POINTS:,}. You may reduce the datapoints"
            " requested by increasing Period, or decreasing the time range."
        )
    return span


def _show(bucket: Bucket, simple: list[Statistic], extended: list[Statistic]) -> dict[str, Any]:
    """API form. AWS: cloudwatch Datapoint."""
    shown: dict[str, Any] = {"Timestamp": bucket.start_ms / 1000, "Unit": bucket.unit}
    shown |= {one.name: value for one in simple if (value := compute(one, bucket)) is not None}
    found = {one.name: value for one in extended if (value := compute(one, bucket)) is not None}
    return shown | ({"ExtendedStatistics": found} if found else {})
