"""The agent: one per machine. Builds the drivers once, keeps the machine as desired, answers names and metadata, and listens on its socket.

It runs without the daemon, and adopts what runs after its own death. Only this file knows the drivers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Protocol

import uvloop

from gureum.base.clock import SystemClock
from gureum.base.fd_store import FdStore, FdStoreError
from gureum.base.homes import GUESTS_SOCKET, SYSTEM_RUN, Home, docker_socket, load_home
from gureum.base.logs import start_logging
from gureum.base.priority import run_soon
from gureum.base.settings import Settings, load_settings, private_ranges
from gureum.base.supervised import Supervised, until_stopped
from gureum.core.access_logs import AccessLogs
from gureum.core.agent_server import AgentServer
from gureum.core.machine import Ports
from gureum.core.networks import API_ADDRESS
from gureum.core.service import MINUTE_S, AgentService
from gureum.drivers.checks.checks import NamespaceChecks
from gureum.drivers.containers import crun
from gureum.drivers.containers.conmon_streams import ConmonStreams
from gureum.drivers.containers.console_files import ConsoleFiles
from gureum.drivers.containers.crun import CrunContainers
from gureum.drivers.containers.root_files import RootFiles
from gureum.drivers.dns.forward import host_resolvers
from gureum.drivers.dns.server import DnsNames
from gureum.drivers.flows.readers import NetlinkFlows
from gureum.drivers.haproxy import proxies as haproxy
from gureum.drivers.haproxy import publisher as haproxy_publisher
from gureum.drivers.haproxy.proxies import HaproxyProxies
from gureum.drivers.haproxy.publisher import HaproxyPublisher
from gureum.drivers.images.builtin_images import recipes
from gureum.drivers.images.image_store import ImageStore
from gureum.drivers.imds.server import Imds
from gureum.drivers.keys.late_ca import LateCa
from gureum.drivers.keys.late_sealer import LateSealer
from gureum.drivers.networks import netns
from gureum.drivers.networks.api_gate import ApiGate
from gureum.drivers.networks.dials import NamespaceDials
from gureum.drivers.networks.netns import NetnsNetworks
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.drivers.volumes import loop_volumes
from gureum.drivers.volumes.loop_volumes import LoopVolumes
from gureum.ports.names import HOST_ONLY, Record, Zone
from gureum.ports.networks import EdgeSpec, WayOut
from gureum.store.contract import StoreBroken
from gureum.store.sqlite import SqliteStore

log = logging.getLogger("gureum.agent")
DOWN_LIMIT_S = 30.0
RESOLV_CONF = Path("/etc/resolv.conf")


class Closable(Protocol):
    async def close(self) -> None: ...


class Shelf:
    """Sockets kept by the supervisor, by name; without a supervisor they live as long as we do."""

    def __init__(self, store: FdStore) -> None:
        self._store = store
        self._kept = store.get_all()

    def take(self, name: str) -> socket.socket | None:
        return self._kept.pop(name, None)

    def put(self, name: str, sock: socket.socket) -> None:
        try:
            self._store.put(name, sock)
        except FdStoreError as refused:
            log.warning("a socket is not kept over a restart", extra={"socket": name, "why": str(refused)})

    def remove(self, name: str) -> None:
        self._store.remove(name)


def build_ports(home: Home, *, guest_api: bool, shelf: Shelf, stopping: threading.Event) -> Ports:
    """All drivers of this machine. What takes minutes ends when `stopping` is set."""
    clock = SystemClock()
    images = ImageStore(home.path / "images", recipes(stopping))
    certificates = LateCa(home.path / "ca", clock)
    firewalls = NftFirewalls(home.id)
    sealer = LateSealer(home.path / "keys" / "seal.key")
    consoles = ConsoleFiles(home.logs / "consoles")
    return Ports(
        networks=NetnsNetworks(home.id, home.run),
        firewalls=firewalls,
        images=images,
        volumes=LoopVolumes(home.id, home.run, home.path, images),
        containers=CrunContainers(home.id, home.run, home.logs / "consoles"),
        names=DnsNames(),
        metadata=Imds(home.path / "keys" / "imds.key", certificates, clock, sealer=sealer),
        proxies=HaproxyProxies(home.id, home.run, sealer, shelf=shelf),
        checks=NamespaceChecks(home.id, home.run),
        dials=NamespaceDials(home.id, home.run),
        certificates=certificates,
        clock=clock,
        consoles=consoles,
        streams=ConmonStreams(home.run, home.logs / "consoles", consoles),
        publisher=HaproxyPublisher(home.id, home.run),
        root_files=RootFiles(home.run, home.path),
        flows=NetlinkFlows(home.id, home.run, firewalls),
        gates=ApiGate(home.run / GUESTS_SOCKET) if guest_api else None,
    )


async def open_cache(path: Path) -> SqliteStore:
    """The agent's store. It only repeats what the daemon knows, so a damaged one is set aside and filled anew."""
    try:
        return await SqliteStore.open(path, synchronous=False, keep_revisions=0)
    except StoreBroken as broken:
        log.warning("the agent's cache is damaged and set aside", extra={"why": str(broken)})
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return await SqliteStore.open(path, synchronous=False, keep_revisions=0)


