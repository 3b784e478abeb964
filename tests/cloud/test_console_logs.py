"""What a machine prints becomes events of a log group, as it prints it, in order, and none is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, whole_life

pytestmark = pytest.mark.machine
GROUP = "/machines/consoles"
PRINT = """#!/bin/sh
for n in $(seq 1 400); do echo counted $n > /dev/console; [ $((n % 40)) = 0 ] && sleep 0.2; done
echo counted all > /dev/console
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with whole_life(Cloud(tmp_path, console_log_group=GROUP)) as made:
        yield made


def counted(logs: Any, instance: str) -> list[str]:
    with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=GROUP, logStreamNames=[instance], filterPattern='"counted"'
        )
        return [event["message"].strip() for page in pages for event in page["events"]]
    return []


def test_every_line_is_an_event_also_when_the_daemon_dies_meanwhile(cloud: Cloud) -> None:
    ec2, logs = cloud.client("ec2"), cloud.client("logs")
    run = {"ImageId": BUSYBOX, "InstanceType": NANO, "MinCount": 1, "MaxCount": 1, "UserData": PRINT}
    [machine] = ec2.run_instances(**run)["Instances"]
    deadline = time.monotonic() + 90
    found: list[str] = []
    killed = 0
    while "counted all" not in found:
        assert time.monotonic() < deadline, found[-5:]
        found = counted(logs, machine["InstanceId"])
        if len(found) > 100 * (killed + 1) and killed < 2:
            os.kill(cloud.process("daemon"), signal.SIGKILL)
            killed += 1
        time.sleep(0.1)
    assert killed
    # What was told but not yet noted as told is told again: never lost, seldom twice.
    assert list(dict.fromkeys(found)) == [f"counted {n}" for n in range(1, 401)] + ["counted all"]
