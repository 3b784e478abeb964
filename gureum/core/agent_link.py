"""The daemon's end of the agent: sends what is desired, keeps what is seen, and asks for streams and reads.

`seen` is the newest status of every core object; it is empty until the agent has answered the first sync, so that a daemon
that has just started never takes "not heard yet" for "gone". While the agent is away the link tries again and keeps the last seen state.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.core.flow_windows import Window
from gureum.core.issuing import issue
from gureum.core.looks import looks
from gureum.core.machine import Status
from gureum.core.programs import Start
from gureum.core.service import AgentService
from gureum.core.snapshot_reads import read_snapshot, snapshot_blocks
from gureum.engine.lowering import Desired
from gureum.engine.wire import LIMIT_LINE_BYTES, keep_little, line, read_line
from gureum.ports import PortError
from gureum.ports.consoles import ConsolePage

log = logging.getLogger("gureum.link")
RECONNECT_S = 0.05
OPEN_TIMEOUT_S = 30.0
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class StatusMessage(msgspec.Struct):
    statuses: list[Status]
    complete: bool = False


_decoder = msgspec.json.Decoder(StatusMessage)
_any = msgspec.json.Decoder(dict[str, Any])


class AgentLink:
    """`desired()` gives everything that is desired now (for a sync); `on_status` is called with every status that changed."""

    def __init__(self, path: str, desired: Callable[[], list[Desired]], on_status: Callable[[Status], None]) -> None:
        self.seen: dict[str, Status] = {}
        self.synced = False
        self._path = path
        self._desired = desired
        self._on_status = on_status
        self._writer: asyncio.StreamWriter | None = None
        self._heard = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def run(self) -> None:
        """Stays connected until cancelled."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=LIMIT_LINE_BYTES)
            except OSError:
                await asyncio.sleep(RECONNECT_S)
                continue
            try:
                await self._converse(reader, writer)
            except (ConnectionError, ValueError, msgspec.DecodeError) as error:
                log.warning("lost the agent", extra={"why": str(error)})
            finally:
                self._writer = None
                writer.close()

    def change(self, put: list[Desired], remove: list[str]) -> None:
        if self._writer is not None:
            self._writer.write(line({"op": "change", "put": put, "remove": remove}))

    async def first_sync(self, timeout_s: float) -> bool:
        """Waits until the agent has told everything once; False when it has not in that time."""
        try:
            await asyncio.wait_for(self._heard.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        """One question on a connection of its own. PortError when the agent is away or refuses."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=LIMIT_LINE_BYTES)
                try:
                    writer.write(line(request))
                    answer = await read_line(reader)
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise PortError(f"the agent does not answer: {error}") from error
        return _told(answer)

    async def open(self, request: dict[str, Any]) -> tuple[dict[str, Any], Stream]:
        """A stream that begins with one question and its answer ("attach", "dial"); the caller closes it. PortError."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=LIMIT_LINE_BYTES)
        except (OSError, TimeoutError) as error:
            raise PortError(f"the agent does not answer: {error}") from error
        return await begin(request, (reader, writer))

    async def console(self, name: str, limit_bytes: int = 65536) -> bytes:
        answer = await self.ask({"op": "console", "name": name, "limit_bytes": limit_bytes})
        return base64.b64decode(answer["data"])

    async def console_lines(self, name: str, place: str, wait_s: float) -> ConsolePage:
        """Lines of a machine's console after `place`; waits for some for at most so long. PortError."""
        request = {"op": "console_lines", "name": name, "place": place, "wait_s": wait_s}
        return msgspec.convert(await self.ask(request, wait_s + 30.0), ConsolePage)

    async def flows(self, name: str, done: int) -> list[Window]:
        """Windows of the flow log `name` that wait in the agent; those up to number `done` have been delivered. PortError."""
        answer = await self.ask({"op": "flows", "name": name, "done": done})
        return msgspec.convert(answer["windows"], list[Window])

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line({"op": "control"}))
        writer.write(line({"op": "sync", "objects": self._desired()}))
        self._writer = writer
        while (text := await read_line(reader)) is not None:
            self._hear(_decoder.decode(text))

    def _hear(self, message: StatusMessage) -> None:
        if message.complete:
            told = {status.id for status in message.statuses}
            for id_ in [id_ for id_ in self.seen if id_ not in told]:
                self._note(msgspec.structs.replace(self.seen[id_], phase="gone"))
        if message.complete and not self.synced:
            self.synced = True
            for status in message.statuses:
                self.seen[status.id] = status
            for status in message.statuses:
                self._on_status(status)
            self._heard.set()
            return
        for status in message.statuses:
            self._note(status)

    def _note(self, status: Status) -> None:
        _keep(self.seen, status)
        self._on_status(status)


