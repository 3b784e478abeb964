"""CBOR of smithy-rpc-v2-cbor: safe decoding, and writers from closures made once per shape.

Decoding is cbor2's with everything switched off that a request never needs: of all tags only timestamps (1) are left,
since others make the decoder allocate, share references or compile patterns. RFC 8949; Smithy:
smithy.protocols#rpcv2Cbor.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import cbor2

from gureum.aws.protocols.models import Member, ServiceModel
from gureum.aws.protocols.scalars import BadValue, read_timestamp, unix_seconds
from gureum.aws.protocols.wire import MAX_JSON_DEPTH, Encoded

Append = Callable[[bytes], None]
Write = Callable[[Any, Append], None]
# (encoded name, scalar to bytes or None, writer of containers or None)
Plan = tuple[bytes, Callable[[Any], bytes] | None, Write | None]

PROTOCOL = "smithy-rpc-v2-cbor"
_MAP, _LIST, _TEXT, _BYTES = 0xA0, 0x80, 0x60, 0x40
# All tags that cbor2 gives a meaning of its own.
_REFUSED_TAGS = (0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def _refuse_tag(value: Any, immutable: bool) -> NoReturn:
    raise cbor2.CBORDecodeError("tag")


def _decode_timestamp(value: Any, immutable: bool) -> datetime:
    if value.__class__ not in (int, float):
        raise cbor2.CBORDecodeError("timestamp")
    return read_timestamp(value)


_DECODERS: dict[int, Any] = dict.fromkeys(_REFUSED_TAGS, _refuse_tag) | {1: _decode_timestamp}


def decode_cbor(body: bytes) -> Any:
    """Raises BadValue for what is not CBOR, nests too deep or has tags other than timestamps."""
    try:
        return cbor2.loads(
            body,
            semantic_decoders=_DECODERS,
            tag_hook=_refuse_tag,
            max_depth=MAX_JSON_DEPTH,
            strict_hashable_types=True,
        )
    except (cbor2.CBORError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise BadValue("structure", text="Could not parse request body into CBOR") from error


class CborWriters:
    """Writers of one service, made on demand and kept."""

    def __init__(self, service: ServiceModel) -> None:
        self._service = service
        self._structures: dict[str, Write] = {}

    def structure(self, shape_name: str) -> Write:
        if shape_name not in self._structures:
            plan: dict[str, Plan] = {}
            self._structures[shape_name] = _structure_writer(shape_name, plan)
            for name, member in self._service.shape(shape_name).members.items():
                plan[name] = (write_text(name), *self._writer(member))
        return self._structures[shape_name]

    def dump(self, shape_name: str, value: dict[str, Any]) -> bytes:
        parts: list[bytes] = []
        self.structure(shape_name)(value, parts.append)
        return b"".join(parts)

    def members(self, shape_name: str, value: dict[str, Any]) -> bytes:
        """The entries of a structure without the head of their map; none of them None."""
        dumped = self.dump(shape_name, value)
        return dumped[len(_head(_MAP, len(value))) :]

    def encode(self, shape_name: str, value: dict[str, Any]) -> Encoded:
        return Encoded(shape_name, PROTOCOL, self.dump(shape_name, value))

    def _writer(self, member: Member) -> tuple[Callable[[Any], bytes] | None, Write | None]:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return None, _write_document if shape.document else self.structure(member.shape)
        if shape.type == "list":
            assert shape.member is not None
            return None, _list_writer(*self._writer(shape.member))
        if shape.type == "map":
            assert shape.value is not None
            return None, _map_writer(*self._writer(shape.value))
        return _SCALARS.get(shape.type, write_text), None


def map_head(size: int) -> bytes:
    """The start of a map of `size` entries."""
    return _head(_MAP, size)


def _structure_writer(shape_name: str, plan: dict[str, Plan]) -> Write:
    def write(value: Any, out: Append) -> None:
        if value.__class__ is Encoded:
            out(value.expect(shape_name, PROTOCOL))
            return
        out(_head(_MAP, len(value) - [*value.values()].count(None)))
        for name, item in value.items():
            if item is None:
                continue
            try:
                key, convert, write_item = plan[name]
            except KeyError:
                raise TypeError(f"{shape_name} has no member {name}") from None
            out(key)
            if convert is not None:
                out(convert(item))
            elif write_item is not None:
                write_item(item, out)

    return write


def _list_writer(convert: Callable[[Any], bytes] | None, write_item: Write | None) -> Write:
    def write(value: Any, out: Append) -> None:
        out(_head(_LIST, len(value)))
        for item in value:
            if item is None:
                out(b"\xf6")
            elif convert is not None:
                out(convert(item))
            elif write_item is not None:
                write_item(item, out)

    return write


def _map_writer(convert: Callable[[Any], bytes] | None, write_item: Write | None) -> Write:
    def write(value: Any, out: Append) -> None:
        out(_head(_MAP, len(value)))
        for key, item in value.items():
            out(write_text(key))
            if item is None:
                out(b"\xf6")
            elif convert is not None:
                out(convert(item))
            elif write_item is not None:
                write_item(item, out)

    return write


def _head(major: int, size: int) -> bytes:
    """RFC 8949, 3: the initial byte and the argument in as few bytes as it fits."""
    if size < 24:
        return bytes((major | size,))
    if size < 1 << 8:
        return bytes((major | 24, size))
    if size < 1 << 16:
        return struct.pack(">BH", major | 25, size)
    if size < 1 << 32:
        return struct.pack(">BI", major | 26, size)
    return struct.pack(">BQ", major | 27, size)


def write_text(value: str) -> bytes:
    """A text string; lone surrogates, which CBOR cannot carry, become U+FFFD."""
    raw = (
        value.encode("utf-8", "replace")
        if value.isascii()
        else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    )
    return _head(_TEXT, len(raw)) + raw


def _write_bytes(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _head(_BYTES, len(raw)) + raw


def _write_integer(value: int) -> bytes:
    return _head(0, value) if value >= 0 else _head(0x20, -1 - value)


def _write_float(value: float) -> bytes:
    return struct.pack(">Bd", 0xFB, value)


def _write_boolean(value: bool) -> bytes:
    return b"\xf5" if value else b"\xf4"


def _write_timestamp(value: datetime | float) -> bytes:
    seconds = unix_seconds(value)
    return b"\xc1" + (_write_integer(seconds) if isinstance(seconds, int) else _write_float(seconds))


def _write_document(value: Any, out: Append) -> None:
    out(cbor2.dumps(value))


_SCALARS: dict[str, Callable[[Any], bytes]] = {
    "blob": _write_bytes,
    "boolean": _write_boolean,
    "integer": _write_integer,
    "long": _write_integer,
    "float": _write_float,
    "double": _write_float,
    "timestamp": _write_timestamp,
}
