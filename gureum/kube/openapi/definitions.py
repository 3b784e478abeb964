"""The schemas of built-in types as OpenAPI has them, made back from the ones of the package kubernetes-validate.

That package writes them for a JSON Schema validator: `null` is allowed everywhere, kinds are enumerated, two types are loosened. Each of
these is undone.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from gureum.kube.schemas import node_of

Node = dict[str, Any]
Version = Literal[2, 3]
_PLACES = {2: "#/definitions/", 3: "#/components/schemas/"}
_WHOLE: dict[str, tuple[Node, Node]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": (
        {"type": "string", "format": "int-or-string"},
        {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    ),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": (
        {"type": "string"},
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
}


@cache
def definition(name: str, version: Version) -> Node:
    """A built-in type in OpenAPI `version`. KeyError."""
    if name in _WHOLE:
        return dict(_WHOLE[name][version - 2])
    return schema(node_of(name), version)


def schema(node: Node, version: Version) -> Node:
    """A schema, with all within, as OpenAPI has it; also one of a custom resource."""
    found: Node = {}
    for key, value in node.items():
        if key == "$ref":
            found[key] = _PLACES[version] + value.rpartition("/")[2]
        elif key == "type" and isinstance(value, list):
            found[key] = next(one for one in value if one != "null")
        elif key == "properties":
            found[key] = {name: _property(name, one, version) for name, one in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            found[key] = schema(value, version)
        elif key in ("allOf", "anyOf", "oneOf"):
            found[key] = [schema(one, version) for one in value]
        else:
            found[key] = value
    # Version 3 allows nothing beside a reference.
    if version == 3 and "$ref" in found and len(found) > 1:
        found["allOf"] = [{"$ref": found.pop("$ref")}]
    return found


def reached(names: list[str]) -> list[str]:
    """Those definitions and all that they lead to, sorted."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += references(node_of(name))
    return sorted(found)


def references(node: Any) -> list[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(node, list):
        return [name for one in node for name in references(one)]
    if not isinstance(node, dict):
        return []
    found = [name for key, one in node.items() if key != "$ref" for name in references(one)]
    if isinstance(node.get("$ref"), str):
        found.append(node["$ref"].rpartition("/")[2])
    return found


def _property(name: str, node: Node, version: Version) -> Node:
    found = schema(node, version)
    # What the validator's edition says of them is that they are the ones of this kind.
    if name in ("apiVersion", "kind") and "enum" in found and "description" in found:
        del found["enum"]
    return found
