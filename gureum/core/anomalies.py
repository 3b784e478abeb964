"""Targets that fail more often than the others of their group, though they pass their health checks: found, and given less.

    proxies' counters ─► every LOOK_S: per node and group, requests and errors of each target ─► who stands out (pure) ─► weights, status

AWS, "Automatic Target Weights": errors are 5XX answers and failed connections; a target's share of them is compared with the others'; there must be
three healthy ones; with mitigation an anomalous target gets less and less, down to a little that shows whether it has recovered, and then more and
more again. A target's health is another matter. How AWS compares is not documented: here by the difference of two shares, in what chance would make
of it (`stands_out`).

Each node goes by what it has sent itself. Nothing is kept: an agent that starts anew finds out anew. Nothing runs while no group has three targets.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Iterator, Mapping

import msgspec

from gureum.core.machine import Machine
from gureum.core.specs import Proxy, Use
from gureum.core.targets import Node, TargetBook
from gureum.ports import PortError
from gureum.ports.proxies import Counters, ServerCounters

log = logging.getLogger("gureum.agent")
LOOK_S = 5.0
LOOKS = 6
"""So many together are what is judged by."""
FEWEST_HEALTHY = 3
FEWEST_REQUESTS = 10
"""Of the target and of the others together; with fewer nothing is found."""
SURE, CALM = 3.5, 1.5
"""Standard deviations between both shares of errors: beyond the first a target is anomalous, below the second it is so no more."""
WORSE = 1.5
"""So many times the others' share of errors it must have besides: with many requests the least difference is sure."""
WHOLE, LEAST = 100, 4
Counts = Mapping[str, ServerCounters]
_NONE = ServerCounters()


class Verdict(msgspec.Struct, frozen=True):
    """On a target at one node. `weight`: of 100."""

    anomalous: bool = False
    weight: int = WHOLE


NORMAL = Verdict()


def stands_out(own: ServerCounters, others: ServerCounters, *, was: bool) -> bool:
    """Whether the target is anomalous, which it `was` so far. Too few requests change nothing."""
    if own.requests == 0 and others.requests == 0:
        return False
    if own.requests < (1 if was else FEWEST_REQUESTS) or others.requests < FEWEST_REQUESTS:
        return was
    share, usual = own.errors / own.requests, others.errors / others.requests
    both = (own.errors + others.errors) / (own.requests + others.requests)
    chance = math.sqrt(both * (1 - both) * (1 / own.requests + 1 / others.requests))
    if share <= usual * WORSE or chance == 0:
        return False
    return (share - usual) / chance > (CALM if was else SURE)


