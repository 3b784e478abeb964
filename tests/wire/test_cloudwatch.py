"""CloudWatch with stock clients: boto3 in each of the service's protocols, gzipped bodies, and the AWS CLI."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gureum.aws.protocols.cbor import decode_cbor
from tests.cloud.running import Cloud
from tests.wire.conftest import Endpoint

KEYS = {"aws_secret_access_key": "test", "region_name": "us-east-1"}


def client_of(url: str, account: str, protocol: str = "") -> Any:
    # A session of its own: the model that `speak` changes is shared by all clients of a session.
    client = boto3.session.Session(botocore_session=botocore.session.Session()).client(
        "cloudwatch",
        endpoint_url=url,
        aws_access_key_id=account,
        config=Config(retries={"total_max_attempts": 1}),
        **KEYS,
    )
    if protocol:
        speak(client, protocol)
    return client


def speak(client: Any, protocol: str) -> None:
    """Makes a client use another of the service's protocols than botocore chose."""
    from botocore.parsers import create_parser
    from botocore.serialize import create_serializer

    client._service_model.metadata["protocol"] = protocol
    client._serializer = create_serializer(protocol)
    client._response_parser = create_parser(protocol)
    client._endpoint._response_parser_factory.create_parser = lambda _: create_parser(protocol)


@pytest.fixture(params=["smithy-rpc-v2-cbor", "json", "query"])
def cloudwatch(request: pytest.FixtureRequest, endpoint: Endpoint) -> Any:
    accounts = {"smithy-rpc-v2-cbor": "555500000001", "json": "555500000002", "query": "555500000003"}
    return client_of(endpoint.url, accounts[request.param], request.param)


