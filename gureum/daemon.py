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
from pathlib import Path

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
from gureum.telemetry.store import open_telemetry
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
        sealer = Sealer(self._home.path / "keys" / "seal.key")
        clock = SystemClock()
        folder = self._home.path / "telemetry"
        telemetry = await open_telemetry(folder, clock)
        neighbours = Neighbours(
            self._home.path,
            sealer,
            setting=self._settings.neighbours,
            limit_bytes=self._settings.neighbours_journal_bytes,
            endpoint_name=self._settings.endpoint_name,
        )
        world = World(
            store,
            clock,
            self._settings,
            sealer,
            self._make_link,
            metrics=telemetry.metrics,
            logs=telemetry.logs,
            neighbours=neighbours,
        )
        services = Services(world)
        services.load_stored()
        gateway = Gateway(world, services, neighbours)

        async def reset() -> int:
            """Objects first: what is still measured of them afterwards goes with the rest."""
            nonlocal telemetry
            await kube.reset()  # first: what its controllers still write would outlive the emptying
            removed = await reset_store(store)
            await kube.reset()
            await neighbours.reset()
            await telemetry.close()
            await asyncio.to_thread(shutil.rmtree, folder)
            telemetry = await open_telemetry(folder, clock)
            world.metrics, world.logs = telemetry.metrics, telemetry.logs
            return removed

        seals = [kube_seals(self._settings, self._home), *former_kube_seals(self._settings, self._home)]
        kube = KubeService(self._home, store, sealer, clock, seals)
        consoles = SerialService(world, services, self._home.path / "keys")
        application = Application(
            gateway,
            Admin(world, services, gateway, reset if self._settings.ephemeral else None, consoles),
            "" if self._home.simulate else str(self._home.run / "agent.sock"),
            self._settings.endpoint_name,
        )
        server = HttpServer(application)
        docker = Docker(world, docker_socket(self._settings, self._home))
        guests = AsgiServer(GuestApplication(gateway), "gureum.guest_connections")
        await server.serve(self._listen("aws", self._home.aws_port, "aws_port"))
        kube.listen(self._listen("kube", self._home.kube_port, "kube_port"))
        if not self._home.simulate:
            consoles.listen(self._listen("serial", self._home.serial_port, "serial_console_port"))
        await docker.serve()
        if self._settings.guest_api and not self._home.simulate:
            await guests.serve(_listen_for_guests(self._home.run / GUESTS_SOCKET))
        link = asyncio.get_running_loop().create_task(world.run())
        telling = asyncio.get_running_loop().create_task(publish_control_metrics(world, gateway.counters))
        counting = asyncio.get_running_loop().create_task(publish_usage_metrics(world, gateway.counters))
        self._supervised.ready()
        kube.start()
        neighbours.start()
        consoles.start()
        uploads = asyncio.get_running_loop().create_task(run_uploads(world, lambda: neighbours.has_state))
        try:
            await until_stopped(self._supervised)
        finally:
            world.tails.close()
            await kube.close(LAST_ANSWERS_S)
            await docker.close()
            await consoles.close()
            await asyncio.gather(server.close(LAST_ANSWERS_S), guests.close(LAST_ANSWERS_S))
            link.cancel()
            for task in (uploads, telling, counting):
                task.cancel()
            await asyncio.gather(link, uploads, telling, counting, return_exceptions=True)
            await world.close()
            await neighbours.close()
            await telemetry.close()
            await store.close()

    def _listen(self, name: str, port: int, setting: str) -> socket.socket:
        """The socket of an API: the one the supervisor kept, else a new one."""
        shelf = FdStore.from_environment()
        kept = shelf.get_all().get(name)
        if kept is not None:
            return kept
        family = socket.AF_INET6 if ":" in self._home.bind else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self._home.bind, port))
        except OSError as error:
            sock.close()
            where = f"{self._home.bind}:{port}"
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