def judged(counts: Counts, before: Mapping[str, Verdict], *, mitigates: bool) -> dict[str, Verdict]:
    """The next verdicts on targets that get requests, by what they were asked of late. Others than those that stand out already are what one is
    compared with, where there are any."""
    found = {}
    for name, own in counts.items():
        was = before.get(name, NORMAL)
        peers = [one for one in counts if one != name]
        good = [one for one in peers if not before.get(one, NORMAL).anomalous] or peers
        anomalous = stands_out(own, _sum([counts[one] for one in good]), was=was.anomalous)
        weight = WHOLE
        if mitigates:
            weight = max(LEAST, was.weight // 2) if anomalous else min(WHOLE, was.weight * 2)
        found[name] = Verdict(anomalous, weight)
    return found


def _sum(counts: list[ServerCounters]) -> ServerCounters:
    return ServerCounters(sum(one.requests for one in counts), sum(one.errors for one in counts))


class _Group:
    """Of one node. `last`: what its proxy had counted; None before the first look, which is where counting begins."""

    def __init__(self) -> None:
        self.last: dict[str, ServerCounters] | None = None
        self.looks: deque[dict[str, ServerCounters]] = deque(maxlen=LOOKS)
        self.verdicts: dict[str, Verdict] = {}

    def note(self, counted: dict[str, ServerCounters]) -> None:
        last = counted if self.last is None else self.last
        self.looks.append({name: _since(last.get(name, _NONE), now) for name, now in counted.items()})
        self.last = counted

    def lately(self, names: set[str]) -> dict[str, ServerCounters]:
        return {name: _sum([look.get(name, _NONE) for look in self.looks]) for name in names}


def _since(before: ServerCounters, now: ServerCounters) -> ServerCounters:
    """A worker that is new has counted from 0. Errors alone can fall: what was taken for one was a request that has an answer by now."""
    if now.requests < before.requests:
        return now
    return ServerCounters(now.requests - before.requests, max(0, now.errors - before.errors))


class AnomalyWatch:
    """For all nodes of the machine. `look_soon` whenever a proxy has changed."""

    def __init__(self, machine: Machine, book: TargetBook) -> None:
        self._machine, self._book = machine, book
        self._groups: dict[tuple[str, str], _Group] = {}
        self._looking: asyncio.Task[None] | None = None

    def weight(self, sandbox: str, group: str, target: str) -> int:
        """What a node gives the target, of 100."""
        known = self._groups.get((sandbox, group))
        return known.verdicts.get(target, NORMAL).weight if known is not None else WHOLE

    def shown(self, group: str) -> dict[str, list[bool]]:
        """As it stands in a group's status: {target: [anomalous, gets less]}, over all nodes, of those of which one is true."""
        found: dict[str, list[bool]] = {}
        for (_, name), known in self._groups.items():
            for target, one in known.verdicts.items() if name == group else ():
                if one != NORMAL:
                    before = found.get(target, [False, False])
                    found[target] = [before[0] or one.anomalous, before[1] or one.weight < WHOLE]
        return found

    def look_soon(self) -> None:
        if (self._looking is None or self._looking.done()) and any(self._watched()):
            self._looking = asyncio.get_running_loop().create_task(self._look_on())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look_on(self) -> None:
        while any(self._watched()):
            await self._machine.ports.clock.sleep(LOOK_S)
            try:
                counted = await self._machine.ports.proxies.counters()
            except PortError as failed:
                log.debug("no counts of targets", extra={"why": failed.why})
                continue
            self.note(counted)
        self.note({})

    def note(self, counted: dict[str, Counters]) -> None:
        """One more look at all that is watched; what changes is told to who has to know."""
        watched = {(spec.sandbox, use.group): (id_, spec, use, up) for id_, spec, use, up in self._watched()}
        gone = self._groups.keys() - watched.keys()
        for sandbox, group in gone:
            if any(one != NORMAL for one in self._groups.pop((sandbox, group)).verdicts.values()):
                self._tell(group, sandbox)
        for (sandbox, group), (_, spec, use, up) in watched.items():
            servers = counted.get(spec.proxy.name, Counters()).by_server
            if not servers:
                continue  # it did not answer
            known = self._groups.setdefault((sandbox, group), _Group())
            # Of all, so that one that comes back is not judged by what it did before.
            known.note({name.partition("/")[2]: one for name, one in servers.items() if name.startswith(f"{group}/")})
            after = judged(known.lately(up), known.verdicts, mitigates=use.mitigates)
            before, known.verdicts = known.verdicts, after
            changed = {name for name in up if before.get(name, NORMAL) != after[name]}
            for name in sorted(changed):
                if before.get(name, NORMAL).anomalous != after[name].anomalous:
                    told = {"group": group, "target": name, "node": sandbox, "anomalous": after[name].anomalous}
                    log.info("target anomaly", extra=told)
            if changed or before.keys() - up:
                self._tell(group, sandbox)

    def _tell(self, group: str, sandbox: str) -> None:
        self._machine.poke(f"TargetGroup/{group}")
        for one in self._machine.of_kind("Proxy"):
            if isinstance(one.spec, Proxy) and one.spec.sandbox == sandbox:
                self._machine.poke(one.id)

    def _watched(self) -> Iterator[tuple[str, Proxy, Use, set[str]]]:
        """Nodes' groups of HTTP with enough healthy targets, and their names."""
        for one in self._machine.of_kind("Proxy"):
            spec = one.spec
            if not isinstance(spec, Proxy):
                continue
            uses, node = {use.group: use for use in spec.uses}, Node(spec.sandbox, spec.zone)
            for group in spec.proxy.groups:
                use = uses.get(group.name)
                if use is None or group.protocol not in ("HTTP", "HTTPS") or group.name not in self._book:
                    continue
                up = {target.name for target, is_up in self._book.in_reach(use, node) if is_up}
                if len(up) >= FEWEST_HEALTHY:
                    yield one.id, spec, use, up
