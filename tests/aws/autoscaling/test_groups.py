"""A group keeps its count: launches, replacements, scale-in, zones, deletion. AWS: Amazon EC2 Auto Scaling user guide; the sentences of
activities are those of recorded DescribeScalingActivities answers."""

from __future__ import annotations

import re
from collections import Counter

from gureum.aws.autoscaling import passes, reconciling
from gureum.aws.ec2.instances.kinds import Instance
from gureum.store import index
from tests.aws.autoscaling.conftest import HUGE, IMAGE, SCOPE

G = {"AutoScalingGroupName": "g"}


def test_a_group_launches_its_desired_capacity_over_its_zones(cloud):
    cloud.group(size=3, boot=False)
    assert cloud.states() == ["Pending"] * 3
    cloud.boot()
    assert cloud.states() == ["InService"] * 3
    zones = Counter(one["AvailabilityZone"] for one in cloud.told()["Instances"])
    assert sorted(zones.values()) == [1, 2]
    assert cloud.alive() == set(cloud.ids())


def test_instances_bear_the_groups_name_and_tags(cloud):
    tags = [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": "d", "PropagateAtLaunch": False}]
    cloud.group(size=1, Tags=tags)
    instance = cloud.world.client.get(Instance, SCOPE, cloud.ids()[0])
    assert instance.meta.tags["aws:autoscaling:groupName"] == "g"
    assert instance.meta.tags["a"] == "b"
    assert "c" not in instance.meta.tags
    assert instance.spec.requester == "autoscaling.amazonaws.com"


def test_a_launch_configuration_launches_too(cloud):
    cloud("CreateLaunchConfiguration", LaunchConfigurationName="lc", ImageId=IMAGE, InstanceType="t3.micro")
    cloud.group(size=1, LaunchConfigurationName="lc")
    assert [one["InstanceType"] for one in cloud.told()["Instances"]] == ["t3.micro"]
    assert cloud.refused("DeleteLaunchConfiguration", LaunchConfigurationName="lc")[0] == "ResourceInUse"


def test_activities_tell_what_was_done_and_why(cloud):
    cloud.group(size=1)
    activity = cloud.activities()[0]
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(
        rf"At {time} a user request created an AutoScalingGroup changing the desired capacity from 0 to 1\.  At {time} an instance was "
        r"started in response to a difference between desired and actual capacity, increasing the capacity from 0 to 1\.",
        activity["Cause"],
    )
    assert activity["Description"] == f"Launching a new EC2 instance: {cloud.ids()[0]}"
    assert (activity["StatusCode"], activity["Progress"]) == ("Successful", 100)


def test_scale_in_tells_who_was_selected(cloud):
    cloud.group(size=2)
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=1)
    (gone,) = cloud.ids("Terminating")
    activity = cloud.activities()[0]
    assert (
        "a user request explicitly set group desired capacity changing the desired capacity from 2 to 1."
        in activity["Cause"]
    )
    assert activity["Cause"].endswith(f"instance {gone} was selected for termination.")
    assert activity["Description"] == f"Terminating EC2 instance: {gone}"
    cloud.end()
    assert cloud.states() == ["InService"]
    assert cloud.activities()[0]["StatusCode"] == "Successful"


def test_a_stopped_instance_is_terminated_and_replaced(cloud):
    cloud.group(size=2)
    first = cloud.ids()[0]
    cloud.die(first)
    assert cloud.states() == ["InService", "Pending", "Terminating"]
    causes = [one["Cause"] for one in cloud.activities()[:2]]
    assert any(
        cause.endswith("an instance was launched in response to an unhealthy instance needing to be replaced.")
        for cause in causes
    )
    assert any(
        "in response to an EC2 health check indicating it has been terminated or stopped." in cause for cause in causes
    )
    cloud.boot()
    cloud.end()
    assert cloud.states() == ["InService"] * 2
    assert first not in cloud.ids()
    assert cloud.alive() == set(cloud.ids())


def test_an_instance_that_a_user_terminates_is_replaced(cloud):
    cloud.group(size=1)
    first = cloud.ids()[0]
    cloud("ec2:TerminateInstances", InstanceIds=[first])
    cloud.end()
    cloud.boot()
    assert cloud.states() == ["InService"]
    assert cloud.ids() != [first]


