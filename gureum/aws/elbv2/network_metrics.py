"""AWS/NetworkELB's metrics of flows, from what the agent has counted per node and protocol. Pure.

AWS: "CloudWatch metrics for your Network Load Balancer": names, units and dimensions (LoadBalancer; AvailabilityZone, LoadBalancer). ActiveFlowCount,
NewFlowCount, both peaks, ProcessedBytes, ProcessedPackets, RejectedFlowCount and TCP's resets are always told, the others when they are not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from gureum.core.flow_sums import FlowSum

Number = tuple[str, float, str]
"""Name, value, unit."""


class Capacity(msgspec.Struct, frozen=True):
    """What one LCU holds. AWS, "Elastic Load Balancing pricing": new flows a second, active flows; and a gigabyte an hour."""

    new_s: float
    active: float


_CAPACITIES = {"TCP": Capacity(800, 100_000), "UDP": Capacity(400, 50_000), "TLS": Capacity(50, 3_000)}
_HOUR_S, _GIGABYTE = 3600.0, 1_000_000_000.0


def numbers(sums: Iterable[FlowSum], period_s: float, *, whole: bool) -> Iterator[Number]:
    """Of one load balancer, or of one of its zones. `whole`: of all of it, which alone has LCUs."""
    found = list(sums)
    of = {protocol: [one for one in found if one.protocol == protocol] for protocol in _CAPACITIES}
    yield from _of_all(found)
    for protocol, its in of.items():
        for name, value, unit in _of_all(its):
            if value and name != "ProcessedPackets":
                yield f"{name}_{protocol}", value, unit
    yield "TCP_Client_Reset_Count", float(sum(one.client_resets for one in of["TCP"])), "Count"
    yield "TCP_Target_Reset_Count", float(sum(one.target_resets for one in of["TCP"])), "Count"
    yield "TCP_ELB_Reset_Count", float(sum(one.elb_resets for one in of["TCP"])), "Count"
    yield "RejectedFlowCount", float(sum(one.rejected for one in found)), "Count"
    counts = {
        "UnhealthyRoutingFlowCount": sum(one.open_flows for one in found),
        "RejectedFlowCount_TCP": sum(one.rejected for one in of["TCP"]),
        "ClientTLSNegotiationErrorCount": sum(one.tls_errors for one in found),
        "SecurityGroupBlockedFlowCount_Inbound_TCP": sum(one.blocked_in for one in of["TCP"]),
        "SecurityGroupBlockedFlowCount_Inbound_UDP": sum(one.blocked_in for one in of["UDP"]),
        "SecurityGroupBlockedFlowCount_Outbound_TCP": sum(one.blocked_out for one in of["TCP"]),
        "SecurityGroupBlockedFlowCount_Outbound_UDP": sum(one.blocked_out for one in of["UDP"]),
    }
    yield from ((name, float(count), "Count") for name, count in counts.items() if count)
    peak, all_seen = sum(one.peak_packets_s for one in found), not any(one.proxied for one in found)
    if peak or all_seen:
        yield "PeakPacketsPerSecond", peak, "Count/Second"
    if all_seen:  # what proxies move is looked at once a period
        yield "PeakBytesPerSecond", sum(one.peak_bytes_s for one in found), "Bytes/Second"
    if whole:
        used = {protocol: _units(its, _CAPACITIES[protocol], period_s) for protocol, its in of.items()}
        yield "ConsumedLCUs", sum(used.values()), "Count"
        yield from ((f"ConsumedLCUs_{protocol}", units, "Count") for protocol, units in used.items() if units)


def _of_all(sums: list[FlowSum]) -> Iterator[Number]:
    yield "ActiveFlowCount", float(sum(one.active for one in sums)), "Count"
    yield "NewFlowCount", float(sum(one.flows for one in sums)), "Count"
    yield "ProcessedBytes", float(sum(one.bytes for one in sums)), "Bytes"
    packets = sum(one.packets for one in sums)
    if packets or not any(one.proxied for one in sums):  # of what proxies move bytes alone are known
        yield "ProcessedPackets", float(packets), "Count"


def _units(sums: list[FlowSum], capacity: Capacity, period_s: float) -> float:
    """The dimension that is used most counts."""
    return max(
        sum(one.flows for one in sums) / period_s / capacity.new_s,
        sum(one.active for one in sums) / capacity.active,
        sum(one.bytes for one in sums) / period_s * _HOUR_S / _GIGABYTE,
    )
