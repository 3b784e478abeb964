"""Files of images as they came or were made: manifests, configurations and layers by their digest, so that what was pulled can be pushed and saved
byte for byte. Unpacked, and shared with all other images of the machine, layers are the agent's.

    <home>/docker/blobs/sha256/HEX     whole and checked, or not there
    <home>/docker/tmp/                 what is half made; emptied at start
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

SHA = "sha256:"
COPY_BYTES = 1 << 20


class Blobs:
    """Blocking: call it in a thread."""

    def __init__(self, home: Path) -> None:
        self.makers = 0  # those under way whose blobs no image names yet
        self.gate = asyncio.Lock()  # held by who removes what no image names: nobody begins to make one meanwhile
        self._folder, self._tmp = home / "docker/blobs/sha256", home / "docker/tmp"
        shutil.rmtree(self._tmp, ignore_errors=True)
        for folder in (self._folder, self._tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """ValueError for what is no digest."""
        name = digest.removeprefix(SHA)
        if not digest.startswith(SHA) or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"invalid digest: {digest[:100]!r}")
        return self._folder / name

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def read(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    def size(self, digest: str) -> int:
        return self.path(digest).stat().st_size

    def add(self, data: bytes) -> str:
        """Its digest."""
        with self.draft() as file:
            file.write(data)
            return self.keep(file, SHA + hashlib.sha256(data).hexdigest())

    @contextmanager
    def draft(self) -> Iterator[BinaryIO]:
        """A file that goes unless it is kept."""
        descriptor, name = tempfile.mkstemp(dir=self._tmp)
        with os.fdopen(descriptor, "w+b") as file:
            try:
                yield file
            finally:
                Path(name).unlink(missing_ok=True)

    def name_of(self, file: BinaryIO) -> str:
        """The path of a draft, for the agent."""
        return os.readlink(f"/proc/self/fd/{file.fileno()}")

    def keep(self, file: BinaryIO, digest: str) -> str:
        """The draft, whose digest was checked, becomes a blob; durable."""
        file.flush()
        os.fsync(file.fileno())
        target = self.path(digest)
        if not target.exists():
            os.rename(os.readlink(f"/proc/self/fd/{file.fileno()}"), target)
        return digest

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for work in progress."""
        with tempfile.TemporaryDirectory(dir=self._tmp) as name:
            yield Path(name)

    def layout(self, folder: Path, manifest_digest: str, digests: list[str]) -> None:
        """An OCI layout of one image in `folder`, of links to the blobs."""
        blobs = folder / "blobs/sha256"
        blobs.mkdir(parents=True)
        for digest in {manifest_digest, *digests}:
            os.link(self.path(digest), blobs / digest.removeprefix(SHA))
        index = {"schemaVersion": 2, "manifests": [{"digest": manifest_digest, "size": self.size(manifest_digest)}]}
        (folder / "index.json").write_bytes(msgspec.json.encode(index))

    def drop_all_but(self, used: set[str]) -> int:
        """Removes what is not in `used`, which is what failed pulls and loads left; how many bytes that gave."""
        return self.drop({SHA + path.name for path in self._folder.iterdir()} - used)

    def drop(self, digests: set[str]) -> int:
        """Removes these; how many bytes that gave."""
        freed = 0
        for digest in digests:
            path = self.path(digest)
            if path.exists():
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
        return freed


def copy_hashed(
    read: Callable[[int], bytes], file: BinaryIO, told: Callable[[int], None] = lambda size: None
) -> tuple[str, int]:
    """(digest, size) of what `read` gave, which is in the file now."""
    digest, size = hashlib.sha256(), 0
    while data := read(COPY_BYTES):
        digest.update(data)
        file.write(data)
        size += len(data)
        told(size)
    return SHA + digest.hexdigest(), size
