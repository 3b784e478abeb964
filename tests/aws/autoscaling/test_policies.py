"""Scaling policies at work. AWS: "Step and simple scaling policies", "Target tracking scaling policies", "Scheduled scaling"."""

from __future__ import annotations

import datetime as dt

import pytest

from gureum.aws.cloudwatch.alarm_kinds import MetricAlarm
from tests.aws.autoscaling.conftest import SCOPE

G = {"AutoScalingGroupName": "g"}
EXPRESSION = [
    {"Id": "m", "MetricStat": {"Metric": {"Namespace": "n", "MetricName": "m"}, "Stat": "Sum"}, "ReturnData": False},
    {"Id": "e", "Expression": "AVG(m)"},
]


def tracking(target):
    return {"PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageNetworkIn"}, "TargetValue": target}


def simple(cloud, adjustment, **params):
    params = {"AdjustmentType": "ChangeInCapacity", "ScalingAdjustment": adjustment} | params
    cloud("PutScalingPolicy", **G, PolicyName="p", **params)


def test_a_simple_policy_changes_the_capacity_and_cools_down(cloud):
    cloud.group(size=1)
    simple(cloud, 2, Cooldown=100)
    cloud("ExecutePolicy", **G, PolicyName="p")
    assert cloud.told()["DesiredCapacity"] == 3
    assert (
        "a user request executed policy p changing the desired capacity from 1 to 3." in cloud.activities()[0]["Cause"]
    )
    refused = cloud.refused("ExecutePolicy", **G, PolicyName="p", HonorCooldown=True)
    assert refused[0] == "ScalingActivityInProgress"
    cloud.wait(101)
    cloud("ExecutePolicy", **G, PolicyName="p", HonorCooldown=True)
    assert cloud.told()["DesiredCapacity"] == 5


