"""Telemetry in lists: the plainest thing that keeps the port's promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec

from gureum.ports.telemetry import Datum, LogEvent, LogPage, StreamInfo


@dataclasses.dataclass
class MemoryLogs:
    groups: dict[tuple[str, str], list[LogEvent]] = dataclasses.field(default_factory=dict)
    kept: dict[tuple[str, str], int | None] = dataclasses.field(default_factory=dict)
    number: int = 0

    async def append(self, scope: str, group: str, events: Sequence[LogEvent]) -> None:
        kept = self.groups.setdefault((scope, group), [])
        for event in events:
            self.number += 1
            kept.append(msgspec.structs.replace(event, id=f"{event.time_ms:030d}{self.number:026d}"))
        kept.sort(key=lambda event: event.id)

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
    ) -> LogPage:
        if place and not (len(place) == 57 and place[:56].isdigit()):
            raise ValueError(place)
        events = [
            event
            for event in self.groups.get((scope, group), [])
            if (not streams or event.stream in streams)
            and start_ms <= event.time_ms
            and (end_ms is None or event.time_ms < end_ms)
        ]
        # A place is an event's id and whether it lies before or behind it.
        if place:
            edge = (place[:56], place[56])
            events = [one for one in events if ((one.id, "m") > edge) is forward]
        if not forward:
            events.reverse()
        taken: list[LogEvent] = []
        size = 0
        for event in events[:limit]:
            size += len(event.message.encode()) + 26
            if taken and size > limit_bytes:
                break
            taken.append(event)
        if not taken:
            here = place or ("0" * 56 + "a" if forward else "9" * 56 + "z")
            return LogPage((), here, here, True)
        first, last = (taken[0], taken[-1]) if forward else (taken[-1], taken[0])
        return LogPage(tuple(taken), f"{last.id}z", f"{first.id}a", len(taken) == len(events))

    async def streams(self, scope: str, group: str) -> list[StreamInfo]:
        found: dict[str, list[LogEvent]] = {}
        for event in self.groups.get((scope, group), []):
            found.setdefault(event.stream, []).append(event)
        return [
            StreamInfo(
                stream,
                min(one.time_ms for one in events),
                max(one.time_ms for one in events),
                max(one.ingested_ms for one in events),
                sum(len(one.message) for one in events),
            )
            for stream, events in found.items()
        ]

    async def keep(self, scope: str, group: str, days: int | None) -> None:
        self.kept[scope, group] = days

    async def drop(self, scope: str, group: str, stream: str = "") -> None:
        events = self.groups.get((scope, group), [])
        events[:] = [event for event in events if stream and event.stream != stream]

    async def close(self) -> None: ...


class MemoryMetrics:
    """What was written."""

    def __init__(self) -> None:
        self.datums: list[Datum] = []

    async def write(self, datums: Sequence[Datum]) -> None:
        self.datums.extend(datums)
