"""How fast volumes may be, by AWS's table of volume types ("Amazon EBS volume types")."""

from __future__ import annotations

import string

import pytest

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.volumes.types import check_volume, most_of
from gureum.aws.errors import AwsError
from tests.aws.ec2.volumes.test_block_devices import change


@pytest.mark.parametrize(
    ("wanted", "iops", "mib"),
    [
        ({"VolumeType": "gp3", "Size": 8}, 3000, 125),
        ({"VolumeType": "gp3", "Size": 32, "Iops": 16000, "Throughput": 1000}, 16000, 1000),
        ({"VolumeType": "gp2", "Size": 8}, 3000, 128),
        ({"VolumeType": "gp2", "Size": 2000}, 6000, 250),
        ({"VolumeType": "io1", "Size": 100, "Iops": 1000}, 1000, 250),
        ({"VolumeType": "io1", "Size": 1000, "Iops": 20000}, 20000, 500),
        ({"VolumeType": "io1", "Size": 2000, "Iops": 64000}, 64000, 1000),
        ({"VolumeType": "io2", "Size": 1000, "Iops": 256000}, 256000, 4000),
        ({"VolumeType": "st1", "Size": 1024}, 0, 250),
        ({"VolumeType": "st1", "Size": 16384}, 0, 500),
        ({"VolumeType": "sc1", "Size": 1024}, 0, 80),
        ({"VolumeType": "standard", "Size": 8}, 200, 90),
    ],
)
def test_a_volume_is_as_fast_as_its_type(wanted, iops, mib):
    assert most_of(check_volume(wanted, "us-east-1a", least_gib=1)) == (iops, mib << 20)


@pytest.mark.parametrize(
    ("wanted", "code", "text"),
    [
        (
            {"VolumeType": "gp2", "Size": 8, "Iops": 3000},
            "InvalidParameterCombination",
            "iops is not supported for gp2",
        ),
        (
            {"VolumeType": "gp3", "Size": 20, "Iops": 15000},
            "InvalidParameterValue",
            "ratio of 750.000000 is too high; maximum is 500",
        ),
        (
            {"VolumeType": "io1", "Size": 10, "Iops": 501},
            "InvalidParameterValue",
            "ratio of 50.100000 is too high; maximum is 50",
        ),
        (
            {"VolumeType": "io2", "Size": 4, "Iops": 4001},
            "InvalidParameterValue",
            "ratio of 1000.250000 is too high; maximum is 1000",
        ),
        (
            {"VolumeType": "gp3", "Size": 10, "Throughput": 1000},
            "InvalidParameterValue",
            "ratio of 0.333333 is too high; maximum is 0.250000",
        ),
    ],
)
def test_speed_that_the_type_and_the_size_do_not_allow(wanted, code, text):
    with pytest.raises(AwsError) as refused:
        check_volume(wanted, "us-east-1a", least_gib=1)
    assert refused.value.code == code
    assert text in refused.value.message


@pytest.mark.parametrize(
    ("type_", "interfaces", "most"), [("t3.nano", 1, 27), ("t3.nano", 2, 26), ("c5d.large", 1, 26)]
)
def test_volumes_share_an_instances_places_with_interfaces_and_nvme_disks(cloud, type_, interfaces, most):
    """AWS: "Amazon EBS volume limits for EC2 instances": 28 attachments."""
    disks = [
        {"DeviceName": f"/dev/xvdb{letter}", "Ebs": {"VolumeSize": 1}} for letter in string.ascii_lowercase[: most - 1]
    ]
    cards = [{"DeviceIndex": index} for index in range(interfaces)]
    launch = {
        "ImageId": BUILTINS[0].id,
        "InstanceType": type_,
        "MinCount": 1,
        "MaxCount": 1,
        "NetworkInterfaces": cards,
    }
    more = {"DeviceName": "/dev/xvdca", "Ebs": {"VolumeSize": 1}}
    assert cloud.code("RunInstances", **launch, BlockDeviceMappings=[*disks, more]) == "AttachmentLimitExceeded"
    made = cloud("RunInstances", **launch, BlockDeviceMappings=disks)["Instances"][0]
    change(cloud, Instance, made["InstanceId"], "running")
    volume = cloud("CreateVolume", Size=1, AvailabilityZone=made["Placement"]["AvailabilityZone"])["VolumeId"]
    wish = {"VolumeId": volume, "InstanceId": made["InstanceId"], "Device": "/dev/xvdca"}
    assert cloud.code("AttachVolume", **wish) == "AttachmentLimitExceeded"
    cloud("DetachVolume", VolumeId=made["BlockDeviceMappings"][-1]["Ebs"]["VolumeId"])
    # One that is leaving still has its place.
    assert cloud.code("AttachVolume", **wish) == "AttachmentLimitExceeded"
