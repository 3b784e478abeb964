"""Consoles of instances as log events (setting console_log_group): every line is an event of that group, in a stream named by the instance.

One task follows each instance that may print; the agent answers when there is something. The place up to which lines have become events is stored
after them, so a daemon that dies tells the last lines again rather than losing them.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.logs.ingest import ingest, need_group, need_stream
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Change
from gureum.engine.registry import background
from gureum.engine.resource import Meta, Resource, key_of, kind
from gureum.ports import PortError
from gureum.ports.consoles import ConsolePage
from gureum.ports.telemetry import LogEvent, TelemetryBroken, TelemetryFull
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.consoles")
LOGS = "gureum.aws.logs"
PRINTING = frozenset({"pending", "running", "stopping", "shutting-down"})
WAIT_S = 25.0
BATCH_S = 0.2
"""Lines that come close together are one batch: a guest that prints without end costs this many at most."""
RETRY_S = 2.0


class ConsolePlaceSpec(msgspec.Struct, frozen=True):
    """As in ConsolePage."""

    place: str


@kind("ec2.ConsolePlace")
class ConsolePlace(Resource, frozen=True):
    """How far an instance's console has become log events; goes with the instance."""

    spec: ConsolePlaceSpec


@background("consoles")
async def follow_consoles(world: World) -> None:
    """Over at once when the setting is empty."""
    await ConsoleLogs(world).run()


class ConsoleLogs:
    """`run` until cancelled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._group = world.settings.console_log_group
        self._changed = asyncio.Event()

    async def run(self) -> None:
        if not self._group:
            return
        self._world.load(LOGS)
        stop_listening = self._world.client.listen(self._on_changes)
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._changed.clear()
                    tasks = {key: task for key, task in tasks.items() if not task.done()}
                    for instance in self._world.client.everywhere(Instance):
                        key = key_of(instance)
                        if key not in tasks and instance.status.state in PRINTING:
                            tasks[key] = group.create_task(self._follow(key))
                    await self._changed.wait()
        finally:
            stop_listening()

    def _on_changes(self, changes: list[Change]) -> None:
        if any(isinstance(change.after, Instance) for change in changes):
            self._changed.set()

    async def _follow(self, key: str) -> None:
        """Until the instance has stopped and all of its lines are told."""
        while True:
            instance = self._world.client.by_key(key)
            if not isinstance(instance, Instance):
                return
            last = instance.status.state not in PRINTING
            try:
                told = await self._step(instance, 0.0 if last else WAIT_S)
            except (PortError, Conflict, StoreFull, StoreBroken, TelemetryFull, TelemetryBroken) as failed:
                log.warning("a console was not read", extra={"instance": instance.meta.name, "why": str(failed)})
                await self._world.clock.sleep(RETRY_S)
                continue
            if last and not told:
                return
            if told:
                await self._world.clock.sleep(BATCH_S)

    async def _step(self, instance: Instance, wait_s: float) -> bool:
        """Whether there was something to tell."""
        scope, name = instance.meta.scope, instance.meta.name
        known = self._world.client.get(ConsolePlace, scope, name)
        place = known.spec.place if known is not None else ""
        page = await self._world.link.console_lines(name, place, wait_s)
        if page.place == place:
            return False
        await self._tell(scope, name, page)
        await self._note(instance, known, page.place)
        return True

    async def _tell(self, scope: str, name: str, page: ConsolePage) -> None:
        now = int(self._world.clock.now() * 1000)
        events = [LogEvent(name, line.time_ms or now, now, line.text) for line in page.lines if line.text]
        if events:
            group = await need_group(self._world, scope, self._group)
            await need_stream(self._world, scope, group, name)
            await ingest(self._world, scope, group, events)

    async def _note(self, instance: Instance, known: ConsolePlace | None, place: str) -> None:
        transaction = self._world.client.transaction()
        spec = ConsolePlaceSpec(place)
        if known is not None:
            transaction.update(msgspec.structs.replace(known, spec=spec))
        else:
            meta = Meta(
                scope=instance.meta.scope,
                name=instance.meta.name,
                uid=new_id("", 32),
                created=self._world.clock.now(),
                owner=key_of(instance),
            )
            transaction.create(ConsolePlace(meta=meta, spec=spec))
        await transaction.commit()