async def begin(request: dict[str, Any], stream: Stream) -> tuple[dict[str, Any], Stream]:
    """Asks, and reads the one line that answers. Closes the stream when that refuses."""
    reader, writer = stream
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            writer.write(line(request))
            answer = _told(await read_line(reader))
            keep_little(reader)
            return answer, stream
    except (OSError, TimeoutError) as error:
        writer.close()
        raise PortError(f"the agent does not answer: {error}") from error
    except BaseException:
        writer.close()
        raise


def _keep(seen: dict[str, Status], status: Status) -> None:
    if status.phase == "gone":
        seen.pop(status.id, None)
    else:
        seen[status.id] = status


def _told(answer: bytes | None) -> dict[str, Any]:
    found = _any.decode(answer) if answer is not None else {"error": "the agent closed the connection"}
    if "error" in found:
        raise PortError(str(found["error"]))
    return found


async def _serve(
    service: AgentService, start: Start, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        await read_line(reader)
        await service.programs.serve(start, reader, writer)
    finally:
        writer.close()


class LocalLink:
    """The same, for an agent in this process (`--simulate`, tests)."""

    def __init__(
        self, service: AgentService, desired: Callable[[], list[Desired]], on_status: Callable[[Status], None]
    ) -> None:
        self.seen: dict[str, Status] = {}
        self.synced = False
        self.connected = True
        self.service = service
        self._serving: set[asyncio.Task[None]] = set()
        self._desired = desired
        self._on_status = on_status
        service.subscribe(self._note)

    async def run(self) -> None:
        self.service.sync(self._desired())
        self.seen.update(self.service.machine.status)
        self.synced = True
        await asyncio.Event().wait()

    def change(self, put: list[Desired], remove: list[str]) -> None:
        if self.synced:
            self.service.change(put, remove)

    async def first_sync(self, timeout_s: float) -> bool:
        return True

    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        if request.get("op") == "issue":
            return await issue(self.service.machine.ports.certificates, request)
        if request.get("op") == "snapshot_blocks":
            return await snapshot_blocks(self.service.machine, request)
        if request.get("op") == "read_snapshot":
            return await read_snapshot(self.service.machine, request)
        if request.get("op") == "request_sums":
            return dict(msgspec.to_builtins(await self.service.balancer_looks(request)))
        if request.get("op") == "counters":
            return dict(msgspec.to_builtins(await self.service.counter_looks(request)))
        if request.get("op") == "looks":
            return {"machines": msgspec.to_builtins(await looks(self.service.machine))}
        if request.get("op") == "programs":
            return {"ids": self.service.programs.ids()}
        if request.get("op") == "end":
            await self.service.programs.end(request["id"])
            return {"ok": True}
        if request.get("op") == "exec":
            done = await self.service.machine.ports.containers.exec(request["name"], tuple(request["args"]))
            return {"exit_code": done.exit_code, "stdout": "", "stderr": ""}
        raise PortError("this gureum is simulated: no machine runs", retry=False)

    async def open(self, request: dict[str, Any]) -> tuple[dict[str, Any], Stream]:
        """Programs end at once; there is no network to dial in."""
        if request["op"] != "attach":
            raise PortError("this gureum is simulated: no machine runs", retry=False)
        near, far = socket.socketpair()
        start = msgspec.convert(request, Start)
        serving = asyncio.ensure_future(_serve(self.service, start, *await asyncio.open_connection(sock=far)))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return await begin({}, await asyncio.open_connection(sock=near, limit=LIMIT_LINE_BYTES))

    async def console(self, name: str, limit_bytes: int = 65536) -> bytes:
        return await self.service.machine.ports.containers.console(name, limit_bytes)

    async def console_lines(self, name: str, place: str, wait_s: float) -> ConsolePage:
        return await self.service.console_lines(name, place, wait_s)

    async def flows(self, name: str, done: int) -> list[Window]:
        return self.service.flow_logs.take(name, done)

    def _note(self, status: Status) -> None:
        _keep(self.seen, status)
        self._on_status(status)
