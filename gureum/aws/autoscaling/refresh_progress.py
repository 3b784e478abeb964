"""How far an instance refresh has come, and how far it goes before it stops. Pure.

AWS: "Add checkpoints to an instance refresh": the last of the percentages is what is replaced in all, those before it are waited at, and one that is
passed by the way is not waited at again. AWS: InstanceRefresh, RollbackDetails: an instance counts as replaced when the new one is healthy and warm;
a rollback counts back to zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.autoscaling.kinds import STANDBY, GroupSpec, Member, RefreshSpec, Rollback

DEFAULT_CHECKPOINT_DELAY_S = 3600
ENDS = ("Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed")


def preferences(spec: RefreshSpec) -> dict[str, Any]:
    found = spec.params.get("Preferences")
    return found if isinstance(found, dict) else {}


def still_old(members: Iterable[Member], spec: RefreshSpec) -> list[Member]:
    """Those to replace that have not begun to go, in standby too."""
    old = frozenset(spec.old)
    return [one for one in members if one.meta.name in old and (one.counts or one.spec.state in STANDBY)]


def begun(members: Iterable[Member], spec: RefreshSpec) -> int:
    """How many have begun to be replaced."""
    return spec.total - len(still_old(members, spec))


def goals(spec: RefreshSpec) -> tuple[int, ...]:
    """How many are replaced at each checkpoint, the last of which is the end."""
    shares = [] if spec.rollback is not None else preferences(spec).get("CheckpointPercentages") or []
    return tuple(math.ceil(spec.total * share / 100) for share in shares) or (spec.total,)


def goal_now(spec: RefreshSpec) -> int:
    """How many may be replaced before it waits or ends."""
    return goals(spec)[min(spec.checkpoints_passed, len(goals(spec)) - 1)]


def checkpoints_by(spec: RefreshSpec, done: int) -> int:
    """How many checkpoints that are waited at so many replaced ones have reached."""
    return sum(goal <= done for goal in goals(spec)[:-1])


def warm_at(member: Member, group: GroupSpec, spec: RefreshSpec) -> float:
    """Unix seconds at which one that serves has warmed up. AWS: the refresh's warmup, the group's, else its grace period."""
    group_s = group.warmup_s if group.warmup_s is not None else group.grace_s
    return float(member.spec.in_service + preferences(spec).get("InstanceWarmup", group_s))


def measured(members: list[Member], group: GroupSpec, spec: RefreshSpec, now: float) -> RefreshSpec:
    """The refresh with what it says of its progress, as it is now."""
    if spec.rollback is not None:
        share = len(still_old(members, spec)) / spec.total if spec.total else 0.0
        back = spec.rollback
        return msgspec.structs.replace(spec, percent=math.ceil(back.percent * share), to_update=back.to_update)
    old = frozenset(spec.old)
    new = [one for one in members if one.spec.state == "InService" and one.meta.name not in old]
    warm = [one for one in new if one.spec.health == "Healthy" and warm_at(one, group, spec) <= now]
    updated = min(len(warm), begun(members, spec))
    percent = updated * 100 // spec.total if spec.total else 0
    return msgspec.structs.replace(spec, percent=percent, to_update=max(0, goals(spec)[-1] - updated))


def ended(
    members: list[Member], group: GroupSpec, spec: RefreshSpec, now: float, status: str, reason: str = ""
) -> RefreshSpec:
    """The refresh at its end, which says from then on what it says now. What was let be (protected, in standby) does not make a success less."""
    spec = msgspec.structs.replace(measured(members, group, spec, now), status=status, end=now)
    if reason:
        spec = msgspec.structs.replace(spec, reason=reason)
    if status == "Successful":
        shares = preferences(spec).get("CheckpointPercentages") or [100]
        return msgspec.structs.replace(spec, percent=max(spec.percent, shares[-1]), to_update=0)
    return spec


def turned_back(
    members: list[Member], group: GroupSpec, spec: RefreshSpec, now: float, old: tuple[str, ...], reason: str
) -> RefreshSpec:
    """The refresh on its way back: it replaces `old`, what it has deployed, without a stop."""
    told = measured(members, group, spec, now)
    return msgspec.structs.replace(
        spec,
        status="RollbackInProgress",
        rollback=Rollback(reason, now, told.percent, told.to_update),
        old=old,
        total=len(old),
        hold_until=0.0,
        wait_until=0.0,
    )


def can_go_back(spec: RefreshSpec) -> bool:
    """AWS: only with a desired configuration, and to a launch template with a version number (or to a launch configuration)."""
    before = spec.before
    numbered = before is None or before.version not in ("", "$Latest", "$Default")
    return "DesiredConfiguration" in spec.params and numbered


def shown(members: list[Member], group: GroupSpec, spec: RefreshSpec, now: float) -> dict[str, Any]:
    """API form of the progress."""
    told = spec if spec.status in ENDS and spec.percent >= 0 else measured(members, group, spec, now)
    found: dict[str, Any] = {"PercentageComplete": max(0, told.percent), "InstancesToUpdate": told.to_update}
    if spec.rollback is not None:
        found["RollbackDetails"] = {
            "RollbackReason": spec.rollback.reason,
            "RollbackStartTime": spec.rollback.start,
            "PercentageCompleteOnRollback": spec.rollback.percent,
            "InstancesToUpdateOnRollback": spec.rollback.to_update,
        }
    return found