def test_one_that_is_called_unhealthy_is_replaced_unless_in_its_grace_period(cloud):
    cloud.group(size=1, HealthCheckGracePeriod=100)
    first = cloud.ids()[0]
    cloud("SetInstanceHealth", InstanceId=first, HealthStatus="Unhealthy")
    assert cloud.states() == ["InService"]
    cloud("SetInstanceHealth", InstanceId=first, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    assert cloud.states() == ["Pending", "Terminating"]


def test_instances_protected_from_scale_in_stay(cloud):
    cloud.group(size=2, NewInstancesProtectedFromScaleIn=True)
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=0)
    assert cloud.states() == ["InService"] * 2
    cloud("SetInstanceProtection", AutoScalingGroupName="g", InstanceIds=cloud.ids()[:1], ProtectedFromScaleIn=False)
    assert cloud.states() == ["InService", "Terminating"]


def test_a_zone_that_is_taken_away_is_left_when_the_new_instance_serves(cloud):
    cloud.group(size=2)
    cloud("UpdateAutoScalingGroup", AutoScalingGroupName="g", AvailabilityZones=["us-east-1a"])
    assert cloud.states() == ["InService", "InService", "Pending"]
    cloud.boot()
    cloud.end()
    assert [one["AvailabilityZone"] for one in cloud.told()["Instances"]] == ["us-east-1a"] * 2


def test_a_crowded_zone_gives_to_an_empty_one(cloud):
    cloud.group(size=4, AvailabilityZones=["us-east-1a"])
    cloud("SuspendProcesses", AutoScalingGroupName="g", ScalingProcesses=["AZRebalance"])
    cloud("UpdateAutoScalingGroup", AutoScalingGroupName="g", AvailabilityZones=["us-east-1a", "us-east-1b"])
    assert cloud.states() == ["InService"] * 4
    cloud("ResumeProcesses", AutoScalingGroupName="g")
    for _ in range(4):
        cloud.boot()
        cloud.end()
    assert Counter(one["AvailabilityZone"] for one in cloud.told()["Instances"]) == {"us-east-1a": 2, "us-east-1b": 2}


def test_protected_instances_are_not_rebalanced_and_nothing_is_launched_for_it(cloud):
    cloud.group(size=4, AvailabilityZones=["us-east-1a"], NewInstancesProtectedFromScaleIn=True)
    cloud("UpdateAutoScalingGroup", AutoScalingGroupName="g", AvailabilityZones=["us-east-1a", "us-east-1b"])
    cloud.through(100)
    assert len(cloud.activities()) == 4


def test_one_unprotected_instance_among_protected_ones_is_what_moves(cloud):
    cloud.group(size=4, AvailabilityZones=["us-east-1a"], NewInstancesProtectedFromScaleIn=True)
    open_ = cloud.ids()[0]
    cloud("SetInstanceProtection", AutoScalingGroupName="g", InstanceIds=[open_], ProtectedFromScaleIn=False)
    zones = ["us-east-1a", "us-east-1b"]
    cloud(
        "UpdateAutoScalingGroup",
        AutoScalingGroupName="g",
        AvailabilityZones=zones,
        NewInstancesProtectedFromScaleIn=False,
    )
    cloud.through(100)
    assert open_ not in cloud.ids()
    assert Counter(one["AvailabilityZone"] for one in cloud.told()["Instances"]) == {"us-east-1a": 3, "us-east-1b": 1}
    assert len(cloud.activities()) == 6


def test_what_is_suspended_does_not_happen(cloud):
    cloud.group(size=1)
    cloud("SuspendProcesses", AutoScalingGroupName="g", ScalingProcesses=["Launch", "Terminate"])
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=2)
    assert cloud.states() == ["InService"]
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=0)
    assert cloud.states() == ["InService"]
    cloud("ResumeProcesses", AutoScalingGroupName="g", ScalingProcesses=["Terminate"])
    assert cloud.states() == ["Terminating"]


def test_unhealthy_ones_stay_while_replacing_is_suspended(cloud):
    cloud.group(size=1)
    cloud("SuspendProcesses", AutoScalingGroupName="g", ScalingProcesses=["ReplaceUnhealthy"])
    cloud.die(cloud.ids()[0])
    assert [one["HealthStatus"] for one in cloud.told()["Instances"]] == ["Unhealthy"]
    cloud("ResumeProcesses", AutoScalingGroupName="g", ScalingProcesses=["ReplaceUnhealthy"])
    assert cloud.states() == ["Pending", "Terminating"]


