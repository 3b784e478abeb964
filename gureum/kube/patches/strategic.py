"""Strategic merge patch: lists merge by their items' key where the schema says so.

Directives: `$patch: replace | delete | merge`, `$retainKeys`, `$deleteFromPrimitiveList/NAME`, `$setElementOrder/NAME`.
Source: Kubernetes, "Update API Objects in Place Using kubectl patch"; community/contributors/devel/sig-api-machinery/strategic-merge-patch.md.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.patches.errors import BadPatch
from gureum.kube.schemas import Schema

DELETE_FROM, ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"
Object = dict[str, Any]
_GONE: Any = object()


def strategic(document: Object, patch: Any, schema: Schema | None) -> Object:
    """The document with the patch merged into it. BadPatch where the patch contradicts the schema."""
    if not isinstance(patch, dict):
        raise BadPatch("cannot restore struct from: a patch must be an object")
    found = _object(document, patch, schema)
    return found if found is not None else {}


def _object(live: Any, patch: Object, schema: Schema | None) -> Object | None:
    """The merged object; None where the patch deletes it."""
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return None
    if directive not in (None, "merge"):
        raise BadPatch(f"Unknown patch type found: {directive}")
    merged = dict(live) if isinstance(live, dict) else {}
    if "$retainKeys" in patch:
        _retain(merged, patch)
    for name in patch:
        if name.startswith(DELETE_FROM):
            _remove_plain(merged, name.removeprefix(DELETE_FROM), patch[name])
    for name, value in patch.items():
        if not name.startswith("$"):
            _member(merged, name, value, patch, schema.child(name) if schema else None)
    for name in patch:
        if name.startswith(ORDER):
            list_name = name.removeprefix(ORDER)
            if list_name not in patch and isinstance(merged.get(list_name), list):
                list_schema = schema.child(list_name) if schema else None
                merged[list_name] = _ordered(merged[list_name], [], patch[name], merged[list_name], list_schema)
    return merged


def _member(merged: Object, name: str, value: Any, patch: Object, schema: Schema | None) -> None:
    live = merged.get(name)
    if value is None:
        merged.pop(name, None)
    elif isinstance(value, dict):
        if schema and "replace" in schema.patch_strategies:
            merged[name] = _without_directives(value)
            return
        found = _object(live, value, schema)
        if found is None:
            merged.pop(name, None)
        else:
            merged[name] = found
    elif isinstance(value, list):
        merged[name] = _list(live if isinstance(live, list) else [], value, patch.get(ORDER + name), schema)
    else:
        merged[name] = value


def _list(live: list[Any], patch: list[Any], order: Any, schema: Schema | None) -> list[Any]:
    if schema is None or "merge" not in schema.patch_strategies:
        return [_without_directives(one) for one in patch if not _deletes(one)]
    if any(isinstance(one, dict) for one in patch) or schema.merge_key:
        if not schema.merge_key:
            raise BadPatch("cannot merge a list of objects without a merge key")
        merged = _objects(live, patch, schema)
    else:
        known = {_mark(one) for one in live}
        merged = [*live, *(one for one in {_mark(one): one for one in patch}.values() if _mark(one) not in known)]
    return merged if order is None and merged is not live else _ordered(merged, patch, order, live, schema)


def _objects(live: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    key = schema.merge_key
    if any(isinstance(one, dict) and one.get("$patch") == "replace" for one in patch):
        return [_without_directives(one) for one in patch if not (one.get("$patch") == "replace" and len(one) == 1)]
    merged = list(live)
    places: dict[Any, list[int]] = {}
    for at, old in enumerate(live):
        if isinstance(old, dict):
            places.setdefault(_mark(old.get(key)), []).append(at)
    for one in patch:
        if not isinstance(one, dict):
            raise BadPatch(f"a list of objects with the key {key} cannot take {one!r}")
        if key not in one:
            raise BadPatch(f"map: {one} does not contain declared merge key: {key}")
        mark = _mark(one[key])
        at = places.get(mark, [len(merged)])[0]
        found = _object(merged[at] if mark in places else None, one, schema.items)
        if found is None:
            for gone in places.pop(mark, ()):
                merged[gone] = _GONE
        elif mark in places:
            merged[at] = found
        else:
            merged.append(found)
            places[mark] = [at]
    return [one for one in merged if one is not _GONE]


def _mark(value: Any) -> Any:
    """What a value is found by: itself, if it can be a key."""
    return value if isinstance(value, str | int | float | bool) else ("", repr(value))


def _ordered(merged: list[Any], patch: list[Any], order: Any, live: list[Any], schema: Schema | None) -> list[Any]:
    """The items in the order that the patch asks for; those it does not name stay where they were beside their neighbours."""
    if order is None:
        return merged
    key = schema.merge_key if schema else ""
    if not isinstance(order, list):
        raise BadPatch("$setElementOrder is a list")

    def identity(item: Any) -> Any:
        return _mark(item.get(key) if key and isinstance(item, dict) else item)

    wished = [identity(one) for one in order]
    place = {one: i for i, one in enumerate(wished)}
    was = {identity(one): i for i, one in enumerate(live)}
    named = sorted((one for one in merged if identity(one) in place), key=lambda one: place[identity(one)])
    others = [one for one in merged if identity(one) not in place]
    # Two lists become one: an item of the server's goes before a named one that it preceded before.
    result: list[Any] = []
    for one in named:
        at = was.get(identity(one))
        while others and at is not None and was.get(identity(others[0]), len(live)) < at:
            result.append(others.pop(0))
        result.append(one)
    return result + others


def _retain(merged: Object, patch: Object) -> None:
    names = patch["$retainKeys"]
    if not isinstance(names, list):
        raise BadPatch("$retainKeys is a list")
    for name, value in patch.items():
        if not name.startswith("$") and value is not None and name not in names:
            raise BadPatch("The strategic merge patch format is invalid: a key that is set must be retained, too")
    for name in set(merged) - set(names):
        del merged[name]


def _remove_plain(merged: Object, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise BadPatch(f"{DELETE_FROM}{name} is a list")
    if isinstance(merged.get(name), list):
        gone = {_mark(one) for one in values}
        merged[name] = [one for one in merged[name] if _mark(one) not in gone]


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_directives(one) for name, one in value.items() if not name.startswith("$")}
    if isinstance(value, list):
        return [_without_directives(one) for one in value if not _deletes(one)]
    return value


def _deletes(item: Any) -> bool:
    return isinstance(item, dict) and item.get("$patch") == "delete"
