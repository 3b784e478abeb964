"""A process that writes telemetry until it is killed. Run as a script by the crash tests.

    load.py RUN FOLDER ROWS

It opens the store when a line comes on its standard input and tells on standard output what was acknowledged, as lines written at once:
`metric WRITER NUMBER` and `log WRITER NUMBER`. Number N of writer W of a run is one batch: a datum of the value N in each of two series, or the
events "RUN W N 0" … "RUN W N 4". A generation is sealed at so many rows, so that kills meet seals, merges and roll-ups too.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from gureum.base.clock import SystemClock
from gureum.ports.telemetry import Datum, LogEvent, Series
from gureum.telemetry.generations import Limits
from gureum.telemetry.store import Telemetry, open_telemetry

STDOUT = 1
SCOPE = "000000000000/us-east-1"
WRITERS = 4
BATCH = 5


def tell(*words: object) -> None:
    os.write(STDOUT, (" ".join(map(str, words)) + "\n").encode())


def series_of(run: str, writer: int, side: str) -> Series:
    return Series(SCOPE, "Load", run, (("side", side), ("writer", str(writer))))


async def measure(telemetry: Telemetry, run: str, writer: int) -> None:
    number = 0
    while True:
        now_ms = int(time.time() * 1000)
        await telemetry.metrics.write(
            [
                Datum(series_of(run, writer, side), now_ms, 1.0, number, number, number, resolution_s=1)
                for side in ("left", "right")
            ]
        )
        tell("metric", writer, number)
        number += 1


async def report(telemetry: Telemetry, run: str, writer: int) -> None:
    number = 0
    while True:
        now_ms = int(time.time() * 1000)
        events = [LogEvent(f"{writer}", now_ms, now_ms, f"{run} {writer} {number} {one}") for one in range(BATCH)]
        await telemetry.logs.append(SCOPE, "load", events)
        tell("log", writer, number)
        number += 1


async def main(run: str, folder: str, rows: int) -> None:
    limits = Limits(rows=rows, unsealed_rows=rows * 100)
    telemetry = await open_telemetry(Path(folder), SystemClock(), limits)
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(measure(telemetry, run, writer))
            group.create_task(report(telemetry, run, writer))


if __name__ == "__main__":
    sys.stdin.readline()
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
