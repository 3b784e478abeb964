"""Relays an interactive program between a client's HTTP request and the agent: bytes in both directions at once.

The request's body and the answer are streams of frames (one byte kind, four bytes length big-endian, payload; the kinds stand in
`gureum/cli/api.py` and `core/agent_server.py`, which speak the same). Only the first frame of the client is looked at, a header
`h` with {"args", "terminal", "env"}; everything else passes as it is. HTTP/1.1 allows an answer to begin before the request ends;
that is all it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from gureum.base.hang_ups import hung_up
from gureum.ports import PortError

LIMIT_HEADER_BYTES = 1024 * 1024
CHUNK_BYTES = 65536

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# Starts the program that the header tells of; PortError when it cannot be had.
OpenStream = Callable[[dict[str, Any]], Awaitable[Stream]]


async def relay(receive: Receive, send: Send, open_stream: OpenStream, fd: int = -1) -> None:
    """Serves one ASGI request to its end. Errors before the program runs are answers of 400; a client that leaves ends the program;
    an agent that dies ends the answer, without the program's exit code. `fd`: the client's socket, by which is seen that it leaves though the
    program does not take what it sent."""
    try:
        header, rest = await read_header(receive)
        reader, writer = await open_stream(header)
    except (PortError, ValueError) as error:
        await refuse(send, str(error))
        return
    try:
        writer.write(rest)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/octet-stream")]}
        )
        feeding = asyncio.ensure_future(feed(receive, writer))
        leaving = asyncio.ensure_future(_leave(fd, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(CHUNK_BYTES):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            feeding.cancel()
            leaving.cancel()
        await send({"type": "http.response.body", "body": b""})
    finally:
        writer.close()


async def _leave(fd: int, writer: asyncio.StreamWriter) -> None:
    """When the client is gone, so is the connection to the agent, with what is under way to it."""
    if fd >= 0:
        await hung_up(fd)
        writer.transport.abort()


async def read_header(receive: Receive) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes that came behind it. ValueError when it is none."""
    data = b""
    while len(data) < 5 or len(data) < (size := 5 + struct.unpack(">I", data[1:5])[0]):
        if len(data) > LIMIT_HEADER_BYTES:
            raise ValueError("the header is too long")
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            raise ValueError("the header is incomplete")
        data += message["body"]
    if data[:1] != b"h":
        raise ValueError("the first frame must be a header")
    header = json.loads(data[5:size])
    if not isinstance(header, dict):
        raise ValueError("the header must be an object")
    return header, data[size:]


async def feed(receive: Receive, writer: asyncio.StreamWriter) -> None:
    """Passes on what the client sends. When it is gone, so is the connection to the agent, which then ends the program."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            writer.close()
            return
        writer.write(message.get("body", b""))
        try:
            await writer.drain()
        except ConnectionError:  # the agent died; the one who reads from it sees that too
            return


async def refuse(send: Send, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    # The rest of the request is still under way and nobody will read it.
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
