"""Reads compressed blobs as plain bytes, hashing what goes by. Limits stand where the bytes end up (hostile_tar.py).

The compression is told by the first bytes, not by a name or a media type: those lie. gzip, bzip2 and xz come with Python; zstd is
read through the `zstd` program, where it is installed.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypedDict, cast

from gureum.drivers.images.hostile_tar import Readable, refuse

_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK_BYTES = 256 * 1024
_NOBODY = 65534
_XZ_MEMORY_BYTES = 512 * 1024 * 1024
"""xz's strongest preset takes 65 MiB to decompress; a header may ask for 4 GiB."""


class HashedFile:
    """A file read once, forward, with the SHA-256 and the length of what was read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self.size_bytes += len(data)
        return data

    def finish(self) -> str:
        """Reads to the end; returns "sha256:…"."""
        while self.read(_CHUNK_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


class _Peekable:
    """Gives the first bytes back after they were looked at."""

    def __init__(self, source: Readable, length: int) -> None:
        self._source = source
        self.head = b""
        while len(self.head) < length and (data := source.read(length - len(self.head))):
            self.head += data
        self._left = self.head

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        if size < 0:
            size = _CHUNK_BYTES
        if self._left:
            data, self._left = self._left[:size], self._left[size:]
            return data
        return self._source.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class CompressedReader:
    """What `plain` gives for compressed data. Turns each decompressor's own error into a refusal."""

    def __init__(self, source: Readable, kind: str) -> None:
        self._source = source
        self._kind = kind

    def read(self, size: int, /) -> bytes:
        try:
            return self._source.read(size)
        except (zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            refuse(f"the {self._kind} data is broken: {error}")
        except OSError as error:
            if error.errno is not None:
                raise
            refuse(f"the {self._kind} data is broken: {error}")  # bz2 reports bad data so


@contextmanager
def plain(source: Readable, scratch: Path) -> Iterator[Readable]:
    """The uncompressed bytes of `source`. `scratch`: a folder on a disk, for what must lie in a file (/tmp is memory on many systems).
    Raises PortError while reading when the data is broken."""
    peekable = _Peekable(source, 6)
    kind = next((kind for magic, kind in _MAGIC.items() if peekable.head.startswith(magic)), "")
    file = cast("IO[bytes]", peekable)
    if kind == "gzip":
        with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
            yield CompressedReader(unzipped, kind)
    elif kind == "bzip2":
        with bz2.BZ2File(file, "rb") as unzipped2:
            yield CompressedReader(unzipped2, kind)
    elif kind == "xz":
        yield CompressedReader(_Xz(peekable), kind)
    elif kind == "zstd":
        with _zstd(peekable, scratch) as unpacked:
            yield unpacked
    else:
        yield peekable


class _Xz:
    """lzma.LZMAFile takes no memory limit, LZMADecompressor does."""

    def __init__(self, source: _Peekable) -> None:
        self._source = source
        self._decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
        self._ended = False

    def read(self, size: int, /) -> bytes:
        while not self._ended:
            if self._decompressor.eof:
                self._next_stream()
                continue
            data = b""
            if self._decompressor.needs_input:
                data = self._source.read(_CHUNK_BYTES)
                if not data:
                    raise EOFError("it ends too early")
            if unpacked := self._decompressor.decompress(data, size):
                return unpacked
        return b""

    def _next_stream(self) -> None:
        rest = self._decompressor.unused_data.lstrip(b"\0") or self._source.read(_CHUNK_BYTES).lstrip(b"\0")
        if not rest:
            self._ended = True
            return
        self._decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)
        self._source = _Peekable(_Chained(rest, self._source), 0)


class _Chained:
    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._rest.read(size)


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _unprivileged() -> _Identity:
    """The data is hostile and the program is C: it gets no power, where we have the power to take it away."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _zstd(source: Readable, scratch: Path) -> Iterator[Readable]:
    program = shutil.which("zstd")
    if program is None:
        refuse("the image is compressed with zstd: install the package zstd, or save the image with gzip")
    # The program reads a copy on disk, not a pipe that a thread would have to feed while another reads.
    with _spooled(source, scratch) as file:
        command = [program, "--decompress", "--stdout", "--quiet", "--memory=512MB"]
        process = subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", **_unprivileged()
        )
        if process.stdout is None:
            raise AssertionError("stdout is a pipe")
        try:
            yield CompressedReader(_ZstdOutput(process, process.stdout), "zstd")
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


@contextmanager
def _spooled(source: Readable, scratch: Path) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(dir=scratch) as file:
        while data := source.read(_CHUNK_BYTES):
            file.write(data)
        file.seek(0)
        yield file


class _ZstdOutput:
    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output

    def read(self, size: int, /) -> bytes:
        data = self._output.read(size)
        if not data and self._process.wait() != 0:
            refuse("the zstd data is broken")
        return data
