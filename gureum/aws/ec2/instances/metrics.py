"""AWS/EC2's metrics of running instances, AWS/EBS's of their volumes (volumes/metrics.py) and AWS/NATGateway's (nat_metrics.py), from what the
machine counts.

    agent: one look at all counters ─► Sample ─► what was done since the one before ─► Datum per instance and per group ─► telemetry store

AWS: "List the available CloudWatch metrics for your instances". Basic monitoring publishes every five minutes, detailed monitoring every minute
and also by image, by type and for all instances; status checks come every minute, CPU credits every five. With the setting `metrics_period_s` all
come that often. A data point bears the time at which its period began. While no daemon asks, the agent looks by itself and keeps its looks
(core/look_ring.py): the next daemon publishes those that no mark (core/published.py) says are published.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.ec2.instances.kinds import Instance, Volume
from gureum.aws.ec2.instances.lowering import cpus_of
from gureum.aws.ec2.interfaces.lending import attached_to
from gureum.aws.ec2.networks.kinds import NatGateway
from gureum.aws.ec2.networks.nat_metrics import begun, nat_datums
from gureum.aws.ec2.volumes.metrics import volume_datums
from gureum.core.credit_accounts import Counted
from gureum.core.looks import Look
from gureum.core.published import Published, end_of
from gureum.core.world import World
from gureum.engine.reconcile import ReconcileLoop
from gureum.engine.registry import background
from gureum.engine.tracing import Tracer
from gureum.ports import PortError
from gureum.ports.containers import Usage
from gureum.ports.networks import InterfaceCounters
from gureum.ports.telemetry import Datum, Series, TelemetryBroken, TelemetryFull
from gureum.ports.volumes import VolumeCounters

log = logging.getLogger("gureum.metrics")
NAMESPACE = "AWS/EC2"
BASIC_S, DETAILED_S = 300, 60
GROUP_TAG = "aws:autoscaling:groupName"
KEY = "metrics/ec2"


class Sample(msgspec.Struct, frozen=True):
    """One look at all counters. `time`: Unix seconds of the look."""

    time: float
    containers: dict[str, Usage]
    interfaces: dict[str, InterfaceCounters]
    volumes: dict[str, VolumeCounters] = {}
    credits: dict[str, Counted] = {}


class TakenLook(msgspec.Struct, frozen=True):
    """`machines`: what is seen of each, where the agent looked by itself."""

    time: float
    sample: Sample
    machines: dict[str, Look] | None = None


class Answer(msgspec.Struct, frozen=True):
    """The agent's answer to {"op": "counters"}."""

    looks: list[TakenLook]
    more: bool = False


class Done(msgspec.Struct, frozen=True):
    """What an instance has done in `seconds`; `cpu_s`: seconds of processors. `stores`: of its disk operations, those at its instance store; None
    when it has none."""

    seconds: float
    cpu_s: float
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int
    in_bytes: int = 0
    in_packets: int = 0
    out_bytes: int = 0
    out_packets: int = 0
    stores: DiskWork | None = None


class DiskWork(msgspec.Struct, frozen=True):
    """At disks together."""

    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@background("ec2 metrics")
async def publish_metrics(world: World) -> None:
    """Publishes at the end of every period, until cancelled."""
    publisher = Publisher(world)
    # A loop of its own with one key: what goes wrong in one period is logged and counted there, and the next one comes.
    loop = ReconcileLoop("metrics", publisher.work, world.clock, world.events, Tracer())
    try:
        loop.poke(KEY)
        while True:
            now = world.clock.now()
            await world.clock.sleep(publisher.next_end(now) - now)
            loop.poke(KEY)
    finally:
        await loop.close()


