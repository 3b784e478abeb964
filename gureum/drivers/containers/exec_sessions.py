"""Programs run inside a container: a child process of ours (`crun exec`) with pipes or a terminal, in the event loop.

    Session ── pipes ───────────── crun exec ── program          (no terminal)
    Session ── pseudo terminal ─────────────── program            (terminal: crun hands its master over a socket)

Reading happens only when somebody asks for output and writing waits until the program takes it, so that neither side can fill our
memory. The output ends when the program has ended, even if something it left behind still holds the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from gureum.drivers.containers.process_families import HANG_UP_S, Family
from gureum.ports import PortError

_CHUNK_BYTES = 65536
_CONSOLE_TIMEOUT_S = 10.0
_KILL_PAUSE_S = 0.01
_KILL_ATTEMPTS = 500
_KILL_ROUNDS = 50


class Child:
    """A child process, waited for through its pidfd."""

    def __init__(self, process: subprocess.Popen[bytes], pid_file: Path | None = None) -> None:
        """Belongs to the event loop that makes it. `pid_file`: where the runtime writes the pid of the program inside."""
        self._process = process
        self._pid_file = pid_file
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)
        self.ended.set_result(code if code >= 0 else 128 - code)

    def kill(self) -> None:
        """Kills the program inside and its family; the runtime's process then ends by itself. Returns before they are dead."""
        self._kill(attempts=_KILL_ATTEMPTS)

    def _kill(self, attempts: int) -> None:
        if self.ended.done():
            return
        family = None
        if self._pid_file is not None:
            with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
                family = Family(int(self._pid_file.read_text()))
        if family is None and self._pid_file is not None and attempts:
            # The runtime is still on its way: killing it now could leave the program running without it.
            self._loop.call_later(_KILL_PAUSE_S, self._kill, attempts - 1)
            return
        with contextlib.suppress(ProcessLookupError):
            if family is None:
                os.kill(self._process.pid, signal.SIGKILL)
                return
            family.signal(signal.SIGHUP)
            self._loop.call_later(HANG_UP_S, self._kill_family, family, _KILL_ROUNDS)

    def _kill_family(self, family: Family, rounds: int) -> None:
        """Again until a look finds none: who forks meanwhile is found by the next."""
        if family.signal(signal.SIGKILL) and rounds:
            self._loop.call_later(_KILL_PAUSE_S, self._kill_family, family, rounds - 1)


