"""Volumes and their snapshots on the machine. Where a volume is mounted is its container's business (containers.py)."""

from __future__ import annotations

from gureum.core.machine import Machine
from gureum.core.specs import LATE, Container, Snapshot, Volume


class VolumeKinds:
    """Reconcile and teardown of Volume and Snapshot."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def volume(self, id_: str, spec: Volume) -> None:
        grown = await self._machine.ports.volumes.ensure_volume(spec.volume)
        self._machine.set_status(id_, "ready", data={} if grown else {LATE: True})
        self._poke_user(spec)

    def _poke_user(self, spec: Volume) -> None:
        """The machine that has a volume is limited by what the volume says now."""
        for one in self._machine.of_kind("Container"):
            if isinstance(one.spec, Container):
                name = spec.volume.name
                if name == one.spec.volume or any(disk.volume == name for disk in one.spec.disks):
                    self._machine.poke(one.id)

    async def volume_gone(self, id_: str, spec: Volume) -> None:
        await self._machine.ports.volumes.remove_volume(spec.volume.name)

    async def snapshot(self, id_: str, spec: Snapshot) -> None:
        # Not `need`: the volume may be deleted as soon as the snapshot is asked for, and stays until it is made.
        use = await self._machine.ports.volumes.ensure_snapshot(spec.snapshot)
        data = {"size": use.size_bytes, "data": use.data_bytes, "stored": use.stored_bytes}
        self._machine.set_status(id_, "ready", data=data)

    async def snapshot_gone(self, id_: str, spec: Snapshot) -> None:
        await self._machine.ports.volumes.remove_snapshot(spec.snapshot.name)
