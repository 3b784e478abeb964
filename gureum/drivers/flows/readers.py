"""Flows from the kernel's connection tracking and its log of refused packets: fills `gureum.ports.flows`.

    a network that is watched ─┬─ ended flows: ctnetlink's multicast DESTROY, with last counts        ─┐
                               ├─ live flows:  a dump when somebody collects, less what was told before ├─ collect ─► Flow of each interface
                               └─ refused:     NFLOG from the chains `denied` (nft_table)              ─┘

Sockets are opened inside the network's namespace and then read from the agent's one loop; nobody has to be in there. What a NAT gateway passes on for
others is read in the same way from its own namespace. The dump is read in a thread. While it runs, ends of flows wait in their socket: an entry whose
end was told before the dump is not in it, and one that is in it is known when its end is read, so nothing is told twice or never. Counters are never
set to zero, others may read them.

This file is the port; watched.py one network's sockets and sums, attribution.py what they say of each interface, sockets.py the kernel's side.

A refused packet of a known flow (an ACL's, as those judge each packet) was counted there, too, and is taken off. One of an unknown flow that
only the receiver refuses has passed its sender: it is told as accepted there (AWS does so). One that a load balancer's node does not listen for
was refused by no rule, and is told as accepted by both. Where the kernel says that a socket's buffer was full
the network's interfaces count as skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gureum.drivers.flows.views import Owners, owners
from gureum.drivers.flows.watched import Translator, WatchedNetwork
from gureum.drivers.networks.network_names import HomeNames, checked_name
from gureum.ports import PortError
from gureum.ports.firewalls import RuleSet
from gureum.ports.flows import NONE, Collected, Flow


class Refusals(Protocol):
    """The firewall's part in it (drivers.nft)."""

    def rules(self, network: str) -> RuleSet | None: ...

    async def tell_refused(self, name: str, watched: bool) -> None: ...


class NetlinkFlows:
    """The flows of one home's networks."""

    def __init__(self, home_id: str, run_dir: Path, refusals: Refusals) -> None:
        self._names = HomeNames(home_id, run_dir)
        self._refusals = refusals
        self._networks: dict[str, WatchedNetwork] = {}
        self._pending: list[Flow] = []
        self._skipped: set[str] = set()
        self._lock = asyncio.Lock()

    async def watch(self, network: str, interfaces: frozenset[str], translators: Mapping[str, str] = NONE) -> None:
        path = self._names.network(checked_name(network))
        async with self._lock:
            known = self._networks.get(network)
            if known is not None:
                await self._gather(known)
            if not interfaces:
                await self._leave(network)
                return
            if known is None:
                known = self._networks[network] = WatchedNetwork(network, path)
            known.interfaces = interfaces
            known.translators = self._translators(known, translators)
            await self._refusals.tell_refused(network, True)
            await self._open(known)
            for translator in known.translators.values():
                await self._open(translator)

    async def collect(self) -> Collected:
        async with self._lock:
            for network in list(self._networks.values()):
                await self._gather(network)
            found = Collected(tuple(self._pending), frozenset(self._skipped))
            self._pending, self._skipped = [], set()
            return found

    async def close(self) -> None:
        async with self._lock:
            for network in self._networks.values():
                network.close()
            self._networks.clear()

    async def _leave(self, network: str) -> None:
        known = self._networks.pop(network, None)
        if known is not None:
            known.close()
            # The network may be gone, and its rules with it.
            with contextlib.suppress(PortError):
                await self._refusals.tell_refused(network, False)

    def _translators(self, network: WatchedNetwork, wanted: Mapping[str, str]) -> dict[str, Translator]:
        kept = {name: one for name, one in network.translators.items() if wanted.get(name) == one.name}
        for name, one in network.translators.items():
            if name not in kept:
                one.close()
        made = {
            name: Translator(sandbox, self._names.sandbox(checked_name(sandbox)), name)
            for name, sandbox in wanted.items()
            if name not in kept
        }
        return kept | made

    async def _open(self, network: WatchedNetwork) -> None:
        """A network that is not there (any more) is tried again by the next collect."""
        if network.is_open:
            return
        try:
            network.open()
            await network.gather(None)  # what has passed before does not count
        except FileNotFoundError:
            network.close()
        except OSError as error:
            network.close()
            raise PortError(f"flows of network {network.name} cannot be read: {error.strerror}") from error

    async def _gather(self, network: WatchedNetwork) -> None:
        rules = self._refusals.rules(network.name)
        owned = owners(rules) if rules is not None else None
        for one in (network, *network.translators.values()):
            await self._gather_from(one, owned)

    async def _gather_from(self, network: WatchedNetwork, owned: Owners | None) -> None:
        try:
            flows, whole = await network.gather(owned) if owned is not None else ((), True)
        except OSError:
            flows, whole = (), False
            network.close()
        self._pending += flows
        if not whole:
            self._skipped |= network.interfaces
        if network.is_stale:
            network.close()
        await self._open(network)
