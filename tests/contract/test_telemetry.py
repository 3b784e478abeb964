"""The contract of `ports/telemetry.py`, run on memory and on disk, against models that say it as plainly as can be."""

from __future__ import annotations

import asyncio
import functools
import math
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.ports.telemetry import Bucket, Datum, LogEvent, Logs, Metrics, Series, SeriesQuery, StreamInfo
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from gureum.telemetry.store import Telemetry, open_telemetry

DAY_MS = 24 * 3600 * 1000
NOW_S = 1_800_000_000.0
NOW_MS = int(NOW_S) * 1000
SCOPE = "000000000000/us-east-1"
CPU = Series(SCOPE, "AWS/EC2", "CPUUtilization", (("InstanceId", "i-1"),))
OTHER = Series(SCOPE, "AWS/EC2", "CPUUtilization", (("InstanceId", "i-2"),))


class FixedClock:
    def __init__(self) -> None:
        self.seconds = NOW_S

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Subject:
    """A store under test. `again` closes and opens it; `flush` brings everything into files; what has neither stays as it is."""

    def __init__(self, metrics: Metrics, logs: Logs, clock: FixedClock, folder: Path | None = None) -> None:
        self.metrics, self.logs, self.clock = metrics, logs, clock
        self._folder = folder
        self.telemetry: Telemetry | None = None

    async def again(self) -> None:
        if self._folder is not None:
            await self.close()
            self.telemetry = await open_telemetry(self._folder, self.clock)
            self.metrics, self.logs = self.telemetry.metrics, self.telemetry.logs

    async def flush(self) -> None:
        if self.telemetry is not None:
            await self.telemetry.metrics.flush()
            await self.telemetry.logs.flush()

    async def close(self) -> None:
        if self.telemetry is not None:
            await self.telemetry.close()


async def in_memory(_folder: Path) -> Subject:
    clock = FixedClock()
    return Subject(MemoryMetrics(), MemoryLogs(clock), clock)


async def on_disk(folder: Path) -> Subject:
    subject = Subject(None, None, FixedClock(), folder / "telemetry")  # type: ignore[arg-type]
    await subject.again()
    return subject


Open = Callable[[Path], Awaitable[Subject]]
ALL: list[Any] = [pytest.param(in_memory, id="memory"), pytest.param(on_disk, id="disk")]


@pytest.fixture(params=ALL)
def open_subject(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Awaitable[Subject]]:
    return functools.partial(request.param, tmp_path)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


def one(value: float, time_ms: int, series: Series = CPU, **more: Any) -> Datum:
    return Datum(series, time_ms, 1.0, value, value, value, **more)


def event(message: str, time_ms: int = NOW_MS, stream: str = "a") -> LogEvent:
    return LogEvent(stream, time_ms, NOW_MS, message)


def messages(events: tuple[LogEvent, ...]) -> list[str]:
    return [each.message for each in events]


@in_loop
async def test_buckets_hold_count_sum_minimum_and_maximum_of_their_period(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.metrics.write([one(1.0, NOW_MS), one(5.0, NOW_MS + 60_000), one(3.0, NOW_MS + 120_000)])
    expected = [
        Bucket(NOW_MS, 2.0, 6.0, 1.0, 5.0),
        Bucket(NOW_MS + 120_000, 1.0, 3.0, 3.0, 3.0),
    ]
    for _ in range(2):
        assert await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 240_000, 120_000) == expected
        assert await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 120_000, 120_000) == expected[:1]
        assert await subject.metrics.buckets(OTHER, NOW_MS, NOW_MS + 240_000, 120_000) == []
        await subject.flush()
        await subject.again()
    await subject.close()


@in_loop
async def test_different_units_are_aggregated_separately(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.metrics.write([one(1.0, NOW_MS, unit="Percent"), one(5.0, NOW_MS, unit="Count")])
    found = await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 1, 60_000)
    assert [(each.unit, each.sum) for each in found] == [("Count", 5.0), ("Percent", 1.0)]
    assert [each.sum for each in await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 1, 60_000, unit="Percent")] == [
        1.0
    ]
    assert await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 1, 60_000, unit="Bytes") == []
    await subject.close()


