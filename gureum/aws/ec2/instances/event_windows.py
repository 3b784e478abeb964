"""Instance event windows: when an instance may be disturbed by scheduled events. gureum schedules none, so windows are remembered only."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import EVENT_WINDOW
from gureum.aws.ec2.instances.changes import living_instance
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.engine.resource import Resource, kind

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
LEAST_RANGE_H, LEAST_WEEK_H, WEEK_H = 2, 4, 168
LIMIT_CRON = 200
LIMIT_WINDOWS, LIMIT_RANGES, LIMIT_INSTANCES, LIMIT_TAGS = 200, 84, 100, 50
_CRON = re.compile(r"\* (\d+-\d+(?:,\d+-\d+)*) \* \* (\*|[A-Z0-9-]+(?:,[A-Z0-9-]+)*)", re.ASCII | re.IGNORECASE)
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_CRON_DAYS = {name: day for day, one in enumerate(_DAY_NAMES) for name in (one, str(day))}


class WindowSpec(msgspec.Struct, frozen=True):
    """`ranges`: (first day, hour, last day, hour), the hours from 0 to 23; empty with a `cron` expression. `tags`: (key, value) of the instances that
    it is for."""

    window_name: str
    ranges: tuple[tuple[str, int, str, int], ...] = ()
    cron: str = ""
    instances: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@kind("ec2.InstanceEventWindow")
class InstanceEventWindow(Resource, frozen=True):
    spec: WindowSpec


@operation("CreateInstanceEventWindow", level="state")
async def create_instance_event_window(call: Call) -> Result:
    """AWS: ec2 CreateInstanceEventWindow."""
    if len(call.all(InstanceEventWindow)) >= LIMIT_WINDOWS:
        raise AwsError("InstanceEventWindowLimitExceeded", f"At most {LIMIT_WINDOWS} event windows can be made.")
    ranges, cron = _times(call.params)
    if not ranges and not cron:
        raise AwsError("InvalidParameterCombination", "Specify either TimeRanges or CronExpression.")
    spec = WindowSpec(call.params.get("Name") or "", ranges, cron)
    transaction = call.transaction()
    meta = call.meta(new_id("iew-"), tags=tags_of(call, "instance-event-window"))
    window = transaction.create(InstanceEventWindow(meta=meta, spec=spec))
    await call.commit(transaction)
    return {"InstanceEventWindow": _show(window) | {"State": "creating"}}


@operation("ModifyInstanceEventWindow", level="state")
async def modify_instance_event_window(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceEventWindow: new times replace the old ones."""
    window = _find(call)
    ranges, cron = _times(call.params)
    fields: dict[str, Any] = {"ranges": ranges, "cron": cron} if ranges or cron else {}
    if "Name" in call.params:
        fields["window_name"] = call.params["Name"]
    return await _write(call, window, **fields)


@operation("DeleteInstanceEventWindow", level="state")
async def delete_instance_event_window(call: Call) -> Result:
    """AWS: ec2 DeleteInstanceEventWindow: one that has a target only with ForceDelete."""
    window = _find(call)
    if (window.spec.instances or window.spec.tags) and not call.params.get("ForceDelete"):
        text = f"The instance event window '{window.meta.name}' is associated with a target."
        raise AwsError("InvalidInstanceEventWindowState", text)
    transaction = call.transaction()
    transaction.delete(window)
    await call.commit(transaction)
    return {"InstanceEventWindowState": {"InstanceEventWindowId": window.meta.name, "State": "deleting"}}


