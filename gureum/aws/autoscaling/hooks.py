"""Lifecycle hooks: what a starting or ending instance waits for, and how somebody ends the wait.

    Pending ──► Pending:Wait ──all CONTINUE──► InService        Terminating ──► Terminating:Wait ──any end──► (terminated)
                     └──one ABANDON──► Terminating

A wait ends by CompleteLifecycleAction or at its timeout with the hook's default; a heartbeat puts the timeout off, up to a hundred times the
timeout or 48 hours, whichever is less (AWS: autoscaling PutLifecycleHook).
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.kinds import Group, Hook, HookSpec, Member, Wait, object_name
from gureum.aws.autoscaling.lookup import find_group
from gureum.aws.autoscaling.messages import LAUNCHING, TERMINATING
from gureum.aws.autoscaling.notices import tell_test
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import without_partition

LIMIT_HOOKS = 50
LEAST_S, MOST_S, LONGEST_S = 30, 7200, 48 * 3600


@operation("PutLifecycleHook")
async def put_lifecycle_hook(call: Call) -> Result:
    """AWS: autoscaling PutLifecycleHook: makes or changes one; a target that is named hears a test."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    old = call.get(Hook, object_name(group.spec.name, call.params["LifecycleHookName"]))
    transaction = call.transaction()
    if old is None:
        if len(call.by(Hook, "group", group.meta.name)) >= LIMIT_HOOKS:
            raise AwsError("LimitExceeded", f"A group can have {LIMIT_HOOKS} lifecycle hooks at most.", status=400)
        transaction.require(group)
        hook = transaction.create(new_hook(call, group, call.params, None))
    else:
        hook = transaction.update(new_hook(call, group, call.params, old))
    if call.params.get("NotificationTargetARN"):
        tell_test(call, transaction, group, hook.spec.target)
    await call.commit(transaction)
    return {}


@operation("DeleteLifecycleHook")
async def delete_lifecycle_hook(call: Call) -> Result:
    """AWS: autoscaling DeleteLifecycleHook: what waits for it goes on as if it had said CONTINUE or, at a launch, ABANDON."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    hook = _find(call, group, call.params["LifecycleHookName"])
    transaction = call.transaction()
    transaction.delete(hook)
    for member in call.by(Member, "group", group.meta.name):
        waits = tuple(
            _ended(wait, "ABANDON" if hook.spec.launching else "CONTINUE") if wait.hook == hook.spec.name else wait
            for wait in member.spec.waits
        )
        if waits != member.spec.waits:
            transaction.update(msgspec.structs.replace(member, spec=msgspec.structs.replace(member.spec, waits=waits)))
    await call.commit(transaction)
    return {}


@operation("DescribeLifecycleHooks")
def describe_lifecycle_hooks(call: Call) -> Result:
    """AWS: autoscaling DescribeLifecycleHooks."""
    group, names = find_group(call, call.params["AutoScalingGroupName"]), call.params.get("LifecycleHookNames")
    found = [one for one in call.by(Hook, "group", group.meta.name) if not names or one.spec.name in names]
    return {"LifecycleHooks": [_show(group, one) for one in sorted(found, key=lambda one: one.spec.name)]}


@operation("DescribeLifecycleHookTypes")
def describe_lifecycle_hook_types(call: Call) -> Result:
    """AWS: autoscaling DescribeLifecycleHookTypes."""
    return {"LifecycleHookTypes": [LAUNCHING, TERMINATING]}


@operation("CompleteLifecycleAction")
async def complete_lifecycle_action(call: Call) -> Result:
    """AWS: autoscaling CompleteLifecycleAction. ValidationError when nothing waits so."""
    result = call.params["LifecycleActionResult"]
    if result not in ("CONTINUE", "ABANDON"):
        raise invalid(f"Invalid lifecycle action result: {result}. Valid values are CONTINUE and ABANDON.")
    await _change_wait(call, lambda wait: _ended(wait, result))
    return {}


@operation("RecordLifecycleActionHeartbeat")
async def record_lifecycle_action_heartbeat(call: Call) -> Result:
    """AWS: autoscaling RecordLifecycleActionHeartbeat: the timeout begins again."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    timeout_s = _find(call, group, call.params["LifecycleHookName"]).spec.timeout_s
    await _change_wait(call, lambda wait: msgspec.structs.replace(wait, until=min(call.now + timeout_s, wait.latest)))
    return {}


