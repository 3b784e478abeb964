"""Whether a configuration that is applied has the form of its schema: of server-side apply nothing unknown is ever left out.

Source: sigs.k8s.io/structured-merge-diff (typed.Validate), whose words these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gureum.kube.patches.errors import BadPatch
from gureum.kube.patches.field_sets import item_name, readable
from gureum.kube.schemas import Schema

_GO_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}


def misfits(value: dict[str, Any], schema: Schema | None) -> list[str]:
    """What is wrong, each with its path: `.spec.foo: field not declared in schema`."""
    return [] if schema is None else list(_misfits(value, schema, ""))


def as_text(found: list[str]) -> str:
    return found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])


def _misfits(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if value is None:
        return
    kind = schema.type
    if kind in ("object", "map"):
        yield from _of_map(value, schema, path)
    elif kind == "array":
        yield from _of_list(value, schema, path)
    elif kind == "scalar":
        yield from _of_scalar(value, schema, path)


def _of_map(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected map, got {_shown(value)}"
        return
    for name, item in value.items():
        child = schema.child(name)
        if child is not None:
            yield from _misfits(item, child, f"{path}.{name}")
        elif not schema.mark("preserve-unknown-fields"):
            yield f"{path}.{name}: field not declared in schema"


def _of_list(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got {_shown(value)}"
        return
    seen: set[str] = set()
    for at, item in enumerate(value):
        place = f"[{at}]"
        if not schema.atomic:
            try:
                name = item_name(item, schema)
            except BadPatch as error:
                yield f"{path}: element {at}: {error}"
                continue
            place = readable(name)
            if name in seen:
                yield f"{path}: duplicate entries for key {place}"
            seen.add(name)
        if schema.items is not None:
            yield from _misfits(item, schema.items, path + place)


def _of_scalar(value: Any, schema: Schema, path: str) -> Iterator[str]:
    wanted = schema.scalar
    if wanted == "boolean" and not isinstance(value, bool):
        yield f"{path}: expected boolean, got {_shown(value)}"
    elif wanted == "string" and not isinstance(value, str):
        yield f"{path}: expected string, got {_shown(value)}"
    elif wanted in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
        got = _GO_TYPES.get(type(value)) or ("map[string]interface {}" if isinstance(value, dict) else "[]interface {}")
        yield f"{path}: expected numeric (int or float), got {got}"


def _shown(value: Any) -> str:
    return f"&value.valueUnstructured{{Value:{msgspec.json.encode(value).decode()[:200]}}}"
