"""What an instance refresh does in one look of its group: ends old instances as the healthy share allows; the group itself launches new ones.

    Pending ──► InProgress ──replaced as far as asked for, and warm──► (Baking) ──► Successful
                    │ CancelInstanceRefresh ──► Cancelling ──what is under way ends──► Cancelled
                    │ RollbackInstanceRefresh, AutoRollback ──► RollbackInProgress ──► …Successful

AWS: "Use an instance refresh to update instances": without MaxHealthyPercentage old ones go first, at least one at a time; above 100 percent
new ones come first (`surge`), and also where MaxHealthyPercentage is asked for and neither bound leaves room.

A desired configuration is what the group launches from while it is deployed, scale-outs too; the group's own settings (`own_source`) become so
only when the refresh has succeeded, and what is cancelled or fails leaves them as they were.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from gureum.aws.autoscaling.kinds import (
    LEAVING,
    STANDBY,
    STARTING,
    Group,
    Member,
    Refresh,
    RefreshSpec,
    Source,
    Template,
)
from gureum.aws.autoscaling.launching import template_now
from gureum.aws.autoscaling.mixed import pool_types
from gureum.aws.autoscaling.passes import Pass
from gureum.aws.autoscaling.refresh_progress import (
    DEFAULT_CHECKPOINT_DELAY_S,
    begun,
    can_go_back,
    checkpoints_by,
    ended,
    goal_now,
    goals,
    preferences,
    turned_back,
    warm_at,
)
from gureum.aws.autoscaling.replacing import above, below
from gureum.aws.autoscaling.sentences import refresh_cause
from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_kinds import CompositeAlarm, MetricAlarm
from gureum.aws.cloudwatch.alarm_kinds import object_name as alarm_name

ACTIVE = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")
DEFAULT_LEAST = 90
WAIT_S = 3600.0
"""AWS: so long it waits for instances that are protected from scale-in or stand by."""
MOST_FAILURES = 8
"""Failed launches in a row after which a refresh gives up."""


def active_refresh(call: Call, group: Group) -> Refresh | None:
    return next((one for one in call.by(Refresh, "group", group.meta.name) if one.spec.status in ACTIVE), None)


def own_source(call: Call, group: Group) -> Source:
    """What the group's settings name, whatever is being deployed to it."""
    refresh = active_refresh(call, group)
    if refresh is None or not deploys(refresh.spec):
        return group.spec.source
    return refresh.spec.source_before


def deploys(spec: RefreshSpec) -> bool:
    """Whether the refresh has a desired configuration."""
    wanted = spec.params.get("DesiredConfiguration")
    return isinstance(wanted, dict) and bool(wanted.get("LaunchTemplate") or wanted.get("MixedInstancesPolicy"))


def to_replace(
    members: list[Member], group: Group, current: Template | None, *, skip_matching: bool
) -> tuple[str, ...]:
    """Ids of those that a refresh replaces: all, or those that do not match what the group launches now: the template's version, and one of the
    types, however they are paid for."""
    named = group.spec.mixed is not None and bool(group.spec.mixed.overrides)
    types = frozenset(pool_types(group.spec.mixed, "") if named and group.spec.mixed is not None else ())

    def matches(member: Member) -> bool:
        if group.spec.template is None:
            return member.spec.configuration == group.spec.configuration
        return (
            member.spec.template is not None
            and current is not None
            and (member.spec.template.id, member.spec.template.version) == (current.id, current.version)
            and (not named or member.spec.type in types)
        )

    return tuple(one.meta.name for one in members if not (skip_matching and matches(one)))


def surge(step: Pass) -> int:
    """How many more than desired the group may have while a refresh goes on (MaxHealthyPercentage above 100)."""
    refresh = active_refresh(step.call, step.group)
    if refresh is None or refresh.spec.status == "Cancelling" or step.group.spec.deleting:
        return 0
    spec = refresh.spec
    if spec.hold_until > step.now:
        return 0
    open_ = min(len(_left(step, spec)), max(0, goal_now(spec) - begun(step.members, spec)))
    return min(open_, _room(step, spec))


def outdated(step: Pass) -> frozenset[str]:
    """Ids of what a refresh replaces, if one goes on."""
    refresh = active_refresh(step.call, step.group)
    return frozenset(refresh.spec.old) if refresh is not None else frozenset()


