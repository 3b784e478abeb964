"""Patterns with `*` (any run of characters) and `?` (one character); a backslash takes the next character's meaning away.

Matching takes at most length of pattern times length of text steps: patterns come from users, and a regular expression of many stars
would take for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

MANY, ONE = object(), object()


@lru_cache(maxsize=4096)
def glob(pattern: str) -> Callable[[str], bool]:
    """The test for `pattern`: whether the whole of a text is like it. Case-sensitive."""
    tokens = _tokens(pattern)
    if MANY not in tokens and ONE not in tokens:
        plain = "".join(str(token) for token in tokens)
        return lambda text: text == plain
    return lambda text: _matches(tokens, text)


def _tokens(pattern: str) -> tuple[object, ...]:
    tokens: list[object] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            tokens.append(next(characters, "\\"))
        elif character == "*":
            if not tokens or tokens[-1] is not MANY:
                tokens.append(MANY)
        else:
            tokens.append(ONE if character == "?" else character)
    return tuple(tokens)


def _matches(tokens: tuple[object, ...], text: str) -> bool:
    """Goes along both; after a mismatch the last star takes one character more."""
    at = place = 0
    star, resume = -1, 0
    while place < len(text):
        if at < len(tokens) and tokens[at] is MANY:
            star, resume = at, place
            at += 1
        elif at < len(tokens) and (tokens[at] is ONE or tokens[at] == text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return all(token is MANY for token in tokens[at:])
