"""XML reader: bodies of rest-xml requests, from closures made once per shape.

Parsed by expat into small nodes. There are no document types and no entities but XML's own five; depth and number of
elements are limited, so a body can neither expand nor fetch anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.scalars import BadValue, text_reader
from gureum.aws.protocols.wire import MAX_XML_DEPTH, MAX_XML_ELEMENTS

Read = Callable[["Node"], Any]


class Node:
    """An element. `name`: without its prefix. `attributes`: with theirs."""

    __slots__ = ("attributes", "children", "name", "texts")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Node] = []
        self.texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)


class _Builder:
    """Builds nodes from expat's events and keeps the limits."""

    def __init__(self) -> None:
        self.root = Node("", {})
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) > MAX_XML_DEPTH or self._count > MAX_XML_ELEMENTS:
            raise BadValue("structure", text="The document is too large or nests too deep.")
        node = Node(name.rpartition(":")[2], attributes)
        self._open[-1].children.append(node)
        self._open.append(node)

    def end(self, _name: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def doctype(self, *_declaration: Any) -> None:
        raise BadValue("structure", text="Document types are not allowed.")


def parse_xml(body: bytes) -> Node:
    """The root element. Raises BadValue for what is not well-formed, has a document type, or is beyond the limits."""
    # The encoding is given, so that none the document names is looked up.
    builder, parser = _Builder(), expat.ParserCreate("utf-8")
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.EntityDeclHandler = builder.doctype
    parser.buffer_text = True
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadValue("structure", text="The document is not well-formed.") from error
    return builder.root.children[0]


class XmlReaders:
    """Readers of one service, made on demand and kept."""

    def __init__(self, service: ServiceModel) -> None:
        self._service = service
        self._structures: dict[str, Read] = {}

    def structure(self, shape_name: str) -> Read:
        """Reads the members without a location."""
        if shape_name not in self._structures:
            plan: dict[str, tuple[str, Read, bool]] = {}
            attributes: dict[str, str] = {}
            self._structures[shape_name] = _structure_reader(plan, attributes)
            for name, member in self._service.shape(shape_name).members.items():
                if member.xml_attribute:
                    attributes[member.location_name.rpartition(":")[2]] = name
                elif not member.location:
                    self._add(plan, name, member)
        return self._structures[shape_name]

    def _add(self, plan: dict[str, tuple[str, Read, bool]], name: str, member: Member) -> None:
        shape = self._service.shape(member.shape)
        wire = member.location_name or shape.location_name or name
        if shape.type != "list" or not (member.flattened or shape.flattened):
            plan[wire] = (name, self.reader(member), False)
            return
        assert shape.member is not None
        plan[wire] = (name, self.reader(shape.member), True)
        if shape.member.location_name:
            # Some clients name flat items as the list, others as the item.
            plan.setdefault(shape.member.location_name, plan[wire])

    def reader(self, member: Member) -> Read:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return self.structure(member.shape)
        if shape.type == "list":
            assert shape.member is not None
            item = self.reader(shape.member)
            return lambda node: [item(child) for child in node.children]
        if shape.type == "map":
            entry = self._entry(shape)
            return lambda node: dict(entry(child) for child in node.children)
        return _scalar_reader(shape.type)

    def _entry(self, shape: Shape) -> Callable[[Node], tuple[Any, Any]]:
        assert shape.key is not None
        assert shape.value is not None
        key_name, value_name = shape.key.location_name or "key", shape.value.location_name or "value"
        read_key, read_value = self.reader(shape.key), self.reader(shape.value)

        def read(node: Node) -> tuple[Any, Any]:
            found = {child.name: child for child in node.children}
            if key_name not in found or value_name not in found:
                raise BadValue("map", text=f"An entry has no {key_name} or no {value_name}.")
            return read_key(found[key_name]), read_value(found[value_name])

        return read


def _structure_reader(plan: dict[str, tuple[str, Read, bool]], attributes: dict[str, str]) -> Read:
    def read(node: Node) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.attributes.items() if attributes else ():
            name = attributes.get(key.rpartition(":")[2])
            if name is not None:
                found[name] = value
        for child in node.children:
            if child.name not in plan:
                continue
            name, inner, flat = plan[child.name]
            try:
                value = inner(child)
            except BadValue as bad:
                bad.path.append(child.name)
                raise
            if flat:
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        return found

    return read


def _scalar_reader(kind: str) -> Read:
    if kind in ("string", "character"):
        return lambda node: node.text
    convert = text_reader(kind)
    return lambda node: convert(node.text.strip())
