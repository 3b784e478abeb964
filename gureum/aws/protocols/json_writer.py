"""JSON writer: results become what the JSON encoder takes, from closures made once per shape.

A closure of None means that values of the shape are encodable as they are, so plain lists and maps cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.scalars import http_date, iso8601, unix_seconds, write_blob, write_float
from gureum.aws.protocols.wire import Encoded, Ready

Convert = Callable[[Any], Any]
_encode = msgspec.json.Encoder().encode


def encode_json(value: Any) -> bytes:
    """UTF-8. Lone surrogates, which it cannot carry, become U+FFFD."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_repaired(value))


def _repaired(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_repaired(key): _repaired(item) for key, item in value.items()}
    if isinstance(value, Ready):
        return _repaired(msgspec.to_builtins(value))
    return [_repaired(item) for item in value] if isinstance(value, (list, tuple)) else value


class JsonWriters:
    """Writers of one service, made on demand and kept. `protocol`: "json" or "rest-json"."""

    def __init__(self, service: ServiceModel, protocol: str) -> None:
        self._service = service
        self._protocol = protocol
        self._structures: dict[str, Convert] = {}

    def structure(self, shape_name: str) -> Convert:
        """Members with a location (headers, status) are left out."""
        if shape_name not in self._structures:
            plan: dict[str, tuple[str, Convert | None]] = {}
            shape = self._service.shape(shape_name)
            ignored = frozenset(name for name, member in shape.members.items() if member.location)
            self._structures[shape_name] = _structure_writer(shape_name, self._protocol, plan, ignored)
            for name, member in shape.members.items():
                if not member.location:
                    plan[name] = (member.location_name or name, self.writer(member))
        return self._structures[shape_name]

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        return Encoded(shape_name, self._protocol, encode_json(self.structure(shape_name)(value)))

    def writer(self, member: Member) -> Convert | None:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return None if shape.document else self.structure(member.shape)
        if shape.type == "list":
            return self._list(shape)
        if shape.type == "map":
            return self._map(shape)
        if shape.type == "timestamp":
            return _TIMESTAMPS.get(member.timestamp_format or shape.timestamp_format, unix_seconds)
        return _SCALARS.get(shape.type)

    def _list(self, shape: Shape) -> Convert | None:
        assert shape.member is not None
        convert = self.writer(shape.member)
        if convert is None:
            return None

        def write(value: Any) -> Any:
            if value and isinstance(value[0], Ready):
                return value
            return [None if item is None else convert(item) for item in value]

        return write

    def _map(self, shape: Shape) -> Convert | None:
        assert shape.value is not None
        convert = self.writer(shape.value)
        if convert is None:
            return None
        return lambda value: {key: None if item is None else convert(item) for key, item in value.items()}


def _structure_writer(
    shape_name: str, protocol: str, plan: dict[str, tuple[str, Convert | None]], ignored: frozenset[str]
) -> Convert:
    def write(value: Any) -> Any:
        if value.__class__ is Encoded:
            return msgspec.Raw(value.expect(shape_name, protocol))
        found = {}
        for name, item in value.items():
            if item is None or name in ignored:
                continue
            try:
                wire, convert = plan[name]
            except KeyError:
                raise TypeError(f"{shape_name} has no member {name}") from None
            found[wire] = item if convert is None else convert(item)
        return found

    return write


def _write_float(value: float) -> float | str:
    """JSON has no NaN and no infinities; AWS writes them as strings."""
    return value if value - value == 0 else write_float(value)


_TIMESTAMPS: dict[str, Convert] = {"iso8601": iso8601, "rfc822": http_date, "unixTimestamp": unix_seconds}
_SCALARS: dict[str, Convert] = {"blob": write_blob, "float": _write_float, "double": _write_float}
