"""HTTP/1.1 as docker's clients speak it: bodies that come and go in pieces, and connections that become streams ("hijacked": `Upgrade: tcp`).

Written on asyncio's streams: neither ASGI nor uvicorn hands a connection over. One connection carries requests one after the other until it is
hijacked or closed. The socket is root's alone, so clients are trusted with time, not with memory: heads and bodies have limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import re
import socket
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qs

import msgspec

log = logging.getLogger("gureum.docker")
LIMIT_HEAD_BYTES = 256 * 1024
LIMIT_BODY_BYTES = 16 * 1024 * 1024
"""Of a body that is read as a whole (JSON)."""
PIECE_BYTES = 256 * 1024
HEAD_LOOKS, HEAD_LOOK_S = 2000, 0.001
"""How many times a stream looks whether its client has read the head of the answer before it speaks anyway, and seconds between."""
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_encoder = msgspec.json.Encoder()


class BadRequest(Exception):
    """What came is not HTTP."""


class Request:
    """One request. Its body is read by `body`, `json` or `pieces`, once."""

    def __init__(self, method: str, target: str, headers: dict[str, str], reader: asyncio.StreamReader) -> None:
        path, _, query = target.partition("?")
        self.method, self.path, self.headers = method, path, headers
        self.query: dict[str, list[str]] = parse_qs(query, keep_blank_values=True)
        self._reader = reader
        self._left = _length(headers.get("content-length") or "0")
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._done = not self._chunked and not self._left
        self.before_read: Callable[[], Awaitable[None]] | None = None

    @property
    def upgrades(self) -> bool:
        return "upgrade" in self.headers

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        if not self._done and self.before_read is not None:
            await self.before_read()
        while not self._done:
            piece = await (self._chunk() if self._chunked else self._part())
            if piece:
                yield piece

    async def body(self, limit_bytes: int = LIMIT_BODY_BYTES) -> bytes:
        parts, size = [], 0
        async for piece in self.pieces():
            size += len(piece)
            if size > limit_bytes:
                raise BadRequest("http: request body too large")
            parts.append(piece)
        return b"".join(parts)

    async def skip(self, limit_bytes: int = LIMIT_BODY_BYTES) -> bool:
        """Reads what nobody wanted; False when it is too much."""
        with contextlib.suppress(BadRequest):
            await self.body(limit_bytes)
        return self._done

    async def _part(self) -> bytes:
        piece = await self._reader.read(min(self._left, PIECE_BYTES))
        if not piece:
            raise ConnectionError("the client left in the middle of its request")
        self._left -= len(piece)
        self._done = self._left == 0
        return piece

    async def _chunk(self) -> bytes:
        if not self._left:
            text = (await self._reader.readline()).split(b";")[0].strip()
            if not _CHUNK_SIZE.fullmatch(text):
                raise BadRequest("malformed chunked encoding")
            self._left = int(text, 16)
            if not self._left:
                while (await self._reader.readline()).strip():
                    pass
                self._done = True
                return b""
        piece = await self._part()
        self._done = False
        if not self._left:
            await self._reader.readexactly(2)
        return piece


class Responder:
    """The answer to one request: exactly one of `send`, `begin` … `finish`, or `hijack`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool, head: bool) -> None:
        self._reader, self._writer = reader, writer
        self.headers: dict[str, str] = {}
        self.begun = False
        self.keep = keep
        self._head = head
        self._chunked = False

    async def send(self, status: int, body: object = None, content_type: str = "application/json") -> None:
        """A whole answer; `body`: bytes as they are, None for none, anything else as JSON."""
        data = b"" if body is None else body if isinstance(body, bytes) else _encoder.encode(body) + b"\n"
        kinds = {"Content-Type": content_type} if body is not None else {}
        bodyless = status in (204, 304) or 100 <= status < 200
        length = {} if bodyless else {"Content-Length": str(len(data))}
        self._begin(status, {**kinds, **length})
        if not self._head and not bodyless:
            self._put(data)
        await self._writer.drain()

    async def begin(self, status: int = 200, content_type: str = "application/json") -> None:
        """An answer whose body follows in pieces; the head is sent at once."""
        self._chunked = True
        self._begin(status, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
        await self._writer.drain()

    async def write(self, data: bytes) -> None:
        """ConnectionError when the client has left."""
        if data:
            self._put(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            await self._writer.drain()

    async def write_json(self, value: object) -> None:
        await self.write(_encoder.encode(value) + b"\r\n")

    async def finish(self) -> None:
        if self._chunked:
            self._put(b"0\r\n\r\n")
            await self._writer.drain()

    async def hijack(self, content_type: str, *, upgraded: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection itself, from now on the caller's stream."""
        if upgraded:
            return await self._handed_over(
                101, {"Content-Type": content_type, "Connection": "Upgrade", "Upgrade": "tcp"}
            )
        return await self._handed_over(200, {"Content-Type": content_type})

    async def hijack_web_socket(self, accepted: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """RFC 6455, the server's opening handshake."""
        return await self._handed_over(
            101, {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Accept": accepted}
        )

    async def _handed_over(
        self, status: int, headers: dict[str, str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.keep = False
        self._begin(status, headers)
        await self._writer.drain()
        return self._reader, self._writer

    async def head_is_read(self) -> None:
        """After `hijack`, before what comes first: docker-py reads the head by a buffer, and loses what it reads with it. Docker is slower to
        start."""
        for _ in range(HEAD_LOOKS):
            if self._writer.is_closing() or not _unread(self._writer):
                return
            await asyncio.sleep(HEAD_LOOK_S)

    async def left(self) -> None:
        """Returns when the client has closed its end, or says something in the middle of an answer, which ends the connection after it."""
        self.keep = False
        await self._reader.read(1)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        assert not self.begun, "a request has one answer"
        self.begun = True
        phrase = "UPGRADED" if status == 101 else HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in {**self.headers, **headers}.items()]
        if not self.keep and status != 101:
            lines.append("Connection: close")
        self._put("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n")

    def _put(self, data: bytes) -> None:
        """uvloop has a RuntimeError, as for a mistake of ours, where the connection is closed already."""
        if self._writer.is_closing():
            raise ConnectionResetError("the client has left")
        self._writer.write(data)


def _unread(writer: asyncio.StreamWriter) -> bool:
    """Whether the client still has to read something that was written to it, on a local socket. unix(7): SIOCOUTQ."""
    if writer.transport.get_write_buffer_size():
        return True
    try:
        found = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return False
    return bool(struct.unpack("=i", found)[0])


Handler = Callable[[Request, Responder], Awaitable[None]]


class Server:
    """`handle` answers one request, errors too; what it raises is logged and closes the connection."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, sock: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._connection, sock=sock, limit=LIMIT_HEAD_BYTES)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except BadRequest as refused:
            with contextlib.suppress(ConnectionError):
                await Responder(reader, writer, keep=False, head=False).send(
                    400, f"400 Bad Request: {refused}".encode(), "text/plain"
                )
        except asyncio.CancelledError:
            pass  # the daemon ends; nobody awaits this task but asyncio's own callback, which takes a cancelled one for a fault
        except Exception:
            log.exception("a docker connection failed")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError as error:
            raise BadRequest("the head is too long") from error
        method, target, version, headers = _parse_head(head)
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        request = Request(method, target, headers, reader)
        responder = Responder(reader, writer, keep=keep, head=method == "HEAD")
        if headers.get("expect", "").lower() == "100-continue":

            async def go_on() -> None:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()

            request.before_read = go_on
        await self._handle(request, responder)
        return responder.keep and responder.begun and await request.skip()


def _length(text: str) -> int:
    if not _LENGTH.fullmatch(text):
        raise BadRequest("bad Content-Length")
    return int(text)


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise BadRequest("malformed HTTP request")
    headers: dict[str, str] = {}
    for line in lines:
        name, found, value = line.partition(":")
        if found:
            headers[name.strip().lower()] = value.strip()
    return words[0], words[1], words[2], headers
