"""GetMetricData: many metrics and expressions at once, in pages of data points."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from typing import Any, NamedTuple

from gureum.aws.call import Call
from gureum.aws.cloudwatch.labels import check_label, fill_label, plain_labels, timezone
from gureum.aws.cloudwatch.metric_math import TimeSeries
from gureum.aws.cloudwatch.metric_math.values import Value
from gureum.aws.cloudwatch.queries import Query, read_queries, run
from gureum.aws.cloudwatch.refusals import validation
from gureum.aws.cloudwatch.windows import Window, window, wrong_order
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

LIMIT_QUERIES, LIMIT_POINTS = 500, 100_800


class Line(NamedTuple):
    """One MetricDataResult: its points in the order asked for. `units`: several, of which it has the points of one."""

    id: str
    label: str
    points: list[tuple[int, float]]
    units: tuple[str, ...] = ()


@operation("GetMetricData")
async def get_metric_data(call: Call) -> Result:
    """AWS: cloudwatch GetMetricData. ValidationError; InvalidNextToken."""
    params = call.params
    limit = params.get("MaxDatapoints", LIMIT_POINTS)
    if not 1 <= limit <= LIMIT_POINTS:
        raise validation(f"The parameter MaxDatapoints must be between 1 and {LIMIT_POINTS}.")
    zone = timezone((params.get("LabelOptions") or {}).get("Timezone", "+0000"))
    queries = _queries(call)
    skip = _place(params)
    now_ms = int(call.now * 1000)
    found = await run(call.metrics, call.scope, queries, _windows(params, queries, now_ms), now_ms, call.settings)
    lines, names = [], plain_labels([query for query in queries if query.returned])
    for query in queries:
        if query.returned:
            plain, units = names.get(query.id, query.id), found.units.get(query.id, ())
            made = _lines(call, query, found.values[query.id], plain, now_ms, zone)
            lines += [line._replace(units=units) for line in made] if units else made
    if params.get("ScanBy", "TimestampDescending") == "TimestampDescending":
        lines = [line._replace(points=line.points[::-1]) for line in lines]
    return _page(params, lines, skip, limit)


def _queries(call: Call) -> tuple[Query, ...]:
    given = call.params["MetricDataQueries"]
    if not given:
        raise validation("The parameter MetricDataQueries is required.")
    if len(given) > LIMIT_QUERIES:
        raise validation(f"The collection MetricDataQueries must not have a size greater than {LIMIT_QUERIES}.")
    queries = read_queries(given, call.account)
    if not any(query.returned for query in queries):
        raise validation("At least one of the queries must have ReturnData set to true.")
    for query in queries:
        check_label(query.label or "")
    return queries


def _windows(params: dict[str, Any], queries: tuple[Query, ...], now_ms: int) -> dict[str, Window]:
    """An expression without a period has the longest of the metrics'."""
    start_ms, end_ms = (int(params[name].timestamp() * 1000) for name in ("StartTime", "EndTime"))
    if (wrong := wrong_order(start_ms, end_ms, "The parameter EndTime must be greater than StartTime.")) is not None:
        raise validation(f"{wrong}\n")
    longest = max((query.period_s for query in queries if not query.expression), default=60)
    windows = {query.id: window(start_ms, end_ms, query.period_s or longest, now_ms) for query in queries}
    total = sum(windows[query.id].buckets for query in queries if query.expression)
    if total > LIMIT_POINTS * 10:
        raise validation("The expressions ask for too many data points. Use a longer period or a shorter time range.")
    return windows


def _lines(call: Call, query: Query, value: Value, plain: str, now_ms: int, zone: dt.timezone) -> list[Line]:
    if isinstance(value, float):
        text = "The result of an expression must be a time series or an array of time series, not a number."
        raise validation(f"Error in expression '{query.id}': {text}")
    properties = _properties(call, query)
    if isinstance(value, TimeSeries):
        points = sorted(value.points.items())
        label = plain if query.label is None else fill_label(query.label, plain, points, properties, now_ms, zone)
        return [Line(query.id, label, points)]
    lines = []
    for one in value:
        points = sorted(one.points.items())
        given = query.id if query.label is None else query.label
        dynamic = "${LABEL}" in given
        label = fill_label(given, one.label, points, properties, now_ms, zone)
        lines.append(Line(query.id, label if dynamic else f"{label} {one.label}".strip(), points))
    return lines


def _properties(call: Call, query: Query) -> dict[str, str]:
    found = {"AccountId": call.account, "Region": call.region}
    if not query.expression:
        found |= {"MetricName": query.metric, "Namespace": query.namespace, "Stat": query.stat}
        found |= {"Period": str(query.period_s)} | {f"Dim.{name}": value for name, value in query.dimensions}
    return found


def _page(params: dict[str, Any], lines: list[Line], skip: int, limit: int) -> Result:
    """The points number `skip` … of all lines one after another. A line that is not shown to its end is PartialData."""
    results, before, last = [], 0, skip + limit
    for line in lines:
        end = before + len(line.points)
        points = line.points[max(0, skip - before) : max(0, last - before)]
        result = {
            "Id": line.id,
            "Label": line.label,
            "Timestamps": [time / 1000 for time, _ in points],
            "Values": [value for _, value in points],
            "StatusCode": "Complete" if end <= last else "PartialData",
        }
        if line.units:
            text = f"Multiple units returned: '[{', '.join(line.units)}]'"
            result["Messages"] = [{"Code": "MultipleUnits", "Value": text}]
        results.append(result)
        before = end
    token = {"NextToken": _token(params, last)} if before > last else {}
    return {"MetricDataResults": results, "Messages": []} | token


def _token(params: dict[str, Any], place: int) -> str:
    return base64.urlsafe_b64encode(f"{place}:{_fingerprint(params)}".encode()).decode()


def _place(params: dict[str, Any]) -> int:
    """Where to go on. A token is good for the same queries only."""
    token = params.get("NextToken")
    if not token:
        return 0
    try:
        place, _, fingerprint = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        number = int(place) if place.isdecimal() and len(place) < 10 else -1
    except ValueError:
        number, fingerprint = -1, ""
    if number < 0 or fingerprint != _fingerprint(params):
        raise AwsError("InvalidNextToken", "The NextToken is not valid for this request.")
    return number


def _fingerprint(params: dict[str, Any]) -> str:
    kept = {name: value for name, value in params.items() if name not in ("NextToken", "MaxDatapoints")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]
