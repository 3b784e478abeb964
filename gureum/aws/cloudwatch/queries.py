"""Metric data queries: what GetMetricData and alarms on expressions have in common. Checks them, reads their metrics, computes their expressions.

MetricDataQuery (API) ─► Query (checked) ─► run: metrics first, then expressions in the order of their references
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import msgspec

from gureum.aws import usage as usages
from gureum.aws.cloudwatch.metric_math import (
    Budget,
    Context,
    MathError,
    NotBuilt,
    TimeSeries,
    evaluate,
    names_in,
    parse,
)
from gureum.aws.cloudwatch.metric_math.evaluate import functions_in
from gureum.aws.cloudwatch.metric_math.values import Value
from gureum.aws.cloudwatch.refusals import not_built, validation
from gureum.aws.cloudwatch.series import of_one_unit, read_buckets, series_of
from gureum.aws.cloudwatch.statistics import compute, parse_statistic
from gureum.aws.cloudwatch.windows import Window, is_period
from gureum.aws.errors import AwsError
from gureum.base.settings import Settings
from gureum.ports.telemetry import Bucket, Metrics

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*", re.ASCII)
_TRIAL = Window(0, 60_000, 60_000)
_INSIGHTS = re.compile(r"\s*SELECT\s", re.IGNORECASE)


class Query(msgspec.Struct, frozen=True):
    """One MetricDataQuery. Of a metric: `namespace`, `metric`, `dimensions` (name, value), `stat`, `unit` ("": any); otherwise `expression`.
    `period_s` 0: an expression's that was not given. `label` None: not given."""

    id: str
    expression: str = ""
    namespace: str = ""
    metric: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    stat: str = ""
    unit: str = ""
    period_s: int = 0
    label: str | None = None
    return_data: bool | None = None

    @property
    def returned(self) -> bool:
        return self.return_data is not False


class Found(NamedTuple):
    """`values`: of each query by id. `buckets`: of each metric. `units`: of each metric that has several, and was asked for without one."""

    values: dict[str, Value]
    buckets: dict[str, list[Bucket]]
    units: dict[str, tuple[str, ...]]


def read_queries(
    given: Sequence[dict[str, Any]], account: str, parameter: str = "MetricDataQueries"
) -> tuple[Query, ...]:
    """The queries of a call's `parameter`, checked one by one and together. AWS: ValidationError."""
    queries = tuple(_read(one, account, f"{parameter}.member.{number}") for number, one in enumerate(given, start=1))
    if len({query.id for query in queries}) != len(queries):
        raise validation("The values for parameter id in MetricDataQueries are not unique.")
    in_order(queries)
    return queries


def check_single_series(queries: Sequence[Query]) -> None:
    """Of what is compared with a threshold: one query returns, and it gives one time series whatever the data are. AWS: ValidationError.

    Expressions are computed once, on metrics of a single point each: what they give has the same shape for every other."""
    returned = [query.id for query in queries if query.returned]
    if len(returned) != 1:
        raise validation("Exactly one element of the metrics list should return data.")
    values: dict[str, Value] = {}
    budget = Budget()
    for query in in_order(queries):
        if query.expression:
            values[query.id] = _compute(query, _TRIAL, values, queries, budget)
        else:
            usage = query.namespace == usages.NAMESPACE
            values[query.id] = TimeSeries(
                {_TRIAL.start_ms: 1.0}, _TRIAL.period_ms, query.metric, metric=True, usage=usage
            )
    value = values[returned[0]]
    if isinstance(value, float) or (isinstance(value, list) and len(value) != 1):
        raise validation(f"The expression '{returned[0]}' must give a single time series.")


def show_query(query: Query) -> dict[str, Any]:
    """API form. AWS: cloudwatch MetricDataQuery."""
    shown: dict[str, Any] = {"Id": query.id}
    if query.expression:
        shown["Expression"] = query.expression
        if query.period_s:
            shown["Period"] = query.period_s
    else:
        dimensions = [{"Name": name, "Value": value} for name, value in query.dimensions]
        metric = {"Namespace": query.namespace, "MetricName": query.metric, "Dimensions": dimensions}
        shown["MetricStat"] = {"Metric": metric, "Period": query.period_s, "Stat": query.stat}
        if query.unit:
            shown["MetricStat"]["Unit"] = query.unit
    if query.label is not None:
        shown["Label"] = query.label
    if query.return_data is not None:
        shown["ReturnData"] = query.return_data
    return shown


