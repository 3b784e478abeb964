"""FlowLog in the agent: what is to be watched reaches the port, and what it counted goes to the daemon as windows.

A status with a new number of waiting windows tells the daemon that there is something to take (core/agent_link.py: `flows`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from gureum.core.flow_windows import FlowSums, Window
from gureum.core.machine import Machine
from gureum.core.specs import FlowLog, Interface, Sandbox
from gureum.engine.errors import Broken
from gureum.ports import PortError
from gureum.ports.flows import Flows

log = logging.getLogger("gureum.agent")
Watched = dict[str, str]
"""Interface → the translator behind it."""


class FlowKinds:
    """Reconcile and teardown of FlowLog, and the collecting while there is one."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._sums: dict[str, FlowSums] = {}
        self._watched: dict[str, Watched] = {}
        self._collecting: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def flow_log(self, id_: str, spec: FlowLog) -> None:
        flows = self._port()
        for network in sorted({network for network, _ in spec.interfaces}):
            self._machine.need(id_, f"Network/{network}")
        now = self._machine.ports.clock.now()
        known = self._sums.get(id_)
        if known is None:
            self._sums[id_] = FlowSums(spec, now, int(now * 1000) * 1000)
        else:
            known.change(spec, now)
        await self._watch(flows)
        self._tell(id_)
        self._changed.set()
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.get_running_loop().create_task(self._collect(flows))

    async def flow_log_gone(self, id_: str, spec: FlowLog) -> None:
        if self._sums.pop(id_, None) is not None:
            await self._watch(self._port())
            self._changed.set()

    def take(self, name: str, done: int) -> list[Window]:
        """Windows of the flow log `name` that wait; those up to `done` are forgotten."""
        sums = self._sums.get(f"FlowLog/{name}")
        return sums.take(done) if sums is not None else []

    def close(self) -> None:
        if self._collecting is not None:
            self._collecting.cancel()

    def _port(self) -> Flows:
        flows = self._machine.ports.flows
        if flows is None:
            raise Broken("this machine cannot count flows")
        return flows

    async def _watch(self, flows: Flows) -> None:
        """The port watches what any flow log is about."""
        wanted: dict[str, dict[str, str]] = {}
        for sums in self._sums.values():
            for network, interface in sums.spec.interfaces:
                wanted.setdefault(network, {})[interface] = self._translator(interface)
        for network in sorted({*self._watched, *wanted}):
            interfaces = wanted.get(network, {})
            if self._watched.get(network, {}) != interfaces:
                translators = {interface: sandbox for interface, sandbox in interfaces.items() if sandbox}
                await flows.watch(network, frozenset(interfaces), translators)
                self._watched[network] = interfaces
        self._watched = {network: interfaces for network, interfaces in self._watched.items() if interfaces}

    def _translator(self, interface: str) -> str:
        """The sandbox of the NAT gateway behind the interface, "" where there is none."""
        plugged = self._machine.desired.get(f"Interface/{interface}")
        if plugged is None or not isinstance(plugged.spec, Interface):
            return ""
        sandbox = self._machine.desired.get(f"Sandbox/{plugged.spec.interface.sandbox}")
        if sandbox is None or not isinstance(sandbox.spec, Sandbox) or sandbox.spec.sandbox.translation is None:
            return ""
        return sandbox.name

    async def _collect(self, flows: Flows) -> None:
        """While there are flow logs: at the end of each one's interval, collects for all and closes that one's window."""
        clock = self._machine.ports.clock
        while self._sums:
            self._changed.clear()
            waiting = asyncio.ensure_future(clock.sleep(self._next_due() - clock.now()))
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({waiting, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in (waiting, changed):
                    one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(waiting, changed, return_exceptions=True)
            if self._sums and self._next_due() <= clock.now():
                await self._round(flows)

    def _next_due(self) -> float:
        return min(sums.due for sums in self._sums.values())

    async def _round(self, flows: Flows) -> None:
        try:
            await self._watch(flows)
            found = await flows.collect()
        except PortError as failed:
            log.warning("flows were not collected", extra={"why": failed.why})
            interfaces = {interface for sums in self._sums.values() for _, interface in sums.spec.interfaces}
            for sums in self._sums.values():
                sums.add((), interfaces)
        else:
            for sums in self._sums.values():
                sums.add(found.flows, found.skipped)
        now = self._machine.ports.clock.now()
        for id_, sums in self._sums.items():
            if sums.due <= now:
                sums.close(now)
                self._tell(id_)

    def _tell(self, id_: str) -> None:
        self._machine.set_status(id_, "ready", data={"newest": self._sums[id_].newest})
