"""The daemon: the APIs, the store and the controllers. Builds everything once and serves until it is told to stop.

It may die and be restarted at any time: what was acknowledged is in the store, what runs is kept by the agent, and the listening socket is kept
by the supervisor, so that a client waits a moment instead of being refused.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from gureum.admin import Admin
from gureum.asgi import Application
from gureum.aws.gateway import Gateway
from gureum.aws.neighbours.front import Neighbours
from gureum.aws.neighbours.uploads import run_uploads
from gureum.aws.services import Services
from gureum.base.clock import SystemClock
from gureum.base.fd_store import FdStore
from gureum.base.homes import GUESTS_SOCKET, Home, docker_socket, former_kube_seals, kube_seals, load_home
from gureum.base.logs import start_logging
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings, load_settings
from gureum.base.supervised import Supervised, until_stopped
from gureum.connections import AsgiServer, HttpServer
from gureum.control_metrics import publish_control_metrics
from gureum.core.agent_link import AgentLink
from gureum.core.world import LinkMaker, World
from gureum.docker.front import Docker
from gureum.guest_api import GuestApplication
from gureum.kube_service import KubeService
from gureum.ports.telemetry import TelemetryBroken, TelemetryFull
from gureum.serial_service import SerialService
from gureum.store.contract import Delete, Store, StoreBroken
from gureum.store.sqlite import SqliteStore
from gureum.telemetry.store import Telemetry, open_telemetry
from gureum.usage_metrics import publish_usage_metrics

log = logging.getLogger("gureum.daemon")
WRITES_AT_ONCE = 1000
LAST_ANSWERS_S = 3.0


class Daemon:
    """`make_link`: the way to the agent; `--simulate` gives one to an agent in this process."""

    def __init__(self, home: Home, settings: Settings, supervised: Supervised, make_link: LinkMaker) -> None:
        self._home = home
        self._settings = msgspec.structs.replace(settings, pool=home.pool, aws_port=home.aws_port)
        self._supervised = supervised
        self._make_link = make_link

    async def run(self) -> None:
        store = await SqliteStore.open(self._home.path / "store.db")
        telemetry = await open_telemetry(self._home.path / "telemetry", SystemClock())
        parts = _Parts(self._home, self._settings, self._make_link, store, telemetry)
        await parts.serve()
        self._supervised.ready()
        parts.start()
        try:
            await until_stopped(self._supervised)
        finally:
            await parts.close()


class _Parts:
    """What the daemon is made of, built in the order in which one needs the other: the world, what answers for it, and the ways in."""

    def __init__(
        self, home: Home, settings: Settings, make_link: LinkMaker, store: Store, telemetry: Telemetry
    ) -> None:
        self._home, self._settings, self._store, self._telemetry = home, settings, store, telemetry
        self._clock = SystemClock()
        self._tasks: list[asyncio.Task[None]] = []
        sealer = Sealer(home.path / "keys" / "seal.key")
        self._neighbours = Neighbours(
            home.path,
            sealer,
            setting=settings.neighbours,
            limit_bytes=settings.neighbours_journal_bytes,
            endpoint_name=settings.endpoint_name,
        )
        seals = [kube_seals(settings, home), *former_kube_seals(settings, home)]
        self._kube = KubeService(home, store, sealer, self._clock, seals)
        self._world = World(
            store,
            self._clock,
            settings,
            sealer,
            make_link,
            metrics=telemetry.metrics,
            logs=telemetry.logs,
            neighbours=self._neighbours,
            issuers=self._kube,
        )
        services = Services(self._world)
        services.load_stored()
        self._gateway = Gateway(self._world, services, self._neighbours)
        self._consoles = SerialService(self._world, services, home.path / "keys")
        reset = self._reset if settings.ephemeral else None
        application = Application(
            self._gateway,
            Admin(self._world, services, self._gateway, reset, self._consoles),
            "" if home.simulate else str(home.run / "agent.sock"),
            settings.endpoint_name,
        )
        self._server = HttpServer(application)
        self._docker = Docker(self._world, docker_socket(settings, home))
        self._guests = AsgiServer(GuestApplication(self._gateway), "gureum.guest_connections")

    async def serve(self) -> None:
        """Listens everywhere, and begins to keep the machine as it is wished."""
        home = self._home
        await self._server.serve(_listen(home, "aws", home.aws_port, "aws_port"))
        self._kube.listen(_listen(home, "kube", home.kube_port, "kube_port"))
        if not home.simulate:
            self._consoles.listen(_listen(home, "serial", home.serial_port, "serial_console_port"))
        await self._docker.serve()
        if self._settings.guest_api and not home.simulate:
            await self._guests.serve(_listen_for_guests(home.run / GUESTS_SOCKET))
        self._go_on(self._world.run())
        self._go_on(publish_control_metrics(self._world, self._gateway.counters))
        self._go_on(publish_usage_metrics(self._world, self._gateway.counters))

    def start(self) -> None:
        """What nobody waits for at a start."""
        self._kube.start()
        self._neighbours.start()
        self._consoles.start()
        self._go_on(run_uploads(self._world, lambda: self._neighbours.has_state))

    async def close(self) -> None:
        self._world.tails.close()
        await self._kube.close(LAST_ANSWERS_S)
        await self._docker.close()
        await self._consoles.close()
        await asyncio.gather(self._server.close(LAST_ANSWERS_S), self._guests.close(LAST_ANSWERS_S))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._world.close()
        await self._neighbours.close()
        await self._telemetry.close()
        await self._store.close()

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _reset(self) -> int:
        """Objects first: what is still measured of them afterwards goes with the rest. The number of removed ones."""
        await self._kube.reset()  # first: what its controllers still write would outlive the emptying
        removed = await reset_store(self._store)
        await self._kube.reset()
        await self._neighbours.reset()
        folder = self._home.path / "telemetry"
        await self._telemetry.close()
        await asyncio.to_thread(shutil.rmtree, folder)
        self._telemetry = await open_telemetry(folder, self._clock)
        self._world.metrics, self._world.logs = self._telemetry.metrics, self._telemetry.logs
        return removed


def _listen(home: Home, name: str, port: int, setting: str) -> socket.socket:
    """The socket of an API: the one the supervisor kept, else a new one."""
    shelf = FdStore.from_environment()
    kept = shelf.get_all().get(name)
    if kept is not None:
        return kept
    family = socket.AF_INET6 if ":" in home.bind else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((home.bind, port))
    except OSError as error:
        sock.close()
        where = f"{home.bind}:{port}"
        why = "another program listens there" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        raise OSError(f"{why}: {where} (settings bind and {setting})") from error
    sock.listen(1024)
    sock.setblocking(False)
    shelf.put(name, sock)
    return sock


def _listen_for_guests(path: Path) -> socket.socket:
    """For the agent alone (0600 in a 0700 folder); a socket that a dead daemon left is replaced."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(old)
    sock.listen(128)
    sock.setblocking(False)
    return sock


