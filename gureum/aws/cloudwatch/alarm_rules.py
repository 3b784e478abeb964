"""The rule language of composite alarms: ALARM(name), OK(name), INSUFFICIENT_DATA(name), TRUE, FALSE, AND, OR, NOT, parentheses.

AWS: PutCompositeAlarm, AlarmRule. Names may stand in double quotes or not; an ARN of an alarm of the same account and region is its name.
NOT binds strongest, then AND, then OR. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

LIMIT_LENGTH, LIMIT_ELEMENTS, LIMIT_CHILDREN, LIMIT_DEPTH = 10240, 500, 100, 60
STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")
_STATE = re.compile(r"(ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"\s*\)')
_WORD = re.compile(r"(AND|OR|NOT|TRUE|FALSE)\b", re.IGNORECASE | re.ASCII)


class RuleError(ValueError):
    """A rule that cannot be; its text says why."""


StateOf = Callable[[str], str]
"""Alarm name (or ARN) → its state."""


class Token(NamedTuple):
    """`kind`: "(", ")", "AND", "OR", "NOT", "TRUE", "FALSE", or a state with the alarm's `name`."""

    kind: str
    name: str = ""


class AlarmRule:
    """A parsed rule. `children`: the alarms in it, each once, in the order of their first place."""

    def __init__(self, text: str) -> None:
        if len(text) > LIMIT_LENGTH:
            raise RuleError(f"AlarmRule must not exceed {LIMIT_LENGTH} characters.")
        self._tokens = _tokens(text)
        elements = sum(1 for token in self._tokens if token.kind not in ("AND", "OR", "NOT"))
        if elements > LIMIT_ELEMENTS:
            raise RuleError(f"AlarmRule must not have more than {LIMIT_ELEMENTS} elements.")
        self.children = tuple(dict.fromkeys(token.name for token in self._tokens if token.name))
        if len(self.children) > LIMIT_CHILDREN:
            raise RuleError(f"AlarmRule must not have more than {LIMIT_CHILDREN} children.")
        self.holds(lambda name: "OK")

    def holds(self, state_of: StateOf) -> bool:
        return _Reading(self._tokens, state_of).whole()


def _tokens(text: str) -> list[Token]:
    tokens, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
        elif text[place] in "()":
            tokens.append(Token(text[place]))
            place += 1
        elif found := _STATE.match(text, place):
            name, place = _name(text, found.end())
            tokens.append(Token(found.group(1), name))
        elif found := _WORD.match(text, place):
            tokens.append(Token(found.group(1).upper()))
            place = found.end()
        else:
            raise RuleError(f"Syntax error at position {place + 1}: '{text[place : place + 20]}'.")
    return tokens


def _name(text: str, place: int) -> tuple[str, int]:
    """The name that ends with the next ")" (in quotes: after them), and the place behind it."""
    if text[place : place + 1] == '"':
        found = _QUOTED.match(text, place)
        if found is None:
            raise RuleError(f"Syntax error at position {place + 1}: a quoted alarm name does not end.")
        return re.sub(r"\\(.)", r"\1", found.group(1)), found.end()
    end = text.find(")", place)
    name = text[place:end].strip()
    if end < 0 or not name:
        raise RuleError(f"Syntax error at position {place + 1}: an alarm name and ')' are expected.")
    return name, end + 1


class _Reading:
    """One walk over the tokens, which computes while it reads. Every operand is read, also where the result is known already: that is the check
    of the syntax."""

    def __init__(self, tokens: list[Token], state_of: StateOf) -> None:
        self._tokens = tokens
        self._state_of = state_of
        self._at = 0
        self._depth = 0

    def whole(self) -> bool:
        result = self._any()
        if self._at < len(self._tokens):
            raise RuleError(f"Unexpected '{self._tokens[self._at].kind}' in the rule.")
        return result

    def _peek(self) -> str:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else ""

    def _any(self) -> bool:
        result = self._all()
        while self._peek() == "OR":
            self._at += 1
            result = self._all() or result
        return result

    def _all(self) -> bool:
        result = self._not()
        while self._peek() == "AND":
            self._at += 1
            result = self._not() and result
        return result

    def _not(self) -> bool:
        negated = False
        while self._peek() == "NOT":
            self._at += 1
            negated = not negated
        return self._atom() != negated

    def _atom(self) -> bool:
        if self._at >= len(self._tokens):
            raise RuleError("The rule ends where an alarm, TRUE, FALSE or '(' is expected.")
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == "(":
            return self._inner()
        if token.kind in STATES and token.name:
            return self._state_of(token.name) == token.kind
        if token.kind in ("TRUE", "FALSE"):
            return token.kind == "TRUE"
        raise RuleError(f"Unexpected '{token.kind}' in the rule.")

    def _inner(self) -> bool:
        self._depth += 1
        if self._depth > LIMIT_DEPTH:
            raise RuleError("The rule is nested too deeply.")
        result = self._any()
        if self._peek() != ")":
            raise RuleError("A ')' is missing in the rule.")
        self._at += 1
        self._depth -= 1
        return result