@in_loop
async def test_distributions_are_given_only_where_every_datum_has_one(open_subject: Any) -> None:
    subject = await open_subject()
    weighted = Datum(CPU, NOW_MS, 5.0, 13.0, 1.0, 5.0, (5.0, 1.0), (2.0, 3.0))
    unweighted = Datum(CPU, NOW_MS, 2.0, 6.0, 1.0, 5.0, (1.0, 5.0))
    equal_set = Datum(CPU, NOW_MS, 4.0, 8.0, 2.0, 2.0)
    statistic_set = Datum(CPU, NOW_MS + 60_000, 4.0, 8.0, 1.0, 3.0)
    await subject.metrics.write([weighted, unweighted, equal_set, statistic_set, one(2.0, NOW_MS + 60_000)])
    for _ in range(2):
        found = await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 120_000, 60_000, distribution=True)
        assert [(each.values, each.counts) for each in found] == [((1.0, 2.0, 5.0), (4.0, 4.0, 3.0)), ((), ())]
        assert [each.count for each in found] == [11.0, 5.0]
        await subject.flush()
        await subject.again()
    await subject.close()


@in_loop
async def test_a_datum_stands_at_its_minute_or_at_its_second_with_high_resolution(open_subject: Any) -> None:
    """AWS: PutMetricData, StorageResolution."""
    subject = await open_subject()
    await subject.metrics.write([one(1.0, NOW_MS + 59_999), one(2.0, NOW_MS + 1_999, OTHER, resolution_s=1)])
    assert [each.start_ms for each in await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 60_000, 1000)] == [NOW_MS]
    found = await subject.metrics.buckets(OTHER, NOW_MS, NOW_MS + 60_000, 1000)
    assert [each.start_ms for each in found] == [NOW_MS + 1000]
    await subject.close()


@in_loop
async def test_values_with_other_counts_are_refused_whole(open_subject: Any) -> None:
    subject = await open_subject()
    wrong = Datum(CPU, NOW_MS, 2.0, 3.0, 1.0, 2.0, (1.0, 2.0), (1.0,))
    with pytest.raises(ValueError, match="counts"):
        await subject.metrics.write([one(1.0, NOW_MS), wrong])
    assert await subject.metrics.buckets(CPU, NOW_MS, NOW_MS + 1, 60_000) == []
    await subject.close()


@in_loop
async def test_series_are_found_by_scope_namespace_name_and_newest_datum(open_subject: Any) -> None:
    subject = await open_subject()
    disk = Series(SCOPE, "AWS/EBS", "VolumeReadBytes", (("VolumeId", "vol-1"),))
    await subject.metrics.write([one(1.0, NOW_MS), one(1.0, NOW_MS - 600_000, disk), one(1.0, NOW_MS - 60_000)])
    for _ in range(3):
        assert await subject.metrics.series(SCOPE) == [disk, CPU]
        assert await subject.metrics.series(SCOPE, SeriesQuery("AWS/EBS")) == [disk]
        assert await subject.metrics.series(SCOPE, SeriesQuery(name="CPUUtilization")) == [CPU]
        assert await subject.metrics.series(SCOPE, SeriesQuery(since_ms=NOW_MS - 1000)) == [CPU]
        assert await subject.metrics.series("000000000000/eu-west-1") == []
        await subject.flush()
        await subject.again()
    await subject.close()


@in_loop
async def test_series_come_in_pages_in_the_order_of_their_names_and_dimensions(open_subject: Any) -> None:
    subject = await open_subject()
    made = [
        Series(SCOPE, namespace, name, (("Id", f"{number:04}"), *more))
        for namespace in ("a", "a/b")
        for name in ("x", "y")
        for number in range(150)
        for more in ((), (("Z", "1"),))
    ]
    shuffled = sorted(made, key=lambda series: hash((series.name, series.dimensions)))
    for start in range(0, len(made), 90):
        await subject.metrics.write([one(1.0, NOW_MS, series) for series in shuffled[start : start + 90]])
        shown, page = list[Series](), SeriesQuery(limit=70)
        while found := await subject.metrics.series(SCOPE, page):
            shown += found
            page = msgspec.structs.replace(page, after=found[-1])
        assert shown == sorted(
            shuffled[: start + 90], key=lambda series: (series.namespace, series.name, series.dimensions)
        )
    two = await subject.metrics.series(SCOPE, SeriesQuery("a", "y", (("Id", "0007"),)))
    assert [series.dimensions for series in two] == [(("Id", "0007"),), (("Id", "0007"), ("Z", "1"))]
    assert await subject.metrics.series(SCOPE, SeriesQuery("a", "y", (("Id", "0007"), ("Z", None)))) == two[1:]
    assert await subject.metrics.series(SCOPE, SeriesQuery("a", "y", (("Id", "0007"),), after=two[0])) == two[1:]
    assert await subject.metrics.series(SCOPE, SeriesQuery("a", after=Series(SCOPE, "a", "x~"), limit=1)) == [made[300]]
    await subject.close()