class Publisher:
    """Holds the sample that each length of period began with. `_newest`: the time of the look that was gone through last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tick_s = world.settings.metrics_period_s or DETAILED_S
        self._began: dict[int, Sample] = {}
        self._mark = Published(world, "ec2")
        self._published: float | None = None
        self._newest = 0.0

    def next_end(self, now: float) -> float:
        return (math.floor(now / self._tick_s) + 1) * float(self._tick_s)

    async def work(self, _: str) -> None:
        """One look, and those that the agent has taken meanwhile; what is due is published. What cannot be written is tried again at the next
        end, as long as the agent keeps it."""
        try:
            if self._published is None:
                self._published = await self._mark.last()
            await self._go_through()
        except PortError as away:
            log.debug("no counters", extra={"why": away.why})
        except (TelemetryFull, TelemetryBroken) as failed:
            log.warning("metrics of instances are not written", extra={"why": str(failed)})

    async def _go_through(self) -> None:
        # At its start a daemon takes no look between two ends, unless there is nothing to begin with.
        look, more = "now" if self._newest else "first", True
        while more:
            keep = min((sample.time for sample in self._began.values()), default=0.0)
            request = {"op": "counters", "after": self._newest, "keep": keep, "look": look}
            answer = msgspec.convert(await self._world.link.ask(request, timeout_s=10.0), Answer)
            for one in answer.looks:
                await self._publish(one)
            look, more = "no", answer.more and bool(answer.looks)

    async def _publish(self, look: TakenLook) -> None:
        """Nothing has changed when it raises."""
        end_s = end_of(look.time, self._tick_s)
        due = self._due(end_s)
        if look.time > (self._published or 0.0):
            datums = [
                datum
                for period_s in due
                if (began := self._began.get(period_s)) is not None
                for datum in self._datums(began, look, period_s, end_s)
            ]
            if datums:
                await self._world.metrics.write([*datums, self._mark.mark(look.time)])
        self._began |= dict.fromkeys(due, look.sample)
        self._newest = look.time

    def _due(self, end_s: int) -> list[int]:
        """Periods that end now; at the start all begin."""
        periods = [self._tick_s] if self._world.settings.metrics_period_s else [DETAILED_S, BASIC_S]
        return [period for period in periods if end_s % period == 0 or period not in self._began]

    def _datums(self, began: Sample, look: TakenLook, period_s: int, end_s: int) -> list[Datum]:
        ended = look.sample
        resolution_s = 1 if period_s < DETAILED_S else 60
        start_ms = (end_s - period_s) * 1000
        found: list[Datum] = []
        if self._world.settings.metrics_period_s or period_s == DETAILED_S:
            found += self._of_volumes(began, ended, start_ms, resolution_s)
            found += self._of_gateways(began, ended, start_ms, resolution_s)
        for instance in self._world.client.everywhere(Instance):
            if instance.status.state != "running":
                continue
            every = bool(self._world.settings.metrics_period_s)
            if every or period_s == DETAILED_S:
                values = status_checks(instance, look.machines)
                found += _spread(instance, values, start_ms, resolution_s, grouped=self._is_grouped(instance))
            if every or period_s == (DETAILED_S if instance.spec.monitoring else BASIC_S):
                done = self._done(instance, began, ended)
                if done is not None:
                    values = metrics_of(done, cpus_of(instance))
                    found += _spread(
                        instance,
                        values,
                        start_ms,
                        resolution_s,
                        grouped=self._is_grouped(instance),
                        everywhere=instance.spec.monitoring,
                    )
            if every or period_s == BASIC_S:
                values = self._of_credits(instance, began, ended)
                found += _spread(instance, values, start_ms, resolution_s, grouped=self._is_grouped(instance))
        return found

    def _of_credits(self, instance: Instance, began: Sample, ended: Sample) -> Values:
        name = instance.meta.name
        after, done = ended.credits.get(name), difference(name, (), began, ended)
        if after is None or done is None:
            return {}
        unlimited = instance.spec.cpu_credits == "unlimited"
        return credit_metrics(done, began.credits.get(name), after, unlimited=unlimited)

    def _is_grouped(self, instance: Instance) -> bool:
        """Not one that its Auto Scaling group only keeps warm: it bears the group's tag, but none of its load."""
        marks = self._world.registry.marks("outside-group").values()
        return not any(one.target(self._world.client, instance) for one in marks)

    def _of_volumes(self, began: Sample, ended: Sample, start_ms: int, resolution_s: int) -> Iterable[Datum]:
        seconds = ended.time - began.time
        for volume in self._world.client.everywhere(Volume) if seconds > 0 else ():
            before, after = began.volumes.get(volume.meta.name), ended.volumes.get(volume.meta.name)
            if before is not None and after is not None:
                yield from volume_datums(volume, before, after, seconds, start_ms, resolution_s)

    def _of_gateways(self, began: Sample, ended: Sample, start_ms: int, resolution_s: int) -> Iterable[Datum]:
        for gateway in self._world.client.everywhere(NatGateway):
            name = gateway.spec.interface
            before, after = began.interfaces.get(name), ended.interfaces.get(name)
            if after is not None and after.translation is not None:
                counted = begun(before.translation if before is not None else None)
                yield from nat_datums(gateway, counted, after.translation, start_ms, resolution_s)

    def _done(self, instance: Instance, began: Sample, ended: Sample) -> Done | None:
        client, name = self._world.client, instance.meta.name
        interfaces = attached_to(client, instance.meta.scope, name)
        done = difference(name, [one.meta.name for one in interfaces], began, ended)
        stores = [one.volume for one in instance.spec.stores]
        return msgspec.structs.replace(done, stores=work_at(stores, began, ended)) if done and stores else done


def difference(name: str, interfaces: Iterable[str], began: Sample, ended: Sample) -> Done | None:
    """What the instance has done between two looks; None when one of them has not seen it. After a reboot its counters begin anew."""
    before, after = began.containers.get(name), ended.containers.get(name)
    seconds = ended.time - began.time
    if before is None or after is None or seconds <= 0:
        return None
    done = [
        _grown(getattr(before, field), getattr(after, field))
        for field in ("cpu_ns", "read_bytes", "written_bytes", "reads", "writes")
    ]
    moved = [0, 0, 0, 0]
    for interface in interfaces:
        old, new = began.interfaces.get(interface), ended.interfaces.get(interface)
        if new is not None:
            pairs = zip(_moved(old or _NOTHING), _moved(new), strict=True)
            moved = [sum_ + _grown(*pair) for sum_, pair in zip(moved, pairs, strict=True)]
    cpu_ns, read_bytes, written_bytes, reads, writes = done
    in_bytes, in_packets, out_bytes, out_packets = moved
    disks = (read_bytes, written_bytes, reads, writes)
    return Done(seconds, cpu_ns / 1e9, *disks, in_bytes, in_packets, out_bytes, out_packets)


