"""Subscription filters: PutSubscriptionFilter, DescribeSubscriptionFilters, DeleteSubscriptionFilter.

AWS delivers to Kinesis, Firehose, Lambda and logical destinations; none of them is here, and their ARNs are answered so. What gureum has is another
log group: events that match are put into a stream of the same name there (ingest.py).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import (
    SubscriptionFilter,
    SubscriptionSpec,
    find_group,
    group_arn,
    group_of_identifier,
    invalid,
    key_name,
    milliseconds,
    not_built,
    paged,
)
from gureum.aws.logs.metric_filters import check_regexes, need_standard_class, refuse_not_built
from gureum.aws.logs.patterns import compile_pattern
from gureum.aws.marks import Result, operation

LIMIT_FILTERS = 2
_ARN = re.compile(r"arn:aws[a-z-]*:([a-z0-9-]+):[a-z0-9-]*:\d*:(.+)")
NOT_HERE = {"kinesis": "Kinesis streams", "firehose": "Firehose delivery streams", "lambda": "Lambda functions"}


@operation("PutSubscriptionFilter")
async def put_subscription_filter(call: Call) -> Result:
    """AWS: logs PutSubscriptionFilter. Makes the filter, or changes the one of that name."""
    params = call.params
    refuse_not_built(call)
    group = find_group(call, params["logGroupName"])
    need_standard_class(group)
    pattern = compile_pattern(params["filterPattern"])
    destination = _destination(call, params["destinationArn"])
    if destination == group_arn(call, group.spec.name):
        raise invalid("A log group cannot be its own destination.")
    key = key_name(group.spec.name, params["filterName"])
    old = call.get(SubscriptionFilter, key)
    others = [one for one in call.by(SubscriptionFilter, "group", group.meta.name) if one is not old]
    if len(others) >= LIMIT_FILTERS:
        raise AwsError("LimitExceededException", "Resource limit exceeded.")
    check_regexes(call, group, pattern, old)
    spec = SubscriptionSpec(
        group=group.spec.name,
        name=params["filterName"],
        pattern=params["filterPattern"],
        destination=destination,
        role=params.get("roleArn") or "",
        distribution=params.get("distribution", "ByLogStream"),
    )
    transaction = call.transaction()
    transaction.require(group)
    if old is None:
        transaction.create(SubscriptionFilter(meta=call.meta(key), spec=spec))
    else:
        transaction.update(msgspec.structs.replace(old, spec=spec))
    await call.commit(transaction)
    return {}


def _destination(call: Call, arn: str) -> str:
    """The group's ARN without ":*". NotImplemented for what gureum does not have."""
    found = _ARN.fullmatch(arn)
    if found is None:
        raise invalid(f"Invalid destination ARN: {arn}")
    if found[1] in NOT_HERE:
        raise not_built(f"Delivery of log events to {NOT_HERE[found[1]]}")
    if found[1] == "logs" and found[2].startswith("destination:"):
        raise not_built("Delivery of log events to logical destinations")
    if found[1] != "logs":
        raise invalid("PutSubscriptionFilter operation cannot work with destinationArn for vendor " + found[1])
    return group_arn(call, group_of_identifier(call, arn).spec.name)


@operation("DescribeSubscriptionFilters")
def describe_subscription_filters(call: Call) -> Result:
    """AWS: logs DescribeSubscriptionFilters. Sorted by name."""
    group = find_group(call, call.params["logGroupName"])
    prefix = call.params.get("filterNamePrefix") or ""
    found = [one for one in call.by(SubscriptionFilter, "group", group.meta.name) if one.spec.name.startswith(prefix)]
    shown, token = paged(call, found, lambda one: one.spec.name)
    return {"subscriptionFilters": [_show(one) for one in shown]} | token


def _show(one: SubscriptionFilter) -> dict[str, Any]:
    shown = {
        "filterName": one.spec.name,
        "logGroupName": one.spec.group,
        "filterPattern": one.spec.pattern,
        "destinationArn": one.spec.destination,
        "distribution": one.spec.distribution,
        "applyOnTransformedLogs": False,
        "creationTime": milliseconds(one.meta.created),
    }
    return shown | ({"roleArn": one.spec.role} if one.spec.role else {})


@operation("DeleteSubscriptionFilter")
async def delete_subscription_filter(call: Call) -> Result:
    """AWS: logs DeleteSubscriptionFilter."""
    group = find_group(call, call.params["logGroupName"])
    found = call.get(SubscriptionFilter, key_name(group.spec.name, call.params["filterName"]))
    if found is None:
        raise AwsError("ResourceNotFoundException", "The specified subscription filter does not exist.")
    transaction = call.transaction()
    transaction.delete(found)
    await call.commit(transaction)
    return {}
