"""Warm pools. AWS: "Decrease latency for applications with long boot times using warm pools", autoscaling PutWarmPool."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.aws.autoscaling.conftest import IMAGE, Cloud

G = {"AutoScalingGroupName": "g"}
LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"


def pool(cloud: Cloud) -> list[str]:
    """Lifecycle states of what is warm."""
    return sorted(one["LifecycleState"] for one in cloud("DescribeWarmPool", **G)["Instances"])


def warm_ids(cloud: Cloud, state: str) -> list[str]:
    found = cloud("DescribeWarmPool", **G)["Instances"]
    return [one["InstanceId"] for one in found if one["LifecycleState"] == state]


def settle(cloud: Cloud, times: int = 4) -> None:
    """The machine does what it is asked for: boots, stops, ends."""
    for _ in range(times):
        cloud.boot()
        cloud.end()


def pooled(cloud: Cloud, size: int = 1, **params: Any) -> None:
    cloud.group(size=size, MaxSize=4)
    cloud("PutWarmPool", **G, **params)
    settle(cloud)


def test_the_pool_holds_what_the_group_may_still_grow_by(cloud: Cloud) -> None:
    pooled(cloud)
    assert pool(cloud) == ["Warmed:Stopped"] * 3
    assert cloud.states() == ["InService"]
    told = cloud.told()
    assert (told["WarmPoolSize"], told["WarmPoolConfiguration"]) == (3, {"MinSize": 0, "PoolState": "Stopped"})
    assert (
        Counter(one["AvailabilityZone"] for one in cloud("DescribeWarmPool", **G)["Instances"]).most_common(1)[0][1]
        == 2
    )
    warm = [one for one in cloud.activities() if "into warm pool: i-" in one["Description"]]
    grown = "an instance was started in response to a difference between desired and actual capacity"
    assert [grown in one["Cause"] for one in warm] == [True] * 3
    assert all(one["StatusCode"] == "Successful" for one in cloud.activities())


@pytest.mark.parametrize(
    ("given", "size"), [({"MinSize": 2, "MaxGroupPreparedCapacity": 1}, 2), ({"MaxGroupPreparedCapacity": 3}, 2)]
)
def test_prepared_capacity_and_minimum_bound_it(cloud: Cloud, given: dict[str, int], size: int) -> None:
    pooled(cloud, **given)
    assert pool(cloud) == ["Warmed:Stopped"] * size


def test_a_group_grows_by_what_is_warm(cloud: Cloud) -> None:
    pooled(cloud)
    warm = set(warm_ids(cloud, "Warmed:Stopped"))
    cloud("SetDesiredCapacity", **G, DesiredCapacity=3)
    assert cloud.states() == ["InService", "Pending", "Pending"]
    assert set(cloud.ids("Pending")) < warm
    assert any(
        one["Description"].startswith("Launching a new EC2 instance from warm pool: i-") for one in cloud.activities()
    )
    settle(cloud)
    assert cloud.states() == ["InService"] * 3
    assert pool(cloud) == ["Warmed:Stopped"]
    assert cloud.members() == cloud.alive()


def test_a_running_pool_is_there_at_once(cloud: Cloud) -> None:
    pooled(cloud, PoolState="Running")
    assert pool(cloud) == ["Warmed:Running"] * 3
    cloud("SetDesiredCapacity", **G, DesiredCapacity=2)
    assert cloud.states() == ["InService"] * 2


def test_hooks_are_passed_on_the_way_into_the_pool_and_out_of_it(cloud: Cloud) -> None:
    hook = {"LifecycleHookName": "up", "LifecycleTransition": LAUNCHING}
    cloud.group(size=0, MaxSize=1, LifecycleHookSpecificationList=[hook])
    cloud("PutWarmPool", **G)
    cloud.boot()
    done = G | {"LifecycleHookName": "up", "LifecycleActionResult": "CONTINUE"}
    (id_,) = warm_ids(cloud, "Warmed:Pending:Wait")
    cloud("CompleteLifecycleAction", **done, InstanceId=id_)
    settle(cloud)
    assert warm_ids(cloud, "Warmed:Stopped") == [id_]
    cloud("SetDesiredCapacity", **G, DesiredCapacity=1)
    settle(cloud)
    assert cloud.ids("Pending:Wait") == [id_]
    cloud("CompleteLifecycleAction", **done, InstanceId=id_)
    assert cloud.ids() == [id_]


def test_a_scale_in_ends_instances_or_brings_them_back(cloud: Cloud) -> None:
    pooled(cloud, size=3)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=2)
    (gone,) = cloud.ids("Terminating")
    settle(cloud)
    assert gone not in cloud.alive()
    cloud("PutWarmPool", **G, InstanceReusePolicy={"ReuseOnScaleIn": True}, MaxGroupPreparedCapacity=4)
    settle(cloud)
    before = cloud.alive()
    cloud("PutWarmPool", **G, InstanceReusePolicy={"ReuseOnScaleIn": True}, MaxGroupPreparedCapacity=4)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=1)
    settle(cloud)
    assert cloud.alive() == before
    assert (cloud.states(), pool(cloud)) == (["InService"], ["Warmed:Stopped"] * 3)


def test_a_pool_shrinks_with_its_bounds_and_goes_with_its_instances(cloud: Cloud) -> None:
    pooled(cloud)
    cloud("UpdateAutoScalingGroup", **G, MaxSize=2)
    settle(cloud)
    assert pool(cloud) == ["Warmed:Stopped"]
    cloud("DeleteWarmPool", **G)
    assert cloud("DescribeWarmPool", **G)["WarmPoolConfiguration"]["Status"] == "PendingDelete"
    settle(cloud)
    assert "WarmPoolConfiguration" not in cloud("DescribeWarmPool", **G)
    assert cloud.alive() == set(cloud.ids()) == cloud.members()
    assert cloud.refused("DeleteWarmPool", **G)[0] == "ValidationError"


def test_a_pool_that_moves_is_deleted_only_by_force(cloud: Cloud) -> None:
    cloud.group(size=1, MaxSize=3)
    cloud("PutWarmPool", **G)
    assert cloud.refused("DeleteWarmPool", **G)[0] == "ScalingActivityInProgress"
    cloud("DeleteWarmPool", **G, ForceDelete=True)
    settle(cloud)
    assert cloud.alive() == set(cloud.ids())


def test_a_group_is_deleted_with_its_pool_by_force(cloud: Cloud) -> None:
    pooled(cloud)
    assert cloud.refused("DeleteAutoScalingGroup", **G)[0] == "ResourceInUse"
    cloud("DeleteAutoScalingGroup", **G, ForceDelete=True)
    settle(cloud)
    assert cloud("DescribeAutoScalingGroups")["AutoScalingGroups"] == []
    assert cloud.members() == cloud.alive() == set()


def test_what_is_warm_and_ends_is_replaced(cloud: Cloud) -> None:
    pooled(cloud)
    gone = warm_ids(cloud, "Warmed:Stopped")[0]
    cloud("ec2:TerminateInstances", InstanceIds=[gone])
    settle(cloud)
    assert pool(cloud) == ["Warmed:Stopped"] * 3
    assert gone not in warm_ids(cloud, "Warmed:Stopped")


def test_a_refresh_replaces_the_pool_too(cloud: Cloud) -> None:
    pooled(cloud)
    old = cloud.members()
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 0})
    assert cloud.refused("PutWarmPool", **G)[0] == "InstanceRefreshInProgress"
    for _ in range(6):
        settle(cloud)
        cloud.wait(10)
    assert cloud("DescribeInstanceRefreshes", **G)["InstanceRefreshes"][0]["Status"] == "Successful"
    assert not old & cloud.members()
    assert (cloud.states(), pool(cloud)) == (["InService"], ["Warmed:Stopped"] * 3)


def test_a_daemon_killed_at_any_step_loses_and_doubles_nothing(cloud: Cloud) -> None:
    pooled(cloud, InstanceReusePolicy={"ReuseOnScaleIn": True})
    for size in (3, 1, 4, 0, 2):
        cloud.loop.run_until_complete(cloud.run("SetDesiredCapacity", **G, DesiredCapacity=size))
        for _ in range(6):
            cloud.kill()
            cloud.start()
            settle(cloud, 1)
        assert cloud.states() == ["InService"] * size
        assert pool(cloud) == ["Warmed:Stopped"] * (4 - size)
        assert cloud.alive() == cloud.members()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"PoolState": "Hibernated"}, "NotImplemented"),
        ({"MinSize": -1}, "ValidationError"),
        ({"MaxGroupPreparedCapacity": -2}, "ValidationError"),
    ],
)
def test_what_no_pool_can_be_is_refused(cloud: Cloud, wrong: dict[str, Any], code: str) -> None:
    cloud.group(size=0)
    assert cloud.refused("PutWarmPool", **G, **wrong)[0] == code


def test_a_pool_beside_a_group_without_bounds_is_filled_in_steps(cloud: Cloud) -> None:
    """What a user may write as the maximum is no number to count to."""
    cloud.group(size=1, MaxSize=2**31 - 1)
    cloud("PutWarmPool", **G)
    assert 1 < len(cloud.members()) < 1000


def mixed(cloud: Cloud, *, weighted: bool = False, **distribution: Any) -> dict[str, Any]:
    weights = ({"WeightedCapacity": "2"}, {"WeightedCapacity": "3"}) if weighted else ({}, {})
    types = [{"InstanceType": name} | more for name, more in zip(("t3.nano", "t3.micro"), weights, strict=True)]
    template = {"LaunchTemplateSpecification": {"LaunchTemplateId": cloud.template}, "Overrides": types}
    policy = {"LaunchTemplate": template} | ({"InstancesDistribution": distribution} if distribution else {})
    return G | {"MixedInstancesPolicy": policy}


def mixed_group(cloud: Cloud, size: int, most: int, **how: Any) -> None:
    bounds = {"MinSize": 0, "MaxSize": most, "DesiredCapacity": size, "AvailabilityZones": ["us-east-1a"]}
    cloud("CreateAutoScalingGroup", **bounds, **mixed(cloud, **how))
    cloud.boot()


def test_a_group_of_several_types_has_a_pool(cloud: Cloud) -> None:
    """AWS, since November 2025: mixed instances policies of On-Demand Instances."""
    mixed_group(cloud, 1, 4)
    cloud("PutWarmPool", **G)
    settle(cloud)
    assert pool(cloud) == ["Warmed:Stopped"] * 3
    assert {one["InstanceType"] for one in cloud("DescribeWarmPool", **G)["Instances"]} == {"t3.nano"}
    cloud("SetDesiredCapacity", **G, DesiredCapacity=3)
    settle(cloud)
    assert (cloud.states(), pool(cloud)) == (["InService"] * 3, ["Warmed:Stopped"])
    assert cloud.members() == cloud.alive()


def test_a_pool_counts_in_the_weights_of_its_group(cloud: Cloud) -> None:
    mixed_group(cloud, 2, 8, weighted=True)
    cloud("PutWarmPool", **G, InstanceReusePolicy={"ReuseOnScaleIn": True})
    settle(cloud)
    assert (cloud.states(), pool(cloud)) == (["InService"], ["Warmed:Stopped"] * 3)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=6)
    settle(cloud)
    assert (cloud.states(), pool(cloud)) == (["InService"] * 3, ["Warmed:Stopped"])
    cloud("SetDesiredCapacity", **G, DesiredCapacity=2)
    settle(cloud)
    assert (cloud.states(), pool(cloud)) == (["InService"], ["Warmed:Stopped"] * 3)
    cloud("PutWarmPool", **G, MaxGroupPreparedCapacity=5)
    settle(cloud)
    # Two instances are four of three units: what is launched reaches what is wanted, and none goes that would be missed.
    assert pool(cloud) == ["Warmed:Stopped"] * 2
    assert cloud.members() == cloud.alive()


def test_no_pool_is_of_spot_instances(cloud: Cloud) -> None:
    mixed_group(cloud, 0, 2)
    cloud("PutWarmPool", **G)
    spot = mixed(cloud, OnDemandPercentageAboveBaseCapacity=50)
    assert cloud.refused("UpdateAutoScalingGroup", **spot)[0] == "ValidationError"
    data = {"ImageId": IMAGE, "InstanceType": "t3.nano", "InstanceMarketOptions": {"MarketType": "spot"}}
    cloud("ec2:CreateLaunchTemplate", LaunchTemplateName="spot", LaunchTemplateData=data)
    by_template = G | {"LaunchTemplate": {"LaunchTemplateName": "spot"}}
    assert cloud.refused("UpdateAutoScalingGroup", **by_template)[0] == "ValidationError"
    cloud("DeleteWarmPool", **G, ForceDelete=True)
    settle(cloud)
    for group in (spot, by_template):
        cloud("UpdateAutoScalingGroup", **group)
        assert cloud.refused("PutWarmPool", **G)[0] == "ValidationError"