def test_a_launch_that_fails_is_told_and_tried_again_later(cloud):
    id_ = cloud.new_template("bad", type_=HUGE)
    cloud.group(size=1, LaunchTemplate={"LaunchTemplateId": id_})
    (activity,) = cloud.activities()
    assert (activity["StatusCode"], activity["Progress"]) == ("Failed", 100)
    assert activity["StatusMessage"].endswith(" Launching EC2 instance failed.")
    assert activity["Description"].startswith("Launching a new EC2 instance.  Status Reason: ")
    cloud.look()
    assert len(cloud.activities()) == 1
    cloud.wait(400)
    assert len(cloud.activities()) == 2
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=1)
    assert len(cloud.activities()) == 3
    assert all("a user request created an AutoScalingGroup" in one["Cause"] for one in cloud.activities())
    cloud("UpdateAutoScalingGroup", AutoScalingGroupName="g", LaunchTemplate={"LaunchTemplateId": cloud.template})
    assert cloud.states() == ["Pending"]


def test_a_template_of_which_nothing_can_be_launched_is_refused_with_ec2s_words(cloud):
    bad = {"LaunchTemplate": {"LaunchTemplateId": cloud.new_template("bad", "ami-0123456789abcdef0")}}
    told = (
        "ValidationError",
        "You must use a valid fully-formed launch template. The image id '[ami-0123456789abcdef0]' does not exist",
    )
    zones = {"AvailabilityZones": ["us-east-1a"]}
    assert (
        cloud.refused("CreateAutoScalingGroup", AutoScalingGroupName="g", MinSize=0, MaxSize=1, **zones, **bad) == told
    )
    cloud.group(size=1)
    assert cloud.refused("UpdateAutoScalingGroup", AutoScalingGroupName="g", **bad) == told


