"""Tags of log groups, in both of the API's forms: TagResource and its kin take an ARN, TagLogGroup and its kin a name."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import LogGroup, find_group, invalid, name_of_arn, not_built
from gureum.aws.marks import Result, operation

LIMIT_TAGS = 50
Tags = dict[str, str]


def check_tags(tags: Tags) -> None:
    """AWS: keys that start with "aws:" are its own."""
    if any(key.lower().startswith("aws:") for key in tags):
        raise invalid("Tag keys starting with aws: are reserved for AWS.")


@operation("TagResource")
async def tag_resource(call: Call) -> Result:
    """AWS: logs TagResource."""
    return await _tag(
        call, _of_arn(call), AwsError("TooManyTagsException", f"A resource has at most {LIMIT_TAGS} tags.")
    )


@operation("TagLogGroup")
async def tag_log_group(call: Call) -> Result:
    """AWS: logs TagLogGroup."""
    return await _tag(call, _of_name(call), invalid(f"A resource has at most {LIMIT_TAGS} tags."))


@operation("UntagResource")
async def untag_resource(call: Call) -> Result:
    """AWS: logs UntagResource. Keys that are not there are no error."""
    keys = set(call.params["tagKeys"])
    return await _change(call, _of_arn(call), lambda tags: {key: tags[key] for key in tags if key not in keys})


@operation("UntagLogGroup")
async def untag_log_group(call: Call) -> Result:
    """AWS: logs UntagLogGroup."""
    keys = set(call.params["tags"])
    return await _change(call, _of_name(call), lambda tags: {key: tags[key] for key in tags if key not in keys})


@operation("ListTagsForResource")
def list_tags_for_resource(call: Call) -> Result:
    """AWS: logs ListTagsForResource."""
    return {"tags": _of_arn(call).meta.tags}


@operation("ListTagsLogGroup")
def list_tags_log_group(call: Call) -> Result:
    """AWS: logs ListTagsLogGroup."""
    return {"tags": _of_name(call).meta.tags}


def _of_arn(call: Call) -> LogGroup:
    arn = call.params["resourceArn"]
    if ":destination:" in arn:
        raise not_built("Tags of destinations")
    return find_group(call, name_of_arn(call, arn))


def _of_name(call: Call) -> LogGroup:
    return find_group(call, call.params["logGroupName"])


async def _tag(call: Call, group: LogGroup, too_many: AwsError) -> Result:
    tags = call.params["tags"]
    check_tags(tags)
    if len(group.meta.tags | tags) > LIMIT_TAGS:
        raise too_many
    return await _change(call, group, lambda old: old | tags)


async def _change(call: Call, group: LogGroup, change: Callable[[Tags], Tags]) -> Result:
    transaction = call.transaction()
    meta = msgspec.structs.replace(group.meta, tags=change(group.meta.tags))
    transaction.update(msgspec.structs.replace(group, meta=meta))
    await call.commit(transaction)
    return {}
