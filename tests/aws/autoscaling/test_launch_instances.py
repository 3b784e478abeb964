"""LaunchInstances, and groups in placement groups. AWS: API references of LaunchInstances and CreateAutoScalingGroup."""

from __future__ import annotations

from typing import Any

from gureum.aws.ec2.instances.kinds import Instance
from tests.aws.autoscaling.conftest import HUGE, SCOPE, Cloud

G = {"AutoScalingGroupName": "g"}
A = {"AvailabilityZones": ["us-east-1a"]}


def launch(cloud: Cloud, count: int, token: str = "t", **more: Any) -> dict[str, Any]:
    return cloud("LaunchInstances", **G, RequestedCapacity=count, ClientToken=token, **(more or A))


def test_what_is_launched_is_answered_and_the_desired_capacity_grows(cloud: Cloud) -> None:
    cloud.group(size=1)
    told = launch(cloud, 2)
    assert told["Errors"] == []
    (alike,) = told["Instances"]
    assert (alike["InstanceType"], alike["AvailabilityZone"]) == ("t3.nano", "us-east-1a")
    assert alike["AvailabilityZoneId"] == "use1-az1"
    assert len(alike["InstanceIds"]) == 2
    assert cloud.told()["DesiredCapacity"] == 3
    cloud.boot()
    assert set(alike["InstanceIds"]) < set(cloud.ids())
    assert len(cloud.ids()) == 3
    causes = [one["Cause"] for one in cloud.activities()]
    assert sum("a user request launched instances" in cause for cause in causes) == 2
    # The group goes on to even out its zones.
    assert causes[0].endswith("An instance was launched to aid in balancing the group's zones.")
    assert "availability zones us-east-1a us-east-1b had 3 0 instances respectively" in causes[0]


def test_a_repeated_token_launches_nothing_more(cloud: Cloud) -> None:
    cloud.group(size=0)
    first = launch(cloud, 2)
    assert launch(cloud, 2) == first
    assert cloud.told()["DesiredCapacity"] == 2
    refused = cloud.refused("LaunchInstances", **G, RequestedCapacity=1, ClientToken="t", **A)
    assert refused[0] == "IdempotentParameterMismatch"
    assert len(launch(cloud, 1, "other")["Instances"][0]["InstanceIds"]) == 1


def test_several_zones_are_filled_evenly(cloud: Cloud) -> None:
    cloud.group(size=1)
    told = launch(cloud, 3, AvailabilityZones=["us-east-1a", "us-east-1b"])
    counts = {one["AvailabilityZone"]: len(one["InstanceIds"]) for one in told["Instances"]}
    assert counts == {"us-east-1a": 1, "us-east-1b": 2}
    assert (
        launch(cloud, 1, "by-id", AvailabilityZoneIds=["use1-az2"])["Instances"][0]["AvailabilityZone"] == "us-east-1b"
    )


def test_what_may_not_be_is_refused_and_changes_nothing(cloud: Cloud) -> None:
    cloud.group(size=9)
    call = {**G, "ClientToken": "t"}
    for params in (
        {"RequestedCapacity": 2, **A},
        {"RequestedCapacity": 0, **A},
        {"RequestedCapacity": 101, **A},
        {"RequestedCapacity": 1},
        {"RequestedCapacity": 1, "AvailabilityZones": ["us-east-1c"]},
        {"RequestedCapacity": 1, "AvailabilityZoneIds": ["use1-az9"]},
        {"RequestedCapacity": 1, "SubnetIds": ["subnet-12345678"]},
        {"RequestedCapacity": 1, **A, "AvailabilityZoneIds": ["use1-az1"]},
    ):
        assert cloud.refused("LaunchInstances", **call, **params)[0] == "ValidationError", params
    cloud("SuspendProcesses", **G, ScalingProcesses=["Launch"])
    assert cloud.refused("LaunchInstances", **call, RequestedCapacity=1, **A)[0] == "ValidationError"


def test_what_ec2_refuses_is_told_and_only_retried_where_asked(cloud: Cloud) -> None:
    bad = cloud.new_template("bad", type_=HUGE)
    cloud.group(size=0, LaunchTemplate={"LaunchTemplateId": bad})
    told = launch(cloud, 1)
    assert told["Instances"] == []
    assert told["Errors"][0]["ErrorCode"] == "InsufficientInstanceCapacity"
    assert cloud.told()["DesiredCapacity"] == 0
    launch(cloud, 1, RetryStrategy="retry-with-group-configuration", **A)
    assert cloud.told()["DesiredCapacity"] == 1
    assert cloud.activities()[0]["StatusCode"] == "Failed"


def test_a_groups_instances_are_in_its_placement_group(cloud: Cloud) -> None:
    cloud("ec2:CreatePlacementGroup", GroupName="apart", Strategy="spread")
    assert (
        cloud.refused("CreateAutoScalingGroup", **G, MinSize=0, MaxSize=1, PlacementGroup="none")[0]
        == "ValidationError"
    )
    cloud.group(size=2, PlacementGroup="apart")
    assert cloud.told()["PlacementGroup"] == "apart"
    found = cloud("ec2:DescribeInstances")["Reservations"]
    assert {one["Placement"].get("GroupName") for page in found for one in page["Instances"]} == {"apart"}
    cloud("UpdateAutoScalingGroup", **G, PlacementGroup="")
    assert "PlacementGroup" not in cloud.told()
    assert len(list(cloud.world.client.all(Instance, SCOPE))) == 2
