"""What an export task does: first a test object, then of each stream its events, in objects of so many bytes.

    [PREFIX/]aws-logs-write-test              whether the bucket takes anything
    PREFIX/TASK/STREAM/000000.gz              lines of "2026-11-29T16:38:12.000Z MESSAGE"; `/` in a stream's name is `-`

A daemon that dies on the way begins again: the same objects get the same content.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec

from gureum.aws.logs.export_tasks import ACTIVE, DEFAULT_PREFIX, ExportStatus, ExportTask
from gureum.aws.logs.kinds import LogGroup, key_name
from gureum.core.neighbours import NOT_ANSWERS, NeighbourRefused
from gureum.core.world import World
from gureum.engine.errors import Retry
from gureum.engine.registry import reconcile
from gureum.ports.telemetry import LogEvent, TelemetryBroken

LIMIT_OBJECT_BYTES = 16 * 1_048_576
"""Of text, before it is compressed; an object is held in memory."""
PAGE_BYTES = 1_048_576
RETRY_S = 5.0


@reconcile(ExportTask)
async def reconcile_export(world: World, task: ExportTask) -> None:
    """Runs it to its end. AWS: FAILED with a reason where the bucket or the group has gone."""
    if task.status.code not in ACTIVE:
        return
    if task.status.code == "PENDING":
        await _set(world, task, ExportStatus("RUNNING"))
    try:
        await _export(world, task)
        status = ExportStatus("COMPLETED", "Completed successfully", world.clock.now())
    except NeighbourRefused as refused:
        if refused.code in NOT_ANSWERS:
            raise Retry(refused.text, RETRY_S) from refused
        status = ExportStatus("FAILED", refused.text, world.clock.now())
    except TelemetryBroken as broken:
        status = ExportStatus("FAILED", str(broken), world.clock.now())
    await _set(world, task, status)


async def _export(world: World, task: ExportTask) -> None:
    spec = task.spec
    trial = f"{spec.prefix}/aws-logs-write-test" if spec.prefix else "aws-logs-write-test"
    await _put(world, task, trial, b"Permission Check Successful", "text/plain")
    # Streams whose names differ in `/` and `-` alone have one folder.
    written: Counter[str] = Counter()
    for info in await world.logs.streams(task.meta.scope, spec.group):
        if not info.stream.startswith(spec.streams):
            continue
        folder = f"{spec.prefix or DEFAULT_PREFIX}/{task.meta.name}/{info.stream.replace('/', '-')}"
        async for text in _texts(world, task, info.stream):
            if not _is_wanted(world, task):
                return
            data = await asyncio.to_thread(gzip.compress, text, 6, mtime=0)
            await _put(world, task, f"{folder}/{written[folder]:06}.gz", data, "application/x-gzip")
            written[folder] += 1
    if world.client.get(LogGroup, task.meta.scope, key_name(spec.group)) is None:
        raise NeighbourRefused("ResourceNotFoundException", "The specified log group does not exist.")


async def _texts(world: World, task: ExportTask, stream: str) -> AsyncIterator[bytes]:
    """The stream's events, as many as come into an object at a time."""
    spec, place, size = task.spec, "", 0
    lines: list[bytes] = []
    while True:
        page = await world.logs.read(
            task.meta.scope,
            spec.group,
            streams=(stream,),
            start_ms=spec.first_ms,
            end_ms=spec.last_ms + 1,
            limit_bytes=PAGE_BYTES,
            place=place,
        )
        place = page.forward
        found = [_line(event) for event in page.events]
        lines, size = lines + found, size + sum(map(len, found))
        if size >= LIMIT_OBJECT_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
        if page.done or not page.events:
            break
    if lines:
        yield b"".join(lines)


def _line(event: LogEvent) -> bytes:
    time = datetime.fromtimestamp(event.time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{time} {event.message}\n".encode()


async def _put(world: World, task: ExportTask, key: str, data: bytes, type_: str) -> None:
    account, region = task.meta.scope.split("/")
    wanted = {"Bucket": task.spec.bucket, "Key": key, "Body": data, "ContentType": type_}
    wanted["ACL"] = "bucket-owner-full-control"
    await world.neighbours.ask("s3", "PutObject", account, region, wanted)


def _is_wanted(world: World, task: ExportTask) -> bool:
    """Whether nobody has cancelled it."""
    now = world.client.get(ExportTask, task.meta.scope, task.meta.name)
    return now is not None and now.status.code in ACTIVE


async def _set(world: World, task: ExportTask, status: ExportStatus) -> None:
    """Unless it has been cancelled meanwhile."""
    now = world.client.get(ExportTask, task.meta.scope, task.meta.name)
    if now is None or not _is_wanted(world, task):
        return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(now, status=status))
    await transaction.commit()
