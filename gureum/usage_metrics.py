"""AWS/Usage: what every account and region uses of what is limited, and how often its operations were called, each minute.

What is counted and against which quota stands in aws/usage.py. Counting looks at the objects of the control plane once a minute; a call costs one
addition. Calls that could not be told to any operation, or were refused before they were one, are not counted. The setting `metrics_period_s`
publishes that often.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from gureum.aws.gateway import Counters
from gureum.aws.usage import CALLS, NAMESPACE, RESOURCES, SERVICES, dimensions_of, usages
from gureum.core.periods import MINUTE_S, at_each_end, ended
from gureum.core.world import World
from gureum.ports.telemetry import Datum, Series, TelemetryBroken, TelemetryFull

log = logging.getLogger("gureum.metrics")
KEY = "metrics/usage"


async def publish_usage_metrics(world: World, counters: Counters) -> None:
    """Until cancelled."""
    period_s = world.settings.metrics_period_s or MINUTE_S

    async def work(_: str) -> None:
        used, counters.used = counters.used, {}
        start_ms = (ended(world, period_s) - period_s) * 1000
        try:
            await world.metrics.write(list(usage_datums(world, used, start_ms, 1 if period_s < MINUTE_S else MINUTE_S)))
        except (TelemetryFull, TelemetryBroken) as failed:
            log.warning("metrics of usage are lost", extra={"why": str(failed)})

    await at_each_end(world, KEY, period_s, work)


def usage_datums(
    world: World, used: dict[tuple[str, str, str], int], start_ms: int, resolution_s: int
) -> Iterator[Datum]:
    """`used`: (scope, service, operation) → calls of the period. AWS: CallCount has no unit, and its sum is the count of operations."""
    for scope, usage, amount in usages(world.client):
        yield _datum(Series(scope, NAMESPACE, RESOURCES, usage.dimensions), amount, start_ms, resolution_s)
    for (scope, service, operation), times in used.items():
        dimensions = dimensions_of(SERVICES.get(service, service), "API", operation)
        yield _datum(Series(scope, NAMESPACE, CALLS, dimensions), times, start_ms, resolution_s)


def _datum(series: Series, number: int, start_ms: int, resolution_s: int) -> Datum:
    value = float(number)
    return Datum(series, start_ms, 1.0, value, value, value, (value,), (1.0,), "None", resolution_s)
