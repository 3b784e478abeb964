"""Telemetry in memory: the twin of the store on disk, for tests and simulations. Gone with the process; the oldest goes when there is too much."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import msgspec

from gureum.ports.clock import Clock
from gureum.ports.telemetry import ALL_SERIES, Bucket, Datum, LogEvent, LogPage, Series, SeriesQuery, StreamInfo
from gureum.telemetry.buckets import Point, collect, point_of
from gureum.telemetry.pages import EVENT_OVERHEAD_BYTES, Page, Span, has_all, require_events, span_of
from gureum.telemetry.places import Position

MAX_POINTS_PER_SERIES = 100_000
MAX_SERIES = 100_000
MAX_EVENTS_PER_GROUP = 1_000_000
DAY_MS = 24 * 3600 * 1000


class MemoryMetrics:
    """Fills `ports.telemetry.Metrics`."""

    def __init__(self) -> None:
        self._points: dict[Series, list[Point]] = {}

    async def write(self, datums: Sequence[Datum]) -> None:
        for series, point in [(one.series, point_of(one)) for one in datums]:
            points = self._points.setdefault(series, [])
            insort(points, point, key=_time_of)
            del points[: len(points) - MAX_POINTS_PER_SERIES]
        while len(self._points) > MAX_SERIES:
            del self._points[next(iter(self._points))]

    async def buckets(
        self, series: Series, start_ms: int, end_ms: int, period_ms: int, *, unit: str = "", distribution: bool = False
    ) -> list[Bucket]:
        points = self._points.get(series, [])
        found = points[bisect_left(points, start_ms, key=_time_of) : bisect_left(points, end_ms, key=_time_of)]
        return collect((one for one in found if unit in ("", one.unit)), period_ms, distribution=distribution)

    async def series(self, scope: str, query: SeriesQuery = ALL_SERIES) -> list[Series]:
        found = [
            series
            for series, points in self._points.items()
            if series.scope == scope and query.names(series) and points[-1].time_ms >= query.since_ms
        ]
        found.sort(key=_order_of)
        start = bisect_right(found, _order_of(query.after), key=_order_of) if query.after is not None else 0
        return found[start : start + query.limit] if query.limit else found[start:]

    async def close(self) -> None:
        pass


class _Kept(msgspec.Struct, frozen=True):
    position: Position
    event: LogEvent
    size: int


class _Group:
    def __init__(self) -> None:
        self.events: list[_Kept] = []
        self.days: int | None = None


class MemoryLogs:
    """Fills `ports.telemetry.Logs`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: dict[tuple[str, str], _Group] = {}
        self._next = 1

    async def append(self, scope: str, group: str, events: Sequence[LogEvent]) -> None:
        require_events(scope, group, events)
        sizes = [len(one.message.encode()) for one in events]
        kept = self._groups.setdefault((scope, group), _Group()).events
        for event, size in zip(events, sizes, strict=True):
            position = Position(event.time_ms, self._next)
            self._next += 1
            named = msgspec.structs.replace(event, sequence=position.sequence)
            insort(kept, _Kept(position, named, size), key=_position_of)
        del kept[: len(kept) - MAX_EVENTS_PER_GROUP]

    async def read(
        self,
        scope: str,
        group: str,
        *,
        streams: Sequence[str] = (),
        start_ms: int = 0,
        end_ms: int | None = None,
        limit: int = 10_000,
        limit_bytes: int = 1_048_576,
        forward: bool = True,
        place: str = "",
        needles: Sequence[Sequence[str]] = (),
        look_at: int = 0,
    ) -> LogPage:
        span = span_of(start_ms, end_ms, forward=forward, place=place)
        found = self._kept(scope, group, span)
        wanted = frozenset(streams)
        page = Page(span, limit, limit_bytes, forward=forward)
        for looked, one in enumerate(found if forward else reversed(found)):
            if needles and looked == look_at > 0:
                page.looked(looked, one.position if forward else one.position.after)
                break
            if (wanted and one.event.stream not in wanted) or not has_all(one.event.message, needles):
                continue
            if not page.take(one.position, one.event, one.size):
                break
        return page.end()

    async def streams(self, scope: str, group: str) -> list[StreamInfo]:
        infos: dict[str, StreamInfo] = {}
        for one in self._kept(scope, group, span_of(0, None, forward=True, place="")):
            event, before = one.event, infos.get(one.event.stream)
            infos[event.stream] = StreamInfo(
                stream=event.stream,
                first_ms=before.first_ms if before else event.time_ms,
                last_ms=event.time_ms,
                last_ingested_ms=max(before.last_ingested_ms if before else 0, event.ingested_ms),
                stored_bytes=(before.stored_bytes if before else 0) + one.size + EVENT_OVERHEAD_BYTES,
            )
        return [infos[stream] for stream in sorted(infos)]

    async def keep(self, scope: str, group: str, days: int | None) -> None:
        self._groups.setdefault((scope, group), _Group()).days = days

    async def drop(self, scope: str, group: str, stream: str = "") -> None:
        kept = self._groups.get((scope, group))
        if kept is None:
            return
        if stream:
            kept.events = [one for one in kept.events if one.event.stream != stream]
        else:
            del self._groups[scope, group]

    async def close(self) -> None:
        pass

    def _kept(self, scope: str, group: str, span: Span) -> list[_Kept]:
        """Of the span, in order; what is over its retention is thrown away."""
        found = self._groups.get((scope, group))
        if found is None:
            return []
        if found.days is not None:
            over = Position(int(self._clock.now() * 1000) - found.days * DAY_MS, 0)
            del found.events[: bisect_left(found.events, over, key=_position_of)]
        first = bisect_left(found.events, span.first, key=_position_of)
        return found.events[first : bisect_left(found.events, span.end, key=_position_of)]


def _time_of(point: Point) -> int:
    return point.time_ms


def _position_of(one: _Kept) -> Position:
    return one.position


def _order_of(series: Series) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return series.namespace, series.name, series.dimensions
