"""Servers that change while a reload is under way: the worker that serves until the new one does is told at once, instead of after it.

    reload begins ──► `begin`: what servers the old worker has ──► `bring`, any number ──► `end` ──► the next wish goes to the new worker

What is told here is soon forgotten with the worker it was told to, so nothing is kept of it, and what fails is left to the wish that follows. Near
the end both workers listen at the control socket, and either may answer: each is asked who it is.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from gureum.drivers import haproxy_control
from gureum.ports import PortError
from gureum.ports.proxies import Group

log = logging.getLogger("gureum.proxies")


class Haste:
    """Of one proxy. `control`: the worker's own socket."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._groups: dict[str, Group] | None = None
        self._told: set[int] = set()
        self._lock = asyncio.Lock()

    def begin(self, groups: tuple[Group, ...]) -> None:
        """A reload is under way; the worker that it replaces has these."""
        self._groups = {group.name: group for group in groups}

    async def end(self) -> set[int]:
        """It is over. The processes that were told something: the new worker may be among them, and then has servers that are in no wish of its."""
        async with self._lock:
            told, self._told, self._groups = self._told, set(), None
            return told

    async def bring(self, groups: tuple[Group, ...]) -> None:
        """Nothing where no reload is under way."""
        async with self._lock:
            if self._groups is None:
                return
            steps: list[haproxy_control.Step] = []
            for group in groups:
                before = self._groups.get(group.name)
                if before is not None and msgspec.structs.replace(before, servers=group.servers) == group:
                    steps += haproxy_control.joined_and_parted(before, group)
                    self._groups[group.name] = group
            if not steps:
                return
            try:
                await self._tell(steps)
            except PortError as failed:
                log.info("servers wait for a reload", extra={"why": failed.why})

    async def _tell(self, steps: list[haproxy_control.Step]) -> None:
        info, *answers = await haproxy_control.commands(self._control, ["show info", *(one.text for one in steps)])
        self._told.update(int(line[5:]) for line in info.splitlines() if line.startswith("Pid: "))
        there = haproxy_control.ALREADY_THERE.lower()
        again = [one.again for one, answer in zip(steps, answers, strict=True) if there in answer.lower()]
        if texts := [text for some in again for text in some]:
            await haproxy_control.commands(self._control, texts)
