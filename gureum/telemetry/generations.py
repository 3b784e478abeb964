"""Generations of a signal's log and their way into files.

    commit ──► log file N, chunk N in memory ──(large or old)──► rotate: N+1 is written now ──► worker makes files of N ──► log file N removed

Data are in a chunk until the catalog has their files. When sealing falls behind, or fails, commits wait, and in the end fail: memory is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from gureum.ports.telemetry import TelemetryBroken, TelemetryFull
from gureum.telemetry.commits import Commits
from gureum.telemetry.wal import Wal, path_of, remove_generation

log = logging.getLogger("gureum.telemetry")


class Limits(msgspec.Struct, frozen=True):
    """When a generation is sealed: at so many rows or bytes of log, or when it is so old. `unsealed_rows`,
    `unsealed_bytes`: of all generations that are in no file, at which commits wait, at most `wait_s`. `retry_s`: after a failed seal."""

    rows: int = 500_000
    size_bytes: int = 64 * 1024 * 1024
    age_s: float = 3600.0
    unsealed_rows: int = 2_000_000
    unsealed_bytes: int = 256 * 1024 * 1024
    wait_s: float = 60.0
    retry_s: float = 30.0


class Chunk(Protocol):
    @property
    def generation(self) -> int: ...
    def __len__(self) -> int: ...


C = TypeVar("C", bound=Chunk)


class Generations(Generic[C]):
    """`chunks`: what is in no file yet, oldest first; the last one is written to. `seal(chunk, then)` makes files of a chunk and calls `then` in
    the turn of the loop in which readers see them. `tend(busy)` looks after the files there are when nothing waits to be sealed; it ends early when
    `busy()`, since sealing comes first."""

    def __init__(
        self,
        folder: Path,
        wal: Wal,
        chunks: list[C],
        make: Callable[[int], C],
        seal: Callable[[C, Callable[[], None]], Awaitable[None]],
        tend: Callable[[Callable[[], bool]], Awaitable[None]],
        limits: Limits,
    ) -> None:
        self._tend = tend
        self._folder = folder
        self._wal = wal
        self._commits = Commits(wal, folder.name)
        self.chunks = chunks
        self._make = make
        self._seal = seal
        self._limits = limits
        self._sealing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sealed = asyncio.Event()
        self._failure: TelemetryFull | TelemetryBroken | None = None
        self._closed = False
        self._ended_bytes = {one.generation: path_of(folder, one.generation).stat().st_size for one in chunks[:-1]}
        if len(chunks) > 1 or len(chunks[-1]):
            self._seal_later(limits.age_s if len(chunks) == 1 else limits.retry_s)

    @property
    def active(self) -> C:
        return self.chunks[-1]

    async def commit(self, payload: bytes, show: Callable[[], None]) -> None:
        """TelemetryFull, TelemetryBroken."""
        if self._is_full():
            await self._room()
        await self._commits.commit(payload, show)
        if self._is_due():
            self.kick()
        elif self._timer is None and self._sealing is None:
            self._seal_later(self._limits.age_s)

    def kick(self) -> None:
        """Seals soon."""
        if self._sealing is None and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._sealing = asyncio.get_running_loop().create_task(self._seal_all(), name=f"seal {self._folder.name}")

    async def seal_now(self) -> None:
        """Everything that is acknowledged is in files afterwards. TelemetryFull, TelemetryBroken."""
        while self._rows() or self._sealing is not None:
            self.kick()
            assert self._sealing is not None
            await asyncio.wait([self._sealing])
            if self._failure is not None:
                raise self._failure

    async def in_thread(self, work: Callable[[], None]) -> None:
        await self._commits.in_thread(work)

    async def close(self) -> None:
        """What is in no file stays in the log."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sealing is not None:
            self._sealing.cancel()
            await asyncio.wait([self._sealing])
        await self._commits.close()

    def _rows(self) -> int:
        return sum(len(one) for one in self.chunks)

    def _is_due(self) -> bool:
        return len(self.active) >= self._limits.rows or self._wal.size_bytes >= self._limits.size_bytes

    def _is_full(self) -> bool:
        size_bytes = self._wal.size_bytes + sum(self._ended_bytes.values())
        return self._rows() >= self._limits.unsealed_rows or size_bytes >= self._limits.unsealed_bytes

    async def _room(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.wait_s
        while self._is_full():
            if self._failure is not None:
                raise type(self._failure)(*self._failure.args)
            self.kick()
            self._sealed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._sealed.wait()
            except TimeoutError:
                raise TelemetryBroken("the telemetry store cannot keep up") from None

    async def _seal_all(self) -> None:
        try:
            await self._seal_chunks()
            await self._tend(self._is_due)
            while self._is_due():
                await self._seal_chunks()
                await self._tend(self._is_due)
        except (TelemetryFull, TelemetryBroken) as error:
            log.warning("telemetry is not written to files yet", extra={"why": str(error)})
            self._failure = error
            self._seal_later(self._limits.retry_s)
        finally:
            self._sealing = None
            self._sealed.set()

    async def _seal_chunks(self) -> None:
        if len(self.active) or self._is_due():  # a large log may hold only what was dropped
            await self._commits.pause(self._rotate, lambda: self.chunks.append(self._make(self._wal.generation)))
        while len(self.chunks) > 1:
            chunk = self.chunks[0]
            await self._seal(chunk, lambda chunk=chunk: self.chunks.remove(chunk))  # type: ignore[misc]
            await self._commits.in_thread(lambda chunk=chunk: remove_generation(self._folder, chunk.generation))  # type: ignore[misc]
            self._ended_bytes.pop(chunk.generation, None)
            self._failure = None
            self._sealed.set()

    def _rotate(self) -> None:
        size_bytes = self._wal.size_bytes
        self._ended_bytes[self._wal.rotate()] = size_bytes

    def _seal_later(self, after_s: float) -> None:
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.kick()
