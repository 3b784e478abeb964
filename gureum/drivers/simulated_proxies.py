"""The simulated twin of haproxy.py: proxies that are only remembered. For `up --simulate` and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gureum.ports.proxies import Counters, ProxySpec, Sink


class SimulatedProxies:
    """Fills ports.proxies.Proxies in memory. `end(name)` lets one die."""

    def __init__(self) -> None:
        self.specs: dict[str, ProxySpec] = {}
        self._ended: asyncio.Queue[str] = asyncio.Queue()

    def end(self, name: str) -> None:
        self._ended.put_nowait(name)

    async def ensure(self, spec: ProxySpec) -> None:
        self.specs[spec.name] = spec

    async def remove(self, name: str) -> None:
        self.specs.pop(name, None)

    async def end_connections(self, name: str, group: str, server: str) -> None:
        pass

    async def died(self) -> str:
        return await self._ended.get()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        return lambda: None

    async def counters(self) -> dict[str, Counters]:
        return {name: Counters() for name in self.specs}

    async def observe(self) -> frozenset[str]:
        return frozenset(self.specs)

    async def close(self) -> None:
        pass
