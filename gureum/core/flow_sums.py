"""What load balancers have done, for metrics: per node and protocol, what came since somebody last asked.

    kernel's counters ─► Firewalls.balanced_counts ─► differences, and the most packets a second of any ten ─► `take`
    proxies' counters ─► Proxies.counters          ─► the same for connections that end in a program (TLS, the PROXY protocol; of layer 7
                                                   connections alone: what they carry is counted by request, core/request_sums.py)

The kernel's begin anew when a network's rules are made anew (an agent's start, or sets that have outgrown their room); what was counted since the
last look is then lost. Proxies
outlive the agent, and so does what was seen of their counters last: else the next agent would tell all of it once more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import msgspec

from gureum.core.machine import Machine
from gureum.core.specs import Balancer, Proxy
from gureum.ports import PortError
from gureum.ports.firewalls import BalancedCounts
from gureum.ports.proxies import Counters, PortCounters

log = logging.getLogger("gureum.metrics")
SAMPLE_S = 10.0
"""AWS: PeakBytesPerSecond and PeakPacketsPerSecond are "calculated every 10 seconds"."""


Spoken = Literal["TCP", "UDP", "TLS", "HTTP"]


class FlowSum(msgspec.Struct):
    """Of one node (`interface`). `active`: flows now; of HTTP, connections from clients and to targets. `open_flows`: of `flows`, those that were
    sent to somebody because nobody is well. `peak_packets_s`, `peak_bytes_s`: a second, the most of any ten seconds, of what the kernel forwards.
    `rejected`: by a proxy, connections that were, since there were too many. `proxied`: a proxy's connections are among them."""

    interface: str
    protocol: Spoken
    active: int = 0
    flows: int = 0
    packets: int = 0
    bytes: int = 0
    client_resets: int = 0
    target_resets: int = 0
    elb_resets: int = 0
    blocked_in: int = 0
    blocked_out: int = 0
    tls_errors: int = 0
    open_flows: int = 0
    peak_packets_s: float = 0.0
    peak_bytes_s: float = 0.0
    proxied: bool = False
    rejected: int = 0


_ADDED = (
    "flows",
    "packets",
    "bytes",
    "client_resets",
    "target_resets",
    "elb_resets",
    "blocked_in",
    "blocked_out",
    "open_flows",
)


class Proxied(msgspec.Struct, frozen=True):
    """What was seen last of a node's proxy: of layer 4 by port, and handshakes that failed; of layer 7 connections, also those to targets."""

    by_port: dict[int, PortCounters] = {}
    tls_errors: int = 0
    connections: int = 0
    rejected: int = 0


_KEPT = "proxied-flows"