class Agent:
    """The running agent; `run` returns when it is told to stop or its supervisor is gone. What runs on the machine goes on."""

    def __init__(self, home: Home, settings: Settings, supervised: Supervised) -> None:
        self._home = home
        self._settings = settings
        self._supervised = supervised

    async def run(self) -> None:
        shelf = Shelf(FdStore.from_environment())
        stopping = threading.Event()
        ports = build_ports(self._home, guest_api=self._settings.guest_api, shelf=shelf, stopping=stopping)
        store = await open_cache(self._home.path / "agent.db")
        period_s = self._settings.metrics_period_s or MINUTE_S
        service = AgentService(store, ports, shelf, self._edge(), metrics_period_s=period_s)
        await service.start()
        home = self._home.path
        access_logs = AccessLogs(service.machine, home / "s3-local", home / "access-log-spool")
        access_logs.start()
        service.tell_looks(access_logs.take_look)
        await self._serve_host_names(ports, shelf)
        if self._settings.egress != "off":
            ports.names.forward(self._resolvers())
        server = await AgentServer(service, lambda: self._down(service, ports)).serve(self._socket_path())
        self._supervised.ready()
        try:
            await until_stopped(self._supervised)
        finally:
            stopping.set()
            server.close()
            await service.close()
            await access_logs.close()
            for port in _in_closing_order(ports):
                await port.close()
            await store.close()

    def _edge(self) -> EdgeSpec:
        settings = self._settings
        if settings.egress == "off":
            return EdgeSpec(self._home.pool)
        link = "" if settings.egress == "host" else settings.egress
        return EdgeSpec(self._home.pool, WayOut(link, private_ranges(settings.egress_private)))

    def _resolvers(self) -> tuple[str, ...]:
        named = tuple(one.strip() for one in self._settings.resolvers.split(",") if one.strip())
        return named or host_resolvers(RESOLV_CONF.read_text() if RESOLV_CONF.exists() else "")

    def _socket_path(self) -> str:
        """The way to us, readable by root only; one that a dead agent left is replaced."""
        path = self._home.run / "agent.sock"
        path.unlink(missing_ok=True)
        os.umask(0o077)
        return str(path)

    async def _serve_host_names(self, ports: Ports, shelf: Shelf) -> None:
        """The DNS server for the host itself, on loopback, with the endpoint's name."""
        sockets = []
        for kind in ("udp", "tcp"):
            name = f"dns-host/{kind}"
            found = shelf.take(name)
            if found is None:
                found = _bind(self._home.bind, self._home.dns_port, kind)
                shelf.put(name, found)
            sockets.append(found)
        endpoint = self._settings.endpoint_name
        names = (endpoint, f"*.{endpoint}", f"*-{endpoint}")
        records = tuple(Record(name, "A", (self._home.bind,), view=HOST_ONLY) for name in names)
        ports.names.replace("gureum/endpoint", records, (Zone(endpoint, view=HOST_ONLY),))
        if ports.gates is not None:
            inside = tuple(Record(name, "A", (API_ADDRESS,)) for name in names)
            ports.names.replace("gureum/guests-endpoint", inside, (Zone(endpoint),))
        await ports.names.serve("", sockets)

    async def _down(self, service: AgentService, ports: Ports) -> None:
        """`gureum down`: machines stop as if switched off, nothing of this home stays on the machine but its files."""
        await service.stop_machines(DOWN_LIMIT_S)
        servers: tuple[Closable, ...] = (ports.names, ports.metadata, *_gates(ports))
        for port in servers:
            await port.close()
        await tear_down(self._home.id, self._home.run)
        if path := docker_socket(self._settings, self._home):
            await asyncio.to_thread(Path(path).unlink, missing_ok=True)


def _in_closing_order(ports: Ports) -> tuple[Closable, ...]:
    """What serves or asks first, what it stands on last."""
    published = (ports.publisher,) if ports.publisher is not None else ()
    servers: tuple[Closable, ...] = (
        ports.names,
        ports.metadata,
        *_gates(ports),
        ports.proxies,
        ports.checks,
        *published,
    )
    readers = (ports.flows,) if ports.flows is not None else ()
    return (*servers, *readers, ports.containers, ports.volumes, ports.firewalls, ports.networks)


def _gates(ports: Ports) -> tuple[Closable, ...]:
    return (ports.gates,) if ports.gates is not None else ()


async def tear_down(home_id: str, run: Path) -> None:
    """Removes everything that a home of this id has on the machine, by its names alone. What is gone is success."""
    await haproxy.clean(home_id, run)
    await asyncio.to_thread(haproxy_publisher.remove_all, run)
    # Before the containers end: a process that waits for a frozen disk cannot be killed.
    await loop_volumes.thaw(run)
    await crun.clean(home_id, run)
    await loop_volumes.clean(home_id, run)
    await netns.clean(home_id, run)


def _bind(address: str, port: int, kind: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    if kind == "tcp":
        sock.listen(128)
    sock.setblocking(False)
    return sock


def main() -> None:
    """`--teardown [ID]`: instead of serving, removes what the home (or a lost one of that id) left on the machine."""
    if sys.argv[1:2] == ["--teardown"]:
        home_id, run = (sys.argv[2], SYSTEM_RUN / sys.argv[2]) if sys.argv[2:] else _own()
        uvloop.run(tear_down(home_id, run))
        return
    supervised = Supervised()
    settings = load_settings()
    home = load_home(settings)
    assert home is not None, "the supervisor opens the home first"
    start_logging(settings.log_level)
    run_soon()
    try:
        uvloop.run(Agent(home, settings, supervised).run())
    except Exception as error:
        supervised.failed(f"the agent cannot start: {error}")
        raise


def _own() -> tuple[str, Path]:
    home = load_home(load_settings())
    assert home is not None, "a home that was never opened has nothing on the machine"
    return home.id, home.run


if __name__ == "__main__":
    main()
