"""Mixed instances policies: which types, on demand or Spot, and capacity in weights. AWS: Amazon EC2 Auto Scaling user guide, "Auto Scaling groups
with multiple instance types and purchase options"; defaults and answers are those that Terraform's provider is tested with."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gureum.aws.autoscaling.kinds import Distribution
from gureum.aws.autoscaling.mixed import on_demand_units
from gureum.aws.ec2.instances.kinds import Instance
from tests.aws.autoscaling.conftest import HUGE, IMAGE, SCOPE, interrupt

TWO = [{"InstanceType": "t3.nano"}, {"InstanceType": "t3.micro"}]
HEAVY = [{"InstanceType": "t3.nano", "WeightedCapacity": "2"}, {"InstanceType": "t3.micro", "WeightedCapacity": "3"}]


def policy(cloud: Any, overrides: list[dict[str, Any]] | None = None, **distribution: Any) -> dict[str, Any]:
    template: dict[str, Any] = {
        "LaunchTemplateSpecification": {"LaunchTemplateId": cloud.template, "Version": "$Latest"}
    }
    template |= {"Overrides": overrides} if overrides is not None else {}
    return {"LaunchTemplate": template} | ({"InstancesDistribution": distribution} if distribution else {})


def mixed_group(cloud: Any, size: int, overrides: Any = None, *, params: Any = None, **distribution: Any) -> None:
    base = {"MinSize": 0, "MaxSize": 20, "DesiredCapacity": size, "AvailabilityZones": ["us-east-1a"]}
    given = policy(cloud, overrides, **distribution)
    cloud("CreateAutoScalingGroup", AutoScalingGroupName="g", MixedInstancesPolicy=given, **(base | (params or {})))
    cloud.boot()


def kinds(cloud: Any) -> Counter[tuple[str, bool]]:
    """How many there are of each type, on demand (False) or Spot."""
    found: Counter[tuple[str, bool]] = Counter()
    for one in cloud.told()["Instances"]:
        if one["LifecycleState"] == "InService":
            instance = cloud.world.client.get(Instance, SCOPE, one["InstanceId"])
            assert instance.spec.type == one["InstanceType"]
            found[instance.spec.type, bool(instance.spec.spot_request)] += 1
    return found


def test_without_a_distribution_all_is_on_demand_of_the_first_type(cloud):
    mixed_group(cloud, 3, TWO)
    assert kinds(cloud) == {("t3.nano", False): 3}
    told = cloud.told()
    assert "LaunchTemplate" not in told
    shown = told["MixedInstancesPolicy"]
    assert shown["InstancesDistribution"] == {
        "OnDemandAllocationStrategy": "prioritized",
        "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 100,
        "SpotAllocationStrategy": "lowest-price",
        "SpotInstancePools": 2,
    }
    assert shown["LaunchTemplate"]["Overrides"] == TWO
    assert shown["LaunchTemplate"]["LaunchTemplateSpecification"]["LaunchTemplateId"] == cloud.template


def test_without_overrides_the_templates_type_is_launched(cloud):
    mixed_group(cloud, 1)
    assert kinds(cloud) == {("t3.nano", False): 1}
    assert cloud.told()["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"] == []


def test_the_base_and_the_share_are_on_demand_and_the_rest_is_spot(cloud):
    mixed_group(cloud, 5, TWO, OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=25)
    assert sum(count for (_, spot), count in kinds(cloud).items() if not spot) == 2
    assert sum(count for (_, spot), count in kinds(cloud).items() if spot) == 3
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=1)
    cloud.end()
    assert [spot for _, spot in kinds(cloud)] == [False]


def test_the_lowest_price_takes_turns_between_the_cheapest_types(cloud):
    mixed_group(cloud, 4, [*TWO, {"InstanceType": "t3.small"}], OnDemandPercentageAboveBaseCapacity=0)
    found = kinds(cloud)
    assert set(found) <= {("t3.nano", True), ("t3.micro", True)}
    assert sum(found.values()) == 4


@pytest.mark.parametrize(
    ("strategy", "type_"), [("capacity-optimized-prioritized", "t3.micro"), ("price-capacity-optimized", "t3.nano")]
)
def test_spot_follows_its_strategy(cloud, strategy, type_):
    first_dear = [{"InstanceType": "t3.micro"}, {"InstanceType": "t3.nano"}]
    mixed_group(cloud, 2, first_dear, OnDemandPercentageAboveBaseCapacity=0, SpotAllocationStrategy=strategy)
    assert kinds(cloud) == {(type_, True): 2}


def test_a_type_that_cannot_be_had_gives_way_to_the_next(cloud):
    mixed_group(cloud, 1, [{"InstanceType": HUGE}, {"InstanceType": "t3.nano"}])
    assert kinds(cloud) == {("t3.nano", False): 1}


def test_capacity_counts_in_weights(cloud):
    mixed_group(cloud, 5, HEAVY)
    assert kinds(cloud) == {("t3.nano", False): 3}
    told = cloud.told()
    assert {one["WeightedCapacity"] for one in told["Instances"]} == {"2"}
    assert told["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"] == HEAVY
    grown = sorted(one["Cause"].rpartition(" from ")[2] for one in cloud.activities())  # begun at once: in any order
    assert grown == ["0 to 2.", "2 to 4.", "4 to 6."]
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=3)
    cloud.end()
    assert kinds(cloud) == {("t3.nano", False): 2}
    cloud("SetDesiredCapacity", AutoScalingGroupName="g", DesiredCapacity=4)
    cloud.wait(60)
    assert len(cloud.ids()) == 2


def test_an_instance_taken_out_takes_its_weight_along(cloud):
    mixed_group(cloud, 4, HEAVY)
    one = cloud.ids()[0]
    cloud("EnterStandby", AutoScalingGroupName="g", InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
    assert cloud.told()["DesiredCapacity"] == 2
    cloud.look()
    cloud("ExitStandby", AutoScalingGroupName="g", InstanceIds=[one])
    assert cloud.told()["DesiredCapacity"] == 4
    cloud.look()
    assert len(cloud.ids()) == 2


def test_types_by_requirements_go_by_price(cloud):
    wanted = {
        "VCpuCount": {"Min": 2, "Max": 2},
        "MemoryMiB": {"Min": 1024, "Max": 2048},
        "BurstablePerformance": "required",
    }
    mixed_group(cloud, 1, [{"InstanceRequirements": wanted}])
    (only,) = kinds(cloud)
    assert only[0].endswith(".micro")
    shown = cloud.told()["MixedInstancesPolicy"]
    assert shown["LaunchTemplate"]["Overrides"] == [{"InstanceRequirements": wanted}]
    assert shown["InstancesDistribution"]["OnDemandAllocationStrategy"] == "lowest-price"


def test_an_update_changes_what_it_names_and_a_template_ends_the_policy(cloud):
    mixed_group(cloud, 1, TWO, OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=0)
    distribution = {"SpotAllocationStrategy": "capacity-optimized", "SpotMaxPrice": "0.5"}
    cloud(
        "UpdateAutoScalingGroup", AutoScalingGroupName="g", MixedInstancesPolicy={"InstancesDistribution": distribution}
    )
    shown = cloud.told()["MixedInstancesPolicy"]
    assert shown["LaunchTemplate"]["Overrides"] == TWO
    assert shown["InstancesDistribution"] == {
        "OnDemandAllocationStrategy": "prioritized",
        "OnDemandBaseCapacity": 1,
        "OnDemandPercentageAboveBaseCapacity": 0,
        **distribution,
    }
    template = {"LaunchTemplateId": cloud.template, "Version": "$Latest"}
    cloud("UpdateAutoScalingGroup", AutoScalingGroupName="g", LaunchTemplate=template)
    assert "MixedInstancesPolicy" not in cloud.told()
    assert cloud.told()["LaunchTemplate"]["LaunchTemplateId"] == cloud.template


def test_an_interrupted_spot_instance_is_replaced(cloud):
    mixed_group(cloud, 2, TWO, params={"CapacityRebalance": True}, OnDemandPercentageAboveBaseCapacity=0)
    gone = cloud.ids()[0]
    interrupt(cloud, gone)
    cloud.boot()
    cloud.end()
    assert gone not in cloud.alive()
    assert len(cloud.ids()) == 2
    assert all(spot for _, spot in kinds(cloud))


@pytest.mark.parametrize(
    ("overrides", "distribution", "code"),
    [
        ([{"InstanceType": "t9.none"}], {}, "ValidationError"),
        ([*TWO, TWO[0]], {}, "ValidationError"),
        ([TWO[0], HEAVY[1]], {}, "ValidationError"),
        ([{"InstanceType": "t3.nano", "WeightedCapacity": "1000"}], {}, "ValidationError"),
        ([{"InstanceType": "t3.nano", "InstanceRequirements": {"VCpuCount": {"Min": 1}, "MemoryMiB": {"Min": 1}}}], {}, "ValidationError"),
        ([{"InstanceType": "t3.nano", "ImageId": IMAGE}], {}, "NotImplemented"),
        (TWO, {"OnDemandPercentageAboveBaseCapacity": 101}, "ValidationError"),
        (TWO, {"OnDemandBaseCapacity": -1}, "ValidationError"),
        (TWO, {"SpotAllocationStrategy": "dearest"}, "ValidationError"),
        (TWO, {"SpotInstancePools": 21}, "ValidationError"),
        (TWO, {"SpotInstancePools": 3, "SpotAllocationStrategy": "capacity-optimized"}, "ValidationError"),
        (TWO, {"SpotMaxPrice": "dear"}, "ValidationError"),
    ],
)  # fmt: skip
def test_policies_that_are_refused(cloud, overrides, distribution, code):
    given = policy(cloud, overrides, **distribution)
    base = {"AutoScalingGroupName": "g", "MinSize": 0, "MaxSize": 1, "AvailabilityZones": ["us-east-1a"]}
    assert cloud.refused("CreateAutoScalingGroup", MixedInstancesPolicy=given, **base)[0] == code


def test_what_does_not_go_with_a_policy_is_refused(cloud):
    mixed_group(cloud, 2, HEAVY)
    name = {"AutoScalingGroupName": "g"}
    assert cloud.refused("StartInstanceRefresh", **name)[0] == "NotImplemented"
    maintenance = {"MinHealthyPercentage": 90, "MaxHealthyPercentage": 110}
    assert cloud.refused("UpdateAutoScalingGroup", InstanceMaintenancePolicy=maintenance, **name)[0] == "NotImplemented"
    data = {"ImageId": IMAGE, "InstanceType": "t3.nano", "InstanceMarketOptions": {"MarketType": "spot"}}
    cloud("ec2:CreateLaunchTemplate", LaunchTemplateName="spot", LaunchTemplateData=data)
    by_spot = {"LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateName": "spot"}}}
    assert cloud.refused("UpdateAutoScalingGroup", MixedInstancesPolicy=by_spot, **name)[0] == "ValidationError"


@pytest.mark.parametrize(
    ("base", "percentage", "capacity", "on_demand"),
    [(0, 100, 5, 5), (0, 0, 5, 0), (2, 0, 1, 1), (1, 50, 4, 3), (0, 10, 4, 1), (10, 50, 4, 4)],
)
def test_on_demand_is_rounded_up(base, percentage, capacity, on_demand):
    assert on_demand_units(Distribution(base=base, percentage=percentage), capacity) == on_demand
