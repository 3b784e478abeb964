"""The embedded store: state in memory, changes in a SQLite file, one sync for all commits that wait (group commit).

    commit() ──► queue ──► group ──► Draft: checks, events ──► thread: one transaction, one sync
                                                                            │
    caller  ◄── future ◄── listeners, watches ◄── Index (visible now) ◄─────┘

One group is under way at a time, and everything but the transaction itself happens in the loop: no state is shared
between threads. Commits that arrive meanwhile are the next group, so the number of commits per sync grows by itself
with the load. The queue holds one item per waiting caller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from gureum.store.contract import Check, Conflict, Entry, Event, StoreBroken, StoreFull, Write
from gureum.store.feed import Feed, Watch
from gureum.store.index import Draft, Index, require_within_limits
from gureum.store.logfile import MIGRATIONS, Loaded, LogFile, Migration, open_log

T = TypeVar("T")

MAX_GROUP_COMMITS = 256
MAX_GROUP_WRITES = 4096
MAX_GROUP_BYTES = 8 * 1024 * 1024
"""A group ends with the commit that reaches one of these, since it is decided on and published without a pause."""
_RING_REVISIONS = 1000
_RING_BYTES = 16 * 1024 * 1024
"""Watches that are further behind read from the file."""


class _Waiting(NamedTuple):
    checks: Sequence[Check]
    writes: Sequence[Write]
    size: int
    done: asyncio.Future[int]


class _Admitted(NamedTuple):
    """A commit of the group, decided on: its events (none: nothing changed), and its revision or why it is refused."""

    done: asyncio.Future[int]
    outcome: int | Conflict
    events: list[Event]


class SqliteStore:
    """Fills `contract.Store`. Made by `open`."""

    def __init__(self, log: LogFile, loaded: Loaded, thread: ThreadPoolExecutor, keep_revisions: int) -> None:
        self._log = log
        self._thread = thread
        self._keep_revisions = keep_revisions
        self._index = Index(loaded.entries, loaded.revision)
        self._feed = Feed(loaded.revision, loaded.compacted, keep_revisions=_RING_REVISIONS, keep_bytes=_RING_BYTES)
        self._queue: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        keep_revisions: int = 10_000,
        synchronous: bool = True,
        max_bytes: int = 4 * 1024**3,
        checkpoint_pages: int = 1000,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> SqliteStore:
        """Opens the store in the file, which is made (0600) if it is not there.

        `keep_revisions`: history that watches find; older history is compacted on the way. `synchronous=False`: commits
        survive the death of the process but the newest may be lost with the machine's power, and then their revisions
        are given out again: for caches only. `max_bytes`: the size at which commits fail with StoreFull. StoreBroken:
        in use, unreadable, or of a newer format.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            log, loaded = await asyncio.get_running_loop().run_in_executor(
                thread,
                lambda: open_log(
                    path,
                    synchronous=synchronous,
                    max_bytes=max_bytes,
                    checkpoint_pages=checkpoint_pages,
                    migrations=migrations,
                ),
            )
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(log, loaded, thread, keep_revisions)

    @property
    def revision(self) -> int:
        return self._index.revision

    @property
    def compacted(self) -> int:
        return self._feed.compacted

    def get(self, key: str) -> Entry | None:
        return self._index.get(key)

    def range(self, prefix: str, *, after: str = "", limit: int = 0) -> list[Entry]:
        return self._index.range(prefix, after, limit)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        size = require_within_limits(checks, writes)
        if self._closed:
            raise StoreBroken("the store is closed")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(checks, writes, size, loop.create_future())
        self._queue.append(waiting)
        if self._writing is None:
            self._writing = loop.create_task(self._write_groups(), name="store")
        return await waiting.done

    def watch(self, prefix: str, from_revision: int) -> Watch:
        return Watch(self._feed, prefix, from_revision, self._read_older)

    def listen(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        return self._feed.listen(callback)

    async def compact(self, revision: int) -> None:
        if revision > self.revision:
            raise ValueError(f"revision {revision} is in the future: the store is at {self.revision}")
        while self._log.compacted < revision:
            await self._in_thread(lambda: self._log.compact(revision))
            self._feed.compacted = self._log.compacted

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._writing is not None:
            await asyncio.wait(
                [self._writing]
            )  # unlike awaiting it, this does not cancel it when the caller is cancelled
        self._feed.close()
        await self._in_thread(self._log.close)
        self._thread.shutdown(wait=False)

    async def _write_groups(self) -> None:
        group: Sequence[_Waiting] = ()
        try:
            while self._queue:
                group = self._take_group()
                await self._write_group(group)
        finally:
            self._writing = None
            for waiting in (*group, *self._queue):  # none, unless this task was cancelled or met a mistake of ours
                if not waiting.done.done():
                    waiting.done.set_exception(StoreBroken("the store's writer was stopped"))
            self._queue.clear()

    def _take_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        writes = size = 0
        while self._queue and len(group) < MAX_GROUP_COMMITS and writes < MAX_GROUP_WRITES and size < MAX_GROUP_BYTES:
            waiting = self._queue.popleft()
            if not waiting.done.cancelled():
                group.append(waiting)
                writes += len(waiting.writes)
                size += waiting.size
        return group

    async def _write_group(self, group: Sequence[_Waiting]) -> None:
        draft = Draft(self._index)
        admitted = [_admit(draft, waiting) for waiting in group]
        events = [event for commit in admitted for event in commit.events]
        if events:
            try:
                await self._in_thread(lambda: self._append(events, draft.revision - self._keep_revisions))
            except (StoreFull, StoreBroken) as error:
                _fail(admitted, error)
                return
        self._publish(admitted)

    def _append(self, events: Sequence[Event], history_ends: int) -> None:
        """In the thread."""
        # Compacting a little with every commit would write pages of the log's old end each time; an eighth at once
        # costs a tenth of that.
        due = history_ends - self._log.compacted > self._keep_revisions // 8
        self._log.append(events, history_ends if due else 0)

    def _publish(self, admitted: Sequence[_Admitted]) -> None:
        self._feed.compacted = self._log.compacted
        for commit in admitted:
            if commit.events:
                self._index.apply(commit.events)
                self._feed.publish(commit.events)
        for commit in admitted:
            if commit.done.cancelled():
                continue
            if isinstance(commit.outcome, Conflict):
                commit.done.set_exception(commit.outcome)
            else:
                commit.done.set_result(commit.outcome)

    async def _read_older(self, prefix: str, after: int, until: int) -> tuple[list[Event], int]:
        return await self._in_thread(lambda: self._log.read(prefix, after, until))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _admit(draft: Draft, waiting: _Waiting) -> _Admitted:
    try:
        events = draft.admit(waiting.checks, waiting.writes)
    except Conflict as conflict:
        return _Admitted(waiting.done, conflict, [])
    return _Admitted(waiting.done, draft.revision, events)


def _fail(admitted: Sequence[_Admitted], error: StoreFull | StoreBroken) -> None:
    """Refused commits fail too: they may have been refused because of a commit that now did not happen."""
    for commit in admitted:
        if not commit.done.cancelled():
            commit.done.set_exception(type(error)(*error.args))
