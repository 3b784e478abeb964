"""What users do to single instances of a group: attach, detach, stand by, protect, call unhealthy, terminate."""

from __future__ import annotations

import msgspec

from gureum.aws.autoscaling import activities
from gureum.aws.autoscaling.activities import show_activity
from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.hooks import waits_for
from gureum.aws.autoscaling.kinds import Activity, Group, Hook, Member, MemberSpec
from gureum.aws.autoscaling.lookup import find_group, find_member, find_members, members_of
from gureum.aws.autoscaling.mixed import weight_of
from gureum.aws.autoscaling.notices import tell_waits
from gureum.aws.autoscaling.sentences import clock_text, terminating, user_cause
from gureum.aws.autoscaling.targets import deregister
from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.client import Transaction

MOST_INSTANCES = 20


@operation("AttachInstances")
async def attach_instances(call: Call) -> Result:
    """AWS: autoscaling AttachInstances: running ones of no group, in the group's zones; the desired capacity grows with them."""
    group, ids = (
        find_group(call, call.params["AutoScalingGroupName"]),
        list(dict.fromkeys(call.params.get("InstanceIds") or ())),
    )
    if len(ids) > MOST_INSTANCES:
        raise invalid(f"At most {MOST_INSTANCES} instances can be attached in one call.")
    found = (call.get(Instance, id_) for id_ in ids)
    desired = group.spec.desired + sum(weight_of(group.spec.mixed, one.spec.type) for one in found if one is not None)
    if desired > group.spec.max:
        raise invalid(
            f"AutoScalingGroup {group.spec.name} has min size: {group.spec.min}, max size: {group.spec.max}, desired capacity: "
            f"{group.spec.desired}. Attaching {len(ids)} instances would push the desired capacity above the maximum."
        )
    transaction = call.transaction()
    for id_ in ids:
        _attach(call, transaction, group, id_)
    text = f"At {clock_text(call.now)} instances were attached changing the desired capacity from {group.spec.desired} to {desired}."
    transaction.update(
        msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, desired=desired, why=text))
    )
    await call.commit(transaction)
    return {}


def _attach(call: Call, transaction: Transaction, group: Group, id_: str) -> None:
    instance = call.get(Instance, id_)
    if instance is None:
        raise invalid(f"Invalid Instance ID: {id_}. Instance(s) does not exist.")
    if call.get(Member, id_) is not None:
        raise invalid(f"Instance {id_} is already part of an Auto Scaling group.")
    if instance.status.state != "running":
        raise invalid(
            f"Instance {id_} is not in correct state for attaching (state {instance.status.state}); it must be running."
        )
    if instance.spec.zone not in group.spec.zones:
        raise invalid(f"Instance {id_} is in {instance.spec.zone}, which is not one of the group's Availability Zones.")
    transaction.require(instance)
    cause = f"At {clock_text(call.now)} an instance was attached to the group by a user request."
    activity = activities.begin(
        call, transaction, group, f"Attaching an existing EC2 instance: {id_}", cause, zone=instance.spec.zone
    )
    spec = MemberSpec(
        group.meta.name, instance.spec.zone, instance.spec.type, protected=group.spec.protected, launched=call.now, since=call.now,
        activity=activity.meta.name, spot=bool(instance.spec.spot_request), weight=weight_of(group.spec.mixed, instance.spec.type),
    )  # fmt: skip
    transaction.create(Member(meta=call.meta(id_, owner=group), spec=spec))


@operation("DetachInstances")
async def detach_instances(call: Call) -> Result:
    """AWS: autoscaling DetachInstances: they go on running, in no group. Without decrement others take their places."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    made = await _take_out(call, group, "Detaching", "Detaching EC2 instance: ", "detached", "InService", "Standby")
    return {"Activities": made}


@operation("EnterStandby")
async def enter_standby(call: Call) -> Result:
    """AWS: autoscaling EnterStandby: in service no more, but in the group."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    made = await _take_out(
        call, group, "EnteringStandby", "Moving EC2 instance to Standby: ", "moved to standby", "InService"
    )
    return {"Activities": made}


async def _take_out(
    call: Call, group: Group, state: str, description: str, done: str, *allowed: str
) -> list[dict[str, object]]:
    members = find_members(call, group, call.params.get("InstanceIds") or ())
    for member in members:
        if member.spec.state not in allowed:
            raise invalid(f"The instance {member.meta.name} is not in {' or '.join(allowed)} state.")
    counting = sum(member.units for member in members)
    transaction = call.transaction()
    if call.params["ShouldDecrementDesiredCapacity"]:
        _decrement(transaction, group, counting, call.now)
    made: list[Activity] = []
    capacity = sum(one.units for one in members_of(call, group))
    for member in members:
        cause = user_cause(call.now, member.meta.name, done, capacity, capacity - member.units)
        capacity -= member.units
        activity = activities.begin(
            call, transaction, group, description + member.meta.name, cause,
            what="detach" if state == "Detaching" else "", instance=member.meta.name, zone=member.spec.zone,
        )  # fmt: skip
        deregister(call, transaction, group, member.meta.name)
        spec = msgspec.structs.replace(member.spec, state=state, since=call.now, activity=activity.meta.name)
        transaction.update(msgspec.structs.replace(member, spec=spec))
        made.append(activity)
    await call.commit(transaction)
    return [show_activity(call, one) for one in made]


