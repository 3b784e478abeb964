"""Sets of fields of an object, in the form in which managed fields hold them (FieldsV1), and what is done with them.

    {"f:spec": {"f:replicas": {}, "f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}}}}}

An empty node, or one with `.`, is a field of the set; other nodes only lead to some. Names: `f:` a field or key of a map,
`k:` the item of a list with those keys, `v:` an item of a list that is a set, `i:` an index. The root is no field.
Source: sigs.k8s.io/structured-merge-diff (fieldpath, typed).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gureum.kube.errors import shown
from gureum.kube.patches.errors import BadPatch
from gureum.kube.schemas import Schema

FieldSet = dict[str, Any]
_encode = msgspec.json.Encoder(order="deterministic").encode


class Comparison(msgspec.Struct, frozen=True):
    """What differs between two objects."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def changed(self) -> FieldSet:
        return union(self.added, self.modified)


def fields_of(value: dict[str, Any], schema: Schema | None, *, strict: bool = False) -> FieldSet:
    """All leaves of an object, the items of its lists with keys, and the members of its maps. Items that are alike are one field, with nothing
    below it. BadPatch: an item without its key; when `strict`, two alike."""
    return _children(_fields(value, schema, strict=strict)) if value else {}


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    return _children(_union(_led(one), _led(other)))


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    return _children(_intersection(_led(one), _led(other)) or {})


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    return _children(_difference(_led(one), _led(other)) or {})


def with_parents(fields: FieldSet, schema: Schema | None) -> FieldSet:
    """The set, and also each object by name that holds some field of it."""
    found: FieldSet = {}
    for name, node in fields.items():
        if name == ".":
            continue
        below = child_schema(schema, name)
        inner = with_parents(node, below)
        named = name.startswith("f:") and schema is not None and schema.is_field(name[2:])
        found[name] = _node(member=_is_member(node) or named, children=inner)
    return found


def compare(old: Any, new: Any, schema: Schema | None) -> Comparison:
    """What was added, changed and taken away between two objects."""
    added: FieldSet = {}
    modified: FieldSet = {}
    removed: FieldSet = {}
    _compare(old, new, schema, added, modified, removed)
    return Comparison(added=added, modified=modified, removed=removed)


def without(value: dict[str, Any], fields: FieldSet, schema: Schema | None) -> dict[str, Any]:
    """The object without those fields; what becomes empty by it goes, too."""
    left: dict[str, Any] = _without(value, fields, schema)
    return left


def merged(live: Any, wished: Any, schema: Schema | None) -> Any:
    """`wished` laid over `live`: objects and lists with keys merge, all else is replaced."""
    if isinstance(live, dict) and isinstance(wished, dict) and not _atomic(schema, wished):
        result = dict(live)
        for name, value in wished.items():
            result[name] = merged(live[name], value, _member_schema(schema, name)) if name in live else value
        return result
    if isinstance(live, list) and isinstance(wished, list) and not _atomic(schema, wished):
        return _merged_lists(live, wished, schema)
    return wished


def paths(fields: FieldSet, before: str = "") -> Iterator[str]:
    """Each field as people read it: `.spec.containers[name="a"].image`."""
    for name in sorted(fields):
        if name != ".":
            path = before + readable(name)
            if _is_member(fields[name]):
                yield path
            yield from paths(fields[name], path)


def child_schema(schema: Schema | None, name: str) -> Schema | None:
    """The schema of what a name leads to."""
    if schema is None:
        return None
    return schema.child(name[2:]) if name.startswith("f:") else schema.items


# Sets


def _led(fields: FieldSet) -> FieldSet | None:
    """The root as a node that is no field."""
    return fields or None


def _is_member(node: FieldSet) -> bool:
    return not node or "." in node


def _children(node: FieldSet | None) -> FieldSet:
    return {name: below for name, below in node.items() if name != "."} if node else {}


def _node(*, member: bool, children: FieldSet) -> FieldSet:
    return {".": {}, **children} if member and children else children


def _union(one: FieldSet | None, other: FieldSet | None) -> FieldSet | None:
    if one is None or other is None:
        return other if one is None else one
    children = _children(one)
    for name, node in _children(other).items():
        children[name] = _union(children.get(name), node)
    return _node(member=_is_member(one) or _is_member(other), children=children)


def _intersection(one: FieldSet | None, other: FieldSet | None) -> FieldSet | None:
    if one is None or other is None:
        return None
    both = {name: _intersection(node, other[name]) for name, node in _children(one).items() if name in other}
    children = {name: node for name, node in both.items() if node is not None}
    member = _is_member(one) and _is_member(other)
    return _node(member=member, children=children) if member or children else None


def _difference(one: FieldSet | None, other: FieldSet | None) -> FieldSet | None:
    if one is None or other is None:
        return one
    children: FieldSet = {}
    for name, node in one.items():
        below = other.get(name)
        left = node if below is None else _difference(node, below)
        if left is not None and name != ".":
            children[name] = left
    member = _is_member(one) and not _is_member(other)
    return _node(member=member, children=children) if member or children else None


# Values


def _atomic(schema: Schema | None, value: Any) -> bool:
    """Whether a value is one field as a whole. Of what has no schema objects are not, lists are."""
    if isinstance(value, dict):
        return schema is not None and schema.atomic and schema.type != "any"
    if isinstance(value, list):
        return schema is None or schema.type != "array" or schema.atomic
    return True


def _member_schema(schema: Schema | None, name: str) -> Schema | None:
    return schema.child(name) if schema else None


class _Alike(list[Any]):
    """Items of a list with the same key: to server-side apply they are one value."""


