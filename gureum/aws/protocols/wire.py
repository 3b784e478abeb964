"""What goes in and out of the protocols: requests, responses, fragments, and the limits that hold for all of them.

    bytes of the client ─► gateway ─► Request ─► identify ─► Compiled.parse ─► validate ─► the operation
                                      Response ◄─ Compiled.serialize ◄─ result | AwsError

Nothing here knows a service or a model.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from gureum.aws.errors import AwsError

# EC2 takes 1000 elements in a list and 200 values in each of 200 filters; nothing honest comes near this.
MAX_QUERY_PARAMETERS = 50_000
MAX_NAME_DEPTH = 40
MAX_JSON_DEPTH = 100
MAX_XML_DEPTH = 64
MAX_XML_ELEMENTS = 200_000
_HEADER_CONTROLS = re.compile("[\x00-\x1f\x7f]")


class Request(msgspec.Struct, frozen=True):
    """`path`: raw, still percent-encoded. `query`: raw, without the question mark. `headers`: lower-case names. `body`:
    decoded by `decode_body`."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Response(msgspec.Struct):
    """`headers`: lower-case names. `body`: bytes; or, where the model has a streaming payload, whatever the operation
    gave (an async iterator of bytes)."""

    status: int
    headers: dict[str, str]
    body: Any


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A structure already written in one protocol; stands wherever the serialiser of that protocol expects a structure
    of `shape`. `data` is for the serialiser alone; it is valid as long as the object it was made from does not
    change."""

    shape: str
    protocol: str
    data: Any

    def expect(self, shape: str, protocol: str) -> Any:
        """The data. TypeError where another shape or protocol is expected."""
        if self.shape != shape or self.protocol != protocol:
            raise TypeError(f"a fragment of {self.shape} in {self.protocol} stands for {shape} in {protocol}")
        return self.data


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A structure whose fields are the shape's members, named and typed as the protocol json writes them: a list of such is
    written as it stands, without a look at each. For answers with thousands of small items."""


def clean_header(text: str) -> str:
    """A header's value: no control characters (a line break would start another header); UTF-8 shown as Latin-1, which
    is how headers travel."""
    return _HEADER_CONTROLS.sub(" ", text).encode("utf-8", "replace").decode("latin-1")


def decode_body(headers: dict[str, str], body: bytes, limit: int) -> bytes:
    """The body without its content encoding (gzip, which clients use for large requests; aws-chunked, S3's). At most
    `limit` bytes are ever made. Raises AwsError: RequestEntityTooLarge (413), InvalidRequest (400) for broken or
    unknown encodings."""
    if len(body) > limit:
        raise _too_large(limit)
    encodings = [one.strip() for one in headers.get("content-encoding", "").lower().split(",") if one.strip()]
    for encoding in reversed(encodings):
        if encoding == "gzip":
            body = _gunzip(body, limit)
        elif encoding == "aws-chunked":
            body = _unchunk(body)
        elif encoding != "identity":
            raise AwsError("InvalidRequest", f"The content encoding {encoding[:40]} is not supported.")
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    out = bytearray()
    try:
        while body:
            stream = zlib.decompressobj(31)
            out += stream.decompress(body, limit + 1 - len(out))
            if len(out) > limit:
                raise _too_large(limit)
            if not stream.eof:
                raise AwsError("InvalidRequest", "The gzip body ends early.")
            body = stream.unused_data
    except zlib.error as error:
        raise AwsError("InvalidRequest", "The body is not gzip.") from error
    return bytes(out)


def _unchunk(body: bytes) -> bytes:
    return b"".join(data for data, _, _ in chunks_of(body))


def chunks_of(body: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """S3's chunks (`aws-chunked`): size in hexadecimal and perhaps an extension (its signature), CRLF, data, CRLF, and so on to a chunk of size 0;
    each with its data, its extension, and, the last one, what comes after it: the trailers. AWS: S3, "Signature calculations … Transferring payload
    in multiple chunks". IncompleteBody."""
    start = 0
    while True:
        end = body.find(b"\r\n", start, start + 1024)
        size, _, extension = body[start:end].partition(b";") if end >= 0 else (b"", b"", b"")
        if not 0 < len(size) <= 16 or size.strip(b"0123456789abcdefABCDEF"):
            raise AwsError("IncompleteBody", "The request body is not in chunks as its encoding says.")
        count = int(size, 16)
        if count == 0:
            yield b"", extension, body[end + 2 :]
            return
        start = end + 2 + count + 2
        if body[start - 2 : start] != b"\r\n":
            raise AwsError("IncompleteBody", "The request body ends within a chunk.")
        yield body[end + 2 : start - 2], extension, b""


def _too_large(limit: int) -> AwsError:
    return AwsError("RequestEntityTooLarge", f"The request is larger than {limit} bytes.", status=413)
