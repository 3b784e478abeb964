"""Programs that run in machines for somebody outside: `gureum exec`, Session Manager and Run Command stand on them, and every other terminal will.

    program ──► output in numbered pieces ──► whoever is connected ──► confirmed, forgotten
       ▲                                          │
       └────── input in numbered pieces ◄─────────┘

A program either ends with its connection, or is *kept*: it has a name, goes on when the connection is lost, and whoever connects again by that name
gets every piece of output that nobody has confirmed, and is told which input had arrived. So a daemon may die in the middle of a session and its
client loses nothing. Output that nobody takes stops the program, it never fills our memory.

Frames (engine/wire.py). Of a plain program:  in  `i` input  `e` end of input  `w` columns, rows (two uint16)
                                              out `o` output  `r` error output  `x` exit code (int32), last
Of a kept one `o`, `r`, `x`, `i`, `w` and `n` (nothing, only a number) begin with the piece's number (uint64); also
                                              in  `a` output before this number is confirmed   `q` end the program
                                              out `c` input up to this number has been taken
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gureum.base.hang_ups import hung_up
from gureum.engine.wire import frame, hang_up, line, read_frame
from gureum.ports import PortError
from gureum.ports.clock import Clock
from gureum.ports.containers import Executions, Session, User

log = logging.getLogger("gureum.programs")
LIMIT_UNCONFIRMED_BYTES = 256 * 1024
LIMIT_INPUT_BYTES = 2 * 1024 * 1024
"""Whoever feeds a kept program has at most half of it on the way (`c` tells what has arrived)."""
LIMIT_KEPT = 500
PIECE_BYTES, PLAIN_PIECE_BYTES = 1024, 65536
_NUMBER = struct.Struct(">Q")


class Start(msgspec.Struct, frozen=True):
    """What to run. `id` "": plain. `keep_s`: how long a kept program goes on with nobody connected. `note`: handed back to whoever connects again.
    `must_exist`: connect, never start."""

    name: str
    args: tuple[str, ...] = ()
    terminal: bool = False
    env: tuple[str, ...] = ()
    user: User = User()
    folder: str = ""
    privileged: bool = False
    id: str = ""
    keep_s: float = 0.0
    note: str = ""
    must_exist: bool = False


class Programs:
    """All programs of one agent that somebody outside started."""

    def __init__(self, containers: Executions, clock: Clock) -> None:
        self._containers = containers
        self._clock = clock
        self._kept: dict[str, Program] = {}
        self._starting: dict[str, asyncio.Lock] = {}

    async def serve(self, start: Start, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: an answer line, then frames, until the program or the connection ends."""
        try:
            program, fresh = await self._program(start)
        except PortError as refused:
            writer.write(line({"error": refused.why}))
            return
        except (KeyError, TypeError, ValueError) as error:
            writer.write(line({"error": str(error)}))
            return
        known = {"new": fresh, "note": program.note, "input": program.taken, "output": program.first}
        writer.write(line({"ok": True, **known}))
        try:
            await program.converse(reader, writer)
        finally:
            if not start.id:
                await program.close()
            elif program.is_over:
                await self._forget(start.id)
            else:
                program.leave(self._clock)
        await hang_up(reader, writer)

    async def end(self, id_: str) -> None:
        """Of one that is gone it is success; one that is being started ends when it has been."""
        async with self._starting.get(id_) or asyncio.Lock():
            await self._forget(id_)

    def ids(self) -> list[str]:
        return list(self._kept)

    async def close(self) -> None:
        for id_ in list(self._kept):
            await self._forget(id_)

    async def _program(self, start: Start) -> tuple[Program, bool]:
        if not start.id:
            return await self._start(start, PLAIN_PIECE_BYTES), True
        lock = self._starting.setdefault(start.id, asyncio.Lock())
        try:
            async with lock:
                known = self._kept.get(start.id)
                if known is not None:
                    return known, False
                if start.must_exist:
                    raise PortError("there is no such program any more", retry=False)
                if len(self._kept) >= LIMIT_KEPT:
                    raise PortError("too many programs are kept on this machine")
                made = self._kept[start.id] = await self._start(start, PIECE_BYTES)
                made.abandoned = lambda: self._forget(start.id)
                return made, True
        finally:
            if not lock.locked():
                self._starting.pop(start.id, None)

    async def _start(self, start: Start, piece_bytes: int) -> Program:
        session = await self._containers.attach(
            start.name,
            start.args,
            terminal=start.terminal,
            env=start.env,
            user=start.user,
            folder=start.folder,
            privileged=start.privileged,
        )
        return Program(session, start, piece_bytes)

    async def _forget(self, id_: str) -> None:
        program = self._kept.pop(id_, None)
        if program is not None:
            await program.close()


