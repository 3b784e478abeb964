"""`ports.consoles.Consoles` of simulated containers."""

from __future__ import annotations

import asyncio

from gureum.drivers.simulated.machine import SimulatedContainers
from gureum.ports.clock import Clock
from gureum.ports.consoles import ConsoleLine, ConsolePage

LOOK_S = 0.05


class SimulatedConsoles:
    def __init__(self, containers: SimulatedContainers, clock: Clock) -> None:
        self._containers = containers
        self._clock = clock
        self._read: dict[str, int] = {}

    async def read(self, name: str, place: str = "") -> ConsolePage:
        output = await self._containers.console(name, 1 << 30)
        start = int(place) if place.isdigit() else 0
        end = output.rfind(b"\n") + 1
        self._read[name] = end
        now = int(self._clock.now() * 1000)
        lines = output[start:end].decode(errors="replace").splitlines() if start < end else []
        return ConsolePage(tuple(ConsoleLine(now, line) for line in lines), str(max(start, end)))

    async def changed(self, name: str, timeout_s: float) -> None:
        """Nothing tells of changes in a simulation, which are few: it looks."""
        left_s = timeout_s
        while left_s > 0 and len(await self._containers.console(name, 1 << 30)) <= self._read.get(name, 0):
            await asyncio.sleep(min(LOOK_S, left_s))
            left_s -= LOOK_S

    async def close(self) -> None: ...
