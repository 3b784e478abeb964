"""Version 2 of the AWS CLI, as Debian packages it (`make setup` of the tests installs it): `aws logs tail` is in no other client.

GUREUM_AWS_CLI2 names another one. Each call costs the program's start, so a test tells a short story over several services.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

ACCOUNT = "414141414141"
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def binary() -> str:
    for name in (os.environ.get("GUREUM_AWS_CLI2"), "/usr/bin/aws", "/usr/local/bin/aws", shutil.which("aws")):
        if name and Path(name).exists():
            done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False, timeout=LIMIT_S)
            if done.stdout.startswith("aws-cli/2"):
                return name
    pytest.skip("version 2 of the AWS CLI is missing (Debian: awscli): it is NOT tested here")


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's own: neither settings nor keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "PYTHONUNBUFFERED": "1",
    }


class Aws:
    def __init__(self, binary: str, url: str, folder: Path) -> None:
        self.command = [binary, "--endpoint-url", url, "--output", "json"]
        self.environment = environment(folder)

    def __call__(self, *words: str) -> Any:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture
def aws(binary: str, endpoint: Any, tmp_path: Path) -> Aws:
    return Aws(binary, endpoint.url, tmp_path)


def now_ms() -> int:
    return int(time.time() * 1000)


def put(logs: Any, *messages: str) -> None:
    events = [{"timestamp": now_ms(), "message": message} for message in messages]
    logs.put_log_events(logGroupName="/cli2/tail", logStreamName="one", logEvents=events)


def test_tail_tells_and_follows_a_group(aws: Aws, endpoint: Any) -> None:
    logs = boto3.Session(ACCOUNT, "test", region_name="us-east-1").client("logs", endpoint_url=endpoint.url)
    logs.create_log_group(logGroupName="/cli2/tail")
    logs.create_log_stream(logGroupName="/cli2/tail", logStreamName="one")
    put(logs, "before", "other")
    words = ["logs", "tail", "/cli2/tail", "--follow", "--format", "short", "--color", "off"]
    # A terminal: into a pipe it would write only when it has a lot.
    ours, theirs = pty.openpty()
    tail = subprocess.Popen(
        [*aws.command, *words, "--filter-pattern=-other"], env=aws.environment, stdout=theirs, stderr=theirs
    )
    giving_up = threading.Timer(LIMIT_S, tail.kill)
    giving_up.start()
    os.close(theirs)
    try:
        with open(ours, encoding="utf-8") as lines:
            assert lines.readline().rstrip().endswith(" before")
            put(logs, "other", "after")
            assert lines.readline().rstrip().endswith(" after")
    finally:
        giving_up.cancel()
        tail.kill()
        tail.wait()


def test_metrics_come_back_in_both_ways(aws: Aws) -> None:
    dimensions = [{"Name": "host", "Value": "a"}]
    datum = {
        "MetricName": "load",
        "Dimensions": dimensions,
        "Values": [1, 2, 3],
        "Counts": [1, 1, 2],
        "Unit": "Seconds",
    }
    aws("cloudwatch", "put-metric-data", "--namespace", "cli2", "--metric-data", json.dumps([datum]))
    span = ("--start-time", str(now_ms() // 1000 - 600), "--end-time", str(now_ms() // 1000 + 600))
    metric = {"Namespace": "cli2", "MetricName": "load", "Dimensions": dimensions}
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}}
    doubled = {"Id": "twice", "Expression": "m * 2"}
    found = aws("cloudwatch", "get-metric-data", "--metric-data-queries", json.dumps([query, doubled]), *span)
    assert {one["Id"]: sum(one["Values"]) for one in found["MetricDataResults"]} == {"m": 9.0, "twice": 18.0}
    asked = ("--namespace", "cli2", "--metric-name", "load", "--dimensions", "Name=host,Value=a", "--period", "3600")
    ways = ("--statistics", "Maximum", "SampleCount", *span)
    [*points] = aws("cloudwatch", "get-metric-statistics", *asked, *ways)["Datapoints"]
    assert {(one["Maximum"], one["Unit"]) for one in points} == {(3.0, "Seconds")}
    assert sum(one["SampleCount"] for one in points) == 4.0


def test_a_network_that_is_used_is_kept(aws: Aws) -> None:
    vpc = aws("ec2", "create-vpc", "--cidr-block", "10.9.0.0/16", "--query", "Vpc.VpcId")
    aws("ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", "10.9.1.0/24")
    refused = aws.run("ec2", "delete-vpc", "--vpc-id", vpc)
    assert refused.returncode == 254
    assert "(DependencyViolation)" in refused.stderr


def test_who_asks_and_what_is_missing(aws: Aws) -> None:
    assert aws("sts", "get-caller-identity")["Account"] == ACCOUNT
    assert aws("acm", "list-certificates") == {"CertificateSummaryList": []}
    missing = aws.run("logs", "get-log-events", "--log-group-name", "nowhere", "--log-stream-name", "x")
    assert missing.returncode == 254
    assert "(ResourceNotFoundException)" in missing.stderr
