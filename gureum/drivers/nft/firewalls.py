"""Firewalls by nftables: fills `gureum.ports.firewalls`.

What a network's table should hold is planned here, purely (nft_table); a worker applies it as one transaction. This
side remembers what it last applied to each network, so that a change costs only its difference. After a start, or
when it is unknown what the kernel has, the whole table is replaced in one transaction: there is no moment without
rules, and known flows live on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Literal

from gureum.drivers.networks.network_names import checked_home, checked_name
from gureum.drivers.nft.balancers import Listener, counter_name, listeners
from gureum.drivers.nft.table import Table, difference, outgrown, refuses_strays, released, roomy, table
from gureum.drivers.nft.worker import Change, Counted, Ending
from gureum.drivers.workers.worker_process import Worker, WorkerDiedError
from gureum.ports.firewalls import BalancedCounts, Entrance, RuleSet

_ATTEMPTS = 2  # a worker that died is replaced once per call


class _Network:
    """`applied` None: what the kernel has is unknown. `watched`: refused packets are told to who watches flows."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wished: RuleSet | None = None
        self.current: RuleSet | None = None
        self.applied: Table | None = None
        self.watched = False


class NftFirewalls:
    """The firewalls of one home's networks."""

    def __init__(self, home_id: str) -> None:
        self._worker = Worker("gureum.drivers.nft.worker", (checked_home(home_id),))
        # Of its own, from the first question on: counting many flows must not hold up a change.
        self._reader = Worker("gureum.drivers.nft.worker", (checked_home(home_id),))
        self._networks: dict[str, _Network] = {}

    async def apply(self, rules: RuleSet) -> None:
        """Calls for one network that wait for each other are joined: the last wish is applied once, for all of them."""
        network = self._networks.setdefault(checked_name(rules.network), _Network())
        network.wished = rules
        async with network.lock:
            wished = network.wished
            if network.applied is None or wished != network.current:
                await self._bring(network, wished)

    async def _bring(self, network: _Network, rules: RuleSet) -> None:
        for attempt in range(_ATTEMPTS):
            old, network.applied = network.applied, None  # unknown until the worker says done
            # In a thread: hundreds of interfaces take some milliseconds.
            new, change = await asyncio.to_thread(_planned, old, network.current, rules, network.watched)
            try:
                if change.commands or change.idle is not None or change.watched is not None:
                    await self._worker.call("apply", change, type(None))
            except WorkerDiedError:
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            network.applied, network.current = new, rules
            return

    def rules(self, network: str) -> RuleSet | None:
        """What was wished last for the network."""
        known = self._networks.get(network)
        return known.wished if known is not None else None

    async def tell_refused(self, name: str, watched: bool) -> None:
        """From now on refused packets of the network go to `DENIED_LOG_GROUP` as well, and the kernel notes when its flows begin, or no longer;
        that costs nothing while nobody watches.
        A network without rules yet does so with its first ones."""
        network = self._networks.setdefault(checked_name(name), _Network())
        async with network.lock:
            changed, network.watched = network.watched != watched, watched
            if network.wished is not None and (changed or network.applied is None):
                await self._bring(network, network.wished)

    async def end_flows(self, network: str, address: str, port: int, by: Collection[Entrance]) -> None:
        known = self._networks.get(checked_name(network))
        if known is None or known.current is None:
            return
        marks = tuple(one.number for one in listeners(known.current) if one.entrance in by)
        ending = Ending(network, address, port, marks)
        try:
            await self._worker.call("end_flows", ending, type(None))
        except WorkerDiedError:
            await self._worker.call("end_flows", ending, type(None))

    async def balanced_counts(self, network: str, active: bool) -> list[BalancedCounts]:
        known = self._networks.get(checked_name(network))
        if known is None or known.current is None or not known.current.balancers:
            return []
        found = listeners(known.current)
        verb = "open_flows" if active else "counters"
        try:
            counted = await self._reader.call(verb, network, Counted)
        except WorkerDiedError:
            counted = await self._reader.call(verb, network, Counted)
        nodes = sorted({(one.balancer.interface, one.port.protocol) for one in found})
        return [_counts(interface, protocol, found, counted) for interface, protocol in nodes]

    async def forget(self, network: str) -> None:
        self._networks.pop(network, None)

    async def close(self) -> None:
        await self._worker.close()
        await self._reader.close()


def _counts(interface: str, protocol: Literal["tcp", "udp"], found: list[Listener], counted: Counted) -> BalancedCounts:
    def of(count: str) -> tuple[int, int]:
        return counted.counters.get(counter_name(count, protocol, interface), (0, 0))

    its = [one for one in found if (one.balancer.interface, one.port.protocol) == (interface, protocol)]
    first = [of("new"), of("new-open")]
    packets, size = (sum(column) for column in zip(of("packets"), *first, strict=True))
    return BalancedCounts(
        interface=interface,
        protocol=protocol,
        flows=sum(packets for packets, _ in first),
        packets=packets,
        bytes=size,
        client_resets=of("client-reset")[0],
        target_resets=of("target-reset")[0],
        elb_resets=of("elb-reset")[0],
        blocked_in=of("blocked-in")[0],
        blocked_out=of("blocked-out")[0],
        active=sum(counted.flows.get(one.number, 0) for one in its),
        open_flows=of("new-open")[0],
    )


def _planned(old: Table | None, before: RuleSet | None, rules: RuleSet, watched: bool) -> tuple[Table, Change]:
    # Once a network has had balancers, what is left of their flows is reset, and does not hang without a way back.
    new = roomy(old, table(rules, watched, balancing=old is not None and refuses_strays(old)))
    commands = difference(old, new)
    if old is None:
        return new, Change(
            rules.network, commands, True, strict=refuses_strays(new), idle=sorted(new.idle), watched=new.watched
        )
    whole = outgrown(old, new)
    strict = refuses_strays(new) if refuses_strays(new) != refuses_strays(old) else None
    idle = sorted(new.idle) if new.idle != old.idle else None
    noted = new.watched if new.watched != old.watched else None
    ended = before is not None and bool(before.balancers) and not rules.balancers
    freed = [*released(old, new), *(_left_by_nodes(before, rules) if before is not None else ())]
    return new, Change(rules.network, commands, whole, freed, strict, idle, noted, ended)


def _left_by_nodes(before: RuleSet, rules: RuleSet) -> list[str]:
    """The addresses of load balancers' nodes that are gone: flows to them have been translated, and would go on."""
    held = {address for port in rules.ports for address in port.addresses}
    nodes = (port for port in before.ports if port.listens is not None)
    return sorted({address for port in nodes for address in port.addresses if address not in held})
