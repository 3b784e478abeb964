"""Activities: what a group did, and why. DescribeScalingActivities shows them for six weeks.

They are written in the commit of what they tell; the newest are kept, so that a group that fails for days does not fill the store.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Literal

import msgspec

from gureum.aws.autoscaling.faults import not_built
from gureum.aws.autoscaling.kinds import Activity, ActivitySpec, Group
from gureum.aws.autoscaling.lookup import find_group, page
from gureum.aws.autoscaling.notices import tell_activity
from gureum.aws.call import Call
from gureum.aws.marks import Result, operation
from gureum.engine.client import Transaction

What = Literal["", "launch", "terminate", "detach"]
LIFE_S = 42 * 86400.0
MOST_PER_GROUP = 500


@operation("DescribeScalingActivities")
def describe_scaling_activities(call: Call) -> Result:
    """AWS: autoscaling DescribeScalingActivities: the newest first."""
    for refused in ("IncludeDeletedGroups", "Filters"):
        if call.params.get(refused):
            raise not_built(f"DescribeScalingActivities with {refused}")
    name, ids = call.params.get("AutoScalingGroupName"), call.params.get("ActivityIds")
    found = call.by(Activity, "group", find_group(call, name).meta.name) if name else call.all(Activity)
    found = [one for one in found if not ids or one.meta.name in ids]
    shown, token = page(call, found, _newest_first, default=100)
    return {"Activities": [show_activity(call, one) for one in shown]} | token


def begin(
    call: Call,
    transaction: Transaction,
    group: Group,
    description: str,
    cause: str,
    *,
    what: What = "",
    instance: str = "",
    zone: str = "",
    subnet: str = "",
) -> Activity:
    """A new activity that goes on. `what`: told to topics and as an event when it ends."""
    details = {"Subnet ID": subnet, "Availability Zone": zone} if subnet else {"Availability Zone": zone}
    text = json.dumps({name: value for name, value in details.items() if value})
    spec = ActivitySpec(group.meta.name, description, cause, call.now, text, what=what, instance=instance)
    _sweep(call, transaction, group)
    return transaction.create(Activity(meta=call.meta(str(uuid.uuid4()), owner=group), spec=spec))


def end(call: Call, transaction: Transaction, name: str, status: str = "Successful", message: str = "") -> None:
    """The activity is over; of one that is gone it is success."""
    activity = call.get(Activity, name) if name else None
    if activity is None or activity.spec.end:
        return
    spec = msgspec.structs.replace(activity.spec, status=status, progress=100, end=call.now, message=message)
    ended = transaction.update(msgspec.structs.replace(activity, spec=spec))
    group = call.get(Group, activity.spec.group)
    if group is not None:
        tell_activity(call, transaction, group, ended)


def note(call: Call, transaction: Transaction, name: str, status: str, progress: int) -> None:
    """It has come so far."""
    activity = call.get(Activity, name) if name else None
    if activity is not None and not activity.spec.end and activity.spec.status != status:
        spec = msgspec.structs.replace(activity.spec, status=status, progress=progress)
        transaction.update(msgspec.structs.replace(activity, spec=spec))


def record(
    call: Call, transaction: Transaction, group: Group, description: str, cause: str, status: str, message: str
) -> Activity:
    """One that is over as soon as it is told (a failed launch)."""
    spec = ActivitySpec(
        group.meta.name, description, cause, call.now, "{}", status, 100, call.now, message, what="launch"
    )
    _sweep(call, transaction, group)
    made = transaction.create(Activity(meta=call.meta(str(uuid.uuid4()), owner=group), spec=spec))
    tell_activity(call, transaction, group, made)
    return made


def show_activity(call: Call, activity: Activity) -> dict[str, Any]:
    """API form. AWS: autoscaling Activity."""
    spec, group = activity.spec, call.get(Group, activity.spec.group)
    shown: dict[str, Any] = {
        "ActivityId": activity.meta.name,
        "AutoScalingGroupName": group.spec.name if group else spec.group,
        "Description": spec.description,
        "Cause": spec.cause,
        "StartTime": spec.start,
        "StatusCode": spec.status,
        "Progress": spec.progress,
        "Details": spec.details,
    }
    if group is not None:
        shown["AutoScalingGroupARN"] = group.arn
    return (
        shown | ({"EndTime": spec.end} if spec.end else {}) | ({"StatusMessage": spec.message} if spec.message else {})
    )


def _newest_first(activity: Activity) -> str:
    return f"{1e12 - activity.spec.start:020.6f}{activity.meta.name}"


def _sweep(call: Call, transaction: Transaction, group: Group) -> None:
    known = sorted(call.by(Activity, "group", group.meta.name), key=_newest_first)
    for old in [
        *known[MOST_PER_GROUP:],
        *(one for one in known[:MOST_PER_GROUP] if one.spec.start < call.now - LIFE_S),
    ][:50]:
        transaction.delete(old)
