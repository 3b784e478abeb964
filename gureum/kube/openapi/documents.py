"""OpenAPI documents: version 3 for one group and version, version 2 for all. Pure: kinds in, documents out.

kubectl reads in them what explain shows, how lists merge (apply, diff, edit), and from the parameters of PATCH whether the server checks
fields itself.
Source: Kubernetes API concepts; the `paths` of kube-apiserver 1.34's own documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.kube.openapi.definitions import Node, Version, definition, reached, references, schema
from gureum.kube.schemas import META, definition_name

SUBRESOURCES_OF_OTHER_KINDS = {
    "scale": ("autoscaling", "v1", "Scale", "io.k8s.api.autoscaling.v1.Scale"),
    "eviction": ("policy", "v1", "Eviction", "io.k8s.api.policy.v1.Eviction"),
    "binding": ("", "v1", "Binding", "io.k8s.api.core.v1.Binding"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", "io.k8s.api.authentication.v1.TokenRequest"),
}
PATCH_TYPES = {
    "application/json-patch+json": True,
    "application/merge-patch+json": True,
    "application/apply-patch+yaml": True,
    "application/strategic-merge-patch+json": False,  # not of custom resources
}


class Described(msgspec.Struct, frozen=True):
    """What a document says of a kind. `own_schema`: a custom resource's structural schema; built-in kinds have theirs by their name."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: tuple[str, ...]
    subresources: tuple[str, ...] = ()
    own_schema: Node | None = None

    @property
    def definition(self) -> str:
        """The name of its schema: `io.k8s.api.apps.v1.Deployment`, `com.example.v1.Thing`."""
        if self.own_schema is None:
            return definition_name(self.group, self.version, self.kind) or ""
        return ".".join([*reversed(self.group.split(".")), self.version, self.kind])


def root_of(group: str, version: str) -> str:
    """`/api/v1` or `/apis/apps/v1`."""
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def version3(kinds: Iterable[Described], server_version: str) -> Node:
    """The document of the kinds of one group and version."""
    listed = list(kinds)
    paths: Node = {}
    for one in listed:
        paths |= _paths(one, 3)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {"schemas": _schemas(listed, 3)},
    }


def version2(kinds: Iterable[Described], server_version: str) -> Node:
    """The document of all kinds."""
    listed = list(kinds)
    paths: Node = {}
    for one in listed:
        paths |= _paths(one, 2)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "definitions": _schemas(listed, 2),
    }


def _schemas(kinds: list[Described], version: Version) -> Node:
    names = [one.definition for one in kinds if one.own_schema is None]
    names += [
        SUBRESOURCES_OF_OTHER_KINDS[sub][3]
        for one in kinds
        for sub in one.subresources
        if sub in SUBRESOURCES_OF_OTHER_KINDS
    ]
    names += [f"{META}{name}" for name in ("ObjectMeta", "ListMeta", "DeleteOptions", "Status", "Patch")]
    own = {one.definition: schema(_named(one), version) for one in kinds if one.own_schema is not None}
    for node in own.values():
        names += [name for name in references(node) if name not in own]
    names += [f"{name}List" for name in names if _has_list(name)]
    found = {name: definition(name, version) for name in reached(list(dict.fromkeys(names)))}
    return found | own


def _has_list(name: str) -> bool:
    try:
        definition(f"{name}List", 2)
    except KeyError:
        return False
    return True


def _named(kind: Described) -> Node:
    node = dict(kind.own_schema or {})
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **node.get("properties", {})}
    properties["metadata"] = {"$ref": f"#/$defs/{META}ObjectMeta"}
    return {
        **node,
        "type": "object",
        "properties": properties,
        "x-kubernetes-group-version-kind": [{"group": kind.group, "kind": kind.kind, "version": kind.version}],
    }


