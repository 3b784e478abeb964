"""Events of streams that are gone: left by a daemon that died between a stream's deletion and that of its events. They go at the next start, or
a stream that is made again under the name would have them."""

from __future__ import annotations

import logging

from gureum.aws.logs.kinds import LogGroup, LogStream, key_name
from gureum.core.world import World
from gureum.engine.registry import background
from gureum.ports.telemetry import TelemetryBroken, TelemetryFull

log = logging.getLogger("gureum.aws")


@background("logs leftovers")
async def drop_leftovers(world: World) -> None:
    """Once. A group's own leftovers go when it is made again (groups.py)."""
    for group in list(world.client.everywhere(LogGroup)):
        scope, name = group.meta.scope, group.spec.name
        try:
            for info in await world.logs.streams(scope, name):
                # Between this look and the beginning of `drop`, which says up to where events go, nobody else has a turn.
                if world.client.get(LogStream, scope, key_name(name, info.stream)) is None:
                    await world.logs.drop(scope, name, info.stream)
        except (TelemetryFull, TelemetryBroken) as failed:
            log.warning("events of deleted streams stay", extra={"group": name, "why": str(failed)})
