"""Messages of Session Manager's data channel, as bytes: what AWS's agent and its session-manager-plugin send each other in binary WebSocket frames.

    0    header length (uint32) = 116         80   SHA-256 of the payload
    4    type, 32 bytes padded with spaces    112  payload type (uint32)
    36   schema version (uint32) = 1          116  payload length (uint32)
    40   created, Unix milliseconds (uint64)  120  payload
    48   sequence number (int64)
    56   flags (uint64)
    64   message id: a UUID, its second half first

All big-endian. Source: the message format of session-manager-plugin 1.2. The digest is not looked at on arrival: TCP has carried the bytes, and there
are clients that send a wrong one.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
from typing import Any

import msgspec

HEADER_LENGTH = 116
LIMIT_PAYLOAD_BYTES = 256 * 1024
_HEAD = struct.Struct(">I32sIQqQ16s32sI")

INPUT, OUTPUT_STREAM, ACKNOWLEDGE = "input_stream_data", "output_stream_data", "acknowledge"
CHANNEL_CLOSED = "channel_closed"
START_PUBLICATION, PAUSE_PUBLICATION = "start_publication", "pause_publication"

OUTPUT, ERROR, SIZE, PARAMETER = 1, 2, 3, 4
HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 5, 6, 7
FLAG, STDERR, EXIT_CODE = 10, 11, 12

FLAG_DISCONNECT, FLAG_TERMINATE, FLAG_CONNECT_ERROR = 1, 2, 3
"""Payload of FLAG (uint32): the client's connection has ended; the client ends the session; the port does not answer."""

SYN, ACK_FLAGS = 1, 3


class Message(msgspec.Struct, frozen=True):
    """One message. `id`: of a UUID, as text."""

    type: str
    number: int
    payload: bytes
    payload_type: int = 0
    flags: int = 0
    id: str = ""


def pack(message: Message, now: float) -> bytes:
    """As it goes over the wire. `now`: Unix seconds."""
    raw = uuid.UUID(message.id).bytes if message.id else uuid.uuid4().bytes
    head = _HEAD.pack(
        HEADER_LENGTH,
        message.type.encode().ljust(32),
        1,
        int(now * 1000),
        message.number,
        message.flags,
        raw[8:] + raw[:8],
        hashlib.sha256(message.payload).digest(),
        message.payload_type,
    )
    return head + struct.pack(">I", len(message.payload)) + message.payload


def unpack(data: bytes) -> Message:
    """ValueError for what is no message."""
    if len(data) < HEADER_LENGTH + 4:
        raise ValueError("the message is too short")
    length, type_, _, _, number, flags, raw, _, payload_type = _HEAD.unpack_from(data)
    if length != HEADER_LENGTH:
        raise ValueError("the message has a header of another length")
    (size,) = struct.unpack_from(">I", data, HEADER_LENGTH)
    payload = data[HEADER_LENGTH + 4 :]
    if size != len(payload) or size > LIMIT_PAYLOAD_BYTES:
        raise ValueError("the payload has another length than the message says")
    name = type_.strip(b"\0 ").decode("ascii", "replace")
    return Message(name, number, payload, payload_type, flags, str(uuid.UUID(bytes=raw[8:] + raw[:8])))


def acknowledgement(message: Message) -> Message:
    told = {
        "AcknowledgedMessageType": message.type,
        "AcknowledgedMessageId": message.id,
        "AcknowledgedMessageSequenceNumber": message.number,
        "IsSequentialMessage": True,
    }
    return Message(ACKNOWLEDGE, 0, json.dumps(told).encode(), flags=ACK_FLAGS)


def acknowledged_number(message: Message) -> int:
    """The sequence number that an acknowledgement speaks of. ValueError."""
    number = json_of(message).get("AcknowledgedMessageSequenceNumber")
    if not isinstance(number, int):
        raise ValueError("an acknowledgement of nothing")
    return number


def json_of(message: Message) -> dict[str, Any]:
    """The object that the payload is. ValueError when it is none."""
    try:
        found = json.loads(message.payload)
    except RecursionError as error:
        raise ValueError("the payload is nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("the payload is no object")
    return found


def channel_closed(session: str, output: str, now: float) -> Message:
    """The last message of a session. `output`: what the client shows."""
    told = {
        "MessageType": CHANNEL_CLOSED,
        "MessageId": str(uuid.uuid4()),
        "DestinationId": "",
        "SessionId": session,
        "SchemaVersion": 1,
        "CreatedDate": int(now * 1000),
        "Output": output,
    }
    return Message(CHANNEL_CLOSED, 0, json.dumps(told).encode())
