"""Regular expressions that strangers wrote, matched against whole texts in time that grows only with pattern times text.

Python's own engine tries one way after the other, which takes for ever for `(a+)+$`; here all ways are followed at once (Thompson's construction).
Python's parser reads the pattern; what needs to look back or around (`(?=…)`, `\\1`) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

# The parser under re.compile: the one piece of the standard library that reads this syntax.
from re import _constants as ops  # type: ignore[attr-defined]  # isort: skip
from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip

LIMIT_STATES = 5000
LIMIT_WORK = 5_000_000
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    ops.CATEGORY_DIGIT: lambda c: c.isdecimal(),
    ops.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    ops.CATEGORY_SPACE: lambda c: c.isspace(),
    ops.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    ops.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    ops.CATEGORY_NOT_WORD: lambda c: not (c.isalnum() or c == "_"),
}
Test = Callable[[str], bool]


class BadRegex(ValueError):
    """It is none, or needs more than can be matched in linear time. The text is for the one who wrote it."""


def compile_whole(pattern: str) -> Callable[[str], bool]:
    """Whether a whole text matches. BadRegex."""
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadRegex(f"not a regular expression: {error}") from error
    if tree.state.flags & ~int(re.UNICODE):
        raise BadRegex("flags are not supported")
    machine = _Machine()
    start = machine.state()
    end = machine.sequence(tree, start)
    return lambda text: machine.matches(text, start, end)


def check_whole(pattern: str, text: str) -> bool:
    """Whether `text` matches; a pattern that is none matches nothing."""
    try:
        return compile_whole(pattern)(text)
    except BadRegex:
        return False


class _Machine:
    """States with moves by a character, and free ones, which a condition may guard (`^`, `$`)."""

    def __init__(self) -> None:
        self.moves: list[list[tuple[Test, int]]] = []
        self.free: list[list[tuple[str, int]]] = []

    def state(self) -> int:
        if len(self.moves) >= LIMIT_STATES:
            raise BadRegex("the regular expression is too large")
        self.moves.append([])
        self.free.append([])
        return len(self.moves) - 1

    def sequence(self, items: Any, start: int) -> int:
        for op, value in items:
            start = self._one(op, value, start)
        return start

    def _one(self, op: Any, value: Any, start: int) -> int:
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            return self._repeat(value[0], value[1], value[2], start)
        end = self.state()
        if op is ops.SUBPATTERN:
            self.free[self.sequence(value[3], start)].append(("", end))
        elif op is ops.BRANCH:
            for branch in value[1]:
                begin = self.state()
                self.free[start].append(("", begin))
                self.free[self.sequence(branch, begin)].append(("", end))
        elif op is ops.AT and value in (ops.AT_BEGINNING, ops.AT_BEGINNING_STRING):
            self.free[start].append(("begin", end))
        elif op is ops.AT and value in (ops.AT_END, ops.AT_END_STRING):
            self.free[start].append(("end", end))
        else:
            self.moves[start].append((_test(op, value), end))
        return end

    def _repeat(self, least: int, most: Any, item: Any, start: int) -> int:
        for _ in range(least):
            start = self.sequence(item, start)
        end = self.state()
        self.free[start].append(("", end))
        if most is ops.MAXREPEAT:
            begin = self.state()
            self.free[start].append(("", begin))
            last = self.sequence(item, begin)
            self.free[last] += [("", begin), ("", end)]
            return end
        for _ in range(int(most) - least):
            start = self.sequence(item, start)
            self.free[start].append(("", end))
        return end

    def matches(self, text: str, start: int, end: int) -> bool:
        if len(text) * len(self.moves) > LIMIT_WORK:
            raise BadRegex("the regular expression is too large for this text")
        reached = self._close({start}, begin=True, end=not text)
        for at, character in enumerate(text, 1):
            moved = {to for state in reached for test, to in self.moves[state] if test(character)}
            if not moved:
                return False
            reached = self._close(moved, begin=False, end=at == len(text))
        return end in reached

    def _close(self, states: set[int], *, begin: bool, end: bool) -> set[int]:
        found, waiting = set(states), list(states)
        while waiting:
            for guard, to in self.free[waiting.pop()]:
                if to not in found and (not guard or (begin if guard == "begin" else end)):
                    found.add(to)
                    waiting.append(to)
        return found


def _test(op: Any, value: Any) -> Test:
    if op is ops.LITERAL:
        return lambda c: ord(c) == value
    if op is ops.NOT_LITERAL:
        return lambda c: ord(c) != value
    if op is ops.ANY:
        return lambda c: c != "\n"
    if op is ops.RANGE:
        return lambda c: value[0] <= ord(c) <= value[1]
    if op is ops.CATEGORY and value in _CATEGORIES:
        return _CATEGORIES[value]
    if op is ops.IN:
        return _class(list(value))
    raise BadRegex("look-around, back references and the like are not supported")


def _class(members: list[tuple[Any, Any]]) -> Test:
    negated = members[0][0] is ops.NEGATE
    tests = list(_tests(members[1:] if negated else members))
    return lambda c: any(test(c) for test in tests) is not negated


def _tests(members: list[tuple[Any, Any]]) -> Iterator[Test]:
    for op, value in members:
        yield _test(op, value)
