"""Snapshots in the archive: each whole in a file of its own, compressed, which shares nothing with others.

    snapshots/NAME.archive   24 bytes of head, then zstd of (number of the block: 4 bytes, its content: BLOCK bytes) for each that is not zeros

An archive that exists is whole: it gets its name when it is on disk, and has a checksum of its content. Between the tiers there is always one
of the two forms, so a killed process loses nothing and the next one goes on. The `zstd` program compresses; it reads and writes only files of ours.

All functions block (worker threads only); two about one snapshot do not run side by side.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from gureum.drivers.volumes import volume_files
from gureum.drivers.volumes.volume_snapshots import BLOCK, Kept, SnapshotFiles
from gureum.ports import PortError
from gureum.ports.volumes import Tier

_HEAD = struct.Struct("<8sQQ")
_MAGIC = b"gureumA1"
_INDEX = struct.Struct("<I")


class SnapshotArchives:
    """Of the snapshots `files`, in the same folder."""

    def __init__(self, folder: Path, files: SnapshotFiles) -> None:
        self._folder, self._files = folder, files

    def look(self, name: str) -> Kept | None:
        """None when there is none of that name."""
        try:
            with self._file(name).open("rb") as file:
                size, data = _read_head(file)
                return Kept(size, data, os.fstat(file.fileno()).st_size)
        except FileNotFoundError:
            return None

    def settle(self, name: str, tier: Tier) -> None:
        """Makes the form that `tier` wants of the other one, and then takes away what it does not want. Does nothing where it is so already."""
        archive, kept = self._file(name), self._files.look(name)
        if tier == "standard" and not archive.exists():
            return
        if tier != "standard" and not archive.exists():
            self._archive(name, archive)
        if tier != "archive" and kept is None:
            self._restore(name, archive)
        if tier == "archive" and kept is not None:
            self._files.remove(name)
        if tier == "standard":
            self.remove(name)

    def remove(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)
        volume_files.sync_folder(self._folder)

    def _archive(self, name: str, archive: Path) -> None:
        kept = self._files.look(name)
        if kept is None:
            raise PortError(f"snapshot {name} is lost", retry=False)
        draft = archive.with_suffix(".archive.draft")
        data = 0
        with open(_created(draft), "wb", buffering=0) as file:
            try:
                file.write(bytes(_HEAD.size))
                with _program("--compress", "-3", "--check", stdin=subprocess.PIPE, stdout=file) as packed:
                    for index, content in self._files.contents(name):
                        packed.write(_INDEX.pack(index) + content)
                        data += len(content)
                os.pwrite(file.fileno(), _HEAD.pack(_MAGIC, kept.size_bytes, data), 0)
                os.fsync(file.fileno())
            except (OSError, PortError):
                draft.unlink()
                raise
        draft.rename(archive)
        volume_files.sync_folder(self._folder)

    def _restore(self, name: str, archive: Path) -> None:
        volume = archive.with_suffix(".restored.draft")
        with open(archive, "rb", buffering=0) as file, open(_created(volume), "wb", buffering=0) as target:
            try:
                size, _ = _read_head(file)
                os.ftruncate(target.fileno(), size)
                with _program("--decompress", stdin=file, stdout=subprocess.PIPE) as plain:
                    while head := plain.read(_INDEX.size):
                        content = plain.read(BLOCK)
                        (index,) = _INDEX.unpack(head)
                        os.pwrite(target.fileno(), content[: size - index * BLOCK], index * BLOCK)
                self._files.make(name, volume, "")
            finally:
                volume.unlink()

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.archive"


def _read_head(file: IO[bytes]) -> tuple[int, int]:
    """(size of the volume, bytes that are not zeros)."""
    head = file.read(_HEAD.size)
    if len(head) != _HEAD.size or not head.startswith(_MAGIC):
        raise PortError("the archive of a snapshot is broken", retry=False)
    _, size, data = _HEAD.unpack(head)
    return size, data


@contextmanager
def _program(*options: str, stdin: int | IO[bytes], stdout: int | IO[bytes]) -> Iterator[IO[bytes]]:
    """The end of zstd's pipe; OSError when it fails. Its file is read and written from where it stands."""
    program = shutil.which("zstd")
    if program is None:
        raise PortError("the package zstd is not installed", retry=False)
    command = [program, *options, "--stdout", "--quiet"]
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, cwd="/")
    pipe = process.stdin or process.stdout
    assert pipe is not None
    try:
        yield pipe
        pipe.close()
        if process.wait():
            raise OSError(errno.EIO, "zstd failed")
    finally:
        process.kill()
        process.wait()
        with suppress(BrokenPipeError):
            pipe.close()


def _created(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
