"""StartLiveTail: a session that tells events as they come, once a second, until the client leaves or three hours are over.

The answer is an event stream: initial-response, sessionStart, then a sessionUpdate every second, empty or not.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import LogGroup, group_of_identifier, invalid
from gureum.aws.logs.patterns import compile_pattern
from gureum.aws.marks import Result, operation
from gureum.core.log_tails import LogTail, Wanted
from gureum.ports.telemetry import LogEvent

LIMIT_SESSIONS = 15
"""AWS: concurrent Live Tail sessions of an account."""
LIMIT_SHOWN = 500
UPDATE_S = 1.0
SESSION_S = 3 * 3600.0


@operation("StartLiveTail")
def start_live_tail(call: Call) -> Result:
    """AWS: logs StartLiveTail."""
    params = call.params
    if any(not one.startswith("arn:") or one.endswith("*") for one in params["logGroupIdentifiers"]):
        raise invalid("Log groups must be given by their ARNs, which must not end with an asterisk.")
    groups = [group_of_identifier(call, one) for one in params["logGroupIdentifiers"]]
    for group in groups:
        _need_standard_class(group)
    wanted = _wanted(call, len(groups))
    if call.tails.number(call.scope) >= LIMIT_SESSIONS:
        raise AwsError("LimitExceededException", f"There are {LIMIT_SESSIONS} sessions already.")
    tail = call.tails.open(call.scope, frozenset(group.spec.name for group in groups), wanted)
    return {"responseStream": Session(call, tail)}


def _need_standard_class(group: LogGroup) -> None:
    if group.spec.group_class != "STANDARD":
        text = f"Live Tail is not supported for log groups of the class {group.spec.group_class}."
        raise AwsError("InvalidOperationException", text)


def _wanted(call: Call, groups: int) -> Wanted:
    """The test that streams and pattern make."""
    names, prefixes = call.params.get("logStreamNames"), call.params.get("logStreamNamePrefixes")
    if names and prefixes:
        raise invalid("Only one of logStreamNames and logStreamNamePrefixes can be given.")
    if (names or prefixes) and groups > 1:
        raise invalid("Log streams can be chosen only when there is one log group.")
    test = compile_pattern(call.params.get("logEventFilterPattern") or "").test
    chosen, starts = frozenset(names or ()), tuple(prefixes or ())

    def wanted(event: LogEvent) -> bool:
        if chosen and event.stream not in chosen:
            return False
        return (not starts or event.stream.startswith(starts)) and test(event.message)

    return wanted


class Session:
    """The frames of a session. `aclose` ends it, also before the first frame was asked for."""

    def __init__(self, call: Call, tail: LogTail) -> None:
        self._call = call
        self._tail = tail
        self._frames = self._run()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._frames.__anext__()

    async def aclose(self) -> None:
        self._call.tails.forget(self._tail)
        await self._frames.aclose()

    async def _run(self) -> AsyncGenerator[bytes, None]:
        event, clock = self._call.compiled.event, self._call.client.clock
        end = clock.now() + SESSION_S
        yield event("initial-response", {})
        yield event("sessionStart", _start(self._call))
        while not self._tail.ended.is_set() and clock.now() < end:
            await clock.sleep(UPDATE_S)
            yield event("sessionUpdate", _update(self._call, self._tail.take()))
        if not self._tail.ended.is_set():
            yield event("SessionTimeoutException", {"message": "The session has been open for three hours."})


def _start(call: Call) -> dict[str, Any]:
    names = ("logGroupIdentifiers", "logStreamNames", "logStreamNamePrefixes", "logEventFilterPattern")
    asked = {name: call.params[name] for name in names if name in call.params}
    return {"requestId": call.request_id, "sessionId": str(uuid.uuid4()), **asked}


def _update(call: Call, events: list[tuple[str, LogEvent]]) -> dict[str, Any]:
    """AWS: at most 500 events, sampled evenly when there are more."""
    sampled = len(events) > LIMIT_SHOWN
    if sampled:
        events = [events[place * len(events) // LIMIT_SHOWN] for place in range(LIMIT_SHOWN)]
    results = [
        {
            "logStreamName": event.stream,
            "logGroupIdentifier": f"{call.account}:{group}",
            "message": event.message,
            "timestamp": event.time_ms,
            "ingestionTime": event.ingested_ms,
        }
        for group, event in events
    ]
    return {"sessionMetadata": {"sampled": sampled}, "sessionResults": results}
