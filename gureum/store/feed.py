"""What became visible, told to those who listen and watch. Shared by all implementations; lives in the loop's thread.

The feed keeps the newest revisions in one ring. A watch is only a position in it: it has no queue, so a slow reader
costs nothing. A reader behind the ring is served by the store's own history (`read_older`), and one behind that gets
Compacted.

    publish(events) ──► listeners, at once
              │
              ├──► wakes the watches asleep whose prefix matches
              ▼
    ring  [ r-999 … r-1 r ]  ◄── Watch(position) reads on from its position
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gureum.store.contract import Compacted, Event

BATCH_EVENTS = 1000
"""A batch ends with the revision that reaches this number."""
_EVENT_BYTES = 400
"""What an event costs beside its values, roughly."""

Older = Callable[[str, int, int], Awaitable[tuple[list[Event], int]]]
"""(prefix, after, until) -> the first of the prefix's events in the revisions after < r <= until, and the revision read
up to."""

_log = logging.getLogger(__name__)


class Feed:
    """The newest revisions' events, and who waits for more. Invariant: the ring holds the revisions `first` …
    `revision`, without a gap."""

    def __init__(self, revision: int, compacted: int, *, keep_revisions: int, keep_bytes: int) -> None:
        self.revision = revision
        self.compacted = compacted
        self.first = revision + 1
        self.closed = False
        self._keep_revisions = keep_revisions
        self._keep_bytes = keep_bytes
        self._ring: list[list[Event]] = []
        self._bytes = 0
        self._listeners: list[Callable[[list[Event]], None]] = []
        self._asleep: set[Watch] = set()

    @property
    def asleep(self) -> int:
        """How many watches wait for something new."""
        return len(self._asleep)

    def listen(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        self._listeners.append(callback)

        def unlisten() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return unlisten

    def publish(self, events: list[Event]) -> None:
        """Takes the events of the next revision, which the index shows already."""
        self.revision += 1
        self._ring.append(events)
        self._bytes += _weight(events)
        self._trim()
        for callback in tuple(self._listeners):
            try:
                callback(events)
            except Exception:  # noqa: BLE001  the commit has happened: whatever one listener does, the others must learn of it
                _log.exception("store.listener_failed")
        for watch in tuple(self._asleep):
            if any(event.key.startswith(watch.prefix) for event in events):
                self._asleep.discard(watch)
                watch.wake(self.revision)

    def read(self, prefix: str, after: int) -> tuple[list[Event], int]:
        """The prefix's events after a revision that the ring reaches back to, and the revision read up to."""
        found: list[Event] = []
        seen = 0
        for events in self._ring[after + 1 - self.first :]:
            found += [event for event in events if event.key.startswith(prefix)]
            after = events[0].revision
            seen += len(events)
            if seen >= BATCH_EVENTS:
                break
        return found, after

    def sleep(self, watch: Watch) -> None:
        self._asleep.add(watch)

    def forget(self, watch: Watch) -> None:
        self._asleep.discard(watch)

    def drop_until(self, revision: int) -> None:
        """Gives up the ring's revisions up to this one."""
        count = max(0, min(revision + 1 - self.first, len(self._ring)))
        self._bytes -= sum(_weight(events) for events in self._ring[:count])
        del self._ring[:count]
        self.first += count

    def close(self) -> None:
        self.closed = True
        for watch in tuple(self._asleep):
            watch.wake(self.revision + 1)
        self._asleep.clear()

    def _trim(self) -> None:
        """Cuts an eighth at a time, since cutting a list's head moves the rest."""
        if len(self._ring) > self._keep_revisions + self._keep_revisions // 8:
            self.drop_until(self.revision - self._keep_revisions)
        while self._bytes > self._keep_bytes and len(self._ring) > 1:
            self.drop_until(self.first + len(self._ring) // 8)


class Watch:
    """An iterator over the feed. A position and a prefix, nothing to give back."""

    def __init__(self, feed: Feed, prefix: str, after: int, read_older: Older) -> None:
        self.prefix = prefix
        self._feed = feed
        self._after = after
        self._read_older = read_older
        self._awaited: asyncio.Future[None] | None = None
        self._woken = False

    @property
    def position(self) -> int:
        """Every event of the prefix up to this revision has been returned. After a wait that was cancelled it is what was reached then."""
        return self._after

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> list[Event]:
        feed = self._feed
        while not feed.closed:
            found: list[Event] = []
            if self._after < feed.compacted:
                raise Compacted(self._after, feed.compacted)
            if self._after >= feed.revision:
                await self._sleep()
            elif self._after + 1 < feed.first:
                found, self._after = await self._read_older(self.prefix, self._after, feed.first - 1)
            else:
                found, self._after = feed.read(self.prefix, self._after)
                if not found:
                    await asyncio.sleep(0)
            if found:
                return found
        raise StopAsyncIteration

    def wake(self, revision: int) -> None:
        """The revision is the first since this watch fell asleep that concerns it."""
        self._woken = True
        self._after = max(self._after, revision - 1)
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    async def _sleep(self) -> None:
        self._awaited = asyncio.get_running_loop().create_future()
        self._woken = False
        self._feed.sleep(self)
        try:
            await self._awaited
        finally:
            self._feed.forget(self)
            if not self._woken:  # cancelled: nothing that came meanwhile concerned it
                self._after = max(self._after, self._feed.revision)


def _weight(events: Sequence[Event]) -> int:
    total = _EVENT_BYTES * len(events)
    for event in events:
        total += len(event.entry.value) if event.entry else 0
        total += len(event.previous.value) if event.previous else 0
    return total
