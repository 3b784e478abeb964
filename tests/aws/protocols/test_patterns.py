"""The models' patterns: tried where that is safe, with the meaning they have at AWS."""

from __future__ import annotations

import pytest

from gureum.aws.protocols.patterns import compile_pattern


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        ("[a-z]+", "abc", "abc1"),
        ("^[a-z]+$", "abc", "abc\n"),
        ("^arn:", "arn:aws", "x"),
        (r"[\w+=,.@-]*", "me@x", "a b"),
        (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", "가 ä1", "<"),
        ("(a|b)?[0-9]{1,3}", "a12", "c12"),
        ("(?i)all|[0-9]{2}", "All", "12all"),
    ],
)
def test_pattern(pattern: str, fits: str, fails: str) -> None:
    matches = compile_pattern(pattern)
    assert matches is not None
    assert matches(fits)
    assert not matches(fails)


@pytest.mark.parametrize(
    "pattern", ["(a+)+", "(([0-9]|.|:)*)", "([a-z](-)*)+", "(a|aa)+$", r"\p{P}+", "[a-z&&[^x]]", "(", "(?:a+,?)*b"]
)
def test_what_python_cannot_try_safely_is_left_out(pattern: str) -> None:
    assert compile_pattern(pattern) is None


def test_long_values_pass_where_trying_would_take_long() -> None:
    matches = compile_pattern(".*a.*b.*c.*")
    assert matches is not None
    assert matches("x" * 100_000)
    assert not matches("x" * 20)
