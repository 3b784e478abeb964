"""Targets that start slowly, over reloads: a new worker knows nothing of who has just come, and would send everyone a full share.

What has risen in a worker that knew it, HAProxy takes up slowly by itself. Of those whose time was not over when that worker was replaced, the share
goes on from where it was: `Ramps` sets it, a little more each moment, until it is whole.

    weight at `now` = 100 % x (now - began) / slow start        (AWS: "increases linearly")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from gureum.drivers.haproxy.text import group_name, server_name
from gureum.ports import PortError
from gureum.ports.proxies import Group, ProxySpec

_STEPS = 50
_SHORTEST_STEP_S = 0.2


class Rise(msgspec.Struct, frozen=True):
    """`began`: Unix seconds. `ours`: the worker that knew it is gone."""

    began: float
    duration_s: int
    ours: bool = False

    def percent(self, now: float) -> int:
        return min(100, max(1, int(100 * (now - self.began) / self.duration_s)))


Rises = dict[str, Rise]
"""By "group/server"."""


def risen(old: ProxySpec, new: ProxySpec, known: Rises, now: float) -> Rises:
    """Who starts slowly under a new wish. AWS: one that comes where no other serves does not. Pure."""
    before = {group.name: group for group in old.groups}
    found = {}
    for group in new.groups:
        was = before.get(group.name)
        up = {one.name for one in was.servers if one.up} if was is not None else set()
        for place in _up(group) if group.slow_start_s else ():
            name = place.partition("/")[2]
            if name not in up and up:
                found[place] = Rise(now, group.slow_start_s)
            elif name in up and place in known and known[place].percent(now) < 100:
                found[place] = known[place]
    return found


def taken_over(known: Rises, now: float) -> Rises:
    """Those that a new worker knows nothing of. Pure."""
    return {place: msgspec.structs.replace(one, ours=True) for place, one in known.items() if one.percent(now) < 100}


def _up(group: Group) -> Iterator[str]:
    return (f"{group_name(group.name)}/{server_name(one.name)}" for one in group.servers if one.up)


class Ramps:
    """Of one proxy, one task for all its targets; it ends with the last of them. `rises`: as they are now. `say` gives a command to the worker."""

    def __init__(self, rises: Callable[[], Rises], say: Callable[[list[str]], Awaitable[object]]) -> None:
        self._rises, self._say = rises, say
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if (self._task is None or self._task.done()) and any(one.ours for one in self._rises().values()):
            self._task = asyncio.get_running_loop().create_task(self._go_on())

    async def set(self) -> None:
        """The shares of now. PortError where the worker does not answer."""
        await self._set(self._ours())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _ours(self) -> Rises:
        return {place: one for place, one in self._rises().items() if one.ours}

    async def _set(self, rises: Rises, *, whole: frozenset[str] = frozenset()) -> None:
        now = time.time()
        shares = {place: one.percent(now) for place, one in rises.items()} | dict.fromkeys(whole, 100)
        if shares:
            await self._say([f"set server {place} weight {percent}%" for place, percent in shares.items()])

    async def _go_on(self) -> None:
        """One that has left or come anew has its whole weight back, for whatever comes next."""
        before: Rises = {}
        while before or self._ours():
            rises = self._ours()
            over = frozenset(before.keys() - rises.keys())
            try:
                await self._set(rises, whole=over)
            except PortError:
                rises = rises | {place: before[place] for place in over}  # once more, a step later
            before = {place: one for place, one in rises.items() if one.percent(time.time()) < 100 or place in over}
            if not before:
                return
            shortest = min(one.duration_s for one in before.values())
            await asyncio.sleep(max(_SHORTEST_STEP_S, shortest / _STEPS))
