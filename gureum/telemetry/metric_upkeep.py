"""Upkeep of the files of metrics: rolled up as AWS does, merged where there are many, removed after 455 days.

AWS: CloudWatch concepts, "Metrics retention": under 60 s for 3 hours, 60 s for 15 days, 300 s for 63 days, 3600 s for 455 days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from gureum.ports.telemetry import TelemetryBroken
from gureum.telemetry.archive import Archive
from gureum.telemetry.catalog import METRICS, FileInfo
from gureum.telemetry.jobs import MergeMetrics, Sealed

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
ROLL_UPS = ((1, 3 * HOUR_MS, 60), (60, 15 * DAY_MS, 300), (300, 63 * DAY_MS, 3600))
"""Resolution in seconds, age at which it ends, resolution from then on."""
LAST_RESOLUTION_S, LAST_AGE_MS = 3600, 455 * DAY_MS
MANY_FILES = 8
MAX_MERGED_ROWS = 8_000_000


def plan_metrics(files: Iterable[FileInfo], now_ms: int) -> tuple[list[FileInfo], list[tuple[list[FileInfo], int]]]:
    """Which files go, and which are made into one of what resolution: of one day each, so that whole files can go."""
    left = sorted(files, key=lambda one: (one.resolution_s, one.max_ms // DAY_MS, one.min_ms, one.name))
    over = [one for one in left if one.resolution_s == LAST_RESOLUTION_S and one.max_ms < now_ms - LAST_AGE_MS]
    merges: list[tuple[list[FileInfo], int]] = []
    for (resolution_s, _), day in groupby(left, key=lambda one: (one.resolution_s, one.max_ms // DAY_MS)):
        old: list[FileInfo] = []
        young: list[FileInfo] = []
        for one in day:
            if one not in over:
                (old if _next_resolution(resolution_s, one.max_ms, now_ms) else young).append(one)
        if old:
            merges.append((_within_limit(old), _next_resolution(resolution_s, old[0].max_ms, now_ms)))
        small = [one for one in young if one.rows < MAX_MERGED_ROWS // MANY_FILES]
        if len(small) >= MANY_FILES:
            merges.append((_within_limit(small), resolution_s))
    return over, merges


async def tend_metrics(archive: Archive, busy: Callable[[], bool] = lambda: False) -> None:
    """TelemetryFull, TelemetryBroken; what was done until then stays. Ends before the next merge when `busy()`."""
    async with archive.upkeep:
        await _tend(archive, busy)


async def _tend(archive: Archive, busy: Callable[[], bool]) -> None:
    files = archive.catalog.files_of(METRICS)
    over, merges = plan_metrics(files, archive.now_ms)
    if over:
        await archive.replace([], over)
    for parts, resolution_s in merges:
        if busy():
            return
        number = archive.catalog.merged() + 1
        job = MergeMetrics([one.name for one in parts], resolution_s, f"merged-{number:08}")
        result = await archive.worker.do(job)
        if not isinstance(result, Sealed):
            raise TelemetryBroken("the worker gave another answer than was asked for")
        await archive.replace(result.files, parts, meta={"merged": number})


def _next_resolution(resolution_s: int, max_ms: int, now_ms: int) -> int:
    """0: it is kept as it is."""
    return next((then for now, age, then in ROLL_UPS if now == resolution_s and max_ms < now_ms - age), 0)


def _within_limit(files: list[FileInfo]) -> list[FileInfo]:
    """The first of them, as many as one job should take."""
    rows = 0
    taken: list[FileInfo] = []
    for one in files:
        rows += one.rows
        if taken and rows > MAX_MERGED_ROWS:
            break
        taken.append(one)
    return taken
