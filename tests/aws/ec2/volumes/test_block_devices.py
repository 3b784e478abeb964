"""Block device mappings of launches and images, with the errors that users of AWS have reported (the issue or pull request stands at each)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gureum.aws.ec2.images.images import BUILTINS, Image
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot
from gureum.aws.errors import AwsError

RUN = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}


def run(cloud: Any, *mappings: dict[str, Any], **params: Any) -> dict[str, dict[str, Any]]:
    """The volumes of a launch by their device."""
    made = cloud("RunInstances", **{**RUN, **params}, BlockDeviceMappings=list(mappings))["Instances"][0]
    volumes = {one["VolumeId"]: one for one in cloud("DescribeVolumes")["Volumes"]}
    return {one["DeviceName"]: volumes[one["Ebs"]["VolumeId"]] for one in made["BlockDeviceMappings"]}


def change(cloud: Any, cls: Any, name: str, state: str) -> None:
    """What the agent would tell of it."""
    call = cloud.call()
    one = call.get(cls, name)
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(one, status=msgspec.structs.replace(one.status, state=state)))
    asyncio.run(transaction.commit())


def disk(device: str, **ebs: Any) -> dict[str, Any]:
    return {"DeviceName": device, "Ebs": ebs}


@pytest.mark.parametrize(
    ("mappings", "code", "text"),
    [
        # hashicorp/terraform 7233
        (
            [disk("/dev/sdf", VolumeSize=1), disk("/dev/sdf", VolumeSize=2)],
            "InvalidBlockDeviceMapping",
            "The device 'sdf' is used in more than one block-device mapping",
        ),
        (
            [disk("xvda", VolumeSize=9)],
            "InvalidBlockDeviceMapping",
            "The device 'xvda' is used in more than one block-device mapping",
        ),
        # getmoto/moto 2949
        ([{"DeviceName": "/dev/sda2"}], "MissingParameter", "The request must contain the parameter ebs"),
        ([disk("/dev/sda2")], "MissingParameter", "The request must contain the parameter size or snapshotId"),
        # aws/aws-cli 1071
        (
            [disk("C:/Program Files/Git/dev/sda1", VolumeSize=1)],
            "InvalidBlockDeviceMapping",
            "Invalid device name C:/Program Files/Git/dev/sda1",
        ),
        # hashicorp/packer 2765
        (
            [disk("/dev/sdb", SnapshotId="snap-12345678") | {"VirtualName": "ephemeral0"}],
            "InvalidBlockDeviceMapping",
            "snapshotId can only be modified on EBS devices",
        ),
        (
            [disk("/dev/sdb", VolumeSize=1) | {"VirtualName": "ephemeral0"}],
            "InvalidBlockDeviceMapping",
            "volumeSize can only be modified on EBS devices",
        ),
        (
            [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral24"}],
            "InvalidBlockDeviceMapping",
            "Invalid virtual name 'ephemeral24'",
        ),
        (
            [disk("/dev/xvda", SnapshotId="snap-12345678")],
            "InvalidBlockDeviceMapping",
            "snapshotId cannot be modified on root device",
        ),
        (
            [{"DeviceName": "/dev/xvda", "NoDevice": ""}],
            "InvalidBlockDeviceMapping",
            "The root device cannot be left out of the block device mapping.",
        ),
    ],
)
def test_a_launch_refuses_mappings_as_aws_does(cloud, mappings, code, text):
    assert cloud.refused("RunInstances", **RUN, BlockDeviceMappings=mappings) == (code, text)
    assert cloud("DescribeVolumes")["Volumes"] == []


def test_a_launch_takes_volumes_and_leaves_out_the_rest(cloud):
    found = run(
        cloud,
        disk("/dev/xvda", VolumeSize=9),
        disk("/dev/sdf", VolumeSize=2, VolumeType="gp3"),
        {"DeviceName": "/dev/sdg", "NoDevice": ""},
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    )
    shown = {device: (one["Size"], one["VolumeType"]) for device, one in found.items()}
    assert shown == {"/dev/xvda": (9, "gp3"), "/dev/sdf": (2, "gp3")}


def test_an_image_tells_of_instance_stores_and_a_type_without_any_leaves_them_out(cloud):
    instance = cloud("RunInstances", **RUN)["Instances"][0]["InstanceId"]
    change(cloud, Instance, instance, "running")
    wish = {"InstanceId": instance, "Name": "kept", "NoReboot": True}
    # hashicorp/packer 2320
    twice = [{"DeviceName": "/dev/sde", "VirtualName": f"ephemeral{number}"} for number in (0, 1)]
    assert cloud.refused("CreateImage", **wish, BlockDeviceMappings=twice) == (
        "InvalidBlockDeviceMapping",
        "/dev/sde is being assigned to multiple times.",
    )
    # nortontruter/infracoders-workshop 3
    assert cloud.refused("CreateImage", **wish, BlockDeviceMappings=[disk("/dev/sdf")]) == (
        "InvalidBlockDeviceMapping",
        "Either snapshot ID or volume size must be provided for: /dev/sdf",
    )
    more = [twice[0], disk("/dev/sdf", VolumeSize=3), {"DeviceName": "/dev/sdg", "NoDevice": ""}]
    image = cloud("CreateImage", **wish, BlockDeviceMappings=more)["ImageId"]
    shown = cloud.one("DescribeImages", "Images", ImageIds=[image])["BlockDeviceMappings"]
    assert [(one["DeviceName"], one.get("VirtualName")) for one in shown] == [
        ("/dev/xvda", None),
        ("/dev/sde", "ephemeral0"),
        ("/dev/sdf", None),
    ]
    change(cloud, Image, image, "available")
    change(cloud, Snapshot, shown[0]["Ebs"]["SnapshotId"], "completed")
    assert sorted(run(cloud, ImageId=image)) == ["/dev/sdf", "/dev/xvda"]


devices = st.sampled_from(["/dev/xvda", "xvda", "/dev/sdf", "sdf", "/dev/sdg", "/dev/xvdba", "/dev/nvme0n1", ""])
members = {
    "Ebs": st.fixed_dictionaries(
        {},
        optional={
            "VolumeSize": st.sampled_from([-1, 0, 1, 2, 20, 70000]),
            "VolumeType": st.sampled_from(["gp2", "gp3", "io1", "st1", "standard", "none"]),
            "Iops": st.sampled_from([-1, 0, 100, 3000, 10**6]),
            "Throughput": st.sampled_from([0, 125, 5000]),
            "SnapshotId": st.sampled_from(["", "snap-12345678", "x"]),
            "DeleteOnTermination": st.booleans(),
            "Encrypted": st.booleans(),
            "KmsKeyId": st.sampled_from(["", "alias/none", "é"]),
        },
    ),
    "VirtualName": st.sampled_from(["", "ephemeral0", "ephemeral99"]),
    "NoDevice": st.sampled_from(["", "x"]),
}
mappings_ = st.lists(st.fixed_dictionaries({"DeviceName": devices}, optional=members), max_size=4)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(mappings=mappings_)
@example([{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}])
def test_any_mappings_end_in_distinct_volumes_or_the_api_s_error(new_module_cloud, mappings):
    cloud = new_module_cloud
    with suppress(AwsError):
        made = cloud("RunInstances", **RUN, BlockDeviceMappings=mappings)["Instances"][0]
        cloud("TerminateInstances", InstanceIds=[made["InstanceId"]])
        _check_distinct(made)


def _check_distinct(made: dict[str, Any]) -> None:
    names = [one["DeviceName"].removeprefix("/dev/") for one in made["BlockDeviceMappings"]]
    assert len(set(names)) == len(names)
    assert "xvda" in names


@pytest.fixture(scope="module")
def new_module_cloud(new_cloud_type):
    made = new_cloud_type()
    yield made
    made.lowering.close()
    made.client.close()
