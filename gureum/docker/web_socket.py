"""WebSocket (RFC 6455) after its handshake, as the stream that attach reads and writes: each message is a piece of it.

    client ──masked frames──► read() ──► bytes, b"" when it has closed          write() ──► one binary frame

Pings are answered on the way. No extensions, no subprotocols.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_LAST, _MASKED, _LENGTH_16, _LENGTH_64 = 0x80, 0x80, 126, 127
LIMIT_FRAME_BYTES = 16 << 20


def accept(key: str) -> str:
    """Of a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


class WebSocket:
    """The server's end. One reads, one writes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.closed = False
        """By the client."""

    async def read(self, limit_bytes: int) -> bytes:
        """The next message's bytes, whatever their number; b"" when the client has closed, or does not speak WebSocket."""
        while True:
            try:
                kind, payload = await self._frame()
            except (asyncio.IncompleteReadError, ConnectionError, ValueError):
                kind, payload = _CLOSE, b""
            if kind == _CLOSE:
                self.closed = True
                return b""
            if kind == _PING:
                self._send(_PONG, payload)
            elif kind in (_CONTINUATION, _TEXT, _BINARY) and payload:
                return payload

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        length = second & ~_MASKED
        if length == _LENGTH_16:
            length = int.from_bytes(await self._reader.readexactly(2))
        elif length == _LENGTH_64:
            length = int.from_bytes(await self._reader.readexactly(8))
        if length > LIMIT_FRAME_BYTES or not second & _MASKED:
            raise ValueError("no frame of a client")
        mask = await self._reader.readexactly(4)
        return first & 0x0F, _unmasked(await self._reader.readexactly(length), mask)

    def is_closing(self) -> bool:
        return self._writer.is_closing()

    def write(self, data: bytes) -> None:
        if data:
            self._send(_BINARY, data)

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size < _LENGTH_16:
            head = bytes((_LAST | kind, size))
        elif size < 1 << 16:
            head = bytes((_LAST | kind, _LENGTH_16)) + size.to_bytes(2)
        else:
            head = bytes((_LAST | kind, _LENGTH_64)) + size.to_bytes(8)
        self._writer.write(head + payload)

    async def drain(self) -> None:
        await self._writer.drain()

    def close(self) -> None:
        if not self._writer.is_closing():
            self._send(_CLOSE, (1000).to_bytes(2))
        self._writer.close()


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pattern)).to_bytes(size)
