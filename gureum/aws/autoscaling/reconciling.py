"""What a group does: one look at everything it has, one commit of what follows, until nothing follows any more.

    observe members (EC2 state, target health, hooks, time) ─► move each on ─► compare their number with the desired ─► launch or end

It is level-based and decides only in a transaction that checks all it has read: the group, and that no member was made or changed
meanwhile. A daemon killed in between finds the members and goes on; an instance is made in the same commit as its member, so none is
launched twice and none is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gureum.aws.autoscaling import activities, replacing
from gureum.aws.autoscaling.kinds import LEAVING, STANDBY, STARTING, Group, Member, Refresh
from gureum.aws.autoscaling.launching import MOST_LAUNCHES, launch, spread, template_now
from gureum.aws.autoscaling.lookup import members_of
from gureum.aws.autoscaling.members import move_on
from gureum.aws.autoscaling.mixed import surplus_of
from gureum.aws.autoscaling.passes import Pass, PassFull
from gureum.aws.autoscaling.refreshing import ACTIVE, alarms_of, outdated, step_refresh, surge
from gureum.aws.autoscaling.replacing import above, below, ready, replace
from gureum.aws.autoscaling.sentences import (
    balancing_cause,
    launching,
    rebalanced_cause,
    refreshed_cause,
    shrunk_cause,
    started_cause,
)
from gureum.aws.autoscaling.termination import choose
from gureum.aws.autoscaling.warm_pools import fill, take, takes_back
from gureum.aws.cloudwatch.alarm_kinds import CompositeAlarm, MetricAlarm
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.elbv2.kinds import TargetGroup
from gureum.aws.errors import AwsError
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import key_of, make_key

FIRST_RETRY_S, LAST_RETRY_S = 2.0, 300.0


@watch(Instance)
def group_of_instance(client: Client, instance: Instance) -> Iterable[str]:
    """Its group looks again when an instance has changed."""
    member = client.get(Member, instance.meta.scope, instance.meta.name)
    return (make_key("autoscaling.Group", member.meta.scope, member.spec.group),) if member is not None else ()


@watch(Member)
def group_of_member(client: Client, member: Member) -> Iterable[str]:
    return (make_key("autoscaling.Group", member.meta.scope, member.spec.group),)


@watch(Refresh)
def group_of_refresh(client: Client, refresh: Refresh) -> Iterable[str]:
    return (make_key("autoscaling.Group", refresh.meta.scope, refresh.spec.group),)


@watch(MetricAlarm)
def groups_of_alarm(client: Client, alarm: MetricAlarm) -> Iterable[str]:
    """Those whose instance refresh it ends."""
    return _refreshed(client, alarm)


@watch(CompositeAlarm)
def groups_of_composite_alarm(client: Client, alarm: CompositeAlarm) -> Iterable[str]:
    return _refreshed(client, alarm)


def _refreshed(client: Client, alarm: MetricAlarm | CompositeAlarm) -> tuple[str, ...]:
    scope, name = alarm.meta.scope, alarm.spec.name
    active = (one for one in client.all(Refresh, scope) if one.spec.status in ACTIVE and name in alarms_of(one.spec))
    return tuple(make_key("autoscaling.Group", scope, one.spec.group) for one in active)


@watch(TargetGroup)
def groups_of_targets(client: Client, targets: TargetGroup) -> Iterable[str]:
    """Also when the agent has seen their health change."""
    return tuple(key_of(group) for group in client.by(Group, targets.meta.scope, "target-group", targets.meta.name))


@reconcile(Group)
async def reconcile_group(world: World, group: Group) -> None:
    call = world_call(world, group)
    transaction = call.transaction()
    transaction.require(group)
    transaction.require_no_newer(Member, group.meta.scope)
    step = Pass(world, call, transaction, group, members_of(call, group))
    full = False
    try:
        _decide(step)
    except PassFull:
        full = True
    if not transaction.empty:
        await transaction.commit()
    if full:
        world.poke(key_of(group))
    elif step.due:
        world.poke(key_of(group), max(min(step.due) - step.now, 0.01))


def _decide(step: Pass) -> None:
    """All that follows from what there is. PassFull."""
    deleting = step.group.spec.deleting
    if deleting:
        _end_all(step)
    for member in list(step.all):
        step.begin()
        move_on(step, member)
    if not deleting:
        replace(step)
        step_refresh(step)
        step.begin()
        _count(step)
    if deleting and not step.all:
        step.transaction.delete(step.group)


def _end_all(step: Pass) -> None:
    """AWS: ForceDelete ends all instances, whatever state they are in, and waits for no hook."""
    step.hooks = []
    for member in list(step.all):
        if member.spec.state.removeprefix("Warmed:") not in LEAVING:
            member = step.begin_end(member, step.group.spec.why)
        if member.spec.waits:
            step.change(member, waits=())


def _count(step: Pass) -> None:
    """Brings the capacity to the desired one. What has changed the desired capacity is told until it is reached; what comes after that is the
    group's own doing (replacements, rebalancing), which ends an instance only when the new one serves."""
    spec = step.group.spec
    capacity, desired = step.capacity, spec.desired + max(surge(step), replacing.surge(step))
    over = capacity - desired
    if over < 0:
        if not step.suspended("Launch"):
            _grow(step, -over)
    elif any(one.counts and one.spec.weight <= over for one in step.members):
        if not step.suspended("Terminate") and (
            spec.why or all(one.spec.state not in STARTING for one in step.members)
        ):
            _shrink(step, over)
    elif desired == spec.desired:
        if spec.why:
            step.change_group(why="")
        if not step.suspended("AZRebalance"):
            _rebalance(step)
        _fill_pool(step)