def test_a_state_that_a_user_sets_executes_a_simple_policy_and_a_step_policy_when_it_has_data(cloud):
    cloud.group(size=1)
    simple(cloud, 1, Cooldown=0)
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    cloud(
        "PutScalingPolicy", **G, PolicyName="s", PolicyType="StepScaling", AdjustmentType="ChangeInCapacity", StepAdjustments=steps,
        EstimatedInstanceWarmup=0,
    )  # fmt: skip
    arns = [one["PolicyARN"] for one in cloud("DescribePolicies", **G)["ScalingPolicies"]]
    alarm = {
        "Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }  # fmt: skip
    for name, arn in zip(("simple", "steps"), arns, strict=True):
        cloud("cloudwatch:PutMetricAlarm", AlarmName=name, AlarmActions=[arn], **alarm)
    state = {"StateValue": "ALARM", "StateReason": "by hand"}
    cloud("cloudwatch:SetAlarmState", AlarmName="simple", **state)
    assert cloud.told()["DesiredCapacity"] == 2
    cloud.boot()
    cloud("cloudwatch:SetAlarmState", AlarmName="steps", **state)
    assert cloud.told()["DesiredCapacity"] == 2, "without a value there is no step"
    cloud("cloudwatch:SetAlarmState", AlarmName="steps", StateValue="OK", StateReason="by hand")
    cloud("cloudwatch:SetAlarmState", AlarmName="steps", **state, StateReasonData='{"recentDatapoints": [6.0]}')
    assert cloud.told()["DesiredCapacity"] == 3


def test_no_policy_leaves_the_groups_bounds(cloud):
    cloud.group(size=1, MaxSize=2)
    simple(cloud, 50)
    cloud("ExecutePolicy", **G, PolicyName="p")
    assert cloud.told()["DesiredCapacity"] == 2


@pytest.mark.parametrize(("value", "expected"), [(50, 10), (60, 10), (70, 13), (100, 13), (29, 7), (35, 9), (40, 9)])
def test_steps_of_the_documents_example(cloud, value, expected):
    """AWS's tables of step adjustments in percent at a threshold of 50 (scale out) and of 50 (scale in), desired capacity 10. In the guide: out
    0-10: 0, 10-20: 10 %, from 20: 30 %; in 0 to -10: 0, -10 to -20: -10 %, below -20: -30 %."""
    cloud.group(size=10, MaxSize=20)
    out = [(0, 10, 0), (10, 20, 10), (20, None, 30)]
    into = [(-10, 0, 0), (-20, -10, -10), (None, -20, -30)]
    steps = out if value >= 50 else into
    given = [
        {"ScalingAdjustment": by}
        | ({"MetricIntervalLowerBound": low} if low is not None else {})
        | ({"MetricIntervalUpperBound": high} if high is not None else {})
        for low, high, by in steps
    ]
    kind = {"PolicyType": "StepScaling", "AdjustmentType": "PercentChangeInCapacity", "EstimatedInstanceWarmup": 0}
    cloud("PutScalingPolicy", **G, PolicyName="p", **kind, StepAdjustments=given)
    expected = {60: 11}.get(value, expected)
    cloud("ExecutePolicy", **G, PolicyName="p", MetricValue=float(value), BreachThreshold=50.0)
    assert cloud.told()["DesiredCapacity"] == expected


def track(cloud, **more):
    config = {
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        "TargetValue": 50.0,
    }
    params = {"PolicyType": "TargetTrackingScaling", "EstimatedInstanceWarmup": 60}
    return cloud("PutScalingPolicy", **G, PolicyName="t", **params, TargetTrackingConfiguration=config | more)


def test_tracking_makes_its_two_alarms_and_takes_them_away(cloud):
    cloud.group(size=1)
    made = track(cloud)
    names = sorted(one["AlarmName"] for one in made["Alarms"])
    assert [name[:32] for name in names] == [
        "TargetTracking-g-AlarmHigh-" + names[0][27:32],
        "TargetTracking-g-AlarmLow-" + names[1][26:32],
    ]
    alarms = {one["AlarmName"]: one for one in cloud("cloudwatch:DescribeAlarms")["MetricAlarms"]}
    high, low = alarms[names[0]], alarms[names[1]]
    assert (high["EvaluationPeriods"], high["Threshold"], high["Period"]) == (3, 50.0, 60)
    assert (low["EvaluationPeriods"], low["Threshold"], low["ComparisonOperator"]) == (15, 45.0, "LessThanThreshold")
    track(cloud, DisableScaleIn=True)
    assert [one["AlarmName"] for one in cloud("cloudwatch:DescribeAlarms")["MetricAlarms"]] == names[:1]
    cloud("DeletePolicy", **G, PolicyName="t")
    assert cloud.world.client.all(MetricAlarm, SCOPE) == []


def test_load_makes_a_tracked_group_grow_and_its_end_makes_it_shrink(cloud):
    cloud.group(size=1, MaxSize=4, MinSize=1)
    track(cloud)
    cloud.measure(90.0, 4)
    assert cloud.told()["DesiredCapacity"] >= 2
    assert "in state ALARM triggered policy t changing the desired capacity from 1 to 2." in " ".join(
        one["Cause"] for one in cloud.activities()
    )
    cloud.measure(1.0, 25)
    assert cloud.told()["DesiredCapacity"] == 1
    assert cloud.states() == ["InService"]


def custom(cloud, name, **more):
    """A policy that tracks a metric of the user's own."""
    metric = {"Namespace": "app", "MetricName": name, "Statistic": "Average"}
    config = {"CustomizedMetricSpecification": metric, "TargetValue": 50.0} | more
    cloud(
        "PutScalingPolicy", **G, PolicyName=name, PolicyType="TargetTrackingScaling", TargetTrackingConfiguration=config
    )


def measure(cloud, minutes, **values):
    """So many minutes with these values of one's own metrics."""
    for _ in range(minutes):
        data = [{"MetricName": name, "Value": value, "Unit": "None"} for name, value in values.items()]
        cloud("cloudwatch:PutMetricData", Namespace="app", MetricData=data)
        cloud.measure(0.0, 1, name="nobody")


def test_of_two_tracking_policies_one_is_enough_to_grow_and_both_must_agree_to_shrink(cloud):
    cloud.group(size=2, MinSize=1, DefaultInstanceWarmup=0)
    custom(cloud, "one")
    custom(cloud, "two")
    measure(cloud, 5, one=100.0, two=50.0)
    grown = cloud.told()["DesiredCapacity"]
    assert grown >= 4
    measure(cloud, 25, one=1.0, two=49.0)
    assert cloud.told()["DesiredCapacity"] == grown
    measure(cloud, 40, one=1.0, two=1.0)
    assert cloud.told()["DesiredCapacity"] == 1


def test_a_policy_that_never_shrinks_has_no_say_in_shrinking(cloud):
    cloud.group(size=3, MinSize=1, DefaultInstanceWarmup=0)
    custom(cloud, "one")
    custom(cloud, "two", DisableScaleIn=True)
    measure(cloud, 25, one=1.0, two=49.0)
    assert cloud.told()["DesiredCapacity"] == 1


def test_a_metric_without_data_keeps_a_group_as_it_is(cloud):
    cloud.group(size=3, MinSize=1, DefaultInstanceWarmup=0)
    custom(cloud, "one")
    custom(cloud, "two")
    measure(cloud, 25, one=1.0)
    assert cloud.told()["DesiredCapacity"] == 3


def test_an_exact_capacity_and_a_share_of_it(cloud):
    cloud.group(size=4)
    simple(cloud, 7, AdjustmentType="ExactCapacity", Cooldown=0)
    cloud("ExecutePolicy", **G, PolicyName="p")
    assert cloud.told()["DesiredCapacity"] == 7
    simple(cloud, -10, AdjustmentType="PercentChangeInCapacity", MinAdjustmentMagnitude=2, Cooldown=0)
    cloud("ExecutePolicy", **G, PolicyName="p")
    assert cloud.told()["DesiredCapacity"] == 5


def test_machines_that_warm_up_count_for_the_next_step_and_hold_back_the_next_shrinking(cloud):
    """AWS: "Instance warmup" of step scaling: what is launched for one breach is not launched again for the same."""
    cloud.group(size=2)
    cloud.wait(1000)
    kind = {"PolicyType": "StepScaling", "AdjustmentType": "ChangeInCapacity", "EstimatedInstanceWarmup": 100}
    out = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 2}]
    into = [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -1}]
    cloud("PutScalingPolicy", **G, PolicyName="out", **kind, StepAdjustments=out)
    cloud("PutScalingPolicy", **G, PolicyName="in", **kind, StepAdjustments=into)
    high = {"MetricValue": 9.0, "BreachThreshold": 5.0}
    for _ in range(3):
        cloud("ExecutePolicy", **G, PolicyName="out", **high)
    assert cloud.told()["DesiredCapacity"] == 4
    cloud.boot()
    cloud("ExecutePolicy", **G, PolicyName="in", MetricValue=1.0, BreachThreshold=5.0)
    assert cloud.told()["DesiredCapacity"] == 4
    cloud.wait(200)
    cloud("ExecutePolicy", **G, PolicyName="in", MetricValue=1.0, BreachThreshold=5.0)
    assert cloud.told()["DesiredCapacity"] == 3
    cloud("ExecutePolicy", **G, PolicyName="out", **high)
    assert cloud.told()["DesiredCapacity"] == 5


