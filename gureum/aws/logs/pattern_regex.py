"""The regular expressions of filter patterns (`%…%`), matched in time that grows only with the text.

AWS allows characters, classes, `^ $ . | ? * + {m,n}` and escapes, and no parentheses. Without groups every alternative is a row of items, so one
bit per place in the row tells where a match may stand (Shift-And, extended by repeats and optional items: Navarro and Raffinot, "Flexible Pattern
Matching in Strings"). A backtracking engine would need exponential time for `a?a?a?…aaa`, and patterns and texts come from clients.

AWS: CloudWatch Logs User Guide, "Supported regular expressions (regex) syntax".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

LIMIT_ITEMS = 2000
"""Items of a pattern with its repeats written out."""
LIMIT_KEPT = 20_000
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_#=@/;,-")
_CLASSES = {
    "d": lambda c: "0" <= c <= "9",
    "w": lambda c: c.isascii() and (c.isalnum() or c == "_"),
    "s": lambda c: c in " \t\n\r\f\v",
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_COUNT = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}", re.ASCII)

Test = Callable[[str], bool]


class BadPattern(Exception):
    """A pattern that is none; the text says why."""


class Regex(NamedTuple):
    """`test`: whether a text has a match anywhere. `texts`: what has one holds at least one of these; none: nothing can be said."""

    test: Test
    texts: tuple[str, ...]


class Item(msgspec.Struct, frozen=True):
    """One place of a row: `test` tells whether a character fits, `character` which one where it is only one; it may be left out, or repeated."""

    test: Test
    character: str = ""
    optional: bool = False
    repeated: bool = False


class Row(msgspec.Struct, frozen=True):
    """One alternative. `start`, `end`: it is held by the text's start or end."""

    items: tuple[Item, ...]
    start: bool
    end: bool

    @property
    def text(self) -> str:
        """The longest that every match holds; "" when none is plain."""
        runs = [""]
        for item in self.items:
            if item.character and not item.optional:
                runs[-1] += item.character
            if item.repeated or item.optional or not item.character:
                runs.append("")
        return max(runs, key=len)


def compile_regex(text: str) -> Regex:
    """`text`: what stands between the percent signs. BadPattern."""
    rows = [_Parser(one).row() for one in _alternatives(text)]
    if sum(len(row.items) for row in rows) > LIMIT_ITEMS:
        raise BadPattern("The regular expression is too large")
    plain = _plain_text(text)
    if plain:
        return Regex(_search_text(plain), (plain,))
    texts = tuple(row.text for row in rows)
    return Regex(_search(rows, texts), texts) if all(texts) else Regex(_search(rows), ())


def _plain_text(text: str) -> str:
    return text if all(one in _PLAIN for one in text) else ""


def _search_text(plain: str) -> Test:
    return lambda text: plain in text


def _alternatives(text: str) -> list[str]:
    parts, start, at, inside = [], 0, 0, False
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character == "[":
            inside = True
        elif character == "]":
            inside = False
        elif character == "|" and not inside:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