def test_a_subnet_without_addresses_is_passed_over_and_nothing_is_left_over(cloud):
    vpc = cloud("ec2:CreateVpc", CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    small = cloud("ec2:CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/28", AvailabilityZone="us-east-1a")["Subnet"][
        "SubnetId"
    ]
    cloud("ec2:CreateNetworkInterface", SubnetId=small, SecondaryPrivateIpAddressCount=8)
    large = cloud("ec2:CreateSubnet", VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1b")["Subnet"][
        "SubnetId"
    ]
    cloud.group(size=8, AvailabilityZones=[], VPCZoneIdentifier=f"{small},{large}")
    assert Counter(one["AvailabilityZone"] for one in cloud.told()["Instances"]) == {"us-east-1a": 2, "us-east-1b": 6}
    assert cloud.alive() == set(cloud.ids())


def test_a_group_with_instances_is_deleted_only_by_force_and_then_with_all_of_them(cloud):
    cloud.group(size=2)
    code, text = cloud.refused("DeleteAutoScalingGroup", AutoScalingGroupName="g")
    assert code == "ResourceInUse"
    assert text.startswith("You cannot delete an AutoScalingGroup while there are instances")
    cloud("EnterStandby", AutoScalingGroupName="g", InstanceIds=cloud.ids()[:1], ShouldDecrementDesiredCapacity=True)
    cloud(
        "PutLifecycleHook",
        AutoScalingGroupName="g",
        LifecycleHookName="h",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
    )
    cloud("DeleteAutoScalingGroup", AutoScalingGroupName="g", ForceDelete=True)
    assert cloud.told()["Status"] == "Delete in progress"
    assert cloud.alive() == set()
    cloud.end()
    assert cloud("DescribeAutoScalingGroups")["AutoScalingGroups"] == []
    assert cloud.members() == set()


def test_sizes_out_of_order_are_refused(cloud):
    cloud.group(size=1)
    update = {"AutoScalingGroupName": "g"}
    assert cloud.refused("UpdateAutoScalingGroup", **update, MinSize=5, MaxSize=4)[0] == "ValidationError"
    assert cloud.refused("SetDesiredCapacity", **update, DesiredCapacity=11) == (
        "ValidationError",
        "New SetDesiredCapacity value 11 is above max value 10 for the AutoScalingGroup.",
    )
    assert cloud.refused("CreateAutoScalingGroup", **update, MinSize=0, MaxSize=1)[0] == "AlreadyExists"
    assert cloud.refused("SetDesiredCapacity", AutoScalingGroupName="none", DesiredCapacity=1)[0] == "ValidationError"
    assert (
        cloud.refused("TerminateInstanceInAutoScalingGroup", ShouldDecrementDesiredCapacity=True)[0]
        == "ValidationError"
    )


def test_standby_takes_out_of_service_and_back(cloud):
    cloud.group(size=2)
    one = cloud.ids()[0]
    asked = "in response to a user request"
    done = cloud("EnterStandby", AutoScalingGroupName="g", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    (made,) = done["Activities"]
    assert made["Cause"].endswith(f"Z instance {one} was moved to standby {asked}, shrinking the capacity from 2 to 1.")
    assert cloud.states() == ["InService", "Standby"]
    assert cloud.told()["DesiredCapacity"] == 1
    (made,) = cloud("ExitStandby", AutoScalingGroupName="g", InstanceIds=[one])["Activities"]
    assert made["Cause"].endswith(f"was moved out of standby {asked}, increasing the capacity from 1 to 2.")
    assert cloud.states() == ["InService"] * 2
    assert cloud.told()["DesiredCapacity"] == 2


def test_a_detached_instance_lives_on_and_can_be_attached_again(cloud):
    cloud.group(size=2)
    one = cloud.ids()[0]
    done = cloud("DetachInstances", AutoScalingGroupName="g", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    assert done["Activities"][0]["Description"] == f"Detaching EC2 instance: {one}"
    told = f"instance {one} was detached in response to a user request, shrinking the capacity from 2 to 1."
    assert done["Activities"][0]["Cause"].endswith(told)
    assert one in cloud.alive()
    assert len(cloud.told()["Instances"]) == 1
    cloud("AttachInstances", AutoScalingGroupName="g", InstanceIds=[one])
    assert one in cloud.ids()
    assert cloud.told()["DesiredCapacity"] == 2
    assert cloud.refused("AttachInstances", AutoScalingGroupName="g", InstanceIds=[one])[0] == "ValidationError"


def test_a_daemon_killed_at_any_commit_doubles_and_leaks_nothing(cloud):
    cloud.group(size=3, boot=False)
    for size in (5, 1, 4, 0, 2):
        cloud.loop.run_until_complete(cloud.run("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=size))
        cloud.kill()
        cloud.start()
        cloud.boot()
        cloud.end()
        assert cloud.states() == ["InService"] * size
        assert cloud.alive() == set(cloud.ids()) == cloud.members()


def test_a_group_of_more_instances_than_one_commit_holds_comes_and_goes(cloud, monkeypatch) -> None:
    """The store's limit stands for that of a group of some five hundred."""
    monkeypatch.setattr(index, "MAX_OPERATIONS", 300)
    monkeypatch.setattr(passes, "LIMIT_OPERATIONS", 100)
    monkeypatch.setattr(reconciling, "MOST_LAUNCHES", 4)
    cloud.group(size=0, MaxSize=100)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=90)
    cloud.boot()
    assert len(cloud.ids()) == 90
    cloud("SetDesiredCapacity", **G, DesiredCapacity=5)
    cloud.end()
    assert len(cloud.ids()) == 5
    cloud("SetDesiredCapacity", **G, DesiredCapacity=80)
    cloud.boot()
    cloud("DeleteAutoScalingGroup", **G, ForceDelete=True)
    cloud.end()
    assert cloud("DescribeAutoScalingGroups")["AutoScalingGroups"] == []
    assert cloud.members() == set()


def test_what_is_not_built_is_refused_but_where_it_is_asked_for_as_it_is(cloud):
    group = {"AutoScalingGroupName": "g", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"]}
    group["LaunchTemplate"] = {"LaunchTemplateId": cloud.template, "Version": "1"}
    other = {"CapacityReservationPreference": "capacity-reservations-only"}
    assert (
        cloud.refused("CreateAutoScalingGroup", CapacityReservationSpecification=other, **group)[0] == "NotImplemented"
    )
    shifts = {"ZonalShiftEnabled": True, "ImpairedZoneHealthCheckBehavior": "ReplaceUnhealthy"}
    assert (
        cloud.refused("CreateAutoScalingGroup", AvailabilityZoneImpairmentPolicy=shifts, **group)[0] == "NotImplemented"
    )
    cloud(
        "CreateAutoScalingGroup",
        CapacityReservationSpecification={"CapacityReservationPreference": "default"},
        AvailabilityZoneImpairmentPolicy={"ZonalShiftEnabled": False},
        **group,
    )
    shown = cloud.told()["CapacityReservationSpecification"]
    cloud("UpdateAutoScalingGroup", **G, CapacityReservationSpecification=shown)
