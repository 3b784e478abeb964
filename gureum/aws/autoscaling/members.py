"""How a member moves on: from its launch into service, out of it when it is not well, and to its end.

Pending ──runs──► (hooks) ──► InService ──unhealthy, surplus, refresh──► Terminating ──► (hooks) ──drained──► terminated, forgotten
                                 │ EnterStandby                 │ DetachInstances
                                 ▼                              ▼
                              Standby ──ExitStandby──► Pending  Detaching ──drained──► forgotten, the instance stays
"""

from __future__ import annotations

from gureum.aws.autoscaling import activities
from gureum.aws.autoscaling.hooks import abandoned, timed_out, waits_for
from gureum.aws.autoscaling.kinds import STANDBY, WARMED, Member
from gureum.aws.autoscaling.notices import tell_waits
from gureum.aws.autoscaling.passes import Pass
from gureum.aws.autoscaling.sentences import (
    abandoned_cause,
    ebs_unhealthy_cause,
    ec2_unhealthy_cause,
    elb_unhealthy_cause,
)
from gureum.aws.autoscaling.targets import drained, unhealthy
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.lifecycle import USER_SHUTDOWN, begin_stop, begin_termination
from gureum.aws.ec2.instances.status_checks import DISKS, is_impaired, status_of

DEAD = frozenset({"stopping", "stopped", "shutting-down", "terminated"})


def move_on(step: Pass, member: Member) -> None:
    """One member, as far as it can come now."""
    instance = step.call.get(Instance, member.meta.name)
    state = instance.status.state if instance is not None else "terminated"
    spec = member.spec
    if spec.state in ("Pending", "Pending:Wait"):
        _starting(step, member, state)
    elif spec.state == "InService":
        _serving(step, member, instance, state)
    elif spec.state in ("Warmed:Pending", "Warmed:Pending:Wait"):
        _warming(step, member, instance, state)
    elif spec.state in WARMED:
        _warmed(step, member, state)
    elif spec.state.removeprefix("Warmed:") in ("Terminating", "Terminating:Wait"):
        _ending(step, member, instance, state)
    elif spec.state == "Detaching":
        _detaching(step, member)
    elif spec.state in STANDBY:
        _standing_by(step, member, state)


def _starting(step: Pass, member: Member, state: str) -> None:
    if state in DEAD:
        activities.end(
            step.call,
            step.transaction,
            member.spec.activity,
            "Failed",
            "Instance became unhealthy while waiting for instance to be in InService state.",
        )
        step.begin_end(step.change(member, activity="", health="Unhealthy"), ec2_unhealthy_cause(step.now, state))
        return
    if state != "running":
        return
    if not member.spec.hooked:
        waits = waits_for(step.hooks, launching=True, now=step.now)
        member = step.change(member, state="Pending:Wait" if waits else "Pending", waits=waits, hooked=True)
        if waits:
            tell_waits(step.call, step.transaction, step.group, step.hooks, member)
            activities.note(step.call, step.transaction, member.spec.activity, "MidLifecycleAction", 60)
    member = _wait(step, member)
    if abandoned(member.spec.waits):
        activities.end(step.call, step.transaction, member.spec.activity, "Cancelled", "Lifecycle action abandoned")
        step.begin_end(step.change(member, activity=""), abandoned_cause(step.now))
    elif all(wait.result for wait in member.spec.waits):
        step.serve(member)


def _warming(step: Pass, member: Member, instance: Instance | None, state: str) -> None:
    """On its way into the warm pool: it runs, has its hooks, and is stopped where the pool holds stopped ones."""
    pool = step.group.spec.warm_pool
    if instance is None or state in ("shutting-down", "terminated") or pool is None:
        step.begin_end(member, ec2_unhealthy_cause(step.now, state))
        return
    if not member.spec.hooked:
        if state != "running":
            return
        waits = waits_for(step.hooks, launching=True, now=step.now)
        member = step.change(
            member, state="Warmed:Pending:Wait" if waits else "Warmed:Pending", waits=waits, hooked=True
        )
        tell_waits(step.call, step.transaction, step.group, step.hooks, member)
    member = _wait(step, member)
    if abandoned(member.spec.waits):
        step.begin_end(member, abandoned_cause(step.now))
    elif not all(wait.result for wait in member.spec.waits):
        activities.note(step.call, step.transaction, member.spec.activity, "MidLifecycleAction", 60)
    elif pool.state == "Stopped" and state == "running":
        begin_stop(step.transaction, instance, step.now, *USER_SHUTDOWN)
    elif pool.state == "Running" or state == "stopped":
        activities.end(step.call, step.transaction, member.spec.activity)
        warmed = "Warmed:Running" if pool.state == "Running" else "Warmed:Stopped"
        step.change(member, state=warmed, activity="", waits=(), hooked=False)


