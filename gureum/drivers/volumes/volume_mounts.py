"""Volumes on disk and where they are mounted: files behind loop devices, or folders.

    <data_dir>/volumes/NAME.img      the volume; survives everything; NAME.key beside it: see volume_keys.py
    <data_dir>/folders/NAME          a volume without a size: see folder_volumes.py
    <run_dir>/volumes/NAME           where the volume is mounted (while somebody uses it)

All functions block (worker threads only).
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from gureum.drivers.volumes import ext4_control, file_systems, held_volumes, loop_devices, mounts, volume_files
from gureum.drivers.volumes.folder_volumes import FolderVolumes
from gureum.drivers.volumes.volume_keys import VolumeKeys
from gureum.ports import PortError
from gureum.ports.volumes import Room, VolumeCounters, VolumeUse

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_SECTOR_BYTES = 512


class VolumeMounts:
    """`files`, `mounted`: folders that belong to us alone."""

    def __init__(self, files: Path, mounted: Path, keys: VolumeKeys, folders: FolderVolumes) -> None:
        self.files, self.mounted = files, mounted
        self._keys, self._folders = keys, folders
        # Volumes made by this process and never mounted: no device can be left of an earlier mount.
        self._fresh: set[str] = set()
        for folder in (files, mounted):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in files.glob("*.draft"):
            draft.unlink()
        ext4_control.thaw_all(mounted)

    def file(self, name: str) -> Path:
        return self.files / f"{checked(name)}.img"

    def made(self, name: str) -> None:
        """The volume's file was just made, empty."""
        self._fresh.add(name)

    def mount(self, name: str) -> Path:
        if (folder := self._folders.path(name)).exists():
            return folder
        path, target = self.file(name), self.mounted / name
        if mounts.is_mount_point(target):
            self._keys.unlock(name, target)
            return target
        if not path.exists():
            raise PortError(f"volume {name} does not exist")
        target.mkdir(mode=0o700, exist_ok=True)
        # A device that a container of an earlier root still holds must be used again: a second one would be a second cache of one disk.
        in_use = None if name in self._fresh else loop_devices.attached().get(str(path))
        self._fresh.discard(name)
        if in_use is None:
            self._keys.prepare(name, path)
            ext4_control.attach_and_mount(path, target)
        else:
            ext4_control.mount_device(in_use, path, target)
        if not ext4_control.fill(target, path) and in_use is None:
            # A host without CAP_SYS_RESOURCE (a container, some virtual machines) cannot grow an ext4 that is mounted.
            mounts.unmount(target)
            volume_files.grow_unmounted(path)
            ext4_control.attach_and_mount(path, target)
        self._keys.unlock(name, target)
        return target

    def unmount(self, name: str) -> None:
        target = self.mounted / name
        mounts.unmount(target)
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()

    def is_held(self, name: str) -> bool:
        """Whether a guest still has the file system of a volume that is not mounted here any more; then it has it no longer."""
        if self._folders.path(name).exists():
            return False
        path, target = self.file(name), self.mounted / name
        if not held_volumes.is_held(path):
            return False
        target.mkdir(mode=0o700, exist_ok=True)
        held_volumes.shut_down(path, target)
        target.rmdir()
        return True

    def go_on_in_a_copy(self, name: str) -> None:
        """Of one that was held."""
        held_volumes.go_on_in_a_copy(self.file(name))

    def remove(self, name: str) -> None:
        self.unmount(name)
        self._fresh.discard(name)
        self.file(name).unlink(missing_ok=True)
        self._keys.forget(name)
        self._folders.remove(name)

    def grow(self, name: str, size: int) -> bool:
        """False when its file system grows only when it is mounted next."""
        path, target = self.file(name), self.mounted / name
        present = path.stat().st_size
        if size < present:
            raise PortError(f"volume {name} has {present} bytes and cannot shrink to {size}", retry=False)
        if size > present:
            os.truncate(path, size)
        if not mounts.is_mount_point(target):
            return True
        if ext4_control.is_read_only(target):
            return False
        device = loop_devices.attached().get(str(path))
        if device is not None:
            loop_devices.refresh_size(device)
        return ext4_control.fill(target, path)

    def is_xfs(self, name: str) -> bool:
        """Not of folders."""
        path = self.file(name)
        return path.exists() and file_systems.kind_of(path) == "xfs"

    def device_number(self, name: str) -> str:
        """`major:minor` of a mounted volume."""
        number = (self.mounted / name).stat().st_dev
        return f"{os.major(number)}:{os.minor(number)}"

    def counters(self) -> dict[str, VolumeCounters]:
        devices, found = loop_devices.attached(), {}
        for target in self.mounted.iterdir():
            device = devices.get(str(self.files / f"{target.name}.img"))
            counted = loop_devices.counters(device) if device is not None else None
            if counted is not None:
                reads, _, sectors, read_ms, writes, _, written, write_ms, _, busy_ms, queued_ms, *_ = counted
                read_bytes, written_bytes = sectors * _SECTOR_BYTES, written * _SECTOR_BYTES
                found[target.name] = VolumeCounters(
                    reads,
                    read_bytes,
                    read_ms,
                    writes,
                    written_bytes,
                    write_ms,
                    busy_ms,
                    queued_ms,
                    ext4_control.is_sound(target),
                )
        return found

    def uses(self) -> tuple[VolumeUse, ...]:
        return tuple(_use(path) for path in sorted(self.files.glob("*.img")))

    def room(self) -> Room:
        """What root may still write: the kernel writes volumes in root's name."""
        facts = os.statvfs(self.files)
        return Room(facts.f_bfree * facts.f_frsize, facts.f_blocks * facts.f_frsize)


def checked(name: str) -> str:
    """A name that is safe as a part of a path; ValueError otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name: {name!r}")
    return name


def _use(path: Path) -> VolumeUse:
    facts = path.stat()
    return VolumeUse(name=path.stem, size_bytes=facts.st_size, allocated_bytes=facts.st_blocks * 512)
