"""Upkeep of the files of log events: what is over its retention or dropped goes, many small files of a day become few."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from gureum.ports.telemetry import TelemetryBroken
from gureum.telemetry.archive import Archive
from gureum.telemetry.catalog import FileInfo
from gureum.telemetry.jobs import FILE_ROWS, MergeLogs, Sealed

DAY_MS = 24 * 3600 * 1000
MANY_FILES = 8
MAX_MERGED_BYTES = 256 * 1024 * 1024


def plan_merges(files: Iterable[FileInfo]) -> list[list[FileInfo]]:
    """Files of one group and day that become full ones, or one. Of one day, so that retention can take whole files."""
    merges = []
    ordered = sorted(files, key=lambda one: (one.group, one.max_ms // DAY_MS, one.min_ms, one.name))
    for _, day in groupby(ordered, key=lambda one: (one.group, one.max_ms // DAY_MS)):
        small = [one for one in day if one.rows < FILE_ROWS // 2 and one.size_bytes < MAX_MERGED_BYTES // MANY_FILES]
        if len(small) >= MANY_FILES:
            merges.append(_within_limit(small))
    return merges


def over(files: Iterable[FileInfo], kept_days: dict[str, int], now_ms: int) -> list[FileInfo]:
    """Files whose newest event is older than its group keeps."""
    return [one for one in files if one.group in kept_days and one.max_ms < now_ms - kept_days[one.group] * DAY_MS]


def is_gone(file: FileInfo, dropped: dict[str, int]) -> bool:
    """Whether all its events are dropped."""
    whole = dropped.get("", 0)
    return all(file.max_sequence <= max(whole, dropped.get(name, 0)) for name in file.streams)


def plan_forgetting(
    files: Iterable[FileInfo], dropped: dict[str, dict[str, int]], sealed_sequence: int
) -> list[tuple[str, str]]:
    """Groups and streams of which nothing that was dropped is left: not in the log of writes, nor in a file."""
    by_group: dict[str, list[FileInfo]] = {}
    for one in files:
        by_group.setdefault(one.group, []).append(one)
    return [
        (group, stream)
        for group, streams in dropped.items()
        for stream, upto in streams.items()
        if upto <= sealed_sequence
        and not any(one.min_sequence <= upto and stream in ("", *one.streams) for one in by_group.get(group, []))
    ]


async def tend_logs(archive: Archive, busy: Callable[[], bool] = lambda: False) -> None:
    """TelemetryFull, TelemetryBroken; what was done until then stays. Ends before the next merge when `busy()`."""
    async with archive.upkeep:
        await _tend(archive, busy)


async def _tend(archive: Archive, busy: Callable[[], bool]) -> None:
    catalog = archive.catalog
    gone = over(_files(archive), catalog.kept, archive.now_ms)
    names = {one.name for one in gone}
    for group, dropped in catalog.dropped.items():
        gone += [one for one in catalog.files_of(group) if one.name not in names and is_gone(one, dropped)]
    if gone:
        await archive.replace([], gone)
    for parts in plan_merges(_files(archive)):
        if busy():
            return
        group, number = parts[0].group, catalog.merged() + 1
        days = catalog.kept.get(group)
        job = MergeLogs(
            files=[one.name for one in parts],
            group=group,
            name=f"merged-{number:08}",
            dropped=dict(catalog.dropped.get(group, {})),
            cutoff_ms=0 if days is None else archive.now_ms - days * DAY_MS,
        )
        result = await archive.worker.do(job)
        if not isinstance(result, Sealed):
            raise TelemetryBroken("the worker gave another answer than was asked for")
        await archive.replace(result.files, parts, meta={"merged": number})
    fulfilled = plan_forgetting(_files(archive), catalog.dropped, catalog.sequence())
    if fulfilled:
        await archive.write(lambda: catalog.forget_dropped(fulfilled))
        for group, stream in fulfilled:
            catalog.dropped[group].pop(stream, None)


def _files(archive: Archive) -> list[FileInfo]:
    return [one for one in archive.catalog.files.values() if one.signal == "logs"]


def _within_limit(files: list[FileInfo]) -> list[FileInfo]:
    size = 0
    taken: list[FileInfo] = []
    for one in files:
        size += one.size_bytes
        if taken and size > MAX_MERGED_BYTES:
            break
        taken.append(one)
    return taken
