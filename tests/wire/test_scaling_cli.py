"""Every operation of Auto Scaling, and every one of CloudWatch's alarms, by the `aws` command line against a simulated cloud. The command line is
AWS's own, run in this process, since its start takes longer than all that it does here."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from awscli.clidriver import create_clidriver
from botocore import xform_name

from gureum.engine.registry import Registry
from tests.cloud.running import BUSYBOX, Cloud, until

ACCOUNT = "555500007777"
ALARMS = (
    "PutMetricAlarm",
    "PutCompositeAlarm",
    "DescribeAlarms",
    "DescribeAlarmsForMetric",
    "DescribeAlarmHistory",
    "SetAlarmState",
    "EnableAlarmActions",
    "DisableAlarmActions",
    "DeleteAlarms",
)
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:topic"
GROUP = "--auto-scaling-group-name g"


class Cli:
    """`cli("autoscaling describe-policies …")` answers what the command prints; `called` are the commands that were run. `asg`: a quicker client, for
    waits."""

    def __init__(self, cloud: Cloud) -> None:
        self._url = cloud.url
        self.asg = cloud.client("autoscaling", account=ACCOUNT)
        self.called: set[str] = set()
        self._driver = create_clidriver()

    def __call__(self, line: str) -> Any:
        code, out, errors = self._run(line)
        assert code == 0, f"{line}\n{errors}"
        return json.loads(out) if out.strip() else None

    def refused(self, line: str) -> str:
        """The code of the error."""
        code, _, errors = self._run(line)
        assert code != 0, line
        return errors.partition("(")[2].partition(")")[0]

    def _run(self, line: str) -> tuple[int, str, str]:
        words = shlex.split(line)
        self.called.add(f"{words[0]} {words[1]}")
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = self._driver.main(["--endpoint-url", self._url, *words])
        return code, out.getvalue(), errors.getvalue()


@pytest.fixture
def cli(simulated_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cli:
    settings = {"ACCESS_KEY_ID": ACCOUNT, "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1", "PAGER": ""}
    for name, value in (settings | {"CONFIG_FILE": "/dev/null", "SHARED_CREDENTIALS_FILE": "/dev/null"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return Cli(simulated_cloud)


@pytest.fixture
def group(cli: Cli) -> Iterator[Callable[[int], list[str]]]:
    """A group of two; the fixture waits until so many are in service."""
    data = json.dumps({"ImageId": BUSYBOX, "InstanceType": "t3.nano"})
    cli(f"ec2 create-launch-template --launch-template-name cli --launch-template-data '{data}'")
    cli(
        f"autoscaling create-auto-scaling-group {GROUP} --launch-template LaunchTemplateName=cli --min-size 0 --max-size 6"
        " --desired-capacity 2 --availability-zones us-east-1a us-east-1b --tags Key=a,Value=b"
    )

    def serving(count: int) -> list[str]:
        def look() -> list[str]:
            members = cli.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
            return [one["InstanceId"] for one in members if one["LifecycleState"] == "InService"]

        until(lambda: len(look()) == count, 30)
        return look()

    serving(2)
    yield serving
    cli(f"autoscaling delete-auto-scaling-group {GROUP} --force-delete")
    until(lambda: not cli.asg.describe_auto_scaling_groups()["AutoScalingGroups"], 30)


def test_every_operation_of_auto_scaling(cli: Cli, group: Callable[[int], list[str]]) -> None:
    _what_the_service_says_of_itself(cli)
    _sizes_and_members(cli, group)
    _hooks(cli, group)
    _policies_and_schedules(cli, group)
    _targets(cli)
    _the_rest(cli, group)
    cli(f"autoscaling delete-auto-scaling-group {GROUP} --force-delete")
    until(lambda: not cli.asg.describe_auto_scaling_groups()["AutoScalingGroups"], 30)
    cli(
        f"autoscaling create-auto-scaling-group {GROUP} --launch-template LaunchTemplateName=cli --min-size 0 --max-size 0"
        " --availability-zones us-east-1a"
    )
    registry = Registry()
    registry.scan("gureum.aws.autoscaling")
    built = {name.partition(":")[2] for name in registry.marks("operation") if name.startswith("autoscaling:")}
    commands = {f"autoscaling {xform_name(name, '-')}" for name in built}
    assert commands - cli.called == set()


def _what_the_service_says_of_itself(cli: Cli) -> None:
    for what, member in (
        ("account-limits", "MaxNumberOfAutoScalingGroups"), ("adjustment-types", "AdjustmentTypes"),
        ("auto-scaling-notification-types", "AutoScalingNotificationTypes"), ("lifecycle-hook-types", "LifecycleHookTypes"),
        ("metric-collection-types", "Granularities"), ("scaling-process-types", "Processes"),
        ("termination-policy-types", "TerminationPolicyTypes"),
    ):  # fmt: skip
        assert cli(f"autoscaling describe-{what}")[member]
    cli(
        f"autoscaling create-launch-configuration --launch-configuration-name lc --image-id {BUSYBOX} --instance-type t3.nano"
    )
    assert cli("autoscaling describe-launch-configurations")["LaunchConfigurations"][0]["ImageId"] == BUSYBOX
    cli("autoscaling delete-launch-configuration --launch-configuration-name lc")


def _sizes_and_members(cli: Cli, group: Callable[[int], list[str]]) -> None:
    cli(f"autoscaling update-auto-scaling-group {GROUP} --max-size 5 --health-check-type ELB,EBS")
    cli(f"autoscaling set-desired-capacity {GROUP} --desired-capacity 3")
    one, two, three = group(3)
    cli(f"autoscaling enter-standby {GROUP} --instance-ids {one} --should-decrement-desired-capacity")
    group(2)
    until(lambda: _state(cli, one) == "Standby", 30)
    cli(f"autoscaling exit-standby {GROUP} --instance-ids {one}")
    group(3)
    cli(f"autoscaling detach-instances {GROUP} --instance-ids {one} --should-decrement-desired-capacity")
    until(lambda: _state(cli, one) == "", 30)
    cli(f"autoscaling attach-instances {GROUP} --instance-ids {one}")
    group(3)
    cli(f"autoscaling set-instance-protection {GROUP} --instance-ids {one} --protected-from-scale-in")
    cli(f"autoscaling set-instance-health --instance-id {two} --health-status Unhealthy")
    until(lambda: _state(cli, two) == "", 30)
    group(3)
    cli(
        f"autoscaling terminate-instance-in-auto-scaling-group --instance-id {three} --should-decrement-desired-capacity"
    )
    group(2)
    made = cli(
        f"autoscaling launch-instances {GROUP} --requested-capacity 1 --client-token more --availability-zones us-east-1a"
    )
    assert made["AutoScalingGroupName"]
    group(3)
    cli(f"autoscaling set-desired-capacity {GROUP} --desired-capacity 2")
    group(2)
    assert cli("autoscaling describe-auto-scaling-instances")["AutoScalingInstances"]
    assert len(cli("autoscaling describe-auto-scaling-groups")["AutoScalingGroups"]) == 1
    assert cli(f"autoscaling describe-scaling-activities {GROUP} --max-items 3")["Activities"]


def _state(cli: Cli, id_: str) -> str:
    found = cli.asg.describe_auto_scaling_instances(InstanceIds=[id_])["AutoScalingInstances"]
    return str(found[0]["LifecycleState"]) if found else ""


def _hooks(cli: Cli, group: Callable[[int], list[str]]) -> None:
    hook = f"{GROUP} --lifecycle-hook-name up"
    cli(
        f"autoscaling put-lifecycle-hook {hook} --lifecycle-transition autoscaling:EC2_INSTANCE_LAUNCHING --heartbeat-timeout 60"
        f" --notification-target-arn {TOPIC} --role-arn arn:aws:iam::{ACCOUNT}:role/r"
    )
    assert cli(f"autoscaling describe-lifecycle-hooks {GROUP}")["LifecycleHooks"][0]["NotificationTargetARN"] == TOPIC
    cli(f"autoscaling set-desired-capacity {GROUP} --desired-capacity 3")

    def waiting() -> list[str]:
        members = cli.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
        return [one["InstanceId"] for one in members if one["LifecycleState"] == "Pending:Wait"]

    (id_,) = until(waiting, 30)
    cli(f"autoscaling record-lifecycle-action-heartbeat {hook} --instance-id {id_}")
    cli(f"autoscaling complete-lifecycle-action {hook} --instance-id {id_} --lifecycle-action-result CONTINUE")
    group(3)
    cli(f"autoscaling delete-lifecycle-hook {hook}")


def _policies_and_schedules(cli: Cli, group: Callable[[int], list[str]]) -> None:
    cli(
        f"autoscaling put-scaling-policy {GROUP} --policy-name p --adjustment-type ExactCapacity --scaling-adjustment 2"
    )
    steps = "MetricIntervalLowerBound=0,MetricIntervalUpperBound=10,ScalingAdjustment=1 MetricIntervalLowerBound=10,ScalingAdjustment=2"
    cli(
        f"autoscaling put-scaling-policy {GROUP} --policy-name s --policy-type StepScaling --adjustment-type ChangeInCapacity"
        f" --step-adjustments {steps}"
    )
    tracking = json.dumps(
        {"PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"}, "TargetValue": 50}
    )
    made = cli(
        f"autoscaling put-scaling-policy {GROUP} --policy-name t --policy-type TargetTrackingScaling"
        f" --target-tracking-configuration '{tracking}'"
    )
    assert len(made["Alarms"]) == 2
    cli(f"autoscaling execute-policy {GROUP} --policy-name p")
    group(2)
    range_ = "--start-time 2026-01-01T00:00:00Z --end-time 2026-01-02T00:00:00Z"
    forecast = f"autoscaling get-predictive-scaling-forecast {GROUP} --policy-name p {range_}"
    assert cli.refused(forecast) == "ValidationError"
    assert [one["PolicyName"] for one in cli(f"autoscaling describe-policies {GROUP}")["ScalingPolicies"]] == [
        "p",
        "s",
        "t",
    ]
    for name in ("p", "s", "t"):
        cli(f"autoscaling delete-policy {GROUP} --policy-name {name}")
    later = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    action = f"--scheduled-action-name later --start-time {later} --desired-capacity 1"
    cli(f"autoscaling put-scheduled-update-group-action {GROUP} {action}")
    nightly = "ScheduledActionName=n,Recurrence='0 3 * * *',MinSize=0"
    cli(f"autoscaling batch-put-scheduled-update-group-action {GROUP} --scheduled-update-group-actions {nightly}")
    found = cli(f"autoscaling describe-scheduled-actions {GROUP}")["ScheduledUpdateGroupActions"]
    assert {one["ScheduledActionName"] for one in found} == {"later", "n"}
    cli(f"autoscaling delete-scheduled-action {GROUP} --scheduled-action-name later")
    cli(f"autoscaling batch-delete-scheduled-action {GROUP} --scheduled-action-names n")


def _targets(cli: Cli) -> None:
    vpc = cli("ec2 describe-vpcs")["Vpcs"][0]["VpcId"]
    made = cli(f"elbv2 create-target-group --name cli --protocol HTTP --port 80 --vpc-id {vpc}")
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    cli(f"autoscaling attach-load-balancer-target-groups {GROUP} --target-group-arns {arn}")
    assert cli(f"autoscaling describe-load-balancer-target-groups {GROUP}")["LoadBalancerTargetGroups"]
    cli(f"autoscaling detach-load-balancer-target-groups {GROUP} --target-group-arns {arn}")
    assert cli.refused(f"autoscaling attach-load-balancers {GROUP} --load-balancer-names classic") == "ValidationError"
    cli(f"autoscaling attach-traffic-sources {GROUP} --traffic-sources Identifier={arn},Type=elbv2")
    assert cli(f"autoscaling describe-traffic-sources {GROUP}")["TrafficSources"]
    cli(f"autoscaling detach-traffic-sources {GROUP} --traffic-sources Identifier={arn},Type=elbv2")
    assert cli.refused(f"autoscaling detach-load-balancers {GROUP} --load-balancer-names classic") == "ValidationError"
    assert cli(f"autoscaling describe-load-balancers {GROUP}")["LoadBalancers"] == []


def _the_rest(cli: Cli, group: Callable[[int], list[str]]) -> None:
    cli(f"autoscaling suspend-processes {GROUP} --scaling-processes AZRebalance")
    cli(f"autoscaling resume-processes {GROUP}")
    cli(f"autoscaling enable-metrics-collection {GROUP} --granularity 1Minute")
    cli(f"autoscaling disable-metrics-collection {GROUP} --metrics GroupMinSize")
    tag = "ResourceId=g,ResourceType=auto-scaling-group,Key=k"
    cli(f"autoscaling create-or-update-tags --tags {tag},Value=v,PropagateAtLaunch=true")
    assert {one["Key"] for one in cli("autoscaling describe-tags")["Tags"]} == {"a", "k"}
    cli(f"autoscaling delete-tags --tags {tag}")
    topic = f"{GROUP} --topic-arn {TOPIC}"
    cli(f"autoscaling put-notification-configuration {topic} --notification-types autoscaling:EC2_INSTANCE_LAUNCH")
    assert cli("autoscaling describe-notification-configurations")["NotificationConfigurations"]
    cli(f"autoscaling delete-notification-configuration {topic}")
    cli(f"autoscaling put-warm-pool {GROUP} --min-size 1 --max-group-prepared-capacity 0")

    def warm() -> list[str]:
        return [one["LifecycleState"] for one in cli.asg.describe_warm_pool(AutoScalingGroupName="g")["Instances"]]

    until(lambda: warm() == ["Warmed:Stopped"], 30)
    assert cli(f"autoscaling describe-warm-pool {GROUP}")["WarmPoolConfiguration"]["MinSize"] == 1
    cli(f"autoscaling delete-warm-pool {GROUP} --force-delete")
    until(lambda: warm() == [], 30)
    wanted = f"{GROUP} --preferences InstanceWarmup=3600,MinHealthyPercentage=50"
    cli(f"autoscaling start-instance-refresh {wanted}")
    assert cli.refused(f"autoscaling rollback-instance-refresh {GROUP}") == "IrreversibleInstanceRefresh"
    cli(f"autoscaling cancel-instance-refresh {GROUP} --no-wait-for-transitioning-instances")
    assert cli(f"autoscaling describe-instance-refreshes {GROUP}")["InstanceRefreshes"][0]["Status"] == "Cancelled"
    group(2)


def test_every_operation_of_alarms(cli: Cli) -> None:
    metric = "--namespace app --metric-name load"
    rule = f"{metric} --statistic Sum --period 60 --evaluation-periods 1 --threshold 1 --comparison-operator GreaterThanThreshold"
    cli(f"cloudwatch put-metric-alarm --alarm-name high {rule} --alarm-actions {TOPIC}")
    cli("cloudwatch put-composite-alarm --alarm-name both --alarm-rule 'ALARM(high)'")
    cli("cloudwatch disable-alarm-actions --alarm-names high")
    cli("cloudwatch enable-alarm-actions --alarm-names high")
    cli("cloudwatch set-alarm-state --alarm-name high --state-value ALARM --state-reason 'by hand'")
    kinds = "--alarm-types MetricAlarm CompositeAlarm --state-value ALARM"
    until(lambda: len(cli(f"cloudwatch describe-alarms {kinds}")["CompositeAlarms"]) == 1, 30)
    assert cli(f"cloudwatch describe-alarms-for-metric {metric}")["MetricAlarms"][0]["AlarmName"] == "high"

    def acted() -> list[Any]:
        line = "cloudwatch describe-alarm-history --alarm-name high --history-item-type Action"
        return list(cli(line)["AlarmHistoryItems"])

    assert until(acted, 30)[0]["HistorySummary"].startswith("Successfully executed action")
    assert cli.refused("cloudwatch delete-alarms --alarm-names high") == "ValidationError"
    cli("cloudwatch delete-alarms --alarm-names both")
    cli("cloudwatch delete-alarms --alarm-names high")
    assert {f"cloudwatch {xform_name(name, '-')}" for name in ALARMS} - cli.called == set()
