"""Disks of real machines: volumes that come and go while they run, snapshots, images, and what a killed daemon and agent leave of them."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gureum.aws.ec2.volumes.host_files import holds_file
from gureum.drivers.volumes import file_systems
from tests.cloud.running import BUSYBOX, NANO, Cloud, until

SETTINGS = {"spot_notice_s": "3"}


def volume_of(ec2: Any, name: str) -> dict[str, Any]:
    return dict(ec2.describe_volumes(VolumeIds=[name])["Volumes"][0])


def until_attachment(ec2: Any, name: str, state: str) -> None:
    until(lambda: [one["State"] for one in volume_of(ec2, name)["Attachments"]] == ([state] if state else []))


def new_volume(ec2: Any, zone: str, **wanted: Any) -> str:
    made = ec2.create_volume(AvailabilityZone=zone, **{"Size": 1, **wanted})["VolumeId"]
    until(lambda: volume_of(ec2, made)["State"] == "available")
    return str(made)


def sh(cloud: Cloud, instance: dict[str, Any], script: str) -> str:
    done = cloud.inside(instance["InstanceId"], "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(file: Path) -> bytes:
    """What of a sparse file is no hole."""
    found, offset = bytearray(), 0
    with open(file, "rb", buffering=0) as reader:
        with suppress(OSError):  # only a hole is left
            while True:
                start = os.lseek(reader.fileno(), offset, os.SEEK_DATA)
                offset = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
                found += os.pread(reader.fileno(), offset - start, start)
    return bytes(found)


def until_image(ec2: Any, name: str) -> None:
    until(lambda: ec2.describe_images(ImageIds=[name])["Images"][0]["State"] == "available")


@pytest.fixture(scope="module")
def machine(cloud: Cloud, ec2: Any) -> dict[str, Any]:
    """Running; its disk has /precious."""
    disks = [{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True, "Encrypted": True}}]
    (made,) = cloud.launch(ec2, UserData="", BlockDeviceMappings=disks)
    sh(cloud, made, "echo mine > /precious; sync")
    return made


def test_a_volume_whose_file_this_host_cannot_hold_is_refused(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    if holds_file(str(cloud.home), 65536):
        pytest.skip("the file system of this host holds files of 64 TiB")
    zone = machine["Placement"]["AvailabilityZone"]
    disks = [{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 65536, "VolumeType": "gp3"}}]
    volume = new_volume(ec2, zone, VolumeType="gp3")
    for ask in (
        lambda: ec2.create_volume(AvailabilityZone=zone, Size=65536, VolumeType="gp3"),
        lambda: ec2.modify_volume(VolumeId=volume, Size=65536),
        lambda: cloud.launch(ec2, UserData="", BlockDeviceMappings=disks),
    ):
        with pytest.raises(ClientError, match="InsufficientVolumeCapacity"):
            ask()
    ec2.delete_volume(VolumeId=volume)


def test_a_volume_comes_to_a_running_machine_grows_and_goes_to_another(
    cloud: Cloud, ec2: Any, machine: dict[str, Any]
) -> None:
    zone = machine["Placement"]["AvailabilityZone"]
    assert sh(cloud, machine, "ls /volumes") == "sdb\n"
    volume = new_volume(ec2, zone)
    ec2.attach_volume(VolumeId=volume, InstanceId=machine["InstanceId"], Device="/dev/sdf")
    until_attachment(ec2, volume, "attached")
    megabytes = "df -m /volumes/sdf | tail -1 | awk '{print $2}'"
    assert 900 < int(sh(cloud, machine, f"echo data > /volumes/sdf/file; {megabytes}")) <= 1024
    ec2.modify_volume(VolumeId=volume, Size=3)
    look = lambda: ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]  # noqa: E731
    until(lambda: look()["ModificationState"] == "completed")
    if (
        file_system_of(cloud, volume) == "ext4" and not host_grows_what_is_mounted()
    ):  # it grows at its next mount, below
        assert "grows when" in look()["StatusMessage"]
    else:
        assert "StatusMessage" not in look()
        assert 2900 < int(sh(cloud, machine, megabytes)) <= 3072
    with pytest.raises(ClientError, match="VolumeInUse"):
        ec2.delete_volume(VolumeId=volume)
    sh(cloud, machine, "cd /volumes/sdf; sleep 1000 >/dev/null 2>&1 & echo $! > /run/user")
    ec2.detach_volume(VolumeId=volume)
    until_attachment(ec2, volume, "busy")
    sh(cloud, machine, "kill $(cat /run/user)")
    until_attachment(ec2, volume, "")
    assert sh(cloud, machine, "ls /volumes") == "sdb\n"
    (other,) = cloud.launch(ec2, UserData="", Placement={"AvailabilityZone": zone})
    ec2.attach_volume(VolumeId=volume, InstanceId=other["InstanceId"], Device="/dev/sdg")
    until_attachment(ec2, volume, "attached")
    assert sh(cloud, other, "cat /volumes/sdg/file") == "data\n"
    assert 2900 < int(sh(cloud, other, megabytes.replace("sdf", "sdg"))) <= 3072
    until(lambda: "StatusMessage" not in look())
    ec2.terminate_instances(InstanceIds=[other["InstanceId"]])
    until_attachment(ec2, volume, "")
    ec2.delete_volume(VolumeId=volume)


def test_after_a_reboot_every_disk_has_the_size_that_it_was_given(cloud: Cloud, ec2: Any) -> None:
    """Also one that could not grow in use: an encrypted one is an ext4 on every host."""
    disks = [{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True, "Encrypted": True}}]
    (made,) = cloud.launch(ec2, UserData="", BlockDeviceMappings=disks)
    name = made["InstanceId"]
    mapped = ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
    (volume,) = (one["Ebs"]["VolumeId"] for one in mapped if one["DeviceName"] == "/dev/sdb")
    sh(cloud, made, "echo kept > /volumes/sdb/file; sync")
    ec2.modify_volume(VolumeId=volume, Size=2)
    look = lambda: ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]  # noqa: E731
    until(lambda: look()["ModificationState"] == "completed")
    assert "StatusMessage" not in look() or not host_grows_what_is_mounted()
    ec2.reboot_instances(InstanceIds=[name])
    until(lambda: "StatusMessage" not in look())
    until(lambda: cloud.inside(name, "true").returncode == 0)
    kept, megabytes = sh(cloud, made, "cat /volumes/sdb/file; df -m /volumes/sdb | tail -1 | awk '{print $2}'").split()
    assert kept == "kept"
    assert 1900 < int(megabytes) <= 2048
    ec2.terminate_instances(InstanceIds=[name])


def file_system_of(cloud: Cloud, volume: str) -> str:
    return file_systems.kind_of(cloud.home / "volumes" / f"{volume}.img")


def host_grows_what_is_mounted() -> bool:
    """CAP_SYS_RESOURCE, the 24th of capabilities(7), which containers and some virtual machines have not."""
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) & 1 << 24)


def limits_of(cloud: Cloud, instance: str) -> dict[str, list[str]]:
    """What the kernel has as limits of the machine's disks, by file: without the device's number, sorted."""
    name = f"gureum-{cloud.identity['id']}/{instance}"
    files = [
        *Path("/sys/fs/cgroup").glob(f"blkio/{name}/blkio.throttle.*_device"),
        *Path("/sys/fs/cgroup").glob(f"{name}/io.max"),
    ]
    return {path.name: sorted(line.partition(" ")[2] for line in path.read_text().splitlines()) for path in files}


def test_volumes_are_as_fast_as_they_say(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    name = machine["InstanceId"]
    if not limits_of(cloud, name):
        pytest.skip("this host does not throttle disks")
    volume = new_volume(
        ec2, machine["Placement"]["AvailabilityZone"], Size=10, VolumeType="gp3", Iops=4000, Throughput=200
    )
    ec2.attach_volume(VolumeId=volume, InstanceId=name, Device="/dev/sdx")
    # The root is gp3, /dev/sdb the default, gp2.
    root, second = (3000, 125 << 20), (3000, 128 << 20)

    def limited(*wished: tuple[int, int]) -> bool:
        found = limits_of(cloud, name)
        if "io.max" in found:
            return found["io.max"] == sorted(f"rbps={b} wbps={b} riops={i} wiops={i}" for i, b in wished)
        iops, bps = (sorted(str(one[place]) for one in wished) for place in (0, 1))
        return all(found[f"blkio.throttle.{way}_iops_device"] == iops for way in ("read", "write")) and all(
            found[f"blkio.throttle.{way}_bps_device"] == bps for way in ("read", "write")
        )

    until(lambda: limited(root, second, (4000, 200 << 20)))
    ec2.modify_volume(VolumeId=volume, VolumeType="gp3", Iops=5000, Throughput=250)
    until(lambda: limited(root, second, (5000, 250 << 20)))
    ec2.detach_volume(VolumeId=volume)
    until_attachment(ec2, volume, "")
    ec2.delete_volume(VolumeId=volume)


def until_tiered(ec2: Any, snapshot: str, operation: str) -> None:
    wanted = [{"Name": "snapshot-id", "Values": [snapshot]}, {"Name": "last-tiering-operation", "Values": [operation]}]
    until(lambda: ec2.describe_snapshot_tier_status(Filters=wanted)["SnapshotTierStatuses"])


def test_a_snapshot_of_a_disk_in_use_makes_volumes_with_its_files(
    cloud: Cloud, ec2: Any, machine: dict[str, Any]
) -> None:
    volume = next(one["Ebs"]["VolumeId"] for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdb")
    sh(cloud, machine, "echo one > /volumes/sdb/file")
    first = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[first], WaiterConfig={"Delay": 1})
    sh(cloud, machine, "echo two > /volumes/sdb/file")
    second = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[second], WaiterConfig={"Delay": 1})
    ec2.delete_snapshot(SnapshotId=first)
    # Into the archive and back: what it shared with the first one is in a file of its own meanwhile.
    ec2.modify_snapshot_tier(SnapshotId=second, StorageTier="archive")
    until_tiered(ec2, second, "archival-completed")
    until(lambda: [path.suffix for path in (cloud.home / "snapshots").glob(f"{second}.*")] == [".archive"])
    ec2.restore_snapshot_tier(SnapshotId=second, TemporaryRestoreDays=1)
    until_tiered(ec2, second, "temporary-restore-completed")
    zone = machine["Placement"]["AvailabilityZone"]
    restored = new_volume(ec2, zone, SnapshotId=second, Size=2)
    ec2.attach_volume(VolumeId=restored, InstanceId=machine["InstanceId"], Device="/dev/sdh")
    until_attachment(ec2, restored, "attached")
    assert sh(cloud, machine, "cat /volumes/sdh/file") == "two\n"
    ec2.detach_volume(VolumeId=restored)
    until_attachment(ec2, restored, "")
    ec2.delete_volume(VolumeId=restored)
    ec2.delete_snapshot(SnapshotId=second)


def test_blocks_of_snapshots_are_read(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    root = next(one["Ebs"]["VolumeId"] for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/xvda")
    ebs = cloud.client("ebs")

    def snapshot() -> str:
        made = str(ec2.create_snapshot(VolumeId=root)["SnapshotId"])
        ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made], WaiterConfig={"Delay": 1})
        return made

    def read(name: str, index: int, token: str) -> bytes:
        found = ebs.get_snapshot_block(SnapshotId=name, BlockIndex=index, BlockToken=token)
        content = bytes(found["BlockData"].read())
        assert found["DataLength"] == len(content) == 512 << 10
        assert base64.b64decode(found["Checksum"]) == hashlib.sha256(content).digest()
        return content

    first = snapshot()
    sh(cloud, machine, "dd if=/dev/urandom of=/noise bs=1M count=3 2>/dev/null; echo words-to-be-found > /found; sync")
    second = snapshot()
    whole = ebs.list_snapshot_blocks(SnapshotId=second)["Blocks"]
    changed = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"]
    assert 6 <= len(changed) <= len(whole)
    blocks = {one["BlockIndex"]: read(second, one["BlockIndex"], one["SecondBlockToken"]) for one in changed}
    assert any(b"words-to-be-found" in content for content in blocks.values())
    for one in changed:
        before = one.get("FirstBlockToken")
        assert not before or read(first, one["BlockIndex"], before) != blocks[one["BlockIndex"]]
    same = next(one for one in whole if one["BlockIndex"] not in blocks)
    with pytest.raises(ClientError, match="ValidationException"):
        ebs.get_snapshot_block(SnapshotId=first, BlockIndex=same["BlockIndex"], BlockToken=same["BlockToken"])
    sh(cloud, machine, "rm /noise /found")
    for name in (first, second):
        ec2.delete_snapshot(SnapshotId=name)


def test_a_copy_of_a_volume_in_use_has_its_files(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    volume = next(one["Ebs"]["VolumeId"] for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdb")
    sh(cloud, machine, "echo to copy > /volumes/sdb/file")
    (copied,) = ec2.copy_volumes(SourceVolumeId=volume, Size=2)["Volumes"]
    assert (copied["State"], copied["Encrypted"], copied["SourceVolumeId"]) == ("creating", True, volume)
    copy = copied["VolumeId"]
    until(lambda: volume_of(ec2, copy)["State"] == "available")
    sh(cloud, machine, "echo later > /volumes/sdb/file")
    ec2.attach_volume(VolumeId=copy, InstanceId=machine["InstanceId"], Device="/dev/sdh")
    until_attachment(ec2, copy, "attached")
    assert sh(cloud, machine, "cat /volumes/sdh/file") == "to copy\n"
    ec2.detach_volume(VolumeId=copy)
    until_attachment(ec2, copy, "")
    ec2.delete_volume(VolumeId=copy)
    assert not list((cloud.home / "snapshots").glob("copy-*"))


def test_a_running_machine_gets_another_root(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    name = machine["InstanceId"]
    root = next(one["Ebs"]["VolumeId"] for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/xvda")
    sh(cloud, machine, "echo mine > /precious; echo data > /volumes/sdb/beside; sync")
    snapshot = ec2.create_snapshot(VolumeId=root)["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})

    def replace(**wanted: Any) -> str:
        task = ec2.create_replace_root_volume_task(InstanceId=name, **wanted)["ReplaceRootVolumeTask"]
        ids = [task["ReplaceRootVolumeTaskId"]]
        look = lambda: ec2.describe_replace_root_volume_tasks(ReplaceRootVolumeTaskIds=ids)["ReplaceRootVolumeTasks"][0]  # noqa: E731
        until(lambda: look()["TaskState"] == "succeeded")
        assert cloud.inside(name, "true").returncode == 0
        (now,) = ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"]
        assert (now["State"]["Name"], now["PrivateIpAddress"]) == ("running", machine["PrivateIpAddress"])
        return str(
            next(one["Ebs"]["VolumeId"] for one in now["BlockDeviceMappings"] if one["DeviceName"] == "/dev/xvda")
        )

    second = replace()
    assert sh(cloud, machine, "ls /precious 2>/dev/null || echo gone; cat /volumes/sdb/beside") == "gone\ndata\n"
    assert volume_of(ec2, root)["State"] == "available"
    third = replace(SnapshotId=snapshot, DeleteReplacedRootVolume=True)
    assert sh(cloud, machine, "cat /precious") == "mine\n"
    until(lambda: not ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [second]}])["Volumes"])
    assert replace(VolumeId=root, DeleteReplacedRootVolume=True) == root
    until(lambda: not ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [third]}])["Volumes"])
    assert sh(cloud, machine, "cat /precious /volumes/sdb/beside") == "mine\ndata\n"
    ec2.delete_snapshot(SnapshotId=snapshot)


@pytest.mark.parametrize("no_reboot", [True, False])
def test_an_image_of_a_running_machine_starts_with_its_files(
    cloud: Cloud, ec2: Any, machine: dict[str, Any], no_reboot: bool
) -> None:
    name = machine["InstanceId"]
    sh(cloud, machine, "touch /tmp/of-this-boot; rm -f /run/boot; echo this > /run/boot")
    image = ec2.create_image(InstanceId=name, Name=f"taken {no_reboot}", NoReboot=no_reboot)["ImageId"]
    until_image(ec2, image)
    until(lambda: cloud.inside(name, "true").returncode == 0)
    (made,) = cloud.launch(ec2, ImageId=image, UserData="")
    assert sh(cloud, made, "cat /precious; hostname") == f"mine\n{made['PrivateDnsName'].split('.')[0]}\n"
    assert sh(cloud, machine, "cat /precious") == "mine\n"
    # Above the same image lies another disk: what is changed there is not changed here.
    sh(cloud, made, "echo other > /precious")
    assert sh(cloud, machine, "cat /precious") == "mine\n"
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    assert ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"


@pytest.mark.parametrize("process", ["daemon", "agent"])
def test_a_kill_in_the_middle_of_attach_snapshot_and_image_loses_nothing(
    cloud: Cloud, ec2: Any, machine: dict[str, Any], process: str
) -> None:
    zone, name = machine["Placement"]["AvailabilityZone"], machine["InstanceId"]
    victim = cloud.process(process)
    root = next(one["Ebs"]["VolumeId"] for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/xvda")
    sh(cloud, machine, "dd if=/dev/urandom of=/ballast bs=1M count=64 2>/dev/null; md5sum /ballast > /sum")
    volume = new_volume(ec2, zone)
    snapshot = ec2.create_snapshot(VolumeId=root)["SnapshotId"]
    ec2.attach_volume(VolumeId=volume, InstanceId=name, Device="/dev/sdk")
    image = ec2.create_image(InstanceId=name, Name=f"cut off by the {process}", NoReboot=True)["ImageId"]
    os.kill(victim, signal.SIGKILL)
    until_image(ec2, image)
    until_attachment(ec2, volume, "attached")
    until(lambda: ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] == "completed")
    until(lambda: cloud.inside(name, "true").returncode == 0)
    sh(cloud, machine, "echo kept > /volumes/sdk/file")
    (made,) = cloud.launch(ec2, ImageId=image, UserData="")
    assert "OK" in sh(cloud, made, "md5sum -c /sum")
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    ec2.detach_volume(VolumeId=volume)
    until_attachment(ec2, volume, "")
    ec2.delete_volume(VolumeId=volume)
    ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    ec2.delete_snapshot(SnapshotId=snapshot)
    until(lambda: not list((cloud.home / "snapshots").iterdir()))


def test_a_spot_instance_is_told_by_its_metadata_and_then_taken_away(cloud: Cloud, ec2: Any) -> None:
    (made,) = cloud.launch(ec2, UserData="", InstanceMarketOptions={"MarketType": "spot"})
    name, request = made["InstanceId"], made["SpotInstanceRequestId"]
    ask = "wget -q -O - http://169.254.169.254/latest/meta-data/spot/instance-action"
    assert cloud.inside(name, "sh", "-c", ask).returncode != 0
    assert cloud.command("interrupt", "i-0123456789abcdef0", check=False).returncode != 0
    cloud.command("interrupt", name)
    assert '"action": "terminate"' in until(lambda: cloud.inside(name, "sh", "-c", ask).stdout)
    (ended,) = cloud.until_state(ec2, [name], "terminated")
    assert ended["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    look = lambda: ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"][0]  # noqa: E731
    until(lambda: look()["State"] == "closed")
    assert look()["Status"]["Code"] == "instance-terminated-no-capacity"


def test_a_fleet_keeps_its_number_and_a_persistent_request_launches_again(cloud: Cloud, ec2: Any) -> None:
    ec2.create_launch_template(LaunchTemplateName="kept", LaunchTemplateData={"ImageId": BUSYBOX, "InstanceType": NANO})
    template = {"LaunchTemplateName": "kept", "Version": "$Latest"}
    fleet = ec2.create_fleet(
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )["FleetId"]
    members = lambda: [one["InstanceId"] for one in ec2.describe_fleet_instances(FleetId=fleet)["ActiveInstances"]]  # noqa: E731
    (first,) = until(members)
    ec2.terminate_instances(InstanceIds=[first])
    (second,) = until(lambda: [one for one in members() if one != first])
    ec2.delete_fleets(FleetIds=[fleet], TerminateInstances=True)
    cloud.until_state(ec2, [first, second], "terminated")
    until(lambda: ec2.describe_fleets(FleetIds=[fleet])["Fleets"][0]["FleetState"] == "deleted")
    launch = {"ImageId": BUSYBOX, "InstanceType": NANO}
    made = ec2.request_spot_instances(Type="persistent", LaunchSpecification=launch)["SpotInstanceRequests"][0]
    request = made["SpotInstanceRequestId"]

    def instance() -> str:
        found = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"][0]
        return str(found.get("InstanceId", ""))

    first = until(instance)
    ec2.terminate_instances(InstanceIds=[first])
    second = until(lambda: instance() not in ("", first) and instance())
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    ec2.terminate_instances(InstanceIds=[second])
    cloud.until_state(ec2, [first, second], "terminated")


def test_volumes_are_there_again_after_down_and_up(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    name = machine["InstanceId"]
    sh(cloud, machine, "echo stays > /volumes/sdb/stays; sync")
    cloud.command("down")
    cloud.command("up")
    until(lambda: cloud.inside(name, "cat", "/volumes/sdb/stays").stdout == "stays\n")
    assert sh(cloud, machine, "cat /precious") == "mine\n"
    client = cloud.client("ec2")
    client.stop_instances(InstanceIds=[name])
    cloud.until_state(client, [name], "stopped")
    # While it is stopped its root may be another disk.
    root = next(one["Ebs"]["VolumeId"] for one in machine["BlockDeviceMappings"] if one["DeviceName"] == "/dev/xvda")
    client.detach_volume(VolumeId=root)
    with pytest.raises(ClientError, match="does not have a volume attached at root"):
        client.start_instances(InstanceIds=[name])
    client.attach_volume(VolumeId=root, InstanceId=name, Device="/dev/xvda")
    client.start_instances(InstanceIds=[name])
    cloud.until_state(client, [name], "running")
    assert until(lambda: cloud.inside(name, "cat", "/precious").stdout) == "mine\n"


def test_an_instance_store_is_a_disk_of_its_size_that_outlives_a_reboot_and_no_stop(cloud: Cloud, ec2: Any) -> None:
    disks = [{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]
    (made,) = cloud.launch(ec2, UserData="", InstanceType="m3.medium", BlockDeviceMappings=disks)
    name = made["InstanceId"]
    files = lambda: sorted(one.name for one in (cloud.home / "volumes").glob(f"{name}-*"))  # noqa: E731
    bytes_ = int(sh(cloud, made, "df -B1 /volumes/ephemeral0 | tail -1 | awk '{print $2}'"))
    assert 0.97 * 4e9 < bytes_ < 4e9
    metadata = "http://169.254.169.254/latest/meta-data/block-device-mapping/ephemeral0"
    assert sh(cloud, made, f"wget -q -O- {metadata}") == "sdb"
    sh(cloud, made, "fallocate -l 3500000000 /volumes/ephemeral0/big")
    done = cloud.inside(name, "fallocate", "-l", "1000000000", "/volumes/ephemeral0/more")
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    sh(cloud, made, "rm /volumes/ephemeral0/*; echo mine > /volumes/ephemeral0/file; touch /run/boot; sync")
    # Neither a killed agent nor a reboot takes it away.
    os.kill(cloud.process("agent"), signal.SIGKILL)
    until(lambda: cloud.inside(name, "cat", "/volumes/ephemeral0/file").stdout == "mine\n")
    sh(cloud, made, "(sleep 1; reboot) >/dev/null 2>&1 &")
    until(lambda: cloud.inside(name, "test", "!", "-e", "/run/boot").returncode == 0)
    assert sh(cloud, made, "cat /volumes/ephemeral0/file") == "mine\n"
    image = ec2.create_image(InstanceId=name, Name="with a store", NoReboot=True)["ImageId"]
    until_image(ec2, image)
    shown = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    assert [one["DeviceName"] for one in shown] == ["/dev/xvda"]
    ec2.stop_instances(InstanceIds=[name])
    cloud.until_state(ec2, [name], "stopped")
    until(lambda: files() == [])
    ec2.start_instances(InstanceIds=[name])
    cloud.until_state(ec2, [name], "running")
    assert sh(cloud, made, "ls -A /volumes/ephemeral0") == ""
    ec2.terminate_instances(InstanceIds=[name])
    cloud.until_state(ec2, [name], "terminated")
    until(lambda: files() == [])


def test_an_encrypted_instance_store_is_not_to_be_read_on_the_hosts_disk(cloud: Cloud, ec2: Any) -> None:
    if not Path("/sys/fs/ext4/features/encryption").exists():
        pytest.skip("this kernel does not encrypt ext4")
    (made,) = cloud.launch(ec2, UserData="", InstanceType="c5d.large")
    name = made["InstanceId"]
    secret = hashlib.sha256(name.encode()).hexdigest()
    sh(cloud, made, f"echo {secret} > /volumes/ephemeral0/{secret[:30]}; sync")
    (file,) = (cloud.home / "volumes").glob(f"{name}-*.img")
    assert file.stat().st_size > 49 * 10**9
    assert file.stat().st_blocks * 512 < 64 << 20
    assert secret[:30].encode() not in written(file)
    ec2.terminate_instances(InstanceIds=[name])
    cloud.until_state(ec2, [name], "terminated")
