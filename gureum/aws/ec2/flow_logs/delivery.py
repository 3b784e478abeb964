"""Delivery of flow logs: windows that wait in the agent become records in a log group or a file, in order; then the agent forgets them.

A window may be delivered twice when the daemon dies between the two; none is lost but those that the agent could not hold.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from pathlib import Path

import msgspec

from gureum.aws.ec2.flow_logs.files import file_name, file_text, write
from gureum.aws.ec2.flow_logs.flow_logs import FlowLog, FlowLogStatus
from gureum.aws.ec2.flow_logs.records import (
    NONE,
    PATH_INTERNET_GATEWAY,
    PATH_PEERING,
    PATH_SAME_VPC,
    Place,
    parse_format,
    render,
)
from gureum.aws.ec2.networks.kinds import NetworkInterface, Vpc
from gureum.aws.ec2.regions import zone_id
from gureum.aws.logs.ingest import ingest, need_group, need_stream
from gureum.core import specs
from gureum.core.flow_windows import Window
from gureum.core.world import World
from gureum.engine.errors import Retry
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of
from gureum.ports import PortError
from gureum.ports.telemetry import LogEvent, TelemetryBroken, TelemetryFull

LOGS = "gureum.aws.logs"
RETRY_S = 5.0
LIMIT_ROUNDS = 1000
UNKNOWN_ERROR = "Unknown error"


@reconcile(FlowLog)
async def reconcile_flow_log(world: World, log: FlowLog) -> None:
    """Delivers what waits. AWS: DeliverLogsStatus tells whether that succeeds."""
    seen = world.seen(f"FlowLog/{log.meta.name}")
    if seen is None:
        return
    if seen.phase == "failed":
        await _set_status(world, log, FlowLogStatus("FAILED", UNKNOWN_ERROR))
        return
    if not seen.data.get("newest"):
        return
    try:
        await _deliver_all(world, log)
    except PortError as away:
        raise Retry(away.why, RETRY_S) from away
    except (OSError, TelemetryFull, TelemetryBroken) as failed:
        await _set_status(world, log, FlowLogStatus("FAILED", UNKNOWN_ERROR))
        raise Retry(f"records cannot be written: {failed}", RETRY_S) from failed
    await _set_status(world, log, FlowLogStatus())


async def _deliver_all(world: World, log: FlowLog) -> None:
    done = 0
    for _ in range(LIMIT_ROUNDS):
        windows = await world.link.flows(log.meta.name, done)
        if not windows:
            return
        await deliver(world, log, windows)
        done = windows[-1].number


async def deliver(world: World, log: FlowLog, windows: list[Window]) -> None:
    """Writes the records of `windows`. OSError for a file that cannot be written."""
    if log.spec.destination.type == "s3":
        await _to_files(world, log, windows)
    else:
        await _to_group(world, log, windows)


async def _to_group(world: World, log: FlowLog, windows: list[Window]) -> None:
    """AWS: the stream is named after the interface and the traffic: "eni-…-all"."""
    world.load(LOGS)
    scope, fields = log.meta.scope, parse_format(log.spec.log_format)
    group = await need_group(world, scope, log.spec.destination.group)
    now = int(world.clock.now() * 1000)
    events: list[LogEvent] = []
    for window in windows:
        stream = f"{window.interface}-{log.spec.traffic.lower()}"
        await need_stream(world, scope, group, stream)
        records = render(fields, window, place_of(world, scope, window.interface))
        events += [LogEvent(stream, window.start * 1000, now, record) for record in records]
    await ingest(world, scope, group, events)


async def _to_files(world: World, log: FlowLog, windows: list[Window]) -> None:
    """One file for the windows of an interval."""
    account, region = log.meta.scope.split("/")
    fields = parse_format(log.spec.log_format)
    for start, group in groupby(windows, key=lambda window: window.start):
        records = [
            record
            for window in group
            for record in render(fields, window, place_of(world, log.meta.scope, window.interface))
        ]
        text = file_text(fields, records)
        name = file_name(log.spec.destination, account, region, log.meta.name, start, text)
        await asyncio.to_thread(write, Path(world.settings.home), log.spec.destination.bucket, name, text)


def place_of(world: World, scope: str, interface: str) -> Place:
    """What records say of an interface; of one that is gone only its name."""
    account, region = scope.split("/")
    eni = world.client.get(NetworkInterface, scope, interface)
    if eni is None:
        return Place(account, region, interface)
    vpc = world.client.get(Vpc, scope, eni.spec.vpc)
    attachment = eni.spec.attachment
    return Place(
        account=account,
        region=region,
        interface=interface,
        vpc=eni.spec.vpc,
        subnet=eni.spec.subnet,
        instance=attachment.instance if attachment is not None and not eni.spec.requester else NONE,
        zone_id=zone_id(eni.spec.zone),
        paths=paths_of(world, vpc, eni.spec.subnet) if vpc is not None else (),
    )


def paths_of(world: World, vpc: Vpc, subnet: str) -> tuple[tuple[str, str], ...]:
    """Of the routes that are in force in the subnet. AWS: traffic-path."""
    for one in world.lowering.of(key_of(vpc)):
        if isinstance(one.spec, specs.Network):
            routes = [route for of in one.spec.network.subnets if of.name == subnet for route in of.routes]
            return tuple((route.destination, _PATHS.get(route.target.partition(":")[0], "")) for route in routes)
    return ()


_PATHS = {
    "local": PATH_SAME_VPC,
    "interface": PATH_SAME_VPC,
    "peer": PATH_PEERING,
    "internet": PATH_INTERNET_GATEWAY,
}


async def _set_status(world: World, log: FlowLog, status: FlowLogStatus) -> None:
    current = world.client.get(FlowLog, log.meta.scope, log.meta.name)
    if current is None or current.status == status:
        return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(current, status=status))
    await transaction.commit()
