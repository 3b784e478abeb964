"""Connections of docker's clients that become streams."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gureum.docker import server
from gureum.docker.server import Request, Responder, Server


def test_nothing_is_said_on_a_stream_before_its_client_has_read_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_LOOKS", 10**9)

    async def run() -> None:
        here, there = socket.socketpair()
        there.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=here)
        responder = Responder(reader, writer, keep=True, head=False)
        await responder.hijack("application/vnd.docker.raw-stream", upgraded=True)
        waiting = asyncio.ensure_future(responder.head_is_read())
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        head = await asyncio.get_running_loop().sock_recv(there, 65536)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert head.endswith(b"\r\n\r\n")
        await asyncio.wait_for(waiting, 30)
        writer.close()
        there.close()

    asyncio.run(run())


def test_a_client_that_never_reads_holds_nothing_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_LOOKS", 3)

    async def run() -> None:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=here)
        responder = Responder(reader, writer, keep=True, head=False)
        await responder.hijack("application/vnd.docker.raw-stream", upgraded=True)
        await asyncio.wait_for(responder.head_is_read(), 30)
        writer.close()
        there.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "head",
    [
        b"GET /_ping",
        b"POST /x HTTP/1.1\r\nContent-Length: -5",
        b"POST /x HTTP/1.1\r\nContent-Length: five",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x5",
    ],
)
def test_what_is_no_http_is_told_so(head: bytes) -> None:
    """A length below nothing would be read without end."""

    async def answer(request: Request, responder: Responder) -> None:
        await request.body()
        await responder.send(200, {})

    async def run() -> bytes:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind("")  # a name of the kernel's choice
        listening.listen()
        asked = Server(answer)
        await asked.serve(listening)
        reader, writer = await asyncio.open_unix_connection(listening.getsockname().decode("latin-1"))
        writer.write(head + b"\r\n\r\n")
        told = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        await asked.close()
        return told

    assert asyncio.run(run()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