@operation("AssociateInstanceEventWindow", level="state")
async def associate_instance_event_window(call: Call) -> Result:
    """AWS: ec2 AssociateInstanceEventWindow: with instances or with tags."""
    window = _find(call)
    instances, tags = _target(call)
    for name in instances:
        living_instance(call, name)
        other = next((one for one in call.all(InstanceEventWindow) if name in one.spec.instances), None)
        if other is not None and other.meta.name != window.meta.name:
            text = f"The instance '{name}' is associated with the event window '{other.meta.name}'."
            raise AwsError("InvalidInstanceEventWindowTarget", text)
    if (instances and window.spec.tags) or (tags and window.spec.instances):
        text = "An event window is associated with instances or with tags, not with both."
        raise AwsError("InvalidParameterCombination", text)
    instances = tuple(dict.fromkeys((*window.spec.instances, *instances)))
    tags = tuple(dict.fromkeys((*window.spec.tags, *tags)))
    if len(instances) > LIMIT_INSTANCES or len(tags) > LIMIT_TAGS:
        text = f"An event window has at most {LIMIT_INSTANCES} instances or {LIMIT_TAGS} tags."
        raise AwsError("InstanceEventWindowTargetLimitExceeded", text)
    return await _write(call, window, instances=instances, tags=tags)


@operation("DisassociateInstanceEventWindow", level="state")
async def disassociate_instance_event_window(call: Call) -> Result:
    """AWS: ec2 DisassociateInstanceEventWindow."""
    window = _find(call)
    instances, tags = _target(call)
    if not set(instances) <= set(window.spec.instances) or not set(tags) <= set(window.spec.tags):
        text = f"The target is not associated with the event window '{window.meta.name}'."
        raise AwsError("InvalidInstanceEventWindowTarget", text)
    left = tuple(one for one in window.spec.instances if one not in instances)
    return await _write(call, window, instances=left, tags=tuple(one for one in window.spec.tags if one not in tags))


