"""Flow logs in the agent, without I/O: flows of an interval are added up, and wait as windows until the daemon has taken them.

    flows ──add──► per interface: one sum per (addresses, ports, protocol, action, direction) ──close──► Window ──taken──► gone

At most `LIMIT_WAITING` windows wait. Beyond that the oldest go, and the interface's next window says that something is missing (SKIPDATA).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.core.specs import FlowLog
from gureum.ports.flows import Flow

LIMIT_WAITING = 2000
LIMIT_TAKEN = 200
LIMIT_FLOWS = 20_000
"""Different flows of an interface in one interval."""
Key = tuple[Any, ...]


class Window(msgspec.Struct, frozen=True):
    """What an interface did from `start` to `end` (Unix seconds). Without flows: nothing. `number`: its place in the log's order."""

    number: int
    interface: str
    start: int
    end: int
    flows: tuple[Flow, ...] = ()
    skipped: bool = False


class FlowSums:
    """One flow log. `first`: the first window's number, greater than any that an earlier agent gave."""

    def __init__(self, spec: FlowLog, now: float, first: int) -> None:
        self.spec = spec
        self.due = now + spec.interval_s
        self._started = int(now)
        self._number = first
        self._interfaces = _names(spec)
        self._open: dict[str, dict[Key, Flow]] = {}
        self._skipped: set[str] = set()
        self._waiting: deque[Window] = deque()

    @property
    def newest(self) -> int:
        """The number of the newest window that waits, 0 for none."""
        return self._waiting[-1].number if self._waiting else 0

    def change(self, spec: FlowLog, now: float) -> None:
        """Goes on with other interfaces; with another interval from now on."""
        if spec.interval_s != self.spec.interval_s:
            self.due = now + spec.interval_s
        self.spec = spec
        self._interfaces |= _names(spec)

    def add(self, flows: Iterable[Flow], skipped: Iterable[str]) -> None:
        """Those of the log's interfaces, with the action that it is for."""
        self._skipped |= self._interfaces & set(skipped)
        for flow in flows:
            if flow.interface in self._interfaces and self.spec.traffic in ("ALL", flow.action):
                self._sum(flow)

    def _sum(self, flow: Flow) -> None:
        sums = self._open.setdefault(flow.interface, {})
        key = _key(flow)
        before = sums.get(key)
        if before is not None:
            sums[key] = _added(before, flow)
        elif len(sums) < LIMIT_FLOWS:
            sums[key] = flow
        else:
            self._skipped.add(flow.interface)

    def close(self, now: float) -> None:
        """Ends the interval: a window for each interface that was watched in it."""
        for interface in sorted(self._interfaces):
            self._number += 1
            flows = tuple(self._open.pop(interface, {}).values())
            skipped = interface in self._skipped
            self._skipped.discard(interface)
            self._waiting.append(Window(self._number, interface, self._started, int(now), flows, skipped))
        self._interfaces = _names(self.spec)
        while len(self._waiting) > LIMIT_WAITING:
            self._skipped.add(self._waiting.popleft().interface)
        self._started = int(now)
        self.due = now + self.spec.interval_s

    def take(self, done: int) -> list[Window]:
        """The oldest windows; those up to number `done` have been delivered and go."""
        while self._waiting and self._waiting[0].number <= done:
            self._waiting.popleft()
        return [self._waiting[place] for place in range(min(len(self._waiting), LIMIT_TAKEN))]


def _names(spec: FlowLog) -> set[str]:
    return {interface for _, interface in spec.interfaces}


def _key(flow: Flow) -> Key:
    return (
        flow.source,
        flow.destination,
        flow.source_port,
        flow.destination_port,
        flow.protocol,
        flow.action,
        flow.direction,
        flow.packet_source,
        flow.packet_destination,
    )


def _added(one: Flow, other: Flow) -> Flow:
    return msgspec.structs.replace(
        one,
        packets=one.packets + other.packets,
        bytes=one.bytes + other.bytes,
        start=min(one.start, other.start),
        end=max(one.end, other.end),
        tcp_flags=one.tcp_flags | other.tcp_flags,
    )