def _room(step: Pass, spec: RefreshSpec) -> int:
    """How many more than desired there may be. AWS: RefreshPreferences.MaxHealthyPercentage: given as 100, and where no instance may be missing,
    a new one comes first all the same; not given, an old one goes."""
    desired, (least, most) = step.group.spec.desired, _shares(step, spec)
    if most == 100 and "MaxHealthyPercentage" in preferences(spec):
        return int(below(desired, least) >= desired)
    return above(desired, most)


def step_refresh(step: Pass) -> None:
    refresh = active_refresh(step.call, step.group)
    if refresh is None or any(step.suspended(process) for process in ("Launch", "Terminate", "InstanceRefresh")):
        return
    spec = refresh.spec
    if spec.status == "Cancelling":
        _cancel(step, refresh)
        return
    if spec.status == "Pending":
        spec = msgspec.structs.replace(spec, status="InProgress", start=step.now)
        _end_pool(step, spec)
    reason = _failure(step, spec)
    if reason:
        _fail(step, refresh, spec, reason)
        return
    _end_standby(step, spec)
    spec = _go_on(step, spec)
    if spec != refresh.spec:
        step.transaction.update(msgspec.structs.replace(refresh, spec=spec))


def _go_on(step: Pass, spec: RefreshSpec) -> RefreshSpec:
    """Replaces some more, waits, or is through."""
    left, done = _left(step, spec), begun(step.members, spec)
    serving = [one for one in step.members if one.spec.state == "InService"]
    warm = [one for one in serving if _is_warm(step, one, spec)]
    settled = len(warm) == len(serving) == step.capacity == step.group.spec.desired
    if not left and done < goals(spec)[-1] and _waited_for(step, spec):
        until = spec.wait_until or step.now + WAIT_S
        step.due.append(until)
        return msgspec.structs.replace(spec, wait_until=until)
    if not left or done >= goals(spec)[-1]:
        return _finished(step, spec) if settled else spec
    if spec.hold_until > step.now:
        step.due.append(spec.hold_until)
        return spec
    if done >= goal_now(spec):
        return _hold(step, spec, done) if settled else spec
    _replace_some(step, spec, left, len(warm), goal_now(spec) - done)
    return spec


def _end_pool(step: Pass, spec: RefreshSpec) -> None:
    """What is warm is replaced too, at once: it serves nobody."""
    skip = bool(preferences(spec).get("SkipMatching"))
    old = to_replace(step.pool, step.group, template_now(step.call, step.group), skip_matching=skip)
    for member in step.pool:
        if member.meta.name in old and "Terminating" not in member.spec.state:
            step.begin_end(member, refresh_cause(step.now, member.meta.name))


def _failure(step: Pass, spec: RefreshSpec) -> str:
    """Why it can go on no more; "" while it can."""
    if step.group.spec.failures >= MOST_FAILURES:
        return "Instances could not be launched."
    if spec.wait_until and spec.wait_until <= step.now and _waited_for(step, spec):
        return "Instances that are protected from scale-in or in standby were waited for, for an hour."
    names = alarms_of(spec) if spec.status != "RollbackInProgress" else ()
    for name in names:
        stored = alarm_name(name)
        alarm = step.call.get(MetricAlarm, stored) or step.call.get(CompositeAlarm, stored)
        if alarm is not None and alarm.status.state == "ALARM":
            return f"The alarm {name} went into the ALARM state."
    return ""


def alarms_of(spec: RefreshSpec) -> tuple[str, ...]:
    """Names of the alarms that end it."""
    return tuple((preferences(spec).get("AlarmSpecification") or {}).get("Alarms") or ())


def _finished(step: Pass, spec: RefreshSpec) -> RefreshSpec:
    """All have been replaced: it is over, after its bake time."""
    bake_s = preferences(spec).get("BakeTime") or 0
    if spec.status == "InProgress" and bake_s:
        spec = msgspec.structs.replace(spec, status="Baking", hold_until=step.now + bake_s)
    if spec.status == "Baking" and spec.hold_until > step.now:
        step.due.append(spec.hold_until)
        return spec
    done = "RollbackSuccessful" if spec.status == "RollbackInProgress" else "Successful"
    return ended(step.members, step.group.spec, spec, step.now, done)


def _end_standby(step: Pass, spec: RefreshSpec) -> None:
    if preferences(spec).get("StandbyInstances") == "Terminate":
        for member in list(step.members):
            if member.meta.name in spec.old and member.spec.state == "Standby":
                step.begin_end(member, refresh_cause(step.now, member.meta.name))


