"""Worker processes: a child that does one kind of work for a driver, one request after another.

Some work cannot be done in the agent itself: making a user namespace needs a process with one thread, and libnftables
may abort its process. A worker is `python -m <module>` with one end of a socket pair as its standard input, see
worker_loop. It ends when its parent is gone. When a worker dies, the calls it owed fail with WorkerDiedError and the
next call starts a new one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TypeVar

import msgspec

from gureum.drivers.workers.worker_loop import Reply, Request, frame
from gureum.ports import PortError

Answer = TypeVar("Answer")

_MAX_OWED = 256  # further calls wait their turn on this side
_GOODBYE_S = 10.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


class WorkerDiedError(PortError):
    """The worker ended before it answered; whether it did the work is unknown."""


class Worker:
    """One child process, started by the first call. Use it from one event loop."""

    def __init__(self, module: str, arguments: tuple[str, ...] = (), *, timeout_s: float = 60.0) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._name = module.rpartition(".")[2]
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        self._starting = asyncio.Lock()
        self._slots = asyncio.Semaphore(_MAX_OWED)
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that runs now, None before the first call and after a death."""
        connection = self._connection
        return connection.process.pid if connection is not None and connection.alive else None

    async def call(self, verb: str, argument: object, answer: type[Answer]) -> Answer:
        """Has the worker do `verb`. Raises PortError when it refused, WorkerDiedError when it ended or hung (it is
        then killed)."""
        async with self._slots:
            connection = await self._connected()
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await connection.send(verb, argument)
            except TimeoutError:
                connection.kill()
                raise WorkerDiedError(f"the {self._name} did not answer {verb} in {self._timeout_s:g} s") from None
        if reply.error:
            raise PortError(reply.error, retry=reply.retry)
        return msgspec.msgpack.decode(reply.value, type=answer)

    async def close(self) -> None:
        """Ends the worker after what it does at present."""
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> _Connection:
        async with self._starting:
            if self._closed:
                raise PortError(f"the {self._name} is closed", retry=False)
            if self._connection is None or not self._connection.alive:
                ours, theirs = socket.socketpair()
                with theirs:
                    # Through a thread: the start of a process waits some milliseconds for its exec.
                    process = await asyncio.to_thread(self._start, theirs)
                reader, writer = await asyncio.open_connection(sock=ours)
                self._connection = _Connection(self._name, process, reader, writer)
            return self._connection

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(_PACKAGE_ROOT)}
        return subprocess.Popen(self._command, stdin=theirs.fileno(), start_new_session=True, env=environment, cwd="/")


class _Connection:
    """One life of the process: what it owes ends with it."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self.alive = True
        self._name = name
        self._writer = writer
        self._owed: deque[asyncio.Future[Reply]] = deque()
        self._task = asyncio.create_task(self._read(reader))

    def send(self, verb: str, argument: object) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._owed.append(future)
        request = Request(verb, msgspec.Raw(msgspec.msgpack.encode(argument)))
        self._writer.write(frame(msgspec.msgpack.encode(request)))
        return future

    def kill(self) -> None:
        self.alive = False
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)

    async def close(self) -> None:
        # Half-close: the worker answers what it owes, sees the end and goes.
        if self.alive and self._writer.can_write_eof():
            self._writer.write_eof()
        _, late = await asyncio.wait([self._task], timeout=_GOODBYE_S)
        if late:
            self.kill()
            await asyncio.wait([self._task])

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decode = msgspec.msgpack.Decoder(Reply).decode
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "little")
                reply = decode(await reader.readexactly(size))
                future = self._owed.popleft()
                if not future.done():
                    future.set_result(reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._bury()

    async def _bury(self) -> None:
        self.alive = False
        self._writer.close()
        code = await asyncio.to_thread(self.process.wait)
        for future in self._owed:
            if not future.done():
                future.set_exception(WorkerDiedError(f"the {self._name} ended with code {code} before it answered"))
        self._owed.clear()
