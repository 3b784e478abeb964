"""AWS/ApplicationELB's and AWS/NetworkELB's metrics, published each minute. What network load balancers do is in network_metrics.py, connections
and capacity of application ones in application_metrics.py.

    proxies' records ─► agent: sums per node and group (core/request_sums.py) ─► here: Datum per set of dimensions ─► telemetry store

AWS: "CloudWatch metrics for your Application Load Balancer": names, units and dimensions (LoadBalancer; AvailabilityZone, LoadBalancer;
LoadBalancer, TargetGroup; all three); only what had traffic is told, host counts always. The setting `metrics_period_s` publishes that often.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import msgspec

from gureum.aws.elbv2.application_metrics import capacity, connections
from gureum.aws.elbv2.arns import arn_of_group, label_of
from gureum.aws.elbv2.kinds import LoadBalancer, Rule, TargetGroup
from gureum.aws.elbv2.network_metrics import Number, numbers
from gureum.aws.elbv2.target_health import core_name
from gureum.aws.elbv2.target_places import balancers_of, enabled_zones, locate, nodes_addresses
from gureum.core.flow_sums import FlowSum
from gureum.core.periods import MINUTE_S, at_each_end
from gureum.core.published import Published, end_of
from gureum.core.request_sums import Sums
from gureum.core.world import World
from gureum.engine.registry import background
from gureum.ports import PortError
from gureum.ports.telemetry import Datum, Series, TelemetryBroken, TelemetryFull

log = logging.getLogger("gureum.metrics")
APPLICATION, NETWORK = "AWS/ApplicationELB", "AWS/NetworkELB"
KEY = "metrics/elbv2"
Dimensions = tuple[tuple[str, str], ...]


class TakenLook(msgspec.Struct, frozen=True):
    """What a period came to, which ended at `time`. `targets`, `zones`, `anomalies`: how targets stood, nodes' zones, and who failed more often than
    others, by group, where the agent looked by itself."""

    time: float
    sums: list[Sums]
    flows: list[FlowSum] = []
    targets: dict[str, dict[str, list[str]]] | None = None
    zones: dict[str, dict[str, list[bool]]] | None = None
    anomalies: dict[str, dict[str, list[bool]]] | None = None


class Answer(msgspec.Struct, frozen=True):
    """The agent's answer to {"op": "request_sums"}."""

    looks: list[TakenLook]
    more: bool = False


class Value(msgspec.Struct, frozen=True):
    """One metric's values with their counts, of one period."""

    name: str
    values: dict[float, int]
    unit: str = "Count"


@background("elbv2 metrics")
async def publish_metrics(world: World) -> None:
    """Publishes at the end of every period, until cancelled."""
    publisher = Publisher(world)
    await at_each_end(world, KEY, publisher.period_s, publisher.work)


