"""Holds the machines still while the host's disk has no room.

Volumes take room as they are written to, so together they may promise more than the disk has (a machine's 8 GiB cost 100 KiB at first).
When it is used up, writes of *every* machine fail, also of those that wrote little: the kernel gives their file systems up, and what they
had written is lost. So they are paused before, all of them, since who writes next is not known; they go on where they were when there is
room again. What is no longer wished (somebody terminates the one that wrote too much) ends also while all others are held.
"""

from __future__ import annotations

import logging

from gureum.core.machine import Machine
from gureum.core.specs import Container
from gureum.ports import PortError
from gureum.ports.volumes import Room

log = logging.getLogger("gureum.agent")

LOOK_S = 1.0
RESERVE_BYTES = 1 << 30
RESERVE_PARTS = 20  # of a small disk, one in so many
# What is written within so many looks at the present pace counts as used.
AHEAD_LOOKS = 2
# With less room than so many reserves it is also asked how much the machines have written that is still in memory and will follow.
NEAR_RESERVES = 8
# Enough for a fast writer's first second: else they would be let go and held in turns, and each time a little less were left.
ROOM_AGAIN_RESERVES = 3


class DiskGuard:
    """`look` once a second (`run`) keeps `machine.held` and the containers in step with the room on the disk."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._free_before = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except PortError as failed:
                log.warning("the room on the disk is not known", extra={"why": failed.why})
            await self._machine.ports.clock.sleep(LOOK_S)

    async def look(self) -> None:
        machine = self._machine
        room = await machine.ports.volumes.room()
        coming = AHEAD_LOOKS * max(0, self._free_before - room.free_bytes)
        if room.free_bytes < NEAR_RESERVES * _reserve(room):
            coming += await self._unwritten()
        held = _why_held(room, coming, was_held=bool(machine.held))
        self._free_before = room.free_bytes
        if bool(held) != bool(machine.held):
            log.warning("machines are held" if held else "machines go on", extra={"free_bytes": room.free_bytes})
        machine.held = held
        await self._bring_containers()

    async def _unwritten(self) -> int:
        containers = self._machine.ports.containers
        usages = [
            await containers.usage(state.name) for state in await containers.observe() if state.state == "running"
        ]
        return sum(usage.unwritten_bytes for usage in usages if usage is not None)

    async def _bring_containers(self) -> None:
        machine = self._machine
        for state in await machine.ports.containers.observe():
            wished = machine.desired.get(f"Container/{state.name}")
            runs_on = wished is not None and isinstance(wished.spec, Container) and wished.spec.wish == "running"
            pause = bool(machine.held) and runs_on
            if state.state == "running" and state.paused != pause:
                await machine.ports.containers.pause(state.name, pause)


def _reserve(room: Room) -> int:
    return min(RESERVE_BYTES, room.size_bytes // RESERVE_PARTS)


def _why_held(room: Room, coming_bytes: int, *, was_held: bool) -> str:
    """The sentence for the user, "" when there is room."""
    if room.free_bytes - coming_bytes >= _reserve(room) * (ROOM_AGAIN_RESERVES if was_held else 1):
        return ""
    return f"the host's disk is full ({room.free_bytes >> 20} MiB left): machines are paused until there is room"
