"""The store on disk beyond the contract: its files, their upkeep, faults of disk and worker, paging while it is written to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gureum.ports.telemetry import Datum, LogEvent, SeriesQuery, TelemetryBroken, TelemetryFull
from gureum.telemetry import disk_metrics, wal
from gureum.telemetry.generations import Limits
from gureum.telemetry.store import Telemetry, open_telemetry
from tests.telemetry.things import CPU, NOW_MS, SCOPE, HandClock, event, in_loop

DAY_S = 24 * 3600.0
DAY_MS = 24 * 3600 * 1000


def files(folder: Path, signal_name: str) -> list[str]:
    return sorted(path.name for path in (folder / signal_name).rglob("*.parquet"))


async def messages(telemetry: Telemetry, **options: Any) -> list[str]:
    return [one.message for one in (await telemetry.logs.read(SCOPE, "g", **options)).events]


@in_loop
async def test_files_are_plain_parquet_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.metrics.write([Datum(CPU, NOW_MS, 3.0, 6.0, 1.0, 3.0, (1.0, 2.0, 3.0), unit="Percent")])
    await telemetry.logs.append(SCOPE, "g", [event("hello")])
    await telemetry.metrics.flush()
    await telemetry.logs.flush()
    metrics = duckdb.sql(f"SELECT * EXCLUDE series FROM read_parquet('{tmp_path}/t/metrics/*.parquet')").fetchall()
    assert metrics == [
        (SCOPE, "AWS/EC2", "CPUUtilization", '{"InstanceId": "i-1"}', "Percent", NOW_MS, 3.0, 6.0, 1.0, 3.0,
         [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    ]  # fmt: skip
    logs = duckdb.sql(f"SELECT * FROM read_parquet('{tmp_path}/t/logs/*/*.parquet')").fetchall()
    assert logs == [(SCOPE, "g", "a", NOW_MS, NOW_MS, 1, "hello")]
    for path in (tmp_path / "t").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    await telemetry.close()


@in_loop
async def test_metrics_are_rolled_up_as_they_age_and_go_after_455_days(tmp_path: Path) -> None:
    """AWS: CloudWatch concepts, "Metrics retention"."""
    clock = HandClock()
    telemetry = await open_telemetry(tmp_path / "t", clock)
    start = NOW_MS - NOW_MS % (DAY_MS)
    data = [
        Datum(CPU, start + second * 1000, 1.0, float(second), float(second), float(second), resolution_s=1)
        for second in range(7200)
    ]
    await telemetry.metrics.write(data)
    await telemetry.metrics.flush()
    whole = await telemetry.metrics.buckets(CPU, start, start + DAY_MS, 3_600_000, distribution=True)
    assert [one.count for one in whole] == [3600.0, 3600.0]
    assert len(whole[0].values) == 3600
    for days, resolution_s in ((0.9, 60), (16.0, 300), (64.0, 3600)):
        clock.seconds = start / 1000 + days * DAY_S
        await telemetry.metrics.flush()
        assert {name.split("-")[0] for name in files(tmp_path / "t", "metrics")} == {str(resolution_s)}
        await telemetry.close()
        telemetry = await open_telemetry(tmp_path / "t", clock)
        assert await telemetry.metrics.buckets(CPU, start, start + DAY_MS, 3_600_000, distribution=True) == whole
        finest = await telemetry.metrics.buckets(CPU, start, start + DAY_MS, 1000)
        assert len(finest) == 7200 // resolution_s
        assert {one.start_ms % (resolution_s * 1000) for one in finest} == {0}
    clock.seconds = start / 1000 + 457 * DAY_S
    await telemetry.metrics.flush()
    assert files(tmp_path / "t", "metrics") == []
    assert await telemetry.metrics.buckets(CPU, start, start + DAY_MS, 3_600_000) == []
    await telemetry.close()


@in_loop
async def test_recent_windows_need_no_worker_once_they_are_in_files(tmp_path: Path) -> None:
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.metrics.write([Datum(CPU, NOW_MS, 1.0, 5.0, 5.0, 5.0)])
    assert telemetry.worker.pid == 0
    await telemetry.metrics.flush()
    os.kill(telemetry.worker.pid, signal.SIGSTOP)  # who asks it waits
    found = await telemetry.metrics.buckets(CPU, NOW_MS - 300_000, NOW_MS + 60_000, 60_000)
    assert [one.sum for one in found] == [5.0]
    os.kill(telemetry.worker.pid, signal.SIGCONT)
    await telemetry.close()


@in_loop
async def test_the_newest_window_needs_no_worker_however_much_came_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_metrics, "KEEP_ROWS", 10)
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    for start in (0, 100):
        data = [Datum(CPU, NOW_MS + one * 60_000, 1.0, 1.0, 1.0, 1.0) for one in range(start, start + 100)]
        await telemetry.metrics.write(data)
        await telemetry.metrics.flush()
    worker = telemetry.worker.pid
    os.kill(worker, signal.SIGSTOP)  # who asks it waits
    found = await telemetry.metrics.buckets(CPU, NOW_MS + 100 * 60_000, NOW_MS + 200 * 60_000, 60_000)
    assert len(found) == 100
    os.kill(worker, signal.SIGCONT)
    whole = await telemetry.metrics.buckets(CPU, NOW_MS, NOW_MS + 200 * 60_000, 60_000)
    assert [one.count for one in whole] == [1.0] * 200
    await telemetry.close()


@in_loop
async def test_retention_takes_whole_files_and_many_small_files_become_one(tmp_path: Path) -> None:
    clock = HandClock()
    telemetry = await open_telemetry(tmp_path / "t", clock)
    await telemetry.logs.keep(SCOPE, "g", 3)
    for number in range(8):
        await telemetry.logs.append(SCOPE, "g", [event(str(number))])
        await telemetry.logs.flush()
    assert files(tmp_path / "t", "logs") == ["merged-00000001.parquet"]
    assert await messages(telemetry) == [str(number) for number in range(8)]
    await telemetry.logs.append(SCOPE, "g", [event("later", NOW_MS + 2 * DAY_MS)])
    await telemetry.logs.flush()
    clock.seconds += 4 * DAY_S
    await telemetry.logs.flush()
    assert len(files(tmp_path / "t", "logs")) == 1
    assert await messages(telemetry) == ["later"]
    await telemetry.close()


@in_loop
async def test_dropping_a_group_removes_its_files(tmp_path: Path) -> None:
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.logs.append(SCOPE, "g", [event("gone"), event("gone too", stream="b")])
    await telemetry.logs.append(SCOPE, "other", [event("kept")])
    await telemetry.logs.flush()
    await telemetry.logs.drop(SCOPE, "g", "a")
    assert len(files(tmp_path / "t", "logs")) == 2
    await telemetry.logs.drop(SCOPE, "g", "b")
    assert len(files(tmp_path / "t", "logs")) == 1
    assert await messages(telemetry) == []
    await telemetry.logs.append(SCOPE, "g", [event("anew")])
    await telemetry.logs.flush()
    await telemetry.close()
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    assert telemetry.logs._archive.catalog.dropped == {}, "what is fulfilled is remembered no longer"
    assert await messages(telemetry) == ["anew"]
    await telemetry.close()


@in_loop
async def test_a_read_whose_worker_is_killed_is_answered_by_a_new_one(tmp_path: Path) -> None:
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.logs.append(SCOPE, "g", [event("there")])
    await telemetry.logs.flush()
    first = telemetry.worker.pid
    os.kill(first, signal.SIGSTOP)  # so that the read is under way for certain
    reading = asyncio.create_task(messages(telemetry))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert await reading == ["there"]
    assert telemetry.worker.pid not in (0, first)
    await telemetry.close()


@in_loop
async def test_a_worker_that_cannot_start_fails_the_read_and_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.logs.append(SCOPE, "g", [event("in a file")])
    await telemetry.logs.flush()
    os.kill(telemetry.worker.pid, signal.SIGKILL)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TelemetryBroken, match="died"):
        await messages(telemetry)
    await telemetry.logs.append(SCOPE, "g", [event("in memory", NOW_MS + 1)])
    assert await messages(telemetry, start_ms=NOW_MS + 1) == ["in memory"]
    monkeypatch.undo()
    assert await messages(telemetry) == ["in a file", "in memory"]
    await telemetry.close()


@in_loop
async def test_places_stay_valid_while_events_come_and_are_flushed(tmp_path: Path) -> None:
    limits = Limits(rows=97, unsealed_rows=10_000)
    telemetry = await open_telemetry(tmp_path / "t", HandClock(), limits)
    wanted = 3000

    async def write() -> None:
        for number in range(0, wanted, 30):
            batch = [event(str(number + one), NOW_MS + number + one) for one in range(30)]
            await telemetry.logs.append(SCOPE, "g", batch)

    writing = asyncio.create_task(write())
    found: list[str] = []
    place = ""
    while len(found) < wanted:
        await asyncio.sleep(0)  # a read from memory waits for nothing, so it lets nobody else run
        page = await telemetry.logs.read(SCOPE, "g", limit=41, place=place)
        found += [one.message for one in page.events]
        place = page.forward
    assert found == [str(number) for number in range(wanted)]
    await writing
    await telemetry.logs.flush()
    assert len(files(tmp_path / "t", "logs")) >= 1
    await telemetry.close()


@in_loop
async def test_a_failed_write_changes_nothing_and_later_ones_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the frame reaches the file before the disk is full."""
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.logs.append(SCOPE, "g", [event("before")])
    await telemetry.metrics.write([Datum(CPU, NOW_MS, 1.0, 1.0, 1.0, 1.0)])
    real = wal._write_all

    def half(file: int, data: bytes, offset: int) -> None:
        real(file, data[: len(data) // 2], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wal, "_write_all", half)
    with pytest.raises(TelemetryFull):
        await telemetry.logs.append(SCOPE, "g", [event("refused")])
    with pytest.raises(TelemetryFull):
        await telemetry.metrics.write([Datum(CPU, NOW_MS, 1.0, 7.0, 7.0, 7.0, unit="New")])
    monkeypatch.undo()
    await telemetry.logs.append(SCOPE, "g", [event("after")])
    await telemetry.metrics.write([Datum(CPU, NOW_MS, 1.0, 9.0, 9.0, 9.0, unit="New")])
    for _ in range(2):
        assert await messages(telemetry) == ["before", "after"]
        found = await telemetry.metrics.buckets(CPU, NOW_MS, NOW_MS + 1, 60_000)
        assert [(one.unit, one.sum) for one in found] == [("New", 9.0), ("None", 1.0)]
        await telemetry.close()
        telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.close()


@in_loop
async def test_what_comes_after_a_drop_is_never_taken_for_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers stand in tombstones. Those of writes that failed, and of dropped events found again in the log, must not be given out again."""
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    await telemetry.logs.append(SCOPE, "g", [event("1"), event("2")])

    def full(file: int, data: bytes, offset: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wal, "_write_all", full)
    with pytest.raises(TelemetryFull):
        await telemetry.logs.append(SCOPE, "g", [event("refused")] * 10)
    monkeypatch.undo()
    await telemetry.logs.drop(SCOPE, "g")
    for number in range(3):
        await telemetry.close()
        telemetry = await open_telemetry(tmp_path / "t", HandClock())
        await telemetry.logs.append(SCOPE, "g", [event(f"after {number}")])
        if number:
            await telemetry.logs.flush()
    assert await messages(telemetry) == ["after 0", "after 1", "after 2"]
    await telemetry.close()


@pytest.mark.machine
def test_on_a_full_disk_writes_fail_nothing_is_lost_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    try:
        asyncio.run(asyncio.wait_for(fill_and_go_on(disk), 60))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def fill_and_go_on(disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(4 * 1024 * 1024))
    limits = Limits(rows=100, retry_s=0.05)
    telemetry = await open_telemetry(disk / "t", HandClock(), limits)
    taken: list[str] = []

    async def fill() -> None:
        for number in range(10_000):
            text = f"{number} {os.urandom(5000).hex()}"
            await telemetry.logs.append(SCOPE, "g", [LogEvent("a", NOW_MS + number, NOW_MS, text)])
            taken.append(text)

    with pytest.raises(TelemetryFull):
        await fill()
    ballast.unlink()
    await telemetry.logs.append(SCOPE, "g", [event("there is room", NOW_MS + 20_000)])
    assert await messages(telemetry, limit_bytes=10**9) == [*taken, "there is room"]
    await telemetry.close()
    telemetry = await open_telemetry(disk / "t", HandClock(), limits)
    assert await messages(telemetry, limit_bytes=10**9) == [*taken, "there is room"]
    await telemetry.close()


def test_neither_duckdb_nor_numpy_is_loaded_by_the_daemon(tmp_path: Path) -> None:
    """They take a quarter of a second to load; the worker does."""
    program = "import json, sys; import gureum.daemon; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert "gureum.telemetry.store" in loaded
    assert not {"duckdb", "numpy", "pyarrow"} & set(loaded)


@in_loop
async def test_memory_is_bounded_while_files_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    limits = Limits(rows=10, unsealed_rows=50, wait_s=5.0, retry_s=60.0)
    telemetry = await open_telemetry(tmp_path / "t", HandClock(), limits)
    taken: list[str] = []

    async def write() -> None:
        for number in range(1000):
            await telemetry.logs.append(SCOPE, "g", [event(str(number), NOW_MS + number)])
            taken.append(str(number))

    with pytest.raises(TelemetryBroken):
        await write()
    assert len(taken) == 50
    assert await messages(telemetry) == taken
    await telemetry.close()
    large = Limits(rows=10, unsealed_bytes=4_000_000, wait_s=5.0, retry_s=60.0)
    telemetry = await open_telemetry(tmp_path / "large", HandClock(), large)
    for number in range(4):
        await telemetry.logs.append(SCOPE, "g", [event("x" * 999_990, NOW_MS + number)])
    with pytest.raises(TelemetryBroken):
        await telemetry.logs.append(SCOPE, "g", [event("too much")])
    await telemetry.close()


def earlier_frame(group: str, first: int, *messages: str) -> bytes:
    """As they were before decision 0054: JSON, a line for the group and one for each event."""
    lines = [json.dumps({"group": f"{SCOPE}\0{group}"})]
    lines += [
        json.dumps({"t": NOW_MS, "q": number, "i": NOW_MS + 1, "s": "a", "m": message})
        for number, message in enumerate(messages, start=first)
    ]
    return "\n".join(lines).encode()


@in_loop
async def test_who_looks_at_the_last_minutes_does_not_look_into_older_chunks(tmp_path: Path) -> None:
    telemetry = await open_telemetry(tmp_path / "t", HandClock())
    for hours in (3, 2, 1, 0):
        time_ms = NOW_MS - hours * 3600_000
        await telemetry.metrics.write([Datum(CPU, time_ms + n * 60_000, 1.0, n, n, n) for n in range(10)])
        if hours:
            await telemetry.metrics.flush()
    recent = await telemetry.metrics.buckets(CPU, NOW_MS, NOW_MS + 3600_000, 60_000)
    assert [one.sum for one in recent] == list(range(10))
    assert await telemetry.metrics.series(SCOPE, SeriesQuery(since_ms=NOW_MS)) == [CPU]
    assert [len(one) for one in telemetry.metrics._sealed] == [10, 10, 10]
    assert not any(one._rows for one in telemetry.metrics._sealed)
    older = await telemetry.metrics.buckets(CPU, NOW_MS - 2 * 3600_000, NOW_MS, 3600_000)
    assert [one.count for one in older] == [10, 10]
    await telemetry.close()


@in_loop
async def test_a_log_that_an_earlier_gureum_has_left_is_read_and_sealed(tmp_path: Path) -> None:
    clock = HandClock()
    log, _ = wal.open_wal(tmp_path / "wal-logs", 0)
    log.append([earlier_frame("g", 1, "one", "zw\u00f6lf"), earlier_frame("g", 3, "three")])
    log.close()
    telemetry = await open_telemetry(tmp_path, clock)
    assert await messages(telemetry) == ["one", "zw\u00f6lf", "three"]
    await telemetry.logs.append(SCOPE, "g", [event("four")])
    before = (await telemetry.logs.read(SCOPE, "g")).events
    await telemetry.close()
    telemetry = await open_telemetry(tmp_path, clock, Limits(size_bytes=1))
    await telemetry.logs.append(SCOPE, "g", [event("five")])
    async with asyncio.timeout(30):
        while not files(tmp_path, "logs"):
            await asyncio.sleep(0.02)
    after = (await telemetry.logs.read(SCOPE, "g")).events
    assert after[:4] == before
    assert [one.message for one in after] == ["one", "zw\u00f6lf", "three", "four", "five"]
    assert len({one.id for one in after}) == 5
    await telemetry.close()


@pytest.mark.parametrize("signal_name", ["logs", "metrics"])
def test_a_log_in_a_form_that_nobody_knows_is_refused_by_its_name(tmp_path: Path, signal_name: str) -> None:
    log, _ = wal.open_wal(tmp_path / f"wal-{signal_name}", 0)
    log.append([b"\x07of another version"])
    log.close()
    with pytest.raises(TelemetryBroken, match=rf"wal-{signal_name}/00000001.wal .* another version"):
        asyncio.run(open_telemetry(tmp_path, HandClock()))
    assert (tmp_path / f"wal-{signal_name}" / "00000001.wal").stat().st_size > 20
