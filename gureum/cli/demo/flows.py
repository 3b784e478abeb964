"""The tour's fifth part: flow logs of the VPC, written while the tour went on, and read with CloudWatch Logs."""

from __future__ import annotations

import time

from gureum.cli.demo.fetching import expect_silence
from gureum.cli.demo.machines import CLOSED_PORT
from gureum.cli.demo.naming import NAME
from gureum.cli.demo.tour import Tour
from gureum.cli.output import Failure

ROLE = "arn:aws:iam::000000000000:role/flow-logs"
"""AWS wants one for delivery to a log group."""
LIMIT_S = 150.0
SHOWN = 3


def watching(tour: Tour) -> None:
    """Flow logs begin here; what passes later is read at the end."""
    tour.title("Flow logs: what passes from here on is written down")
    tour.aws("logs", "delete-log-group", "--log-group-name", NAME, check=False)
    tour.aws("logs", "create-log-group", "--log-group-name", NAME)
    tour.aws("ec2", "create-flow-logs", "--resource-type", "VPC", "--resource-ids", tour.made["vpc"], "--traffic-type", "ALL",
             "--log-group-name", NAME, "--deliver-logs-permission-arn", ROLE, "--max-aggregation-interval", "60")  # fmt: skip


def flow_logs(tour: Tour) -> None:
    """Records of packets that were let through, and of some that were not."""
    tour.title("Flow logs: who talked to whom")
    expect_silence(tour, tour.made["front public"], CLOSED_PORT, "a closed port is asked once more")
    for action in ("ACCEPT", "REJECT"):
        lines = _records(tour, f'"{action} OK"')
        for line in lines[:SHOWN]:
            tour.say(f"    {line}")
        tour.result(f"{len(lines)} records of flows with {action}")


def clear_flow_logs(tour: Tour, vpc: str) -> None:
    ids = tour.aws(
        "ec2", "describe-flow-logs", "--filter", f"Name=resource-id,Values={vpc}", query="FlowLogs[].FlowLogId"
    )
    if ids:
        tour.aws("ec2", "delete-flow-logs", "--flow-log-ids", *ids)
    tour.aws("logs", "delete-log-group", "--log-group-name", NAME, check=False)


def _records(tour: Tour, pattern: str) -> list[str]:
    deadline, quiet = time.monotonic() + LIMIT_S, tour.quiet
    try:
        while True:
            words = (
                "logs",
                "filter-log-events",
                "--log-group-name",
                NAME,
                "--filter-pattern",
                pattern,
                "--max-items",
                "500",
            )
            found: list[str] = tour.aws(*words, query="events[].message")
            if found:
                return found
            if time.monotonic() > deadline:
                raise Failure(f"no flow record with {pattern} within {LIMIT_S:.0f} s")
            tour.quiet = True
            time.sleep(0.5)
    finally:
        tour.quiet = quiet
