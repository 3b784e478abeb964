"""The way of log events into gureum, whoever brings them: PutLogEvents, consoles of machines, flow logs.

    append to the telemetry store (durable) ──► metric filters ──► metrics
                                           ──► subscriptions ──► groups that they lead to
                                           ──► live tails

Names, limits and times have been checked by the caller.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, cast

from gureum.aws.logs.filter_metrics import datums_of
from gureum.aws.logs.kinds import GroupSpec, LogGroup, LogStream, MetricFilter, StreamSpec, SubscriptionFilter, key_name
from gureum.aws.logs.patterns import compile_pattern
from gureum.base.ids import new_id
from gureum.core.log_tails import LogTails, each
from gureum.engine.client import Client
from gureum.engine.resource import Meta
from gureum.ports.telemetry import Datum, LogEvent, Logs, Metrics, TelemetryBroken, TelemetryFull
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.logs")
GROUP_ARN = ":log-group:"


class Sink(Protocol):
    """Where events go: a Call, or the World."""

    client: Client
    logs: Logs
    metrics: Metrics
    tails: LogTails


async def ingest(
    sink: Sink | Any, scope: str, group: LogGroup, events: Sequence[LogEvent], *, forwarded: bool = False
) -> None:
    """Durable when it returns. `forwarded`: they come from a subscription, which leads no further (else two groups could feed each other)."""
    await sink.logs.append(scope, group.spec.name, events)
    try:
        await _spread(sink, scope, group, events, forwarded=forwarded)
    except (Conflict, StoreFull, StoreBroken, TelemetryFull, TelemetryBroken) as failed:
        # The events are kept. An error here would make their sender send them again.
        log.warning("log events were not passed on", extra={"group": group.spec.name, "why": str(failed)})
    await sink.tails.publish(scope, group.spec.name, events)


async def _spread(
    sink: Sink | Any, scope: str, group: LogGroup, events: Sequence[LogEvent], *, forwarded: bool
) -> None:
    """To metrics and to other groups."""
    datums: list[Datum] = []
    for one in list(sink.client.by(MetricFilter, scope, "group", group.meta.name)):
        read = compile_pattern(one.spec.pattern).read
        lookups = await each(lambda event, read=read: read(event.message), events)  # type: ignore[misc]
        datums += datums_of(one.spec, scope, events, lookups)
    if datums:
        await sink.metrics.write(datums)
    if not forwarded:
        for subscription in list(sink.client.by(SubscriptionFilter, scope, "group", group.meta.name)):
            await _forward(sink, scope, subscription, events)


async def _forward(sink: Sink, scope: str, subscription: SubscriptionFilter, events: Sequence[LogEvent]) -> None:
    """To the group that the subscription names, into a stream of the same name; nothing when that group is gone."""
    test = compile_pattern(subscription.spec.pattern).test
    fits = await each(lambda event: test(event.message), events)
    found = [event for event, fit in zip(events, fits, strict=True) if fit]
    name = subscription.spec.destination.partition(GROUP_ARN)[2]
    target = sink.client.get(LogGroup, scope, key_name(name))
    if not found or target is None:
        return
    for stream in {event.stream for event in found}:
        await need_stream(sink, scope, target, stream)
    await ingest(sink, scope, target, found, forwarded=True)


async def need_group(sink: Sink | Any, scope: str, name: str) -> LogGroup:
    """The group of that name, a new one when there was none. Conflict when another made or deleted it meanwhile."""
    found = sink.client.get(LogGroup, scope, key_name(name))
    if found is not None:
        return cast(LogGroup, found)
    meta = Meta(scope=scope, name=key_name(name), uid=new_id("", 32), created=sink.client.clock.now())
    transaction = sink.client.transaction()
    made = transaction.create(LogGroup(meta=meta, spec=GroupSpec(name)))
    await transaction.commit()
    return cast(LogGroup, sink.client.get(LogGroup, scope, key_name(name)) or made)


async def need_stream(sink: Sink | Any, scope: str, group: LogGroup, stream: str) -> None:
    """The stream is there when it returns. Conflict when the group is not."""
    name = key_name(group.spec.name, stream)
    if sink.client.get(LogStream, scope, name) is not None:
        return
    transaction = sink.client.transaction()
    transaction.require(group)
    meta = Meta(scope=scope, name=name, uid=new_id("", 32), created=sink.client.clock.now())
    transaction.create(LogStream(meta=meta, spec=StreamSpec(group.spec.name, stream)))
    try:
        await transaction.commit()
    except Conflict:
        if sink.client.get(LogStream, scope, name) is None:
            raise
