"""The filter-pattern language: which events a pattern means, and which values it finds in them.

    ""              every event                          { $.a = 1 }    JSON events           (pattern_json.py)
    ERROR -DEBUG    events with these words              [a, b = 4*]    space-delimited ones  (pattern_fields.py)
                    (pattern_terms.py)                   %…%            regular expressions in each (pattern_regex.py)

A pattern is compiled once and kept. Tests of events take time in proportion to their length, whatever the pattern.
AWS: CloudWatch Logs User Guide, "Filter pattern syntax".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from gureum.aws.errors import AwsError
from gureum.aws.logs.pattern_fields import FieldsPattern, compile_fields
from gureum.aws.logs.pattern_json import MISSING, Event, compile_json, decode, is_scalar, parse_selector
from gureum.aws.logs.pattern_regex import BadPattern, Test
from gureum.aws.logs.pattern_terms import compile_terms
from gureum.aws.logs.pattern_values import Needles, Scalar

Form = Literal["all", "terms", "json", "fields"]
Lookup = Callable[[str], Scalar | None]
"""The value that "$.a.b" or "$field" names, None where there is none."""


class Pattern:
    """`test(message)`: whether it matches. `needles`: what every event that matches holds (pattern_terms.py); looked for before it is tested."""

    def __init__(self, text: str, form: Form, test: Test, needles: Needles = ()) -> None:
        self.text = text
        self.form = form
        self.test = test
        self.needles = needles

    def read(self, message: str) -> Lookup | None:
        """The values of an event that matches; None for one that does not."""
        return (lambda name: None) if self.test(message) else None

    def extract(self, message: str) -> dict[str, str] | None:
        """The fields that AWS: TestMetricFilter shows of an event that matches: only patterns of fields have them."""
        return {} if self.test(message) else None

    def check_name(self, name: str) -> None:
        """BadPattern unless `name` can be looked up in events of this pattern."""
        raise BadPattern(f"'{name}' can only be used with a JSON or space-delimited filter pattern")

    @property
    def has_regex(self) -> bool:
        return "%" in self.text


class JsonPattern(Pattern):
    def __init__(self, text: str, event_test: Event, needles: Needles) -> None:
        super().__init__(text, "json", self._test, needles)
        self._event_test = event_test

    def _test(self, message: str) -> bool:
        event = decode(message)
        return event is not MISSING and self._event_test(event)

    def read(self, message: str) -> Lookup | None:
        event = decode(message)
        if event is MISSING or not self._event_test(event):
            return None

        def lookup(name: str) -> Scalar | None:
            value = _selector(name).value(event)
            return value if is_scalar(value) else None

        return lookup

    def check_name(self, name: str) -> None:
        _selector(name)


class SpacedPattern(Pattern):
    def __init__(self, text: str, fields: FieldsPattern) -> None:
        super().__init__(text, "fields", lambda message: fields.read(message) is not None)
        self._fields = fields

    def read(self, message: str) -> Lookup | None:
        found = self._fields.read(message)
        return None if found is None else lambda name: found.get(name.removeprefix("$"))

    def extract(self, message: str) -> dict[str, str] | None:
        found = self._fields.read(message)
        return None if found is None else {f"${name}": value for name, value in found.items()}

    def check_name(self, name: str) -> None:
        if not name.startswith("$") or len(name) < 2 or name.startswith("$."):
            raise BadPattern(f"'{name}' is no field of the filter pattern")


@lru_cache(maxsize=1000)
def _compile(text: str) -> Pattern:
    inner = text.strip()
    if not inner:
        return Pattern(text, "all", lambda message: True)
    if inner.startswith("{"):
        return JsonPattern(text, *compile_json(inner))
    if inner.startswith("["):
        return SpacedPattern(text, compile_fields(inner))
    return Pattern(text, "terms", *compile_terms(inner))


_selector = lru_cache(maxsize=1000)(parse_selector)


def compile_pattern(text: str) -> Pattern:
    """The pattern that `text` writes. AWS: InvalidParameterException for one that is none."""
    try:
        return _compile(text)
    except BadPattern as bad:
        raise AwsError("InvalidParameterException", f"Invalid filter pattern: {bad}") from bad
