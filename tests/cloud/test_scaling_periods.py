"""Target tracking at AWS's own periods: no setting makes anything faster. A busy machine makes its group grow after three minutes above the target,
an idle one makes it shrink after fifteen below nine tenths of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, until

TARGET = 4.0
GROUP = {"AutoScalingGroupName": "own-time"}
BUSY = "(while [ ! -e /tmp/end ]; do :; done) >/dev/null 2>&1 &"
OUT_LIMIT_S, IN_LIMIT_S = 600.0, 1500.0


class Stage:
    """A group of one to two machines with detailed monitoring that tracks its processors."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.asg, self.cloudwatch = cloud.client("autoscaling"), cloud.client("cloudwatch")
        data = {"ImageId": BUSYBOX, "InstanceType": NANO, "Monitoring": {"Enabled": True}}
        cloud.client("ec2").create_launch_template(LaunchTemplateName="own-time", LaunchTemplateData=data)
        self.asg.create_auto_scaling_group(
            **GROUP, MinSize=1, MaxSize=2, LaunchTemplate={"LaunchTemplateName": "own-time"}, AvailabilityZones=["us-east-1a"]
        )  # fmt: skip
        metric = {"PredefinedMetricType": "ASGAverageCPUUtilization"}
        self.asg.put_scaling_policy(
            **GROUP, PolicyName="cpu", PolicyType="TargetTrackingScaling",
            TargetTrackingConfiguration={"PredefinedMetricSpecification": metric, "TargetValue": TARGET},
        )  # fmt: skip

    def serving(self) -> list[str]:
        members = self.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
        return [one["InstanceId"] for one in members if one["LifecycleState"] == "InService"]

    def decided_on(self, which: str) -> list[float]:
        """The data points on which the alarm went into its state, which is ALARM."""
        alarms = self.cloudwatch.describe_alarms(AlarmNamePrefix="TargetTracking-own-time")["MetricAlarms"]
        (alarm,) = [one for one in alarms if f"-Alarm{which}-" in one["AlarmName"]]
        assert alarm["StateValue"] == "ALARM"
        return list(json.loads(alarm["StateReasonData"])["recentDatapoints"])


def patiently(look: Callable[[], Any], limit_s: float) -> Any:
    return until(look, limit_s, pause_s=1.0)


@pytest.mark.long
def test_a_tracked_group_grows_after_three_minutes_and_shrinks_after_fifteen(cloud: Cloud) -> None:
    stage = Stage(cloud)
    (first,) = until(stage.serving, 60)
    cloud.inside(first, "sh", "-c", BUSY)
    patiently(lambda: len(stage.serving()) == 2, OUT_LIMIT_S)
    above = stage.decided_on("High")
    assert len(above) == 3
    assert min(above) > TARGET
    cloud.inside(first, "touch", "/tmp/end")
    patiently(lambda: len(stage.serving()) == 1, IN_LIMIT_S)
    below = stage.decided_on("Low")
    assert len(below) == 15
    assert max(below) < TARGET * 0.9
    told = stage.asg.describe_scaling_activities(**GROUP)["Activities"]
    assert any("AlarmHigh" in one["Cause"] for one in told)
    assert any("AlarmLow" in one["Cause"] for one in told)