def work_at(volumes: Iterable[str], began: Sample, ended: Sample) -> DiskWork:
    """What was done at volumes between two looks."""
    pairs = [
        (began.volumes.get(one, _UNUSED), after) for one in volumes if (after := ended.volumes.get(one)) is not None
    ]
    sums = {
        field: sum(_grown(getattr(before, field), getattr(after, field)) for before, after in pairs)
        for field in DiskWork.__struct_fields__
    }
    return DiskWork(**sums)


_UNUSED = VolumeCounters()
_NOTHING = InterfaceCounters(0, 0, 0, 0)


def _moved(counters: InterfaceCounters) -> tuple[int, int, int, int]:
    return counters.in_bytes, counters.in_packets, counters.out_bytes, counters.out_packets


def _grown(before: int, after: int) -> int:
    return after - before if after >= before else after


Values = dict[str, tuple[float, str]]
"""Metric → (value, unit)."""


def metrics_of(done: Done, cpus: float) -> Values:
    """CPUUtilization is of the processors that the instance has, as on AWS. EBS: of its volumes together, as Nitro instances tell; Disk: of its
    instance store."""
    cpu = 100.0 * done.cpu_s / (done.seconds * cpus) if cpus else 0.0
    stores = done.stores or DiskWork()
    values = {
        "CPUUtilization": (min(cpu, 100.0), "Percent"),
        "NetworkIn": (float(done.in_bytes), "Bytes"),
        "NetworkOut": (float(done.out_bytes), "Bytes"),
        "NetworkPacketsIn": (float(done.in_packets), "Count"),
        "NetworkPacketsOut": (float(done.out_packets), "Count"),
        "EBSReadBytes": (_rest(done.read_bytes, stores.read_bytes), "Bytes"),
        "EBSWriteBytes": (_rest(done.written_bytes, stores.written_bytes), "Bytes"),
        "EBSReadOps": (_rest(done.reads, stores.reads), "Count"),
        "EBSWriteOps": (_rest(done.writes, stores.writes), "Count"),
    }
    if done.stores is None:
        return values
    return values | {
        "DiskReadBytes": (float(stores.read_bytes), "Bytes"),
        "DiskWriteBytes": (float(stores.written_bytes), "Bytes"),
        "DiskReadOps": (float(stores.reads), "Count"),
        "DiskWriteOps": (float(stores.writes), "Count"),
    }


def _rest(done: int, elsewhere: int) -> float:
    """The two are counted at different places and may differ a little."""
    return float(max(0, done - elsewhere))


def credit_metrics(done: Done, before: Counted | None, after: Counted, *, unlimited: bool) -> Values:
    """Of a burstable instance. AWS: "Monitor your CPU credits": the last two are of unlimited ones only; what a switch to standard has charged is
    told nevertheless."""
    charged = after.charged
    if before is not None and before.charged <= after.charged:
        charged -= before.charged
    values = {"CPUCreditUsage": done.cpu_s / 60, "CPUCreditBalance": after.balance}
    if unlimited:
        values["CPUSurplusCreditBalance"] = after.surplus
    if unlimited or charged:
        values["CPUSurplusCreditsCharged"] = charged
    return {name: (value, "Count") for name, value in values.items()}


def status_checks(instance: Instance, machines: dict[str, Look] | None = None) -> Values:
    """What the newest looks said (status_checks.py), or what the agent saw when it looked by itself; nothing before the first look."""
    checks = instance.status.checks
    if checks is None:
        return {}
    failed = {"_System": checks.system, "_Instance": checks.instance, "_AttachedEBS": checks.disks}
    if machines is not None:
        seen = machines.get(instance.meta.name)
        if seen is None:
            return {}
        failed = {"_System": not seen.runs, "_Instance": not seen.answers, "_AttachedEBS": not seen.disks}
    values = {"": max(failed.values())} | failed
    return {f"StatusCheckFailed{name}": (float(bool(since)), "Count") for name, since in values.items()}


def _spread(
    instance: Instance, values: Values, start_ms: int, resolution_s: int, *, grouped: bool, everywhere: bool = False
) -> Iterable[Datum]:
    """The values under each set of dimensions that AWS gives them."""
    sets: list[dict[str, Any]] = [{"InstanceId": instance.meta.name}]
    if grouped and (group := instance.meta.tags.get(GROUP_TAG)):
        sets.append({"AutoScalingGroupName": group})
    if everywhere:
        sets += [{"ImageId": instance.spec.image}, {"InstanceType": instance.spec.type}, {}]
    for dimensions in sets:
        for name, (value, unit) in values.items():
            series = Series(instance.meta.scope, NAMESPACE, name, tuple(dimensions.items()))
            yield Datum(series, start_ms, 1.0, value, value, value, (value,), (1.0,), unit, resolution_s)
