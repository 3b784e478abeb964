"""Commits per second and their latency: the store beside plain SQLite with one transaction per write, in one run.

    python bench/store_commits.py [--folder DIR] [--seconds 2]

Each writer makes commits of two keys with a check, values of 700 bytes, one after the other, and waits for each to be durable. "plain" does the
same from as many threads as there are writers, over one connection with synchronous=FULL in WAL mode, a transaction per commit. The folder must be
on the disk that counts: on a tmpfs a sync costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from gureum.store.contract import Put, Unchanged
from gureum.store.sqlite import SqliteStore

VALUE = b"x" * 700
WRITERS = (1, 16, 64)
OBJECTS = 10_000


async def store_latencies(folder: Path, writers: int, seconds: float) -> list[float]:
    """Seconds that each commit took."""
    store = await SqliteStore.open(folder / "store.db")
    latencies: list[float] = []
    until = time.perf_counter() + seconds

    async def write(writer: int) -> None:
        revision = number = 0
        while (start := time.perf_counter()) < until:
            number += 1
            value = VALUE + b"%d" % number
            revision = await store.commit(
                [Unchanged(f"a/{writer}", revision)],
                [Put(f"a/{writer}", value), Put(f"b/{writer}/{number % 100}", value)],
            )
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(write(writer) for writer in range(writers)))
    await store.close()
    return latencies


def plain_latencies(folder: Path, writers: int, seconds: float) -> list[float]:
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB, revision INTEGER) WITHOUT ROWID")
    turn = threading.Lock()
    latencies: list[float] = []
    until = time.perf_counter() + seconds

    def write(writer: int) -> None:
        number = 0
        while (start := time.perf_counter()) < until:
            number += 1
            value = VALUE + b"%d" % number
            with turn:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("SELECT revision FROM entry WHERE key = ?", (f"a/{writer}",)).fetchone()
                for key in (f"a/{writer}", f"b/{writer}/{number % 100}"):
                    connection.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", (key, value, number))
                connection.execute("COMMIT")
            latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection.close()
    return latencies


def sync_seconds(folder: Path) -> float:
    """The median of what one append of a page with its sync costs here: the floor for a commit alone."""
    with (folder / "probe").open("wb", buffering=0) as file:
        costs = []
        for _ in range(50):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            costs.append(time.perf_counter() - start)
    return sorted(costs)[len(costs) // 2]


async def reads(folder: Path) -> None:
    """Opening a store of many objects, and reading it."""
    store = await SqliteStore.open(folder / "reads.db", synchronous=False)
    await asyncio.gather(*(store.commit([], [Put(f"kind/{number:06}", VALUE)]) for number in range(OBJECTS)))
    await store.close()
    start = time.perf_counter()
    store = await SqliteStore.open(folder / "reads.db")
    print(f"opened with {OBJECTS} objects in {(time.perf_counter() - start) * 1e3:.0f} ms")
    start = time.perf_counter()
    for _ in range(1000):
        store.range("kind/", after="kind/004999", limit=100)
    print(f"range of 100 out of {OBJECTS}: {(time.perf_counter() - start) * 1e3:.1f} us")
    await store.close()


def show(name: str, writers: int, latencies: Sequence[float], seconds: float) -> None:
    ordered = sorted(latencies)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1e3 for share in (0.5, 0.99))
    print(
        f"{name:6} {writers:3} writers  {len(ordered) / seconds:8.0f} commits/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        print(f"one page written and synced: {sync_seconds(Path(name)) * 1e3:.2f} ms")
        for writers in WRITERS:
            folder = Path(name) / str(writers)
            folder.mkdir()
            show("plain", writers, plain_latencies(folder, writers, given.seconds), given.seconds)
            show("store", writers, asyncio.run(store_latencies(folder, writers, given.seconds)), given.seconds)
        asyncio.run(reads(Path(name)))


if __name__ == "__main__":
    main()
