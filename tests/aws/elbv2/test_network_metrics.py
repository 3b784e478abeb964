"""AWS/NetworkELB's numbers. AWS: "CloudWatch metrics for your Network Load Balancer"."""

from __future__ import annotations

from gureum.aws.elbv2.network_metrics import numbers
from gureum.core.flow_sums import FlowSum


def test_numbers_are_told_in_all_and_by_protocol() -> None:
    sums = [
        FlowSum(
            "eni-a", "TCP", active=3, flows=4, packets=50, bytes=6000, client_resets=1, target_resets=2, elb_resets=3
        ),
        FlowSum(
            "eni-b", "TCP", active=1, flows=1, packets=10, bytes=1000, blocked_in=5, open_flows=1, peak_packets_s=7.0
        ),
        FlowSum("eni-a", "UDP", flows=2, packets=2, bytes=100, blocked_out=1, peak_packets_s=1.5),
        FlowSum("eni-a", "TLS", active=1, flows=6, bytes=900, tls_errors=2, proxied=True, rejected=4),
    ]
    told = {name: (value, unit) for name, value, unit in numbers(sums, 60.0, whole=False)}
    assert told == {
        "ActiveFlowCount": (5.0, "Count"),
        "ActiveFlowCount_TCP": (4.0, "Count"),
        "ActiveFlowCount_TLS": (1.0, "Count"),
        "NewFlowCount": (13.0, "Count"),
        "NewFlowCount_TCP": (5.0, "Count"),
        "NewFlowCount_UDP": (2.0, "Count"),
        "NewFlowCount_TLS": (6.0, "Count"),
        "ProcessedBytes": (8000.0, "Bytes"),
        "ProcessedBytes_TCP": (7000.0, "Bytes"),
        "ProcessedBytes_UDP": (100.0, "Bytes"),
        "ProcessedBytes_TLS": (900.0, "Bytes"),
        "ProcessedPackets": (62.0, "Count"),
        "TCP_Client_Reset_Count": (1.0, "Count"),
        "TCP_Target_Reset_Count": (2.0, "Count"),
        "TCP_ELB_Reset_Count": (3.0, "Count"),
        "UnhealthyRoutingFlowCount": (1.0, "Count"),
        "RejectedFlowCount": (4.0, "Count"),
        "ClientTLSNegotiationErrorCount": (2.0, "Count"),
        "SecurityGroupBlockedFlowCount_Inbound_TCP": (5.0, "Count"),
        "SecurityGroupBlockedFlowCount_Outbound_UDP": (1.0, "Count"),
        "PeakPacketsPerSecond": (8.5, "Count/Second"),
    }


def test_of_nothing_only_what_is_always_told() -> None:
    told = {name: value for name, value, _ in numbers([FlowSum("eni-a", "TCP")], 60.0, whole=True)}
    always = (
        "ActiveFlowCount",
        "NewFlowCount",
        "PeakBytesPerSecond",
        "PeakPacketsPerSecond",
        "ProcessedBytes",
        "ProcessedPackets",
        "RejectedFlowCount",
        "ConsumedLCUs",
    )
    resets = ("TCP_Client_Reset_Count", "TCP_Target_Reset_Count", "TCP_ELB_Reset_Count")
    assert told == dict.fromkeys((*always, *resets), 0.0)


def test_peaks_are_told_where_all_is_the_kernels() -> None:
    sums = [FlowSum("eni-a", "TCP", peak_bytes_s=700.0), FlowSum("eni-b", "UDP", peak_bytes_s=50.0)]
    other = FlowSum("eni-a", "TLS", bytes=10, proxied=True)
    assert ("PeakBytesPerSecond", 750.0, "Bytes/Second") in list(numbers(sums, 60.0, whole=False))
    assert "PeakBytesPerSecond" not in {name for name, _, _ in numbers([*sums, other], 60.0, whole=False)}
    alone = {name for name, _, _ in numbers([other], 60.0, whole=False)}
    assert not alone & {"PeakBytesPerSecond", "PeakPacketsPerSecond", "ProcessedPackets"}


def test_capacity_units_are_those_of_the_dimension_that_is_used_most() -> None:
    sums = [
        FlowSum("eni-a", "TCP", flows=96_000),  # 1600 a second: 2
        FlowSum("eni-a", "UDP", active=25_000),  # 0.5
        FlowSum("eni-a", "TLS", bytes=50_000_000),  # 3 GB an hour: 3
    ]
    told = {name: value for name, value, _ in numbers(sums, 60.0, whole=True) if name.startswith("Consumed")}
    assert told == {"ConsumedLCUs": 5.5, "ConsumedLCUs_TCP": 2.0, "ConsumedLCUs_UDP": 0.5, "ConsumedLCUs_TLS": 3.0}
