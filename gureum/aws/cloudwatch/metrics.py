"""ListMetrics: which metrics have had data in the past two weeks."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.cloudwatch.refusals import invalid
from gureum.aws.marks import Result, operation
from gureum.aws.paging import decode_token, encode_token
from gureum.ports.telemetry import Series, SeriesQuery

LISTED_S, RECENT_S = 14 * 86400, 3 * 3600
PAGE = 500


@operation("ListMetrics")
async def list_metrics(call: Call) -> Result:
    """AWS: cloudwatch ListMetrics. No other accounts are linked to one of gureum's."""
    params = call.params
    if params.get("OwningAccount") and not params.get("IncludeLinkedAccounts"):
        raise invalid("OwningAccount can only be specified when IncludeLinkedAccounts is true.")
    since_s = call.now - (RECENT_S if params.get("RecentlyActive") else LISTED_S)
    query = SeriesQuery(
        params.get("Namespace", ""),
        params.get("MetricName", ""),
        tuple((one["Name"], one.get("Value")) for one in params.get("Dimensions") or ()),
        since_ms=int(since_s * 1000),
        after=_after(call.scope, params.get("NextToken")),
        limit=PAGE + 1,
    )
    found = (
        []
        if params.get("OwningAccount", call.account) != call.account
        else await call.metrics.series(call.scope, query)
    )
    shown = found[:PAGE]
    result: Result = {"Metrics": [show_metric(series) for series in shown]}
    if params.get("IncludeLinkedAccounts"):
        result["OwningAccounts"] = [call.account] * len(shown)
    return result | ({"NextToken": encode_token(_place_of(shown[-1]))} if len(found) > PAGE else {})


def show_metric(series: Series) -> dict[str, Any]:
    """API form. AWS: cloudwatch Metric."""
    return {
        "Namespace": series.namespace,
        "MetricName": series.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in series.dimensions],
    }


def _place_of(series: Series) -> str:
    return json.dumps([series.namespace, series.name, series.dimensions])


def _after(scope: str, token: str | None) -> Series | None:
    """The series that a token names: the last one of the page before. AWS: InvalidParameterValue."""
    if not token:
        return None
    try:
        namespace, name, dimensions = msgspec.json.decode(
            decode_token(token), type=tuple[str, str, tuple[tuple[str, str], ...]]
        )
    except msgspec.DecodeError as error:
        raise invalid("Invalid value for parameter NextToken.") from error
    return Series(scope, namespace, name, dimensions)
