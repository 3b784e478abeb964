"""What gureum tells of itself in CloudWatch: namespace `Gureum`, in the default account and region, each minute.

    ApiCalls, ApiErrors, ApiLatency      in all and by Service; errors are calls that were refused
    ApiFaults, ApiConflicts              answers nobody expected; operations run again because another call was first
    Commits                              revisions of the store
    Reconciles, ReconcileRetries, ReconcileFaults, ReconcileQueue, ReconcileLag     of the control plane
    AgentConnected, AgentReconciles, AgentRetries, AgentFaults, AgentQueue
    CPUUtilization                       of the daemon, of one processor

`/metrics` (metrics.py) tells the same counters to Prometheus. The setting `metrics_period_s` publishes that often.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator

import msgspec

from gureum.aws.gateway import Counters
from gureum.base import tallies
from gureum.base.tallies import Tally
from gureum.core.periods import MINUTE_S, at_each_end, ended
from gureum.core.world import World
from gureum.ports import PortError
from gureum.ports.telemetry import Datum, Series, TelemetryBroken, TelemetryFull

log = logging.getLogger("gureum.metrics")
NAMESPACE, KEY = "Gureum", "metrics/gureum"
_OF_AGENT = ("reconciles", "retries", "faults")


class Reading(msgspec.Struct, frozen=True):
    """Counters that only grow, at one time. `calls`, `errors`: by service. `agent`: those of `_OF_AGENT`; they begin anew with it."""

    time: float
    counts: dict[str, float]
    calls: dict[str, int]
    errors: dict[str, int]
    agent: dict[str, int]


async def publish_control_metrics(world: World, counters: Counters) -> None:
    """Until cancelled."""
    publisher = Publisher(world, counters)
    await at_each_end(world, KEY, world.settings.metrics_period_s or MINUTE_S, publisher.work)


class Publisher:
    """Holds what was read at the end of the last period."""

    def __init__(self, world: World, counters: Counters) -> None:
        self._world = world
        self._counters = counters
        self._period_s = world.settings.metrics_period_s or MINUTE_S
        self._scope = f"{world.settings.default_account}/{world.settings.default_region}"
        self._before = self._read({})

    async def work(self, _: str) -> None:
        try:
            agent = await self._world.link.ask({"op": "status"}, timeout_s=5.0)
        except PortError:
            agent = {}
        before, self._before = self._before, self._read(agent)
        latencies, self._counters.latencies = self._counters.latencies, {}
        lags, self._world.loop.lags = self._world.loop.lags, {}
        datums = [
            *self._counted(before, self._before),
            *self._tallied(latencies, lags),
            *self._gauges(agent),
        ]
        try:
            await self._world.metrics.write(datums)
        except (TelemetryFull, TelemetryBroken) as failed:
            log.warning("metrics of the control plane are lost", extra={"why": str(failed)})

    def _read(self, agent: dict[str, object]) -> Reading:
        counters, loop = self._counters, self._world.loop
        usage = resource.getrusage(resource.RUSAGE_SELF)
        calls: dict[str, int] = {}
        errors: dict[str, int] = {}
        for (service, _, outcome), count in counters.calls.items():
            calls[service] = calls.get(service, 0) + count
            errors[service] = errors.get(service, 0) + (count if outcome != "ok" else 0)
        counts = {
            "ApiFaults": float(counters.faults),
            "ApiConflicts": float(counters.conflicts),
            "Commits": float(self._world.client.store.revision),
            "Reconciles": float(loop.runs),
            "ReconcileRetries": float(loop.retries),
            "ReconcileFaults": float(loop.faults),
            "cpu": usage.ru_utime + usage.ru_stime,
        }
        told = {name: value for name in _OF_AGENT if isinstance(value := agent.get(name), int)}
        return Reading(self._world.clock.now(), counts, calls, errors, told)

    def _counted(self, before: Reading, after: Reading) -> Iterator[Datum]:
        for name, value in after.counts.items():
            done = value - before.counts[name]
            if name == "cpu":
                yield self._one("CPUUtilization", 100 * done / max(after.time - before.time, 0.001), "Percent")
            else:
                yield self._one(name, done)
        for name, new, old in (("ApiCalls", after.calls, before.calls), ("ApiErrors", after.errors, before.errors)):
            yield self._one(name, sum(new.values()) - sum(old.values()))
            for service, value in new.items():
                if service and value > old.get(service, 0):
                    yield self._one(name, value - old.get(service, 0), service=service)
        for name, now in after.agent.items():
            then = before.agent.get(name)
            if then is not None:
                yield self._one(f"Agent{name.capitalize()}", now - then if now >= then else now)

    def _tallied(self, latencies: dict[str, Tally], lags: Tally) -> Iterator[Datum]:
        whole: Tally = {}
        for service, tally in latencies.items():
            for text, count in tally.items():
                tallies.add(whole, float(text), count)
            if service:
                yield from self._many("ApiLatency", tally, service)
        yield from self._many("ApiLatency", whole)
        yield from self._many("ReconcileLag", lags)

    def _gauges(self, agent: dict[str, object]) -> Iterator[Datum]:
        yield self._one("ReconcileQueue", self._world.loop.depth)
        yield self._one("AgentConnected", int(self._world.link.connected))
        queue = agent.get("queue")
        if isinstance(queue, int):
            yield self._one("AgentQueue", queue)

    def _one(self, name: str, value: float, unit: str = "Count", service: str = "") -> Datum:
        return self._datum(name, [float(value)], [1.0], unit, service)

    def _many(self, name: str, tally: Tally, service: str = "") -> Iterator[Datum]:
        if tally:
            yield self._datum(
                name, [float(one) for one in tally], [float(one) for one in tally.values()], "Seconds", service
            )

    def _datum(self, name: str, values: list[float], counts: list[float], unit: str, service: str) -> Datum:
        series = Series(self._scope, NAMESPACE, name, (("Service", service),) if service else ())
        start_ms = (ended(self._world, self._period_s) - self._period_s) * 1000
        total = sum(value * count for value, count in zip(values, counts, strict=True))
        resolution_s = 1 if self._period_s < MINUTE_S else MINUTE_S
        return Datum(
            series,
            start_ms,
            sum(counts),
            total,
            min(values),
            max(values),
            tuple(values),
            tuple(counts),
            unit,
            resolution_s,
        )