def _paths(kind: Described, version: Version) -> Node:
    root = root_of(kind.group, kind.version)
    where = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    found: Node = {}
    collection = {
        "get": ("list", "list"),
        "post": ("create", "post"),
        "delete": ("deletecollection", "deletecollection"),
    }
    item = {
        "get": ("get", "get"),
        "put": ("update", "put"),
        "patch": ("patch", "patch"),
        "delete": ("delete", "delete"),
    }
    for path, methods in ((where, collection), (f"{where}/{{name}}", item)):
        node = {
            method: _operation(kind, action, version)
            for method, (verb, action) in methods.items()
            if verb in kind.verbs
        }
        if node:
            found[path] = {**node, "parameters": _path_parameters(path, version)}
    if kind.namespaced and "list" in kind.verbs:
        path = f"{root}/{kind.plural}"
        found[path] = {"get": _operation(kind, "list", version), "parameters": []}
    for sub in kind.subresources:
        path = f"{where}/{{name}}/{sub}"
        methods_of_sub = ("post",) if sub in ("eviction", "binding", "token") else ("get", "put", "patch")
        if sub in ("status", *SUBRESOURCES_OF_OTHER_KINDS):
            node = {method: _operation(kind, method, version, sub) for method in methods_of_sub}
            found[path] = {**node, "parameters": _path_parameters(path, version)}
    return found


def _operation(kind: Described, action: str, version: Version, sub: str = "") -> Node:
    group, of_version, name, target = SUBRESOURCES_OF_OTHER_KINDS.get(
        sub, (kind.group, kind.version, kind.kind, kind.definition)
    )
    answers = f"{target}List" if action == "list" and kind.own_schema is None and _has_list(target) else target
    found: Node = {
        "description": f"{action} {kind.kind}{'/' + sub if sub else ''}",
        "operationId": _operation_id(kind, action, sub),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": name, "version": of_version},
        "parameters": _query_parameters(action, version),
        "responses": _responses(answers, version),
    }
    if action in ("post", "put", "patch", "delete", "deletecollection"):
        body = (
            f"{META}Patch" if action == "patch" else f"{META}DeleteOptions" if action.startswith("delete") else target
        )
        _put_body(found, body, action, version, custom=kind.own_schema is not None)
    return found


def _put_body(found: Node, target: str, action: str, version: Version, *, custom: bool) -> None:
    if version == 2:
        found["parameters"].append(
            {"name": "body", "in": "body", "required": True, "schema": {"$ref": f"#/definitions/{target}"}}
        )
        return
    reference = {"schema": {"$ref": f"#/components/schemas/{target}"}}
    types: tuple[str, ...] = ("*/*",)
    if action == "patch":
        types = tuple(one for one, of_custom in PATCH_TYPES.items() if of_custom or not custom)
    found["requestBody"] = {"content": dict.fromkeys(types, reference), "required": True}


def _responses(target: str, version: Version) -> Node:
    if version == 2:
        return {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{target}"}}}
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{target}"}}}
    return {"200": {"description": "OK", "content": content}}


def _query_parameters(action: str, version: Version) -> list[Node]:
    names: dict[str, str] = {"pretty": "string"}
    if action in ("post", "put", "patch"):
        names |= {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string"}
    if action == "patch":
        names["force"] = "boolean"
    if action in ("list", "deletecollection"):
        names |= {
            "allowWatchBookmarks": "boolean", "continue": "string", "fieldSelector": "string", "labelSelector": "string",
            "limit": "integer", "resourceVersion": "string", "resourceVersionMatch": "string", "sendInitialEvents": "boolean",
            "timeoutSeconds": "integer", "watch": "boolean",
        }  # fmt: skip
    if action.startswith("delete"):
        names |= {"dryRun": "string", "gracePeriodSeconds": "integer", "orphanDependents": "boolean"}
        names["propagationPolicy"] = "string"
    return [_parameter(name, "query", type_, version) for name, type_ in names.items()]


def _path_parameters(path: str, version: Version) -> list[Node]:
    names = [name for name in ("name", "namespace") if f"{{{name}}}" in path]
    return [{**_parameter(name, "path", "string", version), "required": True} for name in names]


def _parameter(name: str, where: str, type_: str, version: Version) -> Node:
    found: Node = {"name": name, "in": where}
    if version == 2:
        return {**found, "type": type_, "uniqueItems": True}
    return {**found, "schema": {"type": type_, "uniqueItems": True}}


def _operation_id(kind: Described, action: str, sub: str) -> str:
    verbs = {"get": "read", "put": "replace", "post": "create", "deletecollection": "deleteCollection"}
    group = "".join(part.capitalize() for part in (kind.group.partition(".")[0] or "core").split("-"))
    scope = "Namespaced" if kind.namespaced else ""
    return f"{verbs.get(action, action)}{group}{kind.version.capitalize()}{scope}{kind.kind}{sub.capitalize()}"


def index3(roots: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The index of version 3: by path (`apis/apps/v1`) and hash of the document."""
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={hash_}"} for path, hash_ in roots}}
