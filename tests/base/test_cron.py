"""Cron expressions of scheduled actions. Expected times by crontab(5) and the clocks of the zones."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from gureum.base.cron import next_time, parse_cron

START = dt.datetime(2026, 1, 30, 12, 30, 30, tzinfo=dt.UTC).timestamp()  # a Friday


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("* * * * *", "", "2026-01-30T12:31"),
        ("0 * * * *", "", "2026-01-30T13:00"),
        ("*/20 * * * *", "", "2026-01-30T12:40"),
        ("5/20 * * * *", "", "2026-01-30T12:45"),
        ("30 0 1 1,6,12 *", "", "2026-06-01T00:30"),
        ("0 9 * * MON-FRI", "", "2026-02-02T09:00"),
        ("0 9 * * 7", "", "2026-02-01T09:00"),
        ("0 0 29 2 *", "", "2028-02-29T00:00"),
        ("0 0 13 * FRI", "", "2026-02-06T00:00"),
        ("0 9 * * *", "Asia/Seoul", "2026-01-31T09:00"),
        ("@daily", "", "2026-01-31T00:00"),
        ("0 12 * JAN *", "", "2026-01-31T12:00"),
    ],
)
def test_next_time(text: str, zone: str, expected: str) -> None:
    place = ZoneInfo(zone or "UTC")
    found = dt.datetime.fromtimestamp(next_time(parse_cron(text), START, zone), place)
    assert found.strftime("%Y-%m-%dT%H:%M") == expected


def test_an_hour_that_the_clock_change_leaves_out_is_passed_over() -> None:
    before = dt.datetime(2026, 3, 7, 12, tzinfo=ZoneInfo("America/New_York")).timestamp()
    found = next_time(parse_cron("30 2 * * *"), before, "America/New_York")
    assert dt.datetime.fromtimestamp(found, ZoneInfo("America/New_York")).isoformat() == "2026-03-09T02:30:00-04:00"


def test_a_day_that_never_comes_is_never() -> None:
    assert next_time(parse_cron("0 0 31 2 *"), START, "") == 0.0


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "² * * * *"],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_cron(text)
