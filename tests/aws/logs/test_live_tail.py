"""StartLiveTail: what a session tells, and its limits. Source: the API reference (botocore's text of the operation)."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

ARN = "arn:aws:logs:us-east-1:111122223333:log-group:"


def frame(data):
    """(event or exception, payload) of one frame of an event stream with string headers."""
    total, size = struct.unpack(">II", data[:8])
    assert total == len(data)
    headers, at, rest = {}, 0, data[12 : 12 + size]
    while at < size:
        length = rest[at]
        name = rest[at + 1 : at + 1 + length].decode()
        (value,) = struct.unpack(">H", rest[at + 2 + length : at + 4 + length])
        headers[name] = rest[at + 4 + length : at + 4 + length + value].decode()
        at += 4 + length + value
    kind = headers.get(":event-type") or headers[":exception-type"]
    return kind, json.loads(data[12 + size : -4])


async def start(logs, *groups, **params):
    answer = await logs.run("StartLiveTail", logGroupIdentifiers=[ARN + group for group in groups], **params)
    session = answer["responseStream"]
    assert frame(await anext(session)) == ("initial-response", {})
    kind, told = frame(await anext(session))
    assert kind == "sessionStart"
    return session, told


async def put(logs, stream, *messages, group="g"):
    events = [{"timestamp": logs.now_ms, "message": message} for message in messages]
    await logs.run("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.fixture
def app(logs):
    logs.group("g", "s", "web-1")
    logs.group("h", "s")
    return logs


def test_a_session_tells_events_as_they_come(app):
    async def run():
        await put(app, "s", "before")
        session, told = await start(app, "g", "h")
        assert told["logGroupIdentifiers"] == [ARN + "g", ARN + "h"]
        assert frame(await anext(session)) == (
            "sessionUpdate",
            {"sessionMetadata": {"sampled": False}, "sessionResults": []},
        )
        await put(app, "s", "one")
        await put(app, "s", "two", group="h")
        _, update = frame(await anext(session))
        assert update["sessionResults"][0] == {
            "logStreamName": "s",
            "logGroupIdentifier": "111122223333:g",
            "message": "one",
            "timestamp": app.now_ms - 1000,
            "ingestionTime": app.now_ms - 1000,
        }
        assert [one["message"] for one in update["sessionResults"]] == ["one", "two"]
        await session.aclose()
        assert app.tails.number("111122223333/us-east-1") == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("params", "messages"),
    [
        ({"logStreamNames": ["s"]}, ["ERROR a"]),
        ({"logStreamNamePrefixes": ["web", "x"]}, ["ERROR b", "fine"]),
        ({"logEventFilterPattern": "ERROR"}, ["ERROR a", "ERROR b"]),
    ],
)
def test_streams_and_a_pattern_choose(app, params, messages):
    async def run():
        session, _ = await start(app, "g", **params)
        await put(app, "s", "ERROR a")
        await put(app, "web-1", "ERROR b", "fine")
        _, update = frame(await anext(session))
        assert [one["message"] for one in update["sessionResults"]] == messages
        await session.aclose()

    asyncio.run(run())


def test_more_than_500_events_are_sampled_and_5000_wait_at_most(app):
    async def run():
        session, _ = await start(app, "g")
        await put(app, "s", *(f"{n}" for n in range(6000)))
        _, update = frame(await anext(session))
        assert update["sessionMetadata"] == {"sampled": True}
        assert [int(one["message"]) for one in update["sessionResults"]] == list(range(1000, 6000, 10))
        await session.aclose()

    asyncio.run(run())


def test_a_session_ends_after_three_hours(app):
    async def run():
        session, _ = await start(app, "g")
        app.clock.time += 3 * 3600 - 1
        assert frame(await anext(session))[0] == "sessionUpdate"
        assert frame(await anext(session))[0] == "SessionTimeoutException"
        with pytest.raises(StopAsyncIteration):
            await anext(session)

    asyncio.run(run())


def test_sessions_end_with_the_daemon(app):
    async def run():
        session, _ = await start(app, "g")
        app.tails.close()
        with pytest.raises(StopAsyncIteration):
            await anext(session)

    asyncio.run(run())


def test_an_account_has_15_sessions(app):
    async def run():
        sessions = [(await start(app, "g"))[0] for _ in range(15)]
        with pytest.raises(Exception, match="LimitExceededException"):
            await start(app, "g")
        await sessions[0].aclose()
        sessions.append((await start(app, "g"))[0])

    asyncio.run(run())


@pytest.mark.parametrize(
    ("groups", "params", "code"),
    [
        (["g"], {}, "InvalidParameterException"),
        ([f"{ARN}g:*"], {}, "InvalidParameterException"),
        ([f"{ARN}none"], {}, "ResourceNotFoundException"),
        ([f"{ARN}g"], {"logStreamNames": ["s"], "logStreamNamePrefixes": ["s"]}, "InvalidParameterException"),
        ([f"{ARN}g", f"{ARN}h"], {"logStreamNames": ["s"]}, "InvalidParameterException"),
        ([f"{ARN}g"], {"logEventFilterPattern": "{"}, "InvalidParameterException"),
        ([f"{ARN}g"] * 11, {}, "InvalidParameterException"),
    ],
)
def test_sessions_that_cannot_be(app, groups, params, code):
    assert app.code("StartLiveTail", logGroupIdentifiers=groups, **params) == code
    assert app.tails.number("111122223333/us-east-1") == 0
