"""A volume's files under another key: what was not encrypted becomes so, or is encrypted anew.

    snapshot ─► copies/NAME.from.img ─ mounted ─ files ─► copies/NAME.to.img ─ mounted with the new key ─► the finished file

Files are copied by `cp -a`, with owners, attributes and holes; an encrypted block cannot be made from another block. What a killed process leaves of
it is only in the folders of copies, which the next one clears. All functions block (worker threads only).
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gureum.drivers.volumes import ext4_control, mounts, overlay, volume_files, volume_keys
from gureum.drivers.volumes.volume_files import Spares
from gureum.drivers.volumes.volume_keys import VolumeKeys
from gureum.ports import PortError

_LIMIT_S = 3600.0
_MORE_INODES = 8192


class Recoding:
    """`files`: a folder on the disk; `mounted`: one of this home's run folder. Both belong to us alone."""

    def __init__(self, files: Path, mounted: Path, keys: VolumeKeys) -> None:
        self._files, self._mounted, self._keys = files, mounted, keys
        clear(mounted)
        for folder in (files, mounted):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (*files.glob("*.img"), *files.glob("*.draft")):
            path.unlink()

    def source(self, name: str) -> Path:
        """Where to put the volume that `recode` is to read."""
        return self._files / f"{name}.from.img"

    def recode(self, name: str, source_key: str, key: str, spares: Spares, size_bytes: int) -> Path:
        """A file with the same files under `key`, in a new file system of that size; the caller renames it. `source_key`: "" for one that is not
        encrypted. What was put at `source(name)` is gone afterwards. PortError when the files do not fit."""
        source, target = self.source(name), self._files / f"{name}.to.img"
        try:
            with self._open(source, source_key) as old:
                overlay.prepare_upper(old)  # a volume that nobody used yet may be without
                volume_files.copy(spares.template(size_bytes), target, size_bytes)
                if not self._take(old, target, key):
                    # The usual number of inodes is too small for these files, or takes the room of what is in them: an XFS makes its inodes as it
                    # needs them.
                    spares.make(target, size_bytes, inodes=_inodes_for(old))
                    if not self._take(old, target, key):
                        text = "the files of a full disk do not fit on an encrypted one of this size"
                        raise PortError(text, retry=False)
        except (OSError, PortError):
            target.unlink(missing_ok=True)
            raise
        finally:
            source.unlink()
        with target.open("rb") as file:
            os.fsync(file.fileno())
        return target

    def _take(self, old: Path, target: Path, key: str) -> bool:
        """Copies all files to the empty file system at `target`. False when they do not fit."""
        volume_keys.allow(target)
        with self._open(target, key) as new:
            return _copy(old / overlay.UPPER, new / overlay.UPPER)

    @contextlib.contextmanager
    def _open(self, image: Path, key: str) -> Iterator[Path]:
        folder = self._mounted / image.stem
        folder.mkdir(mode=0o700, exist_ok=True)
        ext4_control.attach_and_mount(image, folder, discard=False)
        try:
            if key:
                self._keys.unlock_with(key, folder)
            yield folder
        finally:
            mounts.unmount(folder)
            folder.rmdir()


def clear(mounted: Path) -> None:
    """Unmounts what a killed process left."""
    if mounted.exists():
        mounts.unmount_below(mounted)
        for folder in mounted.iterdir():
            folder.rmdir()


def _inodes_for(mounted: Path) -> int:
    """As many as the files there need, and some for those to come."""
    told = os.statvfs(mounted)
    used = told.f_files - told.f_ffree
    return used + used // 8 + _MORE_INODES


def _copy(source: Path, target: Path) -> bool:
    """False when the target is full, which is not the host's disk: that would be told when what was written goes there."""
    command = ["cp", "--archive", "--sparse=auto", "--reflink=never", "--", f"{source}/.", f"{target}/"]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIMEDOUT, "a volume could not be copied in time") from error
    if os.strerror(errno.ENOSPC).encode() in done.stderr:
        return False
    if done.returncode:
        raise OSError(errno.EIO, f"cp: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return True
