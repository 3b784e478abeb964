"""Opens the telemetry store of a home.

<home>/telemetry/          0700, files 0600
    catalog.db             SQLite: which files count (catalog.py)
    wal-metrics/, wal-logs/    logs of writes that are in no file yet (wal.py, frames.py)
    metrics/, logs/        Parquet files (metric_files.py, log_files.py say their columns), readable by any tool
    tmp/                   the worker's

                ┌────────────────────────────── daemon ──────────────────────────────┐
write, append ──► commits.py: one sync for all who wait ──► wal.py                     │
                │        └──► hot_metrics.py, hot_logs.py: visible                     │
buckets, read ◄─┤ memory, and where that does not reach: worker_client.py ◄─────────────┼─► worker.py: DuckDB, Parquet
                │ generations.py: large or old logs are made into files ────────────────┼─►
                └──────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from pathlib import Path

from gureum.ports.clock import Clock
from gureum.telemetry.archive import Archive, remove_strays
from gureum.telemetry.catalog import Catalog
from gureum.telemetry.disk_logs import DiskLogs
from gureum.telemetry.disk_metrics import DiskMetrics
from gureum.telemetry.generations import Limits
from gureum.telemetry.wal import translated
from gureum.telemetry.worker_client import WorkerClient

DEFAULT_LIMITS = Limits()


class Telemetry:
    """`metrics` and `logs` fill the port; `worker` is theirs. `close` closes all."""

    def __init__(self, folder: Path, clock: Clock, limits: Limits) -> None:
        """Blocking. TelemetryBroken, TelemetryFull."""
        try:
            for one in (folder, folder / "metrics", folder / "logs", folder / "tmp"):
                one.mkdir(mode=0o700, parents=True, exist_ok=True)
            catalog = Catalog(folder / "catalog.db")
            remove_strays(folder, {f"{one.signal}/{one.name}" for one in catalog.files.values()})
        except OSError as error:
            raise translated(error) from error
        self.worker = WorkerClient(folder)
        self._archive = Archive(folder, clock, catalog, self.worker)
        self.metrics = DiskMetrics(self._archive, limits)
        self.logs = DiskLogs(self._archive, limits)

    async def close(self) -> None:
        await self.metrics.close()
        await self.logs.close()
        await self.worker.close()
        await self._archive.close()


async def open_telemetry(folder: Path, clock: Clock, limits: Limits = DEFAULT_LIMITS) -> Telemetry:
    """TelemetryBroken: unreadable; TelemetryFull. One process at a time has the folder open."""
    return Telemetry(folder, clock, limits)
