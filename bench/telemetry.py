"""The telemetry store through its port, beside DuckDB and SQLite as tables, in one run: durable samples and log events per second, page reads.

    python -m bench.telemetry [--folder DIR] [--samples 4000000] [--events 10000000] [--only samples|events|pages]

Samples: 2,000 series, batches of 10,000 datums, eight writers at once; each batch is durable (synced) when the call returns. Events: about 150
bytes, 20 groups of 20 streams, batches of 10,000, eight writers. "drained" counts until everything is in Parquet files as well. The tables take
the same rows in transactions of the same size, synced: DuckDB from numpy columns (its fastest way in), SQLite by executemany. Making the batches
is not counted on any side. Pages: 1,000 events of one stream from a random time, forward and backward, as GetLogEvents reads; scan: all pages of
10,000 of a group, with a filter in Python over the messages, as FilterLogEvents does with a pattern that names no word; search: where it names one.
"CPU" is this process's, without the worker's and the kernel's own; a page's is the worker's, and tells much the same whatever else runs. `--only
pages`: the events and what reads them, without tables: 10 million in some two minutes on idle cores. The folder must be on the disk that counts.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np

from bench.wires import cpu_seconds
from gureum.base.clock import SystemClock
from gureum.ports.telemetry import Datum, LogEvent, Series
from gureum.telemetry.store import Telemetry, open_telemetry

SCOPE = "000000000000/us-east-1"
SERIES = [Series(SCOPE, "Bench", f"m{i % 20}", (("InstanceId", f"i-{i:08x}"),)) for i in range(2000)]
GROUPS, STREAMS, BATCH, WRITERS = 20, 20, 10_000, 8
STREAM_NAMES = [f"stream-{number:02}" for number in range(STREAMS)]
START_MS = int(time.time() * 1000) - 24 * 3600 * 1000
TABLE_EVENTS = 1_000_000
"""The tables are measured with so many events at most: their speed does not depend on it, and SQLite takes long."""


def sample_batches(samples: int) -> Iterator[list[Datum]]:
    dice = random.Random(1)
    for start in range(0, samples, BATCH):
        values = [dice.random() * 100 for _ in range(BATCH)]
        yield [
            Datum(
                SERIES[number % 2000],
                START_MS + (start + number) // 2000 * 1000,
                1.0,
                value,
                value,
                value,
                resolution_s=1,
            )
            for number, value in enumerate(values)
        ]


def event_batches(events: int) -> Iterator[tuple[str, list[LogEvent]]]:
    dice = random.Random(2)
    step_ms = 24 * 3600 * 1000 / events
    for start in range(0, events, BATCH):
        batch = start // BATCH
        made = []
        for number in range(start, start + BATCH):
            word, millis = dice.getrandbits(48), dice.randrange(1, 900)
            level = "ERROR" if millis < 9 else "INFO"
            message = (
                f'{{"level":"{level}","request":"{word:012x}","path":"/api/v1/items/{word % 977}","status":200,'
                f'"latency_ms":{millis},"host":"web-{word % 13}","region":"us-east-1","user":"u{word % 9973}"}}'
            )
            time_ms = START_MS + int(number * step_ms)
            made.append(LogEvent(STREAM_NAMES[number % STREAMS], time_ms, time_ms, message))
        yield f"group-{batch % GROUPS:02}", made


class Spent(NamedTuple):
    """Making the batches is not counted. `cpu_s`: of this process, all threads."""

    busy_s: float
    cpu_s: float
    latencies: list[float]


async def spread(batches: Iterator[Any], write: Callable[[Any], Awaitable[None]]) -> Spent:
    """Writes with several writers."""
    latencies: list[float] = []
    busy = cpu = 0.0
    while chunk := [batch for _, batch in zip(range(WRITERS * 5), batches, strict=False)]:
        waiting = iter(chunk)

        async def writer(waiting: Iterator[Any] = waiting) -> None:
            for batch in waiting:
                start = time.perf_counter()
                await write(batch)
                latencies.append(time.perf_counter() - start)

        start, cpu_start = time.perf_counter(), time.process_time()
        await asyncio.gather(*(writer() for _ in range(WRITERS)))
        busy += time.perf_counter() - start
        cpu += time.process_time() - cpu_start
    return Spent(busy, cpu, latencies)


async def store_samples(telemetry: Telemetry, samples: int) -> None:
    start = time.perf_counter()
    spent = await spread(sample_batches(samples), telemetry.metrics.write)
    making = time.perf_counter() - start - spent.busy_s
    await telemetry.metrics.flush()
    drained = time.perf_counter() - start - making
    show("store", samples, spent, drained)
    reads = []
    now_ms = START_MS + samples // 2000 * 1000
    for series in SERIES[:1000]:
        start = time.perf_counter()
        await telemetry.metrics.buckets(series, now_ms - 100_000, now_ms, 60_000)
        reads.append(time.perf_counter() - start)
    print(f"        recent window of one series (an alarm): p50 {at(reads, 0.5) * 1e6:.0f} us")


async def store_events(telemetry: Telemetry, events: int) -> None:
    start = time.perf_counter()
    spent = await spread(event_batches(events), lambda one: telemetry.logs.append(SCOPE, *one))
    making = time.perf_counter() - start - spent.busy_s
    await telemetry.logs.flush()
    drained = time.perf_counter() - start - making
    show("store", events, spent, drained)


async def pages(telemetry: Telemetry, count: int) -> None:
    dice = random.Random(3)
    await telemetry.logs.read(SCOPE, "group-00", limit=1)  # the worker is there
    for forward in (True, False):
        reads, cpu = [], []
        for _ in range(count):
            group, stream = f"group-{dice.randrange(GROUPS):02}", f"stream-{dice.randrange(STREAMS):02}"
            bound = START_MS + dice.randrange(24 * 3600 * 1000)
            span = {"start_ms": bound} if forward else {"end_ms": bound}
            start, cpu_start = time.perf_counter(), cpu_seconds(telemetry.worker.pid)
            await telemetry.logs.read(SCOPE, group, streams=[stream], limit=1000, forward=forward, **span)
            reads.append(time.perf_counter() - start)
            cpu.append(cpu_seconds(telemetry.worker.pid) - cpu_start)
        way = "forward" if forward else "backward"
        print(
            f"        page of 1,000, {way}: p50 {at(reads, 0.5) * 1e3:.1f} ms  p95 {at(reads, 0.95) * 1e3:.1f} ms; "
            f"the worker's CPU p50 {at(cpu, 0.5) * 1e3:.1f} ms  p95 {at(cpu, 0.95) * 1e3:.1f} ms"
        )


async def scan(telemetry: Telemetry) -> None:
    start, seen, found, place, done = time.perf_counter(), 0, 0, "", False
    while not done:
        page = await telemetry.logs.read(SCOPE, "group-03", limit=10_000, limit_bytes=2**30, place=place)
        seen += len(page.events)
        found += sum('"ERROR"' in one.message for one in page.events)
        place, done = page.forward, page.done
    seconds = time.perf_counter() - start
    print(f"        filter scan of a group: {seen / seconds / 1e3:.0f} k events/s ({found} of {seen} matched)")


async def search(telemetry: Telemetry, events: int) -> None:
    """All events of all groups for a word that stands in one of ten thousand or fewer, as FilterLogEvents does: a million a call."""
    calls, found, start = [], 0, time.perf_counter()
    for number in range(GROUPS):
        place, done = "", False
        while not done:
            began = time.perf_counter()
            page = await telemetry.logs.read(
                SCOPE, f"group-{number:02}", place=place, needles=[['"user":"u77"']], look_at=1_000_000
            )
            calls.append(time.perf_counter() - began)
            found, place, done = found + len(page.events), page.forward, page.done
    seconds = time.perf_counter() - start
    print(
        f"        search of all groups for a word: {events / seconds / 1e3:.0f} k events/s ({found} found), "
        f"calls p50 {at(calls, 0.5) * 1e3:.0f} ms  p95 {at(calls, 0.95) * 1e3:.0f} ms"
    )


def duckdb_samples(folder: Path, samples: int) -> None:
    connection = duckdb.connect(str(folder / "samples.duckdb"))
    connection.execute("CREATE TABLE s (id UINTEGER, t BIGINT, c DOUBLE, s DOUBLE, lo DOUBLE, hi DOUBLE)")
    busy, latencies, cpu = 0.0, [], time.process_time()
    for batch in sample_batches(samples):
        start = time.perf_counter()
        values = np.array([one.sum for one in batch])
        ids, times = np.arange(BATCH, dtype="u4") % 2000, np.array([one.time_ms for one in batch])
        rows = {"a": ids, "b": times, "c": np.ones(BATCH), "d": values, "e": values, "f": values}  # noqa: F841
        connection.execute("INSERT INTO s SELECT * FROM rows")
        latencies.append(time.perf_counter() - start)
        busy += latencies[-1]
    connection.close()
    show("DuckDB", samples, Spent(busy, time.process_time() - cpu, latencies), busy)


def sqlite_samples(folder: Path, samples: int) -> None:
    connection = plain(folder / "samples.db", "CREATE TABLE s (id, t, c, s, lo, hi, PRIMARY KEY (id, t)) WITHOUT ROWID")
    busy, latencies, cpu = 0.0, [], time.process_time()
    for batch in sample_batches(samples):
        start = time.perf_counter()
        rows = [(n % 2000, one.time_ms, one.count, one.sum, one.min, one.max) for n, one in enumerate(batch)]
        with connection:
            connection.executemany("INSERT OR REPLACE INTO s VALUES (?, ?, ?, ?, ?, ?)", rows)
        latencies.append(time.perf_counter() - start)
        busy += latencies[-1]
    connection.close()
    show("SQLite", samples, Spent(busy, time.process_time() - cpu, latencies), busy)


def duckdb_events(folder: Path, events: int) -> None:
    connection = duckdb.connect(str(folder / "events.duckdb"))
    connection.execute("CREATE TABLE e (g VARCHAR, s VARCHAR, t BIGINT, i BIGINT, m VARCHAR)")
    busy, latencies, cpu = 0.0, [], time.process_time()
    for group, batch in event_batches(events):
        start = time.perf_counter()
        rows = {  # noqa: F841
            "g": np.array([group] * BATCH, dtype=object),
            "s": np.array([one.stream for one in batch], dtype=object),
            "t": np.array([one.time_ms for one in batch]),
            "i": np.array([one.ingested_ms for one in batch]),
            "m": np.array([one.message for one in batch], dtype=object),
        }
        connection.execute("INSERT INTO e SELECT * FROM rows")
        latencies.append(time.perf_counter() - start)
        busy += latencies[-1]
    connection.close()
    show("DuckDB", events, Spent(busy, time.process_time() - cpu, latencies), busy)


def sqlite_events(folder: Path, events: int) -> None:
    connection = plain(folder / "events.db", "CREATE TABLE e (g, s, t, i, m)")
    connection.execute("CREATE INDEX by_time ON e (g, t)")
    busy, latencies, cpu = 0.0, [], time.process_time()
    for group, batch in event_batches(events):
        start = time.perf_counter()
        with connection:
            connection.executemany(
                "INSERT INTO e VALUES (?, ?, ?, ?, ?)",
                [(group, one.stream, one.time_ms, one.ingested_ms, one.message) for one in batch],
            )
        latencies.append(time.perf_counter() - start)
        busy += latencies[-1]
    connection.close()
    show("SQLite", events, Spent(busy, time.process_time() - cpu, latencies), busy)


def plain(path: Path, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(schema)
    return connection


def at(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def show(name: str, rows: int, spent: Spent, drained: float) -> None:
    print(
        f"{name:7} {rows / spent.busy_s / 1e3:7.0f} k/s durable  {rows / drained / 1e3:7.0f} k/s drained  "
        f"{rows / spent.cpu_s / 1e3:7.0f} k per s of CPU  "
        f"batch p50 {at(spent.latencies, 0.5) * 1e3:6.1f} ms  p99 {at(spent.latencies, 0.99) * 1e3:6.1f} ms",
        flush=True,
    )


async def store(folder: Path, samples: int, events: int) -> None:
    telemetry = await open_telemetry(folder / "telemetry", SystemClock())
    if samples:
        print(f"{samples} samples")
        await store_samples(telemetry, samples)
    if events:
        print(f"{events} log events")
        await store_events(telemetry, events)
        await pages(telemetry, 200)
        await scan(telemetry)
        await search(telemetry, events)
    await telemetry.close()
    start = time.perf_counter()
    telemetry = await open_telemetry(folder / "telemetry", SystemClock())
    print(f"        opened in {(time.perf_counter() - start) * 1e3:.0f} ms")
    await telemetry.close()
    size = sum(path.stat().st_size for path in (folder / "telemetry" / "logs").rglob("*.parquet"))
    if events:
        print(f"        {size / events:.0f} bytes an event in files")
    print(f"        the process took at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    parser.add_argument("--samples", type=int, default=4_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--only", choices=("samples", "events", "pages"), default="")
    given = parser.parse_args()
    parts = ((given.samples, ("events", "pages")), (given.events, ("samples",)))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        samples, events = (0 if given.only in left_out else count for count, left_out in parts)
        asyncio.run(store(folder, samples, events))
        if given.only == "pages":
            return
        print("the same rows into tables")
        if samples:
            duckdb_samples(folder, min(samples, 1_000_000))
            sqlite_samples(folder, min(samples, 1_000_000))
        if events:
            duckdb_events(folder, min(events, TABLE_EVENTS))
            sqlite_events(folder, min(events, TABLE_EVENTS))


if __name__ == "__main__":
    main()