def test_a_disabled_policy_does_nothing(cloud):
    cloud.group(size=1)
    simple(cloud, 1, Enabled=False)
    assert cloud.refused("ExecutePolicy", **G, PolicyName="p")[0] == "ValidationError"
    assert cloud.told()["DesiredCapacity"] == 1


def test_a_cooldown_of_nothing_is_let_in_with_a_target(cloud):
    """As Terraform's provider 5.100 sends it when it changes a policy."""
    cloud.group(size=0)
    config = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageNetworkIn"}, "TargetValue": 1.0}
    params = {"PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": config}
    cloud("PutScalingPolicy", **G, PolicyName="t", **params, Cooldown=0)
    assert cloud.refused("PutScalingPolicy", **G, PolicyName="t", **params, Cooldown=1)[0] == "ValidationError"


def test_alarms_are_passed_over_while_they_are_suspended(cloud):
    cloud.group(size=1)
    track(cloud)
    cloud("SuspendProcesses", **G, ScalingProcesses=["AlarmNotification"])
    cloud.measure(90.0, 5)
    assert cloud.told()["DesiredCapacity"] == 1


def test_predictive_scaling_is_refused_honestly(cloud):
    cloud.group(size=0)
    assert cloud.refused("PutScalingPolicy", **G, PolicyName="p", PolicyType="PredictiveScaling")[0] == "NotImplemented"