def _warmed(step: Pass, member: Member, state: str) -> None:
    gone = state in ("shutting-down", "terminated") or (member.spec.state == "Warmed:Running" and state in DEAD)
    if gone or member.spec.health == "Unhealthy":
        step.begin_end(member, ec2_unhealthy_cause(step.now, state))


def _wait(step: Pass, member: Member) -> Member:
    """Waits whose time is over get their default; the next to end is noted."""
    member = step.change(member, waits=timed_out(member.spec.waits, step.now))
    step.due += [wait.until for wait in member.spec.waits if not wait.result]
    return member


def _serving(step: Pass, member: Member, instance: Instance | None, state: str) -> None:
    """Called unhealthy it stays so; what follows from that is replacing.py's."""
    spec, group = member.spec, step.group.spec
    why = ""
    if spec.health == "Unhealthy" or step.suspended("HealthCheck"):
        pass
    elif state in DEAD:
        why = ec2_unhealthy_cause(step.now, state)
    elif found := _found_unhealthy(step, member, instance, state):
        grace_ends = spec.in_service + group.grace_s
        if grace_ends > step.now:
            step.due.append(grace_ends)
        else:
            why = found
    if why:
        step.change(member, health="Unhealthy", why=why)


def _found_unhealthy(step: Pass, member: Member, instance: Instance | None, state: str) -> str:
    """Why a running instance is not well, "" when it is. AWS: "Health checks for instances in an Auto Scaling group"."""
    types = step.group.spec.health_type
    if instance is not None and is_impaired(instance):
        return ec2_unhealthy_cause(step.now, state)
    if instance is not None and "EBS" in types and status_of(instance, DISKS)[0] == "impaired":
        return ebs_unhealthy_cause(step.now)
    if "ELB" in types and unhealthy(step.world, step.call, step.group, member.meta.name):
        return elb_unhealthy_cause(step.now)
    return ""


def _ending(step: Pass, member: Member, instance: Instance | None, state: str) -> None:
    member = _wait(step, member)
    if instance is None or state == "terminated":
        activities.end(step.call, step.transaction, member.spec.activity)
        step.forget(member)
        return
    if state == "shutting-down":
        return
    if not all(wait.result for wait in member.spec.waits):
        activities.note(step.call, step.transaction, member.spec.activity, "MidLifecycleAction", 60)
        return
    left = drained(step.call, step.group, member.meta.name)
    if left > step.now and state == "running":
        activities.note(step.call, step.transaction, member.spec.activity, "WaitingForELBConnectionDraining", 50)
        step.due.append(left)
        return
    if member.spec.returning:
        activities.end(step.call, step.transaction, member.spec.activity)
        step.change(member, state="Warmed:Pending", activity="", waits=(), hooked=False, returning=False, pooled=False)
        return
    if member.spec.waits:
        member = step.change(member, state="Warmed:Terminating" if member.warm else "Terminating")
    begin_termination(step.transaction, instance, step.now, *USER_SHUTDOWN)


def _detaching(step: Pass, member: Member) -> None:
    left = drained(step.call, step.group, member.meta.name)
    if left > step.now:
        step.due.append(left)
        return
    activities.end(step.call, step.transaction, member.spec.activity)
    step.forget(member)


def _standing_by(step: Pass, member: Member, state: str) -> None:
    if state == "terminated":
        activities.end(step.call, step.transaction, member.spec.activity)
        step.forget(member)
    elif member.spec.state == "EnteringStandby":
        left = drained(step.call, step.group, member.meta.name)
        if left > step.now:
            step.due.append(left)
            return
        activities.end(step.call, step.transaction, member.spec.activity)
        step.change(member, state="Standby", activity="")
