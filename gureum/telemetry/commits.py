"""Group commit: everyone who waits is written with one sync, and made visible, in order, once it is durable.

    commit(payload, show) ──► queue ──► group ──► thread: Wal.append, one fdatasync ──► show() of each, futures

One group is under way at a time; what arrives meanwhile is the next, so the work per sync grows with the load. `pause` runs something in the
thread between two groups (a rotation of the log).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from gureum.ports.telemetry import TelemetryBroken, TelemetryFull
from gureum.telemetry.wal import Wal

T = TypeVar("T")
MAX_GROUP_BYTES = 16 * 1024 * 1024
MAX_GROUP_COMMITS = 1024


class _Waiting(NamedTuple):
    payload: bytes
    show: Callable[[], None]
    done: asyncio.Future[None]


class Commits:
    """Owns the log's thread. The queue holds one item per waiting caller."""

    def __init__(self, wal: Wal, name: str) -> None:
        self._wal = wal
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._queue: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    async def commit(self, payload: bytes, show: Callable[[], None]) -> None:
        """Durable, then shown, when it returns. A caller that is cancelled does not take it back. TelemetryFull, TelemetryBroken."""
        if self._closed:
            raise TelemetryBroken("the telemetry store is closed")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(payload, show, loop.create_future())
        self._queue.append(waiting)
        if self._writing is None:
            self._writing = loop.create_task(self._write_groups(), name="telemetry")
        await waiting.done

    async def pause(self, work: Callable[[], T], then: Callable[[], None]) -> T:
        """`work` in the thread and `then` in the loop, while no group is under way."""
        async with self._turn:
            found = await self.in_thread(work)
            then()
            return found

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        self._closed = True
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self.in_thread(self._wal.close)
        self._thread.shutdown(wait=False)

    async def _write_groups(self) -> None:
        group: Sequence[_Waiting] = ()
        try:
            while self._queue:
                async with self._turn:
                    group = self._take_group()
                    await self._write_group(group)
        finally:
            self._writing = None
            for one in (*group, *self._queue):  # none, unless this task was cancelled or met a mistake of ours
                if not one.done.done():
                    one.done.set_exception(TelemetryBroken("the telemetry store's writer was stopped"))
            self._queue.clear()

    def _take_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._queue and len(group) < MAX_GROUP_COMMITS and size < MAX_GROUP_BYTES:
            group.append(self._queue.popleft())
            size += len(group[-1].payload)
        return group

    async def _write_group(self, group: Sequence[_Waiting]) -> None:
        payloads = [one.payload for one in group]
        try:
            await self.in_thread(lambda: self._wal.append(payloads))
        except (TelemetryFull, TelemetryBroken) as error:
            for one in group:
                if not one.done.done():
                    one.done.set_exception(type(error)(*error.args))
            return
        for one in group:
            one.show()
            if not one.done.done():
                one.done.set_result(None)
