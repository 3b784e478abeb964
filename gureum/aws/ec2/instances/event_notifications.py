"""Which tags of an instance are told with notices of scheduled events. gureum schedules none, so it is remembered only."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of, write_settings
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

EVERY = "*"
LIMIT_KEYS = 10


@operation("RegisterInstanceEventNotificationAttributes", level="state")
async def register_instance_event_notification_attributes(call: Call) -> Result:
    """AWS: ec2 RegisterInstanceEventNotificationAttributes."""
    keys = _keys(call)
    before = settings_of(call).event_tags
    if keys != (EVERY,) and before != (EVERY,):
        keys = tuple(dict.fromkeys((*before, *keys)))
        if len(keys) > LIMIT_KEYS:
            raise ids.invalid(f"At most {LIMIT_KEYS} tag keys can be registered.")
    await write_settings(call, event_tags=keys)
    return _show(keys)


@operation("DeregisterInstanceEventNotificationAttributes", level="state")
async def deregister_instance_event_notification_attributes(call: Call) -> Result:
    """AWS: ec2 DeregisterInstanceEventNotificationAttributes."""
    keys = _keys(call)
    before = settings_of(call).event_tags
    left = () if keys == (EVERY,) else tuple(one for one in before if one not in keys)
    await write_settings(call, event_tags=left)
    return _show(left)


@operation("DescribeInstanceEventNotificationAttributes", level="state")
def describe_instance_event_notification_attributes(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceEventNotificationAttributes."""
    call.end_dry_run()
    return _show(settings_of(call).event_tags)


def _keys(call: Call) -> tuple[str, ...]:
    wanted: dict[str, Any] = call.params["InstanceTagAttribute"]
    keys = tuple(wanted.get("InstanceTagKeys") or ())
    if bool(keys) == bool(wanted.get("IncludeAllTagsOfInstance")):
        text = "Specify either IncludeAllTagsOfInstance or InstanceTagKeys."
        raise AwsError("InvalidParameterCombination", text)
    for key in keys:
        if not 1 <= len(key) <= 128 or key.startswith("aws:"):
            raise ids.invalid(f"Value ({key[:128]}) for parameter instanceTagKey is invalid.")
    return keys or (EVERY,)


def _show(keys: tuple[str, ...]) -> Result:
    if keys == (EVERY,):
        return {"InstanceTagAttribute": {"IncludeAllTagsOfInstance": True, "InstanceTagKeys": []}}
    return {"InstanceTagAttribute": {"IncludeAllTagsOfInstance": False, "InstanceTagKeys": list(keys)}}
