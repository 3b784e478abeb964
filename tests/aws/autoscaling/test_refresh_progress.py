"""How far refreshes go, where they wait, and what they say of it. AWS: "Add checkpoints to an instance refresh", RefreshPreferences, InstanceRefresh,
RollbackDetails."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.aws.autoscaling.conftest import Cloud
from tests.aws.autoscaling.test_refreshes import G, deploy, new_version, refresh, types


def start(cloud: Cloud, **wanted: Any) -> set[str]:
    """Ids of those that were there before."""
    old = set(cloud.ids())
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 0, "MinHealthyPercentage": 50} | wanted)
    return old


def test_the_last_percentage_is_all_that_is_replaced(cloud: Cloud) -> None:
    """AWS: "To partially refresh the Auto Scaling group"."""
    cloud.group(size=4)
    old = start(cloud, CheckpointPercentages=[25, 50], CheckpointDelay=100)
    cloud.through(600)
    told = refresh(cloud)
    assert (told["Status"], told["PercentageComplete"], told["InstancesToUpdate"]) == ("Successful", 50, 0)
    assert len(old & set(cloud.ids())) == 2
    assert cloud.states() == ["InService"] * 4


def test_a_checkpoint_is_waited_at_once_its_instances_are_warm(cloud: Cloud) -> None:
    """AWS's example: two of ten are replaced at 0:00 and warm at 0:10; with a delay of 15 minutes it goes on at 0:25."""
    cloud.group(size=10)
    wanted = {"InstanceWarmup": 600, "MinHealthyPercentage": 80}
    old = start(cloud, CheckpointPercentages=[20, 50], CheckpointDelay=900, **wanted)
    cloud.through(590)
    assert refresh(cloud)["PercentageComplete"] == 0
    cloud.through(60)
    assert refresh(cloud)["PercentageComplete"] == 20
    cloud.through(780)
    assert len(old & set(cloud.ids())) == 8
    cloud.through(120)
    assert len(old & set(cloud.ids())) == 6
    cloud.through(700)
    assert (len(old & set(cloud.ids())), refresh(cloud)["PercentageComplete"]) == (5, 40)
    cloud.through(700)
    assert (refresh(cloud)["Status"], refresh(cloud)["PercentageComplete"]) == ("Successful", 50)


def test_checkpoints_passed_by_the_way_are_not_waited_at(cloud: Cloud, events: list[dict[str, Any]]) -> None:
    """AWS's example: of two instances, the first makes 50 percent, so 10 is skipped and 40 is told."""
    cloud.group(size=2)
    start(cloud, CheckpointPercentages=[10, 40, 100], CheckpointDelay=300)
    cloud.through(200)
    assert refresh(cloud)["PercentageComplete"] == 50
    cloud.through(300)
    assert refresh(cloud)["Status"] == "Successful"
    told = [one["detail"] for one in events if one["detail-type"].endswith("Checkpoint Reached")]
    assert [(one["CheckpointPercentage"], one["CheckpointDelay"]) for one in told] == [("40", "300")]


def test_new_ones_that_come_first_stop_at_a_checkpoint_too(cloud: Cloud) -> None:
    cloud.group(size=4)
    wanted = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 200}
    old = start(cloud, CheckpointPercentages=[25, 100], CheckpointDelay=500, **wanted)
    assert Counter(cloud.states()) == {"InService": 4, "Pending": 1}
    cloud.through(300)
    assert cloud.states() == ["InService"] * 4
    assert len(old & set(cloud.ids())) == 3
    cloud.through(600)
    assert refresh(cloud)["Status"] == "Successful"


def test_a_refresh_keeps_zones_even_so_that_nothing_else_is_replaced(cloud: Cloud) -> None:
    """Several groups, for which of two old instances goes is decided by their ids."""
    names = [f"g{number}" for number in range(5)]
    old = {}
    for name in names:
        cloud.group(name=name, size=4)
        old[name] = set(cloud.ids(name=name))
        wanted = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 200, "InstanceWarmup": 0}
        checkpoints = {"CheckpointPercentages": [25, 100], "CheckpointDelay": 1000}
        cloud("StartInstanceRefresh", AutoScalingGroupName=name, Preferences=wanted | checkpoints)
    cloud.through(300)
    assert [len(old[name] & set(cloud.ids(name=name))) for name in names] == [3] * 5
    assert not any("balancing" in one["Cause"] for name in names for one in cloud.activities(name))


