"""An application's streams by what conmon keeps of it: its log, its attach socket, its control fifo. Fills `ports/streams.py`.

    <log_dir>/NAME.log                every piece of output: "TIME STREAM F|P TEXT"; F ends a line, P does not
    <run_dir>/containers/NAME/attach  SOCK_SEQPACKET: what is written there is the program's input
    <run_dir>/containers/NAME/ctl     fifo: "1 ROWS COLUMNS" resizes the terminal

Output is read from the log alone: it is whole, has times, and outlives everybody. So whoever is attached loses nothing over the death of a
daemon, and a slow reader stops nobody.

Source: conmon(8) and conmon's documented attach protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, cast

from gureum.drivers.containers.console_files import ConsoleFiles
from gureum.ports import PortError
from gureum.ports.streams import Feed, Piece, Pieces, Stretch

LIMIT_READ_BYTES = 1 << 20
_TAIL_CHUNK_BYTES = 1 << 16
_INPUT_BYTES = 8192  # conmon reads so much at once
_WRITE_S = 3600.0
_LINE = re.compile(rb"^(\S+) (stdout|stderr) ([FP]) (.*\n)", re.MULTILINE)
# Neighbouring lines of the log that are of one stream (not by `)*+`: before Python 3.11.5 that goes on too far, gh-106052); what stands before
# the text of each, and the end of the line where the text has none.
_RUN = re.compile(rb"^(\S+) (stdout|stderr) [FP] .*\n(?>(?:\S+ \2 [FP] .*\n)*)", re.MULTILINE)
_HEAD = re.compile(rb"^\S+ \w+ (?:F |P (.*)\n)", re.MULTILINE)
_HEAD_OF_WHOLE = re.compile(rb"^\S+ \w+ F ", re.MULTILINE)
_seconds: dict[bytes, int] = {}


class ConmonStreams:
    """`run_dir`, `log_dir`: as CrunContainers has them. `consoles` watches the logs."""

    def __init__(self, run_dir: Path, log_dir: Path, consoles: ConsoleFiles) -> None:
        self._folder, self._log_dir, self._consoles = run_dir / "containers", log_dir, consoles

    async def read(self, name: str, place: str = "", *, until: str = "", merged: bool = False) -> Pieces:
        self._consoles.looks(name)
        return await asyncio.to_thread(read_pieces, self._log(name), place, until, merged=merged)

    async def tail(self, name: str, lines: int) -> Stretch:
        return await asyncio.to_thread(find_tail, self._log(name), lines)

    async def changed(self, name: str, timeout_s: float) -> None:
        await self._consoles.changed(name, timeout_s)

    async def feed(self, name: str) -> Feed:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            folder = os.open(self._bundle(name), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sock.connect(f"/proc/self/fd/{folder}/attach")
            finally:
                os.close(folder)
        except OSError as error:
            sock.close()
            raise PortError(f"container {name} takes no input now") from error
        return ConmonFeed(sock)

    async def resize(self, name: str, columns: int, rows: int) -> None:
        try:
            fifo = os.open(self._bundle(name) / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PortError(f"container {name} has no terminal now") from error
        try:
            os.write(fifo, f"1 {rows} {columns}\n".encode())
        finally:
            os.close(fifo)

    async def close(self) -> None:
        """Nothing is open but what others hold."""

    def _bundle(self, name: str) -> Path:
        if not name or "/" in name or name.startswith("."):
            raise PortError(f"{name!r} is no container's name", retry=False)
        return self._folder / name

    def _log(self, name: str) -> Path:
        return self._log_dir / f"{self._bundle(name).name}.log"


class ConmonFeed:
    """Fills `ports.streams.Feed`. What conmon tells on the socket (the output) is read and dropped: it would stop otherwise."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._room = asyncio.Event()
        self._over = False
        asyncio.get_running_loop().add_reader(sock.fileno(), self._drain)

    def _drain(self) -> None:
        try:
            if not self._socket.recv(65536):
                raise ConnectionError
        except BlockingIOError:
            return
        except OSError:
            self._over = True
            self._room.set()
            asyncio.get_running_loop().remove_reader(self._socket.fileno())

    async def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), _INPUT_BYTES):
            while True:
                if self._over:
                    raise PortError("the program takes no more input")
                try:
                    self._socket.send(data[start : start + _INPUT_BYTES])
                    break
                except BlockingIOError:
                    self._room.clear()
                    loop.add_writer(self._socket.fileno(), self._room.set)
                    try:
                        await asyncio.wait_for(self._room.wait(), _WRITE_S)
                    finally:
                        loop.remove_writer(self._socket.fileno())
                except OSError as error:
                    raise PortError("the program takes no more input") from error

    async def close(self, *, end: bool) -> None:
        loop = asyncio.get_running_loop()
        if end and not self._over:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            # conmon gives up what it has of a socket that is closed; it closes the other half when it has read everything.
            while not self._over:
                self._room.clear()
                await self._room.wait()
        if self._socket.fileno() >= 0:
            loop.remove_reader(self._socket.fileno())
            self._socket.close()


