"""Group commit: everyone who waits is written with one sync, and made visible, in order, once it is durable.

    commit(payload, show) ──► queue ──► group ──► thread: Wal.append, one fdatasync ──► show() of each, futures

One group is under way at a time; what arrives meanwhile is the next, so the work per sync grows with the load. `pause` runs something in the
thread between two groups (a rotation of the log). The thread is a plain one that is told by a queue and tells the loop: for one small commit an
executor's futures would cost more than the commit.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from gureum.ports.telemetry import TelemetryBroken, TelemetryFull
from gureum.telemetry.wal import Wal

T = TypeVar("T")
MAX_GROUP_BYTES = 16 * 1024 * 1024
MAX_GROUP_COMMITS = 1024


class _Waiting(NamedTuple):
    payload: bytes
    show: Callable[[], None]
    done: asyncio.Future[None]


class _Job(NamedTuple):
    """`work` in the thread; then, in the loop, `told` with what it returned and what it raised."""

    work: Callable[[], Any]
    told: Callable[[Any, BaseException | None], None]
    loop: asyncio.AbstractEventLoop


class Commits:
    """Owns the log's thread. The queue holds one item per waiting caller."""

    def __init__(self, wal: Wal, name: str) -> None:
        self._wal = wal
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        threading.Thread(target=_serve, args=(self._jobs,), name=name, daemon=True).start()
        self._queue: deque[_Waiting] = deque()
        self._pauses: deque[Callable[[], None]] = deque()
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    async def commit(self, payload: bytes, show: Callable[[], None]) -> None:
        """Durable, then shown, when it returns. A caller that is cancelled does not take it back. TelemetryFull, TelemetryBroken."""
        if self._closed:
            raise TelemetryBroken("the telemetry store is closed")
        waiting = _Waiting(payload, show, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if not self._busy:
            self._go_on()
        await waiting.done

    async def pause(self, work: Callable[[], T], then: Callable[[], None]) -> T:
        """`work` in the thread and `then` in the loop, while no group is under way."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def told(found: T, error: BaseException | None) -> None:
            try:
                if error is None:
                    then()
                _settle(done, found, error)
            finally:
                self._go_on()

        self._pauses.append(lambda: self._send(work, told))
        if not self._busy:
            self._go_on()
        return await done

    async def in_thread(self, work: Callable[[], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._send(work, lambda found, error: _settle(done, found, error))
        return await done

    async def close(self) -> None:
        self._closed = True
        await self._idle.wait()
        await self.in_thread(self._wal.close)
        self._jobs.put(None)

    def _go_on(self) -> None:
        """The next pause or group; there is none under way."""
        self._busy = bool(self._pauses or self._queue)
        if not self._busy:
            self._idle.set()
            return
        self._idle.clear()
        if self._pauses:
            self._pauses.popleft()()
            return
        group = self._take_group()
        payloads = [one.payload for one in group]
        self._send(lambda: self._wal.append(payloads), lambda _, error: self._written(group, error))

    def _take_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._queue and len(group) < MAX_GROUP_COMMITS and size < MAX_GROUP_BYTES:
            group.append(self._queue.popleft())
            size += len(group[-1].payload)
        return group

    def _written(self, group: Sequence[_Waiting], error: BaseException | None) -> None:
        try:
            for one in group:
                if error is None:
                    one.show()
                    _settle(one.done, None, None)
                elif isinstance(error, TelemetryFull | TelemetryBroken):
                    _settle(one.done, None, type(error)(*error.args))
                else:
                    raise error
        finally:
            for one in group:  # none are left, unless there was a mistake of ours
                _settle(one.done, None, TelemetryBroken("the telemetry store's writer was stopped"))
            self._go_on()

    def _send(self, work: Callable[[], Any], told: Callable[[Any, BaseException | None], None]) -> None:
        self._jobs.put(_Job(work, told, asyncio.get_running_loop()))


def _settle(done: asyncio.Future[T], found: T, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(found)
    else:
        done.set_exception(error)


def _serve(jobs: SimpleQueue[_Job | None]) -> None:
    """The thread. What a job raises is told to who asked for it."""
    while (job := jobs.get()) is not None:
        found: Any = None
        failed: BaseException | None = None
        try:
            found = job.work()
        except Exception as error:  # noqa: BLE001, the loop raises it where it was asked
            failed = error
        try:
            job.loop.call_soon_threadsafe(job.told, found, failed)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
        del job, found, failed  # nothing is kept alive while the thread waits
