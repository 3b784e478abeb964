"""The write-ahead log of one signal: numbered files of frames, only ever appended to. Blocking; one thread at a time uses it.

    <folder>/00000001.wal    frame, frame, frame …
    frame                    length (4 bytes, little-endian), CRC-32 of the payload (4), payload

A file is a *generation*: what it holds is sealed into Parquet as a whole, and then it is removed. Invariants:
- `append` that returned is on the disk (fdatasync, and the folder is synced when a file is made).
- What a failed append left is cut off, at once or before the next append; if a crash comes before that, its whole frames may be found again.
- At the start a file ends where its first broken frame begins (the torn tail of a crash); that is cut off before anything is appended.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from gureum.ports.telemetry import TelemetryBroken, TelemetryFull

log = logging.getLogger("gureum.telemetry")
T = TypeVar("T")
MAX_FRAME_BYTES = 256 * 1024 * 1024
_HEADER = struct.Struct("<II")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Wal:
    """`generation`: the file that is appended to; `size_bytes`: its length."""

    def __init__(self, folder: Path, generation: int) -> None:
        self._folder = folder
        self.generation = generation
        self._doubtful = False
        self.size_bytes = 0
        self._file, self.size_bytes = self._open(generation)

    def append(self, payloads: Sequence[bytes]) -> None:
        """Makes the frames durable, all or none. TelemetryFull, TelemetryBroken."""
        blob = b"".join(part for one in payloads for part in (_HEADER.pack(len(one), zlib.crc32(one)), one))
        try:
            if self._doubtful:
                self._cut()
            _write_all(self._file, blob, self.size_bytes)
            os.fdatasync(self._file)
        except OSError as error:
            self._doubtful = True
            try:
                self._cut()
            except OSError:
                log.warning("a failed write to the telemetry log is cut off before the next one")
            raise translated(error) from error
        self.size_bytes += len(blob)

    def rotate(self) -> int:
        """Starts a new generation; returns the one that has ended."""
        ended = self.generation
        try:
            file, size_bytes = self._open(ended + 1)
        except OSError as error:
            raise translated(error) from error
        os.close(self._file)
        self._file, self.size_bytes, self.generation, self._doubtful = file, size_bytes, ended + 1, False
        return ended

    def close(self) -> None:
        os.close(self._file)

    def _open(self, generation: int) -> tuple[int, int]:
        file = os.open(path_of(self._folder, generation), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            sync_folder(self._folder)
            return file, os.fstat(file).st_size
        except BaseException:
            os.close(file)
            raise

    def _cut(self) -> None:
        os.ftruncate(self._file, self.size_bytes)
        os.fdatasync(self._file)
        self._doubtful = False


def open_wal(folder: Path, sealed: int) -> tuple[Wal, list[tuple[int, list[bytes]]]]:
    """Opens the newest generation after cutting its torn tail off; generations up to `sealed` are removed. The others' frames come along, oldest
    first. TelemetryBroken, TelemetryFull."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        left = []
        for generation in generations(folder):
            if generation <= sealed:
                path_of(folder, generation).unlink()
            else:
                left.append((generation, _mend(path_of(folder, generation))))
        newest = left[-1][0] if left else sealed + 1
        return Wal(folder, newest), left
    except OSError as error:
        raise translated(error) from error


def read_frames(path: Path) -> Iterator[bytes]:
    """The whole frames of a file, up to the first broken one."""
    data = memoryview(path.read_bytes())
    at = 0
    while at + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, at)
        payload = data[at + _HEADER.size : at + _HEADER.size + length]
        if not 0 < length <= MAX_FRAME_BYTES or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield bytes(payload)
        at += _HEADER.size + length


def decoded(folder: Path, generation: int, frames: Sequence[bytes], decode: Callable[[bytes], T]) -> list[T]:
    """The frames of a generation, read. TelemetryBroken for a form that this version does not know: nothing is lost or changed then."""
    try:
        return [decode(one) for one in frames]
    except (msgspec.DecodeError, ValueError) as error:
        text = (
            f"{path_of(folder, generation)} was written by another version of gureum, which alone can read it: {error}"
        )
        raise TelemetryBroken(text) from error


def remove_generation(folder: Path, generation: int) -> None:
    path_of(folder, generation).unlink(missing_ok=True)


def generations(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.wal") if path.stem.isdigit())


def path_of(folder: Path, generation: int) -> Path:
    return folder / f"{generation:08}.wal"


def sync_folder(folder: Path) -> None:
    """A new name in a folder is only durable when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def translated(error: OSError) -> TelemetryFull | TelemetryBroken:
    if error.errno in _NO_ROOM:
        return TelemetryFull("the telemetry's disk is full")
    return TelemetryBroken(f"the telemetry's disk fails: {os.strerror(error.errno or 0)}")


def _mend(path: Path) -> list[bytes]:
    frames = list(read_frames(path))
    good = sum(_HEADER.size + len(one) for one in frames)
    if good < path.stat().st_size:
        log.warning("the torn tail of a telemetry log was cut off", extra={"file": path.name, "bytes": good})
        with path.open("r+b") as file:
            file.truncate(good)
            os.fsync(file.fileno())
    return frames


def _write_all(file: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written
