"""The rule language of composite alarms: ALARM(name), OK(name), INSUFFICIENT_DATA(name), AT_LEAST(2, ALARM, (name, name, name)), TRUE, FALSE,
AND, OR, NOT, parentheses.

AWS: PutCompositeAlarm, AlarmRule. Names may stand in double quotes or not; an ARN of an alarm of the same account and region is its name.
AT_LEAST counts the alarms that are in a state, or are not ("NOT OK"); how many there must be is a number or a share of them ("50%").
NOT binds strongest, then AND, then OR. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

LIMIT_LENGTH, LIMIT_ELEMENTS, LIMIT_CHILDREN, LIMIT_DEPTH = 10240, 500, 100, 60
_STATE = re.compile(r"(ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)+)"\s*\)')
_AT_LEAST = re.compile(r"AT_LEAST\s*\(\s*(\d{1,3})(%?)\s*,\s*(NOT\s+)?(ALARM|OK|INSUFFICIENT_DATA)\s*,\s*\(", re.ASCII)
_LISTED = re.compile(r'\s*(?:"((?:[^"\\]|\\.)+)"\s*|([^\s",()][^",()]*))([,)])')
_END = re.compile(r"\s*\)")
_WORD = re.compile(r"(AND|OR|NOT|TRUE|FALSE)\b", re.IGNORECASE | re.ASCII)


class RuleError(ValueError):
    """A rule that cannot be; its text says why."""


StateOf = Callable[[str], str]
"""Alarm name (or ARN) → its state."""


class Token(NamedTuple):
    """`kind`: "(", ")", "AND", "OR", "NOT", "TRUE", "FALSE", or a state that `least` of the alarms in `names` must be in (`negated`: not in)."""

    kind: str
    names: tuple[str, ...] = ()
    least: int = 1
    negated: bool = False


class AlarmRule:
    """A parsed rule. `children`: the alarms in it, each once, in the order of their first place."""

    def __init__(self, text: str) -> None:
        if len(text) > LIMIT_LENGTH:
            raise RuleError(f"AlarmRule must not exceed {LIMIT_LENGTH} characters.")
        self._tokens = _tokens(text)
        elements = sum(max(1, len(token.names)) for token in self._tokens if token.kind not in ("AND", "OR", "NOT"))
        if elements > LIMIT_ELEMENTS:
            raise RuleError(f"AlarmRule must not have more than {LIMIT_ELEMENTS} elements.")
        self.children = tuple(dict.fromkeys(name for token in self._tokens for name in token.names))
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
            tokens.append(Token(found.group(1), (name,)))
        elif found := _AT_LEAST.match(text, place):
            names, place = _names(text, found.end())
            least = _least(int(found.group(1)), bool(found.group(2)), len(names))
            tokens.append(Token(found.group(4), names, least, bool(found.group(3))))
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
        return _unescaped(found.group(1)), found.end()
    end = text.find(")", place)
    name = text[place:end].strip()
    if end < 0 or not name:
        raise RuleError(f"Syntax error at position {place + 1}: an alarm name and ')' are expected.")
    return name, end + 1


def _names(text: str, place: int) -> tuple[tuple[str, ...], int]:
    """The names of AT_LEAST's list, whose "(" lies before `place`, and the place behind its end."""
    names: list[str] = []
    more = True
    while more:
        found = _LISTED.match(text, place)
        if found is None:
            raise RuleError(f"Syntax error at position {place + 1}: an alarm name and ',' or ')' are expected.")
        names.append(_unescaped(found.group(1)) if found.group(1) else found.group(2).rstrip())
        place, more = found.end(), found.group(3) == ","
    end = _END.match(text, place)
    if end is None:
        raise RuleError(f"Syntax error at position {place + 1}: the ')' of AT_LEAST is expected.")
    return tuple(names), end.end()


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)


def _least(number: int, share: bool, of: int) -> int:
    """How many alarms are enough; a share (%) of them is rounded up."""
    most = 100 if share else of
    if not 1 <= number <= most:
        raise RuleError(f"The threshold of AT_LEAST must be between 1 and {most}{'%' if share else ''}.")
    return -(-number * of // 100) if share else number


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
        if token.names:
            hits = sum((self._state_of(name) == token.kind) != token.negated for name in token.names)
            return hits >= token.least
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
