"""Whole numbers in others' text: what is none is told, and nothing raises."""

from __future__ import annotations

import pytest

from gureum.base.numerals import natural, whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None)]
    + [(text, None) for text in ("", "²", "٣", "1_0", " 1", "1 ", "+1", "-1", "1.0", "0x1")],
)
def test_a_natural_number_is_told_from_all_other_text(text: str, expected: int | None) -> None:
    assert natural(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("-5", -5), ("5", 5), ("--5", None), ("-", None), ("-²", None)])
def test_a_whole_number_may_have_one_sign(text: str, expected: int | None) -> None:
    assert whole(text) == expected
