"""AWS/ApplicationELB's metrics of connections and of capacity, from what the agent has counted per node. Pure.

AWS: "CloudWatch metrics for your Application Load Balancer": connections "from clients to the load balancer and from the load balancer to targets",
told when there are any; ConsumedLCUs always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gureum.aws.elbv2.network_metrics import Number
from gureum.core.flow_sums import FlowSum
from gureum.core.request_sums import Sums

NEW_A_SECOND, ACTIVE, BYTES_AN_HOUR, RULES_A_SECOND = 25.0, 3_000.0, 1_000_000_000.0, 1_000.0
"""What one LCU holds. AWS, "Elastic Load Balancing pricing". Of rules those count that a request had evaluated beyond ten."""
_HOUR_S = 3600.0


def connections(nodes: Iterable[FlowSum]) -> Iterator[Number]:
    """Of one load balancer, or of one of its zones."""
    found = list(nodes)
    counts = {
        "ActiveConnectionCount": sum(one.active for one in found),
        "NewConnectionCount": sum(one.flows for one in found),
        "RejectedConnectionCount": sum(one.rejected for one in found),
    }
    yield from ((name, float(count), "Count") for name, count in counts.items() if count)


def capacity(nodes: Sequence[FlowSum], requests: Iterable[Sums], period_s: float) -> Iterator[Number]:
    """The measure that is used most counts."""
    told = list(requests)
    moved = sum(one.received_bytes + one.sent_bytes for one in told)
    used = max(
        sum(one.flows for one in nodes) / period_s / NEW_A_SECOND,
        sum(one.active for one in nodes) / ACTIVE,
        moved / period_s * _HOUR_S / BYTES_AN_HOUR,
        sum(one.evaluated_more for one in told) / period_s / RULES_A_SECOND,
    )
    yield "ConsumedLCUs", used, "Count"
