"""Whole numbers in text that users, guests or engines wrote.

`str.isdigit` and `int` do not agree with one another, nor with what an API means by a number: "²" is a digit and no number, "٣" is both, and of more
than 4,300 digits `int` refuses to make one (Python: "Integer string conversion length limitation").
"""

from __future__ import annotations

MOST_DIGITS = 18
"""So that what is read fits 64 bits."""


def natural(text: str, most_digits: int = MOST_DIGITS) -> int | None:
    """What 0-9 alone say: "007" is 7. None for any other text, a sign, a space, no digit or more of them."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= most_digits else None


def whole(text: str, most_digits: int = MOST_DIGITS) -> int | None:
    """A `natural` that may have "-" before it."""
    number = natural(text.removeprefix("-"), most_digits)
    return -number if number is not None and text.startswith("-") else number
