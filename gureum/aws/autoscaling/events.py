"""Events of groups in the event stream: activities that end, instances that begin to wait for a hook, instance refreshes.

They are read off the commits, so they tell what has happened and cost none of their own. AWS: "Events are produced on a best-effort basis": what a
daemon that dies has committed and not told is told by nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from gureum.aws.autoscaling.kinds import Activity, Group, Hook, Member, Refresh, object_name
from gureum.aws.autoscaling.messages import activity_event, checkpoint_event, refresh_event, wait_event
from gureum.core.world import World
from gureum.engine.client import Change
from gureum.engine.registry import background


@background("autoscaling events")
async def publish_events(world: World) -> None:
    """Until cancelled."""

    def publish(changes: list[Change]) -> None:
        for change in changes:
            for event in _events(world, change, changes):
                world.event_stream.publish(event)

    unlisten = world.client.listen(publish)
    try:
        await asyncio.Event().wait()
    finally:
        unlisten()


def _events(world: World, change: Change, changes: list[Change]) -> Iterator[dict[str, Any]]:
    after, before = change.after, change.before
    if isinstance(after, Activity):
        over = isinstance(before, Activity) and before.spec.end
        group = _group(world, after.meta.scope, after.spec.group, changes)
        if after.spec.what and after.spec.end and not over and group is not None:
            yield activity_event(group, after)
    elif isinstance(after, Member) and after.spec.waits:
        yield from _wait_events(world, after, before if isinstance(before, Member) else None, changes)
    elif isinstance(after, Refresh):
        yield from _refresh_events(world, after, before if isinstance(before, Refresh) else None, changes)


def _wait_events(world: World, after: Member, before: Member | None, changes: list[Change]) -> Iterator[dict[str, Any]]:
    group = _group(world, after.meta.scope, after.spec.group, changes)
    known = {wait.token for wait in before.spec.waits} if before is not None else set()
    for wait in after.spec.waits if group is not None else ():
        if wait.token not in known and group is not None:
            hook = world.client.get(Hook, after.meta.scope, object_name(group.spec.name, wait.hook))
            metadata = hook.spec.metadata if hook is not None else ""
            yield wait_event(group, after, wait, metadata, world.clock.now())


def _refresh_events(
    world: World, after: Refresh, before: Refresh | None, changes: list[Change]
) -> Iterator[dict[str, Any]]:
    group = _group(world, after.meta.scope, after.spec.group, changes)
    if group is None:
        return
    if before is not None and before.spec.checkpoints_passed < after.spec.checkpoints_passed:
        yield checkpoint_event(group, after, world.clock.now())
    if before is None or before.spec.status != after.spec.status:
        event = refresh_event(group, after, world.clock.now())
        if event is not None:
            yield event


def _group(world: World, scope: str, name: str, changes: list[Change]) -> Group | None:
    """Also one that has gone with the commit that is told of."""
    found = world.client.get(Group, scope, name)
    if found is not None:
        return found
    gone = (change.before for change in changes if isinstance(change.before, Group))
    return next((one for one in gone if (one.meta.scope, one.meta.name) == (scope, name)), None)
