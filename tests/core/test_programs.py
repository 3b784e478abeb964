"""Kept programs: what connects again gets what nobody confirmed, input counts once, and output that nobody takes stops the program."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec
import pytest

from gureum.base.clock import SystemClock
from gureum.core.programs import LIMIT_UNCONFIRMED_BYTES, Programs, Start
from gureum.engine.wire import frame, read_frame, read_line
from gureum.ports import PortError
from gureum.ports.clock import Clock
from tests.core.fake_clock import FakeClock

DEADLINE_S = 10.0
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A program that says what it is told, in upper case; `said` is put in to be said besides."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.pulled = 0
        self.taken: list[bytes] = []
        self.sizes: list[tuple[int, int]] = []
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.closed = False

    async def output(self) -> AsyncIterator[bytes]:
        while chunk := await self.said.get():
            self.pulled += len(chunk)
            yield chunk

    async def errors(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk

    async def write(self, data: bytes) -> None:
        self.taken.append(data)
        self.said.put_nowait(data.upper())

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def close_input(self) -> None:
        self.end(0)

    def end(self, code: int) -> None:
        self.said.put_nowait(b"")
        self.ended.set_result(code)

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        self.closed = True
        if not self.ended.done():
            self.ended.set_result(137)


class Machine:
    """As much of the port Containers as programs need."""

    def __init__(self) -> None:
        self.started: list[Echo] = []

    async def attach(self, name: str, args: tuple[str, ...], **options: Any) -> Echo:
        if args == ("missing",):
            raise PortError("there is no such program")
        self.started.append(Echo())
        return self.started[-1]


async def connect(programs: Programs, **start: Any) -> tuple[dict[str, Any], Ends]:
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=far)

    async def serve() -> None:
        await programs.serve(Start("i-1", **start), reader, writer)
        writer.close()

    task = asyncio.ensure_future(serve())
    ends = await asyncio.open_connection(sock=near)
    ends[1].serving = task  # type: ignore[attr-defined]
    answer = await read_line(ends[0])
    assert answer is not None
    return msgspec.json.decode(answer), ends


async def pieces(ends: Ends, count: int) -> list[tuple[bytes, int, bytes]]:
    found = []
    while len(found) < count:
        got = await asyncio.wait_for(read_frame(ends[0]), DEADLINE_S)
        assert got is not None
        found.append((got[0], struct.unpack(">Q", got[1][:8])[0], got[1][8:]))
    return found


def send(ends: Ends, kind: bytes, number: int, payload: bytes = b"") -> None:
    ends[1].write(frame(kind, struct.pack(">Q", number) + payload))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def new_programs(clock: Clock | None = None) -> tuple[Programs, Machine]:
    machine = Machine()
    return Programs(machine, clock or SystemClock()), machine  # type: ignore[arg-type]


def test_who_connects_again_gets_what_was_not_confirmed_and_is_told_what_arrived() -> None:
    async def test() -> None:
        programs, machine = new_programs()
        answer, one = await connect(programs, id="s", keep_s=60.0, note="hello")
        assert answer == {"ok": True, "new": True, "note": "hello", "input": -1, "output": 0}
        send(one, b"i", 0, b"a")
        send(one, b"w", 1, struct.pack(">HH", 80, 25))
        send(one, b"i", 2, b"b")
        found = await pieces(one, 2)
        while (b"c", 2, b"") not in found:
            found += await pieces(one, 1)
        found = [piece for piece in found if piece[0] == b"o"]
        while len(found) < 2:
            found += [piece for piece in await pieces(one, 1) if piece[0] == b"o"]
        assert found == [(b"o", 0, b"A"), (b"o", 1, b"B")]
        send(one, b"a", 1)
        one[1].close()
        answer, other = await connect(programs, id="s", keep_s=60.0, note="ignored")
        while answer["output"] == 0:  # the confirmation was still under way
            answer, other = await connect(programs, id="s", keep_s=60.0)
        assert answer == {"ok": True, "new": False, "note": "hello", "input": 2, "output": 1}
        send(other, b"i", 2, b"b")  # a repeat
        send(other, b"i", 3, b"c")
        found = [piece for piece in await pieces(other, 3) if piece[0] == b"o"]
        assert found == [(b"o", 1, b"B"), (b"o", 2, b"C")]
        assert machine.started[0].taken == [b"a", b"b", b"c"]
        assert machine.started[0].sizes == [(80, 25)]
        machine.started[0].end(5)
        assert (await pieces(other, 1))[-1] == (b"x", 3, struct.pack(">i", 5))
        assert programs.ids() == ["s"]
        send(other, b"a", 4)
        assert await asyncio.wait_for(other[0].read(), DEADLINE_S) == b""
        assert programs.ids() == []
        answer, _ = await connect(programs, id="s", must_exist=True)
        assert "error" in answer

    run(test())


def test_output_that_nobody_confirms_stops_the_program() -> None:
    async def test() -> None:
        programs, machine = new_programs()
        _, one = await connect(programs, id="s", keep_s=60.0)
        program = machine.started[0]
        for _ in range(100):
            program.said.put_nowait(b"x" * 65536)
        told = await pieces(one, LIMIT_UNCONFIRMED_BYTES // 1024)
        assert program.pulled <= LIMIT_UNCONFIRMED_BYTES + 2 * 65536
        send(one, b"a", told[-1][1] + 1)
        await pieces(one, 64)
        await programs.close()
        assert program.closed

    run(test())


def test_a_later_connection_takes_over_and_the_program_ends_when_nobody_comes_back() -> None:
    async def test() -> None:
        clock = FakeClock()
        programs, machine = new_programs(clock)
        _, one = await connect(programs, id="s", keep_s=60.0)
        _, other = await connect(programs, id="s", keep_s=60.0)
        assert await asyncio.wait_for(one[0].read(), DEADLINE_S) == b""
        send(other, b"i", 0, b"a")
        await pieces(other, 1)
        other[1].close()
        await asyncio.wait_for(other[1].serving, DEADLINE_S)  # type: ignore[attr-defined]
        await clock.advance(59)
        assert programs.ids() == ["s"]
        await clock.advance(2)
        while programs.ids():
            await asyncio.sleep(0)
        assert machine.started[0].closed

    run(test())


def test_what_a_program_said_last_arrives_though_somebody_writes_to_it_still() -> None:
    """A client that ends the input of a program which has just ended by itself: its end was lost with what it had said."""

    async def test() -> None:
        programs, machine = new_programs()
        _, one = await connect(programs)
        machine.started[0].said.put_nowait(b"said")
        machine.started[0].end(3)
        while not machine.started[0].closed:
            await asyncio.sleep(0)
        for _ in range(10):
            one[1].write(frame(b"e", b""))
            await asyncio.sleep(0)
        found = [await asyncio.wait_for(read_frame(one[0]), DEADLINE_S) for _ in range(3)]
        assert found == [(b"o", b"said"), (b"x", struct.pack(">i", 3)), None]
        one[1].close()
        await asyncio.wait_for(one[1].serving, DEADLINE_S)  # type: ignore[attr-defined]

    run(test())


def test_a_program_that_is_to_end_while_it_is_started_ends() -> None:
    """It ran on, since nobody knew it yet."""

    async def test() -> None:
        programs, machine = new_programs()
        begin, attach = asyncio.Event(), machine.attach

        async def slow(*args: Any, **options: Any) -> Echo:
            await begin.wait()
            return await attach(*args, **options)

        machine.attach = slow  # type: ignore[method-assign]
        connecting = asyncio.ensure_future(connect(programs, id="s", keep_s=60.0))
        await asyncio.sleep(0.01)
        ending = asyncio.ensure_future(programs.end("s"))
        await asyncio.sleep(0.01)
        begin.set()
        await asyncio.wait_for(ending, DEADLINE_S)
        await connecting
        assert (programs.ids(), machine.started[0].closed) == ([], True)

    run(test())


@pytest.mark.parametrize("bad", [(b"a", 9, b""), (b"i", 0, b"x" * (3 << 20))])
def test_nonsense_ends_the_connection_not_the_program(bad: tuple[bytes, int, bytes]) -> None:
    async def test() -> None:
        programs, machine = new_programs()
        _, one = await connect(programs, id="s", keep_s=60.0)
        send(one, *bad)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(one[0].read(), DEADLINE_S) == b""
        one[1].close()
        await asyncio.wait_for(one[1].serving, DEADLINE_S)  # type: ignore[attr-defined]
        assert programs.ids() == ["s"]
        assert not machine.started[0].closed
        await programs.close()
        answer, _ = await connect(programs, args=("missing",))
        assert answer == {"error": "there is no such program"}

    run(test())