@in_loop
async def test_events_are_read_in_order_of_time_then_of_arrival_in_pages_in_both_directions(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.logs.append(SCOPE, "g", [event("2", NOW_MS + 1), event("0"), event("1", stream="b")])
    await subject.logs.append(SCOPE, "g", [event("3", NOW_MS + 1, stream="b")])
    for _ in range(3):
        first = await subject.logs.read(SCOPE, "g", limit=3)
        assert (messages(first.events), first.done) == (["0", "1", "2"], False)
        second = await subject.logs.read(SCOPE, "g", limit=3, place=first.forward)
        assert (messages(second.events), second.done) == (["3"], True)
        end = await subject.logs.read(SCOPE, "g", place=second.forward)
        assert (end.events, end.forward, end.done) == ((), second.forward, True)
        back = await subject.logs.read(SCOPE, "g", limit=2, place=second.backward, forward=False)
        assert (messages(back.events), back.done) == (["1", "2"], False)
        newest = await subject.logs.read(SCOPE, "g", limit=2, forward=False)
        assert messages(newest.events) == ["2", "3"]
        only = await subject.logs.read(SCOPE, "g", streams=["b"])
        assert messages(only.events) == ["1", "3"]
        between = await subject.logs.read(SCOPE, "g", start_ms=NOW_MS, end_ms=NOW_MS + 1)
        assert messages(between.events) == ["0", "1"]
        await subject.flush()
        await subject.again()
    await subject.close()


@in_loop
async def test_ids_have_56_digits_in_order_and_are_never_given_twice(open_subject: Any) -> None:
    subject = await open_subject()
    ids: list[str] = []
    for number in range(3):
        await subject.logs.append(SCOPE, "g", [event(str(number)), event("earlier", NOW_MS - 1)])
        if number == 1:
            await subject.logs.drop(SCOPE, "g")
            ids = []
        await subject.flush()
        await subject.again()
        found = [each.id for each in (await subject.logs.read(SCOPE, "g")).events]
        assert found == sorted(found)
        assert all(len(each) == 56 and each.isdigit() for each in found)
        assert set(ids) <= set(found)
        ids = found
    assert len(set(ids)) == 2
    await subject.close()


@in_loop
async def test_a_page_ends_at_its_bytes_but_gives_one_event_always(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.logs.append(SCOPE, "g", [event("가" * 10), event("b" * 30), event("c")])
    for _ in range(2):
        page = await subject.logs.read(SCOPE, "g", limit_bytes=60)
        assert (messages(page.events), page.done) == (["가" * 10, "b" * 30], False)
        page = await subject.logs.read(SCOPE, "g", limit_bytes=1)
        assert (messages(page.events), page.done) == (["가" * 10], False)
        page = await subject.logs.read(SCOPE, "g", limit_bytes=1, forward=False)
        assert messages(page.events) == ["c"]
        await subject.flush()
        await subject.again()
    await subject.close()


@in_loop
async def test_text_of_all_kinds_comes_back_as_it_was(open_subject: Any) -> None:
    subject = await open_subject()
    texts = ["", "null", "a\0b", "quote \" and ' and \\", "line\nline\r\n", "\u2028 가 \U0001f600", "x" * 1_000_000]
    await subject.logs.append(SCOPE, "it's", [event(text, stream="a'b") for text in texts])
    for _ in range(2):
        page = await subject.logs.read(SCOPE, "it's", streams=["a'b"], limit_bytes=10**9)
        assert messages(page.events) == texts
        await subject.flush()
        await subject.again()
    await subject.close()


@pytest.mark.parametrize(
    ("group", "wrong"),
    [
        ("g", event("x", -1)),
        ("g", event("\ud800")),
        ("g", event("x", stream="a\0")),
        ("g\0", event("x")),
        ("g", event("x", 10**18)),
    ],
)
@in_loop
async def test_what_no_store_can_hold_is_refused_whole(open_subject: Any, group: str, wrong: LogEvent) -> None:
    subject = await open_subject()
    with pytest.raises(ValueError):  # noqa: PT011  the contract promises the type alone
        await subject.logs.append(SCOPE, group, [event("fine"), wrong])
    assert (await subject.logs.read(SCOPE, group)).events == ()
    await subject.close()


@pytest.mark.parametrize("look_at", [0, 1, 7, 3000])
@pytest.mark.parametrize("forward", [True, False])
@in_loop
async def test_a_search_finds_each_event_with_the_needles_once(open_subject: Any, forward: bool, look_at: int) -> None:
    """Over files, several runs in memory, and late events, in pieces of any size; the places between them lead on."""
    subject = await open_subject()
    sent = []
    for batch in range(6):
        if batch in (2, 4):
            await subject.flush()
        texts = [f"{'red' if n % 9 == 0 else 'blue'} {'round' if n % 2 else 'square'} {batch} {n}" for n in range(1500)]
        events = [event(text, NOW_MS + n * 3 - batch, "ab"[n % 2]) for n, text in enumerate(texts)]
        await subject.logs.append(SCOPE, "g", events)
        sent += events
    wanted = [
        one for one in sorted(sent, key=lambda one: one.time_ms) if "red" in one.message and "round" in one.message
    ]
    of_b = [one for one in wanted if one.stream == "b"]
    for streams, expected in ((), wanted), (("b",), of_b), (("a", "b"), wanted):
        found, place, done = [], "", False
        while not done:
            page = await subject.logs.read(
                SCOPE, "g", streams=streams, forward=forward, place=place, limit=100,
                needles=[["red", "green"], ["round"]], look_at=look_at,
            )  # fmt: skip
            found += messages(page.events) if forward else messages(page.events)[::-1]
            place, done = page.forward if forward else page.backward, page.done
            if look_at == 1 and len(found) > 5:
                break
        told = messages(tuple(expected if forward else expected[::-1]))
        assert found == (told if done else told[: len(found)])
    await subject.close()


@pytest.mark.parametrize("place", ["x", "1", "1-", "-1", "1-2-3", "1-2\n", "9" * 40 + "-1"])
@in_loop
async def test_a_place_that_is_none_is_refused(open_subject: Any, place: str) -> None:
    subject = await open_subject()
    with pytest.raises(ValueError, match="place"):
        await subject.logs.read(SCOPE, "g", place=place)
    await subject.close()


@in_loop
async def test_streams_tell_what_they_hold(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.logs.append(SCOPE, "g", [event("가", NOW_MS + 5), event("x", NOW_MS - 5), event("yy", stream="b")])
    for _ in range(3):
        assert await subject.logs.streams(SCOPE, "g") == [
            StreamInfo("a", NOW_MS - 5, NOW_MS + 5, NOW_MS, 3 + 1 + 2 * 26),
            StreamInfo("b", NOW_MS, NOW_MS, NOW_MS, 2 + 26),
        ]
        assert await subject.logs.streams(SCOPE, "other") == []
        await subject.flush()
        await subject.again()
    await subject.close()


@in_loop
async def test_events_older_than_a_group_keeps_are_read_no_more(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.logs.keep(SCOPE, "g", 2)
    for group in ("g", "forever"):
        await subject.logs.append(SCOPE, group, [event("old", NOW_MS - DAY_MS), event("new")])
    await subject.flush()
    assert messages((await subject.logs.read(SCOPE, "g")).events) == ["old", "new"]
    subject.clock.seconds += 1.5 * 24 * 3600
    await subject.again()
    assert messages((await subject.logs.read(SCOPE, "g")).events) == ["new"]
    assert messages((await subject.logs.read(SCOPE, "forever")).events) == ["old", "new"]
    subject.clock.seconds += 24 * 3600
    await subject.flush()
    assert (await subject.logs.read(SCOPE, "g")).events == ()
    assert await subject.logs.streams(SCOPE, "g") == []
    await subject.logs.keep(SCOPE, "g", None)
    await subject.logs.append(SCOPE, "g", [event("very old", 5)])
    assert messages((await subject.logs.read(SCOPE, "g", end_ms=10)).events) == ["very old"]
    await subject.close()


@in_loop
async def test_what_is_dropped_is_gone_and_the_name_starts_anew(open_subject: Any) -> None:
    subject = await open_subject()
    await subject.logs.keep(SCOPE, "g", 1)
    await subject.logs.append(SCOPE, "g", [event("1"), event("2", stream="b")])
    await subject.flush()
    await subject.logs.append(SCOPE, "g", [event("3"), event("4", stream="b")])
    await subject.logs.drop(SCOPE, "g", "a")
    for _ in range(2):
        assert messages((await subject.logs.read(SCOPE, "g")).events) == ["2", "4"]
        assert [each.stream for each in await subject.logs.streams(SCOPE, "g")] == ["b"]
        await subject.flush()
        await subject.again()
    await subject.logs.append(SCOPE, "g", [event("5")])
    assert messages((await subject.logs.read(SCOPE, "g")).events) == ["2", "4", "5"]
    await subject.logs.drop(SCOPE, "g")
    assert (await subject.logs.read(SCOPE, "g")).events == ()
    await subject.logs.append(SCOPE, "g", [event("retention is forgotten too", NOW_MS - 9 * DAY_MS)])
    for _ in range(2):
        assert messages((await subject.logs.read(SCOPE, "g")).events) == ["retention is forgotten too"]
        await subject.flush()
        await subject.again()
    await subject.close()


STREAMS = st.sampled_from(["a", "b", "c"])
EVENTS = st.lists(st.tuples(STREAMS, st.integers(0, 40)), min_size=1, max_size=12)
LOG_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), EVENTS),
        st.tuples(st.just("append"), EVENTS),
        st.tuples(st.just("drop"), st.sampled_from(["", "a", "b"])),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("again"), st.none()),
        st.tuples(st.just("page"), st.tuples(st.booleans(), st.lists(STREAMS, max_size=2), st.integers(1, 7))),
        st.tuples(
            st.just("span"), st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 41), st.integers(1, 50))
        ),
    ),
    min_size=5,
    max_size=40,
)


