"""Metric filters: PutMetricFilter, DescribeMetricFilters, DeleteMetricFilter, TestMetricFilter. What they do to events is in filter_metrics.py."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import (
    LogGroup,
    MetricFilter,
    MetricFilterSpec,
    SubscriptionFilter,
    find_group,
    invalid,
    key_name,
    milliseconds,
    not_built,
    paged,
)
from gureum.aws.logs.pattern_regex import BadPattern
from gureum.aws.logs.pattern_values import as_number
from gureum.aws.logs.patterns import Pattern, compile_pattern
from gureum.aws.marks import Result, operation

LIMIT_FILTERS = 100
LIMIT_DIMENSIONS = 3
LIMIT_REGEX_FILTERS = 5
"""AWS: filters of a group whose patterns hold regular expressions."""
NOT_BUILT = ("applyOnTransformedLogs", "fieldSelectionCriteria", "emitSystemFieldDimensions", "emitSystemFields")


@operation("PutMetricFilter")
async def put_metric_filter(call: Call) -> Result:
    """AWS: logs PutMetricFilter. Makes the filter, or changes the one of that name."""
    refuse_not_built(call)
    group = find_group(call, call.params["logGroupName"])
    need_standard_class(group)
    pattern = compile_pattern(call.params["filterPattern"])
    spec = _spec(call.params, pattern)
    old = call.get(MetricFilter, key_name(group.spec.name, spec.name))
    others = [one for one in call.by(MetricFilter, "group", group.meta.name) if old is None or one is not old]
    if len(others) >= LIMIT_FILTERS:
        raise AwsError("LimitExceededException", "Resource limit exceeded.")
    check_regexes(call, group, pattern, old)
    transaction = call.transaction()
    transaction.require(group)
    if old is None:
        transaction.create(MetricFilter(meta=call.meta(key_name(group.spec.name, spec.name)), spec=spec))
    else:
        transaction.update(msgspec.structs.replace(old, spec=spec))
    await call.commit(transaction)
    return {}


def refuse_not_built(call: Call) -> None:
    """Transformers and centralised logs are not built."""
    for name in NOT_BUILT:
        if call.params.get(name):
            raise not_built(f"The parameter {name}")


def need_standard_class(group: LogGroup) -> None:
    """AWS: log classes: filters need the standard class."""
    if group.spec.group_class != "STANDARD":
        text = f"Filters are not supported for log groups of the class {group.spec.group_class}."
        raise AwsError("InvalidOperationException", text)


def check_regexes(call: Call, group: LogGroup, pattern: Pattern, old: MetricFilter | SubscriptionFilter | None) -> None:
    """AWS: at most five filters with regular expressions in a group."""
    if not pattern.has_regex:
        return
    filters: list[MetricFilter | SubscriptionFilter] = [*call.by(MetricFilter, "group", group.meta.name)]
    filters += call.by(SubscriptionFilter, "group", group.meta.name)
    if sum(one is not old and "%" in one.spec.pattern for one in filters) >= LIMIT_REGEX_FILTERS:
        raise AwsError("LimitExceededException", "Resource limit exceeded.")


def _spec(params: dict[str, Any], pattern: Pattern) -> MetricFilterSpec:
    transformation = params["metricTransformations"][0]
    dimensions, default = transformation.get("dimensions") or {}, transformation.get("defaultValue")
    if dimensions and default is not None:
        raise invalid("Invalid metric transformation: dimensions and default value are mutually exclusive properties.")
    if len(dimensions) > LIMIT_DIMENSIONS:
        raise invalid(f"Invalid metric transformation: a metric filter has at most {LIMIT_DIMENSIONS} dimensions.")
    value = transformation["metricValue"]
    fields = list(dimensions.values())
    if value.startswith("$"):
        fields.append(value)
    elif as_number(value) is None:
        raise invalid(f"Invalid metric transformation: '{value}' is neither a number nor a field.")
    for field in fields:
        _check_field(pattern, field)
    return MetricFilterSpec(
        group=params["logGroupName"],
        name=params["filterName"],
        pattern=params["filterPattern"],
        namespace=transformation["metricNamespace"],
        metric=transformation["metricName"],
        value=value,
        default=default,
        dimensions=dimensions,
        unit=transformation.get("unit", ""),
    )


def _check_field(pattern: Pattern, field: str) -> None:
    try:
        pattern.check_name(field)
    except BadPattern as bad:
        raise invalid(f"Invalid metric transformation: {bad}") from bad


@operation("DescribeMetricFilters")
def describe_metric_filters(call: Call) -> Result:
    """AWS: logs DescribeMetricFilters. Sorted by name."""
    params = call.params
    name, metric, namespace = params.get("logGroupName"), params.get("metricName"), params.get("metricNamespace")
    if (metric is None) != (namespace is None):
        raise invalid("MetricName and metricNamespace must be given together.")
    if name is None:
        found = call.all(MetricFilter)
    else:
        found = call.by(MetricFilter, "group", find_group(call, name).meta.name)
        found = [one for one in found if one.spec.name.startswith(params.get("filterNamePrefix") or "")]
    if metric is not None:
        found = [one for one in found if (one.spec.metric, one.spec.namespace) == (metric, namespace)]
    shown, token = paged(call, found, lambda one: f"{one.spec.name}\0{one.spec.group}")
    return {"metricFilters": [_show(one) for one in shown]} | token


def _show(one: MetricFilter) -> dict[str, Any]:
    spec = one.spec
    transformation: dict[str, Any] = {
        "metricName": spec.metric,
        "metricNamespace": spec.namespace,
        "metricValue": spec.value,
    }
    if spec.unit:
        transformation["unit"] = spec.unit
    if spec.default is not None:
        transformation["defaultValue"] = spec.default
    if spec.dimensions:
        transformation["dimensions"] = spec.dimensions
    return {
        "filterName": spec.name,
        "filterPattern": spec.pattern,
        "metricTransformations": [transformation],
        "creationTime": milliseconds(one.meta.created),
        "logGroupName": spec.group,
        "applyOnTransformedLogs": False,
    }


@operation("DeleteMetricFilter")
async def delete_metric_filter(call: Call) -> Result:
    """AWS: logs DeleteMetricFilter."""
    group = find_group(call, call.params["logGroupName"])
    found = call.get(MetricFilter, key_name(group.spec.name, call.params["filterName"]))
    if found is None:
        raise AwsError("ResourceNotFoundException", "The specified metric filter does not exist.")
    transaction = call.transaction()
    transaction.delete(found)
    await call.commit(transaction)
    return {}


@operation("TestMetricFilter")
def test_metric_filter(call: Call) -> Result:
    """AWS: logs TestMetricFilter. Events count from zero, as in the reference's example."""
    pattern = compile_pattern(call.params["filterPattern"])
    matches: list[dict[str, Any]] = []
    for number, message in enumerate(call.params["logEventMessages"]):
        values = pattern.extract(message)
        if values is not None:
            matches.append({"eventNumber": number, "eventMessage": message, "extractedValues": values})
    return {"matches": matches}
