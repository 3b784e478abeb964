"""JSON reader: decoded JSON (or CBOR) of requests to parameters by botocore's names, from closures made once per shape.

Unknown members are ignored, as AWS does; a null is the same as nothing. A value of the wrong kind raises BadValue with
AWS's words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.scalars import INTEGER_BITS, BadValue, read_blob, read_timestamp
from gureum.aws.protocols.wire import MAX_JSON_DEPTH

Read = Callable[[Any], Any]
# (member, class that needs no reading, how to read all others)
Plan = tuple[str, type, Read]


class _Nothing:
    """The class of no value: everything is read."""


class JsonReaders:
    """Readers of one service, made on demand and kept. `cbor`: blobs are bytes and timestamps tagged."""

    def __init__(self, service: ServiceModel, *, cbor: bool = False) -> None:
        self._service = service
        self._cbor = cbor
        self._structures: dict[str, Read] = {}

    def whole(self, member: Member) -> Read:
        """Reads a whole body. One whose depth the model does not limit is measured first."""
        read = self.reader(member)[1]
        if not self._service.is_recursive(member.shape):
            return read

        def read_measured(value: Any) -> Any:
            check_depth(value)
            return read(value)

        return read_measured

    def structure(self, shape_name: str) -> Read:
        """Reads the members without a location; those of headers, path and query string are the business of REST."""
        if shape_name not in self._structures:
            plan: dict[str, Plan] = {}
            self._structures[shape_name] = _structure_reader(plan)
            for name, member in self._service.shape(shape_name).members.items():
                if not member.location:
                    plan[name if self._cbor else member.location_name or name] = (name, *self.reader(member))
        return self._structures[shape_name]

    def reader(self, member: Member) -> tuple[type, Read]:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return _Nothing, _read_document if shape.document else self.structure(member.shape)
        if shape.type == "list":
            return _Nothing, self._list(shape)
        if shape.type == "map":
            return _Nothing, self._map(shape)
        if shape.type in INTEGER_BITS:
            return _Nothing, _integer_reader(INTEGER_BITS[shape.type])
        if shape.type == "timestamp":
            return (datetime if self._cbor else _Nothing), _read_timestamp
        if shape.type == "blob":
            return (bytes, _wrong_kind("Blob")) if self._cbor else (_Nothing, _read_base64)
        return _SCALARS.get(shape.type, (str, _wrong_kind("String")))

    def _list(self, shape: Shape) -> Read:
        assert shape.member is not None
        easy, read = self.reader(shape.member)
        sparse = shape.sparse

        def read_list(value: Any) -> list[Any]:
            if value.__class__ is not list:
                raise _not(value, "list")
            found = []
            for item in value:
                if item.__class__ is easy:
                    found.append(item)
                elif item is not None:
                    found.append(read(item))
                elif sparse:
                    found.append(None)
                else:
                    raise BadValue("list", text="Lists must not contain null values")
            return found

        return read_list

    def _map(self, shape: Shape) -> Read:
        assert shape.value is not None
        easy, read = self.reader(shape.value)
        sparse = shape.sparse

        def read_map(value: Any) -> dict[str, Any]:
            if value.__class__ is not dict:
                raise _not(value, "map")
            found = {}
            for key, item in value.items():
                if key.__class__ is not str:
                    raise _not(key, "String")
                if item.__class__ is easy:
                    found[key] = item
                elif item is not None:
                    found[key] = read(item)
                elif sparse:
                    found[key] = None
            return found

        return read_map


def _structure_reader(plan: dict[str, Plan]) -> Read:
    def read(value: Any) -> dict[str, Any]:
        if value.__class__ is not dict:
            raise _not(value, "structure")
        found = {}
        for key, item in value.items():
            if item is None or key not in plan:
                continue
            name, easy, inner = plan[key]
            found[name] = item if item.__class__ is easy else inner(item)
        return found

    return read


_TOKENS: dict[type, str] = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE"}


def _not(value: Any, expected: str) -> BadValue:
    """AWS's words (Coral's) for a value of another kind."""
    if value.__class__ is dict:
        return BadValue(expected, text="Start of structure or map found where not expected.")
    if value.__class__ is list:
        return BadValue(expected, text="Start of list found where not expected.")
    found = f"{value}_VALUE".upper() if value.__class__ is bool else _TOKENS.get(value.__class__, "VALUE")
    if expected in ("structure", "list", "map"):
        return BadValue(expected, text=f"Unexpected token: {found} where a {expected} is expected.")
    return BadValue(expected, text=f"{found} can not be converted to {'an' if expected[0] == 'I' else 'a'} {expected}")


def _wrong_kind(expected: str) -> Read:
    def refuse(value: Any) -> Any:
        raise _not(value, expected)

    return refuse


def _integer_reader(bits: int) -> Read:
    least, most = -(1 << bits - 1), (1 << bits - 1) - 1
    expected = "Long" if bits == 64 else "Integer"

    def read(value: Any) -> Any:
        if value.__class__ is float and value.is_integer():
            value = int(value)
        if value.__class__ is not int or not least <= value <= most:
            raise _not(value, expected)
        return value

    return read


def _read_float(value: Any) -> float:
    if value.__class__ is int:
        try:
            return float(value)
        except OverflowError as error:
            raise _not(value, "Double") from error
    if value in ("NaN", "Infinity", "-Infinity"):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[value]
    raise _not(value, "Double")


def _read_base64(value: Any) -> bytes:
    if value.__class__ is not str:
        raise _not(value, "Blob")
    try:
        return read_blob(value)
    except BadValue as bad:
        bad.text = "Invalid base64 data"
        raise


def _read_timestamp(value: Any) -> datetime:
    try:
        return read_timestamp(value)
    except BadValue as bad:
        raise _not(value, "Timestamp") from bad


def _read_document(value: Any) -> Any:
    """A free JSON value, which the model does not limit."""
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises BadValue for what nests too deep, so that nothing after this has to walk it with care."""
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for item in level
            if item.__class__ in (dict, list)
            for inner in (item.values() if item.__class__ is dict else item)
        ]
        if not level:
            return
    raise BadValue("document", text="The request body nests too deep.")


_SCALARS: dict[str, tuple[type, Read]] = {
    "string": (str, _wrong_kind("String")),
    "character": (str, _wrong_kind("String")),
    "boolean": (bool, _wrong_kind("Boolean")),
    "float": (float, _read_float),
    "double": (float, _read_float),
}
