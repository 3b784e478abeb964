"""Published ports of applications (Docker: `-p`), also while no daemon is there.

    start ──► the network is there ──► published ──► the program starts
                                          ▲   │ a process of it has ended: again at once, and later if it ends again and again
                                          └───┘

A program that runs goes on without its ports while they cannot be published again, as when somebody else has taken an address meanwhile.
"""

from __future__ import annotations

import asyncio

import msgspec

from gureum.core.machine import Machine
from gureum.core.specs import Container
from gureum.engine.errors import Retry
from gureum.ports import PortError

QUICK_END_S, FREE_QUICK_ENDS = 1.0, 3
"""What ends sooner than this after it was published may be a loop; so many in a row are answered at once."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 10.0
TAKEN_S = 5.0
"""How often what cannot be published again is tried."""


class Later(Retry):
    """Waiting is what it does now, and told so: no "pending"."""


class Ends(msgspec.Struct, frozen=True):
    """`at`: seconds since the epoch, of the last end. `quick`: how many came soon, one after the other."""

    at: float
    quick: int


class ApplicationPorts:
    """`start` first."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._publisher = machine.ports.publisher
        self._ends: dict[str, Ends] = {}
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._publisher is not None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def publish(self, id_: str, spec: Container) -> None:
        """Before the program starts. PortError when an address is taken; Retry until the network is there, for the proxy opens it as it starts."""
        if spec.published is not None and self._publisher is not None:
            self._machine.need(id_, f"Network/{spec.published.network}")
            await self._publisher.publish(spec.published)

    async def stay(self, id_: str, spec: Container) -> Later | None:
        """Of a program that runs: None when they are published, else why not, and when to look again."""
        if spec.published is None:
            return None
        try:
            self._hold_back(spec.published.name)
            await self.publish(id_, spec)
        except PortError as refused:
            return Later(refused.why, TAKEN_S)
        except Retry as retry:
            return Later(retry.why, retry.after_s)
        return None

    async def withdraw(self, name: str) -> None:
        self._ends.pop(name, None)
        if self._publisher is not None:
            await self._publisher.withdraw(name)

    async def _watch(self) -> None:
        assert self._publisher is not None
        while True:
            name, now = await self._publisher.died(), self._machine.ports.clock.now()
            before = self._ends.get(name)
            quick = (
                before.quick + 1 if before is not None and 0 <= now - before.at < _pause_s(before) + QUICK_END_S else 0
            )
            self._ends[name] = Ends(now, quick)
            self._machine.poke(f"Container/{name}")

    def _hold_back(self, name: str) -> None:
        ends, now = self._ends.get(name), self._machine.ports.clock.now()
        if ends is not None and ends.at <= now < ends.at + _pause_s(ends):
            raise Retry("what publishes its ports ended again and again", ends.at + _pause_s(ends) - now)


def _pause_s(ends: Ends) -> float:
    more = ends.quick - FREE_QUICK_ENDS
    return min(FIRST_PAUSE_S * 2 ** min(more, 10), LAST_PAUSE_S) if more >= 0 else 0.0
