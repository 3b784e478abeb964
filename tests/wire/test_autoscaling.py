"""Auto Scaling by boto3 against a simulated cloud: every operation that is built, states that move by themselves."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import BUSYBOX, NANO

ACCOUNT = "555500001111"
PATIENCE_S = 30
LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"


class Scaling:
    """A group of one account; `group` holds its name for calls."""

    def __init__(self, cloud: Any, account: str, name: str) -> None:
        self.asg = cloud.client("autoscaling", account=account)
        self.ec2 = cloud.client("ec2", account=account)
        self.elbv2 = cloud.client("elbv2", account=account)
        self.group = {"AutoScalingGroupName": name}

    def told(self) -> dict[str, Any]:
        found = self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[self.group["AutoScalingGroupName"]])
        return dict(found["AutoScalingGroups"][0])

    def states(self) -> list[str]:
        return sorted(one["LifecycleState"] for one in self.told()["Instances"])

    def ids(self) -> list[str]:
        return [one["InstanceId"] for one in self.told()["Instances"] if one["LifecycleState"] == "InService"]

    def replaced(self, gone: str, size: int = 1) -> str:
        """Waits until so many serve and the one that is gone is none of them; one that serves."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ids = self.ids()
            if len(ids) == size and gone not in ids:
                return ids[0]
            assert time.monotonic() < deadline, self.told()

    def until(self, *states: str) -> None:
        until(lambda: self.states() == sorted(states), self.told)