class Publisher:
    """`_published`: the time of the look that was published last (core/published.py)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.period_s = world.settings.metrics_period_s or MINUTE_S
        self._mark = Published(world, "elbv2")
        self._published: float | None = None

    async def work(self, _: str) -> None:
        """Fetches the sums, also those of periods in which no daemon asked, and writes what they come to. What cannot be written is tried again
        at the next end, as long as the agent keeps it."""
        if not any(True for _ in self._world.client.everywhere(LoadBalancer)):
            return
        try:
            if self._published is None:
                self._published = await self._mark.last()
            await self._go_through(self._published)
        except PortError as away:
            log.debug("no sums of requests", extra={"why": away.why})
        except (TelemetryFull, TelemetryBroken) as failed:
            log.warning("metrics of load balancers are not written", extra={"why": str(failed)})

    async def _go_through(self, after: float) -> None:
        look, more = "now", True
        while more:
            request = {"op": "request_sums", "after": after, "keep": after, "look": look}
            answer = msgspec.convert(await self._world.link.ask(request, timeout_s=10.0), Answer)
            for one in answer.looks:
                end_s = end_of(one.time, self.period_s)
                datums = list(self._datums(one, (end_s - self.period_s) * 1000))
                await self._world.metrics.write([*datums, self._mark.mark(one.time)])
                self._published = after = one.time
            look, more = "no", answer.more and bool(answer.looks)

    def _datums(self, look: TakenLook, start_ms: int) -> Iterator[Datum]:
        sums = look.sums
        resolution_s = 1 if self.period_s < MINUTE_S else MINUTE_S
        balancers = {
            node.interface: (balancer, node.zone)
            for balancer in self._world.client.everywhere(LoadBalancer)
            for node in balancer.spec.zones
        }
        gathered: dict[tuple[str, str, Dimensions], dict[str, Value]] = {}
        for one in sums:
            found = balancers.get(one.proxy)
            if found is None or found[0].spec.type != "application":
                continue
            balancer, zone = found
            for dimensions, values in _told(one, label_of(balancer), zone):
                _join(gathered.setdefault((balancer.meta.scope, APPLICATION, dimensions), {}), values)
        for balancer in self._world.client.everywhere(LoadBalancer):
            for dimensions, values in self._of_application(balancer, look):
                _join(gathered.setdefault((balancer.meta.scope, APPLICATION, dimensions), {}), values)
            for dimensions, values in [*self._of_network(balancer, look.flows), *self._of_zones(balancer, look)]:
                _join(gathered.setdefault((balancer.meta.scope, NETWORK, dimensions), {}), values)
        for group in self._world.client.everywhere(TargetGroup):
            for namespace, dimensions, values in self._of_group(group, look):
                _join(gathered.setdefault((group.meta.scope, namespace, dimensions), {}), values)
        for (scope, namespace, dimensions), values_by_name in gathered.items():
            for value in values_by_name.values():
                yield _datum(Series(scope, namespace, value.name, dimensions), value, start_ms, resolution_s)

    def _of_application(self, balancer: LoadBalancer, look: TakenLook) -> Iterator[tuple[Dimensions, list[Value]]]:
        """Connections of its nodes, in all and per zone, and what it has used."""
        if balancer.spec.type != "application":
            return
        zones = {node.interface: node.zone for node in balancer.spec.zones}
        own = ("LoadBalancer", label_of(balancer))
        mine = [one for one in look.flows if one.interface in zones]
        if not mine:
            return
        requests = [one for one in look.sums if one.proxy in zones]
        yield (own,), [*_values(connections(mine)), *_values(capacity(mine, requests, self.period_s))]
        for one in mine:
            yield (("AvailabilityZone", zones[one.interface]), own), _values(connections([one]))

    def _of_network(self, balancer: LoadBalancer, flows: list[FlowSum]) -> Iterator[tuple[Dimensions, list[Value]]]:
        """What its nodes have done, in all and per zone."""
        if balancer.spec.type != "network":
            return
        zones = {node.interface: node.zone for node in balancer.spec.zones}
        own = ("LoadBalancer", label_of(balancer))
        mine = [one for one in flows if one.interface in zones]
        if not mine:
            return
        yield (own,), _values(numbers(mine, self.period_s, whole=True))
        for zone in sorted(set(zones.values())):
            its = [one for one in mine if zones[one.interface] == zone]
            yield (("AvailabilityZone", zone), own), _values(numbers(its, self.period_s, whole=False))

    def _of_zones(self, balancer: LoadBalancer, look: TakenLook) -> Iterator[tuple[Dimensions, list[Value]]]:
        """Whether each zone of a network load balancer has enough healthy targets of all its groups. AWS: ZonalHealthStatus, "a 1 for each healthy
        Availability Zone and a 0 for each unhealthy", where something is checked."""
        if balancer.spec.type != "network":
            return
        client, scope = self._world.client, balancer.meta.scope
        rules = client.by(Rule, scope, "load-balancer", balancer.meta.name)
        groups = [
            client.get(TargetGroup, scope, name) for name in sorted({name for rule in rules for name in rule.groups})
        ]
        standing = [self._standing(group, balancer, look) for group in groups if group is not None]
        own = ("LoadBalancer", label_of(balancer))
        for zone in sorted({zone for of_group in standing for zone in of_group}):
            healthy = all(of_group[zone][0] for of_group in standing if zone in of_group)
            told = [Value("ZonalHealthStatus", {float(healthy): 1})]
            yield (own,), told
            yield (("AvailabilityZone", zone), own), told

    def _of_group(self, group: TargetGroup, look: TakenLook) -> Iterator[tuple[str, Dimensions, list[Value]]]:
        """Host counts, per zone and in all, and requests per target."""
        client = self._world.client
        balancers = balancers_of(group, client)
        seen = self._stood(group, look)
        if seen is None:
            return
        zones = enabled_zones(balancers)
        told = self._told_of(group, look.anomalies, "anomalies")
        odd: dict[str, list[list[bool]]] = {zone: [] for zone in zones}
        healthy: dict[str, int] = dict.fromkeys(zones, 0)
        unhealthy: dict[str, int] = dict.fromkeys(zones, 0)
        taken = nodes_addresses(group, client)
        for target in group.spec.targets:
            if target.draining_until:
                continue
            for place in locate(target, group, zones, client, taken).places:
                counts = healthy if (seen.get(place.name) or [""])[0] == "healthy" else unhealthy
                counts[place.zone] = counts.get(place.zone, 0) + 1
                odd.setdefault(place.zone, []).append(told.get(place.name, [False, False]))
        name = f"targetgroup/{group.spec.name}/{group.meta.name}"
        registered = sum(healthy.values()) + sum(unhealthy.values())
        requests = sum(one.chosen for one in look.sums if one.group == arn_of_group(group))
        for balancer in balancers:
            namespace = APPLICATION if balancer.spec.type == "application" else NETWORK
            own: Dimensions = (("LoadBalancer", label_of(balancer)), ("TargetGroup", name))
            for zone in sorted({*healthy, *unhealthy} - {""}):
                yield (
                    namespace,
                    (("AvailabilityZone", zone), *own),
                    _hosts(healthy.get(zone, 0), unhealthy.get(zone, 0)),
                )
            yield namespace, own, _hosts(sum(healthy.values()), sum(unhealthy.values()))
            if namespace == APPLICATION:
                for zone in sorted(odd.keys() - {""}):
                    yield namespace, (("AvailabilityZone", zone), *own), _anomalies(odd[zone])
                yield namespace, own, _anomalies([one for its in odd.values() for one in its])
                standing = self._standing(group, balancer, look)
                for zone, stands in standing.items():
                    yield namespace, (("AvailabilityZone", zone), *own), _zones([stands])
                if standing:
                    yield namespace, own, _zones(list(standing.values()))
            if namespace == APPLICATION and registered and requests:
                per_target = [Value("RequestCountPerTarget", {requests / registered: 1})]
                yield namespace, own, per_target
                yield namespace, (("TargetGroup", name),), per_target

    def _standing(self, group: TargetGroup, balancer: LoadBalancer, look: TakenLook) -> dict[str, list[bool]]:
        """Which of the load balancer's zones have enough healthy targets of the group, as the agent tells it (core/targets.py, `zones`)."""
        found = self._told_of(group, look.zones, "zones")
        return {node.zone: found[node.interface] for node in balancer.spec.zones if node.interface in found}

    def _told_of(
        self, group: TargetGroup, told: dict[str, dict[str, list[bool]]] | None, what: str
    ) -> dict[str, list[bool]]:
        """What of a group was told with the look; else what its state says now."""
        name = f"TargetGroup/{core_name(group)}"
        if told is not None:
            return told.get(name, {})
        status = self._world.seen(name)
        found: dict[str, list[bool]] = status.data.get(what, {}) if status is not None else {}
        return found

    def _stood(self, group: TargetGroup, look: TakenLook) -> dict[str, list[str]] | None:
        """How its targets stood; None for a group that was not there yet."""
        name = f"TargetGroup/{core_name(group)}"
        if look.targets is not None:
            return look.targets.get(name)
        status = self._world.seen(name)
        return status.data.get("targets", {}) if status is not None else {}


