"""What the kinds of filter patterns have in common: reading a pattern from left to right, and comparing a value with what stands in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from gureum.aws.logs.pattern_regex import BadPattern, Regex, Test, compile_regex

LIMIT_DEPTH = 50
LIMIT_REGEXES = 2
"""AWS: two regular expressions in a filter pattern."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
Scalar = str | int | float
Compare = Callable[[Scalar], bool]
_OPERATORS = ("!=", "<=", ">=", "=", "<", ">")
_BARE = re.compile(r"[^\s,\[\](){}&|\"%=<>!]+")
_LIKE_A_NUMBER = re.compile(r"[0-9+\-.eEinfaINFA*]*")
T = TypeVar("T")
Needles = tuple[tuple[str, ...], ...]
"""Of each, every event that matches holds at least one text."""
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


class Scanner:
    """A pattern and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.regexes = 0
        self.needle = ""

    def skip(self) -> Scanner:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self

    def peek(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def take(self, word: str) -> bool:
        found = self.peek(word)
        self.at += len(word) if found else 0
        return found

    def need(self, word: str) -> None:
        if not self.skip().take(word):
            raise BadPattern(f"'{word}' is missing")

    def match(self, form: re.Pattern[str]) -> str:
        """What fits here, "" for nothing."""
        found = form.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found[0] if found else ""

    @property
    def done(self) -> bool:
        return self.skip().at >= len(self.text)

    def quoted(self) -> str:
        """What stands between double quotes; a backslash takes the next character as it is."""
        self.need('"')
        parts: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                return "".join(parts)
            if character == "\\" and self.text[self.at : self.at + 1] in ('"', "\\"):
                character = self.text[self.at]
                self.at += 1
            parts.append(character)
        raise BadPattern("A quote is not closed")

    def regex(self) -> Regex:
        """A regular expression between percent signs."""
        self.need("%")
        start = self.at
        while self.at < len(self.text) and self.text[self.at] != "%":
            self.at += 2 if self.text[self.at] == "\\" else 1
        if self.at >= len(self.text):
            raise BadPattern("A regular expression is not closed")
        self.regexes += 1
        if self.regexes > LIMIT_REGEXES:
            raise BadPattern(f"At most {LIMIT_REGEXES} regular expressions are allowed")
        self.at += 1
        return compile_regex(self.text[start : self.at - 1])

    def operator(self) -> str:
        """One of the comparisons, "" for none."""
        self.skip()
        return next((one for one in _OPERATORS if self.take(one)), "")

    def comparison(self, operator: str) -> Compare:
        """The test that an operator and the value behind it make. `needle` is then a text that every value it holds for has, as long as its
        JSON has no escape; "" for none."""
        self.skip()
        self.needle = ""
        if self.peek("%"):
            if operator not in ("=", "!="):
                raise BadPattern("A regular expression can only be compared with = and !=")
            return _compare_regex(self.regex().test, operator == "=")
        quoted = self.peek('"')
        word = self.quoted() if quoted else self.match(_BARE)
        if not (word or quoted):
            raise BadPattern("A value is missing")
        if operator == "=" and not _LIKE_A_NUMBER.fullmatch(word):  # numbers are written in many ways
            self.needle = word.strip("*")
        return compare(operator, word, quoted=quoted)

    def nested(self, read: Callable[[], T]) -> T:
        """What stands in parentheses."""
        self.depth += 1
        if self.depth > LIMIT_DEPTH:
            raise BadPattern("The parentheses nest too deep")
        self.need("(")
        found = read()
        self.need(")")
        self.depth -= 1
        return found


def compare(operator: str, wanted: str, *, quoted: bool = False) -> Compare:
    """`operator` with `wanted`, which is a number or a text with a star at its start or end."""
    number = None if quoted else as_number(wanted)
    if operator in _COMPARISONS:
        if number is None:
            raise BadPattern(f"'{wanted}' is no number, which {operator} needs")
        return _compare_numbers(_COMPARISONS[operator], number)
    test = wildcard(wanted)

    def equal(value: Scalar) -> bool:
        if number is not None and as_number(value) == number:
            return True
        return test(as_text(value))

    return equal if operator == "=" else lambda value: not equal(value)


def _compare_numbers(holds: Callable[[float, float], bool], wanted: float) -> Compare:
    def test(value: Scalar) -> bool:
        number = as_number(value)
        return number is not None and holds(number, wanted)

    return test


def _compare_regex(test: Test, wanted: bool) -> Compare:
    return lambda value: test(as_text(value)) is wanted


def wildcard(pattern: str) -> Test:
    """AWS: a star at the start or the end stands for any text; within a word it is a star."""
    core = pattern.strip("*")
    if not core:
        return (lambda text: True) if pattern else (lambda text: text == "")
    before, after = pattern.startswith("*"), pattern.endswith("*")
    if before and after:
        return lambda text: core in text
    if before:
        return lambda text: text.endswith(core)
    return (lambda text: text.startswith(core)) if after else (lambda text: text == core)


def as_number(value: Scalar) -> float | None:
    """The number that a text writes, or that it is."""
    if isinstance(value, str):
        return float(value) if len(value) < 400 and NUMBER.fullmatch(value) else None
    return None if isinstance(value, bool) else float(value)


def as_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
