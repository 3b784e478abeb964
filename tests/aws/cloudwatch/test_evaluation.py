"""The tables of the documents are the tests.

CloudWatch User Guide, "Using Amazon CloudWatch alarms", "How alarm state is evaluated when data is missing" (both tables, in the versions of 2019
and 2020) and "Avoiding premature transitions to alarm state". 0 is a point that does not breach, X one that does, - a missing one; the newest
stands on the right; "=" stands for "retain current state".
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.cloudwatch.evaluation import Rule, judge, range_of, too_few_samples

TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
VALUES = {"0": 0.0, "X": 1.0, "-": None}
INSUFFICIENT = "INSUFFICIENT_DATA"
THREE_OF_THREE = """
0 - X - X | OK                | OK | OK    | OK
0 - - - - | OK                | OK | OK    | OK
- - - - - | INSUFFICIENT_DATA | =  | ALARM | OK
0 X X - X | ALARM             | ALARM | ALARM | ALARM
- - X - - | ALARM             | =  | ALARM | OK
X - - - - | ALARM             | =  | ALARM | OK
- - - - X | INSUFFICIENT_DATA | =  | ALARM | OK
"""
TWO_OF_THREE = """
0 - X - X | ALARM | ALARM | ALARM | ALARM
0 0 X 0 X | ALARM | ALARM | ALARM | ALARM
0 - X - - | OK    | OK    | ALARM | OK
- - - - 0 | OK    | OK    | ALARM | OK
- - - X - | ALARM | =     | ALARM | OK
- - - - X | INSUFFICIENT_DATA | = | ALARM | OK
"""


def over_zero(value: float) -> bool:
    return value > 0


def rows(table: str, m: int) -> list[tuple[str, int, str, str]]:
    found = []
    for line in table.strip().splitlines():
        points, *states = (cell.strip() for cell in line.split("|"))
        found += [(points, m, treat, state) for treat, state in zip(TREATMENTS, states, strict=True)]
    return found


def verdict_of(points: str, n: int, m: int, treat: str) -> str:
    values = [VALUES[point] for point in points.split()]
    return judge(values, Rule(n, m, over_zero, treat)).state or "="


@pytest.mark.parametrize(("points", "m", "treat", "state"), rows(THREE_OF_THREE, 3) + rows(TWO_OF_THREE, 2))
def test_the_documents_tables(points: str, m: int, treat: str, state: str) -> None:
    assert verdict_of(points, 3, m, treat) == state


@pytest.mark.parametrize(
    ("points", "state"),
    [
        ("- - - - X", INSUFFICIENT),
        ("- - - X -", INSUFFICIENT),
        ("- - X - -", "ALARM"),
        ("- - - X 0", "OK"),
        ("- - X - 0", "OK"),
    ],
)
def test_one_breaching_point_alarms_only_when_it_is_as_old_as_datapoints_to_alarm(points: str, state: str) -> None:
    assert verdict_of(points, 3, 3, "missing") == state


def test_five_points_are_looked_at_for_three() -> None:
    assert range_of(3) == 5


def test_a_missing_point_that_need_not_be_filled_plays_no_part() -> None:
    verdict = judge([1.0, 1.0, 1.0, None, 0.0], Rule(3, 3, over_zero, "breaching"))
    assert (verdict.state, verdict.used, verdict.filled, verdict.gaps) == ("OK", (4, 2, 1), 0, ())


points_of = st.lists(st.sampled_from([None, 0.0, 1.0]), min_size=5, max_size=5)


@given(points_of, st.integers(1, 3))
def test_enough_real_points_make_the_treatment_meaningless(points: list[float | None], m: int) -> None:
    if sum(point is not None for point in points) >= 3:
        states = {judge(points, Rule(3, m, over_zero, treat)).state for treat in TREATMENTS}
        assert len(states) == 1


@given(points_of, st.integers(1, 3))
def test_treated_as_breaching_is_never_calmer_than_as_not_breaching(points: list[float | None], m: int) -> None:
    calm = judge(points, Rule(3, m, over_zero, "notBreaching")).state
    assert calm == "OK" or judge(points, Rule(3, m, over_zero, "breaching")).state == "ALARM"


@pytest.mark.parametrize(
    ("percentile", "samples", "few"),
    [(99.0, 999, True), (99.0, 1000, False), (50.0, 19, True), (50.0, 20, False), (10.0, 99, True), (10.0, 100, False)],
)
def test_low_samples_of_a_percentile(percentile: float, samples: float, few: bool) -> None:
    """ "fewer than 1000 samples for an alarm on a p99 percentile" """
    assert too_few_samples(percentile, samples) is few
