"""Connections of docker's clients that become streams."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gureum.docker import server
from gureum.docker.server import Responder


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
