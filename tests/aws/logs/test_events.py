"""PutLogEvents, GetLogEvents and FilterLogEvents. Rules and limits: the API reference (botocore's texts of each operation)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.logs import read_events

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def messages(result):
    return [one["message"] for one in result["events"]]


def event(time_ms, message="x"):
    return {"timestamp": time_ms, "message": message}


def put(logs, *events, **params):
    return logs("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=list(events), **params)


def put_refused(logs, *events):
    return logs.refused("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=list(events))


@pytest.fixture
def app(logs):
    logs.group("g", "s")
    return logs


def test_events_are_read_as_they_were_put(app):
    put(app, event(app.now_ms - 5, "one"), event(app.now_ms - 5, "zwei ß"), event(app.now_ms, "three\n"))
    got = app("GetLogEvents", logGroupName="g", logStreamName="s", startFromHead=True)
    assert got["events"] == [
        {"timestamp": app.now_ms - 5, "message": "one", "ingestionTime": app.now_ms},
        {"timestamp": app.now_ms - 5, "message": "zwei ß", "ingestionTime": app.now_ms},
        {"timestamp": app.now_ms, "message": "three\n", "ingestionTime": app.now_ms},
    ]
    [first, *_] = app("FilterLogEvents", logGroupName="g")["events"]
    assert first["logStreamName"] == "s"
    assert len(first["eventId"]) == 56
    assert first["eventId"].isdigit()


def test_sequence_tokens_are_not_looked_at(app):
    assert len(put(app, event(app.now_ms), sequenceToken="wrong")["nextSequenceToken"]) == 56
    put(app, event(app.now_ms), sequenceToken="wrong")


def test_an_entity_is_not_kept_and_the_answer_says_so(app):
    answer = put(app, event(app.now_ms), entity={"keyAttributes": {"Type": "Service", "Name": "web"}})
    assert answer["rejectedEntityInfo"] == {"errorType": "UnsupportedLogGroupType"}
    assert len(messages(app("FilterLogEvents", logGroupName="g"))) == 1


def test_a_batch_out_of_order_is_refused(app):
    code, text = put_refused(app, event(app.now_ms), event(app.now_ms - 1))
    assert (code, text) == (
        "InvalidParameterException",
        "Log events in a single PutLogEvents request must be in chronological order.",
    )


def test_a_batch_may_span_24_hours_and_no_more(app):
    put(app, event(app.now_ms - DAY), event(app.now_ms))
    code, text = put_refused(app, event(app.now_ms - DAY - 1), event(app.now_ms))
    assert code == "InvalidParameterException"
    assert text.endswith("cannot span more than 24 hours.")


def test_the_span_is_that_of_the_events_that_are_taken(app):
    put(app, event(app.now_ms - 20 * DAY), event(app.now_ms))
    assert len(app("FilterLogEvents", logGroupName="g")["events"]) == 1


def test_a_batch_is_as_large_as_its_utf8_and_26_bytes_an_event(app):
    fits = [event(app.now_ms, "x" * (524_288 - 26)), event(app.now_ms, "ß" * ((524_288 - 26) // 2))]
    put(app, *fits)
    code, text = put_refused(app, *fits, event(app.now_ms))
    assert (code, text) == ("InvalidParameterException", "Upload too large: 1048603 bytes exceeds limit of 1048576")
    code, text = put_refused(app, event(app.now_ms, "x" * (1_048_576 - 25)))
    assert (code, text) == ("InvalidParameterException", "Log event too large: 1048577 bytes exceeds limit of 1048576")
    put(app, event(app.now_ms, "x" * (1_048_576 - 26)))


def test_a_batch_has_at_most_10000_events(app):
    put(app, *[event(app.now_ms)] * 10_000)
    assert put_refused(app, *[event(app.now_ms)] * 10_001)[0] == "InvalidParameterException"
    assert put_refused(app)[0] == "InvalidParameterException"
    assert put_refused(app, event(app.now_ms, ""))[0] == "InvalidParameterException"


@pytest.mark.parametrize(
    ("retention", "ages", "rejected", "taken"),
    [
        (None, [14 * DAY + 1, 14 * DAY, 14 * DAY - HOUR], {"tooOldLogEventEndIndex": 1}, 2),
        (None, [0, -2 * HOUR, -2 * HOUR - 1], {"tooNewLogEventStartIndex": 2}, 2),
        (3, [15 * DAY, 4 * DAY, 3 * DAY, 3 * DAY - 1], {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}, 2),
        (3, [4 * DAY, 0], {"expiredLogEventEndIndex": 1}, 1),
        (365, [15 * DAY, 14 * DAY], {"tooOldLogEventEndIndex": 1}, 1),
        (None, [15 * DAY, -3 * HOUR], {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 1}, 0),
        (None, [DAY, 0], None, 2),
    ],
)
def test_events_too_old_or_too_new_are_told_and_left_out(app, retention, ages, rejected, taken):
    if retention:
        app("PutRetentionPolicy", logGroupName="g", retentionInDays=retention)
    answer = put(app, *(event(app.now_ms - age) for age in ages))
    assert answer.get("rejectedLogEventsInfo") == rejected
    assert len(app("FilterLogEvents", logGroupName="g")["events"]) == taken


def test_events_need_their_group_and_stream(app):
    for group, stream in (("none", "s"), ("g", "none")):
        code = app.code("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=[event(app.now_ms)])
        assert code == "ResourceNotFoundException"
        assert app.code("GetLogEvents", logGroupName=group, logStreamName=stream) == "ResourceNotFoundException"


def test_events_of_a_stream_deleted_meanwhile_are_not_those_of_its_successor(app):
    async def race():
        append = app.events.append

        async def slowly(*arguments):
            await append(*arguments)
            app.events.append = append
            await app.run("DeleteLogStream", logGroupName="g", logStreamName="s")
            await append(*arguments)

        app.events.append = slowly
        await app.run("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=[event(app.now_ms)])

    with pytest.raises(Exception, match="ResourceNotFoundException"):
        asyncio.run(race())
    app("CreateLogStream", logGroupName="g", logStreamName="s")
    assert app("GetLogEvents", logGroupName="g", logStreamName="s")["events"] == []


def get(logs, **params):
    return logs("GetLogEvents", logGroupName="g", logStreamName="s", **params)


def test_forward_tokens_lead_to_the_end_and_stay_there(app):
    app.put("g", "s", *"abcde")
    page = get(app, startFromHead=True, limit=2)
    assert messages(page) == ["a", "b"]
    assert page["nextForwardToken"].startswith("f/")
    page = get(app, startFromHead=True, limit=2, nextToken=page["nextForwardToken"])
    assert messages(page) == ["c", "d"]
    page = get(app, startFromHead=True, limit=2, nextToken=page["nextForwardToken"])
    assert messages(page) == ["e"]
    token = page["nextForwardToken"]
    for _ in range(2):
        page = get(app, startFromHead=True, nextToken=token)
        assert messages(page) == []
        assert page["nextForwardToken"] == token
    app.clock.time += 1
    app.put("g", "s", "f")
    assert messages(get(app, startFromHead=True, nextToken=token)) == ["f"]


def test_without_start_from_head_the_newest_come_and_the_backward_token_leads_to_older_ones(app):
    app.put("g", "s", *"abcde")
    page = get(app, limit=2)
    assert messages(page) == ["d", "e"]
    back = get(app, limit=2, nextToken=page["nextBackwardToken"])
    assert messages(back) == ["b", "c"]
    again = get(app, limit=2, nextToken=back["nextForwardToken"])
    assert messages(again) == ["d", "e"]
    first = get(app, limit=2, nextToken=back["nextBackwardToken"])
    assert messages(first) == ["a"]
    end = get(app, nextToken=first["nextBackwardToken"])
    assert messages(end) == []
    assert end["nextBackwardToken"] == first["nextBackwardToken"]


def test_the_end_time_is_not_in_what_get_answers_and_is_in_what_filter_does(app):
    start = app.now_ms - 10
    app.put("g", "s", *"abc", at_ms=start)
    assert messages(get(app, startTime=start + 1, endTime=start + 2)) == ["b"]
    assert messages(app("FilterLogEvents", logGroupName="g", startTime=start + 1, endTime=start + 2)) == ["b", "c"]


def test_tokens_that_are_none_are_refused(app):
    for token in ("x", "f/", "g/12", "f/nonsense"):
        code = app.code("GetLogEvents", logGroupName="g", logStreamName="s", nextToken=token)
        assert code == "InvalidParameterException"
    for token in ("x", "e30=", "eyJmb3J3YXJkIjp0cnVlLCJwbGFjZSI6ICJ4In0="):
        assert app.code("FilterLogEvents", logGroupName="g", nextToken=token) == "InvalidParameterException"


def test_filter_answers_all_streams_in_the_order_of_time(app):
    for stream in ("t", "u1"):
        app("CreateLogStream", logGroupName="g", logStreamName=stream)
    start = app.now_ms - 100
    for n, stream in enumerate(("s", "t", "u1", "s", "t")):
        app.put("g", stream, f"{stream}{n}", at_ms=start + n)
    every = ["s0", "t1", "u12", "s3", "t4"]
    answer = app("FilterLogEvents", logGroupName="g", interleaved=False)
    assert messages(answer) == every
    assert answer["searchedLogStreams"] == []
    assert messages(app("FilterLogEvents", logGroupIdentifier="g", logStreamNames=["s", "u1"])) == ["s0", "u12", "s3"]
    assert messages(app("FilterLogEvents", logGroupName="g", logStreamNamePrefix="u")) == ["u12"]
    assert messages(app("FilterLogEvents", logGroupName="g", logStreamNamePrefix="x")) == []
    newest = app("FilterLogEvents", logGroupName="g", startFromHead=False, startTime=start, limit=2)
    assert messages(newest) == ["t4", "s3"]
    rest = app("FilterLogEvents", logGroupName="g", startTime=start, nextToken=newest["nextToken"])
    assert messages(rest) == ["u12", "t1", "s0"]
    assert app.code("FilterLogEvents", logGroupName="g", startFromHead=False) == "InvalidParameterException"
    both = {"logStreamNames": ["s"], "logStreamNamePrefix": "s"}
    assert app.code("FilterLogEvents", logGroupName="g", **both) == "InvalidParameterException"
    assert app.code("FilterLogEvents", logGroupName="g", logStreamNames=["none"]) == "ResourceNotFoundException"
    assert app.code("FilterLogEvents", logGroupName="g", filterPattern="{") == "InvalidParameterException"


def all_pages(logs, **params):
    found, pages, token = [], 0, {}
    while True:
        page = logs("FilterLogEvents", logGroupName="g", **params, **token)
        found += messages(page)
        pages += 1
        assert pages < 500
        if "nextToken" not in page:
            return found, pages
        token = {"nextToken": page["nextToken"]}


@given(
    total=st.integers(0, 60),
    every=st.integers(1, 7),
    limit=st.integers(1, 20),
    piece=st.integers(1, 9),
    head=st.booleans(),
)
def test_pages_of_a_search_hold_every_match_once(new_logs, total, every, limit, piece, head):
    logs = new_logs()
    logs.group("g", "s")
    texts = [f"{'yes' if n % every == 0 else 'no'} {n}" for n in range(total)]
    if texts:
        logs.put("g", "s", *texts, step_ms=0)
    before = read_events.SCANNED_AT_FIRST, read_events.SCANNED_AT_ONCE
    read_events.SCANNED_AT_FIRST, read_events.SCANNED_AT_ONCE = 1, piece
    try:
        way = {} if head else {"startFromHead": False, "startTime": logs.now_ms}
        found, _ = all_pages(logs, filterPattern="yes", limit=limit, **way)
    finally:
        read_events.SCANNED_AT_FIRST, read_events.SCANNED_AT_ONCE = before
    wanted = [text for text in texts if text.startswith("yes")]
    assert found == (wanted if head else wanted[::-1])


@pytest.mark.parametrize(
    ("pattern", "pages"),
    [("nowhere", 4), ('{ $.a = "nowhere" }', 4), ("{ $.a = 1 }", 2), ("%nowhere[0-9]%", 4), ("%[a-z][0-9]%", 2)],
)
def test_a_search_for_what_is_nowhere_ends_after_some_pages(app, monkeypatch, pattern, pages):
    """After those that may be looked at where they lie, or those that may be tested."""
    monkeypatch.setattr(read_events, "SEARCHED_PER_CALL", 20_000)
    for n in range(7):
        put(app, *[event(app.now_ms, f"{n}")] * 10_000)
    assert all_pages(app, filterPattern=pattern) == ([], pages)


def test_a_page_holds_a_megabyte(app):
    for _ in range(3):
        put(app, event(app.now_ms, "x" * 600_000))
    found, pages = all_pages(app, filterPattern="x")
    assert (len(found), pages) == (3, 3)
