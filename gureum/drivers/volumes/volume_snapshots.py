"""Snapshots on disk: what a volume was, at the price of what has changed since the snapshot before.

    snapshots/NAME.img      where the file system can clone files (reflink): a clone of the volume, nothing more
    snapshots/NAME.blocks   else: the blocks that were new with this snapshot, one after the other
    snapshots/NAME.1.blocks so, where others still have blocks that a snapshot of that name had before
    snapshots/NAME.map      which block of the volume lies where, in this snapshot's blocks or in those of earlier ones

A block is 128 KiB and is known by its BLAKE2b digest; one that the parent has too, at the same place, is not stored again. Zeros are not stored.
A map that exists is whole: blocks are on disk before it gets its name. A snapshot that is removed leaves behind what others still refer to; the rest
of its blocks goes back to the disk (holes), and the file with the last who refers to it.

All functions block (worker threads only) and may run side by side.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import msgspec

from gureum.drivers.volumes import volume_files
from gureum.ports import PortError

BLOCK = 128 << 10
DIGEST = 32
_ZEROS = bytes(BLOCK)
_FICLONE = 0x40049409
_PUNCH_HOLE, _KEEP_SIZE = 2, 1
_COPY_BYTES = 1 << 26
_libc = ctypes.CDLL(None, use_errno=True)


Rows = dict[int, tuple[bytes, str, int]]
"""Number of a block in the volume → (digest, whose blocks it is among, number there)."""
Hold = Callable[[], AbstractContextManager[None]]
Writes = Callable[[], int]
_nobody_writes: Hold = contextlib.nullcontext


class Map(msgspec.Struct, frozen=True):
    """Columns, a row for each block that is not zeros, sorted by `indexes`: its number in the volume; `packs`: whose blocks it lies among (a number
    into `names`); `slots`: its number there; `digests`: 32 bytes each. The numbers are 4 bytes, little-endian."""

    size_bytes: int
    block: int
    names: tuple[str, ...]
    indexes: bytes
    packs: bytes
    slots: bytes
    digests: bytes


class Kept(msgspec.Struct, frozen=True):
    """`data_bytes`: of the volume, without holes. `stored_bytes`: what this snapshot added to the disk."""

    size_bytes: int
    data_bytes: int
    stored_bytes: int


class Wanted(NamedTuple):
    """One of several snapshots of a moment; see SnapshotFiles.make."""

    name: str
    volume: Path
    parent: str
    hold: Hold
    writes: Writes


class SnapshotFiles:
    """`clones`: whether files are cloned instead of kept in blocks; None: as the file system can."""

    def __init__(self, folder: Path, clones: bool | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._working = 0
        self._due: set[str] = set()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in folder.glob("*.draft"):
            draft.unlink()
        self._clones = _can_clone(folder) if clones is None else clones
        self._forget_halves()
        # A process that ended between blocks and map, or between a removal and its sweep.
        self._sweep({path.stem for path in folder.glob("*.blocks") if not self._map_file(path.stem).exists()})

    def look(self, name: str) -> Kept | None:
        """None when there is none of that name."""
        image = self._image_file(name)
        with contextlib.suppress(FileNotFoundError):
            facts = image.stat()
            return Kept(facts.st_size, facts.st_blocks * 512, facts.st_blocks * 512)
        kept = self._read(name)
        if kept is None:
            return None
        own = 0 if kept.names[0] == name or kept.names[0].startswith(f"{name}.") else -1  # a copy has none
        count = sum(1 for pack in _numbers(kept.packs) if pack == own)
        return Kept(kept.size_bytes, len(kept.indexes) // 4 * kept.block, count * kept.block)

    def make(
        self, name: str, volume: Path, parent: str, hold: Hold = _nobody_writes, writes: Writes = lambda: 0
    ) -> None:
        """Keeps `volume` as it is at one moment of this call. `parent`: the snapshot it differs least from, "" or gone: none. `hold`: while it is
        entered nobody writes to the volume; `writes`: a number that is another one when somebody has, -1 where nobody counts."""
        if self._clones:
            with hold():
                volume_files.copy(volume, self._image_file(name))
            return
        with self._at_work():
            self._make(name, volume, self._read(parent) if parent else None, hold, writes)

    def make_together(self, wanted: Sequence[Wanted]) -> None:
        """Keeps several volumes as they are at one moment of this call; those that are there already are left alone. Each is read while the ones
        before it are held, so what the first shows is still so when the last is held. A process that ends in the middle leaves none of them."""
        missing = [one for one in wanted if self.look(one.name) is None]
        if not missing:
            return
        mark = self._folder / f"{missing[0].name}.group"
        with open(_created(mark), "wb", buffering=0) as file:
            file.write(msgspec.json.encode([one.name for one in missing]))
            os.fsync(file.fileno())
        volume_files.sync_folder(self._folder)
        self._nested(missing)
        mark.unlink()

    def _nested(self, wanted: Sequence[Wanted]) -> None:
        first, others = wanted[0], wanted[1:]

        @contextlib.contextmanager
        def held() -> Iterator[None]:
            with first.hold():
                if others:
                    self._nested(others)
                yield

        self.make(first.name, first.volume, first.parent, held, first.writes)

    def _forget_halves(self) -> None:
        """Groups of which a killed process made only some: nobody was told of any."""
        for mark in self._folder.glob("*.group"):
            with contextlib.suppress(msgspec.DecodeError):
                for name in msgspec.json.decode(mark.read_bytes(), type=list[str]):
                    self.remove(name)
            mark.unlink()

    def copy(self, name: str, source: str) -> None:
        """A second snapshot with the same content."""
        image = self._image_file(source)
        if image.exists():
            volume_files.copy(image, self._image_file(name))
            return
        with self._at_work():
            kept = self._read(source)
            if kept is None:
                raise PortError(f"snapshot {source} does not exist")
            self._write(name, kept)

    def restore(self, name: str, target: Path, size_bytes: int) -> None:
        """A volume file from a snapshot, larger if `size_bytes` is."""
        image = self._image_file(name)
        if image.exists():
            self._check_size(name, image.stat().st_size, size_bytes)
            volume_files.copy(image, target, size_bytes)
            return
        with self._at_work():
            kept = self._read(name)
            if kept is None:
                raise PortError(f"snapshot {name} does not exist")
            self._check_size(name, kept.size_bytes, size_bytes)
            self._restore(kept, target, size_bytes)

    def blocks(self, name: str) -> tuple[tuple[int, str], ...]:
        """(number, digest) of the blocks that are not zeros, in order."""
        image = self._image_file(name)
        if image.exists():
            with image.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                return tuple((index, _digest(content).hex()) for index, content in _blocks(file.fileno(), size))
        kept = self._need(name)
        return tuple((index, digest.hex()) for index, (digest, _, _) in sorted(_rows(kept).items()))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """A part of the volume as it was."""
        image = self._image_file(name)
        if image.exists():
            with image.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), length, offset)
        with self._at_work():
            kept = self._need(name)
            end = min(offset + length, kept.size_bytes)
            rows, found = _rows(kept), bytearray()
            while offset < end:
                index, start = divmod(offset, kept.block)
                count = min(kept.block - start, end - offset)
                found += self._piece(rows.get(index), kept.block, start, count)
                offset += count
        return bytes(found)

    def contents(self, name: str) -> Iterator[tuple[int, bytes]]:
        """(number, content) of the blocks that are not zeros, in order."""
        image = self._image_file(name)
        if image.exists():
            with image.open("rb", buffering=0) as file:
                yield from _blocks(file.fileno(), os.fstat(file.fileno()).st_size)
            return
        with self._at_work():
            kept = self._need(name)
            for index, row in sorted(_rows(kept).items()):
                yield index, self._piece(row, kept.block, 0, kept.block)

    def _piece(self, row: tuple[bytes, str, int] | None, block: int, start: int, count: int) -> bytes:
        if row is None:
            return bytes(count)
        with self._blocks_file(row[1]).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), count, row[2] * block + start)

    def _need(self, name: str) -> Map:
        kept = self._read(name)
        if kept is None:
            raise PortError(f"snapshot {name} does not exist")
        return kept

    def remove(self, name: str) -> None:
        self._image_file(name).unlink(missing_ok=True)
        kept = self._read(name)
        if kept is None:
            return
        self._map_file(name).unlink()
        volume_files.sync_folder(self._folder)
        with self._lock:
            # Also its own blocks, where the map is one that was made anew from the archive.
            self._due.update((name, *kept.names))
            if not self._working:
                self._sweep_due()

    # --- blocks ---

    def _make(self, name: str, volume: Path, parent: Map | None, hold: Hold, writes: Writes) -> None:
        """Reads it all while it is in use; then, held, only sees whether anything was written, and reads again what may have been."""
        pack = self._new_pack(name)
        draft = self._folder / f"{pack}.blocks.draft"
        size = volume.stat().st_size
        with open(volume, "rb", buffering=0) as reader, open(_created(draft), "wb", buffering=0) as writer:
            try:
                count = writes()
                rows, new = _read_blocks(reader.fileno(), writer.fileno(), pack, _rows(parent) if parent else {}, 0)
                with hold():
                    if count < 0 or writes() != count:
                        rows, new = _read_blocks(reader.fileno(), writer.fileno(), pack, rows, new)
                os.fsync(writer.fileno())
            except OSError:
                draft.unlink()
                raise
        kept = _map(pack, size, rows)
        used = {slot for _, owner, slot in rows.values() if owner == pack}
        if used:
            if len(used) < new:
                _punch(draft, used)
            draft.rename(self._blocks_file(pack))
        else:
            draft.unlink()
        self._write(name, kept)

    def _new_pack(self, name: str) -> str:
        """Whose blocks the snapshot's own will be: another name while others refer to blocks that one of its name had before (it
        was archived, or is gone)."""
        pack, number = name, 0
        while self._blocks_file(pack).exists():
            number += 1
            pack = f"{name}.{number}"
        return pack

    def _restore(self, kept: Map, target: Path, size_bytes: int) -> None:
        draft = target.with_suffix(".draft")
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(open(_created(draft), "wb", buffering=0))
            sources = [
                stack.enter_context(open(self._blocks_file(name), "rb", buffering=0)).fileno() if used else -1
                for name, used in _used_packs(kept)
            ]
            try:
                os.ftruncate(writer.fileno(), kept.size_bytes)
                for pack, slot, index, count in _runs(kept):
                    _copy(sources[pack], writer.fileno(), slot * kept.block, index * kept.block, count * kept.block)
                os.ftruncate(writer.fileno(), size_bytes)
                os.fsync(writer.fileno())
            except OSError:
                draft.unlink()
                raise
        draft.rename(target)

    def _sweep_due(self) -> None:
        due, self._due = self._due, set()
        self._sweep({name for name in due if not self._map_file(name).exists()})

    def _sweep(self, packs: set[str]) -> None:
        """Gives back what no map refers to among the blocks of snapshots that are gone."""
        packs = {name for name in packs if self._blocks_file(name).exists()}
        if not packs:
            return
        used: dict[str, set[int]] = {name: set() for name in packs}
        for path in self._folder.glob("*.map"):
            kept = self._read(path.stem)
            if kept is None or not packs.intersection(kept.names):
                continue
            for pack, slot in zip(_numbers(kept.packs), _numbers(kept.slots), strict=True):
                if kept.names[pack] in used:
                    used[kept.names[pack]].add(slot)
        for name, slots in used.items():
            if slots:
                _punch(self._blocks_file(name), slots)
            else:
                self._blocks_file(name).unlink()

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """While somebody reads maps and blocks, none are swept away."""
        with self._lock:
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                if not self._working and self._due:
                    self._sweep_due()

    def _check_size(self, name: str, present: int, wished: int) -> None:
        if present > wished:
            raise PortError(f"snapshot {name} has {present} bytes, more than the wished {wished}", retry=False)

    def _read(self, name: str) -> Map | None:
        try:
            return msgspec.msgpack.decode(self._map_file(name).read_bytes(), type=Map)
        except FileNotFoundError:
            return None

    def _write(self, name: str, kept: Map) -> None:
        draft = self._folder / f"{name}.map.draft"
        with open(_created(draft), "wb", buffering=0) as file:
            content = msgspec.msgpack.encode(kept)
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())
        draft.rename(self._map_file(name))
        volume_files.sync_folder(self._folder)

    def _image_file(self, name: str) -> Path:
        return self._folder / f"{name}.img"

    def _map_file(self, name: str) -> Path:
        return self._folder / f"{name}.map"

    def _blocks_file(self, name: str) -> Path:
        return self._folder / f"{name}.blocks"


def _can_clone(folder: Path) -> bool:
    """Tried with two small files: whether it works depends on the file system and on how it was made."""
    one, other = folder / "probe-1.draft", folder / "probe-2.draft"
    try:
        one.write_bytes(_ZEROS[:4096])
        with one.open("rb") as source, other.open("wb") as target:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    finally:
        one.unlink(missing_ok=True)
        other.unlink(missing_ok=True)
    return True


def _blocks(file: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the blocks that are data and not all zeros; the last one filled up with zeros."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        first = max(start // BLOCK, offset // BLOCK)
        last = -(-os.lseek(file, start, os.SEEK_HOLE) // BLOCK)
        for index in range(first, last):
            content = os.pread(file, BLOCK, index * BLOCK)
            if content != _ZEROS[: len(content)]:
                yield index, content.ljust(BLOCK, b"\0")
        offset = last * BLOCK


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def _read_blocks(volume: int, blocks: int, name: str, known: Rows, new: int) -> tuple[Rows, int]:
    """The rows of a volume as it is read now; blocks that are not `known` are appended to `blocks`, where there are `new` already."""
    rows: Rows = {}
    for index, content in _blocks(volume, os.fstat(volume).st_size):
        digest = _digest(content)
        before = known.get(index)
        if before is not None and before[0] == digest:
            rows[index] = before
            continue
        os.pwrite(blocks, content, new * BLOCK)
        rows[index] = (digest, name, new)
        new += 1
    return rows, new


def _map(name: str, size: int, rows: Rows) -> Map:
    places = {name: 0}
    indexes, packs, slots, digests = array("I"), array("I"), array("I"), bytearray()
    for index, (digest, pack, slot) in rows.items():
        indexes.append(index)
        packs.append(places.setdefault(pack, len(places)))
        slots.append(slot)
        digests += digest
    return Map(size, BLOCK, tuple(places), indexes.tobytes(), packs.tobytes(), slots.tobytes(), bytes(digests))


def _rows(kept: Map) -> Rows:
    digests = [kept.digests[start : start + DIGEST] for start in range(0, len(kept.digests), DIGEST)]
    columns = zip(_numbers(kept.indexes), digests, _numbers(kept.packs), _numbers(kept.slots), strict=True)
    return {index: (digest, kept.names[pack], slot) for index, digest, pack, slot in columns}


def _runs(kept: Map) -> Iterator[tuple[int, int, int, int]]:
    """(pack, slot, index, count): blocks that lie one after the other there and in the volume."""
    run: tuple[int, int, int, int] | None = None
    for index, pack, slot in zip(_numbers(kept.indexes), _numbers(kept.packs), _numbers(kept.slots), strict=True):
        if run is not None and (pack, slot, index) == (run[0], run[1] + run[3], run[2] + run[3]):
            run = (*run[:3], run[3] + 1)
            continue
        if run is not None:
            yield run
        run = (pack, slot, index, 1)
    if run is not None:
        yield run


def _used_packs(kept: Map) -> list[tuple[str, bool]]:
    used = set(_numbers(kept.packs))
    return [(name, number in used) for number, name in enumerate(kept.names)]


def _numbers(column: bytes) -> array[int]:
    return array("I", column)


def _copy(source: int, target: int, from_: int, to: int, count: int) -> None:
    while count:
        done = os.copy_file_range(source, target, min(count, _COPY_BYTES), from_, to)
        if not done:
            raise OSError(errno.EIO, "the blocks of a snapshot are cut short")
        from_, to, count = from_ + done, to + done, count - done


def _punch(path: Path, used: set[int]) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for slot in range(os.fstat(fd).st_size // BLOCK):
            if slot not in used:
                where, count = ctypes.c_longlong(slot * BLOCK), ctypes.c_longlong(BLOCK)
                # Where it cannot be done the room is lost until the file goes, and nothing else.
                _libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, where, count)
    finally:
        os.close(fd)


def _created(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
