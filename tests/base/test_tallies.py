"""Tallies of durations: two digits, and never too many different ones."""

from __future__ import annotations

import pytest

from gureum.base.tallies import LIMIT_VALUES, Tally, add, rounded


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00005, "0"), (0.00123, "0.0012"), (0.0999, "0.1"), (1.26, "1.3"), (12.6, "13"), (126.0, "130")],
)
def test_two_digits_are_kept(seconds: float, text: str) -> None:
    assert rounded(seconds) == text


def test_a_tally_counts_all_but_holds_so_many_values() -> None:
    tally: Tally = {}
    for number in range(1, 2000):
        add(tally, number / 1000)
    add(tally, 0.5, 10)
    assert sum(tally.values()) == 1999 + 10
    assert len(tally) <= LIMIT_VALUES