class ExecSession:
    """Fills `ports.containers.Session`. `source` and `sink` are non-blocking fds that it owns (the same one for a terminal), and so is
    `complaints`: the program's error output, or where the runtime tells why a program with a terminal did not start."""

    def __init__(self, child: Child, source: int, sink: int, *, terminal: bool, complaints: int) -> None:
        self._child = child
        self._source, self._sink, self._complaints = source, sink, complaints
        self._terminal = terminal
        # Whoever uses an fd holds its lock, so that none is closed (and its number given to another file) in use.
        self._reading, self._writing, self._hearing = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()

    async def output(self) -> AsyncIterator[bytes]:
        while chunk := await self._read():
            yield chunk
        while self._terminal and (chunk := await self._hear()):
            yield chunk

    async def errors(self) -> AsyncIterator[bytes]:
        while not self._terminal and (chunk := await self._hear()):
            yield chunk

    async def _read(self) -> bytes:
        async with self._reading:
            return await read_chunk(self._source, self._child.ended) if self._source >= 0 else b""

    async def _hear(self) -> bytes:
        async with self._hearing:
            return await read_chunk(self._complaints, self._child.ended) if self._complaints >= 0 else b""

    async def write(self, data: bytes) -> None:
        """What a program that has ended or closed its input no longer takes is dropped."""
        async with self._writing:
            if self._sink >= 0:
                await write_all(self._sink, data, self._child.ended)

    async def resize(self, columns: int, rows: int) -> None:
        if self._terminal and self._source >= 0:
            fcntl.ioctl(self._source, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    async def close_input(self) -> None:
        if self._terminal:
            await self.write(b"\x04")  # what a person types to end the input
        else:
            async with self._writing:
                if self._sink >= 0:
                    os.close(self._sink)
                self._sink = -1

    async def wait(self) -> int:
        return await asyncio.shield(self._child.ended)

    async def close(self) -> None:
        """Ends the program if it still runs, and gives up the fds. Idempotent."""
        self._child.kill()
        await asyncio.shield(self._child.ended)
        async with self._reading, self._writing, self._hearing:
            for fd in {self._source, self._sink, self._complaints} - {-1}:
                os.close(fd)
            self._source = self._sink = self._complaints = -1


def open_process(
    command: list[str], container: str, process: bytes, streams: int, owner: tuple[int, int]
) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Runs the runtime's `command` for a `process` (OCI, as JSON) in `container`. `streams`: 3 is (in, out, err), 1 is only the
    runtime's own complaints. `owner`: the host's (uid, gid) of the program, which may then open /dev/stdout and its like. Returns our
    non-blocking ends. Blocks until the runtime runs."""
    # The description goes through memory: no file to clean up, nothing for another user to read.
    description = os.memfd_create("process", os.MFD_CLOEXEC)
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for place in range(3 - streams, 3):
            reader, writer = os.pipe()
            ours.append(writer if place == 0 else reader)
            theirs.append(reader if place == 0 else writer)
            os.fchown(theirs[-1], *owner)
            os.set_blocking(ours[-1], False)
        os.write(description, process)
        full = [*command, "--process", f"/proc/self/fd/{description}", container]
        stdin, stdout, stderr = [*[subprocess.DEVNULL] * (3 - streams), *theirs]
        environment = {"PATH": os.environ.get("PATH", "")}
        popen = subprocess.Popen(
            full, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=[description], env=environment
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in (description, *theirs):
            os.close(fd)
    return popen, ours


async def read_chunk(fd: int, ended: asyncio.Future[int]) -> bytes:
    """The next bytes of a non-blocking fd; b"" at its end, or when the program has ended and nothing is left."""
    while True:
        over = ended.done()
        try:
            return os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            if over:
                return b""
        except OSError as error:
            if error.errno == errno.EIO:  # a terminal that nobody has open
                return b""
            raise
        await _wait_readable(fd, ended)


async def write_all(fd: int, data: bytes, ended: asyncio.Future[int]) -> None:
    """Writes all of it, at the program's pace."""
    view = memoryview(data)
    while view and not ended.done():
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(fd, ended, loop.add_writer, loop.remove_writer)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO):
                return
            raise


async def _ready(
    fd: int, ended: asyncio.Future[int], add: Callable[..., None], remove: Callable[[int], object]
) -> None:
    """Until the fd is ready or the program has ended."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(fd, wake)
    try:
        waiting: list[asyncio.Future[Any]] = [ready, ended]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        remove(fd)


async def _wait_readable(fd: int, ended: asyncio.Future[int]) -> None:
    loop = asyncio.get_running_loop()
    await _ready(fd, ended, loop.add_reader, loop.remove_reader)


class ConsoleSocket:
    """The socket on which the runtime hands over a terminal's master (OCI runtimes' `--console-socket`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # A socket's address has at most 107 bytes and a home may lie deep: the folder's fd makes a short one.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        self._socket.listen(1)
        self._socket.setblocking(False)

    async def receive(self, ended: asyncio.Future[int]) -> int:
        """The master's fd, non-blocking. PortError when the runtime ends without it (`ended`) or does not hand it over in time."""
        try:
            async with asyncio.timeout(_CONSOLE_TIMEOUT_S):
                await _wait_readable(self._socket.fileno(), ended)
                with self._socket.accept()[0] as connection:
                    connection.setblocking(False)
                    await _wait_readable(connection.fileno(), ended)
                    _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        except (TimeoutError, BlockingIOError) as error:
            raise PortError("the container runtime handed over no terminal") from error
        if not descriptors:
            raise PortError("the container runtime handed over no terminal")
        os.set_blocking(descriptors[0], False)
        return descriptors[0]

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)
