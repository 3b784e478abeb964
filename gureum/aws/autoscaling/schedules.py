"""Scheduled actions: sizes that a group gets at a time, once or again and again."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gureum.aws.autoscaling.faults import exists, invalid
from gureum.aws.autoscaling.kinds import Group, ScheduledAction, ScheduledSpec, object_name
from gureum.aws.autoscaling.lookup import find_group, page
from gureum.aws.autoscaling.sentences import clock_text
from gureum.aws.call import Call
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import partition_of
from gureum.base.cron import next_time, parse_cron
from gureum.core.world import World
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of

LIMIT_ACTIONS, MOST_AT_ONCE = 125, 50


@operation("PutScheduledUpdateGroupAction")
async def put_scheduled_update_group_action(call: Call) -> Result:
    """AWS: autoscaling PutScheduledUpdateGroupAction: makes or changes one. AlreadyExists for two at one time."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    await _put_all(call, group, [call.params])
    return {}


@operation("BatchPutScheduledUpdateGroupAction")
async def batch_put_scheduled_update_group_action(call: Call) -> Result:
    """AWS: autoscaling BatchPutScheduledUpdateGroupAction: those that cannot be are told, the others are made."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    given = call.params["ScheduledUpdateGroupActions"]
    if len(given) > MOST_AT_ONCE:
        raise invalid(f"At most {MOST_AT_ONCE} scheduled actions can be put in one call.")
    good, failed = [], []
    for one in given:
        try:
            _made(call, group, one)
        except AwsError as error:
            name = one["ScheduledActionName"]
            failed.append({"ScheduledActionName": name, "ErrorCode": error.code, "ErrorMessage": error.message})
        else:
            good.append(one)
    if good:
        await _put_all(call, group, good)
    return {"FailedScheduledUpdateGroupActions": failed}


@operation("DeleteScheduledAction")
async def delete_scheduled_action(call: Call) -> Result:
    """AWS: autoscaling DeleteScheduledAction."""
    group, name = find_group(call, call.params["AutoScalingGroupName"]), call.params["ScheduledActionName"]
    found = call.get(ScheduledAction, object_name(group.spec.name, name))
    if found is None:
        raise invalid("Scheduled action name not found")
    transaction = call.transaction()
    transaction.delete(found)
    await call.commit(transaction)
    return {}


@operation("BatchDeleteScheduledAction")
async def batch_delete_scheduled_action(call: Call) -> Result:
    """AWS: autoscaling BatchDeleteScheduledAction: those that are not there are told."""
    group, failed = find_group(call, call.params["AutoScalingGroupName"]), []
    transaction = call.transaction()
    for name in call.params["ScheduledActionNames"]:
        found = call.get(ScheduledAction, object_name(group.spec.name, name))
        if found is None:
            failed.append(
                {
                    "ScheduledActionName": name,
                    "ErrorCode": "ValidationError",
                    "ErrorMessage": "Scheduled action name not found",
                }
            )
        else:
            transaction.delete(found)
    await call.commit(transaction)
    return {"FailedScheduledActions": failed}


@operation("DescribeScheduledActions")
def describe_scheduled_actions(call: Call) -> Result:
    """AWS: autoscaling DescribeScheduledActions: those that begin within the times asked for."""
    params = call.params
    name, names = params.get("AutoScalingGroupName"), params.get("ScheduledActionNames")
    found = call.by(ScheduledAction, "group", find_group(call, name).meta.name) if name else call.all(ScheduledAction)
    first, last = _seconds(params.get("StartTime")), _seconds(params.get("EndTime"))
    found = [one for one in found if not names or one.spec.name in names]
    if not names:
        found = [one for one in found if one.spec.due >= first and (not last or one.spec.due <= last)]
    shown, token = page(call, found, lambda one: one.meta.name)
    return {"ScheduledUpdateGroupActions": [_show(call, one) for one in shown]} | token


@reconcile(ScheduledAction)
async def reconcile_scheduled_action(world: World, action: ScheduledAction) -> None:
    """Acts when it is due, and is due again when its recurrence says so. One that was due while nobody was there acts late, once."""
    spec, now = action.spec, world.clock.now()
    group = world.client.get(Group, action.meta.scope, spec.group)
    if group is None or not spec.due:
        return
    if spec.due > now:
        world.poke(key_of(action), min(spec.due - now, 3600.0))
        return
    call = world_call(world, action)
    transaction = call.transaction()
    after = msgspec.structs.replace(spec, due=_due(spec, now))
    if after.due:
        transaction.update(msgspec.structs.replace(action, spec=after))
    else:
        transaction.delete(action)
    if "ScheduledActions" not in group.spec.suspended and not group.spec.deleting:
        transaction.update(msgspec.structs.replace(group, spec=_applied(group, spec, now)))
    await call.commit(transaction)


def _applied(group: Group, action: ScheduledSpec, now: float) -> Any:
    """The group's spec with the action's sizes; a desired capacity outside new bounds is moved to the nearer one."""
    old = group.spec
    least = old.min if action.min < 0 else action.min
    most = old.max if action.max < 0 else action.max
    if least > most:
        least, most = (least, least) if action.max < 0 else (most, most)
    desired = min(max(old.desired if action.desired < 0 else action.desired, least), most)
    text = (
        f"At {clock_text(now)} a scheduled action update of AutoScalingGroup constraints to min: {least}, max: {most}, desired: {desired} "
        f"changing the desired capacity from {old.desired} to {desired}."
    )
    return msgspec.structs.replace(old, min=least, max=most, desired=desired, why=text, failures=0, retry_at=0.0)


async def _put_all(call: Call, group: Group, given: list[dict[str, Any]]) -> None:
    transaction = call.transaction()
    transaction.require(group)
    for one in given:
        action, known = _made(call, group, one)
        if known:
            transaction.update(action)
        else:
            transaction.create(action)
    await call.commit(transaction)


def _made(call: Call, group: Group, given: dict[str, Any]) -> tuple[ScheduledAction, bool]:
    """The action as the call describes it, and whether it is there already. AWS: ValidationError, AlreadyExists, LimitExceeded."""
    name = given["ScheduledActionName"]
    key = object_name(group.spec.name, name)
    old = call.get(ScheduledAction, key)
    others = [one for one in call.by(ScheduledAction, "group", group.meta.name) if one.spec.name != name]
    if old is None and len(others) >= LIMIT_ACTIONS:
        raise AwsError("LimitExceeded", f"A group can have {LIMIT_ACTIONS} scheduled actions at most.", status=400)
    start, end = _seconds(given.get("StartTime") or given.get("Time")), _seconds(given.get("EndTime"))
    spec = ScheduledSpec(
        group.meta.name,
        name,
        old.spec.uuid if old is not None else str(uuid.uuid4()),
        given.get("Recurrence") or "",
        given.get("TimeZone") or "",
        start,
        end,
        -1 if given.get("MinSize") is None else given["MinSize"],
        -1 if given.get("MaxSize") is None else given["MaxSize"],
        -1 if given.get("DesiredCapacity") is None else given["DesiredCapacity"],
    )
    _check(call, group, spec)
    due = start or _due(spec, call.now)
    if any(one.spec.due == due and not (one.spec.recurrence or spec.recurrence) for one in others):
        raise exists("Scheduled action already exists at the given start time.")
    spec = msgspec.structs.replace(spec, due=due)
    if old is not None:
        return msgspec.structs.replace(old, spec=spec), True
    return ScheduledAction(meta=call.meta(key, owner=group), spec=spec), False


def _check(call: Call, group: Group, spec: ScheduledSpec) -> None:
    if spec.min < 0 and spec.max < 0 and spec.desired < 0:
        raise invalid("At least one of MinSize, MaxSize and DesiredCapacity must be specified.")
    if spec.min >= 0 and spec.max >= 0 and spec.min > spec.max:
        raise invalid("Min size must not be above max size.")
    if spec.desired >= 0 and ((spec.min >= 0 and spec.desired < spec.min) or (0 <= spec.max < spec.desired)):
        raise invalid("Desired capacity must be between min size and max size.")
    if spec.start and spec.start < call.now:
        raise invalid("Given start time is in the past")
    if spec.end and (spec.end <= call.now or (spec.start and spec.end <= spec.start)):
        raise invalid("Given end time must be in the future and after the start time")
    if not spec.start and not spec.recurrence:
        raise invalid("You must specify a start time or a recurrence.")
    try:
        ZoneInfo(spec.zone or "UTC")
        if spec.recurrence:
            parse_cron(spec.recurrence)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise invalid(f"Given recurrence or time zone is not valid: {error}") from error


def _due(spec: ScheduledSpec, now: float) -> float:
    """When an action that has started acts next, 0.0 for never more."""
    if not spec.recurrence:
        return 0.0
    due = next_time(parse_cron(spec.recurrence), now, spec.zone)
    return 0.0 if spec.end and due > spec.end else due


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, dt.datetime) else float(value or 0.0)


def _show(call: Call, action: ScheduledAction) -> dict[str, Any]:
    """API form. AWS: autoscaling ScheduledUpdateGroupAction."""
    spec, group = action.spec, call.get(Group, action.spec.group)
    account, region = action.meta.scope.split("/")
    group_name = group.spec.name if group else spec.group
    where = f"{spec.uuid}:autoScalingGroupName/{group_name}:scheduledActionName/{spec.name}"
    shown: dict[str, Any] = {
        "AutoScalingGroupName": group_name,
        "ScheduledActionName": spec.name,
        "ScheduledActionARN": f"arn:{partition_of(region)}:autoscaling:{region}:{account}:scheduledUpdateGroupAction:{where}",
    }
    optional = {
        "StartTime": spec.due, "Time": spec.due, "Recurrence": spec.recurrence, "TimeZone": spec.zone, "EndTime": spec.end,
    }  # fmt: skip
    shown |= {name: value for name, value in optional.items() if value}
    sizes = {"MinSize": spec.min, "MaxSize": spec.max, "DesiredCapacity": spec.desired}
    return shown | {name: value for name, value in sizes.items() if value >= 0}
