"""Members in the target groups of their group, registered and deregistered in the commits that move them.

The kinds are elbv2's; the rules of registering are its pure functions. A target group that is gone is passed over.
"""

from __future__ import annotations

from gureum.aws.autoscaling.kinds import Group, target_group_ids
from gureum.aws.call import Call
from gureum.aws.elbv2.kinds import Target, TargetGroup
from gureum.aws.elbv2.target_health import core_name, told_of
from gureum.aws.elbv2.targets import deregistered, registered
from gureum.core.world import World
from gureum.engine.client import Transaction


def target_groups(call: Call, group: Group) -> list[TargetGroup]:
    return [found for id_ in target_group_ids(group) if (found := call.get(TargetGroup, id_)) is not None]


def register(call: Call, transaction: Transaction, group: Group, instance: str) -> None:
    for targets in target_groups(call, group):
        register_in(call, transaction, targets, instance)


def register_in(call: Call, transaction: Transaction, targets: TargetGroup, instance: str) -> None:
    now = transaction.current(targets)
    after = registered(now, [Target(instance, targets.spec.port)], call.now)
    if after != now:
        transaction.update(after)


def deregister(call: Call, transaction: Transaction, group: Group, instance: str) -> None:
    for targets in target_groups(call, group):
        deregister_from(call, transaction, targets, instance)


def deregister_from(call: Call, transaction: Transaction, targets: TargetGroup, instance: str) -> None:
    now = transaction.current(targets)
    after = deregistered(call, now, [(one.id, one.port) for one in now.spec.targets if one.id == instance])
    if after != now:
        transaction.update(after)


def drained(call: Call, group: Group, instance: str) -> float:
    """Unix seconds when the last of the target groups lets go of the instance; 0.0 when none has it."""
    ends = (
        target.draining_until
        for targets in target_groups(call, group)
        for target in targets.spec.targets
        if target.id == instance
    )
    return max(ends, default=0.0)


def unhealthy(world: World, call: Call, group: Group, instance: str) -> bool:
    """Whether the agent calls the instance unhealthy in one of the group's target groups."""
    for targets in target_groups(call, group):
        status = world.seen(f"TargetGroup/{core_name(targets)}")
        seen = status.data.get("targets", {}) if status is not None else {}
        for target in targets.spec.targets:
            if target.id == instance and told_of(f"{instance}:{target.port}", target, seen)[0] == "unhealthy":
                return True
    return False
