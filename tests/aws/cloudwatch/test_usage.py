"""AWS/Usage and SERVICE_QUOTA: what is counted, against which quota, and an alarm on it (AWS: "Visualizing your service quotas")."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gureum.aws.ec2.networks.kinds import InternetGateway
from gureum.aws.services import built_services
from gureum.aws.usage import SERVICES, USAGES, quota_of
from gureum.base.settings import Settings
from gureum.engine.resource import Meta
from gureum.usage_metrics import usage_datums
from tests.aws.cloudwatch.conftest import ACCOUNT, NOON, REGION, Watch, stamp_of

SCOPE = f"{ACCOUNT}/{REGION}"
GATEWAYS = {"Service": "VPC", "Type": "Resource", "Resource": "InternetGatewaysPerRegion", "Class": "None"}


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(tmp_path, quota_internet_gateways=4)
    watch.world.load("gureum.aws.ec2")
    yield watch
    watch.stop()


def make(watch: Watch, *names: str) -> None:
    transaction = watch.world.client.transaction()
    for name in names:
        transaction.create(InternetGateway(meta=Meta(scope=SCOPE, name=name, uid=name, created=NOON)))
    watch.loop.run_until_complete(transaction.commit())


def publish(watch: Watch, calls: dict[tuple[str, str, str], int] | None = None) -> None:
    datums = list(usage_datums(watch.world, calls or {}, int(watch.clock.time * 1000), 60))
    watch.loop.run_until_complete(watch.metrics.write(datums))


def metric(dimensions: dict[str, str], name: str = "ResourceCount", id_: str = "m1") -> dict[str, Any]:
    shown = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    stat = {
        "Metric": {"Namespace": "AWS/Usage", "MetricName": name, "Dimensions": shown},
        "Period": 60,
        "Stat": "Maximum",
    }
    return {"Id": id_, "MetricStat": stat, "ReturnData": False}


def test_every_service_that_is_built_has_its_name_and_no_usage_is_told_twice() -> None:
    assert SERVICES.keys() == {folder.replace("_", "-") for folder in built_services()}
    assert len({usage.dimensions for usage in USAGES}) == len(USAGES)


def test_quotas_come_from_the_settings() -> None:
    dimensions = tuple(GATEWAYS.items())
    assert quota_of("ResourceCount", dimensions, Settings(quota_internet_gateways=7)) == 7
    assert quota_of("CallCount", dimensions, Settings()) is None
    assert quota_of("ResourceCount", (("Resource", "vCPU"),), Settings()) is None
    vcpus = next(usage for usage in USAGES if usage.class_ == "Standard/OnDemand")
    assert quota_of("ResourceCount", vcpus.dimensions, Settings()) is None
    assert quota_of("ResourceCount", vcpus.dimensions, Settings(quota_on_demand_vcpus=32)) == 32
    without = [usage.resource for usage in USAGES if not quota_of("ResourceCount", usage.dimensions, Settings())]
    assert without == ["vCPU", "vCPU"]


def test_what_is_there_is_counted_and_what_is_not_there_too(region: Watch) -> None:
    make(region, "igw-1", "igw-2")
    told = {one.series: one.sum for one in usage_datums(region.world, {(SCOPE, "logs", "PutLogEvents"): 3}, 0, 60)}
    assert {series.scope for series in told} == {SCOPE}
    by_resource = {
        (series.name, dict(series.dimensions)["Service"], dict(series.dimensions)["Resource"]): value
        for series, value in told.items()
    }
    assert by_resource["ResourceCount", "VPC", "InternetGatewaysPerRegion"] == 2
    assert by_resource["ResourceCount", "AutoScaling", "NumberOfAutoScalingGroup"] == 0
    assert by_resource["CallCount", "Logs", "PutLogEvents"] == 3
    assert len(told) == len(USAGES) + 1


def test_the_share_of_a_quota_raises_an_alarm(region: Watch) -> None:
    share = {"Id": "e1", "Expression": "m1 / SERVICE_QUOTA(m1) * 100"}
    region.alarm(
        "full", Metrics=[metric(GATEWAYS), share], Threshold=80.0, ComparisonOperator="GreaterThanOrEqualToThreshold"
    )
    make(region, "igw-1")
    publish(region)
    region.clock.time += 60
    region.evaluate()
    assert region.state("full") == "OK"
    make(region, "igw-2", "igw-3", "igw-4")
    publish(region)
    region.clock.time += 60
    region.evaluate()
    assert region.state("full") == "ALARM"
    found = region(
        "GetMetricData",
        MetricDataQueries=[metric(GATEWAYS), share],
        StartTime=stamp_of(NOON),
        EndTime=stamp_of(NOON + 120),
    )
    assert found["MetricDataResults"][0]["Values"] == [100.0, 25.0]


def test_the_quota_of_what_is_no_usage_metric_is_refused(region: Watch) -> None:
    other = metric({"InstanceId": "i-1"})
    other["MetricStat"]["Metric"]["Namespace"] = "AWS/EC2"
    wrong = {"Id": "e1", "Expression": "SERVICE_QUOTA(m1)"}
    code, text = region.refused(
        "PutMetricAlarm", AlarmName="a", Metrics=[other, wrong], Threshold=1.0, EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    assert code == "ValidationError"
    assert "SERVICE_QUOTA takes a usage metric" in text