def until(found: Callable[[], Any], limit_s: float = 20.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def code(call: Callable[..., Any], **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


def test_every_protocol_puts_and_gets(cloudwatch: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    dimensions = [{"Name": "host", "Value": "a b/c"}]
    data = [
        {"MetricName": "load", "Dimensions": dimensions, "Value": 1.5, "Unit": "Percent", "Timestamp": now},
        {"MetricName": "load", "Dimensions": dimensions, "Values": [2.5, 4.0], "Counts": [2.0, 1.0], "Unit": "Percent"},
        {
            "MetricName": "sets",
            "StatisticValues": {"SampleCount": 2, "Sum": 3, "Minimum": 1, "Maximum": 2},
            "StorageResolution": 1,
        },
    ]
    cloudwatch.put_metric_data(Namespace="app", MetricData=data)
    times = {"StartTime": now - dt.timedelta(hours=1), "EndTime": now + dt.timedelta(hours=1)}
    metric = {"Namespace": "app", "MetricName": "load", "Dimensions": dimensions}
    found = cloudwatch.get_metric_statistics(**metric, **times, Period=7200, Statistics=["Sum", "Maximum"])
    assert found["Label"] == "load"
    assert [(p["Sum"], p["Maximum"], p["Unit"]) for p in found["Datapoints"]] == [(10.5, 4.0, "Percent")]
    ranked = cloudwatch.get_metric_statistics(**metric, **times, Period=7200, ExtendedStatistics=["p50", "tm75"])
    assert ranked["Datapoints"][0]["ExtendedStatistics"] == {"p50": 2.5, "tm75": pytest.approx(6.5 / 3)}
    queries = [
        {"Id": "m", "MetricStat": {"Metric": metric, "Period": 7200, "Stat": "Average"}, "ReturnData": False},
        {"Id": "e", "Expression": "m * 2", "Label": "twice ${LAST}"},
    ]
    results = cloudwatch.get_metric_data(MetricDataQueries=queries, **times)["MetricDataResults"]
    assert [(r["Id"], r["Label"], r["Values"], r["StatusCode"]) for r in results] == [
        ("e", "twice 5.25", [5.25], "Complete")
    ]
    assert isinstance(results[0]["Timestamps"][0], dt.datetime)
    listed = cloudwatch.list_metrics(Namespace="app", MetricName="load")["Metrics"]
    assert listed == [metric]


def test_units_that_are_none_are_told_one_by_one(cloudwatch: Any) -> None:
    """AWS: as clients have recorded it; more than four calls, since frequent ones are read another way."""
    units = ["Count", "count", "Foo"]
    data = [{"MetricName": "load", "Value": 1.0, "Unit": unit} for unit in units] + [
        {"MetricName": "load", "Value": 1.0}
    ]
    for _ in range(6):
        with pytest.raises(ClientError) as caught:
            cloudwatch.put_metric_data(Namespace="units", MetricData=data)
        error = caught.value.response["Error"]
        assert error["Code"].removesuffix("Exception") == "InvalidParameterValue"
        told = error["Message"].splitlines()
        for number, line in zip((2, 3), told, strict=True):
            start = f"The parameter MetricData.member.{number}.Unit must be a value in the set [ Megabits, Terabits, "
            assert line.startswith(start)
            assert line.endswith(", Kilobits, Terabytes/Second, None ].")
    assert cloudwatch.list_metrics(Namespace="units")["Metrics"] == []


def test_every_protocol_keeps_alarms(cloudwatch: Any) -> None:
    alarm = {
        "AlarmName": "high / load",
        "MetricName": "load",
        "Namespace": "app",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 2,
        "DatapointsToAlarm": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    cloudwatch.put_metric_alarm(**alarm)
    shown = cloudwatch.describe_alarms(AlarmNames=["high / load"])["MetricAlarms"][0]
    assert shown["StateValue"] == "INSUFFICIENT_DATA"
    assert {name: shown[name] for name in alarm if name != "Tags"} == {n: v for n, v in alarm.items() if n != "Tags"}
    assert cloudwatch.list_tags_for_resource(ResourceARN=shown["AlarmArn"])["Tags"] == alarm["Tags"]
    cloudwatch.put_composite_alarm(AlarmName="top", AlarmRule='AT_LEAST(100%, ALARM, ("high / load"))')
    both = cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    assert (len(both["MetricAlarms"]), len(both["CompositeAlarms"])) == (1, 1)
    cloudwatch.set_alarm_state(AlarmName="high / load", StateValue="ALARM", StateReason="test")
    until(
        lambda: cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"][0]["StateValue"] == "ALARM"
    )
    history = cloudwatch.describe_alarm_history(AlarmName="high / load", HistoryItemType="StateUpdate")
    assert history["AlarmHistoryItems"][0]["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
    cloudwatch.disable_alarm_actions(AlarmNames=["high / load"])
    cloudwatch.enable_alarm_actions(AlarmNames=["high / load"])
    metric = {"Namespace": "app", "MetricName": "load"}
    assert len(cloudwatch.describe_alarms_for_metric(**metric)["MetricAlarms"]) == 1
    cloudwatch.tag_resource(ResourceARN=shown["AlarmArn"], Tags=[{"Key": "c", "Value": "d"}])
    cloudwatch.untag_resource(ResourceARN=shown["AlarmArn"], TagKeys=["a"])
    assert code(cloudwatch.delete_alarms, AlarmNames=["high / load"]) == "ValidationError"
    cloudwatch.delete_alarms(AlarmNames=["high / load", "top"])


def test_every_protocol_keeps_dashboards(cloudwatch: Any) -> None:
    body = json.dumps({"widgets": [{"type": "metric", "properties": {}}]})
    messages = cloudwatch.put_dashboard(DashboardName="main", DashboardBody=body)["DashboardValidationMessages"]
    assert messages[0]["DataPath"] == "/widgets/0/properties"
    assert cloudwatch.get_dashboard(DashboardName="main")["DashboardBody"] == body
    assert [one["Size"] for one in cloudwatch.list_dashboards()["DashboardEntries"]] == [len(body)]
    cloudwatch.delete_dashboards(DashboardNames=["main"])
    assert code(cloudwatch.get_dashboard, DashboardName="main") in ("ResourceNotFound", "DashboardNotFoundError")


def test_every_protocol_refuses_with_the_codes_clients_know(cloudwatch: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    bad = {"Namespace": "app", "MetricName": "x", "StartTime": now, "EndTime": now, "Period": 60, "Statistics": ["Sum"]}
    assert code(cloudwatch.get_metric_statistics, **bad) in ("InvalidParameterValue", "InvalidParameterValueException")
    assert code(cloudwatch.set_alarm_state, AlarmName="none", StateValue="OK", StateReason="x") == "ResourceNotFound"
    assert code(cloudwatch.describe_anomaly_detectors) == "NotImplemented"
    assert code(cloudwatch.get_metric_widget_image, MetricWidget="{}") == "NotImplemented"
    assert code(cloudwatch.list_metric_streams) == "NotImplemented"


def test_arns_are_of_the_partition_of_the_region(endpoint: Endpoint) -> None:
    """A group in China scales by an alarm there: the policy's ARN, which the alarm has for its action, is of "aws-cn"."""
    place = {"endpoint_url": endpoint.url, "aws_access_key_id": "555500000009"} | KEYS | {"region_name": "cn-north-1"}
    scaling, watch, ec2 = (boto3.client(name, **place) for name in ("autoscaling", "cloudwatch", "ec2"))
    assert boto3.client("sts", **place).get_caller_identity()["Arn"] == "arn:aws-cn:iam::555500000009:root"
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.nano"}
    )
    group = {"AutoScalingGroupName": "g", "MinSize": 0, "MaxSize": 2, "AvailabilityZones": ["cn-north-1a"]}
    scaling.create_auto_scaling_group(LaunchTemplate={"LaunchTemplateName": "web"}, **group)
    more = {"PolicyName": "more", "AdjustmentType": "ChangeInCapacity", "ScalingAdjustment": 1}
    policy = scaling.put_scaling_policy(AutoScalingGroupName="g", **more)["PolicyARN"]
    assert policy.startswith("arn:aws-cn:autoscaling:cn-north-1:555500000009:scalingPolicy:")
    alarm = {"Namespace": "app", "MetricName": "load", "Period": 60, "Statistic": "Sum", "EvaluationPeriods": 1}
    alarm |= {"Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold", "AlarmActions": [policy]}
    watch.put_metric_alarm(AlarmName="high", **alarm)
    (made,) = watch.describe_alarms()["MetricAlarms"]
    assert made["AlarmArn"] == "arn:aws-cn:cloudwatch:cn-north-1:555500000009:alarm:high"
    assert scaling.describe_policies()["ScalingPolicies"][0]["Alarms"] == [
        {"AlarmName": "high", "AlarmARN": made["AlarmArn"]}
    ]
    watch.set_alarm_state(AlarmName="high", StateValue="ALARM", StateReason="test")
    until(lambda: scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["DesiredCapacity"] == 1)


def test_large_bodies_come_gzipped(endpoint: Endpoint) -> None:
    """boto3 compresses PutMetricData above 10 kB."""
    client = client_of(endpoint.url, "555500000004")
    sent = []
    client.meta.events.register(
        "before-send", lambda request, **_: sent.append(request.headers.get("Content-Encoding"))
    )
    data = [{"MetricName": f"metric-with-a-long-name-{n:04}", "Value": float(n)} for n in range(600)]
    client.put_metric_data(Namespace="app", MetricData=data)
    assert sent[0] in ("gzip", b"gzip")
    pages = client.get_paginator("list_metrics").paginate(Namespace="app")
    assert [len(page["Metrics"]) for page in pages] == [500, 100]


def test_the_command_line(endpoint: Endpoint) -> None:
    def aws(*words: str) -> Any:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        keys = {"AWS_ACCESS_KEY_ID": "555500000005", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        command = [str(Path(sys.executable).parent / "aws"), "--endpoint-url", endpoint.url, "cloudwatch", *words]
        done = subprocess.run(command, env=environment | keys, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout) if done.stdout.strip() else None

    aws("put-metric-data", "--namespace", "app", "--metric-name", "load", "--value", "3", "--dimensions", "host=a")
    assert aws("list-metrics", "--namespace", "app")["Metrics"][0]["Dimensions"] == [{"Name": "host", "Value": "a"}]
    words = "--metric-name load --namespace app --statistic Average --period 60 --evaluation-periods 1 --threshold 1"
    words += " --comparison-operator GreaterThanThreshold --dimensions Name=host,Value=a"
    aws("put-metric-alarm", "--alarm-name", "high", *words.split())
    assert aws("describe-alarms")["MetricAlarms"][0]["AlarmName"] == "high"


@pytest.fixture(scope="module")
def quick_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Simulated; alarms look five times a second."""
    cloud = Cloud(tmp_path_factory.mktemp("gureum"), simulate="true", alarm_evaluation_s="0.2")
    cloud.command("up", "--simulate")
    yield cloud
    cloud.command("down", "--purge")


def test_data_raise_an_alarm_that_stops_an_instance(quick_cloud: Cloud) -> None:
    """Metric, alarm, action, history: with nothing but the API."""
    account = "555500000006"
    ec2, cloudwatch = quick_cloud.client("ec2", account=account), quick_cloud.client("cloudwatch", account=account)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"][0][
        "InstanceId"
    ]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 0.1, "MaxAttempts": 200})
    dimensions = [{"Name": "InstanceId", "Value": instance}]
    cloudwatch.put_metric_alarm(
        AlarmName="busy",
        Namespace="app",
        MetricName="load",
        Dimensions=dimensions,
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=90,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=["arn:aws:automate:us-east-1:ec2:stop"],
    )
    cloudwatch.put_metric_data(
        Namespace="app", MetricData=[{"MetricName": "load", "Dimensions": dimensions, "Value": 99.0}]
    )

    def state() -> str:
        found = ec2.describe_instances(InstanceIds=[instance])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    until(lambda: state() == "stopped")
    actions = cloudwatch.describe_alarm_history(AlarmName="busy", HistoryItemType="Action")["AlarmHistoryItems"]
    assert actions[0]["HistorySummary"] == "Successfully executed action arn:aws:automate:us-east-1:ec2:stop"
    quick_cloud.command("restart")
    assert cloudwatch.describe_alarms(AlarmNames=["busy"])["MetricAlarms"][0]["StateValue"] in (
        "ALARM",
        "INSUFFICIENT_DATA",
    )
    explained = quick_cloud.command("explain", "busy").stdout
    assert "MetricAlarm" in explained


def test_a_waiter_waits_for_an_alarm(quick_cloud: Cloud) -> None:
    cloudwatch = quick_cloud.client("cloudwatch", account="555500000007")
    cloudwatch.put_metric_alarm(
        AlarmName="any",
        Namespace="app",
        MetricName="load",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
    )
    cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=["any"], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    cloudwatch.put_metric_data(Namespace="app", MetricData=[{"MetricName": "load", "Value": 1.0}])
    until(lambda: cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"])


def test_a_request_of_more_than_a_megabyte_is_refused_and_compressed_it_passes(endpoint: Endpoint) -> None:
    """AWS: PutMetricData, "limited to 1 MB in size for HTTP POST requests. You can send a payload compressed by gzip"."""
    data = [{"MetricName": f"m{n}", "Values": [1 / 3] * 150} for n in range(900)]
    plain = boto3.client(
        "cloudwatch",
        endpoint_url=endpoint.url,
        aws_access_key_id="555500000009",
        config=Config(retries={"total_max_attempts": 1}, disable_request_compression=True),
        **KEYS,
    )
    with pytest.raises(ClientError) as refused:
        plain.put_metric_data(Namespace="large", MetricData=data)
    assert refused.value.response["Error"]["Code"] == "RequestEntityTooLarge"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert plain.list_metrics(Namespace="large")["Metrics"] == []
    client_of(endpoint.url, "555500000009").put_metric_data(Namespace="large", MetricData=data)
    assert len(plain.get_paginator("list_metrics").paginate(Namespace="large").build_full_result()["Metrics"]) == 900


SPOKEN = {
    "json": {"content-type": "application/x-amz-json-1.0", "x-amz-target": "GraniteServiceVersion20100801.ListMetrics"},
    "cbor": {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"},
    "query": {"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
}


@pytest.mark.parametrize(
    ("service", "protocol", "body", "encoding", "expected"),
    [
        *(("monitoring", protocol, b"\x1f\x8b broken", "gzip", "InvalidRequest") for protocol in SPOKEN),
        *(("monitoring", protocol, b"", "brotli", "InvalidRequest") for protocol in SPOKEN),
        ("monitoring", "json", b'{"', "", "SerializationException"),
        ("monitoring", "cbor", b'{"', "", "SerializationException"),
        ("logs", "json", b"\x1f\x8b broken", "gzip", "InvalidRequest"),
        ("autoscaling", "query", b"\x1f\x8b broken", "gzip", "InvalidRequest"),
    ],
)
def test_a_broken_body_is_refused_in_the_protocol_it_came_in(
    endpoint: Endpoint, service: str, protocol: str, body: bytes, encoding: str, expected: str
) -> None:
    path = "/service/GraniteServiceVersion20100801/operation/ListMetrics" if protocol == "cbor" else "/"
    credential = f"AWS4-HMAC-SHA256 Credential=111122223333/20261129/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    headers = SPOKEN[protocol] | {"authorization": credential} | ({"content-encoding": encoding} if encoding else {})
    if service == "logs":
        headers |= {"x-amz-target": "Logs_20140328.DescribeLogGroups"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(endpoint.url + path, body, headers, method="POST"))
    answer, kind = refused.value.read(), refused.value.headers["content-type"]
    assert refused.value.code == 400
    if protocol == "json":
        assert json.loads(answer)["__type"].rpartition("#")[2] == expected
    elif protocol == "cbor":
        assert (kind, refused.value.headers["smithy-protocol"]) == ("application/cbor", "rpc-v2-cbor")
        assert decode_cbor(answer)["__type"].rpartition("#")[2] == expected
    else:
        assert f"<Code>{expected}</Code>".encode() in answer
        assert kind == "text/xml"
