"""Auto Scaling without HTTP and without a machine: a world on a store in memory and a clock that stands still unless a test moves it. What the
machine would do (boot, end) the test says by `boot` and `die`; results are held against botocore's shapes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator

from gureum.aws.autoscaling.events import publish_events
from gureum.aws.autoscaling.kinds import Group, Member, ScheduledAction
from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_evaluator import Evaluator
from gureum.aws.cloudwatch.alarm_kinds import MetricAlarm
from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance, InstanceStatus, Interruption, State, StatusChecks
from gureum.aws.elbv2.kinds import TargetGroup
from gureum.aws.elbv2.target_health import core_name
from gureum.aws.errors import AwsError
from gureum.aws.services import Services
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.machine import Status
from gureum.core.world import World
from gureum.engine.resource import key_of
from gureum.ports.telemetry import Datum, Series
from gureum.store.contract import Conflict
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics

ACCOUNT, REGION = "111122223333", "us-east-1"
SCOPE = f"{ACCOUNT}/{REGION}"
NOON = 1_750_000_020.0
IMAGE = BUILTINS[0].id
HUGE = "r8i.96xlarge"
"""A type that no host of a test has the memory for: its launch is allowed and fails."""
_session = botocore.session.get_session()
_models = {name: _session.get_service_model(name) for name in ("autoscaling", "ec2", "elbv2", "cloudwatch")}


class StillClock:
    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class AbsentLink:
    """No agent; `seen` is what a test says that one sees."""

    synced = connected = False

    def __init__(self, *_: Any) -> None:
        self.seen: dict[str, Status] = {}

    def change(self, put: Any, remove: Any) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


class Cloud:
    """One account and region in a loop of its own. `cloud("SetDesiredCapacity", …)` answers the result or raises AwsError, a second later, and what
    follows has then happened; other services' operations by "ec2:RunInstances"."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop | None = None, **settings: Any) -> None:
        self.loop = loop or asyncio.new_event_loop()
        self.clock = StillClock()
        self._sealer = Sealer(folder / "key")
        self.settings = Settings(pool="198.18.16.0/20", memory_promise=16.0, **settings)
        self.store, self.metrics = MemoryStore(), MemoryMetrics()
        self.start()
        self.template = self.new_template("web")

    def start(self) -> None:
        """A daemon's start: everything but the stores is new."""
        self.loop.run_until_complete(self._start())

    def kill(self) -> None:
        """A daemon's death: what was not committed is gone."""
        self.loop.run_until_complete(self._stop())

    def __call__(self, name: str, **params: Any) -> dict[str, Any]:
        self.clock.time += 1.0

        async def both() -> dict[str, Any]:
            result = await self.run(name, **params)
            await self._settle()
            return result

        return self.loop.run_until_complete(both())

    def refused(self, name: str, **params: Any) -> tuple[str, str]:
        """Code and message with which the call is refused; nothing may have changed."""
        revision = self.store.revision
        with pytest.raises(AwsError) as caught:
            self(name, **params)
        assert self.store.revision == revision
        return caught.value.code, caught.value.message

    def new_template(self, name: str, image: str = IMAGE, type_: str = "t3.nano") -> str:
        data = {"ImageId": image, "InstanceType": type_}
        made = self("ec2:CreateLaunchTemplate", LaunchTemplateName=name, LaunchTemplateData=data)
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    def group(self, name: str = "g", size: int = 2, *, boot: bool = True, **params: Any) -> None:
        """A group of so many that serve (of pending ones, without `boot`)."""
        base: dict[str, Any] = {
            "MinSize": 0,
            "MaxSize": 10,
            "DesiredCapacity": size,
            "AvailabilityZones": ["us-east-1a", "us-east-1b"],
        }
        if "LaunchConfigurationName" not in params:
            base["LaunchTemplate"] = {"LaunchTemplateId": self.template, "Version": "$Latest"}
        self("CreateAutoScalingGroup", AutoScalingGroupName=name, **(base | params))
        if boot:
            self.boot()

    def boot(self) -> None:
        """The machine starts what is pending."""
        self._move("pending", "running")

    def end(self) -> None:
        """The machine has ended what shuts down, and stopped what stops."""
        self._move("stopping", "stopped")
        self._move("shutting-down", "terminated")

    def die(self, *ids: str, state: State = "stopped") -> None:
        """Instances are not what they were."""
        self.loop.run_until_complete(self._set(ids, state))

    def wait(self, seconds: float) -> None:
        """Time passes, and whoever waited for it looks."""
        self.clock.time += seconds
        self.look()

    def look(self) -> None:
        self.loop.run_until_complete(self._look())

    def through(self, seconds: float, step: float = 10.0) -> None:
        """Time passes while the machine does its work."""
        for _ in range(round(seconds / step)):
            self.wait(step)
            self.boot()
            self.end()

    def told(self, name: str = "g") -> dict[str, Any]:
        found = self("DescribeAutoScalingGroups", AutoScalingGroupNames=[name])["AutoScalingGroups"]
        assert len(found) == 1
        return dict(found[0])

    def ids(self, state: str = "InService", name: str = "g") -> list[str]:
        """Members in that state."""
        return [one["InstanceId"] for one in self.told(name)["Instances"] if one["LifecycleState"] == state]

    def states(self, name: str = "g") -> list[str]:
        return sorted(one["LifecycleState"] for one in self.told(name)["Instances"])

    def activities(self, name: str = "g") -> list[dict[str, Any]]:
        """Newest first."""
        return list(self("DescribeScalingActivities", AutoScalingGroupName=name)["Activities"])

    def alive(self) -> set[str]:
        """Instances that EC2 has and does not end."""
        gone = ("shutting-down", "terminated")
        return {one.meta.name for one in self.world.client.all(Instance, SCOPE) if one.status.state not in gone}

    def targets(self, name: str = "targets", **params: Any) -> str:
        """ARN of a new target group in the default VPC."""
        vpc = self("ec2:DescribeVpcs")["Vpcs"][0]["VpcId"]
        made = self("elbv2:CreateTargetGroup", Name=name, Protocol="HTTP", Port=80, VpcId=vpc, **params)
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def registered(self, arn: str, *, draining: bool = False) -> set[str]:
        found = self.world.client.get(TargetGroup, SCOPE, arn.rpartition("/")[2])
        assert found is not None
        return {one.id for one in found.spec.targets if bool(one.draining_until) == draining}

    def see(self, arn: str, registration: str = "", **states: str) -> None:
        """The agent sees the health of targets, of that registration or of whichever is there; "_" stands for "-" in their names."""
        found = self.world.client.get(TargetGroup, SCOPE, arn.rpartition("/")[2])
        assert found is not None
        told = {f"{id_.replace('_', '-')}:80": [state, "", "", registration] for id_, state in states.items()}
        id_ = f"TargetGroup/{core_name(found)}"
        status = Status(id=id_, owner=key_of(found), phase="ready", data={"targets": told})
        self.world.link.seen[id_] = status
        self.look()

    def measure(self, value: float, minutes: int, name: str = "g") -> None:
        """So many minutes with this average CPU, alarms looking each minute while the machine works."""
        for _ in range(minutes):
            series = Series(SCOPE, "AWS/EC2", "CPUUtilization", (("AutoScalingGroupName", name),))
            datum = Datum(series, int(self.clock.time * 1000), 1.0, value, value, value, (value,), (1.0,), "Percent")
            self.loop.run_until_complete(self.metrics.write([datum]))
            self.wait(60)
            self.loop.run_until_complete(self._evaluate())
            self.boot()
            self.end()

    async def _start(self) -> None:
        self.world = World(
            self.store, self.clock, self.settings, self._sealer, AbsentLink, metrics=self.metrics, logs=MemoryLogs(self.clock)
        )  # fmt: skip
        self.services = Services(self.world)
        self.services.load_stored()
        self.services.load("autoscaling")
        self.evaluator = Evaluator(self.world)
        for _, prepare in self.services.preparations("autoscaling"):
            await prepare(self.call("ec2"))  # type: ignore[misc]
        await self._settle()

    async def _stop(self) -> None:
        await self.evaluator.close()
        await self.world.close()

    async def _evaluate(self) -> None:
        for alarm in self.world.client.everywhere(MetricAlarm):
            self.evaluator.loop.poke(key_of(alarm))
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(100):
            await self.evaluator.loop.idle()
            await self.world.loop.idle()
            await asyncio.sleep(0)
            if not self.evaluator.loop.depth and not self.world.loop.depth:
                return
        raise AssertionError("it never settles")

    async def _look(self) -> None:
        for kind in (Group, ScheduledAction, TargetGroup):
            for one in self.world.client.everywhere(kind):
                self.world.poke(key_of(one))
        await self._settle()

    def _move(self, before: State, after: State) -> None:
        ids = [one.meta.name for one in self.world.client.all(Instance, SCOPE) if one.status.state == before]
        self.loop.run_until_complete(self._set(ids, after))

    async def _set(self, ids: Any, state: State) -> None:
        transaction = self.world.client.transaction()
        for id_ in ids:
            instance = self.world.client.get(Instance, SCOPE, id_)
            assert instance is not None
            transaction.update(msgspec.structs.replace(instance, status=InstanceStatus(state, changed=self.clock.time)))
        if not transaction.empty:
            await transaction.commit()
        await self._settle()

    async def run(self, name: str, **params: Any) -> dict[str, Any]:
        service, _, operation = name.rpartition(":")
        service = service or "autoscaling"
        function = self.services.operation(service, operation)
        assert function is not None, name
        model = _models[service].operation_model(operation)
        for _ in range(40):
            try:
                found = function(self.call(service, operation, params))
                result = await found if inspect.isawaitable(found) else found
            except Conflict:
                continue
            if result and model.output_shape is not None and service == "autoscaling":
                # AWS itself answers empty texts where its model wants one character ("VPCZoneIdentifier").
                told = ParamValidator().validate(result, model.output_shape).generate_report().splitlines()
                assert [line for line in told if "Invalid length" not in line] == [], name
            return dict(result)
        raise AssertionError("conflicts without end")

    def call(self, service: str, operation: str = "", params: dict[str, Any] | None = None) -> Call:
        world = self.world
        return Call(
            service=service, operation=operation, params=params or {}, account=ACCOUNT, region=REGION, access_key=ACCOUNT, request_id="test",
            client=world.client, settings=world.settings, events=world.events, tracer=world.tracer, agent=world.link,
            metrics=world.metrics, logs=world.logs, sealer=world.sealer,
        )  # fmt: skip

    def members(self) -> set[str]:
        return {one.meta.name for one in self.world.client.all(Member, SCOPE)}


