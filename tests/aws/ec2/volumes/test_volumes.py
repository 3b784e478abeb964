"""Volumes that are made alone, and what is told of all."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gureum.aws.ec2.instances.kinds import Volume, VolumeAttachment

ZONE = "us-east-1a"


def make(cloud, **params):
    return cloud("CreateVolume", **{"AvailabilityZone": ZONE, "Size": 4} | params)


def test_a_volume(cloud):
    made = make(
        cloud, VolumeType="gp3", TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "1"}]}]
    )
    assert (made["State"], made["Iops"], made["Throughput"]) == ("creating", 3000, 125)
    told = cloud.one("DescribeVolumes", "Volumes", Filters=[{"Name": "tag:a", "Values": ["1"]}])
    assert told == made | {"State": "available"}
    assert cloud.wished("Volume")[made["VolumeId"]].volume.size_bytes == 4 << 30
    cloud("DeleteVolume", VolumeId=made["VolumeId"])
    assert cloud.code("DescribeVolumes", VolumeIds=[made["VolumeId"]]) == "InvalidVolume.NotFound"
    assert cloud.wished("Volume") == {}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"AvailabilityZone": "eu-west-1a"}, "InvalidZone.NotFound"),
        ({"Size": 0}, "InvalidParameterValue"),
        ({"Size": 70000, "VolumeType": "gp3"}, "InvalidParameterValue"),
        ({"VolumeType": "io1"}, "MissingParameter"),
        ({"VolumeType": "gp2", "Iops": 100, "Throughput": 200}, "InvalidParameterCombination"),
        ({"VolumeType": "st1", "Size": 1}, "InvalidParameterValue"),
        ({"SnapshotId": "snap-0123456789abcdef0"}, "InvalidSnapshot.NotFound"),
        ({"KmsKeyId": "alias/x"}, "InvalidParameterDependency"),
        ({"VolumeType": "io2", "Iops": 100, "MultiAttachEnabled": True}, "NotImplemented"),
    ],
)
def test_what_no_volume_can_be(cloud, params, code):
    assert cloud.code("CreateVolume", **{"AvailabilityZone": ZONE, "Size": 4} | params) == code


def test_needs_a_size_and_a_zone(cloud):
    assert cloud.code("CreateVolume", AvailabilityZone=ZONE) == "MissingParameter"
    assert cloud.code("CreateVolume", Size=1) == "MissingParameter"


def test_a_volume_in_use_stays(cloud):
    image = cloud("DescribeImages", Owners=["amazon"])["Images"][0]["ImageId"]
    cloud("RunInstances", ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    volume = cloud.one("DescribeVolumes", "Volumes")
    assert volume["State"] == "in-use"
    assert cloud.code("DeleteVolume", VolumeId=volume["VolumeId"]) == "VolumeInUse"
    status = cloud.one("DescribeVolumeStatus", "VolumeStatuses")
    assert status["VolumeStatus"]["Status"] == "ok"


def test_a_volume_grows_and_never_shrinks(cloud):
    volume = make(cloud, VolumeType="gp2")["VolumeId"]
    assert cloud.code("DescribeVolumesModifications", VolumeIds=[volume]) == "InvalidVolumeModification.NotFound"
    told = cloud("ModifyVolume", VolumeId=volume, Size=8, VolumeType="gp3")["VolumeModification"]
    assert (told["ModificationState"], told["OriginalSize"], told["TargetSize"]) == ("modifying", 4, 8)
    assert (told["OriginalIops"], told["TargetIops"], told["TargetThroughput"]) == (100, 3000, 125)
    assert cloud.wished("Volume")[volume].volume.size_bytes == 8 << 30
    assert cloud.code("ModifyVolume", VolumeId=volume, Size=9) == "IncorrectModificationState"
    other = make(cloud)["VolumeId"]
    assert cloud.code("ModifyVolume", VolumeId=other, Size=3) == "InvalidParameterValue"
    assert cloud.code("ModifyVolume", VolumeId=other, Size=0) == "InvalidParameterValue"
    assert cloud.one("DescribeVolumesModifications", "VolumesModifications")["VolumeId"] == volume


def test_a_volume_is_modified_four_times_a_day_at_most(cloud):
    """AWS: ec2 ModifyVolume. A refused one does not count."""
    volume = make(cloud, Size=1)["VolumeId"]

    def modify(size):
        told = cloud("ModifyVolume", VolumeId=volume, Size=size)["VolumeModification"]["TargetSize"]
        stored = cloud.client.get(Volume, "111122223333/us-east-1", volume)
        ended = msgspec.structs.replace(stored.spec.change, ended=cloud.client.clock.now())
        transaction = cloud.client.transaction()
        transaction.update(msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, change=ended)))
        asyncio.run(transaction.commit())
        return told

    for size in (2, 3, 4, 5):
        assert modify(size) == size
        cloud.client.clock.time += 3600
        assert cloud.code("ModifyVolume", VolumeId=volume, Size=1) == "InvalidParameterValue"
    code, text = cloud.refused("ModifyVolume", VolumeId=volume, Size=6)
    assert code == "VolumeModificationRateExceeded"
    assert "2025-06-16T15:06:40.000Z" in text, "a day after the first"
    cloud.client.clock.time += 20 * 3600 + 1
    assert modify(6) == 6
    assert cloud.code("ModifyVolume", VolumeId=volume, Size=7) == "VolumeModificationRateExceeded"
    cloud.settings = msgspec.structs.replace(cloud.settings, quota_volume_modifications=0)
    assert modify(7) == 7


def test_a_volume_that_becomes_io1_has_3000_iops_unless_told_otherwise(cloud):
    volume = make(cloud, Size=60)["VolumeId"]
    told = cloud("ModifyVolume", VolumeId=volume, VolumeType="io1")["VolumeModification"]
    assert (told["OriginalIops"], told["TargetIops"]) == (180, 3000)
    small = make(cloud)["VolumeId"]
    assert cloud.code("ModifyVolume", VolumeId=small, VolumeType="io1") == "InvalidParameterValue"


def test_attributes(cloud):
    volume = make(cloud)["VolumeId"]
    cloud("ModifyVolumeAttribute", VolumeId=volume, AutoEnableIO={"Value": True})
    told = cloud("DescribeVolumeAttribute", VolumeId=volume, Attribute="autoEnableIO")
    assert told == {"VolumeId": volume, "AutoEnableIO": {"Value": True}}


def test_a_refused_detachment_names_what_was_asked(cloud):
    """It named the device as the instance."""
    volume = cloud("CreateVolume", AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    stored = cloud.client.get(Volume, "111122223333/us-east-1", volume)
    transaction = cloud.client.transaction()
    attachment = VolumeAttachment(instance="i-0123456789abcdef0", device="/dev/sdf", attached=0.0)
    transaction.update(
        msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, attachment=attachment))
    )
    asyncio.run(transaction.commit())
    text = f"The volume '{volume}' is not attached to instance 'i-0123456789abcdef0' as device '/dev/sdg'."
    assert cloud.refused("DetachVolume", VolumeId=volume, Device="/dev/sdg") == ("InvalidAttachment.NotFound", text)
