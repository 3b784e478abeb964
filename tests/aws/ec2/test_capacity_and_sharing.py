"""What is reserved is nobody else's; what is blocked from the public is hidden from others."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances import host_room
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, SnapshotStatus

ZONE = "us-east-1a"
GIB = 1 << 30


@pytest.fixture
def small_host(monkeypatch):
    """4 GiB of memory, all of it promised once."""
    monkeypatch.setattr(host_room, "host_memory_bytes", lambda: 4 * GIB)


def launch(cloud, count, **wanted):
    parameters = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count}
    return cloud("RunInstances", **parameters, Placement={"AvailabilityZone": ZONE}, **wanted)["Instances"]


def reserve(cloud, count, **wanted):
    kind = {"InstanceType": "t3.micro", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": ZONE}
    made = cloud("CreateCapacityReservation", **kind, InstanceCount=count, **wanted)
    return made["CapacityReservation"]["CapacityReservationId"]


def refused(cloud, count, **wanted):
    parameters = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count}
    return cloud.code("RunInstances", **parameters, Placement={"AvailabilityZone": ZONE}, **wanted)


def test_what_is_reserved_is_kept_for_those_who_ask_for_it(cloud, small_host):
    promise = cloud.call().settings.memory_promise
    room = int(4 * promise)
    id_ = reserve(cloud, room - 1, InstanceMatchCriteria="targeted")
    assert refused(cloud, 2) == "InsufficientInstanceCapacity"
    launch(cloud, 1)
    assert refused(cloud, 1) == "InsufficientInstanceCapacity"
    target = {"CapacityReservationTarget": {"CapacityReservationId": id_}}
    launch(cloud, room - 1, CapacityReservationSpecification=target)
    assert refused(cloud, 1, CapacityReservationSpecification=target) == "ReservationCapacityExceeded"
    usage = cloud("GetCapacityReservationUsage", CapacityReservationId=id_)
    assert (usage["AvailableInstanceCount"], usage["InstanceUsages"][0]["UsedInstanceCount"]) == (0, room - 1)


def test_open_reservations_are_used_first_and_an_expired_one_gives_its_room_back(cloud, small_host):
    room = int(4 * cloud.call().settings.memory_promise)
    id_ = reserve(cloud, room, EndDate=cloud.client.clock.now() + 60, EndDateType="limited")
    none = {"CapacityReservationPreference": "none"}
    assert refused(cloud, 1, CapacityReservationSpecification=none) == "InsufficientInstanceCapacity"
    (made,) = launch(cloud, 1)
    assert made["CapacityReservationId"] == id_
    cloud.client.clock.time += 61
    assert cloud.one("DescribeCapacityReservations", "CapacityReservations")["State"] == "expired"
    launch(cloud, room - 1, CapacityReservationSpecification=none)


def test_public_snapshots_are_hidden_from_others_while_all_sharing_is_blocked(cloud, new_cloud):
    other = new_cloud(cloud.client, account="999988887777")
    volume = cloud("CreateVolume", AvailabilityZone=ZONE, Size=1)["VolumeId"]
    name = cloud("CreateSnapshot", VolumeId=volume)["SnapshotId"]
    snapshot = cloud.client.get(Snapshot, "111122223333/us-east-1", name)
    transaction = cloud.client.transaction()
    transaction.update(msgspec.structs.replace(snapshot, status=SnapshotStatus("completed")))
    asyncio.run(transaction.commit())
    cloud("ModifySnapshotAttribute", SnapshotId=name, CreateVolumePermission={"Add": [{"Group": "all"}]})
    assert other("CreateVolume", AvailabilityZone=ZONE, SnapshotId=name)["SnapshotId"] == name
    cloud("EnableSnapshotBlockPublicAccess", State="block-all-sharing")
    assert other.code("CreateVolume", AvailabilityZone=ZONE, SnapshotId=name) == "InvalidSnapshot.NotFound"
    cloud("ModifySnapshotAttribute", SnapshotId=name, CreateVolumePermission={"Add": [{"UserId": "999988887777"}]})
    assert other("CreateVolume", AvailabilityZone=ZONE, SnapshotId=name)["SnapshotId"] == name


def test_fast_restores_of_a_shared_snapshot_end_with_the_sharing(cloud, new_cloud):
    """EBS User Guide, "Fast snapshot restore": it is disabled when the owner deletes the snapshot or shares it no more."""
    other = new_cloud(cloud.client, account="999988887777")
    volume = cloud("CreateVolume", AvailabilityZone=ZONE, Size=1)["VolumeId"]
    name = cloud("CreateSnapshot", VolumeId=volume)["SnapshotId"]
    snapshot = cloud.client.get(Snapshot, "111122223333/us-east-1", name)
    transaction = cloud.client.transaction()
    transaction.update(msgspec.structs.replace(snapshot, status=SnapshotStatus("completed")))
    asyncio.run(transaction.commit())
    permission = {"UserId": "999988887777"}
    cloud("ModifySnapshotAttribute", SnapshotId=name, CreateVolumePermission={"Add": [permission]})
    other("EnableFastSnapshotRestores", SourceSnapshotIds=[name], AvailabilityZones=[ZONE])
    assert other.one("DescribeFastSnapshotRestores", "FastSnapshotRestores")["OwnerId"] == "111122223333"
    assert other("CreateVolume", AvailabilityZone=ZONE, SnapshotId=name)["FastRestored"] is True
    assert cloud("CreateVolume", AvailabilityZone=ZONE, SnapshotId=name)["FastRestored"] is False
    cloud("ModifySnapshotAttribute", SnapshotId=name, CreateVolumePermission={"Remove": [permission]})
    assert other("DescribeFastSnapshotRestores")["FastSnapshotRestores"] == []


def test_a_shared_image_is_not_found_where_it_is_not_allowed(cloud, new_cloud):
    other = new_cloud(cloud.client, account="999988887777")
    image = cloud("CopyImage", SourceRegion="us-east-1", SourceImageId=BUILTINS[0].id, Name="shared one")["ImageId"]
    cloud("ModifyImageAttribute", ImageId=image, LaunchPermission={"Add": [{"UserId": "999988887777"}]})
    assert other.one("DescribeImages", "Images", ImageIds=[image])["OwnerId"] == "111122223333"
    other("ReplaceImageCriteriaInAllowedImagesSettings", ImageCriteria=[{"ImageProviders": ["amazon"]}])
    other("EnableAllowedImagesSettings", AllowedImagesSettingsState="enabled")
    assert other.code("DescribeImages", ImageIds=[image]) == "InvalidAMIID.NotFound"
    other("ReplaceImageCriteriaInAllowedImagesSettings", ImageCriteria=[{"ImageNames": ["shared ???"]}])
    assert other.one("DescribeImages", "Images", ImageIds=[image])["ImageAllowed"] is True
    assert other("CancelImageLaunchPermission", ImageId=image) == {"Return": True}
    assert other.code("DescribeImages", ImageIds=[image]) == "InvalidAMIID.NotFound"


def test_who_may_launch_an_image_may_not_copy_it_unless_its_snapshots_are_shared(cloud, new_cloud):
    """User Guide, "Copy an Amazon EC2 AMI": the owner must grant read permission for the storage that backs it."""
    other = new_cloud(cloud.client, account="999988887777")
    volume = cloud("CreateVolume", AvailabilityZone=ZONE, Size=1)["VolumeId"]
    name = cloud("CreateSnapshot", VolumeId=volume)["SnapshotId"]
    snapshot = cloud.client.get(Snapshot, "111122223333/us-east-1", name)
    transaction = cloud.client.transaction()
    of_root = msgspec.structs.replace(snapshot.spec, base="busybox")
    transaction.update(msgspec.structs.replace(snapshot, spec=of_root, status=SnapshotStatus("completed")))
    asyncio.run(transaction.commit())
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": name}}
    image = cloud("RegisterImage", Name="lent", RootDeviceName="/dev/xvda", BlockDeviceMappings=[disk])["ImageId"]
    cloud("ModifyImageAttribute", ImageId=image, LaunchPermission={"Add": [{"UserId": "999988887777"}]})
    copy = {"SourceRegion": "us-east-1", "SourceImageId": image, "Name": "taken"}
    text = "You do not have permission to access the storage of this ami"
    assert other.refused("CopyImage", **copy) == ("InvalidRequest", text)
    cloud("ModifySnapshotAttribute", SnapshotId=name, CreateVolumePermission={"Add": [{"UserId": "999988887777"}]})
    assert other("CopyImage", **copy)["ImageId"] != image
