"""The end of a connection, while what was sent before it waits unread."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from gureum.base.hang_ups import hung_up


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        return near, server.accept()[0]


@pytest.mark.parametrize("pair", [socket.socketpair, tcp_pair])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_end_is_told_though_there_is_something_to_read(pair, run) -> None:
    async def look() -> None:
        near, far = pair()
        with near, far:
            far.sendall(b"unread")
            watching = asyncio.ensure_future(hung_up(near.fileno()))
            await asyncio.sleep(0.01)
            assert not watching.done()
            far.close()
            await asyncio.wait_for(watching, 10)
            assert near.recv(10) == b"unread"
            await asyncio.wait_for(hung_up(near.fileno()), 10)

    run(look())
