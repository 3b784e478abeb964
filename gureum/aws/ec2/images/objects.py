"""An image as one object: what it is, and the blocks of its snapshots.

    gureum-image-1\\n | length of the manifest: 4 bytes | manifest, sealed | per disk: zlib of (number of the block: 4 bytes, its content) …

The manifest holds the length and the SHA-256 of each disk, and only this home can seal one. So nobody makes the kernel mount a file system
that did not come from here: an object that was changed, or that another home made, is refused. Packing waits for the agent, block by block;
unpacking blocks (worker threads only).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import msgspec

from gureum.aws.ec2.images.images import Image
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot
from gureum.core.world import Link

MAGIC = b"gureum-image-1\n"
LIMIT_BYTES = 1 << 30
_CONTEXT = "stored-image"
_LENGTH, _INDEX = struct.Struct("<I"), struct.Struct("<I")
_READ_BYTES = 1 << 20
_IMAGE_FIELDS = ("source", "description", "architecture", "root_device", "least_gib", "ena", "boot_mode", "tpm", "imds", "sriov")  # fmt: skip


class NotStored(Exception):
    """Why an image cannot be kept as an object, or an object is no image."""


class Disk(msgspec.Struct, frozen=True):
    """`data_bytes`, `sha256`: of its part of the object. `block_bytes`: of one block. `base`: as of its snapshot."""

    device: str
    size_gib: int
    base: str
    block_bytes: int
    data_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """`image`: fields of ImageSpec; `mappings`: without ids of snapshots."""

    name: str
    image: dict[str, Any]
    mappings: tuple[dict[str, Any], ...]
    disks: tuple[Disk, ...]


async def pack(link: Link, sealer: Any, image: Image, snapshots: dict[str, Snapshot], place: Path) -> None:
    """The object at `place`. `snapshots`: by device. NotStored; PortError."""
    disks = []
    parts = place.with_suffix(".parts")
    with _opened(parts) as file:
        for device, snapshot in snapshots.items():
            disks.append(await _pack_disk(link, file, device, snapshot))
        mappings = tuple(_without_snapshot(one) for one in image.spec.mappings)
        fields = {name: getattr(image.spec, name) for name in _IMAGE_FIELDS}
        manifest = msgspec.json.encode(Manifest(image.spec.name, fields, mappings, tuple(disks)))
        sealed = sealer.seal_bytes(manifest, _CONTEXT)
        await asyncio.to_thread(_join, place, sealed, file)
    parts.unlink()


def read_manifest(content: bytes, sealer: Any) -> tuple[Manifest, memoryview]:
    """What the object says of itself, and the disks behind it. NotStored."""
    start = len(MAGIC) + _LENGTH.size
    if not content.startswith(MAGIC) or len(content) < start:
        raise NotStored("the object is no stored image")
    (length,) = _LENGTH.unpack_from(content, len(MAGIC))
    try:
        plain = sealer.open_bytes(content[start : start + length], _CONTEXT)
        manifest = msgspec.json.decode(plain, type=Manifest)
    except (ValueError, msgspec.DecodeError) as error:
        raise NotStored("the object was not stored by this cloud, or was changed") from error
    return manifest, memoryview(content)[start + length :]


def unpack(disk: Disk, data: memoryview, place: Path) -> None:
    """The disk as a sparse file at `place`. `data`: its part of the object. NotStored."""
    if len(data) != disk.data_bytes or hashlib.sha256(data).hexdigest() != disk.sha256:
        raise NotStored("the object was changed")
    with _opened(place) as file:
        os.ftruncate(file.fileno(), disk.size_gib << 30)
        reader, pending = zlib.decompressobj(), b""
        record = _INDEX.size + disk.block_bytes
        for start in range(0, len(data), _READ_BYTES):
            pending += reader.decompress(data[start : start + _READ_BYTES])
            whole = len(pending) - len(pending) % record
            for at in range(0, whole, record):
                (index,) = _INDEX.unpack_from(pending, at)
                os.pwrite(file.fileno(), pending[at + _INDEX.size : at + record], index * disk.block_bytes)
            pending = pending[whole:]
        os.fsync(file.fileno())


async def _pack_disk(link: Link, file: IO[bytes], device: str, snapshot: Snapshot) -> Disk:
    found = await link.ask({"op": "snapshot_blocks", "name": snapshot.meta.name})
    block = int(found["block"])
    start, packer, digest = file.tell(), zlib.compressobj(1), hashlib.sha256()

    def put(packed: bytes) -> None:
        digest.update(packed)
        file.write(packed)
        if file.tell() > LIMIT_BYTES:
            raise NotStored(f"the image takes more than {LIMIT_BYTES >> 30} GiB")

    async for content in _blocks(link, snapshot.meta.name, block, [index for index, _ in found["blocks"]]):
        put(await asyncio.to_thread(packer.compress, content))
    put(packer.flush())
    size = file.tell() - start
    return Disk(device, snapshot.spec.size_gib, snapshot.spec.base, block, size, digest.hexdigest())


async def _blocks(link: Link, name: str, block: int, indexes: list[int]) -> AsyncIterator[bytes]:
    """Blocks with their numbers, those that lie side by side read at once."""
    most = max(1, _READ_BYTES // block)
    place = 0
    while place < len(indexes):
        first, count = indexes[place], 1
        while count < most and place + count < len(indexes) and indexes[place + count] == first + count:
            count += 1
        request = {"op": "read_snapshot", "name": name, "offset": first * block, "length": count * block}
        data = base64.b64decode((await link.ask(request))["data"])
        for number in range(count):
            content = data[number * block : (number + 1) * block]
            yield _INDEX.pack(first + number) + content.ljust(block, b"\0")
        place += count


def _join(place: Path, sealed: bytes, parts: IO[bytes]) -> None:
    parts.seek(0)
    with _opened(place) as whole:
        whole.write(MAGIC + _LENGTH.pack(len(sealed)) + sealed)
        while piece := parts.read(_READ_BYTES):
            whole.write(piece)


def _without_snapshot(mapping: dict[str, Any]) -> dict[str, Any]:
    ebs = {name: value for name, value in (mapping.get("Ebs") or {}).items() if name != "SnapshotId"}
    return {**mapping, "Ebs": ebs} if ebs else mapping


def _opened(place: Path) -> IO[bytes]:
    """An empty file that only we may read."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w+b")