async def reset_store(store: Store) -> int:
    """Empties the store: all accounts, all regions. What ran is torn down by the agent meanwhile."""
    keys = [entry.key for entry in store.range("")]
    for start in range(0, len(keys), WRITES_AT_ONCE):
        await store.commit([], [Delete(key) for key in keys[start : start + WRITES_AT_ONCE]])
    return len(keys)


def run_process(daemon: Daemon, settings: Settings, supervised: Supervised) -> None:
    """Runs the daemon as this process's whole work; tells the supervisor when it cannot start."""
    start_logging(settings.log_level)
    try:
        uvloop.run(daemon.run())
    except (StoreBroken, TelemetryBroken, TelemetryFull) as refused:
        log.error("the daemon cannot start", extra={"why": str(refused)})
        supervised.failed(f"the daemon cannot start: {refused}")
        raise SystemExit(1) from None
    except Exception as error:
        supervised.failed(f"the daemon cannot start: {error}")
        raise


def main() -> None:
    supervised = Supervised()
    settings = load_settings()
    home = load_home(settings)
    assert home is not None, "the supervisor opens the home first"
    path = str(home.run / "agent.sock")
    run_process(
        Daemon(home, settings, supervised, lambda desired, told: AgentLink(path, desired, told)), settings, supervised
    )


if __name__ == "__main__":
    main()