def _decrement(transaction: Transaction, group: Group, by: int, now: float) -> None:
    desired = group.spec.desired - by
    if desired < group.spec.min:
        raise invalid(
            f"AutoScalingGroup {group.spec.name} has min size: {group.spec.min}, max size: {group.spec.max}, desired capacity: "
            f"{group.spec.desired}. Taking out {by} instances would push the desired capacity below the minimum."
        )
    text = f"At {clock_text(now)} a user request changed the desired capacity from {group.spec.desired} to {desired}."
    transaction.update(
        msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, desired=desired, why=text))
    )


@operation("ExitStandby")
async def exit_standby(call: Call) -> Result:
    """AWS: autoscaling ExitStandby: back in service, and the desired capacity grows with them."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    members = find_members(call, group, call.params.get("InstanceIds") or ())
    for member in members:
        if member.spec.state != "Standby":
            raise invalid(f"The instance {member.meta.name} is not in Standby state.")
    desired = group.spec.desired + sum(one.spec.weight for one in members)
    if desired > group.spec.max:
        raise invalid(f"The desired capacity {desired} would be above the maximum size {group.spec.max}.")
    transaction = call.transaction()
    made = []
    capacity = sum(one.units for one in members_of(call, group))
    for member in members:
        before, capacity = capacity, capacity + member.spec.weight
        cause = user_cause(call.now, member.meta.name, "moved out of standby", before, capacity)
        activity = activities.begin(
            call,
            transaction,
            group,
            f"Moving EC2 instance out of Standby: {member.meta.name}",
            cause,
            zone=member.spec.zone,
        )
        spec = msgspec.structs.replace(
            member.spec, state="Pending", since=call.now, activity=activity.meta.name, hooked=False, waits=()
        )
        transaction.update(msgspec.structs.replace(member, spec=spec))
        made.append(activity)
    text = f"At {clock_text(call.now)} instances left standby changing the desired capacity from {group.spec.desired} to {desired}."
    transaction.update(
        msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, desired=desired, why=text))
    )
    await call.commit(transaction)
    return {"Activities": [show_activity(call, one) for one in made]}


@operation("SetInstanceProtection")
async def set_instance_protection(call: Call) -> Result:
    """AWS: autoscaling SetInstanceProtection: from scale-in."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    transaction = call.transaction()
    for member in find_members(call, group, call.params["InstanceIds"]):
        if member.spec.state not in ("InService", "Standby", "EnteringStandby", "Pending", "Pending:Wait"):
            raise invalid(f"The instance {member.meta.name} is not in InService, EnteringStandby or Standby.")
        spec = msgspec.structs.replace(member.spec, protected=call.params["ProtectedFromScaleIn"])
        transaction.update(msgspec.structs.replace(member, spec=spec))
    await call.commit(transaction)
    return {}


@operation("SetInstanceHealth")
async def set_instance_health(call: Call) -> Result:
    """AWS: autoscaling SetInstanceHealth: within the grace period it is passed over when that is to be respected (the default)."""
    group, member = find_member(call, call.params["InstanceId"])
    health = call.params["HealthStatus"]
    if health not in ("Healthy", "Unhealthy"):
        raise invalid("Valid instance health states are: [Healthy, Unhealthy].")
    grace_ends = member.spec.in_service + group.spec.grace_s
    if (
        health == "Unhealthy"
        and call.params.get("ShouldRespectGracePeriod", True)
        and member.spec.in_service
        and grace_ends > call.now
    ):
        return {}
    transaction = call.transaction()
    transaction.update(
        msgspec.structs.replace(member, spec=msgspec.structs.replace(member.spec, health=health, why=""))
    )
    await call.commit(transaction)
    return {}


@operation("TerminateInstanceInAutoScalingGroup")
async def terminate_instance_in_auto_scaling_group(call: Call) -> Result:
    """AWS: autoscaling TerminateInstanceInAutoScalingGroup: one instance, in whatever group it is."""
    for name in ("InstanceIds", "AutoScalingGroupName"):
        if call.params.get(name):
            raise not_built(f"TerminateInstanceInAutoScalingGroup with {name}")
    group, member = find_member(call, call.params.get("InstanceId") or "")
    if member.spec.state.startswith("Terminating"):
        raise AwsError(
            "ScalingActivityInProgress", f"The instance {member.meta.name} is being terminated already.", status=400
        )
    transaction = call.transaction()
    capacity = sum(one.units for one in members_of(call, group))
    left = capacity
    if call.params["ShouldDecrementDesiredCapacity"]:
        _decrement(transaction, group, member.units, call.now)
        left -= member.units
    text = user_cause(call.now, member.meta.name, "taken out of service", capacity, left)
    activities.end(call, transaction, member.spec.activity, "Cancelled")
    activity = activities.begin(
        call, transaction, group, terminating(member.meta.name), text, what="terminate", instance=member.meta.name,
        zone=member.spec.zone,
    )  # fmt: skip
    deregister(call, transaction, group, member.meta.name)
    hooks = call.by(Hook, "group", group.meta.name)
    waits = waits_for(hooks, launching=False, now=call.now)
    spec = msgspec.structs.replace(
        member.spec, state="Terminating:Wait" if waits else "Terminating", since=call.now, activity=activity.meta.name, why=text, waits=waits,
        hooked=True,
    )  # fmt: skip
    tell_waits(call, transaction, group, hooks, transaction.update(msgspec.structs.replace(member, spec=spec)))
    await call.commit(transaction)
    return {"Activity": show_activity(call, activity)}