def impair(cloud: Cloud, id_: str, **checks: float) -> None:
    """The status checks of the instance fail."""
    instance = cloud.world.client.get(Instance, SCOPE, id_)
    assert instance is not None
    transaction = cloud.world.client.transaction()
    status = msgspec.structs.replace(instance.status, checks=StatusChecks(**checks))
    transaction.update(msgspec.structs.replace(instance, status=status))
    cloud.loop.run_until_complete(transaction.commit())
    cloud.look()


def interrupt(cloud: Cloud, id_: str) -> None:
    """A Spot Instance gets its notice."""
    instance = cloud.world.client.get(Instance, SCOPE, id_)
    assert instance is not None
    transaction = cloud.world.client.transaction()
    spec = msgspec.structs.replace(instance.spec, interruption=Interruption("terminate", cloud.clock.time + 120))
    transaction.update(msgspec.structs.replace(instance, spec=spec))
    cloud.loop.run_until_complete(transaction.commit())
    cloud.look()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path)
    yield made
    made.kill()
    assert made.world.loop.faults == made.evaluator.loop.faults == 0
    made.loop.close()


@pytest.fixture
def events(cloud: Cloud) -> Iterator[list[dict[str, Any]]]:
    """What is told of the cloud, from now on."""
    heard: list[dict[str, Any]] = []
    cloud.world.event_stream.subscribe(heard.append)
    task = cloud.loop.create_task(publish_events(cloud.world))
    cloud.loop.run_until_complete(asyncio.sleep(0))
    yield heard
    task.cancel()
    cloud.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
