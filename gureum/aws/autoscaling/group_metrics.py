"""AWS/AutoScaling's group metrics, published each minute for the groups that have them enabled.

AWS: "Amazon CloudWatch metrics for Amazon EC2 Auto Scaling": sizes and counts of instances by state, with the dimension AutoScalingGroupName. The
setting `metrics_period_s` publishes that often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from gureum.aws.autoscaling.kinds import STANDBY, STARTING, WARMED, Group, Member
from gureum.aws.autoscaling.warm_pools import wished
from gureum.core.periods import MINUTE_S, at_each_end, ended
from gureum.core.world import World
from gureum.engine.registry import background
from gureum.ports.telemetry import Datum, Series, TelemetryBroken, TelemetryFull

log = logging.getLogger("gureum.metrics")
NAMESPACE = "AWS/AutoScaling"
KEY = "metrics/autoscaling"


@background("autoscaling metrics")
async def publish_metrics(world: World) -> None:
    """Publishes at the end of every period, until cancelled."""
    period_s = world.settings.metrics_period_s or MINUTE_S

    async def work(_: str) -> None:
        start_ms = (ended(world, period_s) - period_s) * 1000
        datums = list(group_datums(world, start_ms, 1 if period_s < MINUTE_S else MINUTE_S))
        if datums:
            try:
                await world.metrics.write(datums)
            except (TelemetryFull, TelemetryBroken) as failed:
                log.warning("metrics of groups are lost", extra={"why": str(failed)})

    await at_each_end(world, KEY, period_s, work)


def group_datums(world: World, start_ms: int, resolution_s: int) -> Iterator[Datum]:
    for group in world.client.everywhere(Group):
        members = world.client.by(Member, group.meta.scope, "group", group.meta.name)
        values = _values(group, members)
        for name in group.spec.metrics:
            series = Series(group.meta.scope, NAMESPACE, name, (("AutoScalingGroupName", group.spec.name),))
            value = float(values[name])
            yield Datum(series, start_ms, 1.0, value, value, value, (value,), (1.0,), "None", resolution_s)


def _values(group: Group, members: list[Member]) -> dict[str, int]:
    """Without weights, capacity and instances are the same number."""
    serving = [member for member in members if not member.warm]
    warm = [member for member in members if member.warm]
    kept: dict[str, Callable[[str], bool]] = {
        "InService": lambda state: state == "InService",
        "Pending": lambda state: state in STARTING,
        "Standby": lambda state: state in STANDBY,
        "Terminating": lambda state: state.startswith("Terminating"),
        "Total": lambda _: True,
    }
    found = {"GroupMinSize": group.spec.min, "GroupMaxSize": group.spec.max, "GroupDesiredCapacity": group.spec.desired}
    for name, belongs in kept.items():
        weights = [member.spec.weight for member in serving if belongs(member.spec.state)]
        found |= {f"Group{name}Instances": len(weights), f"Group{name}Capacity": sum(weights)}
    total = sum(member.spec.weight for member in warm)
    terminating = sum(member.spec.weight for member in warm if "Terminating" in member.spec.state)
    warmed = sum(member.spec.weight for member in warm if member.spec.state in WARMED)
    pool = group.spec.warm_pool
    return found | {
        "WarmPoolMinSize": pool.least if pool is not None else 0,
        "WarmPoolDesiredCapacity": wished(group.spec),
        "WarmPoolPendingCapacity": total - terminating - warmed,
        "WarmPoolTerminatingCapacity": terminating,
        "WarmPoolWarmedCapacity": warmed,
        "WarmPoolTotalCapacity": total,
        "GroupAndWarmPoolDesiredCapacity": group.spec.desired + wished(group.spec),
        "GroupAndWarmPoolTotalCapacity": total + sum(member.spec.weight for member in serving),
    }
