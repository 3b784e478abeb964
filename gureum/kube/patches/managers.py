"""Who manages which fields of an object: `metadata.managedFields` read, changed and written.

Source: Kubernetes, "Server-Side Apply"; k8s.io/apimachinery/pkg/util/managedfields.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from gureum.kube.patches.field_sets import FieldSet, compare, difference, fields_of, intersection, union
from gureum.kube.schemas import Schema

LIMIT_UPDATERS = 10  # k8s.io/apimachinery: defaultMaxUpdateManagers
LIMIT_KEPT_BYTES = 16 * 1024
ANCIENT = "ancient-changes"
BEFORE_FIRST = "before-first-apply"
# Fields that nobody manages: what an object is, and what the server writes.
_NOBODYS: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        **{
            f"f:{name}": {}
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
                "resourceVersion",
            )
        },
    },
}  # fmt: skip


class Manager(msgspec.Struct, frozen=True):
    """Who, and how: entries with the same words are one."""

    name: str
    operation: Literal["Apply", "Update"]
    api_version: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        text = msgspec.json.encode(self.name).decode()
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class Managed(msgspec.Struct, frozen=True):
    """What a manager manages, and since when."""

    fields: FieldSet
    api_version: str
    time: str


Managers = dict[Manager, Managed]


def managers_of(meta: dict[str, Any]) -> Managers:
    """Of an object's metadata. Entries that are none are left out."""
    found: Managers = {}
    for entry in meta.get("managedFields") or ():
        fields = entry.get("fieldsV1")
        operation = entry.get("operation")
        if not isinstance(fields, dict) or operation not in ("Apply", "Update"):
            continue
        version = entry.get("apiVersion", "")
        manager = identity(entry.get("manager", ""), operation, version, entry.get("subresource", ""))
        found[manager] = Managed(fields=fields, api_version=version, time=entry.get("time") or "")
    return found


def _readable(entries: list[dict[str, Any]]) -> bool:
    """Source: k8s.io/apimachinery/pkg/util/managedfields (DecodeManagedFields)."""
    return all(
        entry.get("operation") in ("Apply", "Update")
        and entry.get("apiVersion")
        and entry.get("fieldsType") == "FieldsV1"
        and _is_field_set(entry.get("fieldsV1", {}))
        for entry in entries
    )


def _is_field_set(fields: Any) -> bool:
    return isinstance(fields, dict) and all(
        (name == "." or name[1:2] == ":") and _is_field_set(below) for name, below in fields.items()
    )


def identity(name: str, operation: Literal["Apply", "Update"], api_version: str, subresource: str) -> Manager:
    """An applier is the same whatever version it speaks."""
    return Manager(name, operation, api_version if operation == "Update" else "", subresource)


def written(managers: Managers) -> list[dict[str, Any]]:
    """The entries in the order in which the original has them."""
    order = sorted(managers, key=lambda one: (one.operation, managers[one].time, one.name, one.api_version))
    return [
        {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": managers[manager].api_version,
            # None rather than an empty one, which no typed client can read.
            **({"time": managers[manager].time} if managers[manager].time else {}),
            "fieldsType": "FieldsV1",
            "fieldsV1": managers[manager].fields,
            **({"subresource": manager.subresource} if manager.subresource else {}),
        }
        for manager in order
    ]


def managed_fields_of(value: dict[str, Any], schema: Schema | None, *, strict: bool = False) -> FieldSet:
    """All fields of an object that somebody can manage. BadPatch as `fields_of`."""
    return difference(fields_of(value, schema, strict=strict), _NOBODYS)


def updated(
    live: dict[str, Any] | None,
    new: dict[str, Any],
    schema: Schema | None,
    *,
    manager: str,
    api_version: str,
    now: str,
    subresource: str = "",
) -> list[dict[str, Any]]:
    """The managed fields after a create, update or patch (not apply): who changes a field has it, from then on alone.

    live: None for a create. now: RFC 3339. The new object's own entries count: a client may take some away; one that is
    empty takes all. Where one cannot be read, all are as if they were not there (decision 0150)."""
    entries = new.get("metadata", {}).get("managedFields")
    if entries == [{}]:
        return []
    if entries and entries != (live or {}).get("metadata", {}).get("managedFields") and not _readable(entries):
        entries = None
    who = identity(manager, "Update", api_version, subresource)
    if live is None and not entries:
        made = difference(_made_of(new, schema), _NOBODYS)
        return written({who: Managed(fields=made, api_version=api_version, time=now)}) if made else []
    managers = managers_of(new.get("metadata", {}) if entries else (live or {}).get("metadata", {}))
    difference_ = compare(live or {}, new, schema)
    changed = difference(difference_.changed, _NOBODYS)
    gone = difference_.removed
    result: Managers = {}
    for one, managed in managers.items():
        left = managed.fields
        if one != who:
            left = difference(left, intersection(left, changed))
        left = difference(left, gone)
        if left:
            result[one] = msgspec.structs.replace(managed, fields=left)
    had = result.get(who)
    own = union(had.fields, changed) if had else changed
    if own and (had is None or own != managers[who].fields):
        result[who] = Managed(fields=own, api_version=api_version, time=now)
    return written(_capped(result))


def _made_of(new: dict[str, Any], schema: Schema | None) -> FieldSet:
    """The fields of a new object. What makes pods makes many that are alike: the fields of specs met lately are kept, and never changed.
    Only of specs, since nothing secret is in them."""
    spec = new.get("spec")
    below = schema.child("spec") if schema is not None else None
    if not spec or below is None:
        return fields_of(new, schema)
    text = msgspec.json.encode(spec)
    inner = (_fields_of_spec if len(text) <= LIMIT_KEPT_BYTES else _fields_of_spec.__wrapped__)(below, text)
    others = fields_of({name: value for name, value in new.items() if name != "spec"}, schema)
    return others | {"f:spec": inner}


@lru_cache(maxsize=256)
def _fields_of_spec(schema: Schema, text: bytes) -> FieldSet:
    return fields_of(msgspec.json.decode(text), schema)


def _capped(managers: Managers) -> Managers:
    """With the oldest updaters put together where there are too many."""
    if len(managers) <= LIMIT_UPDATERS:
        return managers
    result = dict(managers)
    updaters = [one for one in result if one.operation == "Update"]
    oldest = sorted((one for one in updaters if one.name != ANCIENT), key=lambda one: managers[one].time)
    for one in oldest:
        if sum(other.operation == "Update" for other in result) <= LIMIT_UPDATERS:
            break
        bucket = msgspec.structs.replace(one, name=ANCIENT)
        managed = result.pop(one)
        fields = union(managed.fields, result[bucket].fields) if bucket in result else managed.fields
        result[bucket] = msgspec.structs.replace(managed, fields=fields)
    return result
