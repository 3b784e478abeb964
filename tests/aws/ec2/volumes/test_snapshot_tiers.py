"""The archive tier on a machine that does what it is asked to when a test says so: what can be used when, and temporary restores that end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, SnapshotStatus
from gureum.aws.ec2.volumes.snapshots import reconcile_snapshot, wish_of
from gureum.aws.errors import AwsError
from gureum.core import specs
from gureum.engine.events import Events

DAY_S = 86400.0


class Tiers:
    """`id`: a completed snapshot. `machine()`: it has done all it was asked; `failed`: with which reason it could not."""

    def __init__(self, cloud: Any) -> None:
        self.cloud, self.clock, self.failed = cloud, cloud.client.clock, ""
        volume = cloud("CreateVolume", AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
        self.id = cloud("CreateSnapshot", VolumeId=volume)["SnapshotId"]
        self.poked: list[float] = []
        self.write(msgspec.structs.replace(self.snapshot, status=SnapshotStatus("completed", self.clock.now())))

    @property
    def snapshot(self) -> Snapshot:
        found = self.cloud.client.get(Snapshot, f"{self.cloud.account}/us-east-1", self.id)
        assert isinstance(found, Snapshot)
        return found

    @property
    def tier(self) -> str:
        """How the machine is to keep it."""
        spec = wish_of(self.snapshot, self.cloud.client).spec
        assert isinstance(spec, specs.Snapshot)
        return spec.snapshot.tier

    def write(self, changed: Snapshot) -> None:
        transaction = self.cloud.client.transaction()
        transaction.update(changed)
        asyncio.run(transaction.commit())

    def machine(self) -> dict[str, Any]:
        seen = SimpleNamespace(phase="failed" if self.failed else "ready", reason=self.failed, data={})
        world: Any = SimpleNamespace(
            client=self.cloud.client,
            clock=self.clock,
            events=Events(),
            seen=lambda _: seen,
            is_current=lambda _: not self.failed,
            poke=lambda _, after_s: self.poked.append(after_s),
        )

        async def run() -> None:
            await reconcile_snapshot(world, self.snapshot)

        asyncio.run(run())
        return self.status()

    def status(self) -> dict[str, Any]:
        return dict(self.cloud.one("DescribeSnapshotTierStatus", "SnapshotTierStatuses"))

    def usable(self) -> bool:
        """And what it makes is done at once."""
        try:
            made = self.cloud("CreateVolume", AvailabilityZone="us-east-1a", SnapshotId=self.id)["VolumeId"]
        except AwsError as error:
            if error.code != "IncorrectState":
                raise
            return False
        self.cloud("DeleteVolume", VolumeId=made)
        return True


@pytest.fixture
def tiers(cloud: Any) -> Tiers:
    return Tiers(cloud)


def test_it_is_of_use_until_it_is_archived_and_when_it_is_restored_for_a_time(tiers: Tiers) -> None:
    tiers.cloud("ModifySnapshotTier", SnapshotId=tiers.id, StorageTier="archive")
    assert (tiers.tier, tiers.usable()) == ("both", True)
    assert tiers.machine()["LastTieringOperationStatus"] == "archival-completed"
    assert (tiers.tier, tiers.usable()) == ("archive", False)
    tiers.cloud("RestoreSnapshotTier", SnapshotId=tiers.id, TemporaryRestoreDays=2)
    assert (tiers.tier, tiers.usable()) == ("both", False)
    status = tiers.machine()
    assert status["RestoreExpiryTime"] == tiers.clock.now() + 2 * DAY_S
    assert (status["StorageTier"], tiers.usable()) == ("archive", True)
    tiers.cloud("RestoreSnapshotTier", SnapshotId=tiers.id, TemporaryRestoreDays=5)
    tiers.clock.time += 4 * DAY_S
    tiers.machine()
    assert tiers.poked == [DAY_S]
    tiers.clock.time += DAY_S
    assert tiers.machine()["LastTieringOperationStatus"] == "archival-completed"
    assert (tiers.tier, tiers.usable()) == ("archive", False)


def test_what_is_restored_for_a_time_stays_for_good_at_once(tiers: Tiers) -> None:
    tiers.cloud("ModifySnapshotTier", SnapshotId=tiers.id)
    tiers.machine()
    tiers.cloud("RestoreSnapshotTier", SnapshotId=tiers.id, TemporaryRestoreDays=1)
    tiers.machine()
    tiers.cloud("RestoreSnapshotTier", SnapshotId=tiers.id, PermanentRestore=True)
    assert (tiers.tier, tiers.usable(), tiers.status()["StorageTier"]) == ("standard", True, "standard")


def test_a_volume_that_is_being_made_of_it_is_waited_for(tiers: Tiers) -> None:
    tiers.cloud("ModifySnapshotTier", SnapshotId=tiers.id)
    volume = tiers.cloud("CreateVolume", AvailabilityZone="us-east-1a", SnapshotId=tiers.id)["VolumeId"]
    assert tiers.machine()["LastTieringOperationStatus"] == "archival-in-progress"
    tiers.cloud("DeleteVolume", VolumeId=volume)
    assert tiers.machine()["LastTieringOperationStatus"] == "archival-completed"


def test_sharing_ends_with_it(tiers: Tiers) -> None:
    add = {"Add": [{"UserId": "999999999999"}]}
    tiers.cloud("ModifySnapshotAttribute", SnapshotId=tiers.id, CreateVolumePermission=add)
    tiers.cloud("ModifySnapshotTier", SnapshotId=tiers.id)
    tiers.machine()
    assert tiers.snapshot.spec.accounts == ()
    code = tiers.cloud.code("ModifySnapshotAttribute", SnapshotId=tiers.id, CreateVolumePermission=add)
    assert code == "IncorrectState"


@pytest.mark.parametrize("archived", [False, True])
def test_what_the_machine_cannot_do_leaves_it_in_its_tier(tiers: Tiers, archived: bool) -> None:
    tiers.cloud("ModifySnapshotTier", SnapshotId=tiers.id)
    if archived:
        tiers.machine()
        tiers.cloud("RestoreSnapshotTier", SnapshotId=tiers.id, PermanentRestore=True)
    tiers.failed = "the package zstd is not installed"
    status = tiers.machine()
    operation = "permanent-restore-failed" if archived else "archival-failed"
    assert (status["LastTieringOperationStatus"], status["LastTieringOperationStatusDetail"]) == (
        operation,
        tiers.failed,
    )
    assert (tiers.tier, tiers.usable()) == (("archive", False) if archived else ("standard", True))


def test_a_snapshot_of_an_image_is_archived_when_the_image_is_disabled(tiers: Tiers) -> None:
    tiers.write(msgspec.structs.replace(tiers.snapshot, spec=msgspec.structs.replace(tiers.snapshot.spec, base="root")))
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": tiers.id}}]
    image = tiers.cloud("RegisterImage", Name="mine", BlockDeviceMappings=mapping)["ImageId"]
    assert tiers.cloud.code("ModifySnapshotTier", SnapshotId=tiers.id) == "InvalidSnapshot.InUse"
    tiers.cloud("DisableImage", ImageId=image)
    tiers.cloud("ModifySnapshotTier", SnapshotId=tiers.id)
    tiers.machine()
    assert tiers.cloud.code("EnableImage", ImageId=image) == "IncorrectState"
