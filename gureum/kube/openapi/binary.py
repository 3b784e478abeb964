"""OpenAPI version 2 as protobuf: `kubectl explain --output=plaintext-openapiv2` takes nothing else.

Message numbers: github.com/google/gnostic-models, openapiv2/OpenAPIv2.proto. Written is what Kubernetes' documents have; marks (`x-…`) go as YAML,
for which JSON serves.
"""

from __future__ import annotations

import json
import struct
from typing import Any

CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
Node = dict[str, Any]
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
# Number and whether it stands as text in the message (else as varint or double).
_SCHEMA_TEXTS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_SCHEMA_NUMBERS = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_SCHEMA_COUNTS = {
    "maxLength": 11,
    "minLength": 12,
    "maxItems": 14,
    "minItems": 15,
    "maxProperties": 17,
    "minProperties": 18,
}
_SCHEMA_FLAGS = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16, "readOnly": 27}


def document(node: Node) -> bytes:
    """A whole document of version 2."""
    info = _text(1, node["info"]["title"]) + _text(2, node["info"]["version"])
    paths = b"".join(_part(2, _named(path, _path_item(item))) for path, item in node["paths"].items())
    schemas = b"".join(_part(1, _named(name, _schema(one))) for name, one in node["definitions"].items())
    return _text(1, node["swagger"]) + _part(2, info) + _part(8, paths) + _part(9, schemas)


def _path_item(item: Node) -> bytes:
    found = b"".join(_part(_METHODS[name], _operation(one)) for name, one in item.items() if name in _METHODS)
    return found + b"".join(_part(9, _parameter(one)) for one in item.get("parameters", ()))


def _operation(node: Node) -> bytes:
    found = _text(3, node.get("description", "")) + _text(5, node.get("operationId", ""))
    found += b"".join(_part(8, _parameter(one)) for one in node.get("parameters", ()))
    answers = b"".join(
        _part(1, _named(code, _part(1, _text(1, one.get("description", "")) + _answer_schema(one))))
        for code, one in node.get("responses", {}).items()
    )
    return found + _part(9, answers) + _marks(node, 13)


def _answer_schema(answer: Node) -> bytes:
    return _part(2, _part(1, _schema(answer["schema"]))) if "schema" in answer else b""


def _parameter(node: Node) -> bytes:
    """A ParametersItem that holds a Parameter."""
    if node["in"] == "body":
        body = (
            _text(2, node["name"])
            + _text(3, "body")
            + _flag(4, node.get("required"))
            + _part(5, _schema(node["schema"]))
        )
        return _part(1, _part(1, body))
    in_path = node["in"] == "path"
    inner = _flag(1, node.get("required")) + _text(2, node["in"]) + _text(4, node["name"])
    inner += _text(5 if in_path else 6, node["type"]) + _flag(19 if in_path else 20, node.get("uniqueItems"))
    return _part(1, _part(2, _part(4 if in_path else 3, inner)))


def _schema(node: Node) -> bytes:
    found = b""
    for name, value in node.items():
        if name in _SCHEMA_TEXTS:
            found += _text(_SCHEMA_TEXTS[name], value)
        elif name in _SCHEMA_NUMBERS:
            found += _key(_SCHEMA_NUMBERS[name], 1) + struct.pack("<d", value)
        elif name in _SCHEMA_COUNTS:
            found += _key(_SCHEMA_COUNTS[name], 0) + _varint(value)
        elif name in _SCHEMA_FLAGS:
            found += _flag(_SCHEMA_FLAGS[name], value)
    found += b"".join(_text(19, one) for one in node.get("required", ()))
    found += b"".join(_part(20, _any(one)) for one in node.get("enum", ()))
    if "default" in node:
        found += _part(5, _any(node["default"]))
    if "additionalProperties" in node:
        more = node["additionalProperties"]
        found += _part(21, _part(1, _schema(more)) if isinstance(more, dict) else _flag(2, more))
    if isinstance(node.get("type"), str):
        found += _part(22, _text(1, node["type"]))
    if "items" in node:
        found += _part(23, _part(1, _schema(node["items"])))
    found += b"".join(_part(24, _schema(one)) for one in node.get("allOf", ()))
    if "properties" in node:
        inner = b"".join(_part(1, _named(name, _schema(one))) for name, one in node["properties"].items())
        found += _part(25, inner)
    return found + _marks(node, 31)


def _marks(node: Node, number: int) -> bytes:
    return b"".join(_part(number, _named(name, _any(value))) for name, value in node.items() if name.startswith("x-"))


def _any(value: Any) -> bytes:
    return _text(2, json.dumps(value))


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _part(2, value)


def _flag(number: int, value: Any) -> bytes:
    return _key(number, 0) + b"\x01" if value else b""


def _text(number: int, value: str) -> bytes:
    return _part(number, value.encode()) if value else b""


def _part(number: int, content: bytes) -> bytes:
    return _key(number, 2) + _varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(number: int) -> bytes:
    found: list[int] = []
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