class _Parser:
    """One alternative, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def row(self) -> Row:
        if not self._text:
            raise BadPattern("An alternative of the regular expression is empty")
        start = self._take("^")
        items: list[Item] = []
        while self._at < len(self._text) and self._text[self._at :] != "$":
            items.extend(self._repeated(self._one()))
            if len(items) > LIMIT_ITEMS:
                raise BadPattern("The regular expression is too large")
        return Row(tuple(items), start, self._take("$"))

    def _take(self, character: str) -> bool:
        found = self._text[self._at : self._at + 1] == character
        self._at += found
        return found

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise BadPattern("The regular expression ends early")
        self._at += 1
        return self._text[self._at - 1]

    def _one(self) -> Item:
        character = self._next()
        if character in _PLAIN:
            return Item(_is(character), character)
        if character == ".":
            return Item(lambda c: c != "\n")
        if character == "\\":
            return self._escape()
        if character == "[":
            return Item(self._class())
        raise BadPattern(f"The character '{character}' is not supported in a regular expression")

    def _escape(self) -> Item:
        character = self._next()
        if character.lower() in _CLASSES:
            test = _CLASSES[character.lower()]
            return Item(test if character.islower() else _not(test))
        character = self._escaped(character)
        return Item(_is(character), character)

    def _escaped(self, character: str) -> str:
        if character == "x":
            digits = self._next() + self._next()
            if not all(one in "0123456789abcdefABCDEF" for one in digits):
                raise BadPattern("\\x needs two hexadecimal digits")
            return chr(int(digits, 16))
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character.isalnum() or not character.isascii():
            raise BadPattern(f"'\\{character}' is not supported in a regular expression")
        return character

    def _class(self) -> Test:
        negated = self._take("^")
        tests: list[Test] = []
        while not self._take("]"):
            tests.append(self._member())
        if not tests:
            raise BadPattern("A character class is empty")
        return _not(_any(tests)) if negated else _any(tests)

    def _member(self) -> Test:
        character = self._next()
        if character == "\\" and self._text[self._at : self._at + 1].lower() in _CLASSES:
            return self._escape().test
        low = self._literal(character)
        if self._text[self._at : self._at + 1] != "-" or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return _is(low)
        self._at += 1
        high = self._literal(self._next())
        if high < low:
            raise BadPattern(f"The range {low}-{high} is empty")
        return lambda c: low <= c <= high

    def _literal(self, character: str) -> str:
        if character == "\\":
            return self._escaped(self._next())
        if character not in _PLAIN and character not in "^$?{}|*+.[":
            raise BadPattern(f"The character '{character}' is not supported in a regular expression")
        return character

    def _repeated(self, item: Item) -> list[Item]:
        least, most = self._count()
        if most is None:
            if least == 0:
                return [replace(item, optional=True, repeated=True)]
            return [item] * (least - 1) + [replace(item, repeated=True)]
        if most > LIMIT_ITEMS:
            raise BadPattern("The regular expression is too large")
        return [item] * least + [replace(item, optional=True)] * (most - least)

    def _count(self) -> tuple[int, int | None]:
        if self._take("?"):
            return 0, 1
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        found = _COUNT.match(self._text, self._at)
        if found is None:
            return 1, 1
        self._at = found.end()
        least = int(found[1])
        most = (int(found[3]) if found[3] else None) if found[2] else least
        if most is not None and most < least:
            raise BadPattern("The numbers of a repeat are in the wrong order")
        return least, most


def _is(wanted: str) -> Test:
    return lambda c: c == wanted


def _not(test: Test) -> Test:
    return lambda c: not test(c)


def _any(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda c: any(test(c) for test in tests)


class _Bits:
    """The rows beside each other. Bit n is "the n-th place has been reached"; the bit of a row's end leads nowhere."""

    def __init__(self, rows: list[Row]) -> None:
        self.always = self.first = self.anywhere = self.at_end = self.skips = 0
        self._steps: list[tuple[int, Item]] = []
        bit = 1
        for row in rows:
            self.first |= bit
            if not row.start:
                self.always |= bit
            for item in row.items:
                self._steps.append((bit, item))
                if item.optional:
                    self.skips |= bit
                bit <<= 1
            if row.end:
                self.at_end |= bit
            else:
                self.anywhere |= bit
            bit <<= 1

    def close(self, reached: int) -> int:
        """With what can be reached by leaving out optional items: the carry of the addition runs through a block of them."""
        return reached | ((self.skips + (reached & self.skips)) ^ self.skips)

    def masks(self, character: str) -> tuple[int, int]:
        """Places that go on by this character, and those that stay."""
        on = stay = 0
        for bit, item in self._steps:
            if item.test(character):
                on |= bit
                if item.repeated:
                    stay |= bit << 1
        return on, stay


def _search(rows: list[Row], texts: tuple[str, ...] = ()) -> Test:
    """`texts`: what has none of them needs not be gone through."""
    bits = _Bits(rows)
    masks: dict[str, tuple[int, int]] = {}
    moves: dict[tuple[int, str], int] = {}
    begin = bits.close(bits.first)

    def move(reached: int, character: str) -> int:
        known = masks.get(character)
        if known is None:
            if len(masks) >= LIMIT_KEPT:
                masks.clear()
            known = masks[character] = bits.masks(character)
        after = bits.close(((reached & known[0]) << 1) | (reached & known[1]) | bits.always)
        if len(moves) >= LIMIT_KEPT:
            moves.clear()
        moves[reached, character] = after
        return after

    def test(text: str) -> bool:
        reached = begin
        if reached & bits.anywhere:
            return True
        if texts and not any(one in text for one in texts):
            return False
        known = moves.get
        for character in text:
            after = known((reached, character))
            reached = move(reached, character) if after is None else after
            if reached & bits.anywhere:
                return True
        return bool(reached & bits.at_end)

    return test
