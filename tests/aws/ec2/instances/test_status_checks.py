"""Status checks: what looks at a machine make of an instance's checks (AWS: "Status checks for your instances", DescribeInstanceStatus)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.status_checks import FAILURES, Checker, is_impaired
from gureum.base.settings import Settings
from gureum.core.looks import Look
from gureum.engine.events import Events
from gureum.ports import PortError
from tests.aws.ec2.conftest import Cloud

WELL = Look(runs=True, answers=True, disks=True)
SILENT = Look(runs=True, answers=False, disks=True)


class Checked:
    """A running instance and its checker. `look(…)` is one look; None: the agent is away."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        image = cloud("DescribeImages", Owners=["amazon"])["Images"][0]["ImageId"]
        made = cloud("RunInstances", ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)
        self.name = made["Instances"][0]["InstanceId"]
        self.asked_again: list[float] = []
        self._look: Look | None = None
        self._set("running")
        clock: Any = cloud.client.clock
        world: Any = SimpleNamespace(client=cloud.client, clock=clock, settings=Settings(), link=self, events=Events())
        self.checker = Checker(world)
        self.checker.again = self.asked_again.append

    async def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert request == {"op": "looks"}
        if self._look is None:
            raise PortError("away")
        return {"machines": {self.name: msgspec.to_builtins(self._look)}}

    def look(self, *looks: Look | None) -> None:
        for one in looks:
            self._look = one
            asyncio.run(self.checker.work(""))

    @property
    def instance(self) -> Instance:
        return next(iter(self.cloud.client.everywhere(Instance)))

    def _set(self, state: Any) -> None:
        transaction = self.cloud.client.transaction()
        status = msgspec.structs.replace(self.instance.status, state=state)
        transaction.update(msgspec.structs.replace(self.instance, status=status))
        asyncio.run(transaction.commit())

    def told(self, **params: Any) -> list[tuple[str, str, str]]:
        """(system, instance, attached EBS)"""
        found = self.cloud("DescribeInstanceStatus", **params)["InstanceStatuses"]
        return [
            tuple(one[name]["Status"] for name in ("SystemStatus", "InstanceStatus", "AttachedEbsStatus"))
            for one in found
        ]  # type: ignore[misc]


@pytest.fixture
def checked(cloud: Cloud) -> Checked:
    return Checked(cloud)


def test_before_the_first_look_checks_are_initializing(checked: Checked) -> None:
    assert checked.told() == [("initializing",) * 3]
    checked.look(None)
    assert checked.told() == [("initializing",) * 3]
    checked.look(WELL)
    assert checked.told() == [("ok",) * 3]


@pytest.mark.parametrize(
    ("look", "told"),
    [
        (SILENT, ("ok", "impaired", "ok")),
        (Look(runs=False, answers=False, disks=True), ("impaired", "impaired", "ok")),
        (Look(runs=True, answers=True, disks=False), ("ok", "ok", "impaired")),
    ],
)
def test_what_fails_often_enough_is_impaired_and_since_when(
    checked: Checked, look: Look, told: tuple[str, str, str]
) -> None:
    checked.look(WELL, *[look] * (FAILURES - 1))
    assert checked.told() == [("ok",) * 3]
    assert checked.asked_again == [5.0] * (FAILURES - 1)
    checked.look(look)
    assert checked.told() == [told]
    assert len(checked.asked_again) == FAILURES - 1
    (shown,) = checked.cloud("DescribeInstanceStatus")["InstanceStatuses"]
    name = ("SystemStatus", "InstanceStatus", "AttachedEbsStatus")[told.index("impaired")]
    now = checked.cloud.client.clock.now()
    assert shown[name]["Details"] == [{"Name": "reachability", "Status": "failed", "ImpairedSince": now}]
    assert is_impaired(checked.instance) == (told != ("ok", "ok", "impaired"))


def test_one_that_passes_in_between_begins_anew(checked: Checked) -> None:
    checked.look(WELL, *[SILENT] * (FAILURES - 1), WELL, *[SILENT] * (FAILURES - 1))
    assert checked.told() == [("ok",) * 3]


def test_the_first_look_that_passes_ends_it(checked: Checked) -> None:
    checked.look(WELL, *[SILENT] * FAILURES)
    revision = checked.instance.meta.revision
    checked.look(SILENT, None)
    assert checked.instance.meta.revision == revision
    checked.look(WELL)
    assert checked.told() == [("ok",) * 3]


def test_a_machine_that_never_answered_is_impaired_without_having_been_well(checked: Checked) -> None:
    checked.look(*[SILENT] * (FAILURES - 1))
    assert checked.told() == [("initializing",) * 3]
    checked.look(SILENT)
    assert checked.told() == [("ok", "impaired", "ok")]


def test_status_filters_follow_the_checks(checked: Checked) -> None:
    def found(name: str, value: str) -> int:
        return len(checked.told(Filters=[{"Name": name, "Values": [value]}]))

    checked.look(WELL, *[SILENT] * FAILURES)
    assert found("instance-status.status", "impaired") == found("instance-status.reachability", "failed") == 1
    assert found("system-status.status", "ok") == found("system-status.reachability", "passed") == 1
    assert found("instance-status.status", "ok") == found("attached-ebs-status.status", "impaired") == 0


def test_a_stopped_instance_has_no_checks(checked: Checked) -> None:
    checked.look(WELL)
    checked.cloud("StopInstances", InstanceIds=[checked.name])
    assert checked.told(IncludeAllInstances=True) == [("not-applicable",) * 3]
