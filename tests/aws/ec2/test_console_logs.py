"""Consoles of instances become log events when the setting asks for it: daemon and agent in one process, on a simulated machine."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec

from gureum.aws.ec2.console_logs import ConsoleLogs, ConsolePlace
from gureum.aws.ec2.instance_kinds import Instance
from tests.aws.ec2.test_flow_delivery import Scene, until
from tests.sim.test_random_cloud import SCOPE

LINE = "simulated: nothing runs"


def state(scene: Scene) -> str:
    instance = scene.cloud.world.client.get(Instance, SCOPE, scene.instance)
    return instance.status.state if instance is not None else ""


def test_lines_are_events_of_the_instances_stream_each_once(tmp_path: Path) -> None:
    async def run() -> None:
        scene = Scene(tmp_path)
        await scene.start()
        world = scene.cloud.world
        world.settings = msgspec.structs.replace(world.settings, console_log_group="/consoles")
        following = asyncio.create_task(ConsoleLogs(world).run())

        async def number(wanted: int) -> bool:
            return await scene.messages("/consoles", scene.instance) == [LINE] * wanted

        try:
            await until(lambda: number(1))
            await scene.cloud.ask("StopInstances", InstanceIds=[scene.instance])
            await until(lambda: state(scene) == "stopped")
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            following = asyncio.create_task(ConsoleLogs(world).run())
            await scene.cloud.ask("StartInstances", InstanceIds=[scene.instance])
            await until(lambda: number(2))
            assert await number(2)
            await scene.cloud.ask("TerminateInstances", InstanceIds=[scene.instance])
            await until(lambda: state(scene) == "terminated")
            assert world.loop.faults == 0
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            await scene.cloud.stop()

    asyncio.run(run())


def test_without_the_setting_nothing_is_followed(tmp_path: Path) -> None:
    async def run() -> None:
        scene = Scene(tmp_path)
        await scene.start()
        await asyncio.wait_for(ConsoleLogs(scene.cloud.world).run(), 5)
        assert scene.cloud.world.client.all(ConsolePlace, SCOPE) == []
        await scene.cloud.stop()

    asyncio.run(run())