def _items(value: list[Any], schema: Schema) -> dict[str, Any]:
    """The items of a list that is a map or a set by their names."""
    found: dict[str, Any] = {}
    for item in value:
        name = item_name(item, schema)
        if name not in found:
            found[name] = item
        elif isinstance(found[name], _Alike):
            found[name].append(item)
        else:
            found[name] = _Alike((found[name], item))
    return found


def _refuse_alike(items: dict[str, Any]) -> None:
    alike = next((name for name, item in items.items() if isinstance(item, _Alike)), None)
    if alike is not None:
        raise BadPatch(f"duplicate entries for key {readable(alike)}")


def item_name(item: Any, schema: Schema) -> str:
    if schema.list_type == "set":
        return "v:" + _encode(item).decode()
    if not isinstance(item, dict):
        raise BadPatch("associative list with keys has an item that is no object")
    defaults = schema.items.key_defaults if schema.items else {}
    keys = {}
    for key in schema.list_keys:
        value = item.get(key, defaults.get(key))
        if value is not None:
            keys[key] = value
    if not keys:
        text = "associative list with keys has an element that omits key field"
        raise BadPatch(f"{text} {shown(schema.list_keys[0])} (and doesn't have default value)")
    return "k:" + _encode(keys).decode()


def _fields(value: Any, schema: Schema | None, *, strict: bool = False) -> FieldSet:
    if not value or _atomic(schema, value) or isinstance(value, _Alike):
        return {}
    if isinstance(value, dict):
        found: FieldSet = {}
        members = schema.members if schema is not None else {}
        others = schema.others if schema is not None else None
        for name, inner in value.items():
            node: FieldSet = {}
            kind = type(inner)
            if kind is dict or kind is list:
                node = _fields(inner, members.get(name, others), strict=strict)
                if node and name not in members:
                    node = {".": {}, **node}
            found["f:" + name] = node
        return found
    assert schema is not None
    items = _items(value, schema)
    if strict:
        _refuse_alike(items)
    if schema.list_type == "set":
        return {name: {} for name in items}
    below = schema.items
    return {name: _node(member=True, children=_fields(item, below, strict=strict)) for name, item in items.items()}


def _compare(old: Any, new: Any, schema: Schema | None, added: FieldSet, modified: FieldSet, removed: FieldSet) -> None:
    old_parts, new_parts = _parts(old, schema), _parts(new, schema)
    for name in {**old_parts, **new_parts}:
        below = child_schema(schema, name)
        if name not in old_parts:
            added[name] = _as_item(name, _fields(new_parts[name], below))
        elif name not in new_parts:
            removed[name] = _as_item(name, _fields_of_live(old_parts[name], below))
        elif old_parts[name] != new_parts[name]:
            before, after = old_parts[name], new_parts[name]
            whole = type(before) is not type(after) or isinstance(after, _Alike)
            if whole or _atomic(below, after) or not before or not after:
                modified[name] = {}
                continue
            inner: list[FieldSet] = [{}, {}, {}]
            _compare(before, after, below, *inner)
            for into, part in zip((added, modified, removed), inner, strict=True):
                if part:
                    into[name] = part


def _as_item(name: str, node: FieldSet) -> FieldSet:
    return node if name.startswith("f:") else _node(member=True, children=_children(node))


def _fields_of_live(value: Any, schema: Schema | None) -> FieldSet:
    """As `_fields`, but what the server holds may be out of form."""
    try:
        return _fields(value, schema)
    except BadPatch:
        return {}


def _parts(value: Any, schema: Schema | None) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"f:" + name: inner for name, inner in value.items()}
    if isinstance(value, list) and schema is not None:
        return _items(value, schema)
    return {}


def _without(value: Any, fields: FieldSet, schema: Schema | None) -> Any:
    if isinstance(value, dict) and not _atomic(schema, value):
        kept = {}
        for name, inner in value.items():
            node = fields.get("f:" + name)
            if node is None:
                kept[name] = inner
            elif not _is_member(node):
                left = _without(inner, node, _member_schema(schema, name))
                if left not in ({}, []) or inner == left:
                    kept[name] = left
        return kept
    if isinstance(value, list) and schema is not None and not _atomic(schema, value):
        result = []
        for item in value:
            node = fields.get(item_name(item, schema))
            if node is None:
                result.append(item)
            elif not _is_member(node):
                result.append(_without(item, node, schema.items))
        return result
    return value


def _merged_lists(live: list[Any], wished: list[Any], schema: Schema | None) -> list[Any]:
    """The wished order; what only the server has stays before what it preceded. In the place of live items that are alike comes the one that
    is wished; those that nobody wishes stay, all of them."""
    assert schema is not None
    old, new = _items(live, schema), _items(wished, schema)
    _refuse_alike(new)
    waiting = [(item_name(item, schema), item) for item in live]
    result: list[Any] = []
    at, done = 0, set[str]()
    for name, item in new.items():
        while at < len(waiting) and (waiting[at][0] in done or waiting[at][0] not in new):
            if waiting[at][0] not in new:
                result.append(waiting[at][1])
            at += 1
        had = old.get(name)
        result.append(item if had is None or isinstance(had, _Alike) else merged(had, item, schema.items))
        done.add(name)
    return result + [item for name, item in waiting[at:] if name not in new]


def readable(name: str) -> str:
    kind, rest = name[:2], name[2:]
    if kind == "f:":
        return f".{rest}"
    if kind == "k:":
        keys = msgspec.json.decode(rest)
        return "[" + ",".join(f"{key}={_encode(keys[key]).decode()}" for key in sorted(keys)) + "]"
    return f"[={rest}]" if kind == "v:" else f"[{rest}]"