def new_hook(call: Call, group: Group, given: dict[str, Any], old: Hook | None) -> Hook:
    """A hook as a call describes it, laid over what there is. AWS: ValidationError."""
    name, transition = given["LifecycleHookName"], given.get("LifecycleTransition")
    if old is None and transition not in (LAUNCHING, TERMINATING):
        raise invalid(f"You must specify a valid lifecycle transition: {LAUNCHING} or {TERMINATING}.")
    if transition not in (None, LAUNCHING, TERMINATING):
        raise invalid(f"Invalid lifecycle transition: {transition}")
    before = old.spec if old is not None else HookSpec(group.meta.name, name, transition == LAUNCHING)
    timeout_s, default = given.get("HeartbeatTimeout", before.timeout_s), given.get("DefaultResult") or before.default
    if not LEAST_S <= timeout_s <= MOST_S:
        raise invalid(f"Heartbeat timeout must be between {LEAST_S} and {MOST_S} seconds.")
    if default not in ("CONTINUE", "ABANDON"):
        raise invalid(f"Invalid default result: {default}. Valid values are CONTINUE and ABANDON.")
    target = given.get("NotificationTargetARN")
    if target and not without_partition(target).startswith(("arn:aws:sns:", "arn:aws:sqs:")):
        raise not_built(f"A lifecycle hook that notifies {target}")
    spec = msgspec.structs.replace(
        before,
        launching=before.launching if transition is None else transition == LAUNCHING,
        timeout_s=timeout_s,
        default=default,
        metadata=given.get("NotificationMetadata") or before.metadata,
        target=before.target if target is None else target,
        role=given.get("RoleARN") or before.role,
    )
    if old is not None:
        return msgspec.structs.replace(old, spec=spec)
    return Hook(meta=call.meta(object_name(group.spec.name, name), owner=group), spec=spec)


def waits_for(hooks: list[Hook], *, launching: bool, now: float) -> tuple[Wait, ...]:
    """What a member that comes to a transition now has to wait for."""
    return tuple(
        Wait(
            hook.spec.name,
            str(uuid.uuid4()),
            now + hook.spec.timeout_s,
            now + min(100 * hook.spec.timeout_s, LONGEST_S),
            hook.spec.default,
        )
        for hook in sorted(hooks, key=lambda one: one.spec.name)
        if hook.spec.launching == launching
    )


def timed_out(waits: tuple[Wait, ...], now: float) -> tuple[Wait, ...]:
    """The waits, with the default result where time is over."""
    return tuple(_ended(wait, wait.default) if not wait.result and wait.until <= now else wait for wait in waits)


def abandoned(waits: tuple[Wait, ...]) -> bool:
    return any(wait.result == "ABANDON" for wait in waits)


def _ended(wait: Wait, result: str) -> Wait:
    return wait if wait.result else msgspec.structs.replace(wait, result=result)


async def _change_wait(call: Call, change: Any) -> None:
    """Changes the one wait that the call's token or instance names."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    hook = _find(call, group, call.params["LifecycleHookName"])
    token, instance = call.params.get("LifecycleActionToken"), call.params.get("InstanceId")
    if not token and not instance:
        raise invalid("You must specify either a lifecycle action token or an instance ID.")
    for member in call.by(Member, "group", group.meta.name):
        if instance and member.meta.name != instance:
            continue
        found = [w for w in member.spec.waits if w.hook == hook.spec.name and not w.result and token in (None, w.token)]
        if found:
            waits = tuple(change(wait) if wait == found[0] else wait for wait in member.spec.waits)
            transaction = call.transaction()
            transaction.update(msgspec.structs.replace(member, spec=msgspec.structs.replace(member.spec, waits=waits)))
            await call.commit(transaction)
            return
    what = f"with token {token}" if token else f"for instance ID {instance}"
    raise invalid(f"No active Lifecycle Action found {what}")


def _find(call: Call, group: Group, name: str) -> Hook:
    found = call.get(Hook, object_name(group.spec.name, name))
    if found is None:
        raise invalid(f"No Lifecycle Hook found with name '{name}' for Auto Scaling group {group.spec.name}")
    return found


def _show(group: Group, hook: Hook) -> dict[str, Any]:
    """API form. AWS: autoscaling LifecycleHook."""
    spec = hook.spec
    shown: dict[str, Any] = {
        "AutoScalingGroupName": group.spec.name,
        "LifecycleHookName": spec.name,
        "LifecycleTransition": LAUNCHING if spec.launching else TERMINATING,
        "HeartbeatTimeout": spec.timeout_s,
        "GlobalTimeout": min(100 * spec.timeout_s, LONGEST_S),
        "DefaultResult": spec.default,
    }
    optional = {"NotificationMetadata": spec.metadata, "NotificationTargetARN": spec.target, "RoleARN": spec.role}
    return shown | {name: value for name, value in optional.items() if value}