async def follow_log_steps(open_one: Open, steps: list[tuple[str, Any]], folder: Path) -> None:
    """The model is a list of (time, number, stream, message), sorted."""
    subject = await open_one(folder)
    model: list[tuple[int, int, str, str]] = []
    ids: dict[str, str] = {}
    count = 0
    for step, argument in steps:
        if step == "append":
            batch = []
            for stream, time_ms in argument:
                count += 1
                batch.append(event(f"m{count}", time_ms, stream))
                model.append((time_ms, count, stream, f"m{count}"))
            model.sort()
            await subject.logs.append(SCOPE, "g", batch)
        elif step == "drop":
            await subject.logs.drop(SCOPE, "g", argument)
            model = [each for each in model if argument not in ("", each[2])]
        elif step == "page":
            await page_through(subject.logs, model, ids, *argument)
        elif step == "span":
            forward, start_ms, end_ms, limit = argument
            page = await subject.logs.read(SCOPE, "g", start_ms=start_ms, end_ms=end_ms, limit=limit, forward=forward)
            expected = [each[3] for each in model if start_ms <= each[0] < end_ms]
            assert messages(page.events) == (expected[:limit] if forward else expected[-limit:])
            assert page.done == (len(expected) <= limit)
        else:
            await getattr(subject, step)()
    await page_through(subject.logs, model, ids, True, [], 3)
    streams = {each.stream: (each.first_ms, each.last_ms) for each in await subject.logs.streams(SCOPE, "g")}
    assert sorted(streams) == sorted({each[2] for each in model})
    await subject.close()


