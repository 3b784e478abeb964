"""`gureum up --simulate`: the same API, the same states, nothing that runs."""

from __future__ import annotations

import pytest

from tests.cloud.running import BUSYBOX, NANO


@pytest.fixture
def ec2(simulated_cloud):
    return simulated_cloud.client("ec2")


def test_an_instance_goes_through_its_states(simulated_cloud, ec2):
    made = ec2.run_instances(ImageId=BUSYBOX, InstanceType=NANO, MinCount=2, MaxCount=2)["Instances"]
    ids = [one["InstanceId"] for one in made]
    assert {one["State"]["Name"] for one in made} == {"pending"}
    simulated_cloud.until_state(ec2, ids, "running")
    ec2.stop_instances(InstanceIds=ids)
    simulated_cloud.until_state(ec2, ids, "stopped")
    ec2.modify_instance_attribute(InstanceId=ids[0], InstanceType={"Value": "t3.micro"})
    ec2.start_instances(InstanceIds=ids)
    simulated_cloud.until_state(ec2, ids, "running")
    ec2.terminate_instances(InstanceIds=ids)
    simulated_cloud.until_state(ec2, ids, "terminated")
    ec2.get_waiter("volume_deleted").wait(
        VolumeIds=[one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"] for one in made], WaiterConfig={"Delay": 1}
    )


def test_a_volume_grows(ec2):
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    ec2.modify_volume(VolumeId=volume, Size=2)
    told = {}
    while told.get("ModificationState") != "completed":
        told = ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]
    assert (told["OriginalSize"], told["TargetSize"], told["Progress"]) == (1, 2, 100)
    ec2.delete_volume(VolumeId=volume)


def test_images_that_are_made_of_one_machine_at_once_have_their_turns(simulated_cloud, ec2):
    name = ec2.run_instances(ImageId=BUSYBOX, InstanceType=NANO, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    simulated_cloud.until_state(ec2, [name], "running")
    images = [ec2.create_image(InstanceId=name, Name=f"at once {number}")["ImageId"] for number in range(3)]
    images.append(ec2.create_image(InstanceId=name, Name="and without", NoReboot=True)["ImageId"])
    ec2.get_waiter("image_available").wait(ImageIds=images, WaiterConfig={"Delay": 1})
    shown = ec2.describe_images(ImageIds=images)["Images"]
    assert len({one["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] for one in shown}) == 4
    simulated_cloud.until_state(ec2, [name], "running")
    ec2.terminate_instances(InstanceIds=[name])
    simulated_cloud.until_state(ec2, [name], "terminated")
    for one in shown:
        ec2.deregister_image(ImageId=one["ImageId"])


def test_the_memory_of_the_host_limits_nothing_that_does_not_run(simulated_cloud, ec2):
    made = ec2.run_instances(ImageId=BUSYBOX, InstanceType="m5.24xlarge", MinCount=20, MaxCount=20)["Instances"]
    ids = [one["InstanceId"] for one in made]  # 7.5 TiB
    simulated_cloud.until_state(ec2, ids, "running")
    ec2.terminate_instances(InstanceIds=ids)
    simulated_cloud.until_state(ec2, ids, "terminated")
