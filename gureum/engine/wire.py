"""Lines of JSON over a unix socket: how daemon, agent and command line talk to each other.

A message is one line. Lines are limited (`LIMIT_LINE_BYTES`), so a peer gone mad costs memory within bounds. After a line that opens a stream,
both sides may go on with frames: one byte kind, four bytes length (big-endian), payload.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

import msgspec

LIMIT_LINE_BYTES = 64 * 1024 * 1024
LIMIT_FRAME_BYTES = 1024 * 1024
CHUNK_BYTES = 65536
LIMIT_AHEAD_BYTES = 128 * 1024
_encoder = msgspec.json.Encoder()


async def read_line(reader: asyncio.StreamReader) -> bytes | None:
    """The next line without its end, None when the peer has closed. ValueError when it is too long."""
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise ValueError("message too long") from error
    return line[:-1]


def line(message: object) -> bytes:
    return _encoder.encode(message) + b"\n"


def frame(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack(">I", len(payload)) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """(kind, payload), None when the peer has closed. ValueError when it is too long."""
    try:
        head = await reader.readexactly(5)
        (size,) = struct.unpack(">I", head[1:])
        if size > LIMIT_FRAME_BYTES:
            raise ValueError("frame too long")
        return head[:1], await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        return None


def keep_little(reader: asyncio.StreamReader) -> None:
    """What follows is a stream, and no long line: at most twice LIMIT_AHEAD_BYTES of it are read before they are wanted, then the other waits. As
    much as a line may have would be taken from each whose reader is slow."""
    reader._limit = LIMIT_AHEAD_BYTES  # type: ignore[attr-defined]  # told only when a reader is made


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, quiet_s: float | None = None) -> None:
    """We have said all: ends our side, and hears the other out until it has ended its own; the caller then closes. Whoever closes while the other
    still writes has it told of a lost connection, in whose place it then never reads what was said last. `quiet_s`: so long the
    other, which has been told the end, may say nothing; None: it is one that we trust to end."""
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
        while await asyncio.wait_for(reader.read(CHUNK_BYTES), quiet_s):
            pass
