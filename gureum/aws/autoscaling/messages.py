"""What others are told of a group: the messages of its topics, and the events of EventBridge. Pure.

AWS: "Amazon SNS notification options for Amazon EC2 Auto Scaling", "Amazon EC2 Auto Scaling event reference". An activity that ended well is told
with the status "InProgress", as AWS does.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, NamedTuple

from gureum.aws.autoscaling.kinds import Activity, Group, Member, Refresh, Wait
from gureum.aws.autoscaling.refresh_progress import DEFAULT_CHECKPOINT_DELAY_S, preferences
from gureum.aws.partitions import partition_of

SERVICE = "AWS Auto Scaling"
LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
TEST = "autoscaling:TEST_NOTIFICATION"
_TYPES = {"launch": "autoscaling:EC2_INSTANCE_LAUNCH", "terminate": "autoscaling:EC2_INSTANCE_TERMINATE"}
_GROUP = "AutoScalingGroup"
_SUBJECTS = {"launch": "launch", "terminate": "termination"}
_NAMES = {"launch": "Launch", "terminate": "Terminate", "detach": "Detach"}
_REFRESH = {
    "InProgress": "Started",
    "Successful": "Succeeded",
    "Failed": "Failed",
    "Cancelled": "Cancelled",
    "RollbackInProgress": "Rollback Started",
    "RollbackSuccessful": "Rollback Succeeded",
    "RollbackFailed": "Rollback Failed",
    "Baking": "Started Baking",
}


class Told(NamedTuple):
    """`type`: AWS's name of what a topic may hear of."""

    type: str
    subject: str
    message: dict[str, Any]


def activity_message(group: Group, activity: Activity) -> Told | None:
    """Of an activity that has ended; None of one that topics do not hear of."""
    spec = activity.spec
    if spec.what not in _TYPES:
        return None
    well = spec.status == "Successful"
    name = _TYPES[spec.what] + ("" if well else "_ERROR")
    failed = "" if well else "failed "
    subject = f'Auto Scaling: {failed}{_SUBJECTS[spec.what]} for group "{group.spec.name}"'
    message = {
        **_start(group, activity.meta.name, spec.end),
        "Event": name,
        "Progress": 50 if well else 100,
        "AutoScalingGroupARN": group.arn,
        **_of_activity(activity),
    }
    return Told(name, subject, message)


def wait_message(group: Group, member: Member, wait: Wait, metadata: str, now: float) -> Told:
    """Of a member that begins to wait for a hook. `metadata`: the hook's."""
    transition, id_ = _transition(member), member.meta.name
    subject = f"Auto Scaling:  Lifecycle action '{transition.rpartition('_')[2]}' for instance {id_} in progress."
    told = _start(group, str(uuid.uuid4()), now) | _of_wait(member, wait, metadata)
    return Told(transition, subject, told)


def test_message(group: Group, now: float) -> Told:
    """What a topic hears when it is named."""
    subject = f'Auto Scaling: test notification for group "{group.spec.name}"'
    told = {"Event": TEST, "AutoScalingGroupARN": group.arn}
    return Told(TEST, subject, _start(group, str(uuid.uuid4()), now) | told)


def activity_event(group: Group, activity: Activity) -> dict[str, Any]:
    """AWS: "EC2 Instance Launch Successful" and its like."""
    spec = activity.spec
    outcome = "Successful" if spec.status == "Successful" else "Unsuccessful"
    detail = {"AutoScalingGroupName": group.spec.name, "RequestId": activity.meta.name, **_of_activity(activity)}
    account, region = group.meta.scope.split("/")
    resources = [group.arn]
    if spec.instance:
        resources.append(f"arn:{partition_of(region)}:ec2:{region}:{account}:instance/{spec.instance}")
    return _event(group, f"EC2 Instance {_NAMES[spec.what]} {outcome}", resources, detail, spec.end)


