"""The worker process: DuckDB writes and reads the Parquet files here, so that neither a heavy query nor a crash touches the daemon.

    python -m gureum.telemetry.worker FOLDER      requests on stdin, answers on stdout (jobs.py); ends when stdin does

One thread writes files and two read, each with a cursor of its own. It decides nothing: which files count is the daemon's catalog. The kernel
ends it first when memory is short.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import msgspec

from gureum.telemetry.jobs import LENGTH, Answer, Failed, Job, ReadLogs, ReadMetrics, Request, Result
from gureum.telemetry.log_files import FileShape, LogFiles
from gureum.telemetry.log_parts import Parts
from gureum.telemetry.metric_files import MetricFiles

READERS = 2
MEMORY_LIMIT = "512MB"
OUT_OF_MEMORY_SCORE = "500"


class Engine:
    """A cursor with the files of both signals, for one thread."""

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, folder: Path, shapes: dict[str, FileShape], parts: Parts
    ) -> None:
        self._metrics = MetricFiles(cursor, folder)
        self._logs = LogFiles(cursor, folder, shapes, parts)
        self._verbs: dict[str, Callable[[Any], Result]] = {
            "SealMetrics": self._metrics.seal,
            "MergeMetrics": self._metrics.merge,
            "ReadMetrics": self._metrics.read,
            "SealLogs": self._logs.seal,
            "MergeLogs": self._logs.merge,
            "ReadLogs": self._logs.read,
        }

    def do(self, job: Job) -> Result:
        try:
            return self._verbs[type(job).__name__](job)
        except duckdb.Error as error:
            text = str(error)
            return Failed(text[:1000], full="No space left" in text or "Disk quota exceeded" in text)
        except OSError as error:
            return Failed(str(error), full=error.errno in (28, 122))

    def look_ahead(self, job: Job, busy: Callable[[], bool]) -> None:
        """For what may be asked for after this job, as long as nothing else is."""
        if isinstance(job, ReadLogs):
            with contextlib.suppress(duckdb.Error):  # a file may have been replaced meanwhile
                self._logs.look_ahead(job, busy)


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """An engine that sees nothing but our folder and loads nothing."""
    connection = duckdb.connect(
        config={"threads": 2, "memory_limit": MEMORY_LIMIT, "autoinstall_known_extensions": "false"}
    )
    temporary = folder / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    for setting, value in (("temp_directory", str(temporary)), ("allowed_directories", [str(folder)])):
        connection.execute(f"SET {setting} = ?", [value])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


class Worker:
    def __init__(self, folder: Path, output: BinaryIO) -> None:
        self._connection = connect(folder)
        self._folder = folder
        self._output = output
        self._writing = threading.Lock()
        self._shapes: dict[str, FileShape] = {}
        self._parts = Parts()
        self._writes: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for source in (self._writes, *[self._reads] * READERS):
            threading.Thread(target=self._serve, args=(source,), daemon=True).start()

    def take(self, request: Request) -> None:
        (self._reads if isinstance(request.job, ReadLogs | ReadMetrics) else self._writes).put(request)

    def _serve(self, source: queue.SimpleQueue[Request]) -> None:
        engine = Engine(self._connection.cursor(), self._folder, self._shapes, self._parts)
        while True:
            request = source.get()
            body = msgspec.msgpack.encode(Answer(request.id, engine.do(request.job)))
            with self._writing:
                self._output.write(LENGTH.pack(len(body)) + body)
                self._output.flush()
            engine.look_ahead(request.job, lambda: not source.empty())


def main() -> None:
    os.umask(0o077)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
    worker = Worker(Path(sys.argv[1]), sys.stdout.buffer)
    decoder = msgspec.msgpack.Decoder(Request)
    source = sys.stdin.buffer
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        body = source.read(LENGTH.unpack(head)[0])
        worker.take(decoder.decode(body))
    os._exit(0)  # a query under way has nobody to answer to


if __name__ == "__main__":
    main()
