"""GetLogEvents and FilterLogEvents: pages of events, and the tokens that lead from one to the next.

GetLogEvents answers each page oldest first and two tokens: `f/PLACE` goes on behind it, `b/PLACE` before it. At an end the same token comes back.
FilterLogEvents answers one token, until there is nothing more; a page may be empty and yet not the last, since a call looks at so many events only.

`unmask` changes nothing: there are no data protection policies, so nothing is masked. Nor does `interleaved`, which AWS has ignored since 2019.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.logs.kinds import LogGroup, chosen_group, find_stream, invalid, streams_of
from gureum.aws.logs.patterns import Pattern, compile_pattern
from gureum.aws.marks import Result, operation
from gureum.aws.protocols import Ready
from gureum.core.log_tails import each
from gureum.ports.telemetry import LogEvent, LogPage

LIMIT_EVENTS = 10_000
LIMIT_PAGE_BYTES = 1_048_576
SCANNED_AT_ONCE, SCANNED_BYTES = 10_000, 4 * LIMIT_PAGE_BYTES
"""A page of a search: each costs a look into files."""
SCANNED_AT_FIRST, SCANNED_MORE = 1_000, 4
"""The first page, unless more events are wanted (a quarter beside them, since most may match); each further one is larger by this factor."""
SCANNED_PER_CALL = 60_000
SEARCHED_PER_CALL = 1_000_000
"""Where the store itself leaves out what has not the pattern's words."""
DESCENDING_SINCE_MS = 1_704_067_200_000
"""AWS: startFromHead false needs a startTime of 2024 or later."""


class Shown(Ready, frozen=True, rename="camel"):
    """AWS: logs OutputLogEvent."""

    timestamp: int
    message: str
    ingestion_time: int


class Found(Ready, frozen=True, rename="camel"):
    """AWS: logs FilteredLogEvent."""

    log_stream_name: str
    timestamp: int
    message: str
    ingestion_time: int
    event_id: str


@operation("GetLogEvents")
async def get_log_events(call: Call) -> Result:
    """AWS: logs GetLogEvents."""
    params = call.params
    group = chosen_group(call)
    stream = find_stream(call, group, params["logStreamName"])
    forward, place = bool(params.get("startFromHead")), ""
    if token := params.get("nextToken"):
        way, _, place = token.partition("/")
        if way not in ("f", "b") or not place:
            raise _bad_token()
        forward = way == "f"
    page = await _read(
        call,
        group,
        streams=(stream.spec.name,),
        start_ms=params.get("startTime", 0),
        end_ms=params.get("endTime"),
        limit=params.get("limit", LIMIT_EVENTS),
        limit_bytes=LIMIT_PAGE_BYTES,
        forward=forward,
        place=place,
    )
    ahead, back = (page.forward, page.backward) if page.events or not place else (place, place)
    return {
        "events": [Shown(event.time_ms, event.message, event.ingested_ms) for event in page.events],
        "nextForwardToken": f"f/{ahead}",
        "nextBackwardToken": f"b/{back}",
    }


class Cursor(msgspec.Struct, frozen=True):
    """Where a search goes on: at `place`, with the first event beyond `after` (an event's id, "" for all)."""

    forward: bool
    place: str = ""
    after: str = ""


@operation("FilterLogEvents")
async def filter_log_events(call: Call) -> Result:
    """AWS: logs FilterLogEvents. Events of all chosen streams in the order of time."""
    params = call.params
    group = chosen_group(call)
    pattern = compile_pattern(params.get("filterPattern") or "")
    cursor = _cursor(params)
    streams = _chosen_streams(call, group)
    if streams is not None and not streams:
        return {"events": [], "searchedLogStreams": []}
    search = _Search(call, group, streams or (), pattern)
    events, rest = await search.run(cursor, params.get("limit", LIMIT_EVENTS))
    shown = [Found(one.stream, one.time_ms, one.message, one.ingested_ms, one.id) for one in events]
    answer: dict[str, Any] = {"events": shown, "searchedLogStreams": []}
    return answer | ({"nextToken": _encode(rest)} if rest else {})


