"""Volume files: sparse images with a file system of exactly their size, made quickly and durably.

    templates/8589934592.img       made once per size by mkfs.ext4; those of XFS in xfs/templates
    spare/8589934592-3.img         copies that wait, filled in the background
    volumes/NAME.img               a spare, renamed: the whole cost of a new volume

A copy is complete on disk before it can be taken (write, fsync, rename), so a volume file that exists is whole. The last rename needs
no wait of its own: the first fsync inside the volume carries it, and before that there is nothing in it to lose.

All functions block (worker threads only). The bytes of an image come from mkfs or from a volume this kernel wrote, never from outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import threading
from pathlib import Path

from gureum.drivers.volumes.file_systems import Kind

BLOCK = 4096
# The smallest ext4 that has a journal; AWS's own smallest volume is 1 GiB.
MINIMUM_BYTES = 16 << 20
_COPY_BYTES = 1 << 26
_LARGE_BYTES = 1 << 40
# A journal of 4 MiB: fewer pages held per mount than mkfs's 64 MiB, at a price only under many concurrent fsyncs. No blocks reserved
# for the host's root, who is not the guest's. Tables count as zeroed since a new sparse file reads as zeros, so no kernel thread
# writes them later. Features are named one by one, since what is usual is each distribution's own: no resize inode, whose 4 MiB would be
# in each copy, and both ways of growing do without; no orphan file either, which Debian 13 adds with 2 MiB.
_FEATURES = "none,has_journal,ext_attr,dir_index,filetype,sparse_super,large_file,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize"
_MKFS = (
    "mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-m", "0", "-J", "size=4", "-O", _FEATURES,
    "-E", "lazy_itable_init=0,assume_storage_prezeroed=1,root_owner=0:0",
)  # fmt: skip
# Neither reflinks nor a tree of free inodes, which take room in advance. Sectors are those of the loop devices. The log, which is written round and
# round and so takes its whole size on the host's disk, is as small as mkfs.xfs makes any: by itself it would be up to 2 GiB, of 1/2000 of the volume.
_MKFS_XFS = (
    "mkfs.xfs",
    "-q",
    "-f",
    "-s",
    f"size={BLOCK}",
    "-b",
    f"size={BLOCK}",
    "-m",
    "crc=1,finobt=0,inobtcount=0,reflink=0,rmapbt=0",
    "-l",
    "size=64m",
)
_COMMAND_TIMEOUT_S = 120.0
_ENCRYPT = 0x10000


def round_size(size_bytes: int) -> int:
    """`size_bytes` in whole blocks. ValueError when it is too small for a file system."""
    if size_bytes < MINIMUM_BYTES:
        raise ValueError(f"a volume has at least {MINIMUM_BYTES} bytes, not {size_bytes}")
    return -(-size_bytes // BLOCK) * BLOCK


def make_template(path: Path, size_bytes: int, folders: Path, kind: Kind = "ext4", inodes: int = 0) -> None:
    """A file with a file system that holds a copy of `folders` (an ext4; an XFS is empty); a half-made one is never seen under `path`. `inodes`:
    how many files an ext4 has room for; 0: as many as are usual for its size."""
    draft = path.with_name(f"{path.stem}-made.draft")
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
        number = ("-N", str(inodes)) if inodes else ()
        _command(*(_MKFS_XFS if kind == "xfs" else (*_MKFS, *number, "-d", str(folders))), str(draft))
        os.fsync(fd)
    finally:
        os.close(fd)
    if kind == "xfs":
        copy(draft, path)  # without the room that mkfs.xfs has reserved for the log, 64 MiB
        draft.unlink()
    else:
        draft.rename(path)


def copy(source: Path, target: Path, size_bytes: int = 0) -> None:
    """A sparse copy, on disk and complete before it has its name. `size_bytes`: larger than the source to leave room for a grown
    file system."""
    draft = target.with_suffix(".draft")
    with open(source, "rb") as reader, open(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writer:
        try:
            copy_extents(reader.fileno(), writer.fileno())
            if size_bytes:
                os.ftruncate(writer.fileno(), size_bytes)
            os.fsync(writer.fileno())
        except OSError:
            draft.unlink()
            raise
    draft.rename(target)


def copy_extents(source: int, target: int) -> None:
    """Copies what is data, leaves holes as holes; both have the same size afterwards."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        offset = os.lseek(source, start, os.SEEK_HOLE)
        while start < offset:
            start += os.copy_file_range(source, target, min(offset - start, _COPY_BYTES), start, start)


