"""Reset of an ephemeral cloud: what was measured and logged is gone with the objects, and what comes afterwards is kept."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.cloud.running import Cloud, leftovers, until


def metrics_of(cloud: Cloud) -> list[str]:
    return [one["MetricName"] for one in cloud.client("cloudwatch").list_metrics(Namespace="App")["Metrics"]]


def messages_of(cloud: Cloud) -> list[str]:
    return [one["message"] for one in cloud.client("logs").filter_log_events(logGroupName="app")["events"]]


def measure_and_log(cloud: Cloud, word: str) -> None:
    logs: Any = cloud.client("logs")
    logs.create_log_group(logGroupName="app")
    logs.create_log_stream(logGroupName="app", logStreamName="one")
    event = {"timestamp": int(time.time() * 1000), "message": word}
    logs.put_log_events(logGroupName="app", logStreamName="one", logEvents=[event])
    cloud.client("cloudwatch").put_metric_data(Namespace="App", MetricData=[{"MetricName": word, "Value": 1.0}])


def test_reset_empties_telemetry_too(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "home", simulate="true", ephemeral="true")
    cloud.command("up", "--simulate", "--ephemeral")
    home_id = cloud.identity["id"]
    try:
        measure_and_log(cloud, "before")
        assert (metrics_of(cloud), messages_of(cloud)) == (["before"], ["before"])
        for _ in range(2):
            asked = urllib.request.Request(f"{cloud.url}/_gureum/reset", method="POST")
            with urllib.request.urlopen(asked, timeout=30) as answer:
                assert "removed" in json.load(answer)
        assert metrics_of(cloud) == []
        measure_and_log(cloud, "after")
        daemon = cloud.process("daemon")
        os.kill(daemon, signal.SIGKILL)
        until(lambda: cloud.process("daemon") != daemon)
        assert (metrics_of(cloud), messages_of(cloud)) == (["after"], ["after"])
        assert "Traceback" not in (cloud.home / "logs/daemon.log").read_text()
    finally:
        cloud.command("down", "--purge")
    assert leftovers(home_id) == []