class _Search:
    """Goes through events in pieces, until enough matched or enough have been looked at."""

    def __init__(self, call: Call, group: LogGroup, streams: tuple[str, ...], pattern: Pattern) -> None:
        self._call = call
        self._group = group
        self._streams = streams
        self._pattern = pattern

    async def run(self, cursor: Cursor, limit: int) -> tuple[list[LogEvent], Cursor | None]:
        """The events that matched and where to go on, None at the end."""
        found: list[LogEvent] = []
        scanned = size_bytes = 0
        everything = self._pattern.form == "all"
        most = SEARCHED_PER_CALL if self._pattern.needles else SCANNED_PER_CALL
        at_once = max(limit + limit // 4, SCANNED_AT_FIRST)
        while scanned < most:
            if everything:
                page = await self._page(cursor, limit - len(found), LIMIT_PAGE_BYTES)
            else:
                page = await self._page(cursor, min(at_once, SCANNED_AT_ONCE), SCANNED_BYTES)
                at_once *= SCANNED_MORE
            events = await self._matching(page, cursor)
            room = _room(events, limit - len(found), LIMIT_PAGE_BYTES - size_bytes)
            if not (found or room):
                room = min(len(events), 1)  # one is always given
            found += events[:room]
            size_bytes += _size(events[:room])
            if room < len(events) and len(found) < limit:
                return found, msgspec.structs.replace(cursor, after=found[-1].id)
            if len(found) == limit:
                return found, _rest(cursor, page, found[-1])
            if page.done:
                return found, None
            # What matched is tested here, what was left out was looked at where it lies.
            scanned += max(page.looked, len(page.events) * (most // SCANNED_PER_CALL)) + 1
            cursor = Cursor(cursor.forward, page.forward if cursor.forward else page.backward)
        return found, cursor

    async def _matching(self, page: LogPage, cursor: Cursor) -> list[LogEvent]:
        """The page's events that match and that no earlier answer had, in the order of reading."""
        test, after = self._pattern.test, cursor.after
        events: Sequence[LogEvent] = page.events
        if after:
            events = [one for one in events if (one.id > after if cursor.forward else one.id < after)]
        found = list(events)
        if self._pattern.form != "all":
            fits = await each(lambda event: test(event.message), events)
            found = [event for event, fit in zip(events, fits, strict=True) if fit]
        if not cursor.forward:
            found.reverse()
        return found

    async def _page(self, cursor: Cursor, limit: int, limit_bytes: int) -> LogPage:
        params = self._call.params
        end = params.get("endTime")
        return await _read(
            self._call,
            self._group,
            streams=self._streams,
            start_ms=params.get("startTime", 0),
            end_ms=None if end is None else end + 1,
            limit=limit,
            limit_bytes=limit_bytes,
            forward=cursor.forward,
            place=cursor.place,
            needles=self._pattern.needles,
            look_at=SEARCHED_PER_CALL,
        )


def _room(events: Sequence[LogEvent], count: int, size_bytes: int) -> int:
    """How many of them fit."""
    fitting = events[:count]
    if _size(fitting) <= size_bytes:
        return len(fitting)
    for place, event in enumerate(fitting):
        size_bytes -= len(event.message.encode())
        if size_bytes < 0:
            return place
    return len(fitting)


def _size(events: Sequence[LogEvent]) -> int:
    """Of their messages, in UTF-8."""
    return len("".join([one.message for one in events]).encode())


def _rest(cursor: Cursor, page: LogPage, event: LogEvent) -> Cursor | None:
    """Where to go on behind an event of the page."""
    if event is not page.events[-1 if cursor.forward else 0]:
        return msgspec.structs.replace(cursor, after=event.id)
    return None if page.done else Cursor(cursor.forward, page.forward if cursor.forward else page.backward)


def _chosen_streams(call: Call, group: LogGroup) -> tuple[str, ...] | None:
    """The streams that names or a prefix choose; None for all. AWS: ResourceNotFoundException for a name that is none."""
    names, prefix = call.params.get("logStreamNames"), call.params.get("logStreamNamePrefix")
    if names is not None and prefix is not None:
        raise invalid("Only one of logStreamNames and logStreamNamePrefix can be given.")
    if names is not None:
        return tuple(find_stream(call, group, name).spec.name for name in dict.fromkeys(names))
    if prefix is None:
        return None
    return tuple(sorted(one.spec.name for one in streams_of(call, group) if one.spec.name.startswith(prefix)))


def _cursor(params: dict[str, Any]) -> Cursor:
    """AWS: a token brings its own direction."""
    if token := params.get("nextToken"):
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=Cursor)
        except (ValueError, msgspec.DecodeError) as error:
            raise _bad_token() from error
    forward = params.get("startFromHead", True)
    if not forward and params.get("startTime", 0) < DESCENDING_SINCE_MS:
        raise invalid("startFromHead can be false only with a startTime on or after Jan 1, 2024 00:00:00 UTC.")
    return Cursor(forward)


def _encode(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


async def _read(call: Call, group: LogGroup, **chosen: Any) -> LogPage:
    try:
        page: LogPage = await call.logs.read(call.scope, group.spec.name, **chosen)
    except ValueError as error:
        raise _bad_token() from error
    return page


def _bad_token() -> Exception:
    return invalid("The specified nextToken is invalid.")