def until(holds: Callable[[], bool], told: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, told()


def code(call: Callable[..., Any], **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture
def scaling(simulated_cloud, request) -> Iterator[Scaling]:
    made = Scaling(simulated_cloud, ACCOUNT, request.node.name)
    name = f"t-{request.node.name}"
    data = {"ImageId": BUSYBOX, "InstanceType": NANO}
    made.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    made.asg.create_auto_scaling_group(
        **made.group, LaunchTemplate={"LaunchTemplateName": name}, MinSize=0, MaxSize=6, DesiredCapacity=2,
        AvailabilityZones=["us-east-1a", "us-east-1b"], Tags=[{"Key": "a", "Value": "b"}],
    )  # fmt: skip
    made.until("InService", "InService")
    yield made
    made.asg.delete_auto_scaling_group(**made.group, ForceDelete=True)
    until(lambda: made.group["AutoScalingGroupName"] not in names(made), made.told)


def names(scaling: Scaling) -> list[str]:
    return [one["AutoScalingGroupName"] for one in scaling.asg.describe_auto_scaling_groups()["AutoScalingGroups"]]


def test_the_count_is_kept_and_changed(scaling):
    asg, group = scaling.asg, scaling.group
    asg.set_desired_capacity(**group, DesiredCapacity=3)
    scaling.until(*["InService"] * 3)
    first = scaling.ids()[0]
    scaling.ec2.terminate_instances(InstanceIds=[first])
    scaling.replaced(first, size=3)
    asg.update_auto_scaling_group(**group, MaxSize=4, DesiredCapacity=1)
    scaling.until("InService")
    told = asg.describe_scaling_activities(**group)["Activities"]
    assert {one["StatusCode"] for one in told} == {"Successful"}
    assert len(told) >= 7
    assert (
        asg.describe_auto_scaling_instances(InstanceIds=scaling.ids())["AutoScalingInstances"][0]["HealthStatus"]
        == "HEALTHY"
    )
    assert code(asg.delete_auto_scaling_group, **group) == "ResourceInUse"
    assert code(asg.set_desired_capacity, AutoScalingGroupName="none", DesiredCapacity=1) == "ValidationError"


def test_single_instances(scaling):
    asg, group = scaling.asg, scaling.group
    first = scaling.ids()[0]
    asg.enter_standby(**group, InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    scaling.until("InService", "Standby")
    asg.exit_standby(**group, InstanceIds=[first])
    scaling.until("InService", "InService")
    asg.set_instance_protection(**group, InstanceIds=[first], ProtectedFromScaleIn=True)
    asg.set_desired_capacity(**group, DesiredCapacity=1)
    until(lambda: scaling.ids() == [first], scaling.told)
    asg.detach_instances(**group, InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    scaling.until()
    asg.attach_instances(**group, InstanceIds=[first])
    scaling.until("InService")
    asg.set_instance_health(InstanceId=first, HealthStatus="Unhealthy")
    third = scaling.replaced(first)
    asg.terminate_instance_in_auto_scaling_group(InstanceId=third, ShouldDecrementDesiredCapacity=True)
    scaling.until()


def test_hooks(scaling):
    asg, group = scaling.asg, scaling.group
    hook = group | {"LifecycleHookName": "up"}
    asg.put_lifecycle_hook(**hook, LifecycleTransition=LAUNCHING, HeartbeatTimeout=600)
    assert asg.describe_lifecycle_hooks(**group)["LifecycleHooks"][0]["GlobalTimeout"] == 60000
    assert LAUNCHING in asg.describe_lifecycle_hook_types()["LifecycleHookTypes"]
    asg.set_desired_capacity(**group, DesiredCapacity=3)
    scaling.until("InService", "InService", "Pending:Wait")
    (waiting,) = [one["InstanceId"] for one in scaling.told()["Instances"] if one["LifecycleState"] == "Pending:Wait"]
    asg.record_lifecycle_action_heartbeat(**hook, InstanceId=waiting)
    asg.complete_lifecycle_action(**hook, InstanceId=waiting, LifecycleActionResult="CONTINUE")
    scaling.until(*["InService"] * 3)
    asg.delete_lifecycle_hook(**hook)


def test_policies_and_schedules(scaling):
    asg, group = scaling.asg, scaling.group
    asg.put_scaling_policy(**group, PolicyName="p", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)
    asg.execute_policy(**group, PolicyName="p")
    scaling.until(*["InService"] * 3)
    assert [one["PolicyType"] for one in asg.describe_policies(**group)["ScalingPolicies"]] == ["SimpleScaling"]
    span = {"StartTime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "EndTime": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}
    assert code(asg.get_predictive_scaling_forecast, **group, PolicyName="p", **span) == "ValidationError"
    asg.delete_policy(**group, PolicyName="p")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    action = {"ScheduledActionName": "s", "StartTime": later, "DesiredCapacity": 1}
    asg.put_scheduled_update_group_action(**group, **action)
    scaling.until("InService")
    nightly = [{"ScheduledActionName": name, "Recurrence": f"{name} 3 * * *", "MinSize": 0} for name in ("1", "2", "3")]
    failed = asg.batch_put_scheduled_update_group_action(**group, ScheduledUpdateGroupActions=nightly)
    assert failed["FailedScheduledUpdateGroupActions"] == []
    assert len(asg.describe_scheduled_actions(**group)["ScheduledUpdateGroupActions"]) == 3
    asg.delete_scheduled_action(**group, ScheduledActionName="1")
    asg.batch_delete_scheduled_action(**group, ScheduledActionNames=["2", "3"])
    assert asg.describe_scheduled_actions(**group)["ScheduledUpdateGroupActions"] == []


def test_refreshes(scaling):
    asg, group = scaling.asg, scaling.group
    old = set(scaling.ids())
    asg.start_instance_refresh(**group, Preferences={"MinHealthyPercentage": 0, "InstanceWarmup": 0})

    def done() -> bool:
        return str(asg.describe_instance_refreshes(**group)["InstanceRefreshes"][0]["Status"]) == "Successful"

    until(done, scaling.told)
    assert not old & set(scaling.ids())
    asg.start_instance_refresh(**group, Preferences={"InstanceWarmup": 3600})
    asg.cancel_instance_refresh(**group)
    assert code(asg.rollback_instance_refresh, **group) == "ActiveInstanceRefreshNotFound"


def test_target_groups_and_traffic_sources(scaling):
    asg, group = scaling.asg, scaling.group
    vpc = scaling.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    made = scaling.elbv2.create_target_group(Name="targets", Protocol="HTTP", Port=80, VpcId=vpc)
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    asg.attach_load_balancer_target_groups(**group, TargetGroupARNs=[arn])
    told = scaling.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    assert sorted(one["Target"]["Id"] for one in told) == sorted(scaling.ids())
    assert (
        asg.describe_load_balancer_target_groups(**group)["LoadBalancerTargetGroups"][0]["LoadBalancerTargetGroupARN"]
        == arn
    )
    asg.detach_load_balancer_target_groups(**group, TargetGroupARNs=[arn])
    assert scaling.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"] == []
    source = [{"Identifier": arn, "Type": "elbv2"}]
    assert code(asg.attach_load_balancers, **group, LoadBalancerNames=["classic"]) == "ValidationError"
    assert code(asg.detach_load_balancers, **group, LoadBalancerNames=["classic"]) == "ValidationError"
    asg.attach_traffic_sources(**group, TrafficSources=source)
    assert [one["Identifier"] for one in asg.describe_traffic_sources(**group)["TrafficSources"]] == [arn]
    asg.detach_traffic_sources(**group, TrafficSources=source)
    assert asg.describe_load_balancers(**group)["LoadBalancers"] == []
    scaling.elbv2.delete_target_group(TargetGroupArn=arn)


def test_processes_metrics_tags_and_notifications(scaling):
    asg, group = scaling.asg, scaling.group
    name = group["AutoScalingGroupName"]
    asg.suspend_processes(**group, ScalingProcesses=["Launch"])
    assert [one["ProcessName"] for one in scaling.told()["SuspendedProcesses"]] == ["Launch"]
    asg.resume_processes(**group)
    asg.enable_metrics_collection(**group, Granularity="1Minute")
    assert len(scaling.told()["EnabledMetrics"]) == len(asg.describe_metric_collection_types()["Metrics"])
    asg.disable_metrics_collection(**group)
    assert scaling.told()["EnabledMetrics"] == []
    tag = {"ResourceId": name, "ResourceType": "auto-scaling-group", "Key": "k"}
    asg.create_or_update_tags(Tags=[tag | {"Value": "v", "PropagateAtLaunch": True}])
    told = asg.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": [name]}])["Tags"]
    assert {one["Key"]: one["Value"] for one in told} == {"a": "b", "k": "v"}
    asg.delete_tags(Tags=[tag])
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:topic"
    types = asg.describe_auto_scaling_notification_types()["AutoScalingNotificationTypes"]
    asg.put_notification_configuration(**group, TopicARN=topic, NotificationTypes=types)
    found = asg.describe_notification_configurations(AutoScalingGroupNames=[name])["NotificationConfigurations"]
    assert len(found) == len(types) == 5
    asg.delete_notification_configuration(**group, TopicARN=topic)
    assert code(asg.delete_notification_configuration, **group, TopicARN=topic) == "ValidationError"
    assert asg.describe_warm_pool(**group)["Instances"] == []
    asg.put_warm_pool(**group, MaxGroupPreparedCapacity=3)

    def warm() -> list[str]:
        return [one["LifecycleState"] for one in asg.describe_warm_pool(**group)["Instances"]]

    until(lambda: warm() == ["Warmed:Stopped"], warm)
    asg.set_desired_capacity(**group, DesiredCapacity=3)
    scaling.until(*["InService"] * 3)
    until(lambda: warm() == [], warm)
    asg.delete_warm_pool(**group)
    assert code(asg.delete_warm_pool, **group) == "ValidationError"
    assert code(asg.put_warm_pool, **group, PoolState="Hibernated") == "NotImplemented"


def test_launch_configurations_and_what_the_service_says_of_itself(scaling):
    asg = scaling.asg
    asg.create_launch_configuration(LaunchConfigurationName="lc", ImageId=BUSYBOX, InstanceType=NANO)
    assert (
        code(asg.create_launch_configuration, LaunchConfigurationName="lc", ImageId=BUSYBOX, InstanceType=NANO)
        == "AlreadyExists"
    )
    (shown,) = asg.describe_launch_configurations()["LaunchConfigurations"]
    assert (shown["ImageId"], shown["InstanceMonitoring"]) == (BUSYBOX, {"Enabled": True})
    asg.delete_launch_configuration(LaunchConfigurationName="lc")
    assert asg.describe_account_limits()["MaxNumberOfAutoScalingGroups"] == 500
    assert len(asg.describe_adjustment_types()["AdjustmentTypes"]) == 3
    assert "AZRebalance" in [one["ProcessName"] for one in asg.describe_scaling_process_types()["Processes"]]
    assert "Default" in asg.describe_termination_policy_types()["TerminationPolicyTypes"]


def test_a_launch_that_is_answered(scaling):
    asg, call = scaling.asg, {**scaling.group, "AvailabilityZones": ["us-east-1b"]}
    told = asg.launch_instances(**call, RequestedCapacity=1, ClientToken="once")
    (made,) = told["Instances"][0]["InstanceIds"]
    assert asg.launch_instances(**call, RequestedCapacity=1, ClientToken="once")["Instances"] == told["Instances"]
    scaling.until(*["InService"] * 3)
    assert made in scaling.ids()
    assert code(asg.launch_instances, **call, RequestedCapacity=4, ClientToken="more") == "ValidationError"