class FlowSums:
    """`start` begins to look every ten seconds, which costs nothing where there is no such load balancer. All belongs to the agent's loop."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._sums: dict[tuple[str, str], FlowSum] = {}
        self._before: dict[tuple[str, str], BalancedCounts] = {}
        self._proxied: dict[str, Proxied] | None = None  # until it is first needed
        self._looked = 0.0
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def take(self) -> list[FlowSum]:
        """What came since the last time."""
        await self._look(active=True)
        found, self._sums = list(self._sums.values()), {}
        return found

    async def _watch(self) -> None:
        self._looked = self._machine.ports.clock.now()
        while True:
            await self._machine.ports.clock.sleep(SAMPLE_S)
            await self._look(active=False)

    async def _look(self, *, active: bool) -> None:
        async with self._lock:
            now = self._machine.ports.clock.now()
            period_s, self._looked = now - self._looked, now
            specs = [one.spec for one in self._machine.of_kind("Balancer")]
            there: set[tuple[str, str]] = set()
            unseen: set[str] = set()
            for network in sorted({spec.network for spec in specs if isinstance(spec, Balancer)}):
                try:
                    counts = await self._machine.ports.firewalls.balanced_counts(network, active)
                except PortError as away:
                    log.debug("no counters of flows", extra={"network": network, "why": away.why})
                    unseen |= {
                        spec.interface for spec in specs if isinstance(spec, Balancer) and spec.network == network
                    }
                    continue
                for one in counts:
                    there.add((one.interface, one.protocol))
                    self._add(one, period_s)
            # Whose counters could not be read has counted on: the next look tells what came since the last one that could.
            self._before = {key: one for key, one in self._before.items() if key in there or key[0] in unseen}
            if active:
                await self._look_at_proxies()

    def _add(self, now: BalancedCounts, period_s: float) -> None:
        key = (now.interface, now.protocol)
        before, self._before[key] = self._before.get(key), now
        sums = self._sum(now.interface, "TCP" if now.protocol == "tcp" else "UDP")
        packets, moved = sums.packets, sums.bytes
        for name in _ADDED:
            setattr(sums, name, getattr(sums, name) + _since(getattr(before, name, 0), getattr(now, name)))
        sums.active = now.active
        if period_s >= SAMPLE_S / 2:
            sums.peak_packets_s = max(sums.peak_packets_s, (sums.packets - packets) / period_s)
            sums.peak_bytes_s = max(sums.peak_bytes_s, (sums.bytes - moved) / period_s)

    async def _look_at_proxies(self) -> None:
        wished = [one.spec for one in self._machine.of_kind("Proxy")]
        nodes = {spec.proxy.name: spec for spec in wished if isinstance(spec, Proxy)}
        before = self._seen_before() if self._proxied is None else self._proxied
        if not nodes and not before:
            return
        counted = await self._machine.ports.proxies.counters() if nodes else {}
        # Of one that has gone nothing is known: who has its name next begins anew.
        self._proxied = {spec.interface: before.get(spec.interface, Proxied()) for spec in nodes.values()}
        for name, spec in nodes.items():
            if name in counted:
                add = self._add_layer4 if spec.speaks_for_clients else self._add_layer7
                self._proxied[spec.interface] = add(spec, self._proxied[spec.interface], counted[name])
        if self._proxied != before:
            await self._machine.keep(_KEPT, msgspec.json.encode(self._proxied).decode() if self._proxied else "")

    def _seen_before(self) -> dict[str, Proxied]:
        try:
            return msgspec.json.decode(self._machine.kept.get(_KEPT) or "{}", type=dict[str, Proxied])
        except msgspec.MsgspecError:
            return {}

    def _add_layer7(self, spec: Proxy, before: Proxied, now: Counters) -> Proxied:
        made = now.connections + now.to_targets
        sums = self._sum(spec.interface, "HTTP")
        sums.flows += _more(before.connections, made)
        sums.active += now.active + now.active_to_targets
        sums.rejected += _more(before.rejected, now.rejected)
        return Proxied(connections=made, rejected=now.rejected)

    def _add_layer4(self, spec: Proxy, before: Proxied, now: Counters) -> Proxied:
        node = spec.interface
        for listener in spec.proxy.listeners:
            there = now.by_port.get(listener.port, PortCounters())
            had = before.by_port.get(listener.port, PortCounters())
            sums = self._sum(node, "TLS" if listener.protocol == "TLS" else "TCP")
            sums.flows += _more(had.connections, there.connections)
            sums.bytes += _more(had.bytes, there.bytes)
            sums.active += there.active
            sums.proxied = True
        if any(listener.protocol == "TLS" for listener in spec.proxy.listeners):
            self._sum(node, "TLS").tls_errors += _more(before.tls_errors, now.tls_errors)
        if spec.proxy.listeners:
            tls = any(listener.protocol == "TLS" for listener in spec.proxy.listeners)
            self._sum(node, "TLS" if tls else "TCP").rejected += _more(before.rejected, now.rejected)
        return Proxied(now.by_port, now.tls_errors, rejected=now.rejected)

    def _sum(self, interface: str, protocol: Spoken) -> FlowSum:
        return self._sums.setdefault((interface, protocol), FlowSum(interface, protocol))


def _since(before: int, now: int) -> int:
    """A counter that is lower than it was has begun anew."""
    return now - before if now >= before else now


def _more(before: int, now: int) -> int:
    """Of a counter that goes on over restarts: lower than it was when a killed process took some with it."""
    return max(0, now - before)
