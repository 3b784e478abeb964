"""Replacements: members that serve but are to go, because they are not well, too old or about to be interrupted, and how many may go and come at
a time.

    unhealthy, past MaxInstanceLifetime ──► to_go ──► surge: so many more may be launched first    (MaxHealthyPercentage)
                                                 └──► replace: so many end now                     (MinHealthyPercentage)

AWS: "Instance maintenance policies". Without a policy what is unhealthy ends at once, and of the old ones one at a time; with one the capacity stays
between its bounds. What does not run any more is no capacity and ends at once.

AWS: "Capacity Rebalancing". A Spot Instance that has its notice (`gureum interrupt`) gets a replacement before it ends, of up to a tenth of the group
at a time, and goes when that one serves, or when it is interrupted.
"""

from __future__ import annotations

import math

from gureum.aws.autoscaling.kinds import GroupSpec, Member
from gureum.aws.autoscaling.passes import Pass
from gureum.aws.autoscaling.sentences import interrupted_cause, lifetime_cause, user_unhealthy_cause
from gureum.aws.ec2.instances.kinds import Instance

ToGo = list[tuple[Member, str]]


def surge(step: Pass) -> int:
    """How many more than desired the group may have for its replacements."""
    policy, desired, interrupted = step.group.spec.maintenance, step.group.spec.desired, len(_interrupted(step))
    if policy is None:
        return min(interrupted, math.ceil(desired / 10))
    return min(len(_to_go(step)) + interrupted, above(desired, policy.most))


def going(step: Pass) -> frozenset[str]:
    """Ids of those whose places new ones are launched for."""
    members = (*(member for member, _ in _to_go(step)), *_interrupted(step))
    return frozenset(member.meta.name for member in members) if surge(step) else frozenset()


def replace(step: Pass) -> None:
    """Ends those whose time has come."""
    to_go = _to_go(step)
    for member, why in to_go[: _allowed(step, to_go)]:
        step.begin_end(member, why)
    serving = [one for one in step.members if one.spec.state == "InService" and one.spec.health == "Healthy"]
    spare = sum(one.spec.weight for one in serving) - step.group.spec.desired
    for member in _interrupted(step):
        if member.spec.weight <= spare:
            spare -= member.spec.weight
            step.begin_end(member, interrupted_cause(step.now))


def above(desired: int, most: int) -> int:
    """Instances above the desired capacity that `most` percent let be; of more than a hundred at least one, or nothing would ever move."""
    return max(1, math.floor(desired * most / 100) - desired) if most > 100 else 0


def below(desired: int, least: int) -> int:
    """How many must serve."""
    return math.ceil(desired * least / 100)


def ready(step: Pass) -> int:
    """Those that serve and are warm; when the next one will be is noted."""
    count = 0
    for member in step.members:
        if member.spec.state == "InService":
            ends = member.spec.in_service + warmup_s(step.group.spec)
            if ends > step.now:
                step.due.append(ends)
            else:
                count += 1
    return count


def warmup_s(spec: GroupSpec) -> int:
    """AWS: the default instance warmup, else the health check grace period."""
    return spec.warmup_s if spec.warmup_s is not None else spec.grace_s


def _to_go(step: Pass) -> ToGo:
    """The unhealthy first, then the oldest."""
    found: ToGo = []
    if step.suspended("Terminate") or step.group.spec.deleting:
        return found
    serving = [one for one in step.members if one.spec.state == "InService"]
    if not step.suspended("ReplaceUnhealthy"):
        ill = [one for one in serving if one.spec.health == "Unhealthy"]
        found += [(one, one.spec.why or user_unhealthy_cause(step.now)) for one in ill]
    lifetime_s = step.group.spec.max_lifetime_s
    for member in serving if lifetime_s else ():
        ends = member.spec.launched + lifetime_s
        if ends > step.now:
            step.due.append(ends)
        elif member.spec.health == "Healthy":
            found.append((member, lifetime_cause(step.now)))
    return found


def _interrupted(step: Pass) -> list[Member]:
    """Those that serve and have their notice, where the group wants them replaced before their end."""
    spec = step.group.spec
    if not spec.capacity_rebalance or spec.deleting or step.suspended("Launch") or step.suspended("Terminate"):
        return []
    serving = [one for one in step.members if one.spec.state == "InService" and one.spec.health == "Healthy"]
    found = ((one, step.call.get(Instance, one.meta.name)) for one in serving)
    return [one for one, instance in found if instance is not None and instance.spec.interruption is not None]


def _allowed(step: Pass, to_go: ToGo) -> int:
    """How many of `to_go` may end now, the first ones."""
    policy, desired = step.group.spec.maintenance, step.group.spec.desired
    ill = sum(member.spec.health == "Unhealthy" for member, _ in to_go)
    settled = all(one.spec.state == "InService" for one in step.members)
    if policy is None:
        return ill or int(settled)
    dead = sum(_is_dead(step, member) for member, _ in to_go[:ill])
    to_go.sort(key=lambda one: not _is_dead(step, one[0]))
    allowed = ready(step) - dead - below(desired, policy.least)
    if allowed <= 0 and not above(desired, policy.most) and settled:
        allowed = 1  # AWS: where neither bound leaves room, one at a time
    return dead + max(0, allowed)


def _is_dead(step: Pass, member: Member) -> bool:
    instance = step.call.get(Instance, member.meta.name)
    return instance is None or instance.status.state != "running"
