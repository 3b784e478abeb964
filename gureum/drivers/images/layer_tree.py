"""One layer's folder while it is being filled, seen through the layers below it. Every step goes from a folder descriptor to a name in
it, never through a link: links are followed by hand, inside the root, as a process with that root would.

Paths here are tuples of names that hold no link and no "..".
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from gureum.drivers.images.hostile_tar import refuse, shown

OPAQUE_XATTR = "trusted.overlay.opaque"
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_LINK_LIMIT = 40


class LayerTree:
    """The folder being filled, seen through the layers below it. Paths are tuples of names that hold no link."""

    def __init__(self, target: Path, lowers: Sequence[Path]) -> None:
        self.root = os.open(target, FOLDER_FLAGS)
        self._lowers = [os.open(lower, FOLDER_FLAGS) for lower in reversed(lowers)]
        self._last: tuple[tuple[str, ...], tuple[str, ...], int] | None = None

    def __enter__(self) -> Self:
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
            refuse(f"hard link to {shown('/'.join(parts))}, which is no folder of this layer")
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
        return os.open(name, FOLDER_FLAGS, dir_fd=folder)

    def _make_like_below(self, folder: int, name: str, path: tuple[str, ...]) -> None:
        like = self._find(path)
        os.mkdir(name, 0o755, dir_fd=folder)
        if like is not None:
            os.chown(name, like.st_uid, like.st_gid, dir_fd=folder, follow_symlinks=False)
            made = os.open(name, FOLDER_FLAGS, dir_fd=folder)
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
                    refuse(f"entry {shown('/'.join(parts))} leaves the root through a link")
                path.pop()
                continue
            found = self._find((*path, name))
            if found is None or stat.S_ISDIR(found.st_mode) or is_whiteout(found):
                path.append(name)
                continue
            if not stat.S_ISLNK(found.st_mode):
                refuse(f"entry {shown('/'.join(parts))} lies under {shown(name)}, which is no folder")
            links += 1
            if links > _LINK_LIMIT:
                refuse(f"entry {shown('/'.join(parts))} lies behind too many links")
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
            refuse(f"link {shown('/'.join(path))} is gone")
        folder = _walk(found[1], path[:-1])
        if folder is None:
            refuse(f"link {shown('/'.join(path))} is gone")
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
        made = os.open(name, FOLDER_FLAGS, dir_fd=folder)
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
            below = os.open(name, FOLDER_FLAGS, dir_fd=folder)
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
            below = os.open(name, FOLDER_FLAGS, dir_fd=folder)
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
