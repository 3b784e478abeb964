"""Log events in memory that are in no file yet: of each group and of each of its streams, in the order of time. A chunk is what one generation of
the log holds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter

from gureum.ports.telemetry import StreamInfo
from gureum.telemetry.frames import EventLine
from gureum.telemetry.pages import EVENT_OVERHEAD_BYTES
from gureum.telemetry.places import Position

_time_of = attrgetter("t")


class Run:
    """Events in order of their positions. They come in the order of their numbers; what came since the last look is put in its place then."""

    def __init__(self) -> None:
        self._events: list[EventLine] = []
        self._fresh: list[EventLine] = []

    def extend(self, events: Sequence[EventLine]) -> None:
        self._fresh += events

    def between(self, first: Position, end: Position) -> list[EventLine]:
        events = self.all()
        return events[bisect_left(events, first, key=_position_of) : bisect_left(events, end, key=_position_of)]

    def all(self) -> list[EventLine]:
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            # Sorting is stable, and numbers only grow: by time is enough.
            fresh.sort(key=_time_of)
            at = bisect_left(self._events, fresh[0].t + 1, key=_time_of)
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
        self._uncounted: list[EventLine] = []

    def extend(self, events: Sequence[EventLine]) -> None:
        self.run.extend(events)
        self._uncounted += events

    def info(self, name: str) -> StreamInfo:
        for event in self._uncounted:
            self.bytes += size_of(event.m) + EVENT_OVERHEAD_BYTES
            self.last_ingested_ms = max(self.last_ingested_ms, event.i)
        self._uncounted = []
        events = self.run.all()
        return StreamInfo(name, events[0].t, events[-1].t, self.last_ingested_ms, self.bytes)


class _Group:
    def __init__(self) -> None:
        self.run = Run()
        self.streams: dict[str, _Stream] = {}

    def extend(self, events: Sequence[EventLine]) -> None:
        self.run.extend(events)
        first = events[0].s
        if len({event.s for event in events}) == 1:
            self.streams.setdefault(first, _Stream()).extend(events)
            return
        by_stream: dict[str, list[EventLine]] = {}
        for event in events:
            by_stream.setdefault(event.s, []).append(event)
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

    def extend(self, group: str, events: Sequence[EventLine]) -> None:
        if events:
            self.events += len(events)
            self._groups.setdefault(group, _Group()).extend(events)

    def runs(self, group: str, streams: Sequence[str]) -> list[Run]:
        """Of the group, or of these of its streams."""
        found = self._groups.get(group)
        if found is None:
            return []
        if not streams:
            return [found.run]
        return [found.streams[one].run for one in dict.fromkeys(streams) if one in found.streams]

    def infos(self, group: str) -> list[StreamInfo]:
        found = self._groups.get(group)
        return [stream.info(name) for name, stream in found.streams.items()] if found else []

    def drop(self, group: str, stream: str, upto: int) -> None:
        """The group's events, or those of a stream, up to a number."""
        found = self._groups.pop(group, None)
        if found is None:
            return
        events = found.run.all()
        self.events -= len(events)
        self.extend(group, [one for one in events if one.q > upto or stream not in ("", one.s)])


def size_of(message: str) -> int:
    """In UTF-8."""
    return len(message) if message.isascii() else len(message.encode())


def _position_of(event: EventLine) -> Position:
    return Position(event.t, event.q)
