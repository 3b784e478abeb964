"""Log events in memory that are in no file yet: of each group and of each of its streams, in the order of time. A chunk is what one generation of
the log holds.

Most events are in files before anybody reads them. So a batch is kept as it came, until the first reader of its group has it put in order.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from gureum.ports.telemetry import LogEvent, StreamInfo
from gureum.telemetry.pages import EVENT_OVERHEAD_BYTES, size_of
from gureum.telemetry.places import Position

_time_of = attrgetter("time_ms")
_position_of: Callable[[LogEvent], tuple[int, int]] = attrgetter("time_ms", "sequence")
AT_ONCE = 10_000
"""So many events are put in order in one turn of the loop, as long as more wait."""


class Run:
    """Events in order of their positions. They come in the order of their numbers; what came since the last look is put in its place then."""

    def __init__(self) -> None:
        self._events: list[LogEvent] = []
        self._fresh: list[LogEvent] = []

    def extend(self, events: Sequence[LogEvent]) -> None:
        self._fresh += events

    def between(self, first: Position, end: Position, most: int = 0, *, forward: bool = True) -> list[LogEvent]:
        """At or after `first`, before `end`: the first (the last, backward) `most` of them, 0: all."""
        events = self.all()
        low = bisect_left(events, tuple(first), key=_position_of)
        high = bisect_left(events, tuple(end), key=_position_of)
        if most and forward:
            high = min(high, low + most)
        elif most:
            low = max(low, high - most)
        return events[low:high]

    def all(self) -> list[LogEvent]:
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            # Sorting is stable, and numbers only grow: by time is enough.
            fresh.sort(key=_time_of)
            at = bisect_left(self._events, fresh[0].time_ms + 1, key=_time_of)
            if at < len(self._events):
                fresh = self._events[at:] + fresh
                fresh.sort(key=_time_of)
            self._events[at:] = fresh
        return self._events


class _Stream:
    """`bytes`: as StreamInfo counts them."""

    def __init__(self) -> None:
        self.run = Run()
        self.last_ingested_ms = 0
        self.bytes = 0
        self._uncounted: list[LogEvent] = []

    def extend(self, events: Sequence[LogEvent]) -> None:
        self.run.extend(events)
        self._uncounted += events

    def info(self, name: str) -> StreamInfo:
        for event in self._uncounted:
            self.bytes += size_of(event.message) + EVENT_OVERHEAD_BYTES
            self.last_ingested_ms = max(self.last_ingested_ms, event.ingested_ms)
        self._uncounted = []
        events = self.run.all()
        return StreamInfo(name, events[0].time_ms, events[-1].time_ms, self.last_ingested_ms, self.bytes)


class _Group:
    def __init__(self) -> None:
        self.run = Run()
        self.streams: dict[str, _Stream] = {}
        self.fresh: deque[tuple[int, Sequence[LogEvent]]] = deque()
        self.waiting = 0

    def settle(self, most: int) -> None:
        """Puts batches in their places, until so many events are."""
        done = 0
        while self.fresh and done < most:
            first, events = self.fresh.popleft()
            done += len(events)
            self.extend(
                [
                    LogEvent(one.stream, one.time_ms, one.ingested_ms, one.message, number)
                    for number, one in enumerate(events, first)
                ]
            )
        self.waiting -= done

    def extend(self, lines: Sequence[LogEvent]) -> None:
        self.run.extend(lines)
        by_stream: dict[str, list[LogEvent]] = {}
        for line in lines:
            by_stream.setdefault(line.stream, []).append(line)
        for stream, part in by_stream.items():
            self.streams.setdefault(stream, _Stream()).extend(part)


class LogsChunk:
    """`generation`: of the log. `events`: how many there are; also its length. `last_sequence`: the last number in that generation, also
    of events that were dropped since; its owner sets it."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.events = 0
        self.last_sequence = 0
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        return self.events

    def extend(self, group: str, first: int, events: Sequence[LogEvent]) -> None:
        """`first`: the number of the first; the others count on."""
        self.events += len(events)
        found = self._group(group)
        found.fresh.append((first, events))
        found.waiting += len(events)

    async def settle(self, group: str) -> None:
        """So that `runs` and `infos` need little time."""
        found = self._groups.get(group)
        while found is not None and found.waiting > AT_ONCE:
            found.settle(AT_ONCE)
            await asyncio.sleep(0)

    def runs(self, group: str, streams: Sequence[str]) -> list[Run]:
        """Of the group, or of these of its streams."""
        found = self._settled(group)
        if found is None:
            return []
        if not streams:
            return [found.run]
        return [found.streams[one].run for one in dict.fromkeys(streams) if one in found.streams]

    def infos(self, group: str) -> list[StreamInfo]:
        found = self._settled(group)
        return [stream.info(name) for name, stream in found.streams.items()] if found else []

    def drop(self, group: str, stream: str, upto: int) -> None:
        """The group's events, or those of a stream, up to a number."""
        found = self._settled(group)
        if found is None:
            return
        lines = found.run.all()
        kept = [one for one in lines if one.sequence > upto or stream not in ("", one.stream)]
        self.events -= len(lines) - len(kept)
        del self._groups[group]
        if kept:
            self._group(group).extend(kept)

    def _group(self, group: str) -> _Group:
        return self._groups.setdefault(group, _Group())

    def _settled(self, group: str) -> _Group | None:
        found = self._groups.get(group)
        if found is not None:
            found.settle(found.waiting)
        return found