def _values(found: Iterable[Number]) -> list[Value]:
    return [Value(name, {value: 1}, unit) for name, value, unit in found]


def _hosts(healthy: int, unhealthy: int) -> list[Value]:
    return [Value("HealthyHostCount", {float(healthy): 1}), Value("UnHealthyHostCount", {float(unhealthy): 1})]


def _anomalies(targets: list[list[bool]]) -> list[Value]:
    anomalous, less = (float(sum(one[index] for one in targets)) for index in (0, 1))
    return [Value("AnomalousHostCount", {anomalous: 1}), Value("MitigatedHostCount", {less: 1})]


def _zones(standing: list[list[bool]]) -> list[Value]:
    """AWS: how many zones meet what is wished of them, and how many do not, for names (DNS) and for routing."""
    return [
        Value(f"{word}State{of}", {float(sum(one[index] is good for one in standing)): 1})
        for index, of in enumerate(("DNS", "Routing"))
        for word, good in (("Healthy", True), ("Unhealthy", False))
    ]


def _told(sums: Sums, label: str, zone: str) -> Iterator[tuple[Dimensions, list[Value]]]:
    """What a node's sums say, under each set of dimensions."""
    balancer, place = ("LoadBalancer", label), ("AvailabilityZone", zone)
    whole, of_target = list(_of_balancer(sums)), list(_of_targets(sums))
    evaluated = [Value("RuleEvaluations", {float(sums.evaluated): 1})] if sums.evaluated else []
    yield (balancer,), [*whole, *of_target, *evaluated]
    yield (place, balancer), [*whole, *of_target]
    if sums.group:
        group = ("TargetGroup", sums.group.partition(":")[2].rpartition(":")[2])
        counted = [*of_target, Value("RequestCount", {float(sums.chosen): 1})]
        yield (balancer, group), counted
        yield (place, balancer, group), counted


