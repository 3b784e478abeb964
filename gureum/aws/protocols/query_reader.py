"""Query reader: parameters of query and ec2 requests, from closures made once per shape.

The two differ in names (ec2: query_name, else location_name with a capital letter) and in lists (ec2's are always flat:
`Filter.1.Name`; query's have a level `member`). Values come out by botocore's member names, only those that were given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.scalars import BadValue, text_reader

Read = Callable[[Any], Any]
INDEX_DIGITS = 10


def ec2_name(member: Member, shape: Shape, default: str) -> str:
    """The name of a member in ec2 requests. Smithy: aws.protocols#ec2QueryName."""
    if member.query_name:
        return member.query_name
    name = member.location_name or shape.location_name or default
    return name[0].upper() + name[1:]


def query_name(service: ServiceModel, member: Member, shape: Shape, default: str) -> str:
    """The name of a member in query requests; a flat list goes by the name of its items where they have one."""
    if shape.type == "list" and (member.flattened or shape.flattened):
        assert shape.member is not None
        item = shape.member.location_name or service.shape(shape.member.shape).location_name
        if item:
            return item
    return member.location_name or shape.location_name or default


class QueryReaders:
    """Readers of one service, made on demand and kept. `strict`: unknown parameters are refused, as EC2 does."""

    def __init__(self, service: ServiceModel, *, ec2: bool) -> None:
        self._service = service
        self._ec2 = ec2
        self._structures: dict[str, Read] = {}

    def structure(self, shape_name: str) -> Read:
        if shape_name not in self._structures:
            plan: dict[str, tuple[str, Read]] = {}
            self._structures[shape_name] = _structure_reader(plan, strict=self._ec2)
            for name, member in self._service.shape(shape_name).members.items():
                plan[self.wire_name(member, name)] = (name, self.reader(member))
        return self._structures[shape_name]

    def wire_name(self, member: Member, default: str) -> str:
        shape = self._service.shape(member.shape)
        return ec2_name(member, shape, default) if self._ec2 else query_name(self._service, member, shape, default)

    def reader(self, member: Member) -> Read:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return self.structure(member.shape)
        if shape.type == "list":
            return self._list(member, shape)
        if shape.type == "map":
            return self._map(member, shape)
        return _scalar_reader(shape.type)

    def _list(self, member: Member, shape: Shape) -> Read:
        assert shape.member is not None
        return _indexed_reader(self.reader(shape.member), self.wrappers(member, shape))

    def wrappers(self, member: Member, shape: Shape) -> tuple[str, ...]:
        """Names that may stand between a list's and those of its items."""
        assert shape.member is not None
        if self._ec2 or member.flattened or shape.flattened:
            return ()
        return (shape.member.location_name or "member", "member")

    def _map(self, member: Member, shape: Shape) -> Read:
        assert shape.key is not None
        assert shape.value is not None
        key_name, value_name = shape.key.location_name or "key", shape.value.location_name or "value"
        read_key, read_value = self.reader(shape.key), self.reader(shape.value)

        def read_entry(node: Any) -> tuple[Any, Any]:
            if node.__class__ is str or key_name not in node:
                raise BadValue("map", node)
            value = node.get(value_name)
            if value is None:
                raise BadValue("map", node)
            return read_key(node[key_name]), read_value(value)

        flattened = self._ec2 or member.flattened or shape.flattened
        entries = _indexed_reader(read_entry, () if flattened else ("entry",))
        return lambda node: dict(entries(node))


def _structure_reader(plan: dict[str, tuple[str, Read]], *, strict: bool) -> Read:
    def read(node: Any) -> dict[str, Any]:
        if node.__class__ is str:
            if node:
                raise BadValue("structure", node)
            return {}
        found = {}
        for key, value in node.items():
            member = plan.get(key)
            if member is not None:
                try:
                    found[member[0]] = member[1](value)
                except BadValue as bad:
                    bad.path.append(key)
                    raise
            elif strict:
                raise _unknown(key, value)
        return found

    return read


def _unknown(key: str, value: Any) -> BadValue:
    bad = BadValue("unknown", value)
    bad.path += [*_first_names(value), key]
    return bad


def _first_names(node: Any) -> list[str]:
    """The names below an unknown one, down its first branch, the innermost first: errors tell the parameter as it was
    sent."""
    names: list[str] = []
    while node.__class__ is dict:
        name = next(iter(node))
        names.append(name)
        node = node[name]
    return names[::-1]


def _indexed_reader(item: Read, wrappers: tuple[str, ...]) -> Read:
    """Reads `1`, `2`, … in the order of their numbers, gaps allowed. An empty value is an empty list."""

    def read(node: Any) -> list[Any]:
        if node.__class__ is str:
            if node:
                raise BadValue("list", node)
            return []
        for wrapper in wrappers:
            if wrapper in node:
                node = node[wrapper]
                if node.__class__ is str:
                    raise BadValue("list", node)
                break
        if len(node) > 1:
            for key in node:
                _index(key)
            keys = sorted(node, key=int)
        else:
            keys = [*node]
            _index(keys[0])
        found = []
        for key in keys:
            try:
                found.append(item(node[key]))
            except BadValue as bad:
                bad.path.append(key)
                raise
        return found

    return read


def _index(key: str) -> None:
    if not (key.isascii() and key.isdigit() and len(key) <= INDEX_DIGITS):
        bad = BadValue("unknown", key)
        bad.path.append(key)
        raise bad


def _scalar_reader(kind: str) -> Read:
    if kind in ("string", "character"):

        def read_string(node: Any) -> Any:
            if node.__class__ is str:
                return node
            raise BadValue("string", node)

        return read_string
    convert = text_reader(kind)

    def read(node: Any) -> Any:
        if node.__class__ is str:
            return convert(node)
        raise BadValue(kind, node)

    return read
