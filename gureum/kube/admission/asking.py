"""One question to a webhook over HTTPS: a POST whose answer is JSON.

In the loop and not in a thread: who waits for a slow webhook can be told to stop, and holds up nobody else. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import ssl

import httptools

LIMIT_PIECE_BYTES = 64 * 1024
MOST_ANSWER_BYTES = 3 * 1024 * 1024


class BadAnswer(Exception):
    """What came is no HTTP, too much, or not "200 OK"."""


async def post(host: str, port: int, path: str, body: bytes, context: ssl.SSLContext) -> bytes:
    """The body of the answer. BadAnswer, OSError. The caller limits the time."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        lines = (
            f"POST {path} HTTP/1.1",
            f"Host: {f'[{host}]' if ':' in host else host}:{port}",
            "Content-Type: application/json",
            "Accept: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body)
        return await _answer(reader)
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        piece = await reader.read(LIMIT_PIECE_BYTES)
        if not piece:
            break
        try:
            parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise BadAnswer(f"malformed HTTP response: {error}") from error
        if answer.size_bytes > MOST_ANSWER_BYTES:
            raise BadAnswer("the response is too large")
    if not answer.pieces and not answer.complete:
        raise BadAnswer("EOF")
    if parser.get_status_code() != 200:
        raise BadAnswer(f"status {parser.get_status_code()}")
    return b"".join(answer.pieces)


class _Answer:
    """What the parser tells."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size_bytes = 0
        self.complete = False

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size_bytes += len(piece)

    def on_message_complete(self) -> None:
        self.complete = True
