"""What connections that say nothing leave to others. AWS: "CloudWatch metrics for your Application Load Balancer", RejectedConnectionCount."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gureum.drivers.haproxy import crowding

from .proxy_host import TARGETS, ProxyHost, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
ASK = b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


async def taken(host: ProxyHost, number: int) -> None:
    while (await host.proxies.counters())["node-1"].active != number:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", ["HTTP", "TCP"])
def test_who_opens_connections_and_says_nothing_leaves_room_for_others(
    host: ProxyHost, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """As many as there may be kept all others out until they were idle for too long, a byte a minute for ever."""
    monkeypatch.setattr(crowding, "most_connections", lambda host, http2: 16)

    def ask(source: str) -> bytes:
        with contextlib.suppress(ConnectionResetError), host.connect(source=source) as sock:
            sock.sendall(ASK)
            return sock.recv(12)
        return b""

    async def story() -> None:
        # The second listener counts with the first: they share what there is.
        listeners = (http_listener(protocol=protocol), http_listener(port=81, protocol=protocol))
        served = group(host.target(TARGETS[0]), protocol=protocol)
        await host.proxies.ensure(host.spec(*listeners, groups=(served,)))
        with contextlib.ExitStack() as idle:
            for i in range(12):
                idle.enter_context(host.connect(80 + i % 2, source="10.9.0.101"))
            await taken(host, 12)
            assert await asyncio.to_thread(ask, "10.9.0.101") == b""
            assert await asyncio.to_thread(ask, "10.9.0.102") == b"HTTP/1.1 200"
            await taken(host, 12)
            assert (await host.proxies.counters())["node-1"].rejected == 1
        await taken(host, 0)
        assert await asyncio.to_thread(ask, "10.9.0.101") == b"HTTP/1.1 200"
        await host.proxies.close()

    asyncio.run(story())
