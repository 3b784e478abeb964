"""`ports.consoles.Consoles` on the files that conmon writes: lines "TIME STREAM F|P TEXT", P for a part of a line (Kubernetes' CRI logging format).

conmon puts a new file in the place of one that has grown too large, so a place is the file's inode and an offset in it. The kernel tells of writes
(inotify on the folder), so nobody polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from datetime import datetime
from pathlib import Path

from gureum.ports import PortError
from gureum.ports.consoles import ConsoleLine, ConsolePage

LIMIT_READ_BYTES = 512 * 1024
LIMIT_LINE_BYTES = 128 * 1024
_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE = 0x2, 0x80, 0x100
_EVENT = struct.Struct("iIII")


class ConsoleFiles:
    """`folder` holds a file NAME.log for each container."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = -1
        self._signals: dict[str, asyncio.Event] = {}

    def looks(self, name: str) -> None:
        """Somebody reads what the container has printed up to now: `changed` tells of what comes after."""
        self._start_watch()
        self._signal(name).clear()

    async def read(self, name: str, place: str = "") -> ConsolePage:
        self._signal(name).clear()
        return await asyncio.to_thread(read_lines, self._path(name), place)

    async def changed(self, name: str, timeout_s: float) -> None:
        self._start_watch()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._signal(name).wait(), timeout_s)

    async def close(self) -> None:
        if self._watch >= 0:
            asyncio.get_running_loop().remove_reader(self._watch)
            os.close(self._watch)
            self._watch = -1

    def _path(self, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise PortError(f"{name!r} is no container's name", retry=False)
        return self._folder / f"{name}.log"

    def _signal(self, name: str) -> asyncio.Event:
        """Set while there may be something to read. There are as many as containers that somebody has followed."""
        signal = self._signals.get(name)
        if signal is None:
            signal = self._signals[name] = asyncio.Event()
            signal.set()
        return signal

    def _start_watch(self) -> None:
        if self._watch >= 0:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
        if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(self._folder), mask) < 0:
            raise PortError(f"consoles cannot be watched: {os.strerror(ctypes.get_errno())}")
        self._watch = watch
        asyncio.get_running_loop().add_reader(watch, self._on_events)

    def _on_events(self) -> None:
        try:
            data = os.read(self._watch, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            _, _, _, size = _EVENT.unpack_from(data, at)
            file = data[at + _EVENT.size : at + _EVENT.size + size].rstrip(b"\0").decode(errors="replace")
            at += _EVENT.size + size
            # Without a name the kernel's queue has overflowed: anybody may have printed.
            for name in [file.removesuffix(".log")] if file else list(self._signals):
                if name in self._signals:
                    self._signals[name].set()


def read_lines(path: Path, place: str) -> ConsolePage:
    """Whole lines of the file after `place`."""
    try:
        with open(path, "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            offset = _offset(place, inode)
            file.seek(offset)
            data = file.read(LIMIT_READ_BYTES)
    except FileNotFoundError:
        return ConsolePage((), place)
    lines, used = parse(data)
    return ConsolePage(tuple(lines), f"{inode}:{offset + used}")


def _offset(place: str, inode: int) -> int:
    """0 for another file than the place is in, or for a place that is none."""
    known, _, offset = place.partition(":")
    return int(offset) if known == str(inode) and offset.isascii() and offset.isdigit() else 0


def parse(data: bytes) -> tuple[list[ConsoleLine], int]:
    """The whole lines in a piece of a log, and how many of its bytes they are. A line that is too long is given in parts."""
    lines: list[ConsoleLine] = []
    parts: list[bytes] = []
    used = at = size = 0
    while (end := data.find(b"\n", at)) >= 0:
        fields = data[at:end].split(b" ", 3)
        at = end + 1
        if len(fields) == 4:
            parts.append(fields[3])
            size += len(fields[3])
            if fields[2] == b"P" and size < LIMIT_LINE_BYTES:
                continue
            text = b"".join(parts).rstrip(b"\r").decode(errors="replace")
            lines.append(ConsoleLine(_time_ms(fields[0]), text))
        parts, size, used = [], 0, at
    return lines, used


def _time_ms(text: bytes) -> int:
    """ "2026-11-28T22:00:00.123456789+00:00"; 0 for none. Python reads at most six digits of a fraction."""
    whole, _, rest = text.decode(errors="replace").partition(".")
    digits = rest[:9]
    try:
        return int(datetime.fromisoformat(f"{whole}.{digits[:6]}{rest[9:]}").timestamp() * 1000)
    except ValueError:
        return 0
