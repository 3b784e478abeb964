"""Servers that change while a reload is under way: the worker that serves until the new one does is told at once, instead of after it.

    reload begins ──► `begin`: what servers both workers have ──► `bring`, any number ──► `end`: what the new worker is told once more

Near the end both workers listen at the control socket, and either may answer. So each time everything is said that has changed since the beginning,
in words that are true of both: whoever hears them has the servers that are wished. At the end the new worker surely hears them.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from gureum.drivers.haproxy import control as haproxy_control
from gureum.ports import PortError
from gureum.ports.proxies import Group

log = logging.getLogger("gureum.proxies")
Groups = tuple[Group, ...]


class Haste:
    """Of one proxy. `control`: the worker's own socket."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._workers: tuple[dict[str, Group], ...] = ()
        self._wished: dict[str, Group] = {}
        self._touched: dict[str, set[str]] = {}
        self._lock = asyncio.Lock()

    def begin(self, had: Groups, will_have: Groups) -> None:
        """A reload is under way: of the worker that has `had` by one that will have `will_have`."""
        self._workers = tuple({group.name: group for group in groups} for groups in (had, will_have))
        self._wished, self._touched = {}, {}

    async def end(self, will_have: Groups) -> tuple[Groups, list[haproxy_control.Step]]:
        """It is over. What the new worker is to have instead of `will_have`, and the steps to it."""
        async with self._lock:
            steps = [step for group in self._wished.values() for step in self._steps(group, leaving=True)]
            groups = tuple(self._wished.get(group.name, group) for group in will_have)
            self._workers, self._wished, self._touched = (), {}, {}
            return groups, steps

    async def bring(self, groups: Groups) -> None:
        """Nothing where no reload is under way."""
        async with self._lock:
            steps = [step for group in groups if self._notes(group) for step in self._steps(group)]
            if not steps:
                return
            try:
                await self._tell(steps)
            except PortError as failed:
                log.info("servers wait for a reload", extra={"why": failed.why})

    def _notes(self, group: Group) -> bool:
        """Whether this can be told: both workers have the group, and it differs in servers alone. Then it is wished, and its changes are noted."""
        if not self._workers or any(group.name not in groups for groups in self._workers):
            return False
        had, will_have = (groups[group.name] for groups in self._workers)
        if msgspec.structs.replace(will_have, servers=group.servers) != group:
            return False
        changes = [haproxy_control.changed(before, group) for before in (had, will_have)]
        names = set().union(*(found or () for found in changes))
        if None in changes or not names | self._touched.get(group.name, set()):
            return False
        self._wished[group.name] = group
        self._touched.setdefault(group.name, set()).update(names)
        return True

    def _steps(self, group: Group, *, leaving: bool = False) -> list[haproxy_control.Step]:
        had, will_have = ({one.name for one in groups[group.name].servers} for groups in self._workers)
        return haproxy_control.restated(group, self._touched[group.name], had & will_have, leaving=leaving)

    async def _tell(self, steps: list[haproxy_control.Step]) -> None:
        answers = await haproxy_control.commands(self._control, [one.text for one in steps])
        there = haproxy_control.ALREADY_THERE.lower()
        again = [one.again for one, answer in zip(steps, answers, strict=True) if there in answer.lower()]
        if texts := [text for some in again for text in some]:
            await haproxy_control.commands(self._control, texts)
