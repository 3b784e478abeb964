"""Consoles of instances become log events when the setting asks for it: daemon and agent in one process, on a simulated machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gureum.aws.ec2.instances.console_logs import ConsolePlace
from gureum.aws.ec2.instances.kinds import Instance
from tests.aws.ec2.flow_logs.test_delivery import Scene, until
from tests.sim.test_random_cloud import SCOPE

LINE = "simulated: nothing runs"


def state(scene: Scene) -> str:
    instance = scene.cloud.world.client.get(Instance, SCOPE, scene.instance)
    return instance.status.state if instance is not None else ""


def play(folder: Path, act: Callable[[Scene], Any], **settings: Any) -> None:
    async def run() -> None:
        scene = Scene(folder, **settings)
        await scene.start()
        try:
            await act(scene)
            assert scene.cloud.world.loop.faults == 0
        finally:
            await scene.cloud.stop()

    asyncio.run(run())


def test_lines_are_events_of_the_instances_stream_each_once(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        async def one() -> bool:
            return await scene.messages("/consoles", scene.instance) == [LINE]

        await until(one)
        await until(lambda: scene.cloud.world.client.get(ConsolePlace, SCOPE, scene.instance))
        await until(lambda: state(scene) == "running")
        await scene.cloud.ask("StopInstances", InstanceIds=[scene.instance])
        await until(lambda: state(scene) == "stopped")
        # The log store of this cloud is new after a restart: what was told before it is not told again.
        await scene.cloud.restart()
        await scene.cloud.ask("StartInstances", InstanceIds=[scene.instance])
        await until(one)
        await scene.cloud.ask("TerminateInstances", InstanceIds=[scene.instance])
        await until(lambda: state(scene) == "terminated")
        assert await one()

    play(tmp_path, act, console_log_group="/consoles")


def test_without_the_setting_nothing_is_followed(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await until(lambda: state(scene) == "running")
        assert scene.cloud.world.client.all(ConsolePlace, SCOPE) == []

    play(tmp_path, act)
