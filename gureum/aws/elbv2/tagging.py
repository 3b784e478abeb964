"""Tags of load balancers, target groups, listeners and rules. They live in the envelope of what they are on.

AWS: elbv2 AddTags, RemoveTags, DescribeTags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.arns import find_balancer, find_group, find_listener, find_rule, type_of
from gureum.aws.elbv2.faults import invalid, not_built
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.resource import Resource

Tags = dict[str, str]


@operation("AddTags")
async def add_tags(call: Call) -> Result:
    """AWS: elbv2 AddTags: all or nothing; the value of a key that is there already is replaced."""
    added = tags_of(call)
    await _change(call, lambda old: _checked({**old, **added}))
    return {}


@operation("RemoveTags")
async def remove_tags(call: Call) -> Result:
    """AWS: elbv2 RemoveTags: all or nothing; a key that is not there is no fault."""
    keys = frozenset(call.params["TagKeys"])
    if any(key.lower().startswith("aws:") for key in keys):
        raise invalid("Tag keys starting with 'aws:' are reserved for system use")
    await _change(call, lambda old: {key: value for key, value in old.items() if key not in keys})
    return {}


@operation("DescribeTags")
def describe_tags(call: Call) -> Result:
    """AWS: elbv2 DescribeTags."""
    found = [(arn, _find(call, arn)) for arn in _arns(call)]
    return {"TagDescriptions": [{"ResourceArn": arn, "Tags": show_tags(one.meta.tags)} for arn, one in found]}


def tags_of(call: Call) -> Tags:
    """The tags that a call gives. AWS: DuplicateTagKeys, TooManyTags, ValidationError for the reserved prefix."""
    given = call.params.get("Tags") or ()
    tags: Tags = {}
    for tag in given:
        key = tag["Key"]
        if key in tags:
            raise AwsError("DuplicateTagKeys", f"Tag key was specified more than once: {key}")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys starting with 'aws:' are reserved for system use")
        tags[key] = tag.get("Value") or ""
    return _checked(tags)


def show_tags(tags: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def _checked(tags: Tags) -> Tags:
    if len(tags) > limits.TAGS_PER_RESOURCE:
        raise AwsError("TooManyTags", f"The maximum number of tags per resource is {limits.TAGS_PER_RESOURCE}")
    return tags


def _arns(call: Call) -> list[str]:
    arns = list(dict.fromkeys(call.params["ResourceArns"]))
    if len(arns) > limits.RESOURCES_PER_CALL:
        raise invalid(f"At most {limits.RESOURCES_PER_CALL} resources can be specified in a single call")
    return arns


def _find(call: Call, arn: str) -> Resource:
    finders: dict[str, Callable[[Call, str], Any]] = {
        "loadbalancer": find_balancer,
        "targetgroup": find_group,
        "listener": lambda call, arn: find_listener(call, arn)[0],
        "listener-rule": lambda call, arn: find_rule(call, arn)[0],
    }
    type_ = type_of(arn)
    if type_ == "truststore":
        raise not_built("Trust stores and their tags")
    if type_ not in finders:
        raise invalid(f"'{arn}' is not a valid load balancer, target group, listener, or rule ARN")
    found: Resource = finders[type_](call, arn)
    return found


async def _change(call: Call, change: Callable[[Tags], Tags]) -> None:
    transaction = call.transaction()
    for one in [_find(call, arn) for arn in _arns(call)]:
        meta = msgspec.structs.replace(one.meta, tags=change(one.meta.tags))
        transaction.update(msgspec.structs.replace(one, meta=meta))
    await call.commit(transaction)
