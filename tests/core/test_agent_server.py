"""The agent's socket, without a machine: what a client may do to it by coming, going and sending nonsense."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.base.clock import SystemClock
from gureum.core.agent_server import AgentServer
from gureum.core.programs import Programs
from gureum.engine.wire import LIMIT_LINE_BYTES, frame, line, read_line

DEADLINE_S = 10.0


class Silent:
    """A program that says nothing and goes on for ever, unless it is ended."""

    def __init__(self) -> None:
        self.input_closed = asyncio.Event()
        self.closed = asyncio.Event()

    async def output(self) -> AsyncIterator[bytes]:
        await self.closed.wait()
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk

    def errors(self) -> AsyncIterator[bytes]:
        return self.output()

    async def write(self, data: bytes) -> None: ...
    async def resize(self, columns: int, rows: int) -> None: ...

    async def close_input(self) -> None:
        self.input_closed.set()

    async def wait(self) -> int:
        await self.closed.wait()
        return 137

    async def close(self) -> None:
        self.closed.set()


async def attached(program: Silent) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Task[None]]:
    """A client's ends of a connection on which `program` runs, and the server's work on it."""

    async def attach(name: str, args: tuple[str, ...], **options: Any) -> Silent:
        return program

    containers = SimpleNamespace(attach=attach)
    service: Any = SimpleNamespace(programs=Programs(containers, SystemClock()))  # type: ignore[arg-type]

    async def down() -> None: ...

    near, far = socket.socketpair()
    ends = await asyncio.open_connection(sock=far, limit=LIMIT_LINE_BYTES)  # as `serve` makes them
    serving = asyncio.create_task(AgentServer(service, down).connection(*ends))
    reader, writer = await asyncio.open_connection(sock=near)
    writer.write(line({"op": "attach", "name": "i-1", "args": ["sleep", "inf"]}))
    answer = await read_line(reader)
    assert answer is not None
    assert msgspec.json.decode(answer)["ok"]
    return reader, writer, serving


def test_client_that_leaves_ends_a_program_that_neither_reads_nor_writes() -> None:
    async def run() -> None:
        program = Silent()
        _, writer, serving = await attached(program)
        writer.close()
        await asyncio.wait_for(program.closed.wait(), DEADLINE_S)
        await asyncio.wait_for(serving, DEADLINE_S)

    asyncio.run(run())


class Sated(Silent):
    """Takes no input."""

    async def write(self, data: bytes) -> None:
        await self.closed.wait()


def test_input_that_a_program_does_not_take_waits_with_its_sender() -> None:
    """A hundred megabytes of it were read ahead, for each program that does not read."""

    async def run() -> None:
        program = Sated()
        _, writer, serving = await attached(program)
        for _ in range(64):
            writer.write(frame(b"i", b"x" * 65536))
        before = -1
        while (waiting := writer.transport.get_write_buffer_size()) != before:
            before = waiting
            for _ in range(20):  # until nothing moves any more
                await asyncio.sleep(0)
        assert waiting > 2 << 20
        await program.close()
        writer.transport.abort()
        await asyncio.wait_for(serving, DEADLINE_S)

    asyncio.run(run())


def test_client_that_leaves_ends_a_program_that_does_not_take_its_input() -> None:
    async def run() -> None:
        program = Sated()
        _, writer, serving = await attached(program)
        for _ in range(64):
            writer.write(frame(b"i", b"x" * 65536))
        await asyncio.sleep(0)
        writer.transport.abort()
        await asyncio.wait_for(program.closed.wait(), DEADLINE_S)
        await asyncio.wait_for(serving, DEADLINE_S)

    asyncio.run(run())


def test_end_of_input_does_not_end_the_program() -> None:
    async def run() -> None:
        program = Silent()
        reader, writer, serving = await attached(program)
        writer.write(frame(b"e", b""))
        await asyncio.wait_for(program.input_closed.wait(), DEADLINE_S)
        assert not program.closed.is_set()
        await program.close()
        assert (await asyncio.wait_for(reader.read(), DEADLINE_S))[:1] == b"x"
        writer.close()
        await asyncio.wait_for(serving, DEADLINE_S)

    asyncio.run(run())


def test_connection_that_is_open_when_the_agent_ends_is_no_fault() -> None:
    """asyncio's own callback asks a cancelled task for its exception, which raises: it must not be told of the cancellation."""

    async def run() -> None:
        async def down() -> None: ...

        near, far = socket.socketpair()
        server = AgentServer(SimpleNamespace(), down)  # type: ignore[arg-type]
        serving = asyncio.create_task(server.connection(*await asyncio.open_connection(sock=far)))
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        assert not serving.cancelled()
        assert serving.exception() is None
        near.close()

    asyncio.run(run())
