"""Machines that break: status checks tell, alarms on them act on the machine, and a group replaces its own. Everything real, by the second."""

from __future__ import annotations

from typing import Any

from tests.cloud.running import BUSYBOX, BY_THE_SECOND, NANO, Cloud, until

SETTINGS = BY_THE_SECOND
GROUP = {"AutoScalingGroupName": "g"}
BREAK = ("ip", "link", "set", "eth0", "down")


def checks(cloud: Cloud, instance: str) -> tuple[str, ...]:
    """(system, instance, attached EBS)"""
    found = cloud.client("ec2").describe_instance_status(InstanceIds=[instance])["InstanceStatuses"]
    names = ("SystemStatus", "InstanceStatus", "AttachedEbsStatus")
    return tuple(found[0][name]["Status"] for name in names) if found else ()


def alarm(cloud: Cloud, instance: str, verb: str, metric: str = "StatusCheckFailed_Instance") -> None:
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{verb}-{instance}", Namespace="AWS/EC2", MetricName=metric, Statistic="Maximum", Period=60,
        Dimensions=[{"Name": "InstanceId", "Value": instance}], EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold", AlarmActions=[f"arn:aws:automate:us-east-1:ec2:{verb}"],
    )  # fmt: skip


def boot(cloud: Cloud, instance: str) -> str:
    """Something that a new boot changes: the start of PID 1."""
    return str(until(lambda: cloud.inside(instance, "cut", "-d", " ", "-f", "22", "/proc/1/stat").stdout)).strip()


def test_a_machine_that_answers_no_more_is_impaired_and_an_alarm_mends_it_by_a_reboot(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    ids = [one["InstanceId"] for one in cloud.launch(ec2, count=3)]
    rebooted, recovered, left = ids
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
    boots = {name: boot(cloud, name) for name in ids}
    for name in ids:
        cloud.inside(name, *BREAK)
    until(lambda: all(checks(cloud, name) == ("ok", "impaired", "ok") for name in ids))
    (shown,) = ec2.describe_instance_status(InstanceIds=[left])["InstanceStatuses"]
    assert shown["InstanceStatus"]["Details"][0]["ImpairedSince"]
    alarm(cloud, rebooted, "reboot")
    alarm(cloud, recovered, "recover")
    until(lambda: all(checks(cloud, name) == ("ok", "ok", "ok") for name in (rebooted, recovered)))
    assert boot(cloud, rebooted) != boots[rebooted]
    assert boot(cloud, recovered) != boots[recovered]
    assert checks(cloud, left) == ("ok", "impaired", "ok")
    cloud.inside(left, "ip", "link", "set", "eth0", "up")
    until(lambda: checks(cloud, left) == ("ok", "ok", "ok"))
    assert boot(cloud, left) == boots[left]
    ec2.terminate_instances(InstanceIds=ids)


def test_alarms_stop_and_terminate_broken_machines(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    stopped, terminated = (one["InstanceId"] for one in cloud.launch(ec2, count=2))
    alarm(cloud, stopped, "stop", "StatusCheckFailed")
    alarm(cloud, terminated, "terminate", "StatusCheckFailed")
    for name in (stopped, terminated):
        cloud.inside(name, *BREAK)
    cloud.until_state(ec2, [stopped], "stopped")
    cloud.until_state(ec2, [terminated], "terminated")
    (told,) = ec2.describe_instance_status(InstanceIds=[stopped], IncludeAllInstances=True)["InstanceStatuses"]
    assert told["InstanceStatus"]["Status"] == "not-applicable"
    ec2.terminate_instances(InstanceIds=[stopped])


def test_a_group_replaces_a_machine_that_is_impaired(cloud: Cloud) -> None:
    ec2, asg = cloud.client("ec2"), cloud.client("autoscaling")
    ec2.create_launch_template(
        LaunchTemplateName="small", LaunchTemplateData={"ImageId": BUSYBOX, "InstanceType": NANO}
    )
    template = {"LaunchTemplateName": "small"}
    asg.create_auto_scaling_group(
        **GROUP, MinSize=2, MaxSize=2, LaunchTemplate=template, AvailabilityZones=["us-east-1a"]
    )

    def members() -> list[Any]:
        found = asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"]
        return sorted(one["InstanceId"] for one in found if one["LifecycleState"] == "InService")

    broken, well = until(lambda: found if len(found := members()) == 2 else [], 60)
    cloud.inside(broken, *BREAK)
    until(lambda: len(found := members()) == 2 and broken not in found, 60)
    assert well in members()
    cloud.until_state(ec2, [broken], "terminated")
    causes = [one["Cause"] for one in asg.describe_scaling_activities(**GROUP)["Activities"]]
    assert any("in response to an EC2 instance status checks failure." in cause for cause in causes)
    asg.delete_auto_scaling_group(**GROUP, ForceDelete=True)
    until(lambda: not asg.describe_auto_scaling_groups()["AutoScalingGroups"], 60)
