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
import hashlib
import os
import posixpath
import shutil
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn, Protocol, Self, cast

import msgspec

from gureum.ports import PortError

WHITEOUT_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"

# The argument of TarInfo.fromtarfile is called `tarfile` too. typeshed does not know the first.
_InvalidHeaderError = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_ReadError = tarfile.ReadError

_CHUNK_BYTES = 256 * 1024
_HEADER_BUDGET_BYTES = 4 * 1024 * 1024
_LINK_LIMIT = 40
_DEPTH_LIMIT = 128
_NAME_LIMIT_BYTES = 255
_PATH_LIMIT_BYTES = 4095
_MAX_ID = 2**32 - 2
_NOTES_LIMIT = 100
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LayerLimits(msgspec.Struct, frozen=True):
    """What one layer may take. `stream_bytes` counts the uncompressed tar, `unpacked_bytes` the files' contents."""

    stream_bytes: int = 64 * 1024**3
    unpacked_bytes: int = 32 * 1024**3
    entries: int = 2_000_000
    xattr_bytes: int = 64 * 1024


DEFAULT_LIMITS = LayerLimits()


class Readable(Protocol):
    """Bytes in order: `read(n)` gives at most n, b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


class UnpackedLayer(msgspec.Struct, frozen=True):
    """`diff_id`: "sha256:…" of the uncompressed tar. `notes`: what was left out, for the user (at most 100)."""

    diff_id: str
    size_bytes: int
    entries: int
    notes: tuple[str, ...] = ()


def refuse(why: str) -> NoReturn:
    """The archive is at fault: trying again cannot help."""
    raise PortError(why, retry=False)


def unpack_layer(
    stream: Readable, target: Path, lowers: Sequence[Path] = (), limits: LayerLimits = DEFAULT_LIMITS
) -> UnpackedLayer:
    """Unpacks the uncompressed tar `stream` into `target`, an existing empty folder that nobody else writes to.

    `lowers`: folders of the layers below, the lowest first. Blocks: run it in a thread. On PortError `target` holds a part and
    must be thrown away.
    """
    budgeted = _BudgetedStream(stream, limits.stream_bytes)
    with _Tree(target, lowers) as tree:
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


def list_archive(file: IO[bytes], limits: LayerLimits = DEFAULT_LIMITS) -> dict[str, tuple[int, int]]:
    """Where the regular files of an uncompressed tar lie: name → (offset, length) in `file`. Links to them count as them (older
    `docker save` writes a repeated layer as a link). Nothing is unpacked. Raises PortError."""
    stream = _BudgetedStream(file, limits.stream_bytes)
    found: dict[str, tuple[int, int]] = {}
    stream.allow(0)
    try:
        with _open_tar(stream) as tar:
            while (member := tar.next()) is not None:
                if len(found) > limits.entries or member.size < 0:
                    refuse("the archive has too many entries, or one of negative size")
                stream.allow(member.size)
                _list_member(found, member)
                tar.members = []  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        refuse(f"the file is not a sound tar archive: {error}")
    return found


def _list_member(found: dict[str, tuple[int, int]], member: tarfile.TarInfo) -> None:
    name = "/".join(split_name(member.name))
    if member.isreg():
        found[name] = (member.offset_data, member.size)
    elif member.issym() or member.islnk():
        base = posixpath.dirname(name) if member.issym() else ""
        target = posixpath.normpath(posixpath.join(base, member.linkname))
        if target in found:
            found[name] = found[target]


def _open_tar(stream: _BudgetedStream) -> tarfile.TarFile:
    """Mode "r|" reads forward only: no header can send the reader back in circles."""
    return tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=_CHUNK_BYTES, tarinfo=_StrictMember)


def _machine_error(error: OSError) -> PortError:
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENOTEMPTY):
        return PortError(f"the layer has an entry that no file system takes: {error.strerror}", retry=False)
    return PortError(f"the layer cannot be unpacked: {error.strerror}")


class _BudgetedStream:
    """Hands the tar to `tarfile` and hashes it. `allow(n)` sets how many bytes may be read until the next `allow`: so a header that
    claims gigabytes fails after a few megabytes instead of filling the memory."""

    def __init__(self, source: Readable, total_bytes: int) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._left = 0
        self._total_left = total_bytes

    def allow(self, content_bytes: int) -> None:
        self._left = content_bytes + _HEADER_BUDGET_BYTES

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self._left -= len(data)
        self._total_left -= len(data)
        if self._left < 0:
            refuse("the layer has a header of more than 4 MiB")
        if self._total_left < 0:
            refuse("the layer is larger than this gureum takes")
        return data

    def finish(self) -> str:
        """Reads what follows the end mark (padding counts for the digest too) and returns the digest."""
        while True:
            self.allow(0)
            if not self.read(_CHUNK_BYTES):
                return f"sha256:{self._hash.hexdigest()}"


class _StrictMember(tarfile.TarInfo):
    """tarfile takes a broken header after the first for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:  # noqa: F811
        try:
            return super().fromtarfile(tarfile)
        except _InvalidHeaderError as error:
            raise _ReadError(str(error)) from error


