"""Termination policies: which instance goes when a group shrinks. Pure.

AWS: "Configure termination policies for Amazon EC2 Auto Scaling". Whatever the policy, the instance is chosen in the zone with the most of them
(unless one zone is asked for); policies are applied in order, each narrowing the choice; what is left is decided by the id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from gureum.aws.autoscaling.kinds import Group, Member, Template

HOUR_S = 3600.0
Narrow = Callable[[list[Member], Group, "Template | None", float], list[Member]]


def choose(members: Sequence[Member], group: Group, current: Template | None, now: float) -> Member | None:
    """The next to go of those that may (no protected ones among `members`); `current`: what the group launches from now."""
    if not members:
        return None
    left = _most_crowded(members)
    for name in group.spec.termination_policies:
        left = _POLICIES[name](left, group, current, now)
    return min(left, key=lambda one: one.meta.name)


def _most_crowded(members: Sequence[Member]) -> list[Member]:
    counts = Counter(member.spec.zone for member in members)
    most = max(counts.values())
    return [member for member in members if counts[member.spec.zone] == most]


def _default(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    """AWS: those on a launch configuration first, then those on another template or an old version, then closest to the next hour."""
    configured = [member for member in members if member.spec.template is None]
    oldest = _oldest_configuration(configured, group, current, now) or _oldest_template(members, group, current, now)
    return _next_hour(oldest, group, current, now)


def _oldest_configuration(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    """Those on a configuration that is the group's no more, the oldest first, then those on its present one, then the others."""
    configured = [member for member in members if member.spec.configuration]
    other = [member for member in configured if member.spec.configuration != group.spec.configuration]
    first = min((member.spec.configuration_made for member in other), default=0.0)
    return [member for member in other if member.spec.configuration_made == first] or configured or members


def _oldest_template(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    """Those on another template first, then those on the lowest version."""
    other = [
        member
        for member in members
        if current is None or member.spec.template is None or member.spec.template.id != current.id
    ]
    if other:
        return other
    lowest = min(_version(member) for member in members)
    return [member for member in members if _version(member) == lowest]


def _version(member: Member) -> int:
    return int(member.spec.template.version) if member.spec.template and member.spec.template.version.isdigit() else 0


def _oldest(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    first = min(member.spec.launched for member in members)
    return [member for member in members if member.spec.launched == first]


def _newest(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    last = max(member.spec.launched for member in members)
    return [member for member in members if member.spec.launched == last]


def _next_hour(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    def left(member: Member) -> float:
        return HOUR_S - (now - member.spec.launched) % HOUR_S

    least = min(left(member) for member in members)
    return [member for member in members if left(member) == least]


def _as_they_are(members: list[Member], group: Group, current: Template | None, now: float) -> list[Member]:
    """AllocationStrategy: with one instance type there is nothing to align."""
    return members


_POLICIES: dict[str, Narrow] = {
    "Default": _default,
    "OldestInstance": _oldest,
    "NewestInstance": _newest,
    "OldestLaunchConfiguration": _oldest_configuration,
    "OldestLaunchTemplate": _oldest_template,
    "ClosestToNextInstanceHour": _next_hour,
    "AllocationStrategy": _as_they_are,
}
