"""Numbers, booleans, blobs and times as text and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.protocols import scalars
from gureum.aws.protocols.scalars import BadValue

times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(times)
def test_times_survive_to_the_millisecond(when: datetime) -> None:
    when = when.replace(microsecond=when.microsecond // 1000 * 1000)
    assert scalars.read_timestamp(scalars.iso8601(when)) == when
    assert scalars.read_timestamp(scalars.iso8601_milliseconds(when)) == when
    assert scalars.read_timestamp(scalars.unix_seconds(when)) == when
    assert scalars.read_timestamp(scalars.http_date(when)) == when.replace(microsecond=0)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02T03:04:05Z",
        "2024-01-02T03:04:05.000Z",
        "2024-01-02T05:04:05+02:00",
        "20240102T030405Z",
        "Tue, 02 Jan 2024 03:04:05 GMT",
        "1704164645",
    ],
)
def test_forms_of_time(text: str) -> None:
    assert scalars.read_timestamp(text) == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_times_of_other_zones_are_written_in_utc() -> None:
    when = datetime(2024, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert scalars.iso8601(when) == "2024-01-02T01:00:00Z"


@pytest.mark.parametrize(
    "value", ["", "x", "2024-13-01", "1e400", "9" * 30, "Tue, 99 Jan 2024", 1e300, float("nan"), None, [], True]
)
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(BadValue):
        scalars.read_timestamp(value)


@pytest.mark.parametrize("text", ["", "x", "1.0", "1_0", "٣", "2147483648", "-2147483649", " 1", "9" * 5000])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(BadValue):
        scalars.read_integer(text)


@pytest.mark.parametrize("text", ["", "x", "inf", "nan", "1e", "0x1", "1e99999", "9" * 5000])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(BadValue):
        scalars.read_float(text)


@pytest.mark.parametrize("text", ["", "yes", "T", "truex"])
def test_what_is_no_boolean(text: str) -> None:
    with pytest.raises(BadValue):
        scalars.read_boolean(text)


@given(st.binary())
def test_blobs_survive(raw: bytes) -> None:
    assert scalars.read_blob(scalars.write_blob(raw)) == raw


@given(st.floats())
def test_numbers_survive(value: float) -> None:
    read = scalars.read_float(scalars.write_float(value))
    assert read == value or (read != read and value != value)
