"""Metrics of a simulated cloud, and those that gureum tells of itself, by boto3; everything by the second."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, until
from tests.quotas import ROOMY
from tests.wire.conftest import _running

DEFAULT_ACCOUNT = "000000000000"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = tmp_path_factory.mktemp("gureum")
    yield from _running(Cloud(home, simulate="true", metrics_period_s="1"), "up", "--simulate")


def told(client: Any, namespace: str, name: str, stat: str, **dimensions: str) -> list[float]:
    """By the second, of the last minute."""
    now = dt.datetime.now(dt.UTC)
    found = client.get_metric_statistics(
        Namespace=namespace, MetricName=name, Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - dt.timedelta(seconds=60), EndTime=now + dt.timedelta(seconds=5), Period=1, Statistics=[stat],
    )  # fmt: skip
    return [point[stat] for point in found["Datapoints"]]


def test_simulated_machines_are_idle_and_well(cloud: Cloud) -> None:
    ec2, cloudwatch = cloud.client("ec2"), cloud.client("cloudwatch")
    made = ec2.run_instances(ImageId=BUSYBOX, InstanceType=NANO, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[made], WaiterConfig={"Delay": 1})
    volume = ec2.describe_volumes()["Volumes"][0]["VolumeId"]
    for name in ("CPUUtilization", "NetworkOut", "StatusCheckFailed"):
        assert set(until(lambda name=name: told(cloudwatch, "AWS/EC2", name, "Maximum", InstanceId=made))) == {0.0}
    idle = until(lambda: told(cloudwatch, "AWS/EBS", "VolumeIdleTime", "Sum", VolumeId=volume))
    assert 0 < sum(idle) <= 66  # no more than the seconds that were asked for, and the tick before them
    ec2.terminate_instances(InstanceIds=[made])


def test_gureum_tells_of_itself_in_the_default_account(cloud: Cloud) -> None:
    ec2, cloudwatch = cloud.client("ec2"), cloud.client("cloudwatch", account=DEFAULT_ACCOUNT)
    commits = sum(told(cloudwatch, "Gureum", "Commits", "Sum"))
    for number in range(5):
        ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")
    with pytest.raises(ec2.exceptions.ClientError):
        ec2.delete_vpc(VpcId="vpc-0123456789abcdef0")
    until(lambda: sum(told(cloudwatch, "Gureum", "ApiErrors", "Sum", Service="ec2")) >= 1)
    assert sum(told(cloudwatch, "Gureum", "ApiCalls", "Sum", Service="ec2")) >= 6
    assert sum(told(cloudwatch, "Gureum", "ApiCalls", "Sum")) >= 6
    latencies = told(cloudwatch, "Gureum", "ApiLatency", "Maximum", Service="ec2")
    assert latencies
    assert all(0 <= seconds < 30 for seconds in latencies)
    assert sum(told(cloudwatch, "Gureum", "Commits", "Sum")) >= commits + 5
    names = {one["MetricName"] for one in cloudwatch.list_metrics(Namespace="Gureum")["Metrics"]}
    assert {"Reconciles", "ReconcileLag", "ReconcileQueue", "ApiFaults", "CPUUtilization", "AgentConnected"} <= names
    assert set(told(cloudwatch, "Gureum", "ApiFaults", "Sum")) == {0.0}
    assert cloud.client("cloudwatch").list_metrics(Namespace="Gureum")["Metrics"] == []


def test_what_is_used_of_a_quota_is_told_and_compared_with_it(cloud: Cloud) -> None:
    ec2, cloudwatch = cloud.client("ec2", account="777700000001"), cloud.client("cloudwatch", account="777700000001")
    ec2.create_internet_gateway()
    usage = {"Service": "VPC", "Type": "Resource", "Class": "None"}
    until(
        lambda: (
            told(cloudwatch, "AWS/Usage", "ResourceCount", "Maximum", Resource="InternetGatewaysPerRegion", **usage)[
                -1:
            ]
            == [2.0]
        )
    )
    assert set(told(cloudwatch, "AWS/Usage", "ResourceCount", "Maximum", Resource="VPCsPerRegion", **usage)) == {1.0}
    calls = {"Service": "EC2", "Type": "API", "Resource": "CreateInternetGateway", "Class": "None"}
    assert sum(until(lambda: told(cloudwatch, "AWS/Usage", "CallCount", "Sum", **calls))) == 1.0
    dimensions = [{"Name": name, "Value": value} for name, value in (usage | {"Resource": "VPCsPerRegion"}).items()]
    metric = {"Namespace": "AWS/Usage", "MetricName": "ResourceCount", "Dimensions": dimensions}
    now = dt.datetime.now(dt.UTC)
    found = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}, "ReturnData": False},
            {"Id": "e1", "Expression": "100 * m1 / SERVICE_QUOTA(m1)"},
        ],
        StartTime=now - dt.timedelta(seconds=60), EndTime=now + dt.timedelta(seconds=5),
    )  # fmt: skip
    assert set(found["MetricDataResults"][0]["Values"]) == {100 / ROOMY["quota_vpcs"]}
