"""Statistics against an independent computation, and against the documents' own sentences ("CloudWatch statistics definitions")."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.cloudwatch.statistics import compute, merge, parse_statistic
from gureum.ports.telemetry import Bucket

BAD = [
    "",
    "p",
    "p101",
    "p-1",
    "pp9",
    "TM(10:90%)",
    "TM(:)",
    "TM(90%:10%)",
    "PR(1%:2%)",
    "tm(1:2)",
    "IQM50",
    "p1e1",
    "sum",
]


def bucket(values: list[float], counts: list[float] | None = None) -> Bucket:
    weights = counts or [1.0] * len(values)
    total = sum(value * weight for value, weight in zip(values, weights, strict=True))
    return Bucket(0, sum(weights), total, min(values), max(values), tuple(values), tuple(weights))


def value_of(name: str, values: list[float], counts: list[float] | None = None) -> float | None:
    statistic = parse_statistic(name)
    assert statistic is not None, name
    return compute(statistic, bucket(values, counts))


ONE_TO_TEN = [float(n) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SampleCount", 10),
        ("Sum", 55),
        ("Average", 5.5),
        ("Minimum", 1),
        ("Maximum", 10),
        ("p0", 1),
        ("p50", 5),
        ("p90", 9),
        ("p99.9", 10),
        ("p100", 10),
        ("tm90", 5),  # 1..9
        ("TM(:90%)", 5),
        ("TM(20%:80%)", 5.5),  # 3..8
        ("TM(80%:)", 9.5),
        ("IQM", 5.5),  # 3..8: two of ten go below a quarter, eight of ten are up to three quarters
        ("TM(3:6)", 5),  # 4, 5, 6: lower exclusive, upper inclusive
        ("tc90", 9),
        ("TC(3:6)", 3),
        ("TC(:3)", 3),
        ("ts90", 45),
        ("TS(80%:)", 19),
        ("PR(:3)", 30),
        ("PR(3:6)", 30),
        ("wm80", (36 + 2 * 8) / 10),
        ("WM(20%:80%)", (33 + 2 * 3 + 2 * 8) / 10),
        ("WM(3:6)", (3 * 3 + 4 + 5 + 6 + 4 * 6) / 10),
    ],
)
def test_of_one_to_ten(name: str, expected: float) -> None:
    assert value_of(name, ONE_TO_TEN) == pytest.approx(expected)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_statistic(name: str) -> None:
    assert parse_statistic(name) is None


values_of = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40)


@given(values_of, st.integers(0, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    need = math.ceil(percent * len(values) / 100)
    expected = min(value for value in values if sum(other <= value for other in values) >= need)
    assert value_of(f"p{percent}", values) == expected


@given(values_of, st.integers(0, 49), st.integers(51, 100))
def test_trimmed_is_a_slice_of_the_sorted(values: list[float], low: int, high: int) -> None:
    kept = sorted(values)[low * len(values) // 100 : -(-high * len(values) // 100)]
    assert value_of(f"TC({low}%:{high}%)", values) == pytest.approx(len(kept))
    assert value_of(f"TS({low}%:{high}%)", values) == pytest.approx(math.fsum(kept))
    assert value_of(f"TM({low}%:{high}%)", values) == (pytest.approx(math.fsum(kept) / len(kept)) if kept else None)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=15),
    st.sampled_from(["p90", "tm90", "wm75", "IQM", "PR(:20)"]),
)
def test_counts_are_as_good_as_the_value_so_many_times(pairs: list[tuple[int, int]], name: str) -> None:
    weighted = value_of(name, [float(v) for v, _ in pairs], [float(c) for _, c in pairs])
    spread = value_of(name, [float(v) for v, c in pairs for _ in range(c)])
    assert weighted == pytest.approx(spread)


@given(values_of, values_of)
def test_merging_is_putting_the_values_together(one: list[float], other: list[float]) -> None:
    joined = merge([bucket(one), bucket(other)], 0)
    for name in ("SampleCount", "Sum", "Minimum", "Maximum", "p75", "tm50"):
        statistic = parse_statistic(name)
        assert statistic is not None
        assert compute(statistic, joined) == pytest.approx(value_of(name, one + other))


def test_negative_values_have_no_percentile() -> None:
    assert value_of("p50", [-1.0, 2.0]) is None
    assert value_of("Average", [-1.0, 2.0]) == 0.5


def test_a_statistic_set_has_no_percentile() -> None:
    statistic = parse_statistic("p50")
    assert statistic is not None
    assert compute(statistic, Bucket(0, 3, 6, 1, 3)) is None
