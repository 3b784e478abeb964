"""Instance stores: which disks a type brings along, and what is told of them. Source: AWS "Instance store temporary block storage for EC2 instances",
BlockDeviceMapping (VirtualName), DescribeInstanceTypes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gureum.aws.ec2.images.images import BUILTINS, Image
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.metrics import Done, Sample, metrics_of, work_at
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot
from gureum.core import specs
from gureum.ports.containers import Usage
from gureum.ports.volumes import VolumeCounters
from tests.aws.ec2.instances.test_types import names
from tests.aws.ec2.volumes.test_block_devices import change

RUN = {"ImageId": BUILTINS[0].id, "MinCount": 1, "MaxCount": 1}
GB = 10**9


def store(device: str, number: int = 0) -> dict[str, Any]:
    return {"DeviceName": device, "VirtualName": f"ephemeral{number}"}


def launch(cloud: Any, type_: str, *mappings: dict[str, Any], **params: Any) -> str:
    wish = {**RUN, "InstanceType": type_, "BlockDeviceMappings": list(mappings), **params}
    return str(cloud("RunInstances", **wish)["Instances"][0]["InstanceId"])


def disks(cloud: Any, instance: str) -> dict[str, specs.Volume]:
    """Folder in /volumes → the volume on the machine, of what is not EBS."""
    made = {one.id: one.spec for one in cloud.lowering.of(f"ec2.Instance/111122223333/us-east-1/{instance}")}
    container = made[f"Container/{instance}"]
    return {one.device: made[f"Volume/{one.volume}"] for one in container.disks if not one.volume.startswith("vol-")}


def mapping_tree(cloud: Any, instance: str) -> dict[str, str]:
    made = {one.id: one.spec for one in cloud.lowering.of(f"ec2.Instance/111122223333/us-east-1/{instance}")}
    tree = made[f"Metadata/{instance}"].document.tree
    prefix = "meta-data/block-device-mapping/"
    return {path.removeprefix(prefix): text for path, text in tree.items() if path.startswith(prefix)}


@pytest.mark.parametrize(
    ("name", "count", "size", "kind", "nvme", "encryption"),
    [
        ("c5d.large", 1, 50, "ssd", "required", "required"),
        ("m5d.24xlarge", 4, 900, "ssd", "required", "required"),
        ("i3.large", 1, 475, "ssd", "required", "required"),
        ("i4i.xlarge", 1, 937, "ssd", "required", "required"),
        ("z1d.large", 1, 75, "ssd", "required", "required"),
        ("d2.xlarge", 3, 2048, "hdd", "unsupported", "unsupported"),
        ("m1.small", 1, 160, "hdd", "unsupported", "unsupported"),
    ],
)
def test_published_figures(cloud, name, count, size, kind, nvme, encryption):
    told = cloud.one("DescribeInstanceTypes", "InstanceTypes", InstanceTypes=[name])
    assert told["InstanceStorageSupported"] is True
    assert told["InstanceStorageInfo"] == {
        "TotalSizeInGB": count * size,
        "Disks": [{"Count": count, "SizeInGB": size, "Type": kind}],
        "NvmeSupport": nvme,
        "EncryptionSupport": encryption,
    }


def test_types_are_found_by_their_store(cloud):
    found = names(cloud, instance_storage_supported=["true"], instance_type=["c5*.large"])
    assert found == ["c5ad.large", "c5d.large"]
    wish = {"instance_storage_info__nvme_support": ["required"], "instance_storage_info__disk__size_in_gb": ["475"]}
    assert {"i3.large", "i4i.large"} & set(names(cloud, **wish)) == {"i3.large"}
    wanted = {"VCpuCount": {"Min": 2, "Max": 2}, "MemoryMiB": {"Min": 4096, "Max": 4096}, "LocalStorage": "required"}
    asked = {"ArchitectureTypes": ["x86_64"], "VirtualizationTypes": ["hvm"], "InstanceRequirements": wanted}
    found = cloud("GetInstanceTypesFromInstanceRequirements", **asked)["InstanceTypes"]
    assert "c5d.large" in [one["InstanceType"] for one in found]


def test_nvme_disks_are_all_there_whatever_a_mapping_says(cloud):
    cloud.settings = msgspec.structs.replace(cloud.settings, simulate=True)  # room for a large type
    instance = launch(
        cloud, "i3.8xlarge", store("/dev/sdb"), store("/dev/sdz", 7), {"DeviceName": "/dev/sdc", "NoDevice": ""}
    )
    found = disks(cloud, instance)
    assert {device: one.volume.size_bytes for device, one in found.items()} == {
        f"ephemeral{number}": 1900 * GB for number in range(4)
    }
    keys = {one.volume.key for one in found.values()}
    assert len(keys) == 4
    assert "" not in keys
    # zvymazal, rightscale-cookbooks/ephemeral_lvm 64: an i3's metadata
    assert mapping_tree(cloud, instance) == {"ami": "/dev/xvda", "root": "/dev/xvda", "ephemeral0": "sdb"}
    shown = cloud.one("DescribeInstances", "Reservations", InstanceIds=[instance])["Instances"][0]
    assert [one["DeviceName"] for one in shown["BlockDeviceMappings"]] == ["/dev/xvda"]
    assert len(cloud("DescribeVolumes")["Volumes"]) == 1


def test_other_disks_are_there_when_a_mapping_names_them(cloud):
    assert disks(cloud, launch(cloud, "c3.large")) == {}
    instance = launch(cloud, "c3.large", store("/dev/sdc", 1), store("/dev/sdd", 2))
    found = disks(cloud, instance)
    assert {device: one.volume.size_bytes for device, one in found.items()} == {"ephemeral1": 16 * GB}
    assert found["ephemeral1"].volume.key == ""
    assert mapping_tree(cloud, instance)["ephemeral1"] == "sdc"
    assert "ephemeral2" not in mapping_tree(cloud, instance)
    change(cloud, Instance, instance, "running")
    zone = cloud("DescribeVolumes")["Volumes"][0]["AvailabilityZone"]
    volume = cloud("CreateVolume", Size=1, AvailabilityZone=zone)["VolumeId"]
    code, text = cloud.refused("AttachVolume", VolumeId=volume, InstanceId=instance, Device="/dev/sdc")
    assert code == "InvalidParameterValue"
    assert text.endswith("Attachment point /dev/sdc is already in use")


def test_an_image_names_them_too_but_not_for_m3(cloud):
    source = launch(cloud, "t3.nano")
    change(cloud, Instance, source, "running")
    wish = {"InstanceId": source, "Name": "kept", "NoReboot": True, "BlockDeviceMappings": [store("/dev/sdb")]}
    image = cloud("CreateImage", **wish)["ImageId"]
    root = cloud.one("DescribeImages", "Images", ImageIds=[image])["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    change(cloud, Image, image, "available")
    change(cloud, Snapshot, root, "completed")
    assert list(disks(cloud, launch(cloud, "c3.large", ImageId=image))) == ["ephemeral0"]
    without = {"DeviceName": "/dev/sdb", "NoDevice": ""}
    assert disks(cloud, launch(cloud, "c3.large", without, ImageId=image)) == {}
    assert disks(cloud, launch(cloud, "m3.medium", ImageId=image)) == {}
    assert list(disks(cloud, launch(cloud, "m3.medium", store("/dev/sdc"), ImageId=image))) == ["ephemeral0"]
    # One that takes a volume's place.
    swapped = launch(cloud, "c3.large", {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 3}}, ImageId=image)
    assert disks(cloud, swapped) == {}


def test_a_reboot_keeps_them_and_a_start_makes_new_ones(cloud):
    instance = launch(cloud, "m5d.large")
    change(cloud, Instance, instance, "running")
    first = disks(cloud, instance)["ephemeral0"].volume
    cloud("RebootInstances", InstanceIds=[instance])
    assert disks(cloud, instance)["ephemeral0"].volume == first
    change(cloud, Instance, instance, "stopped")
    assert cloud.lowering.of(f"ec2.Instance/111122223333/us-east-1/{instance}") == []
    cloud("StartInstances", InstanceIds=[instance])
    second = disks(cloud, instance)["ephemeral0"].volume
    assert (second.name, second.key) != (first.name, first.key)
    assert second.size_bytes == first.size_bytes
    change(cloud, Instance, instance, "stopped")
    cloud("ModifyInstanceAttribute", InstanceId=instance, InstanceType={"Value": "m5.large"})
    cloud("StartInstances", InstanceIds=[instance])
    assert disks(cloud, instance) == {}


def test_their_work_is_told_apart_from_that_of_ebs() -> None:
    usage = {"i-1": Usage(0, 0, 1)}
    began = Sample(0, usage, {}, {"i-1-e0-1": VolumeCounters(reads=2, read_bytes=2000)})
    ended = Sample(60, usage, {}, {"i-1-e0-1": VolumeCounters(reads=5, read_bytes=5000, writes=1, written_bytes=9)})
    done = Done(60, 0, 10000, 9, 9, 1, stores=work_at(["i-1-e0-1", "i-1-e1-1"], began, ended))
    values = {name: value for name, (value, _) in metrics_of(done, 1).items()}
    assert (values["DiskReadOps"], values["DiskReadBytes"], values["DiskWriteBytes"]) == (3, 3000, 9)
    assert (values["EBSReadOps"], values["EBSReadBytes"], values["EBSWriteBytes"]) == (6, 7000, 0)
    assert "DiskReadOps" not in metrics_of(Done(60, 0, 0, 0, 0, 0), 1)
