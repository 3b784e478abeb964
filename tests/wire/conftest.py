"""Gureums that real clients talk to over HTTP.

endpoint         the gateway on a store in memory, in a thread of its own, with no machine behind it
simulated_cloud  `gureum up --simulate`: states move, nothing runs
real_cloud       `gureum up`: machines boot
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gureum.asgi import Application
from gureum.aws.gateway import Gateway
from gureum.aws.services import Services
from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.connections import HttpServer
from gureum.core.world import World
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.cloud.running import Cloud, leftovers
from tests.quotas import ROOMY


class NoAgent:
    """A link to an agent that never comes."""

    synced = False
    connected = False

    def __init__(self, *_: Any) -> None:
        self.seen: dict[str, Any] = {}

    def change(self, put: Any, remove: Any) -> None: ...

    async def run(self) -> None: ...


class Endpoint:
    """`url`: where it answers; `gateway`: to look at its counters. `settings`: those that are not the defaults."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._settings = Settings(pool="198.18.16.0/20", **(ROOMY | settings))
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port = self._sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of `work`, done in the endpoint's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        sealer = Sealer(self._folder / "seal.key")
        self.world = World(
            MemoryStore(),
            SystemClock(),
            self._settings,
            sealer,
            NoAgent,
            metrics=MemoryMetrics(),
            logs=MemoryLogs(SystemClock()),
        )
        services = Services(self.world)
        services.load_stored()
        self.gateway = Gateway(self.world, services)
        application = Application(self.gateway, None, "", "aws.gureum.test")  # type: ignore[arg-type]
        server = HttpServer(application)
        self._stop = asyncio.Event()
        await server.serve(self._sock)
        self._ready.set()
        await self._stop.wait()
        await server.close(3.0)
        await self.world.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    made = Endpoint(tmp_path_factory.mktemp("home"))
    yield made
    made.close()
    assert made.gateway.counters.faults == 0


@pytest.fixture(scope="session")
def real_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if os.geteuid() != 0:
        pytest.skip("machines need root")
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum")), "up")


@pytest.fixture(scope="session")
def simulated_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum"), simulate="true"), "up", "--simulate")


def _running(cloud: Cloud, *up: str) -> Iterator[Cloud]:
    cloud.command(*up)
    home_id = cloud.identity["id"]
    yield cloud
    logs = {path.name: path.read_text()[-8000:] for path in (cloud.home / "logs").glob("*.log")}
    cloud.command("down", "--purge")
    assert leftovers(home_id) == []
    assert "Traceback" not in "".join(logs.values()), logs
