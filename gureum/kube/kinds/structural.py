"""Whether the schema of a CustomResourceDefinition is structural: each value has a type, and what is said of it makes sense.

Source: Kubernetes, "CustomResourceDefinitions", specifying a structural schema;
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation and pkg/apiserver/schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.choices import look_at_choices

Object = dict[str, Any]
Fits = Callable[[Any, Object, str], list[Cause]]
"""What is wrong with a value by a schema; the name that its texts call it by."""

TYPES = ("array", "boolean", "integer", "number", "object", "string")
LIMIT_DEPTH, LIMIT_CAUSES = 64, 100


def not_structural(schema: Object, field: str, fits: Fits) -> list[Cause]:
    """What is wrong with it. `field`: "spec.versions[0].schema.openAPIV3Schema"."""
    causes: list[Cause] = []
    kind = schema.get("type")
    if not kind:
        causes.append(required(f"{field}.type", "must not be empty at the root"))
    elif kind != "object":
        causes.append(invalid(f"{field}.type", kind, "must be object at the root"))
    _look(schema, field, fits, causes, 0)
    return causes[:LIMIT_CAUSES]


def _look(node: Object, field: str, fits: Fits, causes: list[Cause], depth: int) -> None:
    if depth > LIMIT_DEPTH or len(causes) > LIMIT_CAUSES:
        return
    kind = node.get("type")
    if kind and kind not in TYPES:
        causes.append(unsupported(f"{field}.type", kind, TYPES))
    if kind == "array" and not isinstance(node.get("items"), dict):
        causes.append(required(f"{field}.items", "must be specified"))
    _look_at_lists(node, field, causes)
    if kind in TYPES and node.get("default") is not None:
        causes += [
            Cause(one.reason, f"{field}.{one.field or 'default'}", one.message)
            for one in fits(node["default"], node, "default")
        ]
    properties, more = node.get("properties") or {}, node.get("additionalProperties")
    if more is False:
        causes.append(forbidden_field(f"{field}.additionalProperties", "additionalProperties cannot be set to false"))
    if properties and more is not None:
        text = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{field}.additionalProperties", text))
    if depth == 0 and more is not None:
        causes.append(forbidden_field(f"{field}.additionalProperties", "must not be used at the root"))
    look_at_choices(node, field, causes)
    children = [(f"{field}.properties[{name}]", child, "specified object fields") for name, child in properties.items()]
    children += [
        (f"{field}.{name}", node[name], text)
        for name, text in (("items", "specified array items"), ("additionalProperties", "specified object fields"))
        if isinstance(node.get(name), dict)
    ]
    for at, child, what in children:
        if not (child.get("type") or child.get("x-kubernetes-int-or-string") or _is_open(child)):
            causes.append(required(f"{at}.type", f"must not be empty for {what}"))
        _look(child, at, fits, causes, depth + 1)


def _look_at_lists(node: Object, field: str, causes: list[Cause]) -> None:
    kind, keys = node.get("x-kubernetes-list-type"), node.get("x-kubernetes-list-map-keys") or ()
    if kind is None:
        return
    if kind not in ("atomic", "map", "set"):
        causes.append(unsupported(f"{field}.x-kubernetes-list-type", kind, ("atomic", "map", "set")))
    if node.get("type") != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        causes.append(invalid(f"{field}.type", node.get("type") or "", text))
    if kind == "map" and not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        causes.append(required(f"{field}.x-kubernetes-list-map-keys", text))
    members = (node.get("items") or {}).get("properties") or {}
    for number, key in enumerate(keys):
        if key not in members:
            text = "entries must all be names of item properties"
            causes.append(invalid(f"{field}.x-kubernetes-list-map-keys[{number}]", key, text))


def _is_open(node: Object) -> bool:
    return bool(node.get("x-kubernetes-preserve-unknown-fields"))
