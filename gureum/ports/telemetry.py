"""Telemetry: the store of metrics and of log events. What `write` and `append` have acknowledged is durable; reads see it at once.
All verbs belong to one event loop's thread. Each may raise TelemetryBroken, and those that write TelemetryFull.

A series is a metric of one scope ("account/region") with its dimensions; a log stream belongs to a group of one scope. Who may read what, names
that must be unique, limits and texts are the faces' business (aws/cloudwatch, aws/logs): this store takes what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class TelemetryFull(Exception):
    """The disk is full. The write failed and changed nothing; later ones may succeed."""


class TelemetryBroken(Exception):
    """The machine failed to write or to read, or the store is closed. A failed write is not visible; it is open whether it is there after the
    machine dies. Later calls may succeed."""


class Series(msgspec.Struct, frozen=True, cache_hash=True):
    """`dimensions`: (name, value), sorted."""

    scope: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...] = ()


class Datum(msgspec.Struct, frozen=True):
    """What was measured at one time: `count` values with these `sum`, `min` and `max`. `values` with `counts`: the values themselves, where
    they are known (percentiles need them); empty for a statistic set; no `counts`: each once. `resolution_s`: 1 or 60; it is stored at the start
    of that second or minute (AWS: PutMetricData, StorageResolution)."""

    series: Series
    time_ms: int
    count: float
    sum: float
    min: float
    max: float
    values: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    unit: str = "None"
    resolution_s: int = 60


class Bucket(msgspec.Struct, frozen=True):
    """Everything of a series and unit from `start_ms` on, for the length that was asked for. `values` (sorted, each once) and `counts` only where
    a distribution was asked for and every datum had one: its values, or a statistic set whose minimum is its maximum."""

    start_ms: int
    count: float
    sum: float
    min: float
    max: float
    values: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    unit: str = "None"


class SeriesQuery(msgspec.Struct, frozen=True):
    """Series of a namespace, of a name ("": of any) and with all of these dimensions, others beside them or not; value None: of any value. Those
    with data at or after `since_ms`, behind `after` in the order of namespace, name and dimensions, `limit` of them (0: all)."""

    namespace: str = ""
    name: str = ""
    dimensions: tuple[tuple[str, str | None], ...] = ()
    since_ms: int = 0
    after: Series | None = None
    limit: int = 0

    def names(self, series: Series) -> bool:
        """Whether it has these names and dimensions."""
        if self.namespace not in ("", series.namespace) or self.name not in ("", series.name):
            return False
        return not self.dimensions or all(
            (name, value) in series.dimensions
            if value is not None
            else any(name == one for one, _ in series.dimensions)
            for name, value in self.dimensions
        )


ALL_SERIES = SeriesQuery()


class LogEvent(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`ingested_ms`: when it was taken. `sequence`: its number in the store, -1 before it has one. Between processes it goes without names."""

    stream: str
    time_ms: int
    ingested_ms: int
    message: str
    sequence: int = -1

    @property
    def id(self) -> str:
        """56 digits, ordered by time and never given twice (AWS: FilteredLogEvent.eventId)."""
        return str(self.time_ms).zfill(20) + str(self.sequence).zfill(36)  # a third of the time of an f-string


class StreamInfo(msgspec.Struct, frozen=True):
    """Of the events kept. `stored_bytes`: of messages in UTF-8, with 26 for each event (AWS: logs PutLogEvents)."""

    stream: str
    first_ms: int
    last_ms: int
    last_ingested_ms: int
    stored_bytes: int


class LogPage(msgspec.Struct, frozen=True):
    """`forward`, `backward`: opaque places to go on from in either direction; valid as long as the events are kept. `done`: nothing more in the
    direction that was read. `looked`: at so many events it was looked, about."""

    events: tuple[LogEvent, ...]
    forward: str
    backward: str
    done: bool
    looked: int = 0


class Metrics(Protocol):
    async def write(self, datums: Sequence[Datum]) -> None:
        """Durable when it returns: all or nothing. ValueError for counts that are not as many as the values."""

    async def buckets(
        self, series: Series, start_ms: int, end_ms: int, period_ms: int, *, unit: str = "", distribution: bool = False
    ) -> list[Bucket]:
        """The non-empty buckets of the data in [start, end), oldest first, aligned to multiples of the period since 1970. `unit` "": of any
        unit, and then a bucket for each, sorted by unit (AWS: different units are aggregated separately). Data are kept as AWS keeps them: to the
        second for 3 hours, by minute for 15 days, by 5 minutes for 63 days, by hour for 455 days; a shorter period than is kept finds what is
        there at those times."""

    async def series(self, scope: str, query: SeriesQuery = ALL_SERIES) -> list[Series]:
        """Those of the query, in its order."""

    async def close(self) -> None: ...


class Logs(Protocol):
    async def append(self, scope: str, group: str, events: Sequence[LogEvent]) -> None:
        """Durable when it returns: all or nothing. Events of a stream may come in any order; ids are given by the store. ValueError for a time
        before 1970, for text that is not Unicode (a lone surrogate), a name with a NUL, a message over 4 Mi characters."""

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
        """Events of the group (of all its streams, or of these) with start <= time < end, in the order of time and then of arrival: the oldest
        ones (the newest ones, when not `forward`), or those next to `place` in that direction. A page's own events always stand oldest first.
        `limit_bytes` counts messages in UTF-8; one event is always given. ValueError for a place that is none.

        `needles`: only events whose message holds, of each of these, at least one text. Such a read ends after it has looked at about `look_at`
        events (0: at all), wherever that is, and its places then lie there."""

    async def streams(self, scope: str, group: str) -> list[StreamInfo]:
        """Streams that have events, sorted."""

    async def keep(self, scope: str, group: str, days: int | None) -> None:
        """Events older than so many days are read no more (None: never so); whole files go at a time. May stand before the first event."""

    async def drop(self, scope: str, group: str, stream: str = "") -> None:
        """All events of a stream, or of the group, are gone."""

    async def close(self) -> None: ...
