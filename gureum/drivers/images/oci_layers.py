"""Unpacks one image layer (a tar stream from anywhere) into a folder of its own, and touches nothing else.

The archive is hostile. So: every component of every path is opened relative to a folder descriptor with O_NOFOLLOW; links
that stand in the way are resolved by hand inside the root; what would leave the root is refused; bytes, entries and headers
have limits. What the kernel or overlayfs give power to (device nodes, `trusted.*` attributes) is left out and noted.

Whiteouts become what overlayfs understands (OCI image-spec 1.1, layer.md): `.wh.NAME` a character device 0:0 named NAME,
and `.wh..wh..opq` the attribute `trusted.overlay.opaque` on its folder. The layers below are looked at, never changed: a
layer that names `usr/bin/tool` but not `usr` keeps the owner and mode that `usr` has below, and follows a link there.

It never decompresses (see blob_streams.py) and knows nothing of manifests (see image_sources.py).
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gureum.drivers.images.hostile_tar import (
    CHUNK_BYTES,
    DEFAULT_LIMITS,
    PATH_LIMIT_BYTES,
    BudgetedStream,
    LayerLimits,
    Readable,
    open_tar,
    raw_name,
    refuse,
    shown,
    split_name,
)
from gureum.drivers.images.layer_tree import FOLDER_FLAGS, OPAQUE_XATTR, LayerTree, is_whiteout
from gureum.ports import PortError

WHITEOUT_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"

_MAX_ID = 2**32 - 2
_NOTES_LIMIT = 100
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class UnpackedLayer(msgspec.Struct, frozen=True):
    """`diff_id`: "sha256:…" of the uncompressed tar. `notes`: what was left out, for the user (at most 100)."""

    diff_id: str
    size_bytes: int
    entries: int
    notes: tuple[str, ...] = ()


def unpack_layer(
    stream: Readable, target: Path, lowers: Sequence[Path] = (), limits: LayerLimits = DEFAULT_LIMITS
) -> UnpackedLayer:
    """Unpacks the uncompressed tar `stream` into `target`, an existing empty folder that nobody else writes to.

    `lowers`: folders of the layers below, the lowest first. Blocks: run it in a thread. On PortError `target` holds a part and
    must be thrown away.
    """
    budgeted = BudgetedStream(stream, limits.stream_bytes)
    with LayerTree(target, lowers) as tree:
        unpacker = _Unpacker(tree, budgeted, limits)
        try:
            unpacker.run()
        except tarfile.TarError as error:
            refuse(f"the layer is not a sound tar archive: {error}")
        except EOFError:
            refuse("the layer ends too early")
        except (ValueError, OverflowError, RecursionError) as error:
            refuse(f"the layer has a header that cannot be read: {error}")
        except OSError as error:
            raise _machine_error(error) from error
    return UnpackedLayer(budgeted.finish(), unpacker.size_bytes, unpacker.entries, tuple(unpacker.notes))


def _machine_error(error: OSError) -> PortError:
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENOTEMPTY):
        return PortError(f"the layer has an entry that no file system takes: {error.strerror}", retry=False)
    return PortError(f"the layer cannot be unpacked: {error.strerror}")


class _Unpacker:
    def __init__(self, tree: LayerTree, stream: BudgetedStream, limits: LayerLimits) -> None:
        self.entries = 0
        self.size_bytes = 0
        self.notes: list[str] = []
        self._tree = tree
        self._stream = stream
        self._limits = limits
        self._folder_times: dict[tuple[str, ...], int] = {}

    def run(self) -> None:
        self._stream.allow(0)
        with open_tar(self._stream) as tar:
            while (member := tar.next()) is not None:
                self._count(member)
                self._stream.allow(member.size)
                self._apply(tar, member)
                # tarfile remembers every member it has seen; a layer may have a million.
                tar.members = []  # type: ignore[attr-defined]
        for path, mtime_ns in reversed(self._folder_times.items()):
            self._tree.set_folder_time(path, mtime_ns)

    def _count(self, member: tarfile.TarInfo) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            refuse(f"the layer has more than {self._limits.entries} entries")
        if member.size < 0:
            refuse(f"entry {shown(member.name)} has a negative size")
        if member.isreg():
            self.size_bytes += member.size
        if self.size_bytes > self._limits.unpacked_bytes:
            refuse(f"the layer unpacks to more than {self._limits.unpacked_bytes} bytes")

    def _note(self, text: str) -> None:
        if len(self.notes) < _NOTES_LIMIT:
            self.notes.append(text)

    def _apply(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = split_name(member.name)
        if not parts:
            if member.isdir():
                self._own(self._tree.root, member)
            return
        parent_parts, folder = self._tree.enter(parts[:-1])
        name = parts[-1]
        path = (*parent_parts, name)
        if name.startswith(WHITEOUT_PREFIX):
            self._whiteout(folder, name)
        elif member.isdir():
            self._folder(folder, name, path, member)
        elif member.isreg():
            self._file(tar, folder, name, member)
        elif member.issym():
            self._symbolic_link(folder, name, member)
        elif member.islnk():
            self._hard_link(folder, name, path, member)
        elif member.isfifo():
            self._fifo(folder, name, member)
        elif member.ischr() and member.devmajor == 0 and member.devminor == 0:
            self._mark_gone(folder, name)
        else:
            self._note(f"left out {shown(member.name)}: device nodes and unknown entry types are not unpacked")

    def _replace(self, folder: int, name: str) -> None:
        """A later entry wins (as in Docker). What stood there is unlinked, never written through."""
        self._tree.unlink(folder, name)

    def _folder(self, folder: int, name: str, path: tuple[str, ...], member: tarfile.TarInfo) -> None:
        found = self._tree.look(folder, name)
        if found is None or not stat.S_ISDIR(found.st_mode):
            self._replace(folder, name)
            os.mkdir(name, 0o700, dir_fd=folder)
        made = os.open(name, FOLDER_FLAGS, dir_fd=folder)
        try:
            if found is not None and is_whiteout(found):
                # The layer removed what was below and made a folder anew: nothing of the old one may shine through.
                os.setxattr(made, OPAQUE_XATTR, b"y")
            self._own(made, member)
        finally:
            os.close(made)
        self._folder_times[path] = _mtime_ns(member)

    def _file(self, tar: tarfile.TarFile, folder: int, name: str, member: tarfile.TarInfo) -> None:
        self._replace(folder, name)
        content = tar.extractfile(member)
        if content is None:
            refuse(f"entry {shown(member.name)} has no content")
        file = os.open(name, _FILE_FLAGS, 0o600, dir_fd=folder)
        try:
            left = member.size
            while left:
                chunk = content.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise EOFError
                left -= len(chunk)
                _write_all(file, chunk)
            self._own(file, member)
            os.utime(file, ns=(_mtime_ns(member), _mtime_ns(member)))
        finally:
            os.close(file)

    def _symbolic_link(self, folder: int, name: str, member: tarfile.TarInfo) -> None:
        target = raw_name(member.linkname)
        if not target or len(target) > PATH_LIMIT_BYTES or b"\0" in target:
            refuse(f"link {shown(member.name)} has a target that no file system takes")
        self._replace(folder, name)
        os.symlink(target, raw_name(name), dir_fd=folder)
        os.chown(name, *_owner(member), dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(_mtime_ns(member), _mtime_ns(member)), dir_fd=folder, follow_symlinks=False)

    def _hard_link(self, folder: int, name: str, path: tuple[str, ...], member: tarfile.TarInfo) -> None:
        target = split_name(member.linkname)
        if not target:
            refuse(f"hard link {shown(member.name)} names no file")
        target_parts, target_folder = self._tree.open_existing(target[:-1])
        try:
            found = self._tree.look(target_folder, target[-1])
            if found is None or stat.S_ISDIR(found.st_mode):
                refuse(f"hard link {shown(member.name)} names {shown(member.linkname)}, which is no file of this layer")
            if (*target_parts, target[-1]) == path:
                return
            self._replace(folder, name)
            os.link(target[-1], name, src_dir_fd=target_folder, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(target_folder)

    def _fifo(self, folder: int, name: str, member: tarfile.TarInfo) -> None:
        self._replace(folder, name)
        os.mkfifo(name, 0o600, dir_fd=folder)
        os.chown(name, *_owner(member), dir_fd=folder, follow_symlinks=False)
        os.chmod(name, member.mode & 0o7777, dir_fd=folder)

    def _whiteout(self, folder: int, name: str) -> None:
        if name == OPAQUE_NAME:
            os.setxattr(folder, OPAQUE_XATTR, b"y")
            return
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden.startswith(WHITEOUT_PREFIX):
            return  # AUFS's own bookkeeping, of no meaning here
        if hidden in ("", ".", ".."):
            refuse(f"whiteout {shown(name)} names no entry")
        self._mark_gone(folder, hidden)

    def _mark_gone(self, folder: int, name: str) -> None:
        """A whiteout speaks of the layers below only: what this layer itself made stays, but hides what was below."""
        found = self._tree.look(folder, name)
        if found is not None:
            if stat.S_ISDIR(found.st_mode):
                self._tree.set_opaque(folder, name)
            return
        os.mknod(name, stat.S_IFCHR | 0o000, os.makedev(0, 0), dir_fd=folder)

    def _own(self, file: int, member: tarfile.TarInfo) -> None:
        """Owner first: chown drops set-user-id bits and capabilities."""
        os.fchown(file, *_owner(member))
        os.fchmod(file, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            if key.startswith("SCHILY.xattr."):
                self._attribute(file, key.removeprefix("SCHILY.xattr."), raw_name(value), member.name)

    def _attribute(self, file: int, key: str, value: bytes, name: str) -> None:
        plain = key.startswith("user.") and not key.startswith("user.overlay.")
        if not (plain or key == "security.capability") or len(value) > self._limits.xattr_bytes:
            self._note(f"left out attribute {shown(key)} of {shown(name)}")
            return
        try:
            os.setxattr(file, key, value)
        except OSError as error:
            self._note(f"left out attribute {shown(key)} of {shown(name)}: {error.strerror}")


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= member.uid <= _MAX_ID and 0 <= member.gid <= _MAX_ID):
        refuse(f"entry {shown(member.name)} has an owner that no system knows")
    return member.uid, member.gid


def _mtime_ns(member: tarfile.TarInfo) -> int:
    seconds = float(member.mtime)
    return int(min(max(seconds, 0.0), 2**33) * 1_000_000_000) if seconds == seconds else 0


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
