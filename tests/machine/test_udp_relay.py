"""Published UDP ports."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from gureum.drivers.udp_relay import UdpRelay

pytestmark = pytest.mark.machine


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_datagrams_go_in_and_answers_find_back_to_each_client() -> None:
    asyncio.run(_exchange())


async def _exchange() -> None:
    loop, outside, server = asyncio.get_running_loop(), _udp(), _udp()
    place = outside.getsockname()
    relay = UdpRelay(outside, Path("/proc/thread-self/ns/net"), server.getsockname())
    clients = [_udp(), _udp()]
    try:
        for index, client in enumerate(clients):
            await loop.sock_sendto(client, b"ask %d" % index, place)
        for _ in clients:
            data, sender = await asyncio.wait_for(loop.sock_recvfrom(server, 100), 10)
            await loop.sock_sendto(server, b"re: " + data, sender)
        for index, client in enumerate(clients):
            assert await asyncio.wait_for(loop.sock_recv(client, 100), 10) == b"re: ask %d" % index
    finally:
        relay.close()
        for sock in (server, *clients):
            sock.close()