def test_metrics_of_a_higher_resolution_are_refused_honestly(cloud):
    cloud.group(size=0)
    config = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilizationHighResolution"}}
    params = {"PolicyType": "TargetTrackingScaling", "TargetTrackingConfiguration": config | {"TargetValue": 50.0}}
    assert cloud.refused("PutScalingPolicy", **G, PolicyName="p", **params)[0] == "NotImplemented"


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "params",
    [
        {"TargetTrackingConfiguration": tracking(NAN)},
        {"TargetTrackingConfiguration": tracking(INFINITE)},
        {"TargetTrackingConfiguration": {"CustomizedMetricSpecification": {"Metrics": EXPRESSION}, "TargetValue": 1.0}},
        {"StepAdjustments": [{"MetricIntervalLowerBound": NAN, "ScalingAdjustment": 1}]},
        {"StepAdjustments": [{"MetricIntervalUpperBound": INFINITE, "ScalingAdjustment": 1}]},
    ],
)
def test_what_nothing_can_be_compared_with_is_refused(cloud, params):
    cloud.group(size=0)
    kind = {"PolicyType": "TargetTrackingScaling"}
    if "StepAdjustments" in params:
        kind = {"PolicyType": "StepScaling", "AdjustmentType": "ChangeInCapacity"}
    assert cloud.refused("PutScalingPolicy", **G, PolicyName="p", **kind, **params)[0] == "ValidationError"
    assert cloud("DescribePolicies", **G)["ScalingPolicies"] == []


def in_s(cloud, seconds):
    return dt.datetime.fromtimestamp(cloud.clock.time + seconds, dt.UTC)


def test_a_scheduled_action_acts_at_its_time_and_is_gone(cloud):
    cloud.group(size=1)
    cloud("PutScheduledUpdateGroupAction", **G, ScheduledActionName="s", StartTime=in_s(cloud, 100), DesiredCapacity=3)
    cloud.wait(50)
    assert cloud.told()["DesiredCapacity"] == 1
    cloud.wait(60)
    assert cloud.told()["DesiredCapacity"] == 3
    assert (
        "a scheduled action update of AutoScalingGroup constraints to min: 0, max: 10, desired: 3"
        in cloud.activities()[0]["Cause"]
    )
    assert cloud("DescribeScheduledActions", **G)["ScheduledUpdateGroupActions"] == []


def test_a_recurring_action_acts_again_and_again_in_its_zone(cloud):
    cloud.group(size=1)
    params = {"ScheduledActionName": "s", "Recurrence": "0 9 * * *", "TimeZone": "Europe/Vienna", "DesiredCapacity": 2}
    cloud("PutScheduledUpdateGroupAction", **G, **params)
    (shown,) = cloud("DescribeScheduledActions", **G)["ScheduledUpdateGroupActions"]
    due = shown["StartTime"]
    assert dt.datetime.fromtimestamp(due, dt.UTC).hour == 7  # summer time
    cloud.wait(due - cloud.clock.time + 1)
    assert cloud.told()["DesiredCapacity"] == 2
    cloud("SetDesiredCapacity", **G, DesiredCapacity=1)
    cloud.wait(86400)
    assert cloud.told()["DesiredCapacity"] == 2


def test_a_recurring_action_with_a_start_acts_then_and_as_it_recurs_from_there(cloud):
    cloud.group(size=1)
    start = in_s(cloud, 100)
    params = {"ScheduledActionName": "s", "Recurrence": "0 9 * * *", "StartTime": start, "DesiredCapacity": 2}
    cloud("PutScheduledUpdateGroupAction", **G, **params)
    cloud.wait(110)
    assert cloud.told()["DesiredCapacity"] == 2
    (shown,) = cloud("DescribeScheduledActions", **G)["ScheduledUpdateGroupActions"]
    due = dt.datetime.fromtimestamp(shown["StartTime"], dt.UTC)
    assert due > start
    assert (due.hour, due.minute) == (9, 0)


def test_a_recurrence_that_never_comes_tells_no_time(cloud):
    cloud.group(size=1)
    cloud("PutScheduledUpdateGroupAction", **G, ScheduledActionName="s", Recurrence="0 9 31 2 *", DesiredCapacity=2)
    (shown,) = cloud("DescribeScheduledActions", **G)["ScheduledUpdateGroupActions"]
    assert not {"StartTime", "Time"} & set(shown)


def test_a_suspended_schedule_does_nothing(cloud):
    cloud.group(size=1)
    cloud("SuspendProcesses", **G, ScalingProcesses=["ScheduledActions"])
    cloud("PutScheduledUpdateGroupAction", **G, ScheduledActionName="s", StartTime=in_s(cloud, 100), DesiredCapacity=3)
    cloud.wait(110)
    assert cloud.told()["DesiredCapacity"] == 1