def _fill_pool(step: Pass) -> None:
    """When the group itself wants nothing: the machine's memory is the group's first."""
    if step.transaction.empty and step.group.spec.retry_at <= step.now:
        try:
            fill(step)
        except AwsError as refused:
            _tell_failure(step, refused)


def _grow(step: Pass, wanted: int) -> None:
    """From the warm pool first. Else into the zone with the fewest, so many as make it even; the next look goes on with the next zone, for each
    launch counts the memory that is left on what has been committed. A zone that refuses is passed over; what cannot be launched in any is told
    and tried again later."""
    spec = step.group.spec
    if spec.retry_at > step.now:
        step.due.append(spec.retry_at)
        return
    going = replacing.going(step)
    have = Counter(one.spec.zone for one in step.members if one.counts and one.meta.name not in going)
    zones, refused, cause = spec.zones, None, ""
    if old := outdated(step):
        # Where zones are equally full, into the one with the fewest that stay: what is still to be replaced leaves it.
        stay = Counter(one.spec.zone for one in step.members if one.counts and one.meta.name not in old)
        zones = tuple(sorted(zones, key=lambda zone: stay[zone]))
        cause = "" if spec.why else refreshed_cause(step.now)
    fewest = tuple(sorted(zones, key=lambda zone: have[zone]))
    if take(step, 1 if len(zones) > 1 else wanted, fewest):
        return
    while zones:
        zone, count = next(iter(spread(have, zones, min(wanted, MOST_LAUNCHES)).items()))
        try:
            launch(step.call, step.transaction, step.group, zone, count, step.capacity, cause=cause)
        except AwsError as error:
            refused = refused or error
            zones = tuple(one for one in zones if one != zone)
        else:
            if spec.failures:
                step.change_group(failures=0, retry_at=0.0)
            return
    if refused is not None:
        _tell_failure(step, refused)


