"""The store's present state in memory, and the rules by which a commit changes it.

Shared by all implementations; knows no disk and no loop.

    Index                  what is durable and visible: get, range
      ▲ apply(events)
    Draft                  the Index as it would be after the commits admitted so far: checks them, makes their events
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

from gureum.store.contract import (
    MAX_COMMIT_BYTES,
    MAX_KEY_BYTES,
    MAX_OPERATIONS,
    Check,
    Conflict,
    Entry,
    Event,
    NoneNewer,
    Put,
    Unchanged,
    Write,
)


class Index:
    """Entries by key. Invariant: `_entries` is in the order of the entries' revisions, so that what is new is found
    from its end."""

    def __init__(self, entries: dict[str, Entry] | None = None, revision: int = 0) -> None:
        """`entries`: in the order of their revisions."""
        self._entries = {} if entries is None else entries
        # A plain sorted list: an insert among 100,000 keys moves at most 0.8 MB (some 20 us), a read is a bisection.
        self._keys = sorted(self._entries)
        self.revision = revision

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def range(self, prefix: str, after: str, limit: int) -> list[Entry]:
        keys = self._keys
        start = bisect_left(keys, prefix)
        if after >= prefix:
            start = bisect_right(keys, after, start)
        stop = _end_of(prefix, keys, start)
        if limit:
            stop = min(stop, start + limit)
        entries = self._entries
        return [entries[key] for key in keys[start:stop]]

    def newest_first(self) -> Iterable[Entry]:
        return reversed(self._entries.values())

    def apply(self, events: Sequence[Event]) -> None:
        """Takes in one commit's events. They must follow the present revision."""
        for event in events:
            known = self._entries.pop(event.key, None)
            if event.entry is None:
                del self._keys[bisect_left(self._keys, event.key)]
                continue
            self._entries[event.key] = event.entry
            if known is None:
                insort(self._keys, event.key)
        self.revision = events[-1].revision


class Draft:
    """Commits admitted one after the other on top of an index, which itself stays as it is until their events are
    applied."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._changed: dict[str, Entry | None] = {}
        self.revision = index.revision

    def admit(self, checks: Sequence[Check], writes: Sequence[Write]) -> list[Event]:
        """The events of a commit; empty when it changes nothing. Raises Conflict, and then nothing is admitted."""
        for check in checks:
            self._require(check)
        revision = self.revision + 1
        events = [event for write in writes if (event := self._event(write, revision)) is not None]
        for event in events:
            self._changed[event.key] = event.entry
        if events:
            self.revision = revision
        return events

    def _get(self, key: str) -> Entry | None:
        return self._changed[key] if key in self._changed else self._index.get(key)

    def _event(self, write: Write, revision: int) -> Event | None:
        known = self._get(write.key)
        if isinstance(write, Put):
            if known is not None and known.value == write.value:
                return None
            created = revision if known is None else known.created
            return Event(revision, write.key, Entry(write.key, write.value, created, revision), known)
        return None if known is None else Event(revision, write.key, None, known)

    def _require(self, check: Check) -> None:
        if isinstance(check, Unchanged):
            known = self._get(check.key)
            revision = 0 if known is None else known.revision
            if revision != check.revision:
                raise Conflict(check, check.key, revision)
        elif (newer := self._newer(check)) is not None:
            raise Conflict(check, newer.key, newer.revision)

    def _newer(self, check: NoneNewer) -> Entry | None:
        """An entry in the check's way. Looks only at what changed after the check's revision, which is little: it was
        read just before."""
        for entry in self._changed.values():
            if entry is not None and entry.revision > check.revision and entry.key.startswith(check.prefix):
                return entry
        for entry in self._index.newest_first():
            if entry.revision <= check.revision:
                return None
            if entry.key.startswith(check.prefix) and entry.key not in self._changed:
                return entry
        return None


def require_within_limits(checks: Sequence[Check], writes: Sequence[Write]) -> int:
    """The bytes of the commit's keys and values. ValueError as `Store.commit` says."""
    if len(checks) + len(writes) > MAX_OPERATIONS:
        raise ValueError(f"{len(checks)} checks and {len(writes)} writes: a commit has at most {MAX_OPERATIONS}")
    total = 0
    for check in checks:
        if isinstance(check, Unchanged):
            _require_key(check.key)
    for write in writes:
        total += _require_key(write.key)
        if isinstance(write, Put):
            total += len(write.value)
    if len({write.key for write in writes}) < len(writes):
        raise ValueError("a commit writes each key at most once")
    if total > MAX_COMMIT_BYTES:
        raise ValueError(f"a commit holds at most {MAX_COMMIT_BYTES} bytes, not {total}")
    return total


def _require_key(key: str) -> int:
    size = len(key) if key.isascii() else len(key.encode())  # UnicodeEncodeError is a ValueError
    if not key or size > MAX_KEY_BYTES or "\0" in key:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes and no NUL: {key[:80]!r}")
    return size


def _end_of(prefix: str, keys: Sequence[str], start: int) -> int:
    """The position after the last key under the prefix. The bound is the least string that is above all of them: "ab"
    -> "ac"."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return len(keys)
    return bisect_left(keys, stem[:-1] + chr(ord(stem[-1]) + 1), start)
