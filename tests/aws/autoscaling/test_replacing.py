"""What is replaced, and how many at a time. AWS: "Instance maintenance policies", "Replace instances based on maximum instance lifetime", "Health
checks for instances in an Auto Scaling group"."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.aws.autoscaling.conftest import Cloud, impair, interrupt

G = {"AutoScalingGroupName": "g"}
DAY_S = 86400.0


def policy(least: int, most: int) -> dict[str, Any]:
    return {"InstanceMaintenancePolicy": {"MinHealthyPercentage": least, "MaxHealthyPercentage": most}}


def ill(cloud: Cloud, *ids: str) -> None:
    for id_ in ids:
        cloud("SetInstanceHealth", InstanceId=id_, HealthStatus="Unhealthy")


def health(cloud: Cloud) -> list[str]:
    return sorted(one["HealthStatus"] for one in cloud.told()["Instances"] if one["LifecycleState"] == "InService")


def test_launch_before_terminate_keeps_the_unhealthy_one_until_the_new_one_is_warm(cloud: Cloud) -> None:
    cloud.group(size=2, DefaultInstanceWarmup=30, **policy(100, 150))
    cloud.wait(60)
    zones = {one["InstanceId"]: one["AvailabilityZone"] for one in cloud.told()["Instances"]}
    first = next(id_ for id_, zone in zones.items() if zone == "us-east-1b")
    ill(cloud, first)
    assert cloud.states() == ["InService", "InService", "Pending"]
    assert health(cloud) == ["Healthy", "Unhealthy"]
    cloud.boot()
    assert cloud.states() == ["InService"] * 3
    cloud.wait(20)
    assert first in cloud.ids()
    cloud.wait(20)
    assert cloud.states() == ["InService", "InService", "Terminating"]
    assert first not in cloud.ids()
    cloud.end()
    cloud.wait(100)
    assert cloud.states() == ["InService"] * 2
    causes = [one["Cause"] for one in cloud.activities()]
    assert any("in response to a user health-check." in cause for cause in causes)


def test_terminate_and_launch_takes_as_many_as_may_be_missing(cloud: Cloud) -> None:
    cloud.group(size=4, **policy(50, 100))
    ids = cloud.ids()
    ill(cloud, *ids[:3])
    assert Counter(cloud.states()) == {"InService": 2, "Terminating": 2, "Pending": 2}
    cloud.boot()
    assert Counter(cloud.states()) == {"InService": 3, "Terminating": 3, "Pending": 1}
    cloud.boot()
    cloud.end()
    assert cloud.states() == ["InService"] * 4
    assert health(cloud) == ["Healthy"] * 4
    assert cloud.alive() == set(cloud.ids())


def test_a_policy_without_any_room_goes_one_by_one(cloud: Cloud) -> None:
    cloud.group(size=3, **policy(100, 100))
    ill(cloud, *cloud.ids())
    for _ in range(3):
        assert Counter(cloud.states()) == {"InService": 2, "Terminating": 1, "Pending": 1}
        cloud.boot()
        cloud.end()
    assert cloud.states() == ["InService"] * 3


def test_what_does_not_run_is_no_capacity_and_goes_at_once(cloud: Cloud) -> None:
    cloud.group(size=2, **policy(100, 200))
    first = cloud.ids()[0]
    cloud.die(first)
    assert cloud.states() == ["InService", "Pending", "Terminating"]
    assert cloud.ids("Terminating") == [first]


def test_without_a_policy_all_that_are_unhealthy_go_at_once(cloud: Cloud) -> None:
    cloud.group(size=3)
    ill(cloud, *cloud.ids())
    assert Counter(cloud.states()) == {"Pending": 3, "Terminating": 3}


def test_old_instances_go_one_by_one(cloud: Cloud) -> None:
    cloud.group(size=3, MaxInstanceLifetime=int(DAY_S))
    old = set(cloud.ids())
    cloud.wait(DAY_S - 100)
    assert set(cloud.ids()) == old
    cloud.wait(200)
    for _ in range(3):
        assert Counter(cloud.states()) == {"InService": 2, "Terminating": 1, "Pending": 1}
        cloud.boot()
        cloud.end()
    assert cloud.states() == ["InService"] * 3
    assert not old & set(cloud.ids())
    assert any("in response to maximum instance lifetime." in one["Cause"] for one in cloud.activities())


def test_old_instances_wait_for_new_ones_where_the_policy_says_so(cloud: Cloud) -> None:
    cloud.group(size=2, MaxInstanceLifetime=int(DAY_S), **policy(100, 200))
    old = set(cloud.ids())
    cloud.wait(DAY_S + 100)
    assert Counter(cloud.states()) == {"InService": 2, "Pending": 2}
    cloud.boot()
    assert Counter(cloud.states()) == {"InService": 2, "Terminating": 2}
    assert not old & set(cloud.ids())


@pytest.mark.parametrize("least", [50, 100])
def test_rebalancing_without_room_above_ends_one_first(cloud: Cloud, least: int) -> None:
    cloud.group(size=4, AvailabilityZones=["us-east-1a"], **policy(least, 100))
    cloud("UpdateAutoScalingGroup", **G, AvailabilityZones=["us-east-1a", "us-east-1b"])
    most = 4
    for _ in range(8):
        most = max(most, len([one for one in cloud.states() if one in ("InService", "Pending")]))
        cloud.boot()
        cloud.end()
    zones = Counter(one["AvailabilityZone"] for one in cloud.told()["Instances"])
    assert (zones, most) == ({"us-east-1a": 2, "us-east-1b": 2}, 4)
    assert any("Availability Zones of the group being unbalanced." in one["Cause"] for one in cloud.activities())


def test_a_smaller_group_gives_up_the_unhealthy_first(cloud: Cloud) -> None:
    cloud.group(size=3)
    cloud("SuspendProcesses", **G, ScalingProcesses=["ReplaceUnhealthy"])
    sick = cloud.ids()[1]
    ill(cloud, sick)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=2)
    assert cloud.ids("Terminating") == [sick]


@pytest.mark.parametrize("check", ["system", "instance"])
def test_an_impaired_instance_is_replaced(cloud: Cloud, check: str) -> None:
    cloud.group(size=1)
    (first,) = cloud.ids()
    impair(cloud, first, **{check: 123.0})
    assert cloud.states() == ["Pending", "Terminating"]
    assert "in response to an EC2 instance status checks failure." in "".join(
        one["Cause"] for one in cloud.activities()[:2]
    )


def test_status_checks_are_not_looked_at_in_the_grace_period(cloud: Cloud) -> None:
    cloud.group(size=1, HealthCheckGracePeriod=100)
    impair(cloud, cloud.ids()[0], instance=123.0)
    assert cloud.states() == ["InService"]
    cloud.wait(100)
    assert cloud.states() == ["Pending", "Terminating"]


def test_disks_count_only_for_groups_that_look_at_them(cloud: Cloud) -> None:
    cloud.group(size=1)
    (first,) = cloud.ids()
    impair(cloud, first, disks=123.0)
    assert cloud.ids() == [first]
    cloud("UpdateAutoScalingGroup", **G, HealthCheckType="EBS")
    assert cloud.told()["HealthCheckType"] == "EBS"
    assert cloud.states() == ["Pending", "Terminating"]


def test_a_killed_daemon_goes_on_replacing(cloud: Cloud) -> None:
    cloud.group(size=3, **policy(100, 134))
    ill(cloud, *cloud.ids())
    for _ in range(8):
        cloud.kill()
        cloud.start()
        assert len([one for one in cloud.states() if one in ("InService", "Pending")]) <= 4
        cloud.boot()
        cloud.end()
    assert cloud.states() == ["InService"] * 3
    assert health(cloud) == ["Healthy"] * 3
    assert cloud.alive() == set(cloud.ids()) == cloud.members()


def test_a_spot_instance_with_a_notice_is_replaced_before_its_end(cloud: Cloud) -> None:
    """AWS: "Capacity Rebalancing": of up to a tenth of the group at a time, and those that have their notice go when the new ones serve."""
    cloud.group(size=2, CapacityRebalance=True)
    first, second = cloud.ids()
    for id_ in (first, second):
        interrupt(cloud, id_)
    assert cloud.states() == ["InService", "InService", "Pending"]
    cloud.boot()
    assert Counter(cloud.states()) == {"InService": 2, "Terminating": 1, "Pending": 1}
    cloud.boot()
    assert Counter(cloud.states()) == {"InService": 2, "Terminating": 2}
    assert not {first, second} & set(cloud.ids())
    cloud.end()
    cloud.wait(100)
    assert cloud.states() == ["InService"] * 2
    causes = [one["Cause"] for one in cloud.activities()]
    assert sum("in response to an EC2 instance rebalance recommendation." in cause for cause in causes) == 2


@pytest.mark.parametrize("suspended", ["", "Launch", "Terminate"])
def test_a_notice_changes_nothing_where_nobody_rebalances(cloud: Cloud, suspended: str) -> None:
    cloud.group(size=2, CapacityRebalance=bool(suspended))
    if suspended:
        cloud("SuspendProcesses", **G, ScalingProcesses=[suspended])
    interrupt(cloud, cloud.ids()[0])
    assert cloud.states() == ["InService", "InService"]
