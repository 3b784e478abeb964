"""The store without a disk, for tests and the simulator: same contract, nothing outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gureum.store.contract import Check, Compacted, Entry, Event, StoreBroken, Write
from gureum.store.feed import Feed, Watch
from gureum.store.index import Draft, Index, require_within_limits

_HISTORY_BYTES = 64 * 1024 * 1024


class MemoryStore:
    """Fills `contract.Store`. A commit happens within the call, without a wait. `keep_revisions`: how much history
    watches find."""

    def __init__(self, *, keep_revisions: int = 10_000) -> None:
        self._index = Index()
        self._feed = Feed(0, 0, keep_revisions=keep_revisions, keep_bytes=_HISTORY_BYTES)

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
        require_within_limits(checks, writes)
        if self._feed.closed:
            raise StoreBroken("the store is closed")
        draft = Draft(self._index)
        events = draft.admit(checks, writes)
        if events:
            self._index.apply(events)
            self._feed.publish(events)
            self._feed.compacted = self._feed.first - 1  # the ring is all the history there is
        return draft.revision

    def watch(self, prefix: str, from_revision: int) -> Watch:
        return Watch(self._feed, prefix, from_revision, self._read_older)

    def listen(self, callback: Callable[[list[Event]], None]) -> Callable[[], None]:
        return self._feed.listen(callback)

    async def compact(self, revision: int) -> None:
        if revision > self.revision:
            raise ValueError(f"revision {revision} is in the future: the store is at {self.revision}")
        self._feed.drop_until(revision)
        self._feed.compacted = self._feed.first - 1

    async def close(self) -> None:
        self._feed.close()

    async def _read_older(self, _prefix: str, after: int, _until: int) -> tuple[list[Event], int]:
        raise Compacted(after, self.compacted)
