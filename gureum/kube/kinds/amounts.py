"""Quantities of objects in the form in which they are kept: `0.5` is `500m`, `1024Mi` is `1Gi`, as the original writes back what it read.

What clients send is brought into that form where it is read (bodies.py); this is for what was stored before that was done, so that it is
no change when somebody writes it anew. Custom resources stay as they were written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from gureum.kube.kinds.quantities import BadQuantity, kept
from gureum.kube.schemas import Schema, definition

Settle = Callable[[Any], Any]
_POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"


def settled(value: Any, schema: Schema | None) -> Any:
    """The value with its quantities in their kept form; itself where they have it. It is not changed."""
    if schema is None or not schema.name:
        return value
    settle = _of(schema.name)
    return value if settle is None else settle(value)


def settled_template(template: Any) -> Any:
    """The same of a pod template."""
    return settled(template, definition(_POD_TEMPLATE))


@cache
def _of(name: str) -> Settle | None:
    """What settles a value of a built-in type; None where that has no quantities."""
    schema = definition(name)
    return None if schema is None else _built(schema, frozenset())


def _built(schema: Schema, above: frozenset[str]) -> Settle | None:
    """`above`: types that lead here. One that is in itself (JSONSchemaProps) has no quantities."""
    if schema.name.endswith(".Quantity"):
        return _amount
    if schema.name in above:
        return None
    above = above | {schema.name} if schema.name else above
    if schema.type == "object":
        fields = {name: _built(child, above) for name, child in schema.members.items()}
        found = {name: settle for name, settle in fields.items() if settle is not None}
        return _fields(found) if found else None
    inner = schema.items if schema.type == "array" else schema.others if schema.type == "map" else None
    each = _built(inner, above) if inner is not None else None
    if each is None:
        return None
    return _items(each) if schema.type == "array" else _members(each)


def _amount(value: Any) -> Any:
    try:
        return kept(value) if isinstance(value, str) else value
    except BadQuantity:
        return value


def _fields(fields: dict[str, Settle]) -> Settle:
    def settle(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        new = {name: one(value[name]) for name, one in fields.items() if name in value}
        changed = {name: item for name, item in new.items() if item is not value[name]}
        return {**value, **changed} if changed else value

    return settle


def _members(each: Settle) -> Settle:
    def settle(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        changed = {name: new for name, item in value.items() if (new := each(item)) is not item}
        return {**value, **changed} if changed else value

    return settle


def _items(each: Settle) -> Settle:
    def settle(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        new = [each(item) for item in value]
        return new if any(one is not item for one, item in zip(new, value, strict=True)) else value

    return settle
