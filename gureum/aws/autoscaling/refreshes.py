"""Instance refreshes as operations: started, cancelled, rolled back and shown. What they do is in refreshing.py."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.group_settings import read_source
from gureum.aws.autoscaling.kinds import STANDBY, Group, Member, Refresh, RefreshSpec
from gureum.aws.autoscaling.launching import check_template, template_now
from gureum.aws.autoscaling.lookup import find_group, members_of, page
from gureum.aws.autoscaling.mixed import is_weighted
from gureum.aws.autoscaling.refresh_progress import can_go_back, ended, preferences, turned_back
from gureum.aws.autoscaling.refresh_progress import shown as progress
from gureum.aws.autoscaling.refreshing import DEFAULT_LEAST, active_refresh, own_source, to_replace
from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_show import find_alarm
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

LIFE_S = 42 * 86400.0
LONGEST_BAKE_S, MOST_ALARMS = 172800, 10


@operation("StartInstanceRefresh")
async def start_instance_refresh(call: Call) -> Result:
    """AWS: autoscaling StartInstanceRefresh. InstanceRefreshInProgress while another goes on."""
    params = call.params
    group = find_group(call, params["AutoScalingGroupName"])
    if active_refresh(call, group) is not None:
        raise AwsError(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
            status=400,
        )
    wanted = params.get("Preferences") or {}
    _check(call, params, wanted)
    spec = group.spec
    desired = params.get("DesiredConfiguration") or {}
    if desired.get("LaunchTemplate") and spec.mixed is not None:
        raise invalid("The desired configuration of a group with a mixed instances policy must be one as well.")
    if named := {name: desired[name] for name in ("LaunchTemplate", "MixedInstancesPolicy") if desired.get(name)}:
        spec = msgspec.structs.replace(spec, **read_source(call, named, spec))
        check_template(call, msgspec.structs.replace(group, spec=spec))
    if is_weighted(spec) or is_weighted(group.spec):
        raise not_built("An instance refresh of a group with weights")
    transaction = call.transaction()
    after = transaction.update(
        msgspec.structs.replace(group, spec=msgspec.structs.replace(spec, failures=0, retry_at=0.0))
    )
    members = [one for one in members_of(call, group) if one.counts or one.spec.state in STANDBY]
    old = to_replace(members, after, template_now(call, after), skip_matching=bool(wanted.get("SkipMatching")))
    kept: dict[str, object] = {
        name: params[name] for name in ("Preferences", "DesiredConfiguration", "Strategy") if name in params
    }
    refresh = RefreshSpec(
        group.meta.name,
        kept,
        start=call.now,
        old=old,
        total=len(old),
        before=group.spec.template,
        before_configuration=group.spec.configuration,
        before_mixed=group.spec.mixed,
    )
    transaction.require_no_newer(Member, call.scope)
    made = transaction.create(Refresh(meta=call.meta(str(uuid.uuid4()), owner=group), spec=refresh))
    _sweep(call, transaction, group)
    await call.commit(transaction)
    return {"InstanceRefreshId": made.meta.name}


@operation("CancelInstanceRefresh")
async def cancel_instance_refresh(call: Call) -> Result:
    """AWS: autoscaling CancelInstanceRefresh: what has been replaced stays so, but the group launches from its own settings
    again; unless it is told not to, it waits for what is under way."""
    group, refresh = _active(call)
    spec = msgspec.structs.replace(refresh.spec, status="Cancelling", reason="Cancelled due to user request.")
    if not call.params.get("WaitForTransitioningInstances", True):
        spec = ended(members_of(call, group), group.spec, spec, call.now, "Cancelled")
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(refresh, spec=spec))
    own = msgspec.structs.replace(group.spec, **msgspec.structs.asdict(own_source(call, group)))
    transaction.update(msgspec.structs.replace(group, spec=own))
    await call.commit(transaction)
    return {"InstanceRefreshId": refresh.meta.name}


@operation("RollbackInstanceRefresh")
async def rollback_instance_refresh(call: Call) -> Result:
    """AWS: autoscaling RollbackInstanceRefresh. IrreversibleInstanceRefresh for one that has nothing to be put back to."""
    group, refresh = _active(call)
    spec = refresh.spec
    if spec.status in ("Cancelling", "RollbackInProgress"):
        raise _none_active(group)
    if not can_go_back(spec):
        raise AwsError(
            "IrreversibleInstanceRefresh",
            "The instance refresh cannot be rolled back: it needs a desired configuration, and a launch template with a version number before it.",
            status=400,
        )
    source = msgspec.structs.asdict(spec.source_before)
    back = msgspec.structs.replace(group.spec, **source, failures=0, retry_at=0.0)
    after = msgspec.structs.replace(group, spec=back)
    members = members_of(call, group)
    counting = [one for one in members if one.counts]
    old = to_replace(counting, after, template_now(call, after), skip_matching=True)
    changed = turned_back(members, group.spec, spec, call.now, old, "Rollback was started by a user.")
    transaction = call.transaction()
    transaction.require_no_newer(Member, call.scope)
    transaction.update(after)
    transaction.update(msgspec.structs.replace(refresh, spec=changed))
    await call.commit(transaction)
    return {"InstanceRefreshId": refresh.meta.name}


@operation("DescribeInstanceRefreshes")
def describe_instance_refreshes(call: Call) -> Result:
    """AWS: autoscaling DescribeInstanceRefreshes: the newest first."""
    group, ids = find_group(call, call.params["AutoScalingGroupName"]), call.params.get("InstanceRefreshIds")
    found = [one for one in call.by(Refresh, "group", group.meta.name) if not ids or one.meta.name in ids]
    shown, token = page(call, found, _newest_first)
    return {"InstanceRefreshes": [_show(call, group, one) for one in shown]} | token


def _active(call: Call) -> tuple[Group, Refresh]:
    group = find_group(call, call.params["AutoScalingGroupName"])
    refresh = active_refresh(call, group)
    if refresh is None:
        raise _none_active(group)
    return group, refresh


def _none_active(group: Group) -> AwsError:
    text = f"No in progress or pending Instance Refresh found for Auto Scaling group {group.spec.name}"
    return AwsError("ActiveInstanceRefreshNotFound", text, status=400)


def _check(call: Call, params: dict[str, Any], wanted: dict[str, Any]) -> None:
    if params.get("Strategy", "Rolling") != "Rolling":
        raise not_built(f"Instance refresh strategy {params['Strategy']}")
    if not 0 <= (wanted.get("BakeTime") or 0) <= LONGEST_BAKE_S:
        raise invalid(f"BakeTime must be between 0 and {LONGEST_BAKE_S} seconds.")
    alarms = (wanted.get("AlarmSpecification") or {}).get("Alarms") or []
    if len(alarms) > MOST_ALARMS:
        raise invalid(f"At most {MOST_ALARMS} alarms can be specified.")
    for name in alarms:
        if find_alarm(call, name) is None:
            raise invalid(f"The alarm {name} does not exist.")
    if "MaxHealthyPercentage" in wanted and "MinHealthyPercentage" not in wanted:
        raise invalid("MaxHealthyPercentage needs MinHealthyPercentage beside it.")
    least, most = wanted.get("MinHealthyPercentage", DEFAULT_LEAST), wanted.get("MaxHealthyPercentage", 100)
    if not (0 <= least <= 100 <= most <= 200) or most - least > 100:
        raise invalid(
            "MinHealthyPercentage must be 0 to 100, MaxHealthyPercentage 100 to 200, and they must differ by 100 at most."
        )
    shares = wanted.get("CheckpointPercentages") or []
    if any(not 1 <= share <= 100 for share in shares) or sorted(set(shares)) != list(shares):
        raise invalid("CheckpointPercentages must be in ascending order, between 1 and 100.")
    if "CheckpointDelay" in wanted and not shares:
        raise invalid("CheckpointDelay needs CheckpointPercentages beside it.")
    if wanted.get("AutoRollback") and not params.get("DesiredConfiguration"):
        raise invalid(
            "The request isn't valid. The AutoRollback parameter cannot be set to true when the DesiredConfiguration parameter is empty. "
            "Set AutoRollback to false or specify a desired configuration and try again."
        )


def _sweep(call: Call, transaction: Any, group: Group) -> None:
    for one in call.by(Refresh, "group", group.meta.name):
        if one.spec.end and one.spec.end < call.now - LIFE_S:
            transaction.delete(one)


def _newest_first(refresh: Refresh) -> str:
    return f"{1e12 - refresh.spec.start:020.6f}{refresh.meta.name}"


def _show(call: Call, group: Group, refresh: Refresh) -> dict[str, Any]:
    """API form. AWS: autoscaling InstanceRefresh."""
    spec = refresh.spec
    least = group.spec.maintenance.least if group.spec.maintenance else DEFAULT_LEAST
    defaults = {"MinHealthyPercentage": least, "SkipMatching": False, "AutoRollback": False}
    shown: dict[str, Any] = {
        "InstanceRefreshId": refresh.meta.name,
        "AutoScalingGroupName": group.spec.name,
        "Status": spec.status,
        "StartTime": spec.start,
        "Strategy": "Rolling",
        "Preferences": defaults | preferences(spec),
    } | progress(members_of(call, group), group.spec, spec, call.now)
    if "DesiredConfiguration" in spec.params:
        shown["DesiredConfiguration"] = spec.params["DesiredConfiguration"]
    return shown | ({"EndTime": spec.end} if spec.end else {}) | ({"StatusReason": spec.reason} if spec.reason else {})
