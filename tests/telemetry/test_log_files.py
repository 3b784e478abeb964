"""Parquet files of log events: blocks by stream, full files, pages over them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np

from gureum.telemetry.catalog import FileInfo
from gureum.telemetry.jobs import MergeLogs, ReadLogs
from gureum.telemetry.log_files import FileShape, LogFiles, folder_of
from gureum.telemetry.log_parts import Part, Parts

GROUP = "scope\0group"
ROWS, STREAMS = 10_000, 7


def merged(folder: Path) -> tuple[LogFiles, list[FileInfo]]:
    """Three events a millisecond, each of the next stream; made into files of about 3,000 in blocks of 512."""
    sql = duckdb.connect()
    place = folder / "logs" / folder_of(GROUP)
    place.mkdir(parents=True)
    sql.execute(
        f"COPY (SELECT 'scope' AS scope, 'group' AS log_group, 's' || (n % {STREAMS}) AS stream, (n // 3)::BIGINT AS time_ms, "
        f"0::BIGINT AS ingested_ms, n::BIGINT AS sequence, 'm' || n AS message FROM range({ROWS}) t(n)) "
        f"TO '{place / 'raw.parquet'}' (FORMAT parquet)"
    )
    files = LogFiles(sql, folder, file_rows=3000, block=512)
    job = MergeLogs([f"{place.name}/raw.parquet"], GROUP, "merged-00000001", {"s6": 99}, cutoff_ms=0)
    return files, files.merge(job).files


def page(
    files: LogFiles,
    infos: list[FileInfo],
    streams: list[str],
    *,
    first: int,
    forward: bool,
    dropped: dict[str, int] | None = None,
    limit_bytes: int = 1 << 20,
) -> list[int]:
    """Numbers of the next 100 events from (before, backward) the event `first`."""
    here, all_ = (first // 3, first), (0, 0)
    job = ReadLogs(
        [(one.name, one.min_ms, one.max_ms) for one in infos],
        streams,
        dropped or {},
        here if forward else all_,
        (ROWS, 0) if forward else here,
        100,
        limit_bytes,
        forward,
    )
    return [one.sequence for one in files.read(job).events]


def test_a_merge_makes_full_files_one_after_the_other(tmp_path: Path) -> None:
    _, infos = merged(tmp_path)
    gone = len(range(6, 100, STREAMS))
    assert [one.name.rpartition("/")[2] for one in infos] == [f"merged-00000001-{n:03}.parquet" for n in range(3)]
    assert sum(one.rows for one in infos) == ROWS - gone
    assert max(one.rows for one in infos) - min(one.rows for one in infos) < 3
    assert all(one.max_sequence < other.min_sequence for one, other in pairwise(infos))


def test_pages_of_a_stream_and_of_all_are_whole_in_both_directions(tmp_path: Path) -> None:
    files, infos = merged(tmp_path)
    kept = [n for n in range(ROWS) if not (n % STREAMS == 6 and n < 100)]
    for streams in ([], ["s3"], ["s6", "s0"]):
        wanted = [n for n in kept if not streams or f"s{n % STREAMS}" in streams]
        for first in (0, 50, 3331, 6666, 9990, ROWS):
            behind = [n for n in wanted if n >= first]
            before = [n for n in wanted if n < first]
            assert page(files, infos, streams, first=first, forward=True) == behind[:100]
            assert page(files, infos, streams, first=first, forward=False) == before[::-1][:100]


def test_files_that_reading_does_not_come_to_are_not_opened(tmp_path: Path) -> None:
    files, infos = merged(tmp_path)
    later = FileInfo(name="not/there.parquet", signal="logs", min_ms=ROWS, max_ms=ROWS, rows=1, size_bytes=1)
    assert page(files, [*infos, later], ["s3"], first=0, forward=True)[0] == 3


def test_files_that_may_come_next_are_looked_into_until_something_is_asked_for(tmp_path: Path) -> None:
    _, infos = merged(tmp_path)
    names = [one.name for one in infos]
    files = [(one.name, one.min_ms, one.max_ms) for one in infos]
    for forward in (True, False):
        known: dict[str, FileShape] = {}
        reader = LogFiles(duckdb.connect(), tmp_path, known)
        job = ReadLogs(files, ["s3"], {}, (0, 0), (ROWS, 0), 100, 1 << 20, forward)
        reader.look_ahead(job, lambda known=known: len(known) == 2)  # type: ignore[misc]
        assert list(known) == (names[:2] if forward else names[:0:-1])
        reader.look_ahead(job, lambda: False)
        assert sorted(known) == names


def test_pages_that_were_read_in_part_are_read_from_memory(tmp_path: Path) -> None:
    files, infos = merged(tmp_path)
    before = page(files, infos, ["s2"], first=5000, forward=True)
    for path in (tmp_path / "logs").rglob("merged*"):
        path.write_bytes(b"")  # so whoever looks into one fails
    assert page(files, infos, ["s2"], first=5000, forward=True) == before
    assert page(files, infos, ["s2"], first=before[10], forward=True) == before[10:] + [
        before[-1] + STREAMS * n for n in range(1, 11)
    ]
    assert page(files, infos, ["s2"], first=before[99], forward=False)[::-1][-50:] == before[49:99]


def test_parts_of_a_stream_honour_what_was_dropped_since(tmp_path: Path) -> None:
    files, infos = merged(tmp_path)
    before = page(files, infos, ["s1"], first=0, forward=True)
    assert page(files, infos, ["s1"], first=0, forward=True, dropped={"s1": before[7], "s2": ROWS})[0] == before[8]
    assert page(files, infos, ["s1"], first=0, forward=True, dropped={"": before[30]})[0] == before[31]
    assert page(files, infos, ["s1"], first=0, forward=True) == before


def test_a_page_whose_first_event_is_larger_than_the_page_goes_on_behind_it(tmp_path: Path) -> None:
    files, infos = merged(tmp_path)
    for streams in (["s1"], ["s1", "s2"], []):
        found = page(files, infos, streams, first=0, forward=True, limit_bytes=1)
        assert len(found) == 2, "the one that is too much tells that there are more"


def test_the_oldest_parts_go_when_they_are_too_many() -> None:
    parts, column = Parts(limit_bytes=40_000), np.arange(100)
    part = Part(column, column, column, np.array(["x" * 50] * 100, dtype=object))
    for at in range(10):
        parts.keep("file", at, "stream", part)
        assert parts.find("file", 0, "stream") is part, "it was looked at last"
    assert 1 < len(parts) < 10
    assert parts.size_bytes <= 40_000
    assert parts.find("file", 9, "stream") is part
    assert parts.find("file", 1, "stream") is None
