"""An application's streams over the agent's socket: pages of its output, and a connection that is its input.

Frames of a feed (engine/wire.py): in `i` input  `e` end of input. The connection ends when the program takes no more.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gureum.core.machine import Machine
from gureum.engine.wire import line, read_frame
from gureum.ports import PortError
from gureum.ports.streams import Pieces, Streams

LIMIT_WAIT_S = 60.0


def streams_of(machine: Machine) -> Streams:
    if machine.ports.streams is None:
        raise PortError("this gureum is simulated: no machine runs", retry=False)
    return machine.ports.streams


async def pieces(
    machine: Machine, name: str, place: str, wait_s: float, *, until: str = "", merged: bool = False
) -> Pieces:
    """Output after `place`, as Streams.read gives it; when there is none yet, waits for some, for at most so long."""
    streams = streams_of(machine)
    page = await streams.read(name, place, until=until, merged=merged)
    if page.pieces or wait_s <= 0:
        return page
    await streams.changed(name, min(wait_s, LIMIT_WAIT_S))
    return await streams.read(name, page.place, until=until, merged=merged)


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
