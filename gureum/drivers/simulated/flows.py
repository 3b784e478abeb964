"""`ports.flows.Flows` of a machine where nothing runs: what a test puts in is what has passed."""

from __future__ import annotations

from collections.abc import Mapping

from gureum.ports.flows import NONE, Collected, Flow


class SimulatedFlows:
    def __init__(self) -> None:
        self.watched: dict[str, frozenset[str]] = {}
        self._flows: list[Flow] = []
        self._skipped: set[str] = set()

    def put(self, *flows: Flow, skipped: str = "") -> None:
        """These packets pass now; of the interface `skipped` more than could be heard."""
        watched = frozenset().union(*self.watched.values())
        self._flows += [flow for flow in flows if flow.interface in watched]
        self._skipped |= {skipped} - {""}

    async def watch(self, network: str, interfaces: frozenset[str], translators: Mapping[str, str] = NONE) -> None:
        if interfaces:
            self.watched[network] = interfaces
        else:
            self.watched.pop(network, None)

    async def collect(self) -> Collected:
        found = Collected(tuple(self._flows), frozenset(self._skipped))
        self._flows, self._skipped = [], set()
        return found

    async def close(self) -> None: ...
