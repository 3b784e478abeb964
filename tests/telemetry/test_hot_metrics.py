"""Metrics in memory: what is measured many times a minute is read as one point of the minute, and says the same."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gureum.telemetry.buckets import collect
from gureum.telemetry.frames import MetricsFrame
from gureum.telemetry.hot_metrics import FOLD_FROM, MetricsChunk

MINUTE_MS = 60_000


def frame(rows: Sequence[tuple[int, int]], series: int = 7) -> MetricsFrame:
    """(minute, value) of one series."""
    values = array("d", [value for _, value in rows]).tobytes()
    times = array("q", [minute * MINUTE_MS for minute, _ in rows]).tobytes()
    ids = array("I", [series] * len(rows)).tobytes()
    return MetricsFrame([], ids, times, b"", values, b"", b"", [])


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(-100, 100)), max_size=3 * FOLD_FROM), max_size=4),
    st.integers(0, 5),
    st.integers(1, 3),
)
def test_points_that_are_folded_say_the_same(
    batches: list[list[tuple[int, int]]], first: int, period_minutes: int
) -> None:
    chunk = MetricsChunk(1)
    for batch in batches:
        chunk.extend(frame(batch))
        chunk.extend(frame([(3, 1)] * 10, series=8))
        for end in (first + 1, 6):
            bounds = first * MINUTE_MS, end * MINUTE_MS
            found, expected = (
                [
                    (one.start_ms, one.count, one.sum, one.min, one.max)
                    for one in collect(
                        chunk.points(7, "Count", *bounds, distribution=distribution),
                        period_minutes * MINUTE_MS,
                        distribution=False,
                    )
                ]
                for distribution in (False, True)
            )
            assert found == expected


@given(st.lists(st.integers(0, 9), max_size=60), st.booleans(), st.integers(0, 9), st.integers(0, 9))
def test_a_window_has_the_points_of_its_times_in_the_order_of_arrival(
    minutes: list[int], is_ordered: bool, first: int, end: int
) -> None:
    chunk = MetricsChunk(1)
    minutes = sorted(minutes) if is_ordered else minutes
    for start in range(0, len(minutes), 7):
        chunk.extend(frame([(minute, start + n) for n, minute in enumerate(minutes[start : start + 7])]))
        chunk.points(7, "Count", 0, MINUTE_MS)
    found = chunk.points(7, "Count", first * MINUTE_MS, end * MINUTE_MS)
    assert [one.sum for one in found] == [n for n, minute in enumerate(minutes) if first <= minute < end]


def test_many_rows_of_few_minutes_become_few_points() -> None:
    chunk = MetricsChunk(1)
    chunk.extend(frame([(number % 3, number) for number in range(1000)]))
    assert len(chunk.points(7, "Count", 0, 10 * MINUTE_MS, distribution=False)) == 3
    chunk.extend(frame([(1, 5)]))
    found = {one.time_ms: one for one in chunk.points(7, "Count", 0, 10 * MINUTE_MS, distribution=False)}
    assert found[MINUTE_MS].count == 334
    assert len(chunk.points(7, "Count", 0, 10 * MINUTE_MS)) == 1001


def test_rows_of_many_minutes_are_not_kept_twice() -> None:
    chunk = MetricsChunk(1)
    for start in range(0, 1000, 50):
        chunk.extend(frame([(number, 1) for number in range(start, start + 50)]))
        assert len(chunk.points(7, "Count", 0, 10**9, distribution=False)) == start + 50
        assert not any(one.by_time for one in chunk._folded.values())
