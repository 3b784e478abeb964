"""The whole loop, everything real: load on an ALB ─► metric ─► alarm ─► policy ─► launch ─► healthy target ─► traffic, and back again."""

from __future__ import annotations

import base64
import http.client
import threading
from collections import Counter
from typing import Any, Self

import pytest

from tests.cloud.running import BUSYBOX, BY_THE_SECOND, NANO, PAGE, Cloud, until

SETTINGS = {**BY_THE_SECOND, "scaling_low_periods": "3", "scaling_warmup_s": "2"}


class Load:
    """Requests from one thread, `pause_s` apart; counts who answered."""

    def __init__(self, address: str, pause_s: float = 0.005) -> None:
        self.answers: Counter[str] = Counter()
        self.failed: list[str] = []
        self._address, self._pause_s = address, pause_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                status, text = fetch(self._address)
            except OSError as error:
                self.failed.append(str(error))
                continue
            self.answers[text if status == 200 else str(status)] += 1
            self._ending.wait(self._pause_s)


def fetch(address: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, 80, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()


class Stage:
    """An ALB and an Auto Scaling group behind it in the default VPC."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ec2, self.elb, self.asg = (cloud.client(name) for name in ("ec2", "elbv2", "autoscaling"))
        subnets = sorted(self.ec2.describe_subnets()["Subnets"], key=lambda one: one["AvailabilityZone"])[:2]
        vpc = subnets[0]["VpcId"]
        named = [{"Name": "group-name", "Values": ["default"]}]
        group = self.ec2.describe_security_groups(Filters=named)["SecurityGroups"][0]["GroupId"]
        self.ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
        )
        self.subnets = [one["SubnetId"] for one in subnets]
        made = self.elb.create_load_balancer(Name="front", Subnets=self.subnets)["LoadBalancers"][0]
        self.balancer = str(made["LoadBalancerArn"])
        made = self.elb.create_target_group(
            Name="web", Protocol="HTTP", Port=80, VpcId=vpc, HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2,
            HealthyThresholdCount=2, UnhealthyThresholdCount=2,
        )["TargetGroups"][0]  # fmt: skip
        self.targets = str(made["TargetGroupArn"])
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        self.elb.modify_target_group_attributes(TargetGroupArn=self.targets, Attributes=delay)
        forward = [{"Type": "forward", "TargetGroupArn": self.targets}]
        self.elb.create_listener(LoadBalancerArn=self.balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
        data = {"ImageId": BUSYBOX, "InstanceType": NANO, "UserData": base64.b64encode(PAGE.encode()).decode()}
        self.ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName="web", MinSize=1, MaxSize=3, LaunchTemplate={"LaunchTemplateName": "web"},
            VPCZoneIdentifier=",".join(self.subnets), TargetGroupARNs=[self.targets], HealthCheckType="ELB", HealthCheckGracePeriod=5,
        )  # fmt: skip

    @property
    def address(self) -> str:
        description = "ELB " + self.balancer.partition(":loadbalancer/")[2]
        filters = [{"Name": "description", "Values": [description]}]
        found = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        return self.cloud.own(found[0]["Association"]["PublicIp"])

    @property
    def members(self) -> list[dict[str, Any]]:
        return list(self.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"])

    def serving(self) -> list[str]:
        found = self.elb.describe_target_health(TargetGroupArn=self.targets)["TargetHealthDescriptions"]
        return sorted(one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] == "healthy")


@pytest.fixture(scope="module")
def stage(cloud: Cloud) -> Stage:
    made = Stage(cloud)
    until(lambda: len(made.serving()) == 1, 60)
    until(lambda: fetch(made.address)[0] == 200, 30)
    return made


def test_load_makes_the_group_grow_and_its_end_makes_it_shrink(stage: Stage) -> None:
    label = f"{stage.balancer.partition(':loadbalancer/')[2]}/{stage.targets.rpartition(':')[2]}"
    metric = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}
    stage.asg.put_scaling_policy(
        AutoScalingGroupName="web",
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={"PredefinedMetricSpecification": metric, "TargetValue": 20.0},
    )
    with Load(stage.address) as load:
        until(lambda: len(stage.serving()) >= 2, 90)
        load.answers.clear()
        until(lambda: len([text for text in load.answers if text.startswith("hello")]) >= 2, 30)
    assert load.failed == []
    activities = stage.asg.describe_scaling_activities(AutoScalingGroupName="web")["Activities"]
    assert any("a monitor alarm TargetTracking-web-AlarmHigh" in one["Cause"] for one in activities)
    # AWS: without any request the metric has no data, and a group does not shrink on what is unknown.
    with Load(stage.address, pause_s=0.4) as trickle:
        until(lambda: len(stage.members) == 1, 120)
    assert trickle.failed == []
    states = {
        one["AlarmName"]: one["StateValue"]
        for one in stage.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    }
    assert any(name.startswith("TargetTracking-web-AlarmLow") for name in states)


def test_a_machine_that_dies_is_replaced(stage: Stage) -> None:
    (member,) = until(lambda: [one for one in stage.members if one["LifecycleState"] == "InService"], 30)
    stage.ec2.terminate_instances(InstanceIds=[member["InstanceId"]])
    until(lambda: stage.serving() and member["InstanceId"] not in stage.serving(), 60)
    until(lambda: fetch(stage.address)[0] == 200, 30)


def test_a_machine_whose_server_dies_is_replaced_by_elb_health(stage: Stage) -> None:
    (member,) = until(lambda: [one for one in stage.members if one["LifecycleState"] == "InService"], 30)
    stage.cloud.inside(member["InstanceId"], "killall", "httpd")
    until(lambda: stage.serving() and member["InstanceId"] not in stage.serving(), 90)
    causes = [one["Cause"] for one in stage.asg.describe_scaling_activities(AutoScalingGroupName="web")["Activities"]]
    assert any("ELB system health check failure" in cause for cause in causes)
