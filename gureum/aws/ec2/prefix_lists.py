"""Prefix lists. AWS's own (the ranges of S3 and DynamoDB) belong to services that are not reached through a VPC here, so there are none,
and lists of one's own are not built yet.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.marks import operation


@operation("DescribePrefixLists")
def describe_prefix_lists(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribePrefixLists."""
    _refuse_ids(call)
    return {"PrefixLists": []}


@operation("DescribeManagedPrefixLists")
def describe_managed_prefix_lists(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeManagedPrefixLists."""
    _refuse_ids(call)
    return {"PrefixLists": []}


def _refuse_ids(call: Call) -> None:
    wanted = [ids.check_id(ids.PREFIX_LIST, id_) for id_ in call.params.get("PrefixListIds") or ()]
    if wanted:
        raise ids.not_found(ids.PREFIX_LIST, *wanted)
    call.end_dry_run()
