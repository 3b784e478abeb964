"""Which shared libraries a program needs, read from its ELF file: what `ldd` says, without running anything. Pure but for reading.

Source: System V ABI, "Object Files" and "Dynamic Linking" (64-bit little-endian only, as all machines that gureum runs on).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRING_TABLE, _END = 1, 5, 0


class Linkage(msgspec.Struct, frozen=True):
    """`interpreter`: "" for a static program or a library, else e.g. "/lib64/ld-linux-x86-64.so.2". `needed`: e.g. ("libc.so.6",)."""

    interpreter: str
    needed: tuple[str, ...]


def linkage(path: Path) -> Linkage:
    """Raises ValueError when `path` is no 64-bit little-endian ELF file."""
    image = path.read_bytes()
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no 64-bit little-endian ELF file")
    segments = _segments(image)
    interpreter = next((_text(image, offset) for kind, offset, _, _ in segments if kind == _INTERPRETER), "")
    dynamic = next(((offset, size) for kind, offset, _, size in segments if kind == _DYNAMIC), None)
    if dynamic is None:
        return Linkage(interpreter, ())
    tags = list(struct.iter_unpack("<qQ", image[dynamic[0] : dynamic[0] + dynamic[1] // 16 * 16]))
    strings = next(value for tag, value in tags if tag == _STRING_TABLE)
    base = _offset_of(segments, strings)
    return Linkage(interpreter, tuple(_text(image, base + value) for tag, value in tags if tag == _NEEDED))


def closure(programs: list[Path], find: Callable[[str], Path]) -> dict[str, Path]:
    """All libraries that `programs` need, directly or through others: name → file. `find` gives the file of a library's name, or
    raises; its errors pass."""
    found: dict[str, Path] = {}
    pending = list(programs)
    while pending:
        for name in linkage(pending.pop()).needed:
            if name not in found:
                found[name] = find(name)
                pending.append(found[name])
    return found


def _segments(image: bytes) -> list[tuple[int, int, int, int]]:
    """(kind, offset in the file, address, size in the file) of each program header."""
    (table,) = struct.unpack_from("<Q", image, 0x20)
    entry_size, count = struct.unpack_from("<HH", image, 0x36)
    segments = []
    for index in range(count):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", image, table + index * entry_size)
        segments.append((kind, offset, address, size))
    return segments


def _offset_of(segments: list[tuple[int, int, int, int]], address: int) -> int:
    for kind, offset, start, size in segments:
        if kind == _LOAD and start <= address < start + size:
            return offset + address - start
    raise ValueError("the ELF file's string table lies outside its segments")


def _text(image: bytes, offset: int) -> str:
    return image[offset : image.index(b"\0", offset)].decode()
