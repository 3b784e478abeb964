"""An application's streams over the agent's socket: pages of its output, and a connection that is its input.

Frames of a feed (engine/wire.py): in `i` input  `e` end of input. The connection ends when the program takes no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from gureum.core.machine import Machine
from gureum.engine.wire import line, read_frame
from gureum.ports import PortError
from gureum.ports.streams import Piece, Pieces, Streams

LIMIT_WAIT_S = 60.0
FEED_WAIT_S, FEED_PAUSE_S = 2.0, 0.005


def streams_of(machine: Machine) -> Streams:
    if machine.ports.streams is None:
        raise PortError("this gureum is simulated: no machine runs", retry=False)
    return machine.ports.streams


async def pieces(machine: Machine, name: str, place: str, wait_s: float, *, merged: bool = False) -> Pieces:
    """Output after `place`; when there is none yet, waits for some, for at most so long. `merged`: nobody asks for times, neighbours of one stream
    come as one piece."""
    page = await _pieces(machine, name, place, wait_s)
    return Pieces(tuple(merge(page.pieces)), page.place) if merged else page


def merge(found: Iterable[Piece]) -> Iterator[Piece]:
    for _, same in groupby(found, key=lambda piece: piece.stream):
        first, *more = same
        data = b"".join((first.data, *(piece.data for piece in more)))
        yield Piece(first.time_ns, first.stream, more[-1].whole if more else first.whole, data)


async def _pieces(machine: Machine, name: str, place: str, wait_s: float) -> Pieces:
    streams = streams_of(machine)
    page = await streams.read(name, place)
    if page.pieces or wait_s <= 0:
        return page
    await streams.changed(name, min(wait_s, LIMIT_WAIT_S))
    return await streams.read(name, page.place)


async def feed(machine: Machine, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection that is the program's input."""
    try:
        way = await streams_of(machine).feed(name)
    except PortError as refused:
        writer.write(line({"error": refused.why}))
        return
    writer.write(line({"ok": True}))
    ended: Any = False
    try:
        while (found := await read_frame(reader)) is not None:
            kind, payload = found
            if kind == b"e":
                ended = True
                break
            await way.write(payload)
    except PortError:
        pass
    finally:
        await way.close(end=ended)
