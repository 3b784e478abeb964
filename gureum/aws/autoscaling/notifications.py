"""Notifications of a group: which topics hear of which of its activities (notices.py has how they hear of them).

AWS: "Amazon SNS notification options for Amazon EC2 Auto Scaling".
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid
from gureum.aws.autoscaling.groups import replace_spec
from gureum.aws.autoscaling.kinds import Group, Notification
from gureum.aws.autoscaling.lookup import find_group, page
from gureum.aws.autoscaling.notices import tell_test
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import without_partition

TYPES = (
    "autoscaling:EC2_INSTANCE_LAUNCH",
    "autoscaling:EC2_INSTANCE_LAUNCH_ERROR",
    "autoscaling:EC2_INSTANCE_TERMINATE",
    "autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
    "autoscaling:TEST_NOTIFICATION",
)
LIMIT_TOPICS = 10


@operation("PutNotificationConfiguration")
async def put_notification_configuration(call: Call) -> Result:
    """AWS: autoscaling PutNotificationConfiguration: replaces what the topic heard of; it hears a test notification."""
    group, topic = find_group(call, call.params["AutoScalingGroupName"]), call.params["TopicARN"]
    types = tuple(dict.fromkeys(call.params["NotificationTypes"]))
    for name in types:
        if name not in TYPES:
            raise invalid(f"1 validation error detected: '{name}' is not a valid notification type.")
    if not without_partition(topic).startswith("arn:aws:sns:"):
        raise invalid(f"Invalid topic ARN: {topic}")
    others = tuple(one for one in group.spec.notifications if one.topic != topic)
    if len(others) >= LIMIT_TOPICS:
        raise AwsError("LimitExceeded", f"A group can have {LIMIT_TOPICS} notification topics at most.", status=400)
    spec = msgspec.structs.replace(group.spec, notifications=(*others, Notification(topic, types)))
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(group, spec=spec))
    tell_test(call, transaction, group, topic)
    await call.commit(transaction)
    return {}


@operation("DeleteNotificationConfiguration")
async def delete_notification_configuration(call: Call) -> Result:
    """AWS: autoscaling DeleteNotificationConfiguration."""
    group, topic = find_group(call, call.params["AutoScalingGroupName"]), call.params["TopicARN"]
    left = tuple(one for one in group.spec.notifications if one.topic != topic)
    if left == group.spec.notifications:
        raise invalid(f"Notification Topic '{topic}' doesn't exist for '{group.spec.name}'")
    await replace_spec(call, group, msgspec.structs.replace(group.spec, notifications=left))
    return {}


@operation("DescribeNotificationConfigurations")
def describe_notification_configurations(call: Call) -> Result:
    """AWS: autoscaling DescribeNotificationConfigurations: one entry per group, topic and type."""
    names = call.params.get("AutoScalingGroupNames")
    found = [
        {"AutoScalingGroupName": group.spec.name, "TopicARN": one.topic, "NotificationType": name}
        for group in call.all(Group)
        if not names or group.spec.name in names
        for one in group.spec.notifications
        for name in one.types
    ]
    shown, token = page(call, found, _place)
    return {"NotificationConfigurations": shown} | token


@operation("DescribeAutoScalingNotificationTypes")
def describe_auto_scaling_notification_types(call: Call) -> Result:
    """AWS: autoscaling DescribeAutoScalingNotificationTypes."""
    return {"AutoScalingNotificationTypes": list(TYPES)}


def _place(shown: dict[str, Any]) -> str:
    return "\t".join(shown.values())