async def page_through(
    logs: Logs,
    model: list[tuple[int, int, str, str]],
    ids: dict[str, str],
    forward: bool,
    streams: list[str],
    limit: int,
) -> None:
    """All pages in a direction, then one back."""
    expected = [each[3] for each in model if not streams or each[2] in streams]
    found: list[LogEvent] = []
    place, done = "", False
    while not done:
        page = await logs.read(SCOPE, "g", streams=streams, limit=limit, forward=forward, place=place)
        assert len(page.events) <= limit
        found = found + list(page.events) if forward else list(page.events) + found
        place, done = page.forward if forward else page.backward, page.done
    assert [each.message for each in found] == expected
    for each in found:
        assert ids.setdefault(each.message, each.id) == each.id
    turned = await logs.read(SCOPE, "g", streams=streams, limit=limit, forward=not forward, place=place)
    assert messages(turned.events) == (expected[-limit:] if forward else expected[:limit])


@pytest.mark.parametrize("open_one", ALL)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=LOG_STEPS)
def test_logs_are_what_the_model_says(open_one: Open, steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(asyncio.wait_for(follow_log_steps(open_one, steps, Path(folder)), 60))


VALUES = st.sampled_from([0.0, 1.0, 2.5, -4.0, 1e9])
DATUMS = st.lists(
    st.tuples(st.sampled_from([CPU, OTHER]), st.integers(-600, 600), st.lists(VALUES, min_size=1, max_size=4), st.booleans(),
              st.sampled_from(["None", "Percent"]), st.sampled_from([1, 60])),
    min_size=1, max_size=10,
)  # fmt: skip
METRIC_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), DATUMS),
        st.tuples(st.just("write"), DATUMS),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("again"), st.none()),
        st.tuples(
            st.just("read"),
            st.tuples(st.integers(-700, 700), st.integers(1, 900), st.sampled_from([1, 60, 300]), st.booleans()),
        ),
    ),
    min_size=5,
    max_size=30,
)


