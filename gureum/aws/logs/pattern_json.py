"""Filter patterns of JSON events: `{ $.user.id = 1 && ($.items[0].name = "x*" || $.error NOT EXISTS) }`.

A selector that leads to an object, an array or nowhere makes every comparison false, also `!=`: the event has not the form that the pattern speaks
of. AWS: CloudWatch Logs User Guide, "Using filter patterns to match terms in JSON log events".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from gureum.aws.logs.pattern_regex import BadPattern
from gureum.aws.logs.pattern_values import Compare, Needles, Scalar, Scanner

LIMIT_NEEDLES = 5
LIMIT_WILDCARDS = 3
"""AWS: three wildcard selectors in a pattern, one in a selector."""
_NAME = re.compile(r"[A-Za-z0-9_\-]+")
_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_WORD = re.compile(r"[A-Za-z]+")
MISSING: Any = object()
ANY = "*"
Event = Callable[[Any], bool]
Step = str | int | None
"""A property's name, an index, or None for all of them."""
_decoder = msgspec.json.Decoder()


class Selector:
    """`$.a.b[0]`, `$.a[*].b`, `$['a.b']`."""

    def __init__(self, text: str, steps: list[Step]) -> None:
        self.text = text
        self._steps = tuple(steps)
        self.wildcards = steps.count(None)

    def values(self, event: Any) -> list[Any]:
        """What it leads to: one value, none, or with a wildcard any number."""
        found = [event]
        for step in self._steps:
            found = [value for one in found for value in _step(one, step)]
        return found

    def value(self, event: Any) -> Any:
        """The first of them, MISSING for none."""
        found = self.values(event)
        return found[0] if found else MISSING


def _step(value: Any, step: Step) -> list[Any]:
    if isinstance(value, dict):
        if step is None:
            return list(value.values())
        return [value[step]] if step in value else []
    if isinstance(value, list):
        if step is None:
            return value
        return [value[step]] if isinstance(step, int) and step < len(value) else []
    return []


def decode(message: str) -> Any:
    """The JSON object that a message is, MISSING for any other."""
    if not message.lstrip().startswith("{"):
        return MISSING
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return MISSING


def read_selector(scanner: Scanner) -> Selector:
    """A selector at this place. BadPattern."""
    scanner.skip()
    start = scanner.at
    scanner.need("$")
    steps: list[Step] = []
    while scanner.peek(".") or scanner.peek("["):
        steps.append(_name(scanner) if scanner.take(".") else _bracket(scanner))
    text = scanner.text[start : scanner.at]
    if not steps or (steps[0] is None and text.startswith("$[")) or isinstance(steps[0], int):
        raise BadPattern(f"'{text}' must name a property")
    if steps.count(None) > 1:
        raise BadPattern("A selector has at most one wildcard")
    return Selector(text, steps)


def parse_selector(text: str) -> Selector:
    """`text` as a whole is a selector. BadPattern."""
    scanner = Scanner(text)
    selector = read_selector(scanner)
    if not scanner.done:
        raise BadPattern(f"'{text}' is no selector")
    return selector


def _name(scanner: Scanner) -> Step:
    if scanner.take(ANY):
        return None
    if scanner.peek("["):
        return _bracket(scanner)
    name = scanner.match(_NAME)
    if not name:
        raise BadPattern("A property's name is missing after '.'")
    return name


def _bracket(scanner: Scanner) -> Step:
    scanner.need("[")
    step: Step
    if scanner.peek("'"):
        end = scanner.text.find("'", scanner.at + 1)
        if end < 0:
            raise BadPattern("A quote is not closed")
        step = scanner.text[scanner.at + 1 : end]
        scanner.at = end + 1
    elif scanner.peek('"'):
        step = scanner.quoted()
    elif scanner.take(ANY):
        step = None
    else:
        digits = scanner.match(_INDEX)
        if not digits:
            raise BadPattern("An index must be a number")
        step = int(digits)
    scanner.need("]")
    return step


class Part(NamedTuple):
    """A condition: the test of a decoded event, and the needles of its text."""

    test: Event
    needles: Needles = ()


def compile_json(text: str) -> Part:
    """BadPattern."""
    scanner = Scanner(text)
    scanner.need("{")
    reader = _Reader(scanner)
    part = reader.either()
    scanner.need("}")
    if not scanner.done:
        raise BadPattern("Something stands behind the closing brace")
    return part._replace(needles=part.needles[:LIMIT_NEEDLES])


class _Reader:
    """|| binds least, then &&, then parentheses."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._wildcards = 0

    def either(self) -> Part:
        parts = [self._both()]
        while self._scanner.skip().take("||"):
            parts.append(self._both())
        if len(parts) == 1:
            return parts[0]
        # Whichever holds, one of its needles is there; one of each will do, where all have one.
        needles = (tuple(text for part in parts for text in part.needles[0]),) if all(p.needles for p in parts) else ()
        return Part(lambda event: any(part.test(event) for part in parts), needles)

    def _both(self) -> Part:
        parts = [self._one()]
        while self._scanner.skip().take("&&"):
            parts.append(self._one())
        if len(parts) == 1:
            return parts[0]
        needles = tuple(texts for part in parts for texts in part.needles)
        return Part(lambda event: all(part.test(event) for part in parts), needles)

    def _one(self) -> Part:
        if self._scanner.skip().peek("("):
            return self._scanner.nested(self.either)
        selector = read_selector(self._scanner)
        self._wildcards += selector.wildcards
        if self._wildcards > LIMIT_WILDCARDS:
            raise BadPattern(f"At most {LIMIT_WILDCARDS} wildcard selectors are allowed")
        operator = self._scanner.operator()
        if not operator:
            return Part(self._stated(selector))
        test = _compared(selector, self._scanner.comparison(operator))
        needle = self._scanner.needle
        return Part(test, ((needle, "\\"),) if needle else ())

    def _stated(self, selector: Selector) -> Event:
        """IS NULL, IS TRUE, IS FALSE, NOT EXISTS."""
        words = (self._scanner.skip().match(_WORD).upper(), self._scanner.skip().match(_WORD).upper())
        if words == ("NOT", "EXISTS"):
            return lambda event: not selector.values(event)
        wanted: Any = {("IS", "NULL"): None, ("IS", "TRUE"): True, ("IS", "FALSE"): False}.get(words, MISSING)
        if wanted is MISSING:
            raise BadPattern(f"A comparison is missing after '{selector.text}'")
        return lambda event: any(value is wanted for value in selector.values(event))


def _compared(selector: Selector, test: Compare) -> Event:
    return lambda event: any(is_scalar(value) and test(value) for value in selector.values(event))


def is_scalar(value: Any) -> bool:
    return isinstance(value, Scalar)