def read_pieces(path: Path, place: str, until: str = "", *, merged: bool = False) -> Pieces:
    """Pieces of the file after `place`, up to the last whole one before `until`."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            inode = status.st_ino
            if place == "end":
                return Pieces((), f"{inode}:{status.st_size}")
            offset, limit = _offset(place, inode) or 0, LIMIT_READ_BYTES
            if until:
                # Of a log that was begun anew meanwhile nothing is left that was there then.
                limit = min(limit, max(0, (_offset(until, inode) or 0) - offset))
            file.seek(offset)
            data = file.read(limit)
    except FileNotFoundError:
        return Pieces((), "" if place == "end" else place)
    pieces, used = (parse_merged if merged else parse)(data)
    return Pieces(tuple(pieces), f"{inode}:{offset + used}")


def _offset(place: str, inode: int) -> int | None:
    """None for a place in another file."""
    known, _, offset = place.partition(":")
    return int(offset) if known == str(inode) and offset.isdecimal() else None


def find_tail(path: Path, lines: int) -> Stretch:
    """The last so many lines, up to the present end of the file."""
    try:
        with open(path, "rb") as file:
            inode, size = os.fstat(file.fileno()).st_ino, file.seek(0, os.SEEK_END)
            start = 0 if lines < 0 else _tail_start(file, size, lines)
            return Stretch(f"{inode}:{start}", f"{inode}:{size}")
    except FileNotFoundError:
        return Stretch("", "")


def _tail_start(file: BinaryIO, size: int, lines: int) -> int:
    at, text = size, b""
    while at > 0 and lines:
        step = min(_TAIL_CHUNK_BYTES, at)
        at -= step
        file.seek(at)
        text = file.read(step) + text
        starts = _line_starts(text, complete=at == 0)
        if len(starts) >= lines:
            return at + starts[-lines]
    return at


def _line_starts(text: bytes, *, complete: bool) -> list[int]:
    """Offsets at which a line of output begins: a line of the log whose forerunner ended one. `complete`: text is the file's beginning; else its
    first line may be half a one, and nothing is known of what came before."""
    starts, fresh = [], complete
    at = 0 if complete else text.find(b"\n") + 1
    while (end := text.find(b"\n", at)) >= 0:
        fields = text[at:end].split(b" ", 3)
        sound = len(fields) == 4
        if fresh and sound:
            starts.append(at)
        fresh = sound and fields[2] == b"F"
        at = end + 1
    return starts


def parse(data: bytes) -> tuple[list[Piece], int]:
    """The whole pieces in a part of a log, and how many of its bytes they are."""
    used = data.rfind(b"\n") + 1
    pieces = [
        Piece(
            _time_ns(time),
            "stdout" if stream == b"stdout" else "stderr",
            mark == b"F",
            text if mark == b"F" else text[:-1],
        )
        for time, stream, mark, text in _LINE.findall(data, 0, used)
    ]
    return pieces, used


def parse_merged(data: bytes) -> tuple[list[Piece], int]:
    """As `parse`, with neighbours of one stream as one piece: without a step per line, so that tiny lines cost little."""
    pieces: list[Piece] = []
    used = data.rfind(b"\n") + 1
    for run in _RUN.finditer(data, 0, used):
        lines = run[0]
        last = lines.rfind(b"\n", 0, len(lines) - 1) + 1
        text = _HEAD.sub(rb"\1", lines) if b" P " in lines else _HEAD_OF_WHOLE.sub(b"", lines)
        stream = cast(Literal["stdout", "stderr"], run[2].decode())
        pieces.append(Piece(_time_ns(run[1]), stream, lines[last:].split(b" ", 3)[2] == b"F", text))
    return pieces, used


def _time_ns(text: bytes) -> int:
    """ "2026-11-28T22:00:00.123456789+00:00", as conmon writes it; 0 for anything else."""
    second = text[:19] + text[29:]
    try:
        seconds = _seconds.get(second)
        if seconds is None:
            seconds = int(datetime.fromisoformat(second.decode()).timestamp())
            if len(_seconds) > 1000:
                _seconds.clear()
            _seconds[second] = seconds
        return seconds * 1_000_000_000 + int(text[20:29])
    except ValueError:
        return 0
