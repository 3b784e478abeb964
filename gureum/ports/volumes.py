"""Volumes: block storage of a real size, and the root file systems that live on it.

A volume is a sparse file with a file system of exactly its size, mounted through a loop device. A root is an overlay: an image's
layers below, the upper layer on the volume, so that a full disk is ENOSPC and the disk outlives the container.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class VolumeSpec(msgspec.Struct, frozen=True):
    """`snapshot`: name of the snapshot it starts from, "" for an empty one."""

    name: str
    size_bytes: int
    snapshot: str = ""


class RootSpec(msgspec.Struct, frozen=True):
    """`uid_base`: host uid that is root inside (see SandboxPaths); the image's layers are shown with their owners shifted there."""

    name: str
    image: str
    volume: str
    uid_base: int = 0


class VolumeUse(msgspec.Struct, frozen=True):
    """`allocated_bytes`: what the volume takes of the host's disk now."""

    name: str
    size_bytes: int
    allocated_bytes: int


class VolumeCounters(msgspec.Struct, frozen=True):
    """What a mounted volume's device has done since it was mounted. Times in milliseconds: of all reads and of all writes together; `busy_ms`: in
    which anything was under way; `queued_ms`: the sum over all that was. `sound`: it takes writes."""

    reads: int = 0
    read_bytes: int = 0
    read_ms: int = 0
    writes: int = 0
    written_bytes: int = 0
    write_ms: int = 0
    busy_ms: int = 0
    queued_ms: int = 0
    sound: bool = True


class Room(msgspec.Struct, frozen=True):
    """The host's file system that the volumes lie on. Volumes take room as they are written to: all of them together may promise more."""

    free_bytes: int
    size_bytes: int


class Volumes(Protocol):
    async def ensure_volume(self, spec: VolumeSpec) -> None:
        """A larger `size_bytes` than before grows it, also while it is in use; a smaller one is refused."""

    async def remove_volume(self, name: str) -> None: ...
    async def ensure_root(self, spec: RootSpec) -> str:
        """Mounts the volume and the overlay; returns the path of the root. Raises PortError while image or volume is missing."""

    async def release_root(self, name: str) -> None:
        """Unmounts; what was written stays on the volume."""

    async def ensure_snapshot(self, name: str, volume: str) -> None:
        """A consistent copy of the volume as it is now (frozen for the moment if mounted)."""

    async def remove_snapshot(self, name: str) -> None: ...
    async def observe(self) -> tuple[VolumeUse, ...]: ...
    async def mounted_roots(self) -> frozenset[str]: ...
    async def counters(self) -> dict[str, VolumeCounters]:
        """Of all mounted volumes at once, by name."""

    async def room(self) -> Room: ...
    async def close(self) -> None: ...
