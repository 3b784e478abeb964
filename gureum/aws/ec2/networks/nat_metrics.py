"""AWS/NATGateway's metrics, from what a translator has counted. Pure.

AWS: "NAT gateway metrics and dimensions": each minute, by NatGatewayId. ActiveConnectionCount is how many TCP connections there are; the others are
what came in the period. Not told: the peaks (PeakBytesPerSecond, PeakPacketsPerSecond).
"""

from __future__ import annotations

from collections.abc import Iterable

from gureum.aws.ec2.networks.kinds import NatGateway
from gureum.ports.networks import TranslationCounts
from gureum.ports.telemetry import Datum, Series

NAMESPACE = "AWS/NATGateway"


def nat_datums(
    gateway: NatGateway, before: TranslationCounts, after: TranslationCounts, start_ms: int, resolution_s: int
) -> Iterable[Datum]:
    """What the gateway has done in the period that began at `start_ms`."""
    for name, (value, unit) in values_of(before, after).items():
        series = Series(gateway.meta.scope, NAMESPACE, name, (("NatGatewayId", gateway.meta.name),))
        yield Datum(series, start_ms, 1.0, value, value, value, (value,), (1.0,), unit, resolution_s)


def values_of(before: TranslationCounts, after: TranslationCounts) -> dict[str, tuple[float, str]]:
    """Metric → (value, unit)."""
    done = {name: _grown(getattr(before, name), getattr(after, name)) for name in TranslationCounts.__struct_fields__}
    values = {"ActiveConnectionCount": (float(after.active), "Count")}
    for way, told in _WAYS.items():
        values[f"Bytes{told}"] = (float(done[f"{way}_bytes"]), "Bytes")
        values[f"Packets{told}"] = (float(done[f"{way}_packets"]), "Count")
    return values | {told: (float(done[name]), "Count") for name, told in _COUNTS.items()}


def begun(counts: TranslationCounts | None) -> TranslationCounts:
    """Of a gateway that was not there at the period's beginning: nothing."""
    return counts or TranslationCounts()


def _grown(before: int, after: int) -> int:
    """One that is lower than it was has begun anew."""
    return after - before if after >= before else after


_WAYS = {
    "in_source": "InFromSource",
    "out_destination": "OutToDestination",
    "in_destination": "InFromDestination",
    "out_source": "OutToSource",
}
_COUNTS = {
    "attempts": "ConnectionAttemptCount",
    "established": "ConnectionEstablishedCount",
    "idle": "IdleTimeoutCount",
    "refused_ports": "ErrorPortAllocation",
    "dropped": "PacketsDropCount",
}