def _of_balancer(sums: Sums) -> Iterable[Value]:
    counts = {
        "RequestCount": sums.chosen,
        "HTTP_Redirect_Count": sums.redirects,
        "HTTP_Fixed_Response_Count": sums.fixed,
        "GrpcRequestCount": sums.grpc,
        "DesyncMitigationMode_NonCompliant_Request_Count": sums.noncompliant,
        "ClientTLSNegotiationErrorCount": sums.tls_failures,
    }
    counts |= {f"HTTPCode_ELB_{code}_Count": count for code, count in sums.elb.items() if code != "2XX"}
    yield from (Value(name, {float(count): 1}) for name, count in counts.items() if count)
    yield Value("ProcessedBytes", {float(sums.received_bytes + sums.sent_bytes): 1}, "Bytes")


def _of_targets(sums: Sums) -> Iterable[Value]:
    yield from (Value(f"HTTPCode_Target_{code}_Count", {float(count): 1}) for code, count in sums.target.items())
    if sums.failed_over:
        yield Value("UnhealthyRoutingRequestCount", {float(sums.failed_over): 1})
    if sums.target_errors:
        yield Value("TargetConnectionErrorCount", {float(sums.target_errors): 1})
    if sums.times:
        times = {float(text): count for text, count in sums.times.items()}
        yield Value("TargetResponseTime", times, "Seconds")


def _join(known: dict[str, Value], values: Iterable[Value]) -> None:
    """Counts of several nodes and groups are each a value of the metric, as AWS's are; their Sum is what happened."""
    for value in values:
        before = known.get(value.name)
        if before is None:
            known[value.name] = value
            continue
        merged = dict(before.values)
        for number, count in value.values.items():
            merged[number] = merged.get(number, 0) + count
        known[value.name] = Value(value.name, merged, value.unit)


def _datum(series: Series, value: Value, start_ms: int, resolution_s: int) -> Datum:
    numbers, counts = tuple(value.values), tuple(map(float, value.values.values()))
    total = sum(number * count for number, count in zip(numbers, counts, strict=True))
    return Datum(
        series, start_ms, sum(counts), total, min(numbers), max(numbers), numbers, counts, value.unit, resolution_s
    )
