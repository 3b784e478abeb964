"""The daemon's side of the worker process: starts it on the first job, and anew after it died.

A job whose worker dies is tried once more on a new worker; if that dies too, the job fails with TelemetryBroken. A worker that nobody has asked
for `IDLE_S` is ended, so that a quiet cloud does not keep its memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from gureum.ports.telemetry import TelemetryBroken, TelemetryFull
from gureum.telemetry.jobs import LENGTH, MAX_MESSAGE_BYTES, Answer, Failed, Job, Request, Result

log = logging.getLogger("gureum.telemetry")
IDLE_S = 300.0
JOB_TIMEOUT_S = 300.0
STOP_S = 5.0
MAX_JOBS = 256
TRIES = 2


class WorkerDied(Exception):
    """The process ended while a job was under way."""


class _Process:
    """One worker process and the jobs that wait for it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._next = 0
        self.alive = True
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="telemetry worker")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def idle(self) -> bool:
        return not self._waiting

    async def do(self, job: Job) -> Result:
        self._next += 1
        number = self._next
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[number] = done
        try:
            body = msgspec.msgpack.encode(Request(number, job))
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(LENGTH.pack(len(body)) + body)
                await self._process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError) as error:
                raise WorkerDied from error
            return await asyncio.wait_for(done, JOB_TIMEOUT_S)
        except TimeoutError:
            self._kill()  # nothing else ends a query that is stuck
            raise WorkerDied from None
        finally:
            self._waiting.pop(number, None)

    async def stop(self) -> None:
        self.alive = False
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._kill()
            await self._process.wait()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        assert self._process.stdout is not None
        decoder = msgspec.msgpack.Decoder(Answer)
        try:
            while True:
                length = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))[0]
                if length > MAX_MESSAGE_BYTES:
                    raise asyncio.IncompleteReadError(b"", length)
                answer = decoder.decode(await self._process.stdout.readexactly(length))
                done = self._waiting.get(answer.id)
                if done is not None and not done.done():
                    done.set_result(answer.result)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        finally:
            if self.alive:
                log.warning("the telemetry worker ended", extra={"jobs": len(self._waiting)})
            self.alive = False
            for done in self._waiting.values():
                if not done.done():
                    done.set_exception(WorkerDied())
            self._kill()  # one that does not answer is of no use
            await self._process.wait()

    def _kill(self) -> None:
        """Not by the process object: that one may collect the dead process before asyncio's own watcher does."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)


class WorkerClient:
    """`pid`: of the worker there is now, 0 when there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: _Process | None = None
        self._starting = asyncio.Lock()
        self._jobs = asyncio.Semaphore(MAX_JOBS)
        self._resting: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None and self._process.alive else 0

    async def do(self, job: Job) -> Result:
        """TelemetryBroken, TelemetryFull."""
        async with self._jobs:
            for _ in range(TRIES):
                process = await self._running()
                try:
                    result = await process.do(job)
                except WorkerDied:
                    continue
                self._rest_later()
                if isinstance(result, Failed):
                    raise TelemetryFull(result.why) if result.full else TelemetryBroken(result.why)
                return result
        raise TelemetryBroken(f"the telemetry worker died {TRIES} times at one job ({type(job).__name__})")

    async def close(self) -> None:
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        await self._stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _running(self) -> _Process:
        async with self._starting:
            if self._closed:
                raise TelemetryBroken("the telemetry store is closed")
            if self._process is None or not self._process.alive:
                command = [sys.executable, "-m", "gureum.telemetry.worker", str(self._folder)]
                pipe = asyncio.subprocess.PIPE
                try:
                    self._process = _Process(
                        await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1024 * 1024)
                    )
                except OSError as error:
                    raise TelemetryBroken(f"the telemetry worker cannot start: {error}") from error
            return self._process

    def _rest_later(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(IDLE_S, self._rest)

    def _rest(self) -> None:
        if self._process is None or not self._process.idle:
            self._rest_later()
        else:
            self._spawn(self._stop())

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
