"""Prefix lists. AWS's own (the ranges of S3 and DynamoDB) belong to services that are not reached through a VPC here, so there are none,
and lists of one's own are not built yet.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.filters import apply_filters
from gureum.aws.marks import operation
from gureum.engine.resource import Resource


@operation("DescribePrefixLists")
def describe_prefix_lists(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribePrefixLists."""
    _refuse_unknown(call, ("prefix-list-id", "prefix-list-name"))
    return {"PrefixLists": []}


@operation("DescribeManagedPrefixLists")
def describe_managed_prefix_lists(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeManagedPrefixLists."""
    _refuse_unknown(call, ("owner-id", "prefix-list-id", "prefix-list-name"))
    return {"PrefixLists": []}


def _refuse_unknown(call: Call, filters: tuple[str, ...]) -> None:
    """AWS: what names no prefix list, or a filter that there is not."""
    wanted = [ids.check_id(ids.PREFIX_LIST, id_) for id_ in call.params.get("PrefixListIds") or ()]
    if wanted:
        raise ids.not_found(ids.PREFIX_LIST, *wanted)
    nothing: list[Resource] = []
    apply_filters(nothing, call.params.get("Filters"), dict.fromkeys(filters, lambda _: ()))
    call.end_dry_run()