@pytest.mark.parametrize(("least", "most"), [(100, 125), (100, 150), (75, 100), (50, 100), (100, 200), (90, 110)])
def test_zones_are_even_at_the_end_although_instances_boot_one_by_one(cloud: Cloud, least: int, most: int) -> None:
    names = [f"g{number}" for number in range(6)]
    for name in names:
        cloud.group(name=name, size=4)
        wanted = {"MinHealthyPercentage": least, "MaxHealthyPercentage": most, "InstanceWarmup": 0}
        cloud("StartInstanceRefresh", AutoScalingGroupName=name, Preferences=wanted)
    for _ in range(12):
        for name in names:
            pending = sorted(cloud.ids("Pending", name=name))
            cloud.die(*pending[:1], state="running")
        cloud.end()
        cloud.wait(1)
    for name in names:
        told = cloud.told(name)["Instances"]
        assert Counter(one["AvailabilityZone"] for one in told) == {"us-east-1a": 2, "us-east-1b": 2}
        launches = [one for one in cloud.activities(name) if one["Description"].startswith("Launching")]
        assert len(launches) == 8, "one for each, and none to make zones even"


def test_without_any_room_a_new_one_comes_first_only_where_it_was_asked_for(cloud: Cloud) -> None:
    """AWS: RefreshPreferences.MaxHealthyPercentage: to give 100 is not the same as to leave it out."""
    cloud.group(size=2)
    start(cloud, MinHealthyPercentage=100, MaxHealthyPercentage=100)
    assert Counter(cloud.states()) == {"InService": 2, "Pending": 1}
    cloud.through(200)
    assert (refresh(cloud)["Status"], cloud.states()) == ("Successful", ["InService"] * 2)
    start(cloud, MinHealthyPercentage=100)
    assert Counter(cloud.states()) == {"InService": 1, "Terminating": 1, "Pending": 1}


def test_an_instance_counts_when_its_replacement_is_warm(cloud: Cloud) -> None:
    cloud.group(size=2)
    start(cloud, InstanceWarmup=100)
    told = refresh(cloud)
    assert (told["PercentageComplete"], told["InstancesToUpdate"]) == (0, 2)
    cloud.through(50)
    assert refresh(cloud)["PercentageComplete"] == 0
    cloud.through(80)
    told = refresh(cloud)
    assert (told["PercentageComplete"], told["InstancesToUpdate"]) == (50, 1)


def test_instances_in_standby_are_not_replaced_ones(cloud: Cloud) -> None:
    cloud.group(size=2)
    cloud("EnterStandby", **G, InstanceIds=cloud.ids()[:1], ShouldDecrementDesiredCapacity=True)
    start(cloud)
    cloud.through(100)
    told = refresh(cloud)
    assert (told["Status"], told["PercentageComplete"], told["InstancesToUpdate"]) == ("InProgress", 50, 1)


def test_what_has_ended_says_for_ever_how_far_it_came(cloud: Cloud) -> None:
    cloud.group(size=2)
    start(cloud, InstanceWarmup=100)
    cloud("CancelInstanceRefresh", **G)
    cloud.through(200)
    assert (refresh(cloud)["Status"], refresh(cloud)["PercentageComplete"]) == ("Cancelled", 0)
    cloud("UpdateAutoScalingGroup", **G, DesiredCapacity=0)
    cloud.through(100)
    assert (refresh(cloud)["PercentageComplete"], refresh(cloud)["InstancesToUpdate"]) == (0, 2)


