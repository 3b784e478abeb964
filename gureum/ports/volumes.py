"""Volumes: block storage of a real size, and the root file systems that live on it.

A volume is a sparse file with a file system of exactly its size, mounted through a loop device. A root is an overlay: an image's
layers below, the upper layer on the volume, so that a full disk is ENOSPC and the disk outlives the container.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

Tier = Literal["standard", "archive", "both"]
"""Where a snapshot is kept: in blocks shared with others, ready for use; or in a compressed file of its own; or in both forms."""


class VolumeSpec(msgspec.Struct, frozen=True):
    """`snapshot`: name of the snapshot it starts from, `source`: or of the volume that it is a copy of; both "" for an empty
    one. `key`: its data key, sealed (base/disk_keys.py), "" for one that is not encrypted; `snapshot_key`: that of the snapshot or the source.
    `size_bytes` 0: a folder, which takes what it needs of the host's disk and which several may use at once."""

    name: str
    size_bytes: int
    snapshot: str = ""
    key: str = ""
    snapshot_key: str = ""
    source: str = ""


class Source(msgspec.Struct, frozen=True):
    """A file or folder that a container is to see beside its root: `path` of the host, or `path` within the folder volume `volume`. `text`: the
    file is written first. `like`: while the folder is empty it gets what the root has at this path, owners and all (Docker: "copy-up").
    `make`: a folder of the host that is missing is made. `memory`: instead a tmpfs with these options of mount(8) ("rw" for none), one of the
    name `volume` for all roots, there as long as one of them is."""

    path: str
    volume: str = ""
    text: str | None = None
    like: str = ""
    make: bool = False
    memory: str = ""


class RootSpec(msgspec.Struct, frozen=True):
    """`uid_base`: host uid that is root inside (see SandboxPaths); the image's layers are shown with their owners shifted there. `sources` are
    shown so too, each at `shown_at`."""

    name: str
    image: str
    volume: str
    uid_base: int = 0
    sources: tuple[Source, ...] = ()


class SnapshotSpec(msgspec.Struct, frozen=True):
    """`volume`: what it is made of, or `source`: the snapshot it is a copy of; both "" once it is made. `parent`: an earlier snapshot of the same
    volume, "" for none: what is the same there is not stored again. `key`, `source_key`: of a copy, the data keys as in VolumeSpec; where they
    differ its content is encrypted anew. `together`: (name, volume, parent) of snapshots, this one among them, that show one moment: while the
    first of them is made they all are. `tier`: of one that is made. `path`: a file with a whole volume that it is made of, instead."""

    name: str
    volume: str = ""
    source: str = ""
    parent: str = ""
    key: str = ""
    source_key: str = ""
    together: tuple[tuple[str, str, str], ...] = ()
    tier: Tier = "standard"
    path: str = ""


class SnapshotUse(msgspec.Struct, frozen=True):
    """`data_bytes`: what of the volume was ever written. `stored_bytes`: what this snapshot takes of the host's disk beside others."""

    name: str
    size_bytes: int
    data_bytes: int
    stored_bytes: int


class SnapshotBlocks(msgspec.Struct, frozen=True):
    """`blocks`: (number, digest) of the blocks of `block` bytes that are not all zeros, in order; equal digests are equal contents."""

    block: int
    blocks: tuple[tuple[int, str], ...]


class AttachmentSpec(msgspec.Struct, frozen=True):
    """A volume beside the root: the machine whose root is `root` sees its files in the folder `device` of `attached_folder`."""

    volume: str
    root: str
    device: str


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


def attached_folder(root: str) -> str:
    """The folder beside a root (the path from ensure_root) in which volumes appear that are attached to it."""
    return f"{root.rpartition('/')[0]}/volumes"


def shown_at(root: str, index: int) -> str:
    """Where the source of that index in `RootSpec.sources` is, beside the root (the path from ensure_root)."""
    return f"{root.rpartition('/')[0]}/shown/{index}"


class Volumes(Protocol):
    async def ensure_volume(self, spec: VolumeSpec) -> bool:
        """A larger `size_bytes` than before grows it, also while it is in use; a smaller one is refused. False while its file system is smaller
        than that, because this host lets none grow that is mounted: it grows when it is mounted next."""

    async def remove_volume(self, name: str) -> None: ...
    async def ensure_root(self, spec: RootSpec) -> str:
        """Mounts the volume and the overlay; returns the path of the root. Raises PortError while image or volume is missing."""

    async def release_root(self, name: str) -> None:
        """Unmounts; what was written stays on the volume."""

    async def ensure_attachment(self, spec: AttachmentSpec) -> None:
        """Also while the machine runs. PortError while the root is not mounted, or the volume is missing or in use elsewhere."""

    async def release_attachment(self, volume: str, *, force: bool = False) -> bool:
        """False while the machine still uses its files; `force` takes it away nevertheless. Releasing the root releases all that is attached."""

    async def ensure_snapshot(self, spec: SnapshotSpec) -> SnapshotUse:
        """The volume as it is now (frozen for the moment if mounted), once: of one that is there it is a look, or a change of its tier. PortError
        where there is no program to compress with."""

    async def remove_snapshot(self, name: str) -> None: ...
    async def snapshot_blocks(self, name: str) -> SnapshotBlocks: ...
    async def read_snapshot(self, name: str, offset: int, length: int) -> bytes:
        """Zeros where nothing was written; shorter at the end of the volume."""

    async def observe(self) -> tuple[VolumeUse, ...]: ...
    async def mounted_roots(self) -> frozenset[str]: ...
    async def counters(self) -> dict[str, VolumeCounters]:
        """Of all mounted volumes at once, by name."""

    async def devices(self, root: str) -> dict[str, str]:
        """Of a root that is mounted: its volume and those attached to it, each with the number of its block device ("7:3")."""

    async def room(self) -> Room: ...
    async def close(self) -> None: ...
