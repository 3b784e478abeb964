"""Log events as they arrive, for those who watch (live tail). Only of this process: what a watcher missed is in the telemetry store.

A watcher that takes more slowly than events come loses the oldest: it may hold `LIMIT_WAITING`, and `LIMIT_WAITING_CHARACTERS`; it never holds up
the one who writes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from gureum.ports.telemetry import LogEvent

LIMIT_WAITING = 5000
"""AWS: logs StartLiveTail: at most 5,000 events wait for a client."""
LIMIT_WAITING_CHARACTERS = 16 * 1024 * 1024
"""Of their messages: one may have a megabyte."""
Wanted = Callable[[LogEvent], bool]
LIMIT_AT_ONCE = 100_000
"""Characters of messages that are looked at in one turn of the loop: a few milliseconds, with the slowest pattern some fifteen."""
T = TypeVar("T")


async def each(read: Callable[[LogEvent], T], events: Sequence[LogEvent]) -> list[T]:
    """What `read` says of each event. A batch is a megabyte, and there may be many patterns for it: others have their turn meanwhile."""
    found: list[T] = []
    left = LIMIT_AT_ONCE
    for event in events:
        left -= len(event.message) + 50
        if left < 0:
            left = LIMIT_AT_ONCE
            await asyncio.sleep(0)
        found.append(read(event))
    return found


class LogTail:
    """One watcher: `take` gives what has come since. `ended` is set when nothing more will."""

    def __init__(self, scope: str, groups: frozenset[str], wanted: Wanted) -> None:
        self.scope = scope
        self.groups = groups
        self.wanted = wanted
        self.ended = asyncio.Event()
        self._waiting: deque[tuple[str, LogEvent]] = deque()
        self._size = 0

    async def put(self, group: str, events: Sequence[LogEvent]) -> None:
        wanted = await each(self.wanted, events)
        for event, fits in zip(events, wanted, strict=True):
            if fits:
                self._waiting.append((group, event))
                self._size += len(event.message)
        while len(self._waiting) > LIMIT_WAITING or self._size > LIMIT_WAITING_CHARACTERS:
            self._size -= len(self._waiting.popleft()[1].message)

    def take(self) -> list[tuple[str, LogEvent]]:
        """(group, event), in the order in which they came."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._size = 0
        return taken


class LogTails:
    """All watchers."""

    def __init__(self) -> None:
        self._tails: list[LogTail] = []

    def open(self, scope: str, groups: frozenset[str], wanted: Wanted) -> LogTail:
        tail = LogTail(scope, groups, wanted)
        self._tails.append(tail)
        return tail

    def forget(self, tail: LogTail) -> None:
        self._tails = [one for one in self._tails if one is not tail]

    def number(self, scope: str) -> int:
        return sum(tail.scope == scope for tail in self._tails)

    async def publish(self, scope: str, group: str, events: Sequence[LogEvent]) -> None:
        for tail in [one for one in self._tails if one.scope == scope and group in one.groups]:
            await tail.put(group, events)

    def close(self) -> None:
        """Ends all watches, before the daemon goes."""
        for tail in self._tails:
            tail.ended.set()
