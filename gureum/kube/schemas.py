"""What a value may hold and how it is merged: one node of a schema, of a built-in kind or of a custom resource.

Built-in kinds have theirs from the package kubernetes-validate (definitions with all `x-kubernetes-*` marks, as OpenAPI v2 has them); only what is
asked for is decoded. Custom resources bring theirs as structural schemas. Nodes are made when they are first walked, since some
schemas hold themselves (JSONSchemaProps).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

VERSION: Final = "1.34"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
# Defaults of keys: without them two items that are one would count as two. Source: `default` in OpenAPI v3 of Kubernetes 1.34.
_KEY_DEFAULTS = {
    "io.k8s.api.core.v1.ContainerPort": {"protocol": "TCP"},
    "io.k8s.api.core.v1.ServicePort": {"protocol": "TCP"},
}
# Types whose JSON is one scalar or a thing of its own, whatever their definition says.
_WHOLE = {
    f"{META}Time", f"{META}MicroTime", f"{META}FieldsV1", "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}  # fmt: skip
Node = dict[str, Any]
Resolve = Callable[[str], tuple[str, Node]]


class Schema:
    """A node. `name`: of the definition it comes from, "" where it has none."""

    def __init__(self, node: Node, resolve: Resolve, name: str = "", marks: Node | None = None) -> None:
        self.node = node
        self.name = name
        # Marks at the place of use count before the definition's own.
        self._marks = marks or {}
        self._resolve = resolve

    def mark(self, name: str) -> Any:
        """An extension, `x-kubernetes-…`, without that prefix."""
        key = f"x-kubernetes-{name}"
        return self._marks.get(key, self.node.get(key))

    @cached_property
    def type(self) -> str:
        """`object` (fields by name), `map` (any name, alike), `array`, `scalar`, or `any`: nothing is known of it."""
        kind = self.node.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), None)
        if self.name in _WHOLE or self.mark("int-or-string"):
            return "scalar"
        if kind == "array":
            return "array"
        if "properties" in self.node or self.embeds:
            return "object"
        if isinstance(self.node.get("additionalProperties"), dict):
            return "map"
        if kind == "object" or kind is None:
            return "any"
        return "scalar"

    @cached_property
    def scalar(self) -> str:
        """`string`, `integer`, `number` or `boolean`; "" for what may be several."""
        kind = self.node.get("type")
        kind = kind if isinstance(kind, str) else next((one for one in kind or () if one != "null"), "")
        return "" if self.name in _WHOLE or self.mark("int-or-string") else str(kind)

    @cached_property
    def plain(self) -> Any:
        """The Python type whose values fit as they are, whatever they are: of texts and truth values. None for others."""
        return {"string": str, "boolean": bool}.get(self.scalar) if self.type == "scalar" else None

    @property
    def embeds(self) -> bool:
        """Whether it is a whole object in another one, with a version, a kind and metadata that nobody writes down."""
        return self.node.get("x-kubernetes-embedded-resource") is True

    @cached_property
    def required(self) -> frozenset[str]:
        """Fields of an object that it always has."""
        return frozenset(self.node.get("required", ()))

    def child(self, name: str) -> Schema | None:
        """The schema of a member: a field of an object, any name of a map; None where it has none."""
        return self.members.get(name, self.others)

    @cached_property
    def members(self) -> dict[str, Schema]:
        """The fields of an object by their names."""
        fields: dict[str, Node | None] = self.node.get("properties", {})
        if self.embeds:
            fields = _with_head(fields)
        return {name: self._made(node) for name, node in fields.items() if node is not None}

    @cached_property
    def others(self) -> Schema | None:
        """Of members that are not named, the keys of a map."""
        node = self.node.get("additionalProperties")
        return self._made(node) if isinstance(node, dict) else None

    def is_field(self, name: str) -> bool:
        """Whether a member is a named field, and not a key of a map."""
        return name in self.members

    @cached_property
    def items(self) -> Schema | None:
        """Of a list's items."""
        node = self.node.get("items")
        return self._made(node) if isinstance(node, dict) else None

    @cached_property
    def list_type(self) -> str:
        """`map` (items have keys), `set` or `atomic`."""
        return str(self.mark("list-type") or "atomic")

    @cached_property
    def list_keys(self) -> tuple[str, ...]:
        return tuple(self.mark("list-map-keys") or ())

    @cached_property
    def key_defaults(self) -> dict[str, Any]:
        """What an item's key is when it is not written."""
        found = dict(_KEY_DEFAULTS.get(self.name, {}))
        for name, node in self.node.get("properties", {}).items():
            if isinstance(node, dict) and "default" in node:
                found.setdefault(name, node["default"])
        return found

    @cached_property
    def atomic(self) -> bool:
        """Whether the whole is one value to server-side apply."""
        if self.type == "array":
            return self.list_type == "atomic"
        return self.type == "scalar" or self.mark("map-type") == "atomic"

    @property
    def merge_key(self) -> str:
        """Of a strategic merge of this list."""
        return str(self.mark("patch-merge-key") or "")

    @cached_property
    def patch_strategies(self) -> frozenset[str]:
        """`merge`, `replace`, `retainKeys`."""
        return frozenset(str(self.mark("patch-strategy") or "").split(",")) - {""}

    def _made(self, node: Node) -> Schema:
        reference = node.get("$ref")
        if reference is None and isinstance(node.get("allOf"), list) and len(node["allOf"]) == 1:
            reference = node["allOf"][0].get("$ref")
        if reference is None:
            return Schema(node, self._resolve)
        name, target = self._resolve(reference)
        return Schema(target, self._resolve, name, node)


