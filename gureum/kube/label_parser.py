"""The text of a label selector, read: `a=b,c in (d,e),!f`.

    <selector>    ::= <requirement> | <requirement> "," <selector>
    <requirement> ::= KEY | "!" KEY | KEY ("=" | "==" | "!=" | ">" | "<") [VALUE] | KEY ("in" | "notin") "(" <values> ")"

Source: k8s.io/apimachinery/pkg/labels (selector.go), whose words its errors are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SYMBOLS = frozenset(["!=", "==", "=", "!", ",", "(", ")", "<", ">"])
_TOKEN = re.compile(r"[ \t\r\n]*(!=|==|[=!,()<>]|[^ \t\r\n=!,()<>]+)")
_OPERATORS = {"in": "in", "notin": "notin", "=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}
END = ""


class Unreadable(Exception):
    """The text is no selector, and why."""


class Read(NamedTuple):
    """One requirement. `operator`: in, notin, exists, !exists, gt, lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()


def read(text: str) -> list[Read]:
    """Unreadable."""
    reader = _Reader(text)
    found: list[Read] = []
    if reader.next == END:
        return found
    if not (reader.names or reader.next == "!"):
        raise Unreadable(f"found '{reader.next}', expected: !, identifier, or 'end of string'")
    while True:
        found.append(reader.requirement())
        mark = reader.take()
        if mark == END:
            return found
        if mark != ",":
            raise Unreadable(f"found '{mark}', expected: ',' or 'end of string'")
        if not (reader.names or reader.next == "!"):
            raise Unreadable(f"found '{reader.next}', expected: identifier after ','")


class _Reader:
    """Its tokens, and where it is among them."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    @property
    def next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else END

    @property
    def names(self) -> bool:
        """Whether what comes next is a name or a value."""
        return self.next != END and self.next not in _SYMBOLS

    def take(self) -> str:
        token = self.next
        self._at += 1
        return token

    def requirement(self) -> Read:
        negated = self.next == "!"
        if negated:
            self.take()
        key = self._name()
        if negated:
            return Read(key, "!exists")
        if self.next in (END, ","):
            return Read(key, "exists")
        sign = self.take()
        if sign not in _OPERATORS:
            raise _wrong(f"found '{sign}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._values() if sign in ("in", "notin") else self._value()
        return Read(key, _OPERATORS[sign], frozenset(values))

    def _name(self) -> str:
        if not self.names:
            raise _wrong(f"found '{self.next}', expected: identifier")
        return self.take()

    def _value(self) -> list[str]:
        return [""] if self.next in (END, ",") else [self._name()]

    def _values(self) -> list[str]:
        """Those in parentheses; one that is not written is empty."""
        if self.next != "(":
            raise _wrong(f"found '{self.next}' expected: '('")
        self.take()
        if not (self.names or self.next in (",", ")")):
            raise _wrong(f"found '{self.next}', expected: ',', ')' or identifier")
        values: list[str] = []
        while True:
            values.append(self.take() if self.names else "")
            mark = self.next
            if mark not in (",", ")"):
                wanted = "',' or ')'" if values[-1] else "',', or identifier"
                raise _wrong(f"found '{mark}', expected: {wanted}")
            self.take()
            if mark == ")":
                return values


def _wrong(text: str) -> Unreadable:
    return Unreadable(f"unable to parse requirement: {text}")
