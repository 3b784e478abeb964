"""Logs: a container's output from its log, piece by piece, as attach and logs tell it.

    docker logs, attach, run ◄── pages of pieces ◄── agent ◄── log          (whole, in order, with times; also over the death of this process)

Without a terminal, output is multiplexed: a head of 8 bytes (1 stdout or 2 stderr, length) before each piece. With one it is raw.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec

from gureum.core.stream_client import read_pieces
from gureum.core.world import World
from gureum.docker import find
from gureum.docker.call import Call, Watcher, operation, patiently
from gureum.docker.containers import log_details
from gureum.docker.errors import DockerError, bad_parameter, server_error
from gureum.docker.filters import moment
from gureum.docker.kinds import Container
from gureum.docker.lifecycle import Followers
from gureum.docker.lowering import core_name
from gureum.engine.resource import Resource, key_of
from gureum.ports import PortError
from gureum.ports.streams import Piece, Pieces, Stretch

RAW_STREAM, MULTIPLEXED_STREAM = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
PAGE_WAIT_S = 30.0
QUIET_S = 10.0
"""So long a client that was told the end of its stream may go on without a word."""
_STREAMS = {"stdout": 1, "stderr": 2}
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


def multiplexed(stream: str, data: bytes) -> bytes:
    return struct.pack(">BxxxI", _STREAMS[stream], len(data)) + data


async def read(
    world: World, name: str, place: str, wait_s: float = 0.0, *, until: str = "", merged: bool = False
) -> Pieces:
    """DockerError when the agent is away."""
    try:
        return await patiently(lambda: read_pieces(world.link, name, place, wait_s, until=until, merged=merged))
    except PortError as refused:
        raise server_error(refused.why) from refused


async def follow(
    world: World, container: Container, place: str, boot: int, *, merged: bool = False
) -> AsyncIterator[tuple[Piece, ...]]:
    """Pieces after `place` as they come, until the run with this `boot` (or a later one) is over and all of it was told."""
    name = core_name(container.meta.name)

    def over(found: Resource | None) -> bool | None:
        if not isinstance(found, Container):
            return True
        status = found.status
        if status.boot < boot:
            return None
        return True if status.state not in ("running", "restarting") and not is_starting(found) else None

    ending = asyncio.ensure_future(world.part(Watcher).until(key_of(container), over))
    following = world.part(Followers).following(container)
    following.__enter__()
    try:
        while True:
            last = ending.done()
            reading = asyncio.ensure_future(read(world, name, place, 0.0 if last else PAGE_WAIT_S, merged=merged))
            try:
                if not last:
                    await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        continue
                page = await reading
            finally:
                reading.cancel()
            place = page.place
            if page.pieces:
                yield page.pieces
            elif last:
                return
    finally:
        following.__exit__(None, None, None)
        ending.cancel()


def is_starting(found: Container) -> bool:
    return found.spec.wish == "running" and found.status.boot < found.spec.boot


async def kept(call: Call, name: str, lines: int = -1) -> Stretch:
    """The last so many lines that are there now; all for a negative number."""
    return msgspec.convert(await call.ask({"op": "tail", "name": name, "lines": lines}), Stretch)


@operation("GET", "/containers/{id}/logs")
async def container_logs(call: Call) -> None:
    """Docker: ContainerLogs: `stdout`, `stderr`, `follow`, `since`, `until`, `tail`, `timestamps`, `details`."""
    container = find.container(call.client, call.args["id"])
    wanted = {name for name in ("stdout", "stderr") if call.flag(name)}
    if not wanted:
        raise bad_parameter("Bad parameters: you must choose at least one stream")
    since = moment(call.text("since") or "0", call.now)
    until = moment(call.text("until") or "0", call.now)
    name, following = core_name(container.meta.name), call.flag("follow")
    if (container.spec.host.get("LogConfig") or {}).get("Type") == "none":
        raise DockerError(501, "configured logging driver does not support reading")
    lines = call.text("tail") or "all"
    if lines != "all" and not lines.lstrip("-").isdecimal():
        raise bad_parameter(f'strconv.ParseInt: parsing "{lines}": invalid syntax')
    stretch = await kept(call, name, -1 if lines == "all" else int(lines))
    # Who does not follow hears what was there when it asked: else a program that never rests would come with a line too many, or without end.
    until_place = "" if following else stretch.end
    render = _Render(call, container, wanted, since, until)
    merged = not (since or until or call.flag("timestamps") or call.flag("details"))

    async def page_after(place: str) -> Pieces:
        return await read(call.world, name, place, until=until_place, merged=merged)

    first = await page_after(stretch.start)  # what is refused is refused before an answer has begun
    await call.responder.begin(200, RAW_STREAM if container.spec.config.get("Tty") else MULTIPLEXED_STREAM)
    running = container.status.state in ("running", "restarting")

    async def tell() -> None:
        page = first
        while page.pieces:
            await call.responder.write(render(page.pieces))
            page = await page_after(page.place)
        if following and running and not render.is_over():
            async for pieces in follow(call.world, container, page.place, container.status.boot, merged=merged):
                await call.responder.write(render(pieces))
                if render.is_over():
                    break

    await until_left(call, tell())
    await call.responder.finish()


class _Render:
    """Pieces as bytes for the client."""

    def __init__(self, call: Call, container: Container, wanted: set[str], since: float, until: float) -> None:
        self._wanted, self._since_ns, self._until_ns = wanted, int(since * 1e9), int(until * 1e9)
        self._times = call.flag("timestamps")
        self._details = log_details.prefix(container) if call.flag("details") else b""
        self._raw = bool(container.spec.config.get("Tty"))
        self._fresh = {"stdout": True, "stderr": True}
        self._over = False

    def is_over(self) -> bool:
        """Nothing that comes is wanted any more."""
        return self._over

    def __call__(self, pieces: tuple[Piece, ...]) -> bytes:
        found: list[bytes] = []
        for piece in pieces:
            if self._until_ns and piece.time_ns > self._until_ns:
                self._over = True
                break
            fresh, self._fresh[piece.stream] = self._fresh[piece.stream], piece.whole
            if piece.time_ns < self._since_ns or piece.stream not in self._wanted:
                continue
            data = self._details + piece.data if fresh else piece.data
            if self._times and fresh:
                data = f"{iso_ns(piece.time_ns)} ".encode() + data
            # A head for each line, as from Docker's log: clients take one for a line.
            found += (data,) if self._raw else (multiplexed(piece.stream, line) for line in _LINE.findall(data))
        return b"".join(found)


def iso_ns(time_ns: int) -> str:
    """2026-11-28T22:00:00.123456789Z, always nine digits, as Docker's logs have them."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


async def until_left(call: Call, telling: object) -> None:
    """Runs it to its end, or until the client has left."""
    task = asyncio.ensure_future(telling)  # type: ignore[call-overload]
    leaving = asyncio.ensure_future(call.responder.left())
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionError("the client left")
        task.result()
    finally:
        for one in (task, leaving):
            one.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


__all__ = ["follow", "is_starting", "kept", "multiplexed", "read", "until_left"]
