"""Pages of log events: what a read spans, when a page is full, and the places on both of its sides. Pure; both stores use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gureum.ports.telemetry import LogEvent, LogPage
from gureum.telemetry.places import MAX_TIME_MS, Position, parse_place, render_place

EVENT_OVERHEAD_BYTES = 26
"""AWS: logs PutLogEvents counts so much for each event besides its message."""

MAX_MESSAGE = 4 * 1024 * 1024


class Span(NamedTuple):
    """Positions from `first` on, before `end`. `empty`: where a reader stands who found nothing."""

    first: Position
    end: Position
    empty: Position


def span_of(start_ms: int, end_ms: int | None, *, forward: bool, place: str) -> Span:
    """ValueError for a place that is none."""
    first = Position(max(start_ms, 0), 0)
    end = Position(MAX_TIME_MS if end_ms is None else max(end_ms, 0), 0)
    if not place:
        return Span(first, end, first)
    here = parse_place(place)
    return Span(max(first, here), end, here) if forward else Span(first, min(end, here), here)


class Page:
    """Fills in the order of reading. At least one event is taken, also when it is larger than `limit_bytes`."""

    def __init__(self, span: Span, limit: int, limit_bytes: int, *, forward: bool) -> None:
        self._span = span
        self._limit = limit
        self._left_bytes = limit_bytes
        self._forward = forward
        self._events: list[LogEvent] = []
        self._first = self._last = span.empty
        self._full = False
        self._looked = 0
        self._bound: Position | None = None

    def take(self, position: Position, event: LogEvent, size: int) -> bool:
        """False: the page is full, without this event."""
        if len(self._events) >= self._limit or (self._events and size > self._left_bytes):
            self._full = True
            return False
        self._left_bytes -= size
        if not self._events:
            self._first = position
        self._last = position
        self._events.append(event)
        return True

    def fill(self, events: Sequence[LogEvent]) -> None:
        """Takes these, in the order of reading, as `take` would one by one."""
        fits = min(len(events), self._limit - len(self._events))
        taken = events[:fits]
        size = size_of("".join([one.message for one in taken]))
        if size > self._left_bytes:
            for event in events:
                if not self.take(Position(event.time_ms, event.sequence), event, size_of(event.message)):
                    return
        elif taken:
            self._left_bytes -= size
            first, last = taken[0], taken[-1]
            if not self._events:
                self._first = Position(first.time_ms, first.sequence)
            self._last = Position(last.time_ms, last.sequence)
            self._events += taken
        self._full = fits < len(events)

    def looked(self, events: int, bound: Position | None) -> None:
        """At so many. `bound`: nobody has looked beyond it."""
        self._looked, self._bound = events, bound

    def end(self) -> LogPage:
        events, low, high = self._events, self._first, self._last.after
        if not self._forward:
            events, low, high = events[::-1], self._last, self._first.after
        if not events:
            low = high = self._span.empty
        bound = None if self._full else self._bound
        if bound is not None and self._forward:
            low, high = (low, bound) if events else (bound, bound)
        elif bound is not None:
            low, high = (bound, high) if events else (bound, bound)
        done = not self._full and bound is None
        return LogPage(tuple(events), render_place(high), render_place(low), done, self._looked or len(events))


def size_of(message: str) -> int:
    """In UTF-8."""
    return len(message) if message.isascii() else len(message.encode())


def has_all(message: str, needles: Sequence[Sequence[str]]) -> bool:
    """Of each at least one."""
    return all(any(text in message for text in texts) for texts in needles)


def require_events(scope: str, group: str, events: Sequence[LogEvent]) -> None:
    """ValueError for what no store can hold."""
    require_names(scope, group, *{one.stream for one in events})
    for times in ([one.time_ms for one in events], [one.ingested_ms for one in events]):
        if times and not 0 <= min(times) <= max(times) < MAX_TIME_MS:
            raise ValueError(f"no time of an event: {min(times)}, {max(times)}")
    longest = max([len(one.message) for one in events], default=0)
    if longest > MAX_MESSAGE:
        raise ValueError(f"a message of {longest} characters")


def require_names(*names: str) -> None:
    """ValueError for a NUL, which ends text in too many places."""
    for name in names:
        if "\0" in name:
            raise ValueError(f"no name: {name!r}")
