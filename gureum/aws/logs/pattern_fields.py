"""Filter patterns of events whose fields are separated by spaces: `[ip, user, ..., status = 4*, bytes > 1000]`.

What stands between square brackets or double quotes in an event is one field. An event must have as many fields as the pattern, unless `...` stands
for the rest. AWS: CloudWatch Logs User Guide, "Using filter patterns to match terms in space-delimited log events".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gureum.aws.logs.pattern_regex import BadPattern
from gureum.aws.logs.pattern_values import Compare, Scanner

ELLIPSES = ("...", "…")
LIMIT_FIELDS = 10_000
"""Fields of an event that are looked at."""
_NAME = re.compile(r"[A-Za-z0-9_\-.@$]+")
_WORD = re.compile(r"\S+")
Fields = dict[str, str]
Condition = Callable[[Fields], bool]


class FieldsPattern:
    """`read` gives the fields of an event by name ("status", and "1" for the first without a name), None where the pattern does not match."""

    def __init__(self, names: list[str], ellipsis: int, conditions: list[Condition]) -> None:
        self._names = names
        self._ellipsis = ellipsis
        self._conditions = conditions

    def read(self, message: str) -> Fields | None:
        fields = self._named(split_fields(message))
        if fields is None or not all(condition(fields) for condition in self._conditions):
            return None
        return fields

    def _named(self, values: list[str]) -> Fields | None:
        names = self._names
        if self._ellipsis < 0:
            if len(values) != len(names):
                return None
        elif len(values) < len(names):
            return None
        else:
            rest = [""] * (len(values) - len(names))
            names = names[: self._ellipsis] + rest + names[self._ellipsis :]
        return {name or str(place): value for place, (name, value) in enumerate(zip(names, values, strict=True), 1)}


def split_fields(message: str) -> list[str]:
    """The fields of an event."""
    found: list[str] = []
    at, closed = 0, {"[": True, '"': True}
    while at < len(message) and len(found) < LIMIT_FIELDS:
        character = message[at]
        if character.isspace():
            at += 1
            continue
        # Once no closing sign is left there is none for later ones either: looking each time would take the square of the length.
        end = message.find("]" if character == "[" else '"', at + 1) if closed.get(character) else -1
        if end >= 0:
            found.append(message[at + 1 : end])
            at = end + 1
            continue
        if character in closed:
            closed[character] = False
        word = _WORD.match(message, at)
        assert word is not None
        found.append(word[0])
        at = word.end()
    return found


def compile_fields(text: str) -> FieldsPattern:
    """BadPattern for one that is none."""
    scanner = Scanner(text)
    scanner.need("[")
    names: list[str] = []
    conditions: list[tuple[int, _Slot]] = []
    ellipsis = -1
    while True:
        if any(scanner.skip().take(one) for one in ELLIPSES):
            if ellipsis >= 0:
                raise BadPattern("An ellipsis can stand only once")
            ellipsis = len(names)
        else:
            slot = _Slot(scanner)
            if slot.name and slot.name in names:
                raise BadPattern(f"The field '{slot.name}' stands twice")
            conditions.append((len(names), slot))
            names.append(slot.name)
        if scanner.skip().take("]"):
            break
        scanner.need(",")
    if not scanner.done:
        raise BadPattern("Something stands behind the closing bracket")
    return FieldsPattern(names, ellipsis, [slot.condition for _, slot in conditions if slot.condition is not None])


class _Slot:
    """One field of the pattern: `name` "" when it has none; `condition` None when everything will do."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self.name = ""
        self.condition: Condition | None = None
        if not (scanner.skip().peek(",") or scanner.peek("]")):
            test = self._either()
            self.condition = test

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._scanner.skip().take("||"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda fields: any(part(fields) for part in parts)

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._scanner.skip().take("&&"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda fields: all(part(fields) for part in parts)

    def _one(self) -> Condition:
        if self._scanner.skip().peek("("):
            return self._scanner.nested(self._either)
        name = self._scanner.match(_NAME)
        if not name:
            raise BadPattern("A field's name is missing")
        self.name = self.name or name
        operator = self._scanner.operator()
        if not operator:
            return lambda fields: True
        return _condition(name, self.name, self._scanner.comparison(operator))


def _condition(name: str, own: str, test: Compare) -> Condition:
    """A condition on a name that no field has is one on the field in which it stands."""

    def holds(fields: Fields) -> bool:
        value = fields.get(name)
        return test(fields[own] if value is None else value)

    return holds
