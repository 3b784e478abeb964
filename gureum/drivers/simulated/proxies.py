"""Proxies that balance nothing: the twin of `haproxy` for `--simulate` and tests. Wishes are checked as the real one checks them, since they are
rendered; there is just nobody to read it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from gureum.drivers.haproxy import config as haproxy_config
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.text import group_name, server_name
from gureum.drivers.networks.network_names import checked_name
from gureum.ports.proxies import (
    Counters,
    Group,
    ProxySpec,
    Record,
    Request,
    Sink,
    TallySink,
    everything,
    record_of,
    tally_of,
)


class SimulatedProxies:
    """`crash` and `tell` are the simulation's own: a process that ends, requests that came."""

    def __init__(self) -> None:
        self.specs: dict[str, ProxySpec] = {}
        self._dead: set[str] = set()
        self._sinks: list[Sink] = []
        self._died: asyncio.Queue[str] = asyncio.Queue()

    async def ensure(self, spec: ProxySpec) -> None:
        haproxy_config.render(spec, Host())
        self.specs[checked_name(spec.name)] = spec
        self._dead.discard(spec.name)

    async def hasten(self, name: str, groups: tuple[Group, ...]) -> None:
        checked_name(name)  # no change of ours is slow

    async def finish(self, name: str) -> bool:
        return False

    async def remove(self, name: str) -> None:
        self.specs.pop(checked_name(name), None)
        self._dead.discard(name)

    async def end_connections(self, name: str, group: str, server: str) -> None:
        checked_name(name), group_name(group), server_name(server)

    async def died(self) -> str:
        while True:
            name = await self._died.get()
            if name in self._dead:
                return name

    def subscribe(self, sink: Sink, wants: Callable[[ProxySpec], bool] = everything) -> Callable[[], None]:
        def take(told: Sequence[Record | Request]) -> None:
            wanted = [one for one in map(record_of, told) if one.proxy in self.specs and wants(self.specs[one.proxy])]
            if wanted:
                sink(wanted)

        return self._joined(take)

    def tally(self, sink: TallySink) -> Callable[[], None]:
        return self._joined(lambda records: sink([tally_of(record_of(one)) for one in records]))

    def _joined(self, sink: Sink) -> Callable[[], None]:
        self._sinks.append(sink)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._sinks.remove(sink)

        return stop

    def drain(self) -> None:
        """Nothing waits here."""

    async def counters(self) -> dict[str, Counters]:
        return {name: Counters() for name in self.specs}

    async def observe(self) -> frozenset[str]:
        return frozenset(self.specs)

    async def close(self) -> None:
        self._sinks.clear()

    def crash(self, name: str) -> None:
        if name in self.specs:
            self._dead.add(name)
            self._died.put_nowait(name)

    def tell(self, records: list[Record]) -> None:
        for sink in tuple(self._sinks):
            sink(records)