class _Unpacker:
    def __init__(self, tree: _Tree, stream: _BudgetedStream, limits: LayerLimits) -> None:
        self.entries = 0
        self.size_bytes = 0
        self.notes: list[str] = []
        self._tree = tree
        self._stream = stream
        self._limits = limits
        self._folder_times: dict[tuple[str, ...], int] = {}

    def run(self) -> None:
        self._stream.allow(0)
        with _open_tar(self._stream) as tar:
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
            refuse(f"entry {_shown(member.name)} has a negative size")
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
            self._note(f"left out {_shown(member.name)}: device nodes and unknown entry types are not unpacked")

    def _replace(self, folder: int, name: str) -> None:
        """A later entry wins (as in Docker). What stood there is unlinked, never written through."""
        self._tree.unlink(folder, name)

    def _folder(self, folder: int, name: str, path: tuple[str, ...], member: tarfile.TarInfo) -> None:
        found = self._tree.look(folder, name)
        if found is None or not stat.S_ISDIR(found.st_mode):
            self._replace(folder, name)
            os.mkdir(name, 0o700, dir_fd=folder)
        made = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
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
            refuse(f"entry {_shown(member.name)} has no content")
        file = os.open(name, _FILE_FLAGS, 0o600, dir_fd=folder)
        try:
            left = member.size
            while left:
                chunk = content.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise EOFError
                left -= len(chunk)
                _write_all(file, chunk)
            self._own(file, member)
            os.utime(file, ns=(_mtime_ns(member), _mtime_ns(member)))
        finally:
            os.close(file)

    def _symbolic_link(self, folder: int, name: str, member: tarfile.TarInfo) -> None:
        target = _bytes(member.linkname)
        if not target or len(target) > _PATH_LIMIT_BYTES or b"\0" in target:
            refuse(f"link {_shown(member.name)} has a target that no file system takes")
        self._replace(folder, name)
        os.symlink(target, _bytes(name), dir_fd=folder)
        os.chown(name, *_owner(member), dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(_mtime_ns(member), _mtime_ns(member)), dir_fd=folder, follow_symlinks=False)

    def _hard_link(self, folder: int, name: str, path: tuple[str, ...], member: tarfile.TarInfo) -> None:
        target = split_name(member.linkname)
        if not target:
            refuse(f"hard link {_shown(member.name)} names no file")
        target_parts, target_folder = self._tree.open_existing(target[:-1])
        try:
            found = self._tree.look(target_folder, target[-1])
            if found is None or stat.S_ISDIR(found.st_mode):
                refuse(f"hard link {_shown(member.name)} names {_shown(member.linkname)}, which is no file of this layer")
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
            refuse(f"whiteout {_shown(name)} names no entry")
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
                self._attribute(file, key.removeprefix("SCHILY.xattr."), _bytes(value), member.name)

    def _attribute(self, file: int, key: str, value: bytes, name: str) -> None:
        plain = key.startswith("user.") and not key.startswith("user.overlay.")
        if not (plain or key == "security.capability") or len(value) > self._limits.xattr_bytes:
            self._note(f"left out attribute {_shown(key)} of {_shown(name)}")
            return
        try:
            os.setxattr(file, key, value)
        except OSError as error:
            self._note(f"left out attribute {_shown(key)} of {_shown(name)}: {error.strerror}")


