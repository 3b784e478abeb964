"""From packets at an interface to records in a log group and in files: daemon and agent in one process, on a simulated machine."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gureum.aws.ec2.flow_logs.flow_logs import FlowLog
from gureum.ports.flows import Flow
from gureum.ports.telemetry import TelemetryFull
from gureum.telemetry.memory import MemoryLogs
from tests.sim.test_random_cloud import SCOPE, Cloud

ROLE = "arn:aws:iam::000000000000:role/flow"


async def until(look: Callable[[], Any], limit_s: float = 20.0) -> Any:
    async with asyncio.timeout(limit_s):
        while True:
            found = look()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(0.01)


class Scene:
    """One running instance in the default VPC. `interface`, `vpc`: ids."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        # Several windows a second, and files in a folder of this test.
        self.cloud = Cloud(folder, **{"home": str(folder), "flow_log_interval_s": 0.05, **settings})

    async def start(self) -> None:
        await self.cloud.start()
        images = await self.cloud.ask("DescribeImages")
        await self.cloud.ask(
            "RunInstances", ImageId=images["Images"][0]["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1
        )
        [interface] = (await self.cloud.ask("DescribeNetworkInterfaces"))["NetworkInterfaces"]
        self.interface, self.vpc = interface["NetworkInterfaceId"], interface["VpcId"]
        self.subnet, self.instance = interface["SubnetId"], interface["Attachment"]["InstanceId"]
        self.address = interface["PrivateIpAddress"]

    async def log(self, **params: Any) -> str:
        asked = {"ResourceIds": [self.vpc], "ResourceType": "VPC", "TrafficType": "ALL", **params}
        name = str((await self.cloud.ask("CreateFlowLogs", **asked))["FlowLogIds"][0])
        await until(lambda: self.interface in self.watched())
        return name

    def watched(self) -> frozenset[str]:
        return frozenset().union(*self.cloud.ports.flows.watched.values())

    def flow(self, port: int, **further: Any) -> Flow:
        return Flow(self.interface, "203.0.113.9", self.address, 40000, port, 6, 3, 180, 1, 2, **further)

    async def messages(self, group: str, stream: str) -> list[str]:
        page = await self.cloud.world.logs.read(SCOPE, group, streams=(stream,))
        return [event.message for event in page.events]

    def status(self, name: str) -> FlowLog:
        found = self.cloud.world.client.get(FlowLog, SCOPE, name)
        assert found is not None
        return found


def play(folder: Path, act: Callable[[Scene], Any]) -> None:
    async def run() -> None:
        scene = Scene(folder)
        await scene.start()
        try:
            await act(scene)
            assert scene.cloud.world.loop.faults == scene.cloud.agent.loop.faults == 0
        finally:
            await scene.cloud.stop()

    asyncio.run(run())


def test_records_come_to_a_group_that_was_not_there(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.log(LogGroupName="/vpc/flows", DeliverLogsPermissionArn=ROLE)
        scene.cloud.ports.flows.put(scene.flow(22), scene.flow(23, action="REJECT"))
        stream = f"{scene.interface}-all"

        async def both() -> list[str]:
            found = [one for one in await scene.messages("/vpc/flows", stream) if one.endswith(" OK")]
            return found if len(found) == 2 else []

        start = f"2 000000000000 {scene.interface} 203.0.113.9 {scene.address} 40000"
        assert await until(both) == [f"{start} 22 6 3 180 1 2 ACCEPT OK", f"{start} 23 6 3 180 1 2 REJECT OK"]

        async def nothing() -> bool:
            return any(one.endswith(" - NODATA") for one in await scene.messages("/vpc/flows", stream))

        await until(nothing)

    play(tmp_path, act)


def test_records_come_to_files(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        bucket = {"LogDestinationType": "s3", "LogDestination": "arn:aws:s3:::my-bucket/mine"}
        fields = "${interface-id} ${instance-id} ${subnet-id} ${dstport} ${log-status}"
        await scene.log(LogFormat=fields, TrafficType="REJECT", **bucket)
        scene.cloud.ports.flows.put(scene.flow(22), scene.flow(23, action="REJECT"))

        def found() -> str:
            files = (tmp_path / "s3-local/my-bucket/mine/AWSLogs/000000000000/vpcflowlogs/us-east-1").rglob("*.log.gz")
            texts = [gzip.decompress(path.read_bytes()).decode() for path in files]
            return next((text for text in texts if text.endswith(" OK\n")), "")

        text = await until(found)
        assert text.splitlines() == [
            "interface-id instance-id subnet-id dstport log-status",
            f"{scene.interface} {scene.instance} {scene.subnet} 23 OK",
        ]

    play(tmp_path, act)


def test_what_cannot_be_written_is_told_and_comes_later(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        (tmp_path / "s3-local").write_text("in the way")
        name = await scene.log(LogDestinationType="s3", LogDestination="arn:aws:s3:::my-bucket")
        await until(lambda: scene.status(name).status.delivery == "FAILED")
        assert scene.status(name).status.error == "Unknown error"
        (tmp_path / "s3-local").unlink()
        await until(lambda: scene.status(name).status.delivery == "SUCCESS")
        assert list((tmp_path / "s3-local").rglob("*.log.gz"))

    play(tmp_path, act)


def test_a_store_that_is_full_is_told_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(scene: Scene) -> None:
        logs = scene.cloud.world.logs
        append = logs.append

        async def full(*_: Any) -> None:
            raise TelemetryFull

        monkeypatch.setattr(logs, "append", full)
        name = await scene.log(LogGroupName="g", DeliverLogsPermissionArn=ROLE)
        scene.cloud.ports.flows.put(scene.flow(22))
        await until(lambda: scene.status(name).status.delivery == "FAILED")
        monkeypatch.setattr(logs, "append", append)

        async def come() -> bool:
            found = await scene.messages("g", f"{scene.interface}-all")
            return len([one for one in found if one.endswith(" OK")]) == 1

        await until(come)
        await until(lambda: scene.status(name).status.delivery == "SUCCESS")

    play(tmp_path, act)


def test_a_flow_log_ends_with_its_deletion_and_with_the_machine(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        name = await scene.log(LogGroupName="g", DeliverLogsPermissionArn=ROLE)
        await scene.cloud.ask("DeleteFlowLogs", FlowLogIds=[name])
        await until(lambda: not scene.watched())
        await scene.log(LogGroupName="g", DeliverLogsPermissionArn=ROLE)
        await scene.cloud.ask("TerminateInstances", InstanceIds=[scene.instance])
        await until(lambda: not scene.watched())

    play(tmp_path, act)


def test_records_wait_for_a_daemon_that_died(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.log(LogGroupName="g", DeliverLogsPermissionArn=ROLE)
        before = scene.cloud.world
        await scene.cloud.restart()
        assert isinstance(before.logs, MemoryLogs)
        await until(lambda: scene.interface in scene.watched())
        scene.cloud.ports.flows.put(scene.flow(22))

        async def come() -> bool:
            return any(one.endswith(" OK") for one in await scene.messages("g", f"{scene.interface}-all"))

        await until(come)

    play(tmp_path, act)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR")
