"""What both signals share: the catalog with its thread, the worker, the folder, the clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gureum.ports.clock import Clock
from gureum.ports.telemetry import TelemetryBroken
from gureum.telemetry.catalog import Catalog, FileInfo, SeriesRow
from gureum.telemetry.jobs import Job, Result
from gureum.telemetry.worker_client import WorkerClient

T = TypeVar("T")
log = logging.getLogger("gureum.telemetry")


class Archive:
    """`catalog`: to be read in the loop, and to be written through `write`. `upkeep`: held by who merges files, so that none is merged twice."""

    def __init__(self, folder: Path, clock: Clock, catalog: Catalog, worker: WorkerClient) -> None:
        self.folder = folder
        self.clock = clock
        self.catalog = catalog
        self.worker = worker
        self.upkeep = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="telemetry-catalog")

    @property
    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    async def write(self, work: Callable[[], T]) -> T:
        """In the catalog's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def replace(
        self,
        added: Sequence[FileInfo],
        removed: Sequence[FileInfo] = (),
        *,
        series: Sequence[SeriesRow] = (),
        meta: dict[str, int] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Files come and go at once, for good; `then` runs in the same turn of the loop in which readers begin to see it. Files that left the
        catalog are removed afterwards: a reader that still wanted one asks again."""
        names = [one.name for one in removed]
        await self.write(lambda: self.catalog.replace(added, names, series=series, meta=meta))
        self.catalog.apply(added, names, meta)
        then()
        await self.write(lambda: self._remove(removed))

    async def ask(self, make: Callable[[], Job | None]) -> Result | None:
        """A read. When it fails it is made anew, once: a file that it named may have been replaced meanwhile."""
        job = make()
        if job is None:
            return None
        try:
            return await self.worker.do(job)
        except TelemetryBroken:
            again = make()
            if again == job:
                raise
            return await self.worker.do(again) if again is not None else None

    async def close(self) -> None:
        """The thread ends; files under way are done first."""
        await self.write(self.catalog.close)
        self._thread.shutdown(wait=False)

    def _remove(self, files: Sequence[FileInfo]) -> None:
        for one in files:
            try:
                (self.folder / one.signal / one.name).unlink(missing_ok=True)
            except OSError as error:  # it is in no catalog: the next start tries again
                log.warning("a telemetry file could not be removed", extra={"file": one.name, "why": str(error)})


def remove_strays(folder: Path, known: set[str]) -> None:
    """Files of a crash: written, but never taken into the catalog. `known`: "signal/name"."""
    for signal in ("metrics", "logs"):
        for path in sorted((folder / signal).rglob("*")):
            if path.is_file() and path.relative_to(folder).as_posix() not in known:
                path.unlink()
