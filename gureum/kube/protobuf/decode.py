"""Reads Kubernetes' protobuf: an envelope that names kind and version, and in it the object; as JSON's values, as the original would write them.

A field that the table does not know is an error, never nothing: what would silently be lost would fail later and elsewhere.
Sources: k8s.io/apimachinery/pkg/runtime/generated.proto (Unknown), protobuf encoding (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from gureum.kube.protobuf.messages import Field, fields_of, message_of

MAGIC = b"k8s\x00"
CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
LIMIT_DEPTH = 100
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Raw = int | bytes
# A field's value from the wire, and how deep it lies.
Reader = Callable[[Raw, int], Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadProtobuf(ValueError):
    """The body is not what it says it is. The text is for the client."""


def decode(body: bytes) -> tuple[str, str, dict[str, Any]]:
    """apiVersion, kind and object of a request body. The object carries apiVersion and kind, too, as JSON bodies do. BadProtobuf."""
    if not body.startswith(MAGIC):
        raise BadProtobuf("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    version, kind, raw, content_type = _envelope(body[len(MAGIC) :])
    if content_type == "application/json":
        return version, kind, _json(raw)
    name = message_of(version, kind)
    if fields_of(name) is None:
        raise BadProtobuf(f'no kind "{kind}" is registered for version "{version}"')
    return version, kind, {"apiVersion": version, "kind": kind} | decode_message(name, raw)


def decode_message(message: str, body: bytes, depth: int = 0) -> dict[str, Any]:
    """One message by its name (`core/v1.Pod`). BadProtobuf."""
    fields = fields_of(message)
    assert fields is not None, message
    if depth > LIMIT_DEPTH:
        raise BadProtobuf("the message is nested too deeply")
    found: dict[str, Any] = {}
    for number, wire, raw in _wire(body):
        field = fields.get(number)
        if field is None:
            raise BadProtobuf(f"{message}: field {number} is unknown")
        _put(found, field, wire, raw, depth, message)
    return {name: value for name, value in found.items() if value is not None}


def _put(found: dict[str, Any], field: Field, wire: int, raw: Raw, depth: int, message: str) -> None:
    reader, expected = _reader(field.type)
    if field.mapped:
        found.setdefault(field.name, {}).update([_entry(raw, reader, depth)])
    elif field.repeated and wire == BYTES and expected == VARINT:  # packed
        found.setdefault(field.name, []).extend(reader(one, depth) for one in _varints(_bytes(raw)))
    elif wire != expected:
        raise BadProtobuf(f"{message}: field {field.name} has wire type {wire}, not {expected}")
    elif field.repeated:
        found.setdefault(field.name, []).append(reader(raw, depth))
    elif field.inline:
        found.update(reader(raw, depth))
    else:
        value = reader(raw, depth)
        # What Go writes always, since it is no pointer, JSON leaves out when it is empty.
        empty = field.optional and not field.pointer and not isinstance(value, dict) and not value
        if not empty:
            found[field.name] = value
        else:
            found.pop(field.name, None)


def _entry(raw: Raw, reader: Reader, depth: int) -> tuple[str, Any]:
    key, value = "", None
    for number, _, part in _wire(_bytes(raw)):
        if number == 1:
            key = _text(part)
        elif number == 2:
            value = reader(part, depth)
        else:
            raise BadProtobuf(f"field {number} of a map's entry is unknown")
    return key, reader(b"", depth) if value is None else value


def _envelope(body: bytes) -> tuple[str, str, bytes, str]:
    version = kind = content_type = ""
    raw = b""
    for number, _, value in _wire(body):
        if number == 1:
            for inner, _, text in _wire(_bytes(value)):
                version, kind = (_text(text), kind) if inner == 1 else (version, _text(text))
        elif number == 2:
            raw = _bytes(value)
        elif number == 4:
            content_type = _text(value)
    return version, kind, raw, content_type


def _wire(body: bytes) -> Iterator[tuple[int, int, Raw]]:
    """Field number, wire type and value of each field."""
    at, end = 0, len(body)
    while at < end:
        tag, at = _varint(body, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(body, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = _varint(body, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise BadProtobuf(f"wire type {wire} is not used")
        if number == 0 or length > end - at:
            raise BadProtobuf("unexpected EOF")
        yield number, wire, body[at : at + length]
        at += length


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(body) or shift > 63:
            raise BadProtobuf("unexpected EOF")
        byte = body[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at


def _varints(body: bytes) -> Iterator[int]:
    at = 0
    while at < len(body):
        value, at = _varint(body, at)
        yield value


@cache
def _reader(type_: str) -> tuple[Reader, int]:
    """How a value of a type is read, and the wire type it has."""
    plain: dict[str, tuple[Reader, int]] = {
        "string": (lambda raw, _: _text(raw), BYTES),
        "bytes": (lambda raw, _: base64.b64encode(_bytes(raw)).decode(), BYTES),
        "bool": (lambda raw, _: bool(raw), VARINT),
        "int": (lambda raw, _: _signed(raw), VARINT),
        "float": (lambda raw, _: struct.unpack("<d", _bytes(raw).ljust(8, b"\0"))[0], FIXED64),
        "Time": (lambda raw, _: _time(raw, "seconds"), BYTES),
        "MicroTime": (lambda raw, _: _time(raw, "microseconds"), BYTES),
        "Duration": (lambda raw, _: _duration(raw), BYTES),
        "Quantity": (lambda raw, _: _members(raw).get(1, b"").decode(), BYTES),
        "IntOrString": (lambda raw, _: _int_or_string(raw), BYTES),
        "RawJSON": (lambda raw, _: _json(_members(raw).get(1, b"null")), BYTES),
        "RawExtension": (lambda raw, _: _extension(raw), BYTES),
        "Strings": (lambda raw, _: [_text(one) for _, _, one in _wire(_bytes(raw))], BYTES),
        "SchemaOrBool": (_schema_or_bool, BYTES),
        "SchemaOrArray": (_schema_or_array, BYTES),
        "SchemaOrStrings": (_schema_or_strings, BYTES),
    }
    return plain.get(type_) or ((lambda raw, depth: decode_message(type_, _bytes(raw), depth + 1)), BYTES)


def _members(raw: Raw) -> dict[int, Any]:
    return {number: value for number, _, value in _wire(_bytes(raw))}


def _signed(raw: Raw) -> int:
    if not isinstance(raw, int):
        raise BadProtobuf("a number was expected")
    return raw - (1 << 64) if raw >> 63 else raw


def _bytes(raw: Raw) -> bytes:
    if not isinstance(raw, bytes):
        raise BadProtobuf("a text or message was expected")
    return raw


def _text(raw: Raw) -> str:
    try:
        return _bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise BadProtobuf("a string is not UTF-8") from error


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadProtobuf(f"the JSON within is broken: {error}") from error


def _time(raw: Raw, precision: str) -> str | None:
    """RFC 3339; None for the zero time, which JSON has as null."""
    members = _members(raw)
    if not members:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=_signed(members.get(1, 0)), microseconds=_signed(members.get(2, 0)) // 1000)
    except OverflowError as error:
        raise BadProtobuf("a time is out of range") from error
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _duration(raw: Raw) -> str:
    """As Go writes a time.Duration, which has nanoseconds."""
    nanoseconds = _signed(_members(raw).get(1, 0))
    sign, left = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    if left < 1_000_000_000:
        for size, unit in ((1_000_000, "ms"), (1_000, "µs")):
            if left >= size:
                return f"{sign}{left / size:g}{unit}"
        return f"{sign}{left}ns" if left else "0s"
    minutes, seconds = divmod(left, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def _int_or_string(raw: Raw) -> int | str:
    members = _members(raw)
    return _text(members.get(3, b"")) if members.get(1) else _signed(members.get(2, 0))


def _extension(raw: Raw) -> Any:
    inner = _bytes(_members(raw).get(1, b""))
    if inner.startswith(MAGIC):
        return decode(inner)[2]
    return _json(inner) if inner else None


def _schema_or_bool(raw: Raw, depth: int) -> Any:
    members = _members(raw)
    if 2 in members:
        return decode_message("apiextensions/v1.JSONSchemaProps", _bytes(members[2]), depth + 1)
    return bool(members.get(1, 0))


def _schema_or_array(raw: Raw, depth: int) -> Any:
    found = [
        (number, decode_message("apiextensions/v1.JSONSchemaProps", _bytes(one), depth + 1))
        for number, _, one in _wire(_bytes(raw))
    ]
    return found[0][1] if len(found) == 1 and found[0][0] == 1 else [one for _, one in found]


def _schema_or_strings(raw: Raw, depth: int) -> Any:
    parts = list(_wire(_bytes(raw)))
    if parts and parts[0][0] == 1:
        return decode_message("apiextensions/v1.JSONSchemaProps", _bytes(parts[0][2]), depth + 1)
    return [_text(one) for _, _, one in parts]
