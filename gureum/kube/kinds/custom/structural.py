"""Whether the schema of a CustomResourceDefinition is structural: each value has a type, and what is said of it makes sense.

Source: Kubernetes, "CustomResourceDefinitions", specifying a structural schema;
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation and pkg/apiserver/schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.custom.choices import look_at_choices

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
    if schema.get("nullable"):
        causes.append(forbidden_field(f"{field}.nullable", "nullable cannot be true at the root"))
    for name in ("apiVersion", "kind", "metadata"):
        child = (schema.get("properties") or {}).get(name)
        if isinstance(child, dict) and child.get("default") is not None:
            text = f"must not be set in top-level {name}"
            causes.append(forbidden_field(f"{field}.properties[{name}].default", text))
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
    _look_at_marks(node, field, causes, at_root=depth == 0)
    if kind in TYPES and node.get("default") is not None:
        causes += [
            Cause(one.reason, f"{field}.{one.field or 'default'}", one.message)
            for one in fits(node["default"], node, "default")
        ]
        whole = depth == 0 or bool(node.get("x-kubernetes-embedded-resource"))
        causes += _look_at_default(node["default"], node, f"{field}.default", whole=whole)
    properties, more = node.get("properties") or {}, node.get("additionalProperties")
    if more is False:
        causes.append(forbidden_field(f"{field}.additionalProperties", "additionalProperties cannot be set to false"))
    if properties and more is not None:
        text = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{field}.additionalProperties", text))
    if depth == 0 and more is not None:
        causes.append(forbidden_field(f"{field}.additionalProperties", "must not be used at the root"))
    look_at_choices(node, field, causes)
    _look_at_rules(node, f"{field}.x-kubernetes-validations", causes)
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


def _look_at_default(value: Any, node: Object, field: str, *, whole: bool) -> list[Cause]:
    """`whole`: it stands for a resource, and says its version and kind."""
    if not whole:
        unknown = _has_unknown(value, node, 0)
        return [invalid(field, value, "must not have unknown fields")] if unknown else []
    if not isinstance(value, dict):
        return []
    below = {**node, "x-kubernetes-embedded-resource": False}
    own = {name: item for name, item in value.items() if name not in ("apiVersion", "kind", "metadata")}
    causes = [invalid(field, value, "must not have unknown fields")] if _has_unknown(own, below, 0) else []
    return causes + [
        required(f"{field}.{name}", "must not be empty") for name in ("apiVersion", "kind") if name not in value
    ]


def _look_at_rules(node: Object, field: str, causes: list[Cause]) -> None:
    """Rules in CEL are not read; what can be seen without is."""
    for number, one in enumerate(node.get("x-kubernetes-validations") or ()):
        rule, message = str(one.get("rule") or "").strip(), str(one.get("message") or "")
        if not rule:
            causes.append(required(f"{field}[{number}].rule", "rule is not specified"))
        if "\n" in message:
            causes.append(invalid(f"{field}[{number}].message", message, "message must not contain line breaks"))
        elif "\n" in rule and not message:
            text = "message must be specified if rule contains line breaks"
            causes.append(required(f"{field}[{number}].message", text))


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
    items: Object = node["items"] if isinstance(node.get("items"), dict) else {}
    members = items.get("properties") or {}
    if kind == "set" and items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        causes.append(invalid(f"{field}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), text))
    for key in keys if kind == "map" else ():
        member = members.get(key)
        if not isinstance(member, dict):
            continue
        at, start = f"{field}.items.properties[{key}]", "this property is in x-kubernetes-list-map-keys, so it"
        if key not in (items.get("required") or ()) and member.get("default") is None:
            causes.append(required(f"{at}.default", f"{start} must have a default or be a required property"))
        if member.get("nullable"):
            causes.append(forbidden_field(f"{at}.nullable", f"{start} cannot be nullable"))
    for number, key in enumerate(keys):
        if key not in members:
            text = "entries must all be names of item properties"
            causes.append(invalid(f"{field}.x-kubernetes-list-map-keys[{number}]", key, text))


_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")


def _look_at_marks(node: Object, field: str, causes: list[Cause], *, at_root: bool) -> None:
    """What no schema of a custom resource may say, and what the extensions ask for."""
    causes += [
        forbidden_field(f"{field}.{name}", f"{name} is not supported")
        for name in _UNSUPPORTED
        if node.get(name) not in (None, "", {})
    ]
    if node.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(forbidden_field(f"{field}.uniqueItems", text))
    if node.get("x-kubernetes-preserve-unknown-fields") is False:
        causes.append(invalid(f"{field}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"))
    if node.get("x-kubernetes-int-or-string") and node.get("type"):
        text = "must be empty if x-kubernetes-int-or-string is true"
        causes.append(invalid(f"{field}.type", node["type"], text))
    properties = node.get("properties") or {}
    embedded = node.get("x-kubernetes-embedded-resource")
    if embedded and node.get("type") != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        causes.append(invalid(f"{field}.type", node.get("type") or "", text))
    if embedded and not properties and not _is_open(node):
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        causes.append(required(f"{field}.properties", text))
    metadata = properties.get("metadata")
    inner = (metadata.get("properties") or {}) if isinstance(metadata, dict) else {}
    if (at_root or embedded) and not set(inner) <= {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(forbidden_field(f"{field}.properties[metadata]", text))


def _has_unknown(value: Any, node: Any, depth: int) -> bool:
    """Whether a part of a default would be pruned."""
    if not isinstance(node, dict) or depth > LIMIT_DEPTH or node.get("x-kubernetes-embedded-resource"):
        return False
    if isinstance(value, list):
        return any(_has_unknown(item, node.get("items"), depth + 1) for item in value)
    if not isinstance(value, dict):
        return False
    known, others = node.get("properties") or {}, node.get("additionalProperties")
    if others is None and not _is_open(node) and not value.keys() <= known.keys():
        return True
    return any(_has_unknown(item, known.get(name, others), depth + 1) for name, item in value.items())


def _is_open(node: Object) -> bool:
    return bool(node.get("x-kubernetes-preserve-unknown-fields"))
