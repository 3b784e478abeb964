"""Connections and capacity of an application load balancer. AWS: "CloudWatch metrics for your Application Load Balancer", "Elastic Load Balancing
pricing"."""

from __future__ import annotations

import pytest

from gureum.aws.elbv2.application_metrics import capacity, connections
from gureum.core.flow_sums import FlowSum
from gureum.core.request_sums import Sums

NODES = [FlowSum("eni-1", "HTTP", active=2, flows=40), FlowSum("eni-2", "HTTP", active=1, flows=20)]


def test_connections_are_told_when_there_are_any() -> None:
    assert list(connections(NODES)) == [("ActiveConnectionCount", 3.0, "Count"), ("NewConnectionCount", 60.0, "Count")]
    assert list(connections([FlowSum("eni-1", "HTTP")])) == []
    assert list(connections([FlowSum("eni-1", "HTTP", rejected=3)])) == [("RejectedConnectionCount", 3.0, "Count")]


def test_rules_beyond_ten_a_request_use_capacity() -> None:
    sums = [Sums("eni-1", "", evaluated_more=90_000), Sums("eni-1", "g", evaluated_more=30_000)]
    assert list(capacity([], sums, 60.0)) == [("ConsumedLCUs", 2.0, "Count")]


@pytest.mark.parametrize(
    ("nodes", "received_bytes", "units"),
    [
        ([], 0, 0.0),
        ([FlowSum("eni-1", "HTTP", flows=3000)], 0, 2.0),  # 50 a second
        ([FlowSum("eni-1", "HTTP", active=4500, flows=60)], 0, 1.5),
        (NODES, 50_000_000, 3.0),  # in a minute: 3 GB an hour
    ],
)
def test_the_measure_that_is_used_most_counts(nodes: list[FlowSum], received_bytes: int, units: float) -> None:
    sums = [Sums("eni-1", "", received_bytes=received_bytes)]
    assert list(capacity(nodes, sums, 60.0)) == [("ConsumedLCUs", units, "Count")]