def _tell_failure(step: Pass, refused: AwsError) -> None:
    """AWS: a failed activity with EC2's words; then it waits longer from time to time."""
    spec, capacity = step.group.spec, step.capacity
    cause = started_cause(spec.why, step.now, capacity, capacity + 1)
    message = f"{refused.message} Launching EC2 instance failed."
    description = f"{launching('')}.  Status Reason: {message}"
    activities.record(step.call, step.transaction, step.group, description, cause, "Failed", message)
    delay_s = min(FIRST_RETRY_S * 2 ** min(spec.failures, 16), LAST_RETRY_S)
    step.change_group(failures=spec.failures + 1, retry_at=step.now + delay_s)
    step.due.append(step.now + delay_s)


def _shrink(step: Pass, surplus: int) -> None:
    """Instances protected from scale-in stay, even if the group is then too large."""
    before, current = step.capacity, template_now(step.call, step.group)
    while surplus > 0:
        counting = [one for one in step.members if one.counts and one.spec.weight <= surplus]
        open_ = surplus_of(step.group.spec, [one for one in counting if not one.spec.protected])
        outside = [one for one in open_ if one.spec.zone not in step.group.spec.zones]
        ill = [one for one in open_ if one.spec.health == "Unhealthy"]
        chosen = choose(ill or outside or _in_fullest_zones(step, open_), step.group, current, step.now)
        if chosen is None:
            return
        after = before - chosen.spec.weight
        cause = shrunk_cause(step.group.spec.why, step.now, chosen.meta.name, before, after)
        step.begin_end(chosen, cause, returning=takes_back(step))
        surplus, before = surplus - chosen.spec.weight, after


def _in_fullest_zones(step: Pass, open_: list[Member]) -> list[Member]:
    """AWS: of the zones with an instance that is not protected, those with the most instances, protected ones too."""
    counts = Counter(one.spec.zone for one in step.members if one.counts)
    most = max((counts[one.spec.zone] for one in open_), default=0)
    return [one for one in open_ if counts[one.spec.zone] == most]


def _rebalance(step: Pass) -> None:
    """One more where there are fewest, when another zone has two more or is none of the group's any more; the surplus then goes from there
    (AWS: "Rebalancing")."""
    spec = step.group.spec
    serving = [one for one in step.members if one.counts]
    if any(one.spec.state != "InService" for one in serving) or spec.retry_at > step.now:
        return
    if (
        any(one.spec.state in LEAVING or one.spec.state in STANDBY for one in step.members)
        or step.suspended("Launch")
        or step.suspended("Terminate")
    ):
        return
    counts = Counter(dict.fromkeys(spec.zones, 0))
    counts.update(one.spec.zone for one in serving)
    least, most = min(spec.zones, key=lambda zone: counts[zone]), max(counts, key=lambda zone: counts[zone])
    if counts[most] - counts[least] < 2 and counts.keys() <= set(spec.zones):
        return
    # Where all are protected none could go, and what was launched would have to.
    if all(one.spec.protected for one in serving if one.spec.zone == most or one.spec.zone not in spec.zones):
        return
    policy = spec.maintenance
    if policy is not None and not above(spec.desired, policy.most):
        # Where neither bound leaves room, one at a time.
        if ready(step) > min(below(spec.desired, policy.least), spec.desired - 1):
            _give_up_one(step, most, counts[most] - counts[least])
        return
    cause = balancing_cause(step.now, dict(sorted(counts.items())))
    try:
        launch(step.call, step.transaction, step.group, least, 1, step.capacity, cause=cause)
    except AwsError as refused:
        _tell_failure(step, refused)


def _give_up_one(step: Pass, most: str, difference: int) -> None:
    """A group that may not be larger than desired ends one where there are most; the new one then goes where there are fewest."""
    spec = step.group.spec
    open_ = [one for one in step.members if one.counts and not one.spec.protected]
    outside = [one for one in open_ if one.spec.zone not in spec.zones]
    there = outside or [one for one in open_ if one.spec.zone == most and difference > 1]
    chosen = choose(there, step.group, template_now(step.call, step.group), step.now)
    if chosen is not None:
        step.begin_end(chosen, rebalanced_cause(step.now))
