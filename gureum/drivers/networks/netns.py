"""Networks by network namespaces and veth pairs: fills `gureum.ports.networks`.

The verbs run in a worker process (netns_worker); this side checks names, sends them there and opens sockets inside
networks. The kernel is the only state: a second NetnsNetworks of the same home (after the agent died) finds all and
disturbs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, TypeVar

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.edges import Edge
from gureum.drivers.networks.network_names import HomeNames, checked_name
from gureum.drivers.workers.worker_process import Worker, WorkerDiedError
from gureum.ports import PortError
from gureum.ports.networks import (
    EdgeSpec,
    InterfaceCounters,
    InterfaceSpec,
    NetworkSpec,
    Observed,
    Passage,
    SandboxPaths,
    SandboxSpec,
)

Answer = TypeVar("Answer")

_BACKLOG = 1024


class NetnsNetworks:
    """The networks of one home. `run_dir`: a directory that lasts until reboot, e.g. /run/gureum/a1b2."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self._names = HomeNames(home_id, run_dir)
        self._worker = Worker("gureum.drivers.networks.netns_worker", (home_id, str(run_dir)))

    async def ensure_edge(self, spec: EdgeSpec) -> None:
        await self._ask("ensure_edge", spec, type(None))

    async def remove_edge(self) -> None:
        await self._ask("remove_edge", None, type(None))

    async def ensure_network(self, spec: NetworkSpec) -> None:
        checked_name(spec.name)
        await self._ask("ensure_network", spec, type(None))

    async def remove_network(self, name: str) -> None:
        await self._ask("remove_network", checked_name(name), type(None))

    async def ensure_sandbox(self, spec: SandboxSpec) -> SandboxPaths:
        checked_name(spec.name)
        return await self._ask("ensure_sandbox", spec, SandboxPaths)

    async def remove_sandbox(self, name: str) -> None:
        await self._ask("remove_sandbox", checked_name(name), type(None))

    async def ensure_passage(self, sandbox: str, passage: Passage) -> None:
        await self._ask("ensure_passage", (checked_name(sandbox), passage), type(None))

    async def ensure_interface(self, spec: InterfaceSpec) -> None:
        for name in (spec.name, spec.network, spec.sandbox or "-"):
            checked_name(name)
        await self._ask("ensure_interface", spec, type(None))

    async def remove_interface(self, name: str) -> None:
        await self._ask("remove_interface", checked_name(name), type(None))

    def open_socket(self, network: str, address: str, port: int, kind: Literal["tcp", "udp"]) -> socket.socket:
        """Bound (tcp: listening) and non-blocking; it stays in the network for good, whichever thread uses it."""
        where = namespaces.entered(self._names.network(network)) if network else contextlib.nullcontext()
        return _bound_in(where, network or "the host", address, port, kind)

    def open_in_sandbox(self, sandbox: str, address: str, port: int) -> socket.socket:
        """As `open_socket`."""
        return _bound_in(namespaces.entered(self._names.sandbox(sandbox)), sandbox, address, port, "tcp")

    async def observe(self) -> Observed:
        return await self._ask("observe", None, Observed)

    async def counters(self) -> dict[str, InterfaceCounters]:
        return await self._ask("counters", None, dict[str, InterfaceCounters])

    async def close(self) -> None:
        await self._worker.close()

    async def _ask(self, verb: str, argument: object, answer: type[Answer]) -> Answer:
        """Every verb may be done twice, so one whose worker died is asked once more."""
        try:
            return await self._worker.call(verb, argument, answer)
        except WorkerDiedError:
            return await self._worker.call(verb, argument, answer)


def _bound_in(
    where: AbstractContextManager[object], place: str, address: str, port: int, kind: Literal["tcp", "udp"]
) -> socket.socket:
    try:
        with where:
            return _bound(address, port, kind)
    except OSError as error:
        raise PortError(f"cannot listen on {address}:{port} in {place}: {os.strerror(error.errno or 0)}") from error


def _bound(address: str, port: int, kind: Literal["tcp", "udp"]) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setblocking(False)
        opened.bind((address, port))
        if kind == "tcp":
            opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


async def clean(home_id: str, run_dir: Path) -> None:
    """Removes all networks, sandboxes and the edge of a home by their names, whoever made them. Needs no worker; a
    namespace that a process still lives in ends with that process."""
    await asyncio.to_thread(_clean, HomeNames(home_id, run_dir))


def _clean(names: HomeNames) -> None:
    Edge(names).remove()
    for path in (
        *map(names.network, names.pinned_networks()),
        *map(names.sandbox, names.pinned_sandboxes()),
        *names.users_dir.glob("*"),
    ):
        namespaces.unpin(path)
    with contextlib.suppress(FileNotFoundError):
        names.users_dir.rmdir()
