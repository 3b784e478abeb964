"""Event streams: the frames in which operations such as StartLiveTail answer little by little.

    total length │ header length │ CRC │ headers … │ payload … │ CRC      all integers big-endian

AWS: Smithy, "Amazon Event Stream Specification" (application/vnd.amazon.eventstream).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

from gureum.aws.protocols.wire import Response

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def stream_serializer(member: str, headers: dict[str, str] | None = None) -> Callable[[dict[str, Any], str], Response]:
    """Answers with the frames that the operation gives in `member`: an async iterator of bytes made with
    `Compiled.event`, or bytes."""

    def serialize(result: dict[str, Any], request_id: str) -> Response:
        return Response(
            200, {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id, **(headers or {})}, result[member]
        )

    return serialize


def encode_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame. Header values are strings, of at most 64 KiB."""
    fields = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(fields) + len(payload), len(fields))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + fields + payload
    return frame + struct.pack(">I", zlib.crc32(frame))


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack(">B", len(key)) + key + struct.pack(">BH", _STRING, len(text)) + text


def encode_event(kind: str, content_type: str, payload: bytes) -> bytes:
    """A frame that carries the event `kind` ("initial-response" starts a stream of the RPC protocols)."""
    return encode_frame({":event-type": kind, ":content-type": content_type, ":message-type": "event"}, payload)


def encode_exception(kind: str, content_type: str, payload: bytes) -> bytes:
    """A frame that ends a stream with a modelled error."""
    return encode_frame({":exception-type": kind, ":content-type": content_type, ":message-type": "exception"}, payload)
