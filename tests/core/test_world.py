"""The control plane's loop with an agent in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core import specs
from gureum.core.agent_link import LocalLink
from gureum.core.world import World
from gureum.engine.lowering import Desired, Reader
from gureum.engine.resource import key_of, kind_of
from gureum.ports.volumes import VolumeSpec
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.core.agent_parts import GIB, Agent
from tests.engine.things import SCOPE, Box, BoxStatus, box, create


def lower_box(one: Any, read: Reader) -> Iterable[Desired]:
    if one.spec.shelf != "gone":
        yield Desired("Volume", one.meta.name, key_of(one), specs.Volume(VolumeSpec(one.meta.name, GIB)))


async def count_what_is_seen(world: World, one: Box) -> None:
    """The status says whether the machine has the box's volume."""
    if not world.link.synced:
        return
    seen = int(world.seen(f"Volume/{one.meta.name}") is not None)
    if one.status.seen != seen:
        transaction = world.client.transaction()
        transaction.update(msgspec.structs.replace(one, status=BoxStatus(seen)))
        await transaction.commit()


def make_world(store: MemoryStore, agent: Agent, folder: Path) -> World:
    world = World(
        store,
        SystemClock(),
        Settings(),
        Sealer(folder / "key"),
        lambda *told: LocalLink(agent.service, *told),
        metrics=MemoryMetrics(),
        logs=MemoryLogs(SystemClock()),
    )
    world.client.add_kinds([kind_of(Box)])
    world._lower_functions["test.Box"] = lower_box
    world._reconcile_functions["test.Box"] = count_what_is_seen
    world.lowering.relower(world._keys("test.Box"))
    return world


def seen(world: World, name: str) -> int:
    found = world.client.get(Box, SCOPE, name)
    return found.status.seen if found else -1


def test_a_commit_reaches_the_machine_and_what_is_seen_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        agent = Agent()
        await agent.service.start()
        world = make_world(MemoryStore(), agent, tmp_path)
        running = asyncio.create_task(world.run())
        await create(world.client, box("a"))
        await agent.until(lambda: seen(world, "a") == 1)
        found = world.client.get(Box, SCOPE, "a")
        assert found is not None
        transaction = world.client.transaction()
        transaction.delete(found)
        await transaction.commit()
        await agent.until(lambda: "Volume/a" not in agent.status)
        running.cancel()
        await world.close()

    asyncio.run(run())


def test_after_a_restart_also_what_has_gone_meanwhile_is_looked_at(tmp_path: Path) -> None:
    async def run() -> None:
        agent, store = Agent(), MemoryStore()
        await agent.service.start()
        first = make_world(store, agent, tmp_path)
        running = asyncio.create_task(first.run())
        await create(first.client, box("a"))
        await agent.until(lambda: seen(first, "a") == 1)
        running.cancel()
        await first.close()
        agent.service.sync([])
        await agent.until(lambda: not agent.service.machine.leaving)
        # A new daemon; the box is lowered to nothing now, so no status of it will ever come.
        second = World(
            store,
            SystemClock(),
            Settings(),
            Sealer(tmp_path / "key"),
            lambda *told: LocalLink(agent.service, *told),
            metrics=MemoryMetrics(),
            logs=MemoryLogs(SystemClock()),
        )
        second.client.add_kinds([kind_of(Box)])
        second._reconcile_functions["test.Box"] = count_what_is_seen
        running = asyncio.create_task(second.run())
        await agent.until(lambda: seen(second, "a") == 0)
        running.cancel()
        await second.close()

    asyncio.run(run())
