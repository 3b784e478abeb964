"""Patterns of custom resources' schemas: judged in time that the text bounds; refused where Go's engine (RE2) refuses them.

The two engines read almost the same syntax. What RE2 can and ours cannot is never held against an object; its writer is told (admission/unjudged.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from gureum.base.linear_regex import BadRegex, compile_whole

_PERL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<around>\(\?(?:=|!|<=|<!|>))", re.DOTALL)
_ESCAPE = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\(?P<escaped>.)", re.DOTALL)
_WORDS = {
    "nothing to repeat": "missing argument to repetition operator",
    "multiple repeat": "invalid nested repetition operator",
    "missing ), unterminated subpattern": "missing closing )",
    "unbalanced parenthesis": "unexpected )",
    "unterminated character set": "missing closing ]",
}
"""What Python's parser says of patterns that are none to Go either, and what Go says."""


def found(pattern: str, value: str) -> bool:
    """Whether the pattern is found somewhere in the text; True of one that cannot be judged by, False where it is too much work."""
    compiled = _compiled(pattern)
    try:
        return compiled is None or compiled(value)
    except BadRegex:
        return False


def refused(pattern: str) -> str:
    """What Go says of a pattern that it cannot compile; "" where it can."""
    for match in _PERL.finditer(pattern):
        if match["around"]:
            return f"error parsing regexp: invalid or unsupported Perl syntax: `{match['around']}`"
    for match in _ESCAPE.finditer(pattern):
        if match["escaped"] and match["escaped"] in "123456789":
            return f"error parsing regexp: invalid escape sequence: `\\{match['escaped']}`"
    if "[:" in pattern:
        return ""
    try:
        re._parser.parse(pattern)  # type: ignore[attr-defined]  # the parser that linear_regex reads with
    except re.error as error:
        word = _WORDS.get(error.msg)
        whole = error.pos is None or word in ("missing closing )", "unexpected )")
        return f"error parsing regexp: {word}: `{pattern if whole else pattern[error.pos :][:1]}`" if word else ""
    except (RecursionError, OverflowError):
        return ""
    return ""


def unjudged(pattern: str) -> bool:
    """Whether nothing is held against texts by this pattern."""
    return _compiled(pattern) is None


@lru_cache(512)
def _compiled(pattern: str) -> Callable[[str], bool] | None:
    if "[:" in pattern:  # a class of POSIX, which our parser takes for its letters
        return None
    try:
        return compile_whole(rf"[\s\S]*(?:{pattern})[\s\S]*")
    except BadRegex:
        return None
