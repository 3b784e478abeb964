"""Layouts: a form whose names came before, in the same order, is read without looking at the names again.

    Action=…&MetricData.member.1.MetricName=cpu&MetricData.member.1.Value=1.5    names: the layout      values: put where they belong

Programs send the same form over and over with other values. A layout is learnt from a form that was read the long way (form, query_reader), and says
which of its values goes where; values are converted as there. What does not fit (a value of the wrong kind, a name given twice, a container that is
given as text) is left to the long way, which finds the words. Few layouts are kept, and none is learnt at the first sight: so neither memory nor time
is lost to a client that never sends the same twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.aws.protocols.form import decode_text, grow_tree
from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.query_reader import QueryReaders
from gureum.aws.protocols.scalars import text_reader

LIMIT_LAYOUTS = 64
LIMIT_FIELDS = 2_000
LEARN_AT = 3
"""The sight at which a layout is learnt."""

Values = list[str]
Build = Callable[[Values], Any]


class _Unfit(Exception):
    """Not to be told as a layout."""


class Layouts:
    """Of one operation. `is_transport`: names that are no parameters."""

    def __init__(
        self, service: ServiceModel, readers: QueryReaders, reference: Member, is_transport: Callable[[str], bool]
    ) -> None:
        self._service = service
        self._readers = readers
        self._reference = reference
        self._is_transport = is_transport
        self._known: dict[tuple[str, ...], Build | None] = {}
        self._seen: dict[tuple[str, ...], int] = {}

    def read(self, text: str) -> dict[str, Any] | None:
        """The parameters of a form; None when it is to be read the long way. BadValue, AwsError: as there."""
        names: list[str] = []
        values: Values = []
        for field in text.split("&"):
            name, _, value = field.partition("=")
            names.append(name)
            values.append(decode_text(value) if "%" in value or "+" in value else value)
        layout = tuple(names)
        build = self._known.get(layout)
        if build is None:
            self._look(layout)
            return None
        found: dict[str, Any] = build(values)
        return found

    def _look(self, layout: tuple[str, ...]) -> None:
        if layout in self._known or len(layout) > LIMIT_FIELDS:
            return
        sights = self._seen.pop(layout, 0) + 1
        if sights >= LEARN_AT:
            if len(self._known) >= LIMIT_LAYOUTS:
                del self._known[next(iter(self._known))]
            self._known[layout] = self._learn(layout)
            return
        if len(self._seen) >= LIMIT_LAYOUTS:
            del self._seen[next(iter(self._seen))]
        self._seen[layout] = sights

    def _learn(self, layout: tuple[str, ...]) -> Build | None:
        names = [decode_text(name) for name in layout]
        if "" in names or len(set(names)) < len(names):
            return None
        places = [(name, str(at)) for at, name in enumerate(names) if not self._is_transport(name)]
        try:
            return self._structure(self._reference.shape, grow_tree(places))
        except _Unfit:
            return None

    def _build(self, member: Member, node: Any) -> Build:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return self._structure(member.shape, _container(node))
        if shape.type == "list":
            return self._list(member, shape, _container(node))
        if shape.type == "map" or node.__class__ is not str:
            raise _Unfit
        at = int(node)
        if shape.type in ("string", "character"):
            return lambda values: values[at]
        convert = text_reader(shape.type)
        return lambda values: convert(values[at])

    def _structure(self, shape_name: str, node: dict[str, Any]) -> Build:
        members = {
            self._readers.wire_name(member, name): (name, member)
            for name, member in self._service.shape(shape_name).members.items()
        }
        plain: list[tuple[str, int]] = []
        built: list[tuple[str, Build]] = []
        for key, inner in node.items():
            if key not in members:
                raise _Unfit
            name, member = members[key]
            if inner.__class__ is str and self._service.shape(member.shape).type in ("string", "character"):
                plain.append((name, int(inner)))
            else:
                built.append((name, self._build(member, inner)))

        def build(values: Values) -> dict[str, Any]:
            found: dict[str, Any] = {name: values[at] for name, at in plain}
            for name, inner in built:
                found[name] = inner(values)
            return found

        return build

    def _list(self, member: Member, shape: Shape, node: dict[str, Any]) -> Build:
        assert shape.member is not None
        for wrapper in self._readers.wrappers(member, shape):
            if wrapper in node:
                node = _container(node[wrapper])
                break
        if not all(key.isascii() and key.isdigit() for key in node):
            raise _Unfit
        items = [self._build(shape.member, node[key]) for key in sorted(node, key=int)]
        return lambda values: [item(values) for item in items]


def _container(node: Any) -> dict[str, Any]:
    if node.__class__ is not dict:
        raise _Unfit
    return dict(node)
