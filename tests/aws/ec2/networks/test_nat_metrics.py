"""AWS/NATGateway's metrics: names and units of AWS's "NAT gateway metrics and dimensions"."""

from __future__ import annotations

from gureum.aws.ec2.networks.nat_metrics import begun, values_of
from gureum.ports.networks import TranslationCounts


def test_what_came_in_the_period_and_how_many_there_are() -> None:
    before = TranslationCounts(10, 1000, 9, 900, 8, 800, 7, 700, 6, 5, 4, 3, 2, 1)
    after = TranslationCounts(20, 3000, 18, 2700, 16, 2400, 14, 2100, 12, 10, 2, 6, 4, 2)
    assert values_of(before, after) == {
        "ActiveConnectionCount": (2.0, "Count"),
        "BytesInFromSource": (2000.0, "Bytes"),
        "PacketsInFromSource": (10.0, "Count"),
        "BytesOutToDestination": (1800.0, "Bytes"),
        "PacketsOutToDestination": (9.0, "Count"),
        "BytesInFromDestination": (1600.0, "Bytes"),
        "PacketsInFromDestination": (8.0, "Count"),
        "BytesOutToSource": (1400.0, "Bytes"),
        "PacketsOutToSource": (7.0, "Count"),
        "ConnectionAttemptCount": (6.0, "Count"),
        "ConnectionEstablishedCount": (5.0, "Count"),
        "IdleTimeoutCount": (3.0, "Count"),
        "ErrorPortAllocation": (2.0, "Count"),
        "PacketsDropCount": (1.0, "Count"),
    }


def test_a_gateway_made_anew_counts_anew() -> None:
    assert values_of(TranslationCounts(attempts=9), TranslationCounts(attempts=2))["ConnectionAttemptCount"][0] == 2.0
    assert values_of(begun(None), TranslationCounts(attempts=2))["ConnectionAttemptCount"][0] == 2.0
