"""Reads tar archives that a stranger made: forward only, with limits, and with names that are checked before anyone uses them.

tarfile does the parsing. Around it stand a budget for every header (one that claims gigabytes fails after a few megabytes instead of
filling the memory) and strictness where tarfile is lenient.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from typing import IO, NoReturn, Protocol, Self, cast

import msgspec

from gureum.ports import PortError

CHUNK_BYTES = 256 * 1024

_HEADER_BUDGET_BYTES = 4 * 1024 * 1024
_DEPTH_LIMIT = 128
_NAME_LIMIT_BYTES = 255
PATH_LIMIT_BYTES = 4095

# The argument of TarInfo.fromtarfile is called `tarfile` too. typeshed does not know the first.
_InvalidHeaderError = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_ReadError = tarfile.ReadError


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


def refuse(why: str) -> NoReturn:
    """The archive is at fault: trying again cannot help."""
    raise PortError(why, retry=False)


def open_tar(stream: BudgetedStream) -> tarfile.TarFile:
    """Mode "r|" reads forward only: no header can send the reader back in circles."""
    return tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=CHUNK_BYTES, tarinfo=_StrictMember)


def list_archive(file: IO[bytes], limits: LayerLimits = DEFAULT_LIMITS) -> dict[str, tuple[int, int]]:
    """Where the regular files of an uncompressed tar lie: name → (offset, length) in `file`. Links to them count as them (older
    `docker save` writes a repeated layer as a link). Nothing is unpacked. Raises PortError."""
    stream = BudgetedStream(file, limits.stream_bytes)
    found: dict[str, tuple[int, int]] = {}
    stream.allow(0)
    try:
        with open_tar(stream) as tar:
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


class BudgetedStream:
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
            if not self.read(CHUNK_BYTES):
                return f"sha256:{self._hash.hexdigest()}"


class _StrictMember(tarfile.TarInfo):
    """tarfile takes a broken header after the first for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _InvalidHeaderError as error:
            raise _ReadError(str(error)) from error


def split_name(name: str) -> tuple[str, ...]:
    """The components of an archive's name: "./a//b" and "/a/b" are ("a", "b"), "." is (). Raises PortError for names that hold `..` or NUL, or
    are longer than a file system takes. Docker, too, takes absolute names, as of what ko and others build, for names below the root."""
    raw = raw_name(name)
    if b"\0" in raw or len(raw) > PATH_LIMIT_BYTES:
        refuse(f"entry {shown(name)} has a name that no file system takes")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(parts) > _DEPTH_LIMIT:
        refuse(f"entry {shown(name)} lies deeper than {_DEPTH_LIMIT} folders")
    for part in parts:
        if part == "..":
            refuse(f"entry {shown(name)} leaves the root")
        if len(raw_name(part)) > _NAME_LIMIT_BYTES:
            refuse(f"entry {shown(name)} has a name that no file system takes")
    return parts


def raw_name(text: str) -> bytes:
    """The bytes of a name as the archive has them, be they UTF-8 or not."""
    return text.encode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """A name for an error text: printable, short."""
    return ascii(name[:120])
