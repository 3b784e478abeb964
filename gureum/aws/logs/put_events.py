"""PutLogEvents: the rules of a batch, and which of its events are too old or too new."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.logs.ingest import ingest
from gureum.aws.logs.kinds import LogStream, find_group, find_stream, group_missing, invalid, key_name, milliseconds
from gureum.aws.marks import Result, operation
from gureum.ports.telemetry import LogEvent

LIMIT_BATCH_BYTES = 1_048_576
OVERHEAD_BYTES = 26
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
OLDEST_MS, NEWEST_MS, SPAN_MS = 14 * DAY_MS, 2 * HOUR_MS, DAY_MS


class Window(msgspec.Struct, frozen=True):
    """Of a batch in order: events before `expired` are older than the retention, those before `too_old` older than 14 days; those from
    `too_new` on lie more than two hours ahead."""

    too_old: int
    expired: int
    too_new: int

    @property
    def start(self) -> int:
        return max(self.too_old, self.expired)


@operation("PutLogEvents")
async def put_log_events(call: Call) -> Result:
    """AWS: logs PutLogEvents. Sequence tokens are not looked at. Entities are not kept, which the answer says."""
    group = find_group(call, call.params["logGroupName"])
    stream = find_stream(call, group, call.params["logStreamName"])
    given = call.params["logEvents"]
    check_batch(given)
    now = milliseconds(call.now)
    window = window_of([event["timestamp"] for event in given], now, group.spec.retention_days)
    taken = given[window.start : window.too_new]
    if taken and taken[-1]["timestamp"] - taken[0]["timestamp"] > SPAN_MS:
        raise invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
    name = stream.spec.name
    events = [LogEvent(name, event["timestamp"], now, event["message"]) for event in taken]
    if events:
        await ingest(call, call.scope, group, events)
        await _undo_when_gone(call, group.spec.name, stream)
    answer: dict[str, Any] = {"nextSequenceToken": f"{now:056d}"}
    rejected = _rejected(window, len(given))
    if rejected:
        answer["rejectedLogEventsInfo"] = rejected
    if call.params.get("entity") is not None:
        answer["rejectedEntityInfo"] = {"errorType": "UnsupportedLogGroupType"}
    return answer


def check_batch(events: Sequence[dict[str, Any]]) -> None:
    """AWS: InvalidParameterException for a batch that is too large or not in order."""
    messages = [event["message"] for event in events]
    sizes = [len(text) if text.isascii() else len(text.encode()) for text in messages]
    largest, total = max(sizes) + OVERHEAD_BYTES, sum(sizes) + OVERHEAD_BYTES * len(sizes)
    if largest > LIMIT_BATCH_BYTES:
        raise invalid(f"Log event too large: {largest} bytes exceeds limit of {LIMIT_BATCH_BYTES}")
    if total > LIMIT_BATCH_BYTES:
        raise invalid(f"Upload too large: {total} bytes exceeds limit of {LIMIT_BATCH_BYTES}")
    times = [event["timestamp"] for event in events]
    if times != sorted(times):
        raise invalid("Log events in a single PutLogEvents request must be in chronological order.")


def window_of(times: Sequence[int], now_ms: int, retention_days: int) -> Window:
    """`times`: in order. `retention_days` 0: for ever."""
    expired = bisect_left(times, now_ms - retention_days * DAY_MS) if retention_days else 0
    return Window(bisect_left(times, now_ms - OLDEST_MS), expired, bisect_right(times, now_ms + NEWEST_MS))


def _rejected(window: Window, number: int) -> dict[str, int]:
    found: dict[str, int] = {}
    if window.too_new < number:
        found["tooNewLogEventStartIndex"] = window.too_new
    if window.too_old:
        found["tooOldLogEventEndIndex"] = window.too_old
    if window.expired > window.too_old:
        found["expiredLogEventEndIndex"] = window.expired
    return found


async def _undo_when_gone(call: Call, group: str, stream: LogStream) -> None:
    """A stream that was deleted while its events were written must not have them when one of its name is made again."""
    now = call.get(LogStream, key_name(group, stream.spec.name))
    if now is not None and now.meta.uid == stream.meta.uid:
        return
    if now is None:
        await call.logs.drop(call.scope, group, stream.spec.name)
    raise group_missing()