class _Tree:
    """The folder being filled, seen through the layers below it. Paths are tuples of names that hold no link."""

    def __init__(self, target: Path, lowers: Sequence[Path]) -> None:
        self.root = os.open(target, _FOLDER_FLAGS)
        self._lowers = [os.open(lower, _FOLDER_FLAGS) for lower in reversed(lowers)]
        self._last: tuple[tuple[str, ...], tuple[str, ...], int] | None = None

    def __enter__(self) -> _Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        for file in (self.root, *self._lowers):
            os.close(file)

    def _forget(self) -> None:
        if self._last is not None:
            os.close(self._last[2])
            self._last = None

    def enter(self, parts: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """The folder `parts` of this layer, made if missing: its path without links, and a descriptor that stays valid until the next
        call (entries of one folder come in a row, so the last one is kept)."""
        if self._last is None or self._last[0] != parts:
            path, folder = self._open_or_make(parts)
            self._forget()
            self._last = (parts, path, folder)
        return self._last[1], self._last[2]

    def open_existing(self, parts: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """As `enter`, but makes nothing; the caller closes the descriptor."""
        path = self._resolve(parts)
        folder = _walk(self.root, path)
        if folder is None:
            refuse(f"hard link to {_shown('/'.join(parts))}, which is no folder of this layer")
        return path, folder

    def _open_or_make(self, parts: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        path = self._resolve(parts)
        folder = os.dup(self.root)
        try:
            for depth, name in enumerate(path):
                below = self._enter_or_make(folder, name, path[: depth + 1])
                os.close(folder)
                folder = below
        except BaseException:
            os.close(folder)
            raise
        return path, folder

    def _enter_or_make(self, folder: int, name: str, path: tuple[str, ...]) -> int:
        found = self.look(folder, name)
        if found is not None and is_whiteout(found):
            # The layer hid this folder and now fills it anew.
            os.unlink(name, dir_fd=folder)
            os.mkdir(name, 0o755, dir_fd=folder)
            self.set_opaque(folder, name)
        elif found is None:
            self._make_like_below(folder, name, path)
        return os.open(name, _FOLDER_FLAGS, dir_fd=folder)

    def _make_like_below(self, folder: int, name: str, path: tuple[str, ...]) -> None:
        os.mkdir(name, 0o755, dir_fd=folder)
        like = self._find(path)
        if like is not None:
            os.chown(name, like.st_uid, like.st_gid, dir_fd=folder, follow_symlinks=False)
            made = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
            try:
                os.fchmod(made, stat.S_IMODE(like.st_mode))
            finally:
                os.close(made)

    def _resolve(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """`parts` with every link in it followed inside the root, as a process with that root would."""
        pending = list(reversed(parts))
        path: list[str] = []
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                if not path:
                    refuse(f"entry {_shown('/'.join(parts))} leaves the root through a link")
                path.pop()
                continue
            found = self._find((*path, name))
            if found is None or stat.S_ISDIR(found.st_mode) or is_whiteout(found):
                path.append(name)
                continue
            if not stat.S_ISLNK(found.st_mode):
                refuse(f"entry {_shown('/'.join(parts))} lies under {_shown(name)}, which is no folder")
            links += 1
            if links > _LINK_LIMIT:
                refuse(f"entry {_shown('/'.join(parts))} lies behind too many links")
            target = self._read_link((*path, name))
            if target.startswith("/"):
                path.clear()
            pending.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
        return tuple(path)

    def _find(self, path: tuple[str, ...]) -> os.stat_result | None:
        """What stands at `path` in the merged view: of the present layer and those below, honouring whiteouts."""
        found = self._find_with_layer(path)
        return found[0] if found else None

    def _read_link(self, path: tuple[str, ...]) -> str:
        found = self._find_with_layer(path)
        if found is None:
            refuse(f"link {_shown('/'.join(path))} is gone")
        folder = _walk(found[1], path[:-1])
        if folder is None:
            refuse(f"link {_shown('/'.join(path))} is gone")
        try:
            return os.readlink(path[-1], dir_fd=folder)
        finally:
            os.close(folder)

    def _find_with_layer(self, path: tuple[str, ...]) -> tuple[os.stat_result, int] | None:
        for layer in (self.root, *self._lowers):
            found, hides = _look_in_layer(layer, path)
            if found is not None:
                return found, layer
            if hides:
                return None
        return None

    def look(self, folder: int, name: str) -> os.stat_result | None:
        return _look(folder, name)

    def set_opaque(self, folder: int, name: str) -> None:
        made = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        try:
            os.setxattr(made, OPAQUE_XATTR, b"y")
        finally:
            os.close(made)

    def unlink(self, folder: int, name: str) -> bool:
        """Removes what this layer has at `name`; True when that was a folder."""
        found = _look(folder, name)
        if found is None:
            return False
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=folder)
            return False
        shutil.rmtree(name, dir_fd=folder)
        return True

    def set_folder_time(self, path: tuple[str, ...], mtime_ns: int) -> None:
        folder = _walk(self.root, path)
        if folder is None:
            return
        try:
            os.utime(folder, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(folder)


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _look_in_layer(layer: int, path: tuple[str, ...]) -> tuple[os.stat_result | None, bool]:
    """What one layer says of `path`: the entry if it has one, and whether it hides what lies below."""
    folder = os.dup(layer)
    hides = False
    try:
        for depth, name in enumerate(path):
            found = _look(folder, name)
            if found is None:
                return None, hides
            if depth == len(path) - 1:
                return (None, True) if is_whiteout(found) else (found, True)
            if not stat.S_ISDIR(found.st_mode):
                return None, True
            below = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = below
            hides = hides or _is_opaque(folder)
        return None, hides
    finally:
        os.close(folder)


def _walk(layer: int, path: tuple[str, ...]) -> int | None:
    folder = os.dup(layer)
    for name in path:
        try:
            below = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        except OSError:
            os.close(folder)
            return None
        os.close(folder)
        folder = below
    return folder


def _is_opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def is_whiteout(found: os.stat_result) -> bool:
    """overlayfs's mark for a removed entry: a character device 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def split_name(name: str) -> tuple[str, ...]:
    """The components of an archive's name: "./a//b" is ("a", "b"), "." is (). Raises PortError for names that are absolute, hold `..`
    or NUL, or are longer than a file system takes."""
    raw = _bytes(name)
    if raw.startswith(b"/"):
        refuse(f"entry {_shown(name)} has an absolute name")
    if b"\0" in raw or len(raw) > _PATH_LIMIT_BYTES:
        refuse(f"entry {_shown(name)} has a name that no file system takes")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(parts) > _DEPTH_LIMIT:
        refuse(f"entry {_shown(name)} lies deeper than {_DEPTH_LIMIT} folders")
    for part in parts:
        if part == "..":
            refuse(f"entry {_shown(name)} leaves the root")
        if len(_bytes(part)) > _NAME_LIMIT_BYTES:
            refuse(f"entry {_shown(name)} has a name that no file system takes")
    return parts


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(name: str) -> str:
    """A name for an error text: printable, short."""
    return ascii(name[:120])


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    if not (0 <= member.uid <= _MAX_ID and 0 <= member.gid <= _MAX_ID):
        refuse(f"entry {_shown(member.name)} has an owner that no system knows")
    return member.uid, member.gid


def _mtime_ns(member: tarfile.TarInfo) -> int:
    seconds = float(member.mtime)
    return int(min(max(seconds, 0.0), 2**33) * 1_000_000_000) if seconds == seconds else 0


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