class Program:
    """A running program: its session, the output that nobody has confirmed, the input that it has not taken."""

    def __init__(self, session: Session, start: Start, piece_bytes: int) -> None:
        self.note = start.note
        self.first = self._next = 0
        """Numbers of the first piece of output that is not confirmed, and of the next that comes."""
        self.taken = -1
        """Number of the last piece of input that the program has."""
        self.abandoned: Any = None
        self._numbered = bool(start.id)
        self._keep_s = start.keep_s
        self._session = session
        self._piece_bytes = piece_bytes
        self._pieces: deque[tuple[bytes, bytes]] = deque()
        self._size_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._input: deque[tuple[int, bytes, bytes]] = deque()
        self._input_bytes = 0
        self._given = -1
        self._fed = asyncio.Event()
        self._over = False
        self._leaving: asyncio.Task[None] | None = None
        self._current: asyncio.Task[Any] | None = None
        self._tasks = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())]
        for task in self._tasks:
            task.add_done_callback(_tell_fault)

    @property
    def is_over(self) -> bool:
        """Its exit code has been told and confirmed, or it was to end."""
        return self._over

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the program is over or the connection lost. A later connection ends an earlier one."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._current is not None:
            self._current.cancel()
        talking = asyncio.ensure_future(self._talk(writer))
        self._current = talking
        tasks = [talking, asyncio.ensure_future(self._hear(reader))]
        if not self._numbered:
            # What it hears waits for the program, behind which the client's end is not heard.
            tasks.append(asyncio.ensure_future(hung_up(writer.get_extra_info("socket").fileno())))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    _tell_fault(task)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._current is talking:
                self._current = None

    def leave(self, clock: Clock) -> None:
        """Nobody is connected any more, unless another connection took over: after `keep_s` the program ends."""
        if self._current is None and self._leaving is None:
            self._leaving = asyncio.ensure_future(self._wait(clock))

    async def _wait(self, clock: Clock) -> None:
        await clock.sleep(self._keep_s)
        self._leaving = None
        await self.abandoned()

    async def close(self) -> None:
        """Ends the program and every connection to it. Idempotent."""
        self._over = True
        for task in (*self._tasks, self._leaving, self._current):
            if task is not None:
                task.cancel()
        await self._session.close()

    # --- output ---

    async def _read(self) -> None:
        """All that the program says, then its exit code."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._collect(b"o", self._session.output()))
            group.create_task(self._collect(b"r", self._session.errors()))
        self._add(b"x", struct.pack(">i", await self._session.wait()))

    async def _collect(self, kind: bytes, said: AsyncIterator[bytes]) -> None:
        async for chunk in said:
            for start in range(0, len(chunk), self._piece_bytes):
                self._add(kind, chunk[start : start + self._piece_bytes])
            await self._room.wait()

    def _add(self, kind: bytes, payload: bytes) -> None:
        self._pieces.append((kind, payload))
        self._next += 1
        self._size_bytes += len(payload)
        if self._size_bytes > LIMIT_UNCONFIRMED_BYTES:
            self._room.clear()
        self._changed.set()

    def _confirm(self, before: int) -> None:
        """Pieces before this number are not needed any more. ValueError for some that were never told."""
        if before > self._next:
            raise ValueError("output was confirmed that was never told")
        while self.first < before:
            kind, payload = self._pieces.popleft()
            self.first += 1
            self._size_bytes -= len(payload)
            self._over = self._over or kind == b"x"
        if self._size_bytes <= LIMIT_UNCONFIRMED_BYTES:
            self._room.set()
        if self._over:
            self._changed.set()

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        """What is not confirmed and what comes, and the input that was taken; returns when the program is over."""
        told, taken = self.first, self.taken
        while not self._over:
            self._changed.clear()
            while told < self._next:
                kind, payload = self._pieces[told - self.first]
                writer.write(frame(kind, (_NUMBER.pack(told) if self._numbered else b"") + payload))
                told += 1
                await writer.drain()
                told = max(told, self.first)
            if self._numbered and taken != self.taken:
                taken = self.taken
                writer.write(frame(b"c", _NUMBER.pack(taken)))
                await writer.drain()
            if not self._numbered:
                self._confirm(told)
            if not self._over and told == self._next and taken == self.taken:
                await self._changed.wait()

    # --- input ---

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """What the connection brings; returns when it is lost."""
        while (found := await read_frame(reader)) is not None:
            kind, payload = found
            if kind == b"q":
                self._over = True
                return
            if not self._numbered:
                await self._take(kind, payload)  # at the program's pace: the connection waits meanwhile
                continue
            (number,) = _NUMBER.unpack(payload[:8])
            if kind == b"a":
                self._confirm(number)
            elif number > self._given:
                self._give(number, kind, payload[8:])

    def _give(self, number: int, kind: bytes, payload: bytes) -> None:
        if self._input_bytes + len(payload) > LIMIT_INPUT_BYTES:
            raise ValueError("more input than was allowed")
        self._given = number
        self._input_bytes += len(payload)
        self._input.append((number, kind, payload))
        self._fed.set()

    async def _write(self) -> None:
        """Gives a kept program its input. What waits here outlives the connection that brought it."""
        while self._numbered:
            self._fed.clear()
            while self._input:
                number, kind, payload = self._input[0]
                await self._take(kind, payload)
                self._input.popleft()
                self._input_bytes -= len(payload)
                self.taken = number
                self._changed.set()
            await self._fed.wait()

    async def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == b"i":
            await self._session.write(payload)
        elif kind == b"w" and len(payload) == 4:
            columns, rows = struct.unpack(">HH", payload)
            with contextlib.suppress(OSError):
                await self._session.resize(columns, rows)
        elif kind == b"e":
            await self._session.close_input()


def _tell_fault(task: asyncio.Future[Any]) -> None:
    """What ended a task, unless it was the program itself or a client that left."""
    fault = None if task.cancelled() else task.exception()
    if isinstance(fault, BaseExceptionGroup):
        fault = fault.split(ConnectionError)[1]
    if fault is not None and not isinstance(fault, ConnectionError):
        log.error("a program's connection failed", exc_info=fault)
