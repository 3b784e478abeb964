"""The daemon's end of what a container prints and hears (core/streaming.py): the one way for whoever shows a terminal of a container's own program,
be it by `docker attach` or on a serial console. (Programs that are run beside it are core/programs.py's.)"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from gureum.engine.wire import frame
from gureum.ports.streams import Pieces

ANSWER_S = 30.0


class Agent(Protocol):
    """Of `world.Link`, what is needed here."""

    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]: ...
    async def open(
        self, request: dict[str, Any]
    ) -> tuple[dict[str, Any], tuple[asyncio.StreamReader, asyncio.StreamWriter]]: ...


async def read_pieces(
    agent: Agent, name: str, place: str, wait_s: float = 0.0, *, until: str = "", merged: bool = False
) -> Pieces:
    """What the container printed after `place`, as `Streams.read` gives it; when there is none yet, waits for some, at most so long. PortError."""
    request = {"op": "pieces", "name": name, "place": place, "wait_s": wait_s, "until": until, "merged": merged}
    return msgspec.convert(await agent.ask(request, wait_s + ANSWER_S), Pieces, strict=False)


async def resize(agent: Agent, name: str, columns: int, rows: int) -> None:
    """PortError while it does not run."""
    await agent.ask({"op": "resize", "name": name, "columns": columns, "rows": rows})


class Input:
    """The way to a container's input."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        # The other end says nothing; its end is how one learns that the program takes no more.
        self._ended = asyncio.ensure_future(reader.read())

    @property
    def ended(self) -> bool:
        return self._ended.done() or self._writer.is_closing()

    async def write(self, data: bytes) -> None:
        """At the program's pace. ConnectionError when it takes no more."""
        self._writer.write(frame(b"i", data))
        await self._writer.drain()

    async def end(self) -> None:
        """There is no more."""
        self._writer.write(frame(b"e", b""))
        await self._writer.drain()

    def close(self) -> None:
        self._ended.cancel()
        self._writer.close()


async def open_input(agent: Agent, name: str) -> Input:
    """PortError while the container does not run."""
    _, (reader, writer) = await agent.open({"op": "feed", "name": name})
    return Input(reader, writer)
