"""Attach: a container's output to a client, and the client's words to its input; over a connection that becomes a stream, or by WebSocket.

docker attach, run     ◄── pages of pieces ◄── agent ◄── log
docker attach -i, run -i ──► feed ──► agent ──► attach socket ──► stdin
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from gureum.core.stream_client import Input, open_input
from gureum.core.world import World
from gureum.docker import find
from gureum.docker.call import Call, Watcher, operation
from gureum.docker.containers.detach_keys import DEFAULT, DetachKeys, bytes_of
from gureum.docker.containers.logs import (
    MULTIPLEXED_STREAM,
    QUIET_S,
    RAW_STREAM,
    follow,
    is_starting,
    kept,
    multiplexed,
    read,
)
from gureum.docker.errors import bad_parameter, conflict
from gureum.docker.events import Events
from gureum.docker.kinds import Container
from gureum.docker.lowering import core_name
from gureum.docker.web_socket import WebSocket, accept
from gureum.engine.resource import Resource, key_of
from gureum.engine.wire import hang_up
from gureum.ports import PortError
from gureum.ports.streams import Piece


@operation("POST", "/containers/{id}/attach")
async def attach_container(call: Call) -> None:
    """Docker: ContainerAttach: a stream in both directions, from now on, `logs`: and what was printed before. Also before the start."""
    container = _attachable(call)
    await call.request.skip()
    told = await _Told.from_now(call, container)
    multiplexes = not told.terminal
    kind = MULTIPLEXED_STREAM if multiplexes and call.version >= (1, 42) else RAW_STREAM
    reader, writer = await call.responder.hijack(kind, upgraded=call.request.upgrades)
    await _attach(call, told, reader, writer, multiplexes=multiplexes)


@operation("GET", "/containers/{id}/attach/ws")
async def attach_by_web_socket(call: Call) -> None:
    """Docker: ContainerAttachWebsocket: the same in messages, in which nothing tells the streams apart."""
    container = _attachable(call)
    key = call.request.headers.get("sec-websocket-key", "")
    if call.request.headers.get("upgrade", "").lower() != "websocket" or not key:
        raise bad_parameter("not websocket protocol")
    told = await _Told.from_now(call, container)
    reader, writer = await call.responder.hijack_web_socket(accept(key))
    stream = WebSocket(reader, writer)
    await _attach(call, told, stream, stream, multiplexes=False)


def _attachable(call: Call) -> Container:
    container = find.container(call.client, call.args["id"])
    if container.spec.paused:
        raise conflict(f"container {container.meta.name} is paused, unpause the container before attach")
    _detach_keys(call)
    return container


def _detach_keys(call: Call) -> bytes:
    keys = call.text("detachKeys")
    try:
        return bytes_of(keys or DEFAULT)
    except ValueError as error:
        raise bad_parameter(f"Invalid detach keys ({keys}) provided") from error


class _Told:
    """What of a container's output one client is to hear: of the run that goes on, or else of the next."""

    def __init__(self, call: Call, container: Container, place: str) -> None:
        self._call, self._place = call, place
        self.container = container
        self.terminal = bool(container.spec.config.get("Tty"))
        running = container.status.state in ("running", "restarting") or is_starting(container)
        self.boot = container.spec.boot if running else container.spec.boot + 1
        self.wanted = {one for one in ("stdout", "stderr") if call.flag(one)}

    @staticmethod
    async def from_now(call: Call, container: Container) -> _Told:
        place = "" if call.flag("logs") else (await read(call.world, core_name(container.meta.name), "end")).place
        return _Told(call, container, place)

    async def __call__(self) -> AsyncIterator[tuple[Piece, ...]]:
        if self._call.flag("stream"):
            async for pieces in follow(self._call.world, self.container, self._place, self.boot, merged=True):
                yield self._of_wanted(pieces)
        elif self._call.flag("logs"):
            name = core_name(self.container.meta.name)
            stretch = await kept(self._call, name)
            page = await read(self._call.world, name, stretch.start, until=stretch.end, merged=True)
            while page.pieces:
                yield self._of_wanted(page.pieces)
                page = await read(self._call.world, name, page.place, until=stretch.end, merged=True)

    def _of_wanted(self, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
        return tuple(piece for piece in pieces if self.terminal or piece.stream in self.wanted)


async def _attach(
    call: Call,
    told: _Told,
    reader: asyncio.StreamReader | WebSocket,
    writer: asyncio.StreamWriter | WebSocket,
    *,
    multiplexes: bool,
) -> None:
    container = told.container
    call.world.part(Events).container(container, "attach")
    detached = asyncio.Event()

    async def tell() -> None:
        await call.responder.head_is_read()
        async for pieces in told():
            if writer.is_closing():
                return
            parts = (multiplexed(one.stream, one.data) if multiplexes else one.data for one in pieces)
            writer.write(b"".join(parts))
            await writer.drain()

    way_out = DetachKeys(_detach_keys(call), detached) if told.terminal else None
    feeding = asyncio.ensure_future(_feed(call, container, reader, told.boot, way_out))
    telling = asyncio.ensure_future(tell() if told.wanted else _over(call.world, container, told.boot))
    tasks = [telling, feeding, asyncio.ensure_future(detached.wait())]
    try:
        try:
            pending = set(tasks)
            while tasks[0] in pending and tasks[2] in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if feeding in done and isinstance(reader, WebSocket) and reader.closed:
                    return
            if tasks[0].done():
                tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if detached.is_set():
                call.world.part(Events).container(container, "detach")
            with contextlib.suppress(OSError, ConnectionError):
                await writer.drain()
        if isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter):
            await hang_up(reader, writer, QUIET_S)
    finally:
        writer.close()


async def _over(world: World, container: Container, boot: int) -> None:
    async for _ in follow(world, container, "end", boot, merged=True):
        pass


async def _feed(
    call: Call,
    container: Container,
    reader: asyncio.StreamReader | WebSocket,
    boot: int,
    keys: Callable[[bytes], bytes] | None,
) -> None:
    """What the client sends goes to the program, once it runs, as long as somebody takes it."""
    wanted = call.flag("stdin") and bool(container.spec.config.get("OpenStdin"))
    way: Input | None = None
    try:
        while data := await reader.read(65536):
            if not wanted:
                continue
            if way is None:
                way = await _open_input(call.world, container, boot)
            await way.write(keys(data) if keys else data)
        if wanted:
            if way is None:
                way = await _open_input(call.world, container, boot)
            await way.end()
    except (OSError, PortError):
        return
    finally:
        if way is not None:
            way.close()


async def _open_input(world: World, container: Container, boot: int) -> Input:
    """As soon as the run with this `boot` takes input. PortError when it is over before."""

    def look(found: Resource | None) -> bool | None:
        if not isinstance(found, Container):
            return False
        return None if found.status.boot < boot else found.status.state == "running"

    if not await world.part(Watcher).until(key_of(container), look):
        raise PortError("the container takes no input any more")
    return await open_input(world.link, core_name(container.meta.name))


@operation("POST", "/containers/{id}/resize")
async def resize_container(call: Call) -> None:
    container = find.container(call.client, call.args["id"])
    rows, columns = call.number("h", 0), call.number("w", 0)
    if not 0 <= rows <= 65535 or not 0 <= columns <= 65535:
        raise bad_parameter("invalid resize height/width")
    if container.status.state != "running":
        raise conflict(f"container {container.meta.name} is not running")
    if container.spec.config.get("Tty"):
        await call.ask({"op": "resize", "name": core_name(container.meta.name), "columns": columns, "rows": rows})
    await call.responder.send(200)
