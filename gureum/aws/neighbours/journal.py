"""The journal of the neighbours: every call that may have changed something, refused ones too, sealed, in the order in which they happened.

    file = entries; entry = length (4 bytes), CRC-32 (4 bytes) of what follows, sealed entry

`append` returns when the entry is on the disk. What a crash left of a half-written entry is cut off when the journal is opened; a wrong entry that
whole ones follow is damage, and an error, also where it is its length that is wrong. An entry is sealed for its number: none can be left out,
doubled or moved unseen.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from gureum.base.sealing import Sealer

SPARE_BYTES = 65536
"""More than an entry adds to its call's body."""
HEAD = struct.Struct(">II")
LIMIT_ENTRY_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 65536
SEARCHED_BYTES = 8 * 1024 * 1024
_SHORT = b"\0\0"
"""How the length of an entry begins that has less than 64 KiB, as most have."""


class JournalBroken(Exception):
    """The journal cannot be read or written; the text says why."""


class JournalFull(JournalBroken):
    """The journal has reached the size that the setting allows."""


class Sent(msgspec.Struct, frozen=True):
    """A request as moto gets it. `url`: whole, with the service's own host. `headers`: lower-case names."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


class Entry(msgspec.Struct, frozen=True):
    """A call as it came, and what it took from outside: the time (Unix seconds), the seed of moto's randomness, and what moto drew from the
    system's (`kept`, by keepers.py). `status`: of the answer. `apart`: moto's states that the call brought into being drew from a seed of their own
    (backends.py); in journals of before, from the call's. `fixed`: keys of AWS's aliases were not drawn, and ids of IAM begin as AWS's do
    (default_keys.py, iam_ids.py), and S3 wrote no access logs (overrides.py); not so in journals of before."""

    service: str
    account: str
    region: str
    sent: Sent
    time: float
    seed: bytes
    status: int
    kept: dict[str, bytes]
    apart: bool = False
    fixed: bool = False


class Journal:
    """`limit_bytes`: how large the file may become. Used by one thread."""

    def __init__(self, path: Path, sealer: Sealer, limit_bytes: int) -> None:
        self._path = path
        self._sealer = sealer
        self._limit_bytes = limit_bytes
        self._number = 0
        self._size_bytes = 0
        self._file: int | None = None

    def entries(self) -> Iterator[Entry]:
        """All entries, oldest first; to be taken to the end before the first `append`. JournalBroken when one is damaged."""
        self.close()
        self._number = self._size_bytes = 0
        if not self._path.exists():
            return
        total = self._path.stat().st_size
        with self._path.open("rb") as file:
            while (payload := self._next(file, total)) is not None:
                yield self._open(payload)
                self._number += 1
                self._size_bytes = file.tell()

    def _next(self, file: BinaryIO, total: int) -> bytes | None:
        """The next sealed entry; None at the end, or where a crash cut the last one."""
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        length, checksum = HEAD.unpack(head)
        end = self._size_bytes + HEAD.size + length
        payload = file.read(length) if end <= total else b""
        if payload and zlib.crc32(payload) == checksum:
            return payload
        cut = not self._whole_ones_follow(file) if end >= total else _is_nothing(head, file)
        if cut:
            return None
        raise JournalBroken(f"{self._path}: entry {self._number} is damaged")

    def _whole_ones_follow(self, file: BinaryIO) -> bool:
        """Whether there is a whole entry somewhere behind the beginning of the one that is wrong: what a crash has cut is the last."""
        file.seek(self._size_bytes + HEAD.size)
        rest = file.read(SEARCHED_BYTES)
        at = rest.find(_SHORT)
        while 0 <= at <= len(rest) - HEAD.size:
            length, checksum = HEAD.unpack_from(rest, at)
            payload = rest[at + HEAD.size : at + HEAD.size + length]
            if 0 < length == len(payload) and zlib.crc32(payload) == checksum:
                return True
            at = rest.find(_SHORT, at + 1)
        return False

    def _open(self, payload: bytes) -> Entry:
        try:
            return msgspec.msgpack.decode(self._sealer.open_bytes(payload, self._context()), type=Entry)
        except (ValueError, msgspec.MsgspecError) as error:
            raise JournalBroken(f"{self._path}: entry {self._number} does not open: {error}") from error

    def append(self, entry: Entry) -> None:
        """Durable when it returns. JournalFull, JournalBroken: nothing was written that counts."""
        payload = self._sealer.seal_bytes(msgspec.msgpack.encode(entry), self._context())
        data = HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        if self._size_bytes + len(data) > self._limit_bytes:
            raise JournalFull(f"{self._path} has reached its limit of {self._limit_bytes} bytes")
        try:
            self._write(data)
        except OSError as error:
            raise JournalBroken(f"{self._path}: {error}") from error
        self._number += 1
        self._size_bytes += len(data)

    def has_room(self, size_bytes: int) -> bool:
        """Whether a call with a body of that size can still be kept: below the limit, and on the disk. What is done and cannot be kept costs playing
        the whole journal."""
        return self._size_bytes + size_bytes + SPARE_BYTES <= min(
            self._limit_bytes, self._size_bytes + self._free_bytes()
        )

    def _free_bytes(self) -> int:
        for folder in self._path.parents:
            try:
                found = os.statvfs(folder)
            except FileNotFoundError:
                continue
            return found.f_bavail * found.f_frsize
        return 0

    def clear(self) -> None:
        """Empties it, durably."""
        self.close()
        self._number = self._size_bytes = 0
        if self._path.exists():
            self._descriptor()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes) -> None:
        descriptor = self._descriptor()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], self._size_bytes + written)
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, self._size_bytes)
            raise

    def _descriptor(self) -> int:
        """The open file, cut to what counts."""
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, self._size_bytes)
            os.fsync(self._file)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._file

    def _context(self) -> str:
        return f"neighbours/{self._number}"


def _is_nothing(head: bytes, file: BinaryIO) -> bool:
    """Whether all to the end is zeros: the file had its new size before the crash, and not yet what was written."""
    while not any(head):
        head = file.read(CHUNK_BYTES)
        if not head:
            return True
    return False