def plain_buckets(
    data: list[tuple[int, str, list[float], bool]], start_ms: int, end_ms: int, period_ms: int, distribution: bool
) -> list[Bucket]:
    found = []
    starts = {(time_ms // period_ms * period_ms, unit) for time_ms, unit, _, _ in data if start_ms <= time_ms < end_ms}
    for start, unit in sorted(starts):
        inside = [
            each
            for each in data
            if each[1] == unit and start <= each[0] < start + period_ms and start_ms <= each[0] < end_ms
        ]
        values = [value for each in inside for value in each[2]]
        exact = distribution and all(each[3] or len(set(each[2])) == 1 for each in inside)
        distinct = sorted(set(values)) if exact else []
        found.append(
            Bucket(start, float(len(values)), math.fsum(values), min(values), max(values), tuple(distinct),
                   tuple(float(values.count(value)) for value in distinct), unit)
        )  # fmt: skip
    return found


async def follow_metric_steps(open_one: Open, steps: list[tuple[str, Any]], folder: Path) -> None:
    subject = await open_one(folder)
    model: dict[Series, list[tuple[int, str, list[float], bool]]] = {CPU: [], OTHER: []}
    for step, argument in [*steps, ("read", (-700, 1400, 60, True)), ("read", (-700, 1400, 300, False))]:
        if step == "write":
            batch = []
            for series, offset_s, values, known, unit, resolution_s in argument:
                time_ms = NOW_MS + offset_s * 1000
                stored = time_ms // (1000 * resolution_s) * 1000 * resolution_s
                model[series].append((stored, unit, values, known))
                shown = tuple(values) if known else ()
                batch.append(
                    Datum(series, time_ms, float(len(values)), sum(values), min(values), max(values), shown, (), unit, resolution_s)
                )  # fmt: skip
            await subject.metrics.write(batch)
        elif step == "read":
            start_s, length_s, period_s, distribution = argument
            span = (NOW_MS + start_s * 1000, NOW_MS + (start_s + length_s) * 1000, period_s * 1000)
            for series, data in model.items():
                found = await subject.metrics.buckets(series, *span, distribution=distribution)
                assert found == plain_buckets(data, *span, distribution)
        else:
            await getattr(subject, step)()
    await subject.close()


@pytest.mark.parametrize("open_one", ALL)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=METRIC_STEPS)
def test_metrics_are_what_the_model_says(open_one: Open, steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(asyncio.wait_for(follow_metric_steps(open_one, steps, Path(folder)), 60))
