"""How an operation finds what it names: the group, its members, and pages of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gureum.aws import paging
from gureum.aws.autoscaling.faults import invalid, no_group
from gureum.aws.autoscaling.kinds import Group, Member, object_name
from gureum.aws.call import Call
from gureum.aws.errors import AwsError

T = TypeVar("T")


def find_group(call: Call, name: str, missing: AwsError | None = None) -> Group:
    """AWS: ValidationError when there is none, `missing` where the operation has other words for it."""
    found = call.get(Group, object_name(name))
    if found is None or found.spec.deleting:
        raise missing or no_group(name)
    return found


def members_of(call: Call, group: Group) -> list[Member]:
    """By time of launch."""
    found = call.by(Member, "group", group.meta.name)
    return sorted(found, key=lambda one: (one.spec.launched, one.meta.name))


def find_members(call: Call, group: Group, ids: Sequence[str]) -> list[Member]:
    """Each once. AWS: ValidationError for one that is not of the group."""
    found = []
    for id_ in dict.fromkeys(ids):
        member = call.get(Member, id_)
        if member is None or member.spec.group != group.meta.name:
            raise invalid(f"The instance {id_} is not part of Auto Scaling group {group.spec.name}.")
        found.append(member)
    return found


def find_member(call: Call, id_: str) -> tuple[Group, Member]:
    """AWS: ValidationError."""
    member = call.get(Member, id_)
    group = call.get(Group, member.spec.group) if member is not None else None
    if member is None or group is None:
        raise invalid(f"Instance Id not found - No managed instance found for instance ID: {id_}")
    return group, member


def page(
    call: Call, items: Sequence[T], key: Callable[[T], str], *, most: int = 100, default: int = 50
) -> tuple[list[T], dict[str, str]]:
    """The page that is asked for, and {"NextToken": …} when there is more. AWS: InvalidNextToken."""
    try:
        shown, token = paging.page(
            call.params, items, key, limit_name="MaxRecords", least=1, most=most, default=default
        )
    except AwsError as error:
        if call.params.get("NextToken"):
            raise AwsError("InvalidNextToken", "The token is not valid.", status=400) from error
        raise invalid(f"MaxRecords must be between 1 and {most}.") from error
    return shown, {"NextToken": token} if token else {}