def test_a_rollback_tells_where_it_began_and_counts_back(cloud: Cloud) -> None:
    deploy(cloud, 4, InstanceWarmup=20)
    cloud.through(40)
    before = refresh(cloud)
    assert (before["PercentageComplete"], before["InstancesToUpdate"]) == (50, 2)
    cloud("RollbackInstanceRefresh", **G)
    told = refresh(cloud)
    details = told["RollbackDetails"]
    assert (details["PercentageCompleteOnRollback"], details["InstancesToUpdateOnRollback"]) == (50, 2)
    assert details["RollbackReason"]
    assert (told["Status"], told["InstancesToUpdate"]) == ("RollbackInProgress", 2)
    assert 0 < told["PercentageComplete"] <= 50
    assert cloud.refused("RollbackInstanceRefresh", **G)[0] == "ActiveInstanceRefreshNotFound"
    cloud.through(300)
    told = refresh(cloud)
    assert (told["Status"], told["PercentageComplete"], types(cloud)) == ("RollbackSuccessful", 0, {"t3.nano"})


@pytest.mark.parametrize("version", ["$Latest", "$Default"])
def test_what_cannot_go_back_fails_although_it_should(cloud: Cloud, version: str) -> None:
    """AWS: "The rollback option is not available if the Auto Scaling group is configured to use the $Latest or $Default launch template version"."""
    alarm = {
        "Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }  # fmt: skip
    cloud("cloudwatch:PutMetricAlarm", AlarmName="errors", **alarm)
    cloud.group(size=2, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": version})
    new_version(cloud)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": cloud.template, "Version": "2"}}
    watched = {"AlarmSpecification": {"Alarms": ["errors"]}, "AutoRollback": True}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences=watched)
    cloud("cloudwatch:SetAlarmState", AlarmName="errors", StateValue="ALARM", StateReason="by hand")
    assert refresh(cloud)["Status"] == "Failed"
    assert cloud.told()["LaunchTemplate"]["Version"] == version


@pytest.mark.parametrize(
    "wrong",
    [
        {"MaxHealthyPercentage": 150},
        {"CheckpointDelay": 10},
        {"AutoRollback": True},
        {"CheckpointPercentages": [50, 20]},
    ],
)
def test_preferences_that_need_others_are_refused(cloud: Cloud, wrong: dict[str, Any]) -> None:
    cloud.group(size=1)
    assert cloud.refused("StartInstanceRefresh", **G, Preferences=wrong)[0] == "ValidationError"


def test_the_least_that_is_shown_is_the_groups_own(cloud: Cloud) -> None:
    cloud.group(size=2, InstanceMaintenancePolicy={"MinHealthyPercentage": 60, "MaxHealthyPercentage": 110})
    cloud("StartInstanceRefresh", **G)
    assert refresh(cloud)["Preferences"]["MinHealthyPercentage"] == 60


def test_activities_say_that_a_refresh_was_the_cause(cloud: Cloud) -> None:
    """As activities of AWS do that people keep in public."""
    cloud.group(size=1)
    (old,) = start(cloud, MinHealthyPercentage=0)
    cloud.through(60)
    causes = [one["Cause"] for one in cloud.activities()][:2]
    launched, ended = sorted(causes, key=lambda cause: "taken out" in cause)
    assert launched.endswith("Z an instance was launched in response to an instance refresh.")
    assert "Z an instance was taken out of service in response to an instance refresh.  At 2025-" in ended
    assert ended.endswith(f"Z instance {old} was selected for termination.")


def test_a_rollback_may_be_cancelled(cloud: Cloud) -> None:
    """AWS: CancelInstanceRefresh: "an instance refresh or rollback that is in progress"."""
    deploy(cloud, 4, InstanceWarmup=1000)
    cloud.boot()
    cloud("RollbackInstanceRefresh", **G)
    cloud("CancelInstanceRefresh", **G)
    cloud.through(100)
    told = refresh(cloud)
    assert (told["Status"], "EndTime" in told, "RollbackDetails" in told) == ("Cancelled", True, True)
    assert (cloud.told()["LaunchTemplate"]["Version"], cloud.states()) == ("1", ["InService"] * 4)
