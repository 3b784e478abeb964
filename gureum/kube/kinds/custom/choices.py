"""What `allOf`, `anyOf`, `oneOf` and `not` of a structural schema may say: what a value must fulfil, of what the schema has outside of them.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema (validation.go, complete.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required
from gureum.kube.kinds.custom.patterns import refused

Object = dict[str, Any]
LIMIT_DEPTH, LIMIT_CAUSES = 64, 100
INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_FORBIDDEN = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
}
_RULES = "x-kubernetes-validations"


def look_at_choices(node: Object, field: str, causes: list[Cause]) -> None:
    """Adds what is wrong with the choices, and the pattern, of one node of a schema."""
    _look(node, node, field, field, causes, 0)


def _look(value: Object, node: Object, field: str, at: str, causes: list[Cause], depth: int) -> None:
    """`value`, at `field`, has choices about what `node`, at `at`, describes."""
    if depth > LIMIT_DEPTH or len(causes) > LIMIT_CAUSES:
        return
    if value.get("pattern") and (why := refused(str(value["pattern"]))):
        text = f"must be a valid regular expression, but isn't: {why}"
        causes.append(invalid(f"{field}.pattern", value["pattern"], text))
    for place, choice, rules in _choices(value, field, outermost=depth == 0):
        _look_inside(choice, node, place, at, causes, depth + 1, rules=rules)


def _choices(value: Object, field: str, *, outermost: bool) -> Iterator[tuple[str, Object, bool]]:
    """Each with its place, and whether it may have rules. The outermost that say "a number or a text" are not looked at."""
    for name in ("anyOf", "allOf", "oneOf"):
        listed = value.get(name) or ()
        if name == "anyOf" and outermost and listed == INT_OR_STRING:
            continue
        for number, choice in enumerate(listed):
            if name == "allOf" and number == 0 and outermost and choice.get("anyOf") == INT_OR_STRING:
                choice = {one: what for one, what in choice.items() if one != "anyOf"}
            yield f"{field}.{name}[{number}]", choice, name == "allOf"
    if isinstance(value.get("not"), dict):
        yield f"{field}.not", value["not"], False


def _look_inside(
    value: Object, node: Object | None, field: str, at: str, causes: list[Cause], depth: int, *, rules: bool
) -> None:
    if depth > LIMIT_DEPTH or len(causes) > LIMIT_CAUSES:
        return
    if node is None:
        causes.append(required(at, f"because it is defined in {field}"))
        node = {}
    causes += [
        forbidden_field(f"{field}.{name}", text)
        for name, text in _FORBIDDEN.items()
        if value.get(name) not in (None, "", False, [])
    ]
    if value.get(_RULES) and not rules:
        causes.append(forbidden_field(f"{field}.{_RULES}", "must be empty to be structural"))
    _look(value, node, field, at, causes, depth)
    if isinstance(value.get("items"), dict):
        items = node.get("items")
        inner = items if isinstance(items, dict) else None
        _look_inside(value["items"], inner, f"{field}.items", f"{at}.items", causes, depth + 1, rules=rules)
    properties, more = node.get("properties") or {}, node.get("additionalProperties")
    for name, child in (value.get("properties") or {}).items():
        if name == "metadata":
            text = "must not be specified in a nested context"
            causes.append(forbidden_field(f"{field}.properties[metadata]", text))
        inner = properties.get(name, more if isinstance(more, dict) else None)
        where = f"{field}.properties[{name}]", f"{at}.properties[{name}]"
        _look_inside(child, inner, *where, causes, depth + 1, rules=rules)
