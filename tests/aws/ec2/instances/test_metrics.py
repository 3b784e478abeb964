"""AWS/EC2's metrics, computed from two looks at the counters (AWS: "List the available CloudWatch metrics for your instances")."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.ec2.instances.kinds import Instance, StatusChecks
from gureum.aws.ec2.instances.metrics import GROUP_TAG, Done, Publisher, Sample, difference, metrics_of
from gureum.base.settings import Settings
from gureum.ports.containers import Usage
from gureum.ports.networks import InterfaceCounters
from gureum.ports.telemetry import Datum, Series, TelemetryFull
from gureum.telemetry.memory import MemoryMetrics
from tests.aws.ec2.conftest import Cloud


def sample(time: float, cpu_s: float = 0.0, moved: int = 0, name: str = "i-1", **usage: int) -> Sample:
    used = Usage(int(cpu_s * 1e9), 0, 1, **usage)
    return Sample(time, {name: used}, {"eni-1": InterfaceCounters(moved, moved // 10, 2 * moved, moved // 5)})


def test_what_was_done_between_two_looks() -> None:
    done = difference("i-1", ["eni-1"], sample(100, 1.0, 1000, reads=5), sample(160, 31.0, 5000, reads=8))
    assert done == Done(60.0, 30.0, 0, 0, 3, 0, 4000, 400, 8000, 800)
    values = metrics_of(done, 2.0)
    assert values["CPUUtilization"] == (25.0, "Percent")
    assert values["NetworkOut"] == (8000.0, "Bytes")
    assert values["EBSReadOps"] == (3.0, "Count")


def test_after_a_reboot_counters_begin_anew() -> None:
    done = difference("i-1", ["eni-1"], sample(100, 50.0, 9000), sample(160, 6.0, 100))
    assert done is not None
    assert (done.cpu_s, done.in_bytes) == (6.0, 100)


def test_one_that_was_not_there_before_has_no_metrics_yet() -> None:
    assert difference("i-2", [], sample(100), sample(160, name="i-2")) is None


class Agent:
    def __init__(self) -> None:
        self.sample = sample(0)
        self.kept: list[dict[str, Any]] = []

    async def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert request["op"] == "counters"
        look = {"time": self.sample.time, "sample": msgspec.to_builtins(self.sample)}
        looks = [*self.kept, look] if request["look"] == "now" or not self.kept else self.kept
        return {"looks": [one for one in looks if one["time"] > request["after"]]}


class Published:
    """A publisher on a cloud with one running instance."""

    def __init__(
        self, cloud: Cloud, monitoring: bool = False, checks: StatusChecks | None = None, **settings: Any
    ) -> None:
        image = cloud("DescribeImages", Owners=["amazon"])["Images"][0]["ImageId"]
        found = cloud("RunInstances", ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)
        self.name = found["Instances"][0]["InstanceId"]
        instance = next(iter(cloud.client.everywhere(Instance)))
        self.scope = instance.meta.scope
        transaction = cloud.client.transaction()
        running = msgspec.structs.replace(
            instance,
            meta=msgspec.structs.replace(instance.meta, tags={GROUP_TAG: "group"}),
            spec=msgspec.structs.replace(instance.spec, monitoring=monitoring),
            status=msgspec.structs.replace(instance.status, state="running", checks=checks),
        )
        transaction.update(running)
        asyncio.run(transaction.commit())
        self.metrics, self.agent = MemoryMetrics(), Agent()
        self.marks: dict[str, Any] = {}
        self._clock: Any = cloud.client.clock
        world: Any = SimpleNamespace(
            client=cloud.client,
            clock=self._clock,
            settings=Settings(**settings),
            link=self.agent,
            metrics=self.metrics,
            registry=SimpleNamespace(marks=lambda _: self.marks),
        )
        self.publisher = Publisher(world)

    def tick(self, at: float, cpu_s: float) -> None:
        self._clock.time = at
        self.agent.sample = sample(at, cpu_s, name=self.name)
        asyncio.run(self.publisher.work(""))

    def keep(self, answers: bool | None = None) -> None:
        """The agent keeps its newest look; `answers`: it was alone, and saw that of the machine."""
        look = {"time": self.agent.sample.time, "sample": msgspec.to_builtins(self.agent.sample)}
        if answers is not None:
            look["machines"] = {self.name: {"runs": True, "answers": answers, "disks": True}}
        self.agent.kept.append(look)

    def points(self, name: str, **dimensions: str) -> list[tuple[int, float]]:
        series = Series(self.scope, "AWS/EC2", name, tuple(dimensions.items()))
        found = asyncio.run(self.metrics.buckets(series, 0, 2**50, 1000))
        return [(bucket.start_ms // 1000, round(bucket.sum, 6)) for bucket in found]


START = 1_750_000_200  # a whole five minutes


def test_basic_monitoring_publishes_every_five_minutes_at_their_beginning(cloud: Cloud) -> None:
    published = Published(cloud, checks=StatusChecks())
    for minute in range(11):
        published.tick(START + 60 * minute, cpu_s=6.0 * minute)
    points = [(START, 5.0), (START + 300, 5.0)]  # 6 of 2 * 60 seconds
    assert published.points("CPUUtilization", InstanceId=published.name) == points
    assert published.points("CPUUtilization", AutoScalingGroupName="group") == points
    assert published.points("CPUUtilization") == []
    assert len(published.points("StatusCheckFailed", InstanceId=published.name)) == 10


def test_one_that_its_group_only_keeps_warm_has_no_part_in_the_groups_metrics(cloud: Cloud) -> None:
    published = Published(cloud, metrics_period_s=1)
    published.marks = {"autoscaling": SimpleNamespace(target=lambda client, instance: True)}
    for second in range(2):
        published.tick(START + second, cpu_s=1.0 * second)
    assert published.points("CPUUtilization", InstanceId=published.name) == [(START, 50.0)]
    assert published.points("CPUUtilization", AutoScalingGroupName="group") == []


def test_detailed_monitoring_publishes_every_minute_and_for_all(cloud: Cloud) -> None:
    published = Published(cloud, monitoring=True)
    for minute in range(3):
        published.tick(START + 60 * minute, cpu_s=60.0 * minute)
    points = [(START, 50.0), (START + 60, 50.0)]
    assert published.points("CPUUtilization", InstanceId=published.name) == points
    assert published.points("CPUUtilization", InstanceType="t3.nano") == points
    assert published.points("CPUUtilization") == points


def test_a_local_cloud_may_publish_every_second(cloud: Cloud) -> None:
    published = Published(cloud, metrics_period_s=1)
    for second in range(3):
        published.tick(START + second + 0.02, cpu_s=1.0 * second)
    assert published.points("CPUUtilization", InstanceId=published.name) == [(START, 50.0), (START + 1, 50.0)]
    assert published.publisher.next_end(START + 1.5) == START + 2


def test_metrics_of_status_checks_say_which_of_them_failed(cloud: Cloud) -> None:
    published = Published(cloud, metrics_period_s=1, checks=StatusChecks(instance=123.0))
    for second in range(2):
        published.tick(START + second, 0.0)
    for name, value in (("", 1.0), ("_Instance", 1.0), ("_System", 0.0), ("_AttachedEBS", 0.0)):
        assert published.points(f"StatusCheckFailed{name}", InstanceId=published.name) == [(START, value)]


def test_before_the_first_look_status_checks_have_no_metrics(cloud: Cloud) -> None:
    published = Published(cloud, metrics_period_s=1)
    for second in range(2):
        published.tick(START + second, 0.0)
    assert published.points("StatusCheckFailed", InstanceId=published.name) == []
    assert published.points("CPUUtilization", InstanceId=published.name) == [(START, 0.0)]


def test_data_have_awss_units(cloud: Cloud) -> None:
    published = Published(cloud, metrics_period_s=1)
    written: list[Datum] = []

    async def write(datums: Any) -> None:
        written.extend(datums)

    published.metrics.write = write  # type: ignore[method-assign]
    published.tick(START, 0.0)
    published.tick(START + 1, 0.0)
    units = {datum.series.name: datum.unit for datum in written}
    assert units["CPUUtilization"] == "Percent"
    assert units["NetworkIn"] == "Bytes"
    assert units["NetworkPacketsIn"] == "Count"


def take_over(published: Published) -> None:
    """A new daemon, which knows only what is stored."""
    published.publisher = Publisher(published.publisher._world)


def test_a_new_daemon_publishes_what_the_agent_saw_while_there_was_none_and_nothing_twice(cloud: Cloud) -> None:
    published = Published(cloud, monitoring=True, checks=StatusChecks())
    for minute in range(3):
        published.tick(START + 60 * minute, cpu_s=12.0 * minute)
        published.keep()
    for minute in range(3, 6):  # the daemon is away
        published.agent.sample = sample(START + 60 * minute + 2, 12.0 * minute, name=published.name)
        published.keep(answers=minute != 4)
    take_over(published)
    published.tick(START + 375, cpu_s=75.0)  # at its start: no look between two ends
    assert published.points("CPUUtilization", InstanceId=published.name)[-1][0] == START + 240
    published.tick(START + 360, cpu_s=72.0)
    points = published.points("CPUUtilization", InstanceId=published.name)
    assert [(time - START, round(value)) for time, value in points] == [(60 * minute, 10) for minute in range(6)]
    checks = published.points("StatusCheckFailed_Instance", InstanceId=published.name)
    assert [(time - START, value) for time, value in checks] == [
        (0, 0.0),
        (60, 0.0),
        (120, 0.0),
        (180, 1.0),
        (240, 0.0),
        (300, 0.0),
    ]


def test_five_minutes_that_two_daemons_saw_are_told_once_and_whole(cloud: Cloud) -> None:
    published = Published(cloud)
    for minute in range(3):
        published.tick(START + 60 * minute, cpu_s=6.0 * minute)
        published.keep()
    take_over(published)
    for minute in range(3, 7):
        published.tick(START + 60 * minute, cpu_s=6.0 * minute)
        published.keep()
    assert published.points("CPUUtilization", InstanceId=published.name) == [(START, 5.0)]


def test_what_could_not_be_written_is_written_at_the_next_end(cloud: Cloud) -> None:
    published = Published(cloud, monitoring=True)
    published.tick(START, cpu_s=0.0)
    write = published.metrics.write

    async def full(datums: Any) -> None:
        raise TelemetryFull("the disk is full")

    published.metrics.write = full  # type: ignore[method-assign]
    published.tick(START + 60, cpu_s=12.0)
    published.keep()
    published.metrics.write = write  # type: ignore[method-assign]
    published.tick(START + 120, cpu_s=24.0)
    assert published.points("CPUUtilization", InstanceId=published.name) == [(START, 10.0), (START + 60, 10.0)]
