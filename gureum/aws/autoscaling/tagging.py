"""Tags of groups: changed, deleted, shown."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, no_group_to_tag
from gureum.aws.autoscaling.group_settings import read_tags
from gureum.aws.autoscaling.group_show import show_tag
from gureum.aws.autoscaling.kinds import Group, GroupTag
from gureum.aws.autoscaling.lookup import find_group, page
from gureum.aws.call import Call
from gureum.aws.marks import Result, operation

_FILTERS = ("auto-scaling-group", "key", "propagate-at-launch", "value")


@operation("CreateOrUpdateTags")
async def create_or_update_tags(call: Call) -> Result:
    """AWS: autoscaling CreateOrUpdateTags: all or none; instances that run keep theirs."""
    transaction = call.transaction()
    for name in dict.fromkeys(one.get("ResourceId") or "" for one in call.params["Tags"]):
        group = find_group(call, name, no_group_to_tag(name))
        given = [one for one in call.params["Tags"] if one.get("ResourceId") == name]
        tags = {tag.key: tag for tag in (*group.spec.tags, *read_tags(name, given))}
        if len(tags) > 50:
            raise invalid("A group can have 50 tags at most.")
        transaction.update(
            msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, tags=tuple(tags.values())))
        )
    await call.commit(transaction)
    return {}


@operation("DeleteTags")
async def delete_tags(call: Call) -> Result:
    """AWS: autoscaling DeleteTags: with a value, only when it is that value."""
    transaction = call.transaction()
    for name in dict.fromkeys(one.get("ResourceId") or "" for one in call.params["Tags"]):
        group = find_group(call, name, no_group_to_tag(name))
        gone = [one for one in call.params["Tags"] if one.get("ResourceId") == name]
        left = tuple(tag for tag in group.spec.tags if not any(_names(one, tag) for one in gone))
        transaction.update(msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, tags=left)))
    await call.commit(transaction)
    return {}


@operation("DescribeTags")
def describe_tags(call: Call) -> Result:
    """AWS: autoscaling DescribeTags: of all groups, filtered."""
    filters = call.params.get("Filters") or ()
    found = [(group, tag) for group in call.all(Group) for tag in group.spec.tags]
    found = [(group, tag) for group, tag in found if all(_passes(group, tag, one) for one in filters)]
    shown, token = page(call, found, lambda one: f"{one[0].spec.name}\0{one[1].key}")
    return {"Tags": [show_tag(group.spec.name, tag) for group, tag in shown]} | token


def _names(given: dict[str, Any], tag: GroupTag) -> bool:
    return bool(given["Key"] == tag.key and given.get("Value") in (None, "", tag.value))


def _passes(group: Group, tag: GroupTag, one: dict[str, Any]) -> bool:
    name, values = one.get("Name"), one.get("Values") or []
    if name not in _FILTERS:
        raise invalid(f"Filter type {name} is not correct. Allowed filter types are: [{', '.join(_FILTERS)}]")
    shown = {
        "auto-scaling-group": group.spec.name,
        "key": tag.key,
        "value": tag.value,
        "propagate-at-launch": str(tag.propagate).lower(),
    }
    if name == "propagate-at-launch":
        values = [value.lower() for value in values]
    return shown[name] in values
