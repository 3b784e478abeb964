"""Server-side apply: who applies a configuration owns its fields, and what it applied before and applies no more is taken away.

Source: Kubernetes, "Server-Side Apply"; sigs.k8s.io/structured-merge-diff (merge.Updater).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.kinds.metadata import LIMIT_ANNOTATIONS_BYTES
from gureum.kube.patches.errors import BadPatch, Cause, Conflict
from gureum.kube.patches.field_sets import (
    FieldSet,
    compare,
    difference,
    fields_of,
    intersection,
    merged,
    paths,
    union,
    with_parents,
    without,
)
from gureum.kube.patches.managers import (
    BEFORE_FIRST,
    Managed,
    Manager,
    Managers,
    identity,
    managed_fields_of,
    managers_of,
    written,
)
from gureum.kube.schemas import Schema

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
Object = dict[str, Any]


def apply(
    live: Object | None,
    applied: Object,
    schema: Schema | None,
    *,
    manager: str,
    api_version: str,
    now: str,
    force: bool = False,
    subresource: str = "",
) -> Object:
    """The object after the configuration `applied`, with its managed fields.

    live: None where there is none yet. now: RFC 3339. An apply that changes nothing gives an object equal to `live`. Conflict: fields
    that others manage would change, unless `force` takes them. BadPatch: the configuration is not one."""
    if applied.get("metadata", {}).get("managedFields"):
        raise BadPatch("metadata.managedFields must be nil")
    wished = _without_nulls(applied)
    before = _without_managed(live or {})
    managers = _managers(live, schema, now)
    who = identity(manager, "Apply", api_version, subresource)
    last = managers.get(who)
    own = managed_fields_of(wished, schema, strict=True)
    result = merged(before, wished, schema)
    difference_ = compare(before, result, schema)
    conflicts = {
        one: found
        for one, managed in managers.items()
        if one != who and (found := intersection(managed.fields, difference_.changed))
    }
    if conflicts and not force:
        conflicts = _without_last_applied(conflicts, live, schema, manager)
        if conflicts:
            raise _conflict(conflicts)
    after: Managers = {}
    for one, managed in managers.items():
        left = difference(difference(managed.fields, difference_.changed), difference_.removed)
        if one != who and left:
            after[one] = msgspec.structs.replace(managed, fields=left)
    unchanged = last is not None and last.fields == own and last.api_version == api_version
    if own:
        after[who] = Managed(own, api_version, last.time if last and unchanged else now)
    # What an object is, is nobody's, but said by whoever applies it: metadata stays, though none of its other fields does.
    owned = union(_owned(after), fields_of(wished, schema))
    result = _with_last_applied(_pruned(result, owned, last.fields if last else {}, schema), wished, manager)
    if live is not None and unchanged and result == before:
        return live
    result["metadata"] = {**result.get("metadata", {}), **({"managedFields": written(after)} if after else {})}
    return result


def _managers(live: Object | None, schema: Schema | None, now: str) -> Managers:
    """Of the live object; all that it holds is somebody's, also where nobody was noted."""
    if live is None:
        return {}
    found = managers_of(live.get("metadata", {}))
    if found:
        return found
    fields = managed_fields_of(_without_managed(live), schema)
    version = live.get("apiVersion", "")
    return {Manager(BEFORE_FIRST, "Update", version): Managed(fields, version, now)} if fields else {}


def _owned(managers: Managers) -> FieldSet:
    owned: FieldSet = {}
    for managed in managers.values():
        owned = union(owned, managed.fields)
    return owned


def _pruned(result: Object, owned: FieldSet, last: FieldSet, schema: Schema | None) -> Object:
    """Without what the applier applied before, and neither it nor anyone else has now (`owned`)."""
    if not last:
        return result
    dropped = with_parents(last, schema)
    kept = without(result, dropped, schema)
    everything = with_parents(fields_of(result, schema), schema)
    stays = union(with_parents(fields_of(kept, schema), schema), with_parents(owned, schema))
    with_owned = without(result, difference(everything, stays), schema)
    left = with_parents(fields_of(with_owned, schema), schema)
    # What hangs below a dropped field and is nobody's goes only with the whole of it.
    return without(result, intersection(difference(everything, left), dropped), schema)


def _without_last_applied(
    conflicts: dict[Manager, FieldSet], live: Object | None, schema: Schema | None, manager: str
) -> dict[Manager, FieldSet]:
    """The way from client-side apply: what kubectl's annotation says that it applied, kubectl may take without force."""
    text = (live or {}).get("metadata", {}).get("annotations", {}).get(LAST_APPLIED)
    if manager != "kubectl" or not isinstance(text, str):
        return conflicts
    try:
        own = managed_fields_of(_without_nulls(msgspec.json.decode(text, type=dict[str, Any])), schema)
    except (msgspec.MsgspecError, BadPatch):
        return conflicts
    left = {one: difference(found, own) for one, found in conflicts.items()}
    return {one: found for one, found in left.items() if found}


def _with_last_applied(result: Object, wished: Object, manager: str) -> Object:
    """kubectl's annotation, where there is one, keeps up with kubectl: a later client-side apply compares with it."""
    meta = result.get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if manager != "kubectl" or not annotations.get(LAST_APPLIED):
        return result
    wished_meta = wished.get("metadata") or {}
    own = wished_meta.get("annotations")
    if own and LAST_APPLIED in own:
        wished_meta = {**wished_meta, "annotations": {key: one for key, one in own.items() if key != LAST_APPLIED}}
    text = msgspec.json.encode({**wished, "metadata": wished_meta}, order="deterministic").decode() + "\n"
    new = {**annotations, LAST_APPLIED: text}
    if sum(len(key.encode()) + len(str(one).encode()) for key, one in new.items()) > LIMIT_ANNOTATIONS_BYTES:
        del new[LAST_APPLIED]
    return {**result, "metadata": {**meta, "annotations": new}}


def _conflict(conflicts: dict[Manager, FieldSet]) -> Conflict:
    found = [(one, path) for one in sorted(conflicts, key=str) for path in paths(conflicts[one])]
    causes = [Cause(path, f"conflict with {one}") for one, path in found]
    if len(found) == 1:
        return Conflict(f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}", causes)
    lines: list[str] = []
    for one in sorted(conflicts, key=str):
        lines += [f"conflicts with {one}:", *(f"- {path}" for path in paths(conflicts[one]))]
    return Conflict(f"Apply failed with {len(found)} conflicts: " + "\n".join(lines), causes)


def _without_managed(value: Object) -> Object:
    if "managedFields" not in value.get("metadata", {}):
        return value
    meta = {name: one for name, one in value["metadata"].items() if name != "managedFields"}
    return {**value, "metadata": meta}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value