def definition(name: str) -> Schema | None:
    """The schema of a built-in type by the name of its definition: `io.k8s.api.core.v1.Pod`."""
    return _definition(name) if name in _definitions() else None


@cache
def _definition(name: str) -> Schema:
    return Schema(node_of(name), _built_in, name)


def of_kind(group: str, version: str, kind: str) -> Schema | None:
    """The schema of a built-in kind: group `` is the core one."""
    name = definition_name(group, version, kind)
    return _definition(name) if name else None


def definition_name(group: str, version: str, kind: str) -> str | None:
    """The name of a built-in kind's definition: `io.k8s.api.core.v1.Pod`."""
    return _names_of_kinds().get((group, version, kind))


def structural(node: Node) -> Schema:
    """The schema of a custom resource, as its definition (CRD) gives it; metadata is that of all objects."""
    return Schema({**node, "type": "object", "properties": _with_head(node.get("properties", {}))}, _built_in)


def _with_head(fields: Node) -> Node:
    head = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    return {**head, **fields, "metadata": {"$ref": f"#/$defs/{META}ObjectMeta"}}


def definition_names() -> tuple[str, ...]:
    return tuple(_definitions())


@cache
def node_of(name: str) -> Node:
    """A definition as the package has it. KeyError."""
    node: Node = msgspec.json.decode(_definitions()[name])
    return node


def _built_in(reference: str) -> tuple[str, Node]:
    name = reference.rpartition("/")[2]
    return name, node_of(name)


@cache
def _definitions() -> dict[str, msgspec.Raw]:
    # Found, not imported: the package's own code would load a validator that is not wanted.
    spec = find_spec("kubernetes_validate")
    assert spec, "kubernetes-validate is installed with gureum"
    assert spec.origin
    path = Path(spec.origin).parent / "kubernetes-json-schema" / f"v{VERSION}.0-local" / "_definitions.json"
    return msgspec.json.decode(path.read_bytes(), type=_Document).definitions


class _Document(msgspec.Struct):
    definitions: dict[str, msgspec.Raw] = msgspec.field(name="$defs")


class _Kinds(msgspec.Struct):
    kinds: list[dict[str, str]] = msgspec.field(name="x-kubernetes-group-version-kind", default=[])


@cache
def _names_of_kinds() -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for name, raw in _definitions().items():
        if b"x-kubernetes-group-version-kind" not in bytes(raw):
            continue  # most are parts of kinds
        for one in msgspec.json.decode(raw, type=_Kinds).kinds:
            found.setdefault((one["group"], one["version"], one["kind"]), name)
    return found
