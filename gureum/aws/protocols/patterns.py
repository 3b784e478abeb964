"""Patterns: the models' regular expressions (Java's and ECMAScript's), as far as Python can try them safely.

The patterns are the model's, the values the caller's. Python's engine backtracks, so a pattern with repeats inside of
repeats is not tried at all, and one with several repeats only on short values. A check left out accepts what AWS would
refuse; a check that is wrong would refuse what AWS accepts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Longest value tried, by the number of open repeats in the pattern: time grows with the length to that power.
_LIMITS = {0: 4096, 1: 4096, 2: 1000, 3: 128}
_LIMIT_OTHERS = 32
# A repeat up to this often counts as none.
_SMALL_REPEAT = 8
_CLASSES = {
    "L": r"\w",
    "N": r"\w",
    "Lu": r"\w",
    "Ll": r"\w",
    "Nd": r"\w",
    "Z": r"\s",
    "Zs": r"\s",
    "Alnum": r"\w",
    "Alpha": r"\w",
}
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[:=!]|\(\?<[=!]|[()|]|[*+?]\??|\{\d*,?\d*\}\??|.", re.DOTALL)


_IGNORE_CASE = "(?i)"


def compile_pattern(pattern: str) -> Callable[[str], bool] | None:
    """Whether a value fits; always true for values too long to be tried. None for a pattern that cannot be tried. A
    pattern without anchors holds for the whole value, one with a single anchor from there."""
    searched, limit = safe_pattern(pattern)
    if searched is None:
        return None
    search = re.compile(searched).search
    return lambda value: len(value) > limit or search(value) is not None


def safe_pattern(pattern: str) -> tuple[str | None, int]:
    """The same as Python's regular expression to search with, and the longest value to try; (None, 0): not to be tried."""
    flags = "i" if pattern.startswith(_IGNORE_CASE) else ""
    pattern = pattern.removeprefix(_IGNORE_CASE)
    repeats = _count_repeats(pattern)
    translated = _translate(pattern)
    if repeats is None or translated is None:
        return None, 0
    one_sided = pattern.startswith("^") != pattern.endswith("$")
    searched = f"(?{flags}:{translated})" if one_sided else rf"\A(?{flags}:{translated})\Z"
    try:
        re.compile(translated)
        re.compile(searched)
    except (re.error, OverflowError, RecursionError):
        return None, 0
    # A search that may start anywhere is one more repeat.
    return searched, _LIMITS.get(repeats + (one_sided and not pattern.startswith("^")), _LIMIT_OTHERS)


def _translate(pattern: str) -> str | None:
    """Java's character classes as Python's next wider ones; None where there is none."""
    if any(sign in pattern for sign in ("&&", "||", "--", "~~", "[[", r"\P", r"\X", r"\h", r"\R")):
        return None
    unknown = False

    def widen(found: re.Match[str]) -> str:
        nonlocal unknown
        name = (found[1] or found[2]).removeprefix("Is")
        unknown = unknown or name not in _CLASSES
        return _CLASSES.get(name, "")

    translated = re.sub(r"\\p(?:\{(\w+)\}|(\w))", widen, pattern)
    # `$` of the models is the end of the value; Python's also stands before a last line break.
    return None if unknown else re.sub(r"\$$", r"\\Z", translated)


def _count_repeats(pattern: str) -> int | None:
    """The number of open repeats; None when one of them holds a repeat or alternatives that could match in several
    ways."""
    total = 0
    # Whether each open group holds a repeat or alternatives.
    groups = [False]
    closed = False
    for token in _TOKEN.findall(pattern):
        if token[0] == "(":
            groups.append(False)
        elif token == ")":
            closed = groups.pop() if len(groups) > 1 else False
            groups[-1] = groups[-1] or closed
            continue
        elif token == "|":
            groups[-1] = True
        elif token[0] in "*+?{" and len(token) > (token[0] == "{"):
            if _is_open(token):
                if closed:
                    return None
                total += 1
            groups[-1] = True
        closed = False
    return total


def _is_open(token: str) -> bool:
    if token[0] in "*+":
        return True
    numbers = re.findall(r"\d+", token)
    return token[0] == "{" and (
        token.rstrip("?").endswith(",}") or (bool(numbers) and int(numbers[-1]) > _SMALL_REPEAT and "," in token)
    )
