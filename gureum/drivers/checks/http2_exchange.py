"""One request by HTTP/2 (RFC 9113) over a connection that is there, and its answer's status: for health checks. The library `h2` keeps the protocol;
this module moves its bytes and bounds them.

By cleartext it starts with prior knowledge, as load balancers do towards their targets. It never reads bodies and sends no more than one message.
"""

from __future__ import annotations

import asyncio

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from gureum.drivers.checks.checks import MalformedError

EMPTY_MESSAGE = b"\x00\x00\x00\x00\x00"
"""gRPC over HTTP/2: not compressed, zero bytes long."""
_FRAME_TYPE_AT, _SETTINGS = 3, 4
_READ_BYTES = 16 * 1024
_NO_STATUS = "GRPCStatusHeaderEmpty"
Request = tuple[tuple[str, str], ...]


class Http2Exchange:
    """`limit_bytes`: of everything that the other side may send."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    async def get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> int:
        """The answer's status. MalformedError when none comes."""
        talk = _Talk(reader, writer, self._limit_bytes)
        talk.ask(request)
        while True:
            for event in await talk.events():
                if isinstance(event, ResponseReceived):
                    talk.leave()
                    return _number(_fields(event), ":status")

    async def call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> int:
        """The grpc-status of a unary call with an empty message. MalformedError when the answer has none."""
        talk = _Talk(reader, writer, self._limit_bytes)
        talk.ask(request, EMPTY_MESSAGE)
        while True:
            for event in await talk.events():
                if isinstance(event, ResponseReceived | TrailersReceived):
                    fields = _fields(event)
                    if "grpc-status" in fields:
                        talk.leave()
                        if not fields["grpc-status"]:
                            raise MalformedError(_NO_STATUS)
                        return _number(fields, "grpc-status")
                if isinstance(event, StreamEnded):
                    raise MalformedError(_NO_STATUS)


class _Talk:
    """A connection with one stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit_bytes: int) -> None:
        self._reader, self._writer = reader, writer
        self._left = limit_bytes
        self._start = b""
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))

    def ask(self, request: Request, message: bytes = b"") -> None:
        connection = self._connection
        connection.initiate_connection()
        connection.send_headers(1, list(request), end_stream=not message)
        if message:
            connection.send_data(1, message, end_stream=True)
        self._flush()

    async def events(self) -> list[Event]:
        """What comes next; MalformedError when nothing more comes, or the stream ends in an error."""
        data = await self._reader.read(_READ_BYTES)
        self._left -= len(data)
        if not data:
            raise MalformedError("ConnectionReset")
        if self._left < 0:
            raise MalformedError
        self._look_at_start(data)
        try:
            events = self._connection.receive_data(data)
        except (ProtocolError, UnicodeDecodeError) as error:
            raise MalformedError from error
        for event in events:
            if isinstance(event, StreamReset | ConnectionTerminated):
                raise MalformedError
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                self._connection.acknowledge_received_data(event.flow_controlled_length, 1)
        self._flush()
        return events

    def _look_at_start(self, data: bytes) -> None:
        """The other side's first frame is SETTINGS (RFC 9113 3.4). The library would take another protocol's first words for a frame's length and
        wait for megabytes."""
        if len(self._start) < _FRAME_TYPE_AT + 1:
            self._start += data[: _FRAME_TYPE_AT + 1]
            if len(self._start) > _FRAME_TYPE_AT and self._start[_FRAME_TYPE_AT] != _SETTINGS:
                raise MalformedError

    def leave(self) -> None:
        """Says goodbye, so that a well-behaved server logs no error."""
        self._connection.close_connection()
        self._flush()

    def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())


def _fields(event: ResponseReceived | TrailersReceived) -> dict[str, str]:
    return {str(name): str(value) for name, value in event.headers or ()}


def _number(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise MalformedError
    return int(text)
