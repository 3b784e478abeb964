"""Targets that get a part of their share, and what a proxy counts of each (AWS: "Automatic Target Weights")."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from gureum.drivers.haproxy.process import ProxyFolder
from gureum.ports.proxies import Group, Server, ServerCounters

from .proxy_host import TARGETS, ProxyHost, group, http_listener, proxy_host, without

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


def fail(request: BaseHTTPRequestHandler) -> None:
    if request.path in ("/close", "/reset"):
        if request.path == "/reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
        request.close_connection = True
        return
    request.send_response(500 if request.path == "/bad" else 404)
    request.send_header("Content-Length", "0")
    request.end_headers()


def test_what_targets_answer_is_counted_for_each(host: ProxyHost) -> None:
    """5XX answers and failed connections are errors; what a client did wrong is none."""
    odd, gone = host.target(TARGETS[0], handler=fail), Server(f"{TARGETS[1]}:81", TARGETS[1], 81, up=True)

    async def counted(*servers: Server) -> dict[str, ServerCounters]:
        await host.proxies.ensure(host.spec(http_listener(), groups=(group(*servers),)))
        for path in ("/bad", "/bad", "/lost", "/close", "/reset"):
            await asyncio.to_thread(host.get, path)
        return (await host.proxies.counters())["node-1"].by_server

    async def story() -> None:
        assert (await counted(odd))[f"tg-a/{odd.name}"] == ServerCounters(5, 4)
        assert (await counted(gone))[f"tg-a/{gone.name}"] == ServerCounters(5, 5)
        await host.proxies.close()

    asyncio.run(story())


def test_a_target_with_less_weight_gets_less_at_run_time_and_after_a_reload(host: ProxyHost) -> None:
    one, two = (host.target(address) for address in TARGETS[:2])
    less = Server(two.name, two.address, two.port, up=True, weight=10)

    def chance(*servers: Server) -> Group:
        return group(*servers, algorithm="weighted_random")

    def workers() -> set[int]:
        return set(ProxyFolder(host.home_id, host.run, "node-1").members())

    def asked() -> int:
        """Of 200 requests, those of the second. Of an even share 60 are 5.7 deviations away, of an eleventh 10."""
        return Counter(host.get().told()["target"] for _ in range(200))[TARGETS[1]]

    async def story() -> None:
        whole = host.spec(http_listener(), groups=(chance(one, two),))
        await host.proxies.ensure(whole)
        before = await asyncio.to_thread(workers)
        assert await asyncio.to_thread(asked) > 60
        part = without(whole, groups=(chance(one, less),))
        await host.proxies.ensure(part)
        assert await asyncio.to_thread(workers) == before, "no reload"
        assert await asyncio.to_thread(asked) < 60
        reloaded = without(part, attributes={"idle_timeout.timeout_seconds": "61"})
        await host.proxies.ensure(reloaded)
        assert await asyncio.to_thread(asked) < 60
        await host.proxies.ensure(without(reloaded, groups=(chance(one, two),)))
        assert await asyncio.to_thread(asked) > 60
        await host.proxies.close()

    asyncio.run(story())
