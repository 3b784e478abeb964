"""XML writer: results of query, ec2 and rest-xml, from closures made once per shape.

The output is a flat list in threes: markup, text, markup. Only every second of three can hold what a user wrote, so one
look over all of these decides whether anything must be escaped; usually nothing must, and the response is a single
join.

    ("<vpcId>", "vpc-1", "</vpcId>",   "<tagSet>", "", "",   "<item>", "", "", …)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.scalars import text_writer
from gureum.aws.protocols.wire import Encoded

Extend = Callable[[tuple[str, str, str]], None]
Write = Callable[[Any, Extend], None]
# (opening markup, closing markup, scalar to text or None for strings, writer of containers or None for scalars)
Plan = tuple[str, str, Callable[[Any], str] | None, Write | None]

_CONTROLS = bytes([*range(9), 11, 12, 13, *range(14, 32), 127])
_UNSAFE = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;", "\x7f": "&#x7F;"}


def escape(text: str) -> str:
    """Text of an element. What XML 1.0 cannot carry (control characters, lone surrogates) becomes U+FFFD."""
    return _UNSAFE.sub(lambda found: _ENTITIES.get(found[0], "\ufffd"), text)


def escape_attribute(text: str) -> str:
    """Text of an attribute in double quotes."""
    return escape(text).replace('"', "&quot;").replace("\n", "&#xA;").replace("\t", "&#x9;")


def join(parts: list[str]) -> str:
    """The document of a list in threes."""
    try:
        texts = "".join(parts[1::3])
    except TypeError as error:
        raise TypeError(_name_culprit(parts)) from error
    if not _is_safe(texts):
        parts[1::3] = [escape(text) for text in parts[1::3]]
    return "".join(parts)


def _is_safe(texts: str) -> bool:
    if texts.isascii():
        raw = texts.encode("ascii")
        return (
            b"&" not in raw and b"<" not in raw and b">" not in raw and len(raw.translate(None, _CONTROLS)) == len(raw)
        )
    return _UNSAFE.search(texts) is None


def _name_culprit(parts: list[str]) -> str:
    for i in range(1, len(parts), 3):
        if not isinstance(parts[i], str):
            return f"{parts[i - 1]} holds {type(parts[i]).__name__}, its shape is a string"
    return "markup is not text"


class XmlWriters:
    """Writers of one service in one protocol, made on demand and kept. `protocol`: "ec2", "query" or "rest-xml"."""

    def __init__(self, service: ServiceModel, protocol: str) -> None:
        self._service = service
        self._protocol = protocol
        self._bodies: dict[str, Write] = {}

    def body(self, shape_name: str) -> Write:
        """Writes the members of a structure, without an element around them. Members with a location (headers, status)
        are left out."""
        if shape_name not in self._bodies:
            self._make_body(shape_name)
        return self._bodies[shape_name]

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        parts: list[str] = []
        self.body(shape_name)(value, parts.extend)
        return Encoded(shape_name, self._protocol, join(parts))

    def element(self, reference: Member, name: str, extra: str = "") -> Write:
        """Writes a structure as element `name`; `extra`: attributes, e.g. a namespace."""
        shape = self._service.shape(reference.shape)
        opening = f"<{name}{_namespace(reference, shape)}{extra}>"
        return self._structure(reference.shape, shape, opening, f"</{name}>")

    def _make_body(self, shape_name: str) -> None:
        plan: dict[str, Plan] = {}
        ignored = frozenset(
            name
            for name, member in self._service.shape(shape_name).members.items()
            if member.location or member.xml_attribute
        )
        self._bodies[shape_name] = _body_writer(shape_name, self._protocol, plan, ignored)
        for name, member in self._service.shape(shape_name).members.items():
            if name not in ignored:
                plan[name] = self._plan(member, name)

    def _plan(self, member: Member, default_name: str) -> Plan:
        shape = self._service.shape(member.shape)
        name = member.location_name or shape.location_name or default_name
        opening, closing = f"<{name}{_namespace(member, shape)}>", f"</{name}>"
        if shape.type == "structure":
            return opening, closing, None, self._structure(member.shape, shape, opening, closing)
        if shape.type == "list":
            return opening, closing, None, self._list(member, shape, opening, closing)
        if shape.type == "map":
            return opening, closing, None, self._map(member, shape, opening, closing)
        form = member.timestamp_format or shape.timestamp_format
        return opening, closing, text_writer(shape.type, form, ec2=self._protocol == "ec2"), None

    def _structure(self, shape_name: str, shape: Shape, opening: str, closing: str) -> Write:
        attributes = {name: member.location_name for name, member in shape.members.items() if member.xml_attribute}
        body = self.body(shape_name)

        def write(value: Any, out: Extend) -> None:
            start = opening
            if attributes and value.__class__ is dict:
                given = "".join(
                    f' {wire}="{escape_attribute(value[name])}"' for name, wire in attributes.items() if name in value
                )
                start = opening[:-1] + given + ">"
            out((start, "", ""))
            body(value, out)
            out((closing, "", ""))

        return write

    def _list(self, member: Member, shape: Shape, opening: str, closing: str) -> Write:
        assert shape.member is not None
        flattened = member.flattened or shape.flattened
        default = "member"
        if flattened:
            default = opening[1:-1].partition(" ")[0]
        item = self._plan(shape.member, default)
        return _list_writer(item) if flattened else _wrapped(opening, closing, _list_writer(item))

    def _map(self, member: Member, shape: Shape, opening: str, closing: str) -> Write:
        assert shape.key is not None
        assert shape.value is not None
        flattened = member.flattened or shape.flattened
        key_opening, key_closing, _, _ = self._plan(shape.key, "key")
        item_opening, item_closing, convert, write_item = self._plan(shape.value, "value")
        entry_opening, entry_closing = (opening, closing) if flattened else ("<entry>", "</entry>")

        def write(value: Any, out: Extend) -> None:
            if not flattened:
                out((opening, "", ""))
            for key, item in value.items():
                out((entry_opening + key_opening, key, key_closing))
                if write_item is None:
                    out((item_opening, item if convert is None else convert(item), item_closing))
                else:
                    write_item(item, out)
                out((entry_closing, "", ""))
            if not flattened:
                out((closing, "", ""))

        return write


def _body_writer(shape_name: str, protocol: str, plan: dict[str, Plan], ignored: frozenset[str]) -> Write:
    def write(value: Any, out: Extend) -> None:
        if value.__class__ is Encoded:
            out(("", "", value.expect(shape_name, protocol)))
            return
        for name, item in value.items():
            if item is None:
                continue
            try:
                opening, closing, convert, write_item = plan[name]
            except KeyError:
                if name in ignored:
                    continue
                raise TypeError(f"{shape_name} has no member {name}") from None
            if write_item is not None:
                write_item(item, out)
            elif convert is None:
                out((opening, item, closing))
            else:
                out((opening, convert(item), closing))

    return write


def _list_writer(item: Plan) -> Write:
    opening, closing, convert, write_item = item

    def write_scalars(value: Any, out: Extend) -> None:
        for one in value:
            if one is not None:
                out((opening, one if convert is None else convert(one), closing))

    def write_containers(value: Any, out: Extend) -> None:
        assert write_item is not None
        for one in value:
            if one is not None:
                write_item(one, out)

    return write_scalars if write_item is None else write_containers


def _wrapped(opening: str, closing: str, write_items: Write) -> Write:
    def write(value: Any, out: Extend) -> None:
        out((opening, "", ""))
        write_items(value, out)
        out((closing, "", ""))

    return write


def _namespace(member: Member, shape: Shape) -> str:
    found = member.xml_namespace or shape.xml_namespace
    if not isinstance(found, dict):
        return f' xmlns="{found}"' if found else ""
    prefix = f":{found['prefix']}" if found.get("prefix") else ""
    return f' xmlns{prefix}="{found["uri"]}"'