def _waited_for(step: Pass, spec: RefreshSpec) -> bool:
    """Whether there is something old that may be replaced only when a user lets it. AWS: "Wait" is the default of both."""
    wanted, old = preferences(spec), frozenset(spec.old)
    protected = wanted.get("ScaleInProtectedInstances", "Wait") == "Wait"
    standby = wanted.get("StandbyInstances", "Wait") == "Wait"
    return any(
        (protected and one.counts and one.spec.protected) or (standby and one.spec.state in STANDBY)
        for one in step.members
        if one.meta.name in old
    )


def _cancel(step: Pass, refresh: Refresh) -> None:
    """It is cancelled when nothing that it began is under way any more."""
    if all(one.spec.state not in STARTING | LEAVING for one in step.members):
        spec = ended(step.members, step.group.spec, refresh.spec, step.now, "Cancelled")
        step.transaction.update(msgspec.structs.replace(refresh, spec=spec))


def _replace_some(step: Pass, spec: RefreshSpec, left: list[Member], warm: int, most: int) -> None:
    desired = step.group.spec.desired
    allowed = warm - below(desired, _shares(step, spec)[0])
    if _room(step, spec):
        allowed = warm - desired
    elif allowed <= 0 and warm == step.capacity == desired:
        allowed = 1
    for _ in range(min(allowed, most, len(left))):
        # From the fullest zone, of those from the one with the most to replace, so that zones stay even and none is rebalanced by ends that
        # the refresh does not know of.
        counts, old = (Counter(one.spec.zone for one in many) for many in (filter(_counts, step.members), left))
        member = min(
            left, key=lambda one: (-counts[one.spec.zone], -old[one.spec.zone], one.spec.launched, one.meta.name)
        )
        left = [one for one in left if one is not member]
        step.begin_end(member, refresh_cause(step.now, member.meta.name))


def _counts(member: Member) -> bool:
    return member.counts


def _hold(step: Pass, spec: RefreshSpec, done: int) -> RefreshSpec:
    """At a checkpoint, where all that is new is warm."""
    delay_s = preferences(spec).get("CheckpointDelay", DEFAULT_CHECKPOINT_DELAY_S)
    step.due.append(step.now + delay_s)
    return msgspec.structs.replace(spec, hold_until=step.now + delay_s, checkpoints_passed=checkpoints_by(spec, done))


def _shares(step: Pass, spec: RefreshSpec) -> tuple[int, int]:
    """(least, most) healthy percent: the refresh's own, the group's maintenance policy, AWS's defaults."""
    wanted, policy = preferences(spec), step.group.spec.maintenance
    least = wanted.get("MinHealthyPercentage", policy.least if policy else DEFAULT_LEAST)
    return int(least), int(wanted.get("MaxHealthyPercentage", policy.most if policy else 100))


def _left(step: Pass, spec: RefreshSpec) -> list[Member]:
    old = frozenset(spec.old)
    protected = preferences(spec).get("ScaleInProtectedInstances", "Wait") == "Refresh"
    return [
        one for one in step.members if one.meta.name in old and one.counts and (protected or not one.spec.protected)
    ]


def _is_warm(step: Pass, member: Member, spec: RefreshSpec) -> bool:
    if member.meta.name in spec.old:
        return True
    ends = warm_at(member, step.group.spec, spec)
    if ends > step.now:
        step.due.append(ends)
    return ends <= step.now


def _fail(step: Pass, refresh: Refresh, spec: RefreshSpec, reason: str) -> None:
    """Gives up; with AutoRollback what the group launches from is put back and what is new is replaced, where that can be."""
    if preferences(spec).get("AutoRollback") and spec.status != "RollbackInProgress" and can_go_back(spec):
        back = msgspec.structs.replace(_rolled_back(step, spec, reason), reason=reason)
        step.transaction.update(msgspec.structs.replace(refresh, spec=back))
        return
    if deploys(spec):
        step.change_group(**msgspec.structs.asdict(spec.source_before))
    status = "RollbackFailed" if spec.status == "RollbackInProgress" else "Failed"
    spec = ended(step.members, step.group.spec, spec, step.now, status, reason)
    step.transaction.update(msgspec.structs.replace(refresh, spec=spec))


def _rolled_back(step: Pass, spec: RefreshSpec, reason: str) -> RefreshSpec:
    """The refresh on its way back; the group launches from what it had before."""
    step.change_group(**msgspec.structs.asdict(spec.source_before), failures=0, retry_at=0.0)
    counting = [one for one in step.members if one.counts]
    old = to_replace(counting, step.group, template_now(step.call, step.group), skip_matching=True)
    return turned_back(step.members, step.group.spec, spec, step.now, old, reason)