@operation("DescribeInstanceEventWindows", level="state")
def describe_instance_event_windows(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceEventWindows."""
    found, token = listing(call, InstanceEventWindow, EVENT_WINDOW, "InstanceEventWindowIds", _FILTERS, default=100)
    return answer("InstanceEventWindows", [_show(one) for one in found], token)


@operation("ModifyInstanceEventStartTime", level="state")
def modify_instance_event_start_time(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceEventStartTime: of an event of the instance; gureum schedules none."""
    living_instance(call, call.params["InstanceId"])
    event = call.params["InstanceEventId"]
    text = f"The instance event ID '{event[:100]}' does not exist."
    raise AwsError("InvalidInstanceEventIDNotFound", text)


def _find(call: Call) -> InstanceEventWindow:
    return ids.find(call, InstanceEventWindow, EVENT_WINDOW, call.params["InstanceEventWindowId"])


def _times(params: dict[str, Any]) -> tuple[tuple[tuple[str, int, str, int], ...], str]:
    """AWS: InvalidParameterCombination, InvalidParameterValue."""
    wanted, cron = params.get("TimeRanges") or (), params.get("CronExpression") or ""
    if wanted and cron:
        raise AwsError("InvalidParameterCombination", "Specify either TimeRanges or CronExpression.")
    if cron and not _is_cron(cron):
        raise ids.invalid(f"Value ({cron[:100]}) for parameter cronExpression is invalid.")
    if len(wanted) > LIMIT_RANGES:
        raise ids.invalid(f"At most {LIMIT_RANGES} time ranges can be given.")
    ranges = tuple(_range(one) for one in wanted)
    if ranges and sum(map(_hours, ranges)) < LEAST_WEEK_H:
        raise ids.invalid(f"The time ranges must be at least {LEAST_WEEK_H} hours a week.")
    return ranges, cron


def _range(one: dict[str, Any]) -> tuple[str, int, str, int]:
    for name in ("StartWeekDay", "StartHour", "EndWeekDay", "EndHour"):
        if one.get(name) is None:
            raise ids.missing(f"TimeRange.{name}")
    for name in ("StartHour", "EndHour"):
        if not 0 <= one[name] <= 23:
            raise ids.invalid(f"Value ({one[name]}) for parameter {name} is invalid. Between 0 and 23.")
    for name in ("StartWeekDay", "EndWeekDay"):
        if one[name] not in DAYS:
            raise ids.invalid(f"Value ({one[name]}) for parameter {name} is invalid.")
    found = (one["StartWeekDay"], one["StartHour"], one["EndWeekDay"], one["EndHour"])
    if _hours(found) < LEAST_RANGE_H:
        raise ids.invalid(f"A time range must be at least {LEAST_RANGE_H} hours long.")
    return found


def _is_cron(text: str) -> bool:
    """AWS: ec2 CreateInstanceEventWindow, CronExpression: ranges of two hours or more, on days 0-6 or SUN-SAT, four hours a week. The last hour
    counts whole."""
    found = _CRON.fullmatch(text) if len(text) <= LIMIT_CRON else None
    if found is None:
        return False
    hours = [tuple(map(int, one.split("-"))) for one in found[1].split(",")]
    days: set[int] = set(range(7)) if found[2] == "*" else set()
    for one in found[2].upper().split(",") if not days else ():
        ends = [_CRON_DAYS.get(end, len(_DAY_NAMES)) for end in one.split("-")]
        if len(ends) > 2 or not ends[0] <= ends[-1] < len(_DAY_NAMES):
            return False
        days.update(range(ends[0], ends[-1] + 1))
    if any(last > 23 or last - first + 1 < LEAST_RANGE_H for first, last in hours):
        return False
    return sum(last - first + 1 for first, last in hours) * len(days) >= LEAST_WEEK_H


def _hours(one: tuple[str, int, str, int]) -> int:
    start, end = DAYS.index(one[0]) * 24 + one[1], DAYS.index(one[2]) * 24 + one[3]
    return (end - start) % WEEK_H


def _target(call: Call) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    wanted = call.params["AssociationTarget"]
    if wanted.get("DedicatedHostIds"):
        raise ids.not_built("Event windows of dedicated hosts")
    instances = tuple(wanted.get("InstanceIds") or ())
    tags = tuple((one.get("Key") or "", one.get("Value") or "") for one in wanted.get("InstanceTags") or ())
    if bool(instances) == bool(tags):
        raise AwsError("InvalidParameterCombination", "Specify either instances or tags as target.")
    return instances, tags


async def _write(call: Call, window: InstanceEventWindow, **fields: Any) -> Result:
    changed = msgspec.structs.replace(window, spec=msgspec.structs.replace(window.spec, **fields))
    transaction = call.transaction()
    transaction.update(changed)
    await call.commit(transaction)
    return {"InstanceEventWindow": _show(changed)}


def _show(window: InstanceEventWindow) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceEventWindow."""
    spec = window.spec
    names = ("StartWeekDay", "StartHour", "EndWeekDay", "EndHour")
    shown: dict[str, Any] = {
        "InstanceEventWindowId": window.meta.name,
        "Name": spec.window_name,
        "State": "active",
        "Tags": show_tags(window.meta.tags),
    }
    if spec.cron:
        shown["CronExpression"] = spec.cron
    else:
        shown["TimeRanges"] = [dict(zip(names, one, strict=True)) for one in spec.ranges]
    if spec.instances or spec.tags:
        tags = [{"Key": key, "Value": value} for key, value in spec.tags]
        shown["AssociationTarget"] = {"InstanceIds": list(spec.instances), "Tags": tags, "DedicatedHostIds": []}
    return shown


_FILTERS: FilterTable = {
    "dedicated-host-id": lambda _: (),
    "event-window-name": lambda one: one.spec.window_name,
    "instance-id": lambda one: one.spec.instances,
    "instance-tag": lambda one: tuple(f"{key}={value}" for key, value in one.spec.tags),
    "instance-tag-key": lambda one: tuple(key for key, _ in one.spec.tags),
    "instance-tag-value": lambda one: tuple(value for _, value in one.spec.tags),
}