def file_system_blocks(path: Path) -> int:
    """Size of the ext4 in a file, in blocks, as its superblock last written says. A mounted one may be larger, never smaller."""
    with open(path, "rb", buffering=0) as file:
        superblock = os.pread(file.fileno(), 1024, 1024)
    low, high = struct.unpack_from("<I", superblock, 0x4)[0], struct.unpack_from("<I", superblock, 0x150)[0]
    return int(low | high << 32)


def grow_unmounted(path: Path) -> None:
    """Grows the file system of an unmounted file to the file's size."""
    # e2fsck answers 1 when it replayed the journal, which is as good as 0.
    _command("e2fsck", "-f", "-p", str(path), good=(0, 1))
    _command("resize2fs", str(path))


def may_encrypt(path: Path) -> bool:
    """Whether the ext4 in a file may have encrypted folders: a flag of its superblock (ext4 disk layout, s_feature_incompat)."""
    with open(path, "rb", buffering=0) as file:
        flags = struct.unpack("<I", os.pread(file.fileno(), 4, 1024 + 0x60))[0]
    return bool(flags & _ENCRYPT)


def let_encrypt(path: Path) -> None:
    """Sets that flag in an unmounted file."""
    _command("tune2fs", "-O", "encrypt", str(path))


def sync_folder(folder: Path) -> None:
    """Makes the names in it durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _command(*command: str, good: tuple[int, ...] = (0,)) -> None:
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False
    )
    if result.returncode not in good:
        raise OSError(errno.EIO, f"{command[0]}: {result.stderr.decode(errors='replace').strip()[-200:]}", command[-1])


class Spares:
    """Prepared files of each size that was ever asked for. `take` and `missing` belong to the event loop, `fill` to one worker
    thread at a time, `template` to any."""

    def __init__(self, folder: Path, *, per_size: int, inside: tuple[str, ...], kind: Kind = "ext4") -> None:
        """`inside`: names of empty folders that every ext4 starts with."""
        self._folder = folder
        self._kind = kind
        self._inside = inside
        self._making = threading.Lock()
        self._per_size = per_size
        self._ready: dict[int, list[Path]] = {}
        self._next = 0

    def load(self) -> None:
        """Finds what an earlier process prepared, and drops what it left half-made."""
        for folder in (self._templates, self._spare):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for draft in folder.glob("*.draft"):
                draft.unlink()
        for name in self._inside:
            (self._folders / name).mkdir(parents=True, exist_ok=True)
            (self._folders / name).chmod(0o755)  # whatever our umask: a guest's / is open to all its users
        for path in sorted(self._spare.glob("*-*.img")):
            size, _, number = path.stem.partition("-")
            self._ready.setdefault(int(size), []).append(path)
            self._next = max(self._next, int(number) + 1)

    def take(self, size_bytes: int, target: Path) -> bool:
        """Gives a prepared file the name `target`; False when none is ready."""
        ready = self._ready.setdefault(size_bytes, [])
        while ready:
            with contextlib.suppress(FileNotFoundError):
                ready.pop().rename(target)
                return True
        return False

    def missing(self) -> list[int]:
        """Sizes that lack a prepared file, one entry per file."""
        return [size for size, ready in self._ready.items() for _ in range(self._wanted(size) - len(ready))]

    def _wanted(self, size_bytes: int) -> int:
        """One of a large size: its own tables take some ten MiB of the host's disk."""
        return self._per_size if size_bytes <= _LARGE_BYTES else min(self._per_size, 1)

    def fill(self, size_bytes: int) -> None:
        number, self._next = self._next, self._next + 1
        path = self._spare / f"{size_bytes}-{number}.img"
        copy(self.template(size_bytes), path)
        self._ready.setdefault(size_bytes, []).append(path)

    def template(self, size_bytes: int) -> Path:
        """The empty file system of that size, made now if it is the first."""
        path = self._templates / f"{size_bytes}.img"
        with self._making:
            if not path.exists():
                make_template(path, size_bytes, self._folders, self._kind)
        return path

    def make(self, path: Path, size_bytes: int, *, inodes: int) -> None:
        """An empty ext4 that differs from those that are kept ready."""
        make_template(path, size_bytes, self._folders, inodes=inodes)

    @property
    def _templates(self) -> Path:
        return self._folder / "templates"

    @property
    def _spare(self) -> Path:
        return self._folder / "spare"

    @property
    def _folders(self) -> Path:
        return self._templates / "inside"
