"""Typed: the parameters of an operation as one msgspec type, so that reading and checking a request is one pass in C.

    JSON bytes, CBOR values ─► msgspec, by the type ─► parameters, checked
                                     └─ refuses ─► json_reader and validate, which find AWS's words, or that it is right after all

What the type takes those take too, with the same result (a test asks both). It may refuse what is right (a number as text, a null, a value too long
for its pattern to be tried); then the request is read the long way. An operation whose shapes cannot be told as a type, or do not end, has none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import msgspec

from gureum.aws.protocols.models import Member, Operation, ServiceModel, Shape
from gureum.aws.protocols.patterns import safe_pattern
from gureum.aws.protocols.scalars import INTEGER_BITS, BadValue, read_timestamp

LIMIT_SHAPES = 400
"""Of one operation; larger ones take the long way rather than milliseconds to compile."""

Read = Callable[[Any], dict[str, Any]]


class Refused(Exception):
    """The type does not take it."""


class _AnyInstance(type):
    """msgspec asks whether what the hook returned is of the type."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return instance.__class__ is datetime


class _Timestamp(metaclass=_AnyInstance):
    """Stands for a timestamp in a type: read by `scalars.read_timestamp`."""


class _NoType(Exception):
    """A shape that is not told as a type."""


def _hook(wanted: type, value: Any) -> Any:
    # What the long way takes: numbers and text, and of CBOR datetimes, which are in UTC already.
    return value if value.__class__ is datetime else read_timestamp(value)


def json_reader(service: ServiceModel, operation: Operation) -> Read | None:
    """Body → checked parameters; raises Refused. None when the operation has no type."""
    found = input_type(service, operation)
    if found is None:
        return None
    decode = msgspec.json.Decoder(found, dec_hook=_hook).decode

    def read(body: bytes) -> dict[str, Any]:
        try:
            params: dict[str, Any] = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, BadValue, RecursionError) as error:
            raise Refused from error
        return params

    return read


def value_reader(service: ServiceModel, operation: Operation) -> Read | None:
    """The same for values that were decoded already, in which blobs are bytes."""
    found = input_type(service, operation, blobs=False)
    if found is None:
        return None

    def read(value: Any) -> dict[str, Any]:
        try:
            params: dict[str, Any] = msgspec.convert(value, found, dec_hook=_hook)
        except (msgspec.ValidationError, BadValue, RecursionError) as error:
            raise Refused from error
        return params

    return read


def input_type(service: ServiceModel, operation: Operation, *, blobs: bool = True) -> Any:
    """A TypedDict of the operation's input, with all constraints of its shapes. None when there is none. `blobs`: they come as base64."""
    if operation.input is None or service.is_recursive(operation.input.shape):
        return None
    try:
        found = _Types(service, blobs=blobs).of(operation.input)
        msgspec.json.Decoder(found, dec_hook=_hook)
    except (_NoType, TypeError, ValueError, RuntimeError):
        return None
    return found


class _Types:
    def __init__(self, service: ServiceModel, *, blobs: bool) -> None:
        self._service = service
        self._blobs = blobs
        self._known: dict[str, Any] = {}

    def of(self, member: Member) -> Any:
        if member.jsonvalue or member.location:
            raise _NoType
        name = member.shape
        if name not in self._known:
            if len(self._known) >= LIMIT_SHAPES:
                raise _NoType
            self._known[name] = self._made(name, self._service.shape(name))
        return self._known[name]

    def _made(self, name: str, shape: Shape) -> Any:
        if shape.document or shape.eventstream or shape.sparse:
            raise _NoType
        if shape.type == "structure":
            return self._structure(name, shape)
        if shape.type == "list":
            assert shape.member is not None
            return _sized(list[self.of(shape.member)], shape)  # type: ignore[misc]
        if shape.type == "map":
            assert shape.key is not None
            assert shape.value is not None
            return _sized(dict[self.of(shape.key), self.of(shape.value)], shape)  # type: ignore[misc]
        return self._scalar(shape)

    def _structure(self, name: str, shape: Shape) -> Any:
        fields: dict[str, Any] = {}
        for key, member in shape.members.items():
            if member.location_name not in ("", key):
                raise _NoType
            found = self.of(member)
            fields[key] = Required[found] if key in shape.required else NotRequired[found]
        return TypedDict(name, fields)  # type: ignore[operator]

    def _scalar(self, shape: Shape) -> Any:
        if shape.type in ("string", "character"):
            return _text(shape)
        if shape.type in INTEGER_BITS:
            half = 1 << INTEGER_BITS[shape.type] - 1
            least = -half if shape.min is None else max(-half, int(shape.min))
            most = half - 1 if shape.max is None else min(half - 1, int(shape.max))
            return Annotated[int, msgspec.Meta(ge=least, le=most)]
        if shape.type in ("float", "double"):
            return Annotated[float, msgspec.Meta(ge=shape.min, le=shape.max)]
        if shape.type == "boolean":
            return bool
        if shape.type == "timestamp":
            return _Timestamp
        if shape.type == "blob" and self._blobs:
            return _sized(bytes, shape)
        raise _NoType


def _sized(wanted: Any, shape: Shape) -> Any:
    if shape.min is None and shape.max is None:
        return wanted
    least = None if shape.min is None else int(shape.min)
    most = None if shape.max is None else int(shape.max)
    return Annotated[wanted, msgspec.Meta(min_length=least, max_length=most)]


def _text(shape: Shape) -> Any:
    least, most = shape.min or 0, 1 << 62 if shape.max is None else shape.max
    pattern, longest = safe_pattern(shape.pattern) if shape.pattern else (None, 0)
    longest = longest if pattern is not None else 1 << 62
    if shape.enum:
        fits = [one for one in shape.enum if least <= len(one) <= most]
        if pattern is not None:
            raise _NoType
        return Literal[tuple(fits)]
    meta: dict[str, Any] = {"min_length": int(least) or None, "max_length": int(min(most, longest))}
    if meta["max_length"] >= 1 << 62:
        meta["max_length"] = None
    if pattern is not None:
        meta["pattern"] = pattern
    return Annotated[str, msgspec.Meta(**meta)] if any(meta.values()) else str
