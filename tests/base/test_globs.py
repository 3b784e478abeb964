from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.base.globs import glob


@pytest.mark.parametrize(
    ("pattern", "text", "like"),
    [
        ("web", "web", True),
        ("web", "Web", False),
        ("web*", "web", True),
        ("*web*", "my-web-1", True),
        ("w?b", "wb", False),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("a\\", "a\\", True),
        ("", "", True),
        ("*", "", True),
        ("?", "\n", True),
        ("a*b*c", "a-b-b-c-c", True),
    ],
)
def test_like(pattern: str, text: str, like: bool) -> None:
    assert glob(pattern)(text) is like


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_as_the_standard_librarys_patterns_do(pattern: str, text: str) -> None:
    assert glob(pattern)(text) is (re.fullmatch(fnmatch.translate(pattern), text) is not None)


def test_a_pattern_of_many_stars_is_answered() -> None:
    assert not glob("*a" * 100 + "b")("a" * 250)
