"""Death of the process, many times: SIGKILL at random points of ingest (load.py), of the daemon's side and of the worker with it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gureum.base.clock import SystemClock
from gureum.ports.telemetry import LogEvent
from gureum.telemetry.store import Telemetry, open_telemetry
from tests.telemetry.load import BATCH, SCOPE, series_of

ROOT = Path(__file__).parents[2]
KILLS = 10
DAY_MS = 24 * 3600 * 1000


class Witness:
    """What was acknowledged: (run, writer) → how many batches of metrics and of logs."""

    def __init__(self) -> None:
        self.metrics: Counter[tuple[str, int]] = Counter()
        self.logs: Counter[tuple[str, int]] = Counter()

    def hear(self, run: str, line: str) -> None:
        word, writer, number = line.split()
        told = self.metrics if word == "metric" else self.logs
        told[run, int(writer)] = int(number) + 1

    async def inspect(self, telemetry: Telemetry) -> None:
        """All that was acknowledged is there once; of what was not, whole batches at most, and only the next one."""
        now_ms = int(time.time() * 1000)
        for (run, writer), told in self.metrics.items():
            for side in ("left", "right"):
                found = await telemetry.metrics.buckets(
                    series_of(run, writer, side), now_ms - DAY_MS, now_ms + DAY_MS, DAY_MS, distribution=True
                )
                values = [value for one in found for value in one.values]
                counts = [count for one in found for count in one.counts]
                assert values == [float(number) for number in range(len(values))], "a datum is missing"
                assert set(counts) <= {1.0}, "a datum is doubled"
                assert told <= len(values) <= told + 1
        assert_whole(await everything(telemetry), self.logs)


def assert_whole(events: list[LogEvent], told: Counter[tuple[str, int]]) -> None:
    assert [one.id for one in events] == sorted({one.id for one in events}), "ids are not unique or not in order"
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for one in events:
        run, writer, number, position = one.message.split()
        found.setdefault((run, int(writer)), []).append((int(number), int(position)))
    for key, count in told.items():
        numbers = found.get(key, [])
        assert numbers == [(number, one) for number in range(len(numbers) // BATCH) for one in range(BATCH)]
        assert count <= len(numbers) // BATCH <= count + 1


async def everything(telemetry: Telemetry) -> list[LogEvent]:
    events: list[LogEvent] = []
    place, done = "", False
    while not done:
        page = await telemetry.logs.read(SCOPE, "load", place=place)
        events += page.events
        place, done = page.forward, page.done
    return events


@contextmanager
def _load(run: str, folder: Path, rows: int) -> Iterator[subprocess.Popen[str]]:
    """A process that starts writing when it gets a line, so that starting Python is not part of what is killed."""
    command = [sys.executable, str(ROOT / "tests/telemetry/load.py"), run, str(folder), str(rows)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as load:
        try:
            yield load
        finally:
            load.kill()


@pytest.mark.parametrize("rows", [300, 1_000_000], ids=["sealing all the time", "all in the log"])
def test_killed_at_random_points_it_loses_nothing_and_doubles_nothing(tmp_path: Path, rows: int) -> None:
    dice, folder, witness = random.Random(rows), tmp_path / "telemetry", Witness()

    async def inspect() -> None:
        telemetry = await open_telemetry(folder, SystemClock())
        try:
            await asyncio.wait_for(witness.inspect(telemetry), 60)
        finally:
            await telemetry.close()

    for kill in range(KILLS):
        run = f"run{kill}"
        with _load(run, folder, rows) as load:
            assert load.stdin is not None
            assert load.stdout is not None
            load.stdin.write("go\n")
            load.stdin.flush()
            for _ in range(dice.randrange(2500)):
                witness.hear(run, load.stdout.readline())
            load.kill()
            rest = load.stdout.read()
            for line in rest.splitlines()[: None if rest.endswith("\n") else -1]:
                witness.hear(run, line)
        asyncio.run(inspect())
    assert sum(witness.metrics.values()) > KILLS
    assert sum(witness.logs.values()) > KILLS


def test_a_torn_tail_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    """What a loss of power leaves of the last frame: each length of it, and each byte of it wrong."""
    folder = tmp_path / "telemetry"
    log = folder / "wal-logs" / "00000001.wal"

    async def append(*texts: str) -> list[str]:
        telemetry = await open_telemetry(folder, SystemClock())
        for text in texts:
            await telemetry.logs.append(SCOPE, "load", [LogEvent("s", 1, 1, text)])
        found = [one.message for one in await everything(telemetry)]
        await telemetry.close()
        return found

    asyncio.run(append("first"))
    whole = log.stat().st_size
    asyncio.run(append("second"))
    data = log.read_bytes()
    torn = [data[:end] for end in range(whole, len(data))]
    torn += [data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :] for at in range(whole, len(data))]
    for left in torn:
        log.write_bytes(left)
        assert asyncio.run(append()) == ["first"]
        assert log.stat().st_size == whole
    assert asyncio.run(append("third")) == ["first", "third"]
    assert asyncio.run(append()) == ["first", "third"]
