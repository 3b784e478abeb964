"""Custom kinds: what a CustomResourceDefinition makes, its defaults, and what its schema refuses.

Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions"; the texts are those of its OpenAPI validation.
CEL rules (x-kubernetes-validations) are kept and not evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.kube import schemas
from gureum.kube.errors import Cause, invalid, required, shown, unsupported
from gureum.kube.kinds.builtin import subresource
from gureum.kube.kinds.custom.definition_parts import wrong_conversion, wrong_names, wrong_parts
from gureum.kube.kinds.custom.formats import fits_format
from gureum.kube.kinds.custom.patterns import found
from gureum.kube.kinds.custom.structural import not_structural
from gureum.kube.kinds.kind import Kind, Subresource
from gureum.kube.kinds.metadata import DNS_LABEL, SUBDOMAIN
from gureum.kube.kinds.rules import Rules
from gureum.kube.schemas import Schema

Object = dict[str, Any]
LIMIT_CAUSES = 100
LIMIT_DEPTH = 64
HEAD = ("apiVersion", "kind", "metadata")
NOTHING: Any = object()
"""In place of what a value was before, where it was not there."""
APPROVED = "api-approved.kubernetes.io"
_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class Custom(msgspec.Struct, frozen=True, eq=False):
    """One version of a definition. `columns`: additionalPrinterColumns; `selectable`: fields that can be selected by;
    `deprecated`: what whoever uses it is told, "" for nothing."""

    open_schema: Object
    schema: Schema
    columns: list[Object]
    selectable: tuple[str, ...]
    deprecated: str
    scale_paths: dict[str, str]
    served: bool

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """What is wrong with it; parts that are as they were are not looked at again (CRDValidationRatcheting)."""
        causes: list[Cause] = []
        schema = {**self.open_schema, "properties": _without_head(self.open_schema)}
        _check(_body_of(obj), schema, "", causes, 0, NOTHING if old is None else _body_of(old))
        return causes[:LIMIT_CAUSES]

    def default(self, obj: Object) -> None:
        for name, node in _without_head(self.open_schema).items():
            _fill(obj, name, node, 0)


def _body_of(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in HEAD}


def _without_head(schema: Object) -> Object:
    properties: Object = schema.get("properties") or {}
    return {name: node for name, node in properties.items() if name not in HEAD}


def kinds_of(definition: Object) -> list[Kind]:
    """A kind for each version of a definition, the stored one first; those that are not served are only known to the server itself."""
    spec = definition["spec"]
    names = spec["names"]
    kinds = []
    for version in sorted(spec["versions"], key=lambda one: not one.get("storage")):
        open_schema = (version.get("schema") or {}).get("openAPIV3Schema") or _OPEN
        parts = version.get("subresources") or {}
        scale = parts.get("scale") or {}
        custom = Custom(
            open_schema,
            schemas.structural(open_schema),
            version.get("additionalPrinterColumns") or [],
            tuple(str(one.get("jsonPath", "")).lstrip(".") for one in version.get("selectableFields") or ()),
            _deprecation(version, spec["group"], names["kind"]),
            {
                "spec": scale.get("specReplicasPath", ""),
                "status": scale.get("statusReplicasPath", ""),
                "selector": scale.get("labelSelectorPath", ""),
            },
            bool(version.get("served")),
        )
        subresources: list[Subresource] = []
        if "status" in parts:
            subresources.append(subresource("status", names["kind"]))
        if "scale" in parts:
            subresources.append(subresource("scale", names["kind"]))
        kinds.append(
            Kind(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                singular=names.get("singular") or names["kind"].lower(),
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=tuple(subresources),
                storage=f"{spec['group']}/{names['plural']}",
                custom=custom,
            )
        )
    return kinds


def _deprecation(version: Object, group: str, kind: str) -> str:
    if not version.get("deprecated"):
        return ""
    return str(version.get("deprecationWarning") or f"{group}/{version['name']} {kind} is deprecated")


# Defaults


def _fill(holder: Object, name: str, node: Object, depth: int) -> None:
    if depth > LIMIT_DEPTH:
        return
    if name not in holder and "default" in node:
        holder[name] = msgspec.json.decode(msgspec.json.encode(node["default"]))
    value = holder.get(name)
    if isinstance(value, dict):
        for inner, child in (node.get("properties") or {}).items():
            _fill(value, inner, child, depth + 1)
        more = node.get("additionalProperties")
        if isinstance(more, dict):
            for inner in list(value):
                _fill(value, inner, more, depth + 1)
    elif isinstance(value, list) and isinstance(node.get("items"), dict):
        for item in value:
            if isinstance(item, dict):
                for inner, child in (node["items"].get("properties") or {}).items():
                    _fill(item, inner, child, depth + 1)


# Checks

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": int | float,
}


def _check(value: Any, node: Object, path: str, causes: list[Cause], depth: int, old: Any = NOTHING) -> None:
    """`old`: what the value was before; while it is the same, it may stay wrong."""
    if depth > LIMIT_DEPTH or len(causes) > LIMIT_CAUSES or _is_as_before(value, old):
        return
    if value is None and node.get("nullable"):
        return
    if node.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            causes.append(_misfit(path, value, "integer,string"))
        return
    wanted = node.get("type")
    if wanted and not _is_of(value, wanted):
        causes.append(_misfit(path, value, wanted))
        return
    if "enum" in node and value not in node["enum"]:
        choices = [one if isinstance(one, str) else shown(one) for one in node["enum"]]
        causes.append(unsupported(path, value, choices))
    if isinstance(value, dict):
        _check_object(value, node, path, causes, depth, old)
    elif isinstance(value, list):
        _check_list(value, node, path, causes, depth, old)
    elif isinstance(value, str):
        _check_text(value, node, path, causes)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value, node, path, causes)
    _check_choices(value, node, path, causes, depth)


def _is_as_before(value: Any, old: Any) -> bool:
    """Python takes 1 for True, and JSON does not."""
    return old is not NOTHING and old == value and msgspec.json.encode(old) == msgspec.json.encode(value)


def _check_object(value: Object, node: Object, path: str, causes: list[Cause], depth: int, old: Any) -> None:
    causes += [required(_join(path, name)) for name in node.get("required") or () if name not in value]
    properties = node.get("properties") or {}
    if node.get("x-kubernetes-embedded-resource"):
        wanted = (_join(path, name) for name in ("apiVersion", "kind") if not value.get(name))
        causes += [required(field, "must not be empty") for field in wanted]
    more = node.get("additionalProperties")
    before = old if isinstance(old, dict) else {}
    for name, item in value.items():
        child = properties.get(name, more if isinstance(more, dict) else None)
        if child is not None:
            _check(item, child, _join(path, name), causes, depth + 1, before.get(name, NOTHING))
    _check_count(len(value), node, path, causes, "Properties", "properties")


def _check_list(value: list[Any], node: Object, path: str, causes: list[Cause], depth: int, old: Any) -> None:
    _check_count(len(value), node, path, causes, "Items", "items")
    items = node.get("items")
    keys = (node.get("x-kubernetes-list-map-keys") or ()) if node.get("x-kubernetes-list-type") == "map" else ()
    if isinstance(items, dict):
        before = {_mark(one, keys): one for one in old} if keys and isinstance(old, list) else {}
        for at, item in enumerate(value):
            _check(item, items, f"{path}[{at}]", causes, depth + 1, before.get(_mark(item, keys), NOTHING))
    if node.get("x-kubernetes-list-type") in ("set", "map") or node.get("uniqueItems"):
        seen: set[bytes] = set()
        for at, item in enumerate(value):
            text = _mark(item, keys)
            if text in seen:
                causes.append(Cause("FieldValueDuplicate", f"{path}[{at}]", f"Duplicate value: {text.decode()}"))
            seen.add(text)


def _mark(item: Any, keys: Sequence[str]) -> bytes:
    """What an item of a list is told from others by."""
    own = {name: item.get(name) for name in keys} if keys and isinstance(item, dict) else item
    return msgspec.json.encode(own, order="sorted")


def _check_count(size: int, node: Object, path: str, causes: list[Cause], name: str, word: str) -> None:
    most, least = node.get(f"max{name}"), node.get(f"min{name}")
    if most is not None and size > most:
        causes.append(Cause("FieldValueTooMany", path, f"Too many: {size}: must have at most {most} {word}"))
    if least is not None and size < least:
        causes.append(invalid(path, size, f"{path} in body should have at least {least} {word}"))


def _check_text(value: str, node: Object, path: str, causes: list[Cause]) -> None:
    most, least, pattern = node.get("maxLength"), node.get("minLength"), node.get("pattern")
    if most is not None and len(value) > most:
        causes.append(Cause("FieldValueTooLong", path, f"Too long: may not be more than {most} bytes"))
    if least is not None and len(value) < least:
        causes.append(invalid(path, value, f"{path} in body should be at least {least} chars long"))
    if pattern and not found(pattern, value):
        causes.append(invalid(path, value, f"{path} in body should match '{pattern}'"))
    form = str(node.get("format") or "")
    if not fits_format(value, form):
        causes.append(invalid(path, value, f"{path} in body must be of type {form}: {shown(value)}"))


def _check_number(value: float, node: Object, path: str, causes: list[Cause]) -> None:
    least, most, step = node.get("minimum"), node.get("maximum"), node.get("multipleOf")
    if least is not None and (value < least or (node.get("exclusiveMinimum") and value == least)):
        word = "greater than" if node.get("exclusiveMinimum") else "greater than or equal to"
        causes.append(invalid(path, value, f"{path} in body should be {word} {least}"))
    if most is not None and (value > most or (node.get("exclusiveMaximum") and value == most)):
        word = "less than" if node.get("exclusiveMaximum") else "less than or equal to"
        causes.append(invalid(path, value, f"{path} in body should be {word} {most}"))
    bits = {"int32": 31, "int64": 63}.get(str(node.get("format") or ""))
    if bits and isinstance(value, int) and not -(2**bits) <= value < 2**bits:
        causes.append(
            invalid(path, value, f"Checked value must be of type integer with format {node['format']} in {path}")
        )
    if step and value % step:
        causes.append(invalid(path, value, f"{path} in body should be a multiple of {step}"))


def _check_choices(value: Any, node: Object, path: str, causes: list[Cause], depth: int) -> None:
    def fits(one: Object) -> bool:
        found: list[Cause] = []
        _check(value, one, path, found, depth + 1)
        return not found

    for one in node.get("allOf") or ():
        _check(value, one, path, causes, depth + 1)
    if node.get("anyOf") and not any(fits(one) for one in node["anyOf"]):
        causes.append(invalid(path, value, f"{path} in body must validate at least one schema (anyOf)"))
    if node.get("oneOf") and sum(fits(one) for one in node["oneOf"]) != 1:
        causes.append(invalid(path, value, f"{path} in body must validate one and only one schema (oneOf)"))
    if node.get("not") and fits(node["not"]):
        causes.append(invalid(path, value, f"{path} in body must not validate the schema (not)"))


def _is_of(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return value.is_integer()
    expected = _TYPES.get(wanted)
    return expected is None or isinstance(value, expected)


def _misfit(path: str, value: Any, wanted: str) -> Cause:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    name = names.get(type(value), "null")
    return Cause(
        "FieldValueTypeInvalid", path, f'Invalid value: "{name}": {path} in body must be of type {wanted}: "{name}"'
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# Definitions themselves


def default_definition(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("listKind", f"{names['kind']}List")
        names.setdefault("singular", names["kind"].lower())
    spec.setdefault("conversion", {"strategy": "None"})


def new_definition(obj: Object) -> None:
    """Before its names are looked at, its status says which version is stored, and that no name is accepted yet."""
    stored = [one.get("name", "") for one in (obj.get("spec") or {}).get("versions") or () if one.get("storage")]
    obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def validate_definition(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    group, plural = spec.get("group") or "", names.get("plural") or ""
    causes = []
    if not group:
        causes.append(required("spec.group"))
    elif not SUBDOMAIN.match(group) or "." not in group:
        causes.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    if not plural:
        causes.append(required("spec.names.plural"))
    elif not DNS_LABEL.match(plural):
        causes.append(invalid("spec.names.plural", plural, "must be a DNS label"))
    if obj["metadata"].get("name") != f"{plural}.{group}":
        causes.append(invalid("metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group'))
    if not names.get("kind"):
        causes.append(required("spec.names.kind"))
    causes += wrong_names(names)
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        causes.append(unsupported("spec.scope", spec.get("scope", ""), ("Cluster", "Namespaced")))
    former = ((old or {}).get("spec") or {}).get("versions") or ()
    known = [(one.get("schema") or {}).get("openAPIV3Schema") for one in former]
    causes += _validate_versions(spec.get("versions") or [], known)
    causes += wrong_conversion(spec.get("conversion") or {})
    causes += _without_stored(spec.get("versions") or [], (obj.get("status") or {}).get("storedVersions") or ())
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(invalid("spec.preserveUnknownFields", True, text))
    if is_protected(group) and old is None and not (obj["metadata"].get("annotations") or {}).get(APPROVED):
        text = f'protected groups must have approval annotation "{APPROVED}", see https://github.com/kubernetes/enhancements/pull/1111'
        causes.append(required(f"metadata.annotations[{APPROVED}]", text))
    if old is not None:
        before = old.get("spec") or {}
        causes += [
            invalid(f"spec.{name}", spec.get(name), "field is immutable")
            for name in ("group", "scope")
            if spec.get(name) != before.get(name)
        ]
    return causes


def _without_stored(versions: list[Object], stored: Sequence[str]) -> list[Cause]:
    """A version in which objects may still lie stays."""
    names = {one.get("name") for one in versions}
    text = (
        "missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a storage migration "
        "ensures no data remains persisted in {0} and removes {0} from status.storedVersions"
    )
    return [
        invalid(f"status.storedVersions[{at}]", name, text.format(name))
        for at, name in enumerate(stored)
        if name not in names
    ]


def is_protected(group: str) -> bool:
    """Whether it is a group of the Kubernetes community."""
    return any(group == one or group.endswith(f".{one}") for one in ("k8s.io", "kubernetes.io"))


def violations(versions: list[Object]) -> list[Cause]:
    """What is not structural in the schemas of all versions."""
    found: list[Cause] = []
    for at, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema:
            found += not_structural(schema, f"spec.versions[{at}].schema.openAPIV3Schema", _misfits)
    return found


def _misfits(value: Any, node: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    _check(value, node, path, causes, 0)
    return causes


def _validate_versions(versions: list[Object], known: list[Object | None]) -> list[Cause]:
    """`known`: schemas that were there before, which are not looked at again."""
    causes = []
    names = [one.get("name") for one in versions]
    if len(set(names)) != len(names):
        causes.append(invalid("spec.versions", names, "must contain unique version names"))
    if sum(bool(one.get("storage")) for one in versions) != 1:
        causes.append(invalid("spec.versions", names, "must have exactly one version marked as storage version"))
    for at, version in enumerate(versions):
        if not DNS_LABEL.match(str(version.get("name") or "")):
            causes.append(invalid(f"spec.versions[{at}].name", version.get("name", ""), "must be a DNS label"))
        field, schema = (
            f"spec.versions[{at}].schema.openAPIV3Schema",
            (version.get("schema") or {}).get("openAPIV3Schema"),
        )
        if not schema:
            causes.append(required(field, "schemas are required"))
        elif schema not in known:
            causes += not_structural(schema, field, _misfits)
        causes += wrong_parts(version, f"spec.versions[{at}]")
    return causes


DEFINITION = Rules(default=default_definition, create=new_definition, validate=validate_definition)
