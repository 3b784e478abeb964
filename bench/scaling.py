"""From an alarm to an instance that takes traffic, and 1,000 alarms at once. Needs root. Real machines, a real load balancer.

    python -m bench.scaling [--rounds 10]

A group of one small machine stands behind an ALB. Each round an alarm with a step policy goes off, and the times from the answer of SetAlarmState
are taken until the group is larger (desired), the new member is in service, the load balancer calls it healthy, and it has answered a request through
the load balancer; then the group shrinks again. "breach" begins with the data point that the alarm looks at (setting `alarm_evaluation_s` 0.5).
Afterwards 1,000 alarms on metrics with data are there, and the same is measured while all of them are evaluated twice a second.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from bench.clouds import Gureum, machine
from gureum.aws.ec2.images.images import BUILTINS

ALARMS = 1000
EVALUATION_S = 0.5
GROUP = {"AutoScalingGroupName": "bench"}
PAGE = "#!/bin/sh\nmkdir -p /www\nhostname > /www/index.html\nhttpd -p 80 -h /www\n"
STEPS = ("desired", "in service", "healthy", "answered", "breach to answered")
LIMIT_S = 60.0


class Stage:
    """The group, its load balancer and its alarm."""

    def __init__(self, cloud: Gureum) -> None:
        def client(service: str) -> Any:
            return boto3.client(
                service, endpoint_url=f"http://127.0.0.1:{cloud.port}", region_name="us-east-1", aws_access_key_id="000000000000",
                aws_secret_access_key="test", config=Config(retries={"max_attempts": 4}),
            )  # fmt: skip

        self.ec2, self.elb, self.asg, self.watch = map(client, ("ec2", "elbv2", "autoscaling", "cloudwatch"))
        subnets = self.ec2.describe_subnets()["Subnets"][:2]
        vpc, ids = subnets[0]["VpcId"], [one["SubnetId"] for one in subnets]
        group = self.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])
        self.ec2.authorize_security_group_ingress(
            GroupId=group["SecurityGroups"][0]["GroupId"], IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0"
        )
        balancer = self.elb.create_load_balancer(Name="bench", Subnets=ids)["LoadBalancers"][0]["LoadBalancerArn"]
        made = self.elb.create_target_group(
            Name="bench", Protocol="HTTP", Port=80, VpcId=vpc, HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2
        )
        self.targets = made["TargetGroups"][0]["TargetGroupArn"]
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
        self.elb.modify_target_group_attributes(TargetGroupArn=self.targets, Attributes=delay)
        forward = [{"Type": "forward", "TargetGroupArn": self.targets}]
        self.elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=forward)
        data = {
            "ImageId": BUILTINS[0].id,
            "InstanceType": "t3.nano",
            "UserData": base64.b64encode(PAGE.encode()).decode(),
        }
        self.ec2.create_launch_template(LaunchTemplateName="bench", LaunchTemplateData=data)
        self.asg.create_auto_scaling_group(
            **GROUP, MinSize=1, MaxSize=2, LaunchTemplate={"LaunchTemplateName": "bench"}, VPCZoneIdentifier=",".join(ids),
            TargetGroupARNs=[self.targets], DefaultInstanceWarmup=0,
        )  # fmt: skip
        policy = self.asg.put_scaling_policy(
            **GROUP, PolicyName="out", PolicyType="StepScaling", AdjustmentType="ChangeInCapacity",
            StepAdjustments=[{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        )["PolicyARN"]  # fmt: skip
        self.alarm(0, policy)
        wait(lambda: len(self.healthy()) == 1)
        filters = [{"Name": "description", "Values": ["ELB " + balancer.partition(":loadbalancer/")[2]]}]
        found = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        self.address = found[0]["Association"]["PublicIp"]

    def alarm(self, number: int, action: str = "") -> None:
        self.watch.put_metric_alarm(
            AlarmName=f"a{number}", Namespace="bench", MetricName=f"m{number}", Statistic="Maximum", Period=60,
            EvaluationPeriods=1, Threshold=10, ComparisonOperator="GreaterThanThreshold", TreatMissingData="notBreaching",
            AlarmActions=[action] if action else [],
        )  # fmt: skip

    def put(self, value: float, *numbers: int) -> None:
        data = [{"MetricName": f"m{number}", "Value": value, "StorageResolution": 1} for number in numbers]
        self.watch.put_metric_data(Namespace="bench", MetricData=data)

    def group(self) -> dict[str, Any]:
        return dict(self.asg.describe_auto_scaling_groups()["AutoScalingGroups"][0])

    def serving(self) -> int:
        return sum(one["LifecycleState"] == "InService" for one in self.group()["Instances"])

    def healthy(self) -> list[str]:
        found = self.elb.describe_target_health(TargetGroupArn=self.targets)["TargetHealthDescriptions"]
        return [one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] == "healthy"]

    def answers(self) -> set[str]:
        """Who answers four requests, one after the other."""
        return {self._fetch() for _ in range(4)} - {""}

    def _fetch(self) -> str:
        connection = http.client.HTTPConnection(self.address, 80, timeout=5)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            text = answer.read().decode().strip()
            return text if answer.status == 200 else ""
        except OSError:
            return ""
        finally:
            connection.close()

    def round(self, *, breach: bool) -> dict[str, float]:
        """Seconds of each step."""
        begin = time.perf_counter()
        if breach:
            self.put(20.0, 0)
        else:
            data = json.dumps({"recentDatapoints": [20.0]})
            self.watch.set_alarm_state(AlarmName="a0", StateValue="ALARM", StateReason="bench", StateReasonData=data)
            begin = time.perf_counter()
        times = {"desired": wait(lambda: self.group()["DesiredCapacity"] == 2, begin)}
        times["in service"] = wait(lambda: self.serving() == 2, begin)
        times["healthy"] = wait(lambda: len(self.healthy()) == 2, begin)
        times["answered"] = wait(lambda: len(self.answers()) == 2, begin)
        self.back()
        return {"breach to answered": times["answered"]} if breach else times

    def back(self) -> None:
        """One machine, and an alarm that is OK for want of data."""
        self.watch.set_alarm_state(AlarmName="a0", StateValue="OK", StateReason="bench")
        wait(lambda: self.watch.describe_alarms(AlarmNames=["a0"])["MetricAlarms"][0]["StateValue"] == "OK", hold_s=2.5)
        self.asg.set_desired_capacity(**GROUP, DesiredCapacity=1)
        wait(lambda: len(self.group()["Instances"]) == 1 and len(self.healthy()) == 1)


def wait(look: Callable[[], bool], begin: float | None = None, hold_s: float = 0.0) -> float:
    """Seconds from `begin` until `look` says yes; `hold_s`: for so long without a break."""
    begin = time.perf_counter() if begin is None else begin
    since = 0.0
    while True:
        now = time.perf_counter()
        if look():
            since = since or now
            if now - since >= hold_s:
                return time.perf_counter() - begin
        else:
            since = 0.0
        if now - begin > LIMIT_S:
            raise TimeoutError("it did not come about")
        time.sleep(0.002)


def measure(stage: Stage, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in STEPS}
    for breach in itertools.islice(itertools.cycle((False, True)), 2 * rounds):
        for name, seconds in stage.round(breach=breach).items():
            found[name].append(seconds)
    return found


def show(title: str, found: dict[str, list[float]]) -> None:
    print(title)
    for name in STEPS:
        values = sorted(found[name])
        print(
            f"  {name:20} median {statistics.median(values):6.3f} s   least {values[0]:6.3f}   most {values[-1]:6.3f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("SKIPPED: machines need root")
        return 0
    print(machine())
    cloud = Gureum(alarm_evaluation_s=str(EVALUATION_S), alarm_minute_s="2", metrics_period_s="60")
    try:
        cloud.start()
        stage = Stage(cloud)
        show("one alarm", measure(stage, arguments.rounds))
        for number in range(1, ALARMS):
            stage.alarm(number)
        for first in range(1, ALARMS, 500):
            stage.put(1.0, *range(first, min(first + 500, ALARMS)))
        show(f"{ALARMS} alarms, each evaluated every {EVALUATION_S} s", measure(stage, arguments.rounds))
    finally:
        cloud.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
