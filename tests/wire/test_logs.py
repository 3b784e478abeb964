"""CloudWatch Logs with boto3: the event stream of Live Tail, its paginators, large gzipped batches. `aws logs tail` is in test_aws_cli2.py."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gureum.base.homes import Home
from gureum.base.settings import Settings
from gureum.cli.env import client_environment
from gureum.ports.telemetry import SeriesQuery

ACCOUNT = "313131313131"
LIMIT_S = 30.0


def client(endpoint: Any, service: str = "logs", account: str = ACCOUNT, *, prefix: bool = False) -> Any:
    config = Config(retries={"total_max_attempts": 1}, inject_host_prefix=prefix, read_timeout=LIMIT_S)
    session = boto3.Session(account, "secret", region_name="us-east-1")
    return session.client(service, endpoint_url=endpoint.url, config=config)


@pytest.fixture(scope="module")
def logs(endpoint: Any) -> Any:
    return client(endpoint)


@pytest.fixture
def group(logs: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"/wire/{request.node.originalname.replace('_', '-')}"
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="one")
    yield name
    with contextlib.suppress(ClientError):
        logs.delete_log_group(logGroupName=name)


def now() -> int:
    return int(time.time() * 1000)


def put(logs: Any, group: str, *messages: str) -> None:
    events = [{"timestamp": now(), "message": message} for message in messages]
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)


def arn(logs: Any, group: str) -> str:
    return str(logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"])


def test_large_batches_go_through_and_paginators_read_them_back(logs: Any, group: str) -> None:
    texts = [f"line {n} " + "x" * 60 for n in range(10_000)]
    put(logs, group, *texts)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern='"line 1"', PaginationConfig={"PageSize": 500}
    )
    found = [event["message"] for page in pages for event in page["events"]]
    assert found == [text for text in texts if "line 1" in text]


@pytest.mark.parametrize("prefix", [False, True])
def test_live_tail_tells_events_as_they_come(
    endpoint: Any, logs: Any, group: str, prefix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the prefix boto3 asks "stream-127.0.0.1", which is no name; names of gureum's own resolve with it, and so does this one here."""
    resolve = socket.getaddrinfo

    def resolved(host: str, *arguments: Any, **named: Any) -> Any:
        return resolve(host.removeprefix("stream-"), *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    answer = client(endpoint, prefix=prefix).start_live_tail(
        logGroupIdentifiers=[arn(logs, group)], logEventFilterPattern="ERROR"
    )
    stream = answer["responseStream"]
    events = iter(stream)
    assert next(events)["sessionStart"]["logEventFilterPattern"] == "ERROR"
    put(logs, group, "ERROR one", "fine", "ERROR two")
    deadline = time.monotonic() + LIMIT_S
    messages: list[str] = []
    while len(messages) < 2 and time.monotonic() < deadline:
        messages += [one["message"] for one in next(events)["sessionUpdate"]["sessionResults"]]
    assert messages == ["ERROR one", "ERROR two"]
    stream.close()
    while endpoint.world.tails.number(f"{ACCOUNT}/us-east-1") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert endpoint.world.tails.number(f"{ACCOUNT}/us-east-1") == 0


def test_live_tail_works_with_a_stock_client_in_the_environment_that_gureum_env_gives(
    endpoint: Any, logs: Any, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home("abcde", tmp_path, tmp_path, "198.18.16.0/20", "127.0.0.1", 4567, 5353, simulate=False)
    given = client_environment(Settings(), home, ACCOUNT)
    for name, value in {**given, "AWS_ENDPOINT_URL": endpoint.url}.items():
        monkeypatch.setenv(name, value)
    answer = boto3.Session().client("logs").start_live_tail(logGroupIdentifiers=[arn(logs, group)])
    assert "sessionStart" in next(iter(answer["responseStream"]))
    answer["responseStream"].close()


def test_metric_filters_feed_metrics(endpoint: Any, logs: Any, group: str) -> None:
    transformation = {"metricName": "Latency", "metricNamespace": "Wire", "metricValue": "$.ms", "unit": "Milliseconds"}
    logs.put_metric_filter(
        logGroupName=group, filterName="f", filterPattern="{ $.ms > 0 }", metricTransformations=[transformation]
    )
    put(logs, group, json.dumps({"ms": 5}), json.dumps({"ms": 7.5}), json.dumps({"ms": -1}))
    series = endpoint.world.metrics.series(f"{ACCOUNT}/us-east-1", SeriesQuery("Wire"))
    [found] = endpoint.run(series)
    buckets = endpoint.run(endpoint.world.metrics.buckets(found, 0, now() + 60_000, 3_600_000))
    assert [(one.count, one.sum, one.unit) for one in buckets] == [(2, 12.5, "Milliseconds")]


def test_accounts_have_their_own_groups(endpoint: Any, group: str) -> None:
    other = client(endpoint, account="323232323232")
    assert other.describe_log_groups()["logGroups"] == []
    with pytest.raises(ClientError) as refused:
        other.get_log_events(logGroupName=group, logStreamName="one")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