def in_order(queries: Sequence[Query]) -> list[Query]:
    """Each query after those that it refers to. AWS: ValidationError for an expression that cannot be."""
    by_id = {query.id: query for query in queries}
    metrics = [query.id for query in queries if not query.expression]
    needs: dict[str, list[str]] = {}
    for query in queries:
        needs[query.id] = list(_references(query))
        for id_ in needs[query.id]:
            if id_ not in by_id:
                raise _wrong(query, f"Unknown id '{id_[:50]}'.")
        if query.expression:
            needs[query.id] += metrics
    try:
        return [by_id[id_] for id_ in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise validation("The expressions refer to each other in a circle.") from error


async def run(
    metrics: Metrics, scope: str, queries: Sequence[Query], windows: dict[str, Window], now_ms: int, settings: Settings
) -> Found:
    """`windows`: of each query by id (of an expression: the grid of what it makes). `settings`: have the quotas of usage metrics."""
    values: dict[str, Value] = {}
    buckets: dict[str, list[Bucket]] = {}
    units: dict[str, tuple[str, ...]] = {}
    budget = Budget()
    ordered = in_order(queries) if len(queries) > 1 else queries
    for query in ordered:
        window = windows[query.id]
        if not query.expression:
            found = await _read_metric(metrics, scope, query, window, now_ms)
            buckets[query.id], seen = of_one_unit(found)
            if len(seen) > 1:
                units[query.id] = seen
            values[query.id] = _series(query, window, buckets[query.id], settings)
        else:
            values[query.id] = _compute(query, window, values, queries, budget)
    return Found(values, buckets, units)


def _read(one: dict[str, Any], account: str, where: str) -> Query:
    """`where`: its place in the call, as AWS tells it."""
    id_ = one["Id"]
    if not _ID.fullmatch(id_):
        text = "Value must start with a lowercase letter and contain only letters, numbers and underscores"
        raise validation(
            f"Value '{id_[:100]}' at 'metricDataQueries.1.member.id' failed to satisfy constraint: {text}."
        )
    if "MetricStat" not in one and "Expression" not in one:
        raise validation(f"The parameter {where}.MetricStat is required.\n")
    if "MetricStat" in one and "Expression" in one:
        raise validation(f"Exactly one of MetricStat and Expression must be specified for the query with id '{id_}'.")
    if one.get("AccountId", account) != account:
        raise not_built("AccountId of another account in a MetricDataQuery")
    common = {"id": id_, "label": one.get("Label"), "return_data": one.get("ReturnData")}
    if "MetricStat" in one:
        return _read_stat(one, common, where)
    period = one.get("Period", 0)
    if period and not is_period(period):
        raise _bad_period(period)
    if _INSIGHTS.match(one["Expression"]):
        raise not_built("Metrics Insights queries")
    return Query(expression=one["Expression"], period_s=period, **common)


def _read_stat(one: dict[str, Any], common: dict[str, Any], where: str) -> Query:
    stat = one["MetricStat"]
    metric = stat["Metric"]
    if "Period" in one:
        raise validation(f"Period must not be specified beside MetricStat in the query with id '{common['id']}'.")
    if "Namespace" not in metric or "MetricName" not in metric:
        raise validation(f"The metric of the query with id '{common['id']}' needs a Namespace and a MetricName.")
    if not is_period(stat["Period"]):
        raise _bad_period(stat["Period"])
    if parse_statistic(stat["Stat"]) is None:
        raise validation(
            f"The value {stat['Stat'][:100]} for parameter {where}.MetricStat.Stat is not a valid statistic.\n"
        )
    dimensions = tuple(sorted((d["Name"], d["Value"]) for d in metric.get("Dimensions") or ()))
    return Query(
        namespace=metric["Namespace"],
        metric=metric["MetricName"],
        dimensions=dimensions,
        stat=stat["Stat"],
        unit=stat.get("Unit", ""),
        period_s=stat["Period"],
        **common,
    )


def _bad_period(period: int) -> AwsError:
    return validation(f"Invalid period {period}. Use 1, 5, 10, 20, 30, or a multiple of 60.")


def _references(query: Query) -> set[str]:
    if not query.expression:
        return set()
    try:
        node = parse(query.expression)
        for function in functions_in(node):
            if function == "SEARCH":
                raise NotBuilt(function)
        return set(names_in(node))
    except MathError as error:
        raise _wrong(query, error.text, error) from error


def _wrong(query: Query, text: str, error: MathError | None = None) -> AwsError:
    if isinstance(error, NotBuilt):
        return not_built(f"the metric math function {error.text}")
    return validation(f"Error in expression '{query.id}': {text}")


async def _read_metric(metrics: Metrics, scope: str, query: Query, window: Window, now_ms: int) -> list[Bucket]:
    statistic = parse_statistic(query.stat)
    assert statistic is not None
    dimensions = [{"Name": name, "Value": value} for name, value in query.dimensions]
    series = series_of(scope, query.namespace, query.metric, dimensions)
    distribution = statistic.extended is not None
    return await read_buckets(metrics, series, window, now_ms, unit=query.unit, distribution=distribution)


def _series(query: Query, window: Window, buckets: list[Bucket], settings: Settings) -> TimeSeries:
    statistic = parse_statistic(query.stat)
    assert statistic is not None
    computed = ((bucket.start_ms, compute(statistic, bucket)) for bucket in buckets)
    points = {time: value for time, value in computed if value is not None}
    label = query.label or query.metric
    if query.namespace != usages.NAMESPACE:
        return TimeSeries(points, window.period_ms, label, metric=True)
    quota = usages.quota_of(query.metric, query.dimensions, settings)
    return TimeSeries(points, window.period_ms, label, metric=True, usage=True, quota=quota)


def _compute(query: Query, window: Window, values: dict[str, Value], queries: Sequence[Query], budget: Budget) -> Value:
    metrics = {one.id: values[one.id] for one in queries if not one.expression}
    context = Context(values.__getitem__, metrics, window.start_ms, window.end_ms, window.period_ms, budget)  # type: ignore[arg-type]
    try:
        value = evaluate(parse(query.expression), context)
    except MathError as error:
        raise _wrong(query, error.text, error) from error
    return value
