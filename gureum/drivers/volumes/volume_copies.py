"""What is copied of volumes: snapshots of them, volumes of snapshots and of other volumes, under the same key or another.

All functions block (worker threads only); two about one volume or snapshot do not run side by side.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from gureum.drivers.volumes import ext4_control, loop_devices
from gureum.drivers.volumes.volume_archives import SnapshotArchives
from gureum.drivers.volumes.volume_files import Spares
from gureum.drivers.volumes.volume_mounts import VolumeMounts, checked
from gureum.drivers.volumes.volume_recoding import Recoding
from gureum.drivers.volumes.volume_snapshots import Kept, SnapshotFiles, Wanted
from gureum.ports import PortError
from gureum.ports.volumes import SnapshotSpec, SnapshotUse, VolumeSpec


class VolumeCopies:
    def __init__(
        self,
        volumes: VolumeMounts,
        snapshots: SnapshotFiles,
        archives: SnapshotArchives,
        recoding: Recoding,
        spares: Spares,
    ) -> None:
        self._volumes, self._snapshots, self._archives = volumes, snapshots, archives
        self._recoding, self._spares = recoding, spares

    def snapshot(self, spec: SnapshotSpec) -> SnapshotUse:
        if self._look(spec.name) is None:
            if spec.source:
                self._copy_snapshot(spec)
            elif spec.path:
                self._take_in(spec)
            elif spec.volume:
                wanted = spec.together or ((spec.name, spec.volume, spec.parent),)
                self._snapshots.make_together([self._wanted(*one) for one in wanted])
        self._archives.settle(spec.name, spec.tier)
        kept = self._look(spec.name)
        if kept is None:
            raise PortError(f"snapshot {spec.name} is lost", retry=False)
        return SnapshotUse(spec.name, kept.size_bytes, kept.data_bytes, kept.stored_bytes)

    def _take_in(self, spec: SnapshotSpec) -> None:
        try:
            self._snapshots.make(spec.name, Path(spec.path), "")
        except FileNotFoundError as error:
            raise PortError(f"the file of snapshot {spec.name} is lost", retry=False) from error

    def remove_snapshot(self, name: str) -> None:
        self._snapshots.remove(name)
        self._archives.remove(name)

    def restore(self, spec: VolumeSpec, size: int) -> None:
        """The volume's file from `spec.snapshot`, with `size` bytes."""
        path = self._volumes.file(spec.name)
        if spec.key == spec.snapshot_key:
            self._snapshots.restore(checked(spec.snapshot), path, size)
            return
        self._recode(spec.name, spec.snapshot, spec.snapshot_key, spec.key, size).rename(path)

    def copy(self, spec: VolumeSpec, size: int) -> None:
        """The volume's file from `spec.source`, by a snapshot that is gone afterwards: the source is held for a moment only."""
        between = copy_of(spec.name)
        self.snapshot(SnapshotSpec(between, spec.source))
        self.restore(msgspec.structs.replace(spec, snapshot=between, source=""), size)
        self._snapshots.remove(between)

    def _look(self, name: str) -> Kept | None:
        return self._snapshots.look(name) or self._archives.look(name)

    def _wanted(self, name: str, volume: str, parent: str) -> Wanted:
        path, mounted = self._volumes.file(volume), self._volumes.mounted / volume
        if not path.exists():
            raise PortError(f"volume {volume} does not exist")
        device = loop_devices.attached().get(str(path), "")
        writes = (lambda: loop_devices.writes(device)) if device else (lambda: 0)
        return Wanted(
            checked(name), path, checked(parent) if parent else "", lambda: ext4_control.frozen(mounted), writes
        )

    def _copy_snapshot(self, spec: SnapshotSpec) -> None:
        if spec.key == spec.source_key:
            self._snapshots.copy(spec.name, checked(spec.source))
            return
        recoded = self._recode(spec.name, spec.source, spec.source_key, spec.key, 0)
        try:
            self._snapshots.make(spec.name, recoded, "")
        finally:
            recoded.unlink()

    def _recode(self, name: str, snapshot: str, old: str, new: str, size: int) -> Path:
        """The files of a snapshot under another key, in a file of their own."""
        kept = self._snapshots.look(checked(snapshot))
        if kept is None:
            raise PortError(f"snapshot {snapshot} does not exist")
        if not new:
            raise PortError(f"the encrypted snapshot {snapshot} makes encrypted volumes only", retry=False)
        size = max(size, kept.size_bytes)
        self._snapshots.restore(snapshot, self._recoding.source(name), kept.size_bytes)
        return self._recoding.recode(name, old, new, self._spares, size)


def copy_of(name: str) -> str:
    """The snapshot by which the volume `name` is copied from another."""
    return f"copy-{checked(name)}"
