"""ListMetrics: which metrics have had data in the past two weeks."""

from __future__ import annotations

import json
from typing import Any

from gureum.aws.call import Call
from gureum.aws.cloudwatch.refusals import invalid
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.ports.telemetry import Series

LISTED_S, RECENT_S = 14 * 86400, 3 * 3600
PAGE = 500


@operation("ListMetrics")
async def list_metrics(call: Call) -> Result:
    """AWS: cloudwatch ListMetrics. No other accounts are linked to one of gureum's."""
    params = call.params
    if params.get("OwningAccount") and not params.get("IncludeLinkedAccounts"):
        raise invalid("OwningAccount can only be specified when IncludeLinkedAccounts is true.")
    since_s = call.now - (RECENT_S if params.get("RecentlyActive") else LISTED_S)
    found = await call.metrics.series(
        call.scope,
        namespace=params.get("Namespace", ""),
        name=params.get("MetricName", ""),
        since_ms=int(since_s * 1000),
    )
    wanted = params.get("Dimensions") or ()
    listed = [one.series for one in found if _matches(one.series, wanted)]
    if params.get("OwningAccount", call.account) != call.account:
        listed = []
    shown, token = page(params, listed, _sort_key, default=PAGE)
    result: Result = {"Metrics": [show_metric(series) for series in shown]}
    if params.get("IncludeLinkedAccounts"):
        result["OwningAccounts"] = [call.account] * len(shown)
    return result | ({"NextToken": token} if token else {})


def show_metric(series: Series) -> dict[str, Any]:
    """API form. AWS: cloudwatch Metric."""
    return {
        "Namespace": series.namespace,
        "MetricName": series.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in series.dimensions],
    }


def _matches(series: Series, wanted: Any) -> bool:
    """All named dimensions are there, with their value where one is given; others may be there too."""
    dimensions = dict(series.dimensions)
    return all(
        one["Name"] in dimensions and ("Value" not in one or one["Value"] == dimensions[one["Name"]]) for one in wanted
    )


def _sort_key(series: Series) -> str:
    return json.dumps([series.namespace, series.name, series.dimensions])
