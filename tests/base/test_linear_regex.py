"""The linear engine answers as Python's own does, and in time where that does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.base.linear_regex import BadRegex, compile_whole

PATTERNS = (
    "", "a", "a*", "(a|b)*c", "[a-c]{2,3}", "[^a]+", r"\d+(\.\d+)?", "^ab?$", "(ab){2}", "a|", ".*", r"\w\W\s", "(a*)*", "(?:x|ab)+?c", "a{0}b",
    "a{2,}", "^([1-9]|[1-9][0-9]{1,3})$", "(^a|b)c", "a$b?",
)  # fmt: skip


@given(st.sampled_from(PATTERNS), st.text(alphabet="abcx19. \n", max_size=8))
def test_it_matches_what_python_matches(pattern: str, text: str) -> None:
    # "$" of Python also stands before a last line feed; here it is the end alone, as in the services' own engine.
    expected = re.fullmatch(pattern.replace("$", r"\Z"), text) is not None
    assert compile_whole(pattern)(text) is expected


def test_what_takes_others_for_ever_takes_it_a_moment() -> None:
    assert not compile_whole("(a+)+$")("a" * 2000 + "!")


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1", "(?i)a", "(a{1000}){1000}", r"a\b"])
def test_what_is_none_or_needs_more_is_refused(pattern: str) -> None:
    with pytest.raises(BadRegex):
        compile_whole(pattern)
