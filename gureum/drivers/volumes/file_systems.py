"""Which file system a volume gets, and what differs between the two: how it is made, mounted, measured and grown.

    ext4    the usual one. It grows while it is mounted only for who has CAP_SYS_RESOURCE (fs/ext4/resize.c: ext4_resize_begin).
    xfs     on hosts without that capability that have mkfs.xfs: it grows for CAP_SYS_ADMIN (fs/xfs/xfs_ioctl.c: XFS_IOC_FSGROWFSDATA).
            Not for encrypted volumes (fscrypt is not in it), nor for small ones (mkfs.xfs makes none below 300 MB).

What kind a file holds is read from the file, so that volumes of both kinds live side by side, whatever the host can today. All functions block
(worker threads only). Sources: linux/fs.h, fs/ext4/ioctl.c, fs/xfs/libxfs/xfs_fs.h.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from pathlib import Path
from typing import Literal

Kind = Literal["ext4", "xfs"]

XFS_LEAST_BYTES = 1 << 30
_XFS_MAGIC = b"XFSB"
_CAP_SYS_RESOURCE = 24
_EXT4_RESIZE = 0x40086610
_XFS_GEOMETRY, _XFS_GROW = 0x80705864, 0x4010586E
# struct xfs_fsop_geom_v1: 8 words (the first: block size, the eighth: percentage for inodes), then the number of data blocks, and more.
_GEOMETRY = struct.Struct("=8IQ72x")
# Both kinds: what a guest deletes goes back to the host's disk. An XFS of a snapshot has the id of the volume that it was made of.
_OPTIONS: dict[Kind, str] = {"ext4": "noinit_itable,errors=remount-ro", "xfs": "nouuid"}


def kind_of(image: Path) -> Kind:
    with open(image, "rb", buffering=0) as file:
        return "xfs" if file.read(len(_XFS_MAGIC)) == _XFS_MAGIC else "ext4"


def options(kind: Kind, *, discard: bool = True) -> str:
    """For mount(2)."""
    return f"discard,{_OPTIONS[kind]}" if discard else _OPTIONS[kind]


def best_kind() -> Kind:
    """Of new volumes on this host: one that grows while it is mounted, if there is any."""
    if _has_capability(_CAP_SYS_RESOURCE) or shutil.which("mkfs.xfs") is None:
        return "ext4"
    return "xfs" if "\txfs\n" in Path("/proc/filesystems").read_text() else "ext4"


def grow(kind: Kind, mounted: Path, size_bytes: int) -> None:
    """The file system that is mounted there gets the size of its device, which has grown; nothing to do when it has. PermissionError where the
    kernel does not let us."""
    fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if kind == "ext4":
            fcntl.ioctl(fd, _EXT4_RESIZE, struct.pack("=Q", size_bytes // os.fstatvfs(fd).f_frsize))
        else:
            _grow_xfs(fd, size_bytes)
    finally:
        os.close(fd)


def _grow_xfs(fd: int, size_bytes: int) -> None:
    # What the file's own superblock says may be older: the log has it first.
    told = bytearray(_GEOMETRY.size)
    fcntl.ioctl(fd, _XFS_GEOMETRY, told, True)
    block, *_, for_inodes, blocks = _GEOMETRY.unpack(told)
    wished = size_bytes // block
    if blocks < wished:
        fcntl.ioctl(fd, _XFS_GROW, struct.pack("=QII", wished, for_inodes, 0))


def _has_capability(number: int) -> bool:
    """capabilities(7), of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)
