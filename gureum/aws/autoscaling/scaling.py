"""Scaling: what changes a group's desired capacity when a policy is executed, by an alarm or by a user."""

from __future__ import annotations

import msgspec

from gureum.aws.autoscaling.adjustments import adjusted, bounded, step_for, tracked
from gureum.aws.autoscaling.faults import in_progress, invalid
from gureum.aws.autoscaling.kinds import STARTING, Group, Member, Policy
from gureum.aws.autoscaling.lookup import members_of
from gureum.aws.autoscaling.policies import SIMPLE, STEPS, TARGET, find_policy
from gureum.aws.autoscaling.sentences import clock_text
from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_actions import AlarmContext
from gureum.aws.cloudwatch.alarm_events import latest_values
from gureum.aws.cloudwatch.alarm_kinds import MetricAlarm, object_name
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.marks import Result, operation
from gureum.core.world import World
from gureum.engine.registry import mark


@operation("ExecutePolicy")
async def execute_policy(call: Call) -> Result:
    """AWS: autoscaling ExecutePolicy: simple and step policies. ScalingActivityInProgress during a cooldown that is to be honoured."""
    params = call.params
    group, policy = find_policy(call, params["PolicyName"], params.get("AutoScalingGroupName"))
    if policy.spec.type == TARGET:
        raise invalid("Executing a policy of the type TargetTrackingScaling is not supported.")
    if not policy.spec.enabled:
        raise invalid(f"The policy {policy.spec.name} is disabled.")
    value, threshold = params.get("MetricValue"), params.get("BreachThreshold")
    if policy.spec.type == STEPS and (value is None or threshold is None):
        raise invalid("MetricValue and BreachThreshold are required for a step scaling policy.")
    if policy.spec.type == SIMPLE and params.get("HonorCooldown") and group.spec.cooled > call.now:
        raise in_progress("The group is in its cooldown period.")
    desired = _desired(call, group, policy, value or 0.0, threshold or 0.0)
    why = f"At {clock_text(call.now)} a user request executed policy {policy.spec.name} changing the desired capacity"
    await _set(call, group, policy, desired, why)
    return {}


@mark("alarm-action", "arn:aws:autoscaling")
async def act_on_alarm(world: World, context: AlarmContext) -> None:
    """An alarm names a policy among its actions. What cannot be done now (suspended, disabled, cooling down) is passed over, as by AWS."""
    call = world_call(world, context.alarm)
    group, policy = find_policy(call, context.arn, None)
    if "AlarmNotification" in group.spec.suspended or not policy.spec.enabled or group.spec.deleting:
        return
    if policy.spec.type == SIMPLE and group.spec.cooled > call.now:
        return
    if policy.spec.type == SIMPLE:
        value = threshold = 0.0  # it acts on the state alone, also on one that a user has set (AWS: SetAlarmState)
    elif context.values and isinstance(context.alarm, MetricAlarm):
        value, threshold = context.values[-1], context.alarm.spec.threshold
    else:
        return
    desired = _desired(call, group, policy, value, threshold)
    what = f"a monitor alarm {context.alarm.spec.name} in state {context.state} triggered policy {policy.spec.name}"
    await _set(call, group, policy, desired, f"At {clock_text(call.now)} {what} changing the desired capacity")


def _desired(call: Call, group: Group, policy: Policy, value: float, threshold: float) -> int:
    """What the policy wants now, within the group's bounds."""
    spec, members = policy.spec, members_of(call, group)
    if spec.type == SIMPLE:
        return bounded(group.spec, adjusted(spec, spec.adjustment, group.spec.desired))
    warming = [one for one in members if _is_warming(call, group, policy, one)]
    if spec.type == TARGET:
        return _track(call, group, policy, value, members, warming)
    step = step_for(spec.steps, value - threshold, above=value >= threshold)
    if step is None:
        return group.spec.desired
    settled = group.spec.desired - len(warming)
    wanted = adjusted(
        spec, step.adjustment, settled if _grows(spec.adjustment_type, step.adjustment, settled) else group.spec.desired
    )
    if wanted < group.spec.desired and (warming or _grows(spec.adjustment_type, step.adjustment, settled)):
        return group.spec.desired
    return bounded(group.spec, wanted)


def _grows(kind: str, adjustment: int, capacity: int) -> bool:
    return adjustment > capacity if kind == "ExactCapacity" else adjustment > 0


def _track(call: Call, group: Group, policy: Policy, value: float, members: list[Member], warming: list[Member]) -> int:
    """AWS: of several tracking policies one is enough to grow; to shrink all must want to that may, and the largest capacity counts."""
    tracking = policy.spec.tracking
    assert tracking is not None
    serving = [one for one in members if one.spec.state == "InService"]
    settled = [one for one in serving if one not in warming] or serving[:1]
    wanted = tracked(value, tracking.target, len(settled), group.spec.desired)
    if wanted < group.spec.desired and (warming or not tracking.scale_in):
        return group.spec.desired
    for other in call.by(Policy, "group", group.meta.name) if wanted < group.spec.desired else ():
        if other.meta.name != policy.meta.name and other.spec.enabled:
            wanted = max(wanted, _least(call, group, other, len(settled)))
    return bounded(group.spec, wanted)


def _least(call: Call, group: Group, policy: Policy, serving: int) -> int:
    """What another policy lets the group shrink to, by the data that its alarm was raised on; 0 for one that has no say."""
    tracking = policy.spec.tracking
    if tracking is None or not tracking.scale_in:
        return 0
    low = next((name for name in policy.spec.alarms if "-AlarmLow-" in name), "")
    alarm = call.get(MetricAlarm, object_name(low)) if low else None
    values = latest_values(alarm.status.data) if alarm is not None and alarm.status.state == "ALARM" else ()
    return tracked(values[-1], tracking.target, serving, group.spec.desired) if values else group.spec.desired


def _is_warming(call: Call, group: Group, policy: Policy, member: Member) -> bool:
    """Launched, but not yet to be counted on. AWS: the policy's warmup, the group's default instance warmup, the default cooldown."""
    if member.spec.state in STARTING:
        return True
    spec = policy.spec
    warmup_s = spec.warmup_s
    if warmup_s is None:
        warmup_s = (
            group.spec.warmup_s
            if group.spec.warmup_s is not None
            else min(group.spec.cooldown_s, call.settings.scaling_warmup_s)
        )
    return (
        member.spec.state == "InService" and member.spec.in_service + warmup_s > call.now and member.spec.in_service > 0
    )


async def _set(call: Call, group: Group, policy: Policy, desired: int, why: str) -> None:
    if desired == group.spec.desired:
        return
    spec = msgspec.structs.replace(
        group.spec, desired=desired, why=f"{why} from {group.spec.desired} to {desired}.", failures=0, retry_at=0.0
    )
    if policy.spec.type == SIMPLE:
        cooldown_s = policy.spec.cooldown_s if policy.spec.cooldown_s is not None else group.spec.cooldown_s
        spec = msgspec.structs.replace(spec, cooled=call.now + cooldown_s)
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(group, spec=spec))
    transaction.require(policy)
    await call.commit(transaction)