def wait_event(group: Group, member: Member, wait: Wait, metadata: str, now: float) -> dict[str, Any]:
    """AWS: "EC2 Instance-launch Lifecycle Action" and "EC2 Instance-terminate Lifecycle Action"."""
    name = f"EC2 Instance-{'launch' if _transition(member) == LAUNCHING else 'terminate'} Lifecycle Action"
    detail = {"AutoScalingGroupName": group.spec.name} | _of_wait(member, wait, metadata)
    return _event(group, name, [group.arn], detail, now)


def refresh_event(group: Group, refresh: Refresh, now: float) -> dict[str, Any] | None:
    """AWS: "EC2 Auto Scaling Instance Refresh Started" and its like; None of a status that has none."""
    what = _REFRESH.get(refresh.spec.status)
    if what is None:
        return None
    detail = {"InstanceRefreshId": refresh.meta.name, "AutoScalingGroupName": group.spec.name}
    return _event(group, f"EC2 Auto Scaling Instance Refresh {what}", [group.arn], detail, now)


def checkpoint_event(group: Group, refresh: Refresh, now: float) -> dict[str, Any]:
    """AWS: "EC2 Auto Scaling Instance Refresh Checkpoint Reached", of the one it waits at now."""
    wanted = preferences(refresh.spec)
    detail = {
        "InstanceRefreshId": refresh.meta.name,
        "AutoScalingGroupName": group.spec.name,
        "CheckpointPercentage": str(wanted["CheckpointPercentages"][refresh.spec.checkpoints_passed - 1]),
        "CheckpointDelay": str(wanted.get("CheckpointDelay", DEFAULT_CHECKPOINT_DELAY_S)),
    }
    return _event(group, "EC2 Auto Scaling Instance Refresh Checkpoint Reached", [group.arn], detail, now)


def _of_activity(activity: Activity) -> dict[str, Any]:
    spec = activity.spec
    out = spec.what == "launch"
    return {
        "StatusCode": "InProgress" if spec.status == "Successful" else spec.status,
        "StatusMessage": spec.message,
        "Description": spec.description,
        "ActivityId": activity.meta.name,
        "StartTime": _precise(spec.start),
        "EndTime": _precise(spec.end),
        "EC2InstanceId": spec.instance,
        "Details": json.loads(spec.details),
        "Cause": spec.cause,
        "Origin": "EC2" if out else _GROUP,
        "Destination": _GROUP if out else "EC2",
    }


def _transition(member: Member) -> str:
    return TERMINATING if "Terminating" in member.spec.state else LAUNCHING


def _way(member: Member) -> tuple[str, str]:
    """Where a member that waits comes from, and where it goes. AWS: "Warm pool events"."""
    spec, pool = member.spec, "WarmPool"
    if "Terminating" in spec.state:
        return (pool if member.warm else _GROUP), (pool if spec.returning else "EC2")
    if member.warm:
        return (_GROUP if spec.in_service else "EC2"), pool
    return (pool if spec.pooled else "EC2"), _GROUP


def _of_wait(member: Member, wait: Wait, metadata: str) -> dict[str, Any]:
    origin, destination = _way(member)
    told = {
        "LifecycleActionToken": wait.token,
        "LifecycleHookName": wait.hook,
        "EC2InstanceId": member.meta.name,
        "LifecycleTransition": _transition(member),
        "Origin": origin,
        "Destination": destination,
    }
    return told | ({"NotificationMetadata": metadata} if metadata else {})


def _start(group: Group, request: str, now: float) -> dict[str, Any]:
    return {
        "Service": SERVICE,
        "Time": _precise(now),
        "RequestId": request,
        "AccountId": group.meta.scope.split("/")[0],
        "AutoScalingGroupName": group.spec.name,
    }


def _event(group: Group, name: str, resources: list[str], detail: dict[str, Any], now: float) -> dict[str, Any]:
    account, region = group.meta.scope.split("/")
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": name,
        "source": "aws.autoscaling",
        "account": account,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "region": region,
        "resources": resources,
        "detail": detail,
    }


def _precise(seconds: float) -> str:
    """ "2026-01-31T12:00:00.123Z" """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03}Z"
