"""The agent's socket: what the daemon and the command line ask of the machine.

The first line of a connection says what it is for:

    {"op": "control"}                 the daemon: then {"op": "sync", "objects": [...]} and {"op": "change", "put": [...], "remove": [...]} come in,
                                      {"statuses": [...]} go out; the first after a sync is complete and has "complete": true
    {"op": "exec", "name", "args"}    one answer line
    {"op": "attach", "name", "args"}  one answer line, then frames: core/programs.py
    {"op": "feed", "name"}            one answer line, then frames that are a program's input: core/streaming.py
    {"op": "dial", "name", "host", "port"}
                                      one answer line, then the bytes of a connection from inside that machine: core/dialing.py
    {"op": "console" | "console_lines" | "usage" | "counters" | "looks" | "request_sums" | "status" | "flows" | "events" | "import" |
     "remove_image" | "held_images" | "issue" | "programs" | "pieces" | "tail" | "resize" | "signal" | "down", ...}
                                      one answer line

Errors answer {"error": "..."}. Only root can open the socket (0600 in a 0700 folder).
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gureum.core.dialing import dial, relay_bytes
from gureum.core.image_requests import ImageRequests
from gureum.core.issuing import issue
from gureum.core.looks import looks
from gureum.core.machine import Status, decode_desired
from gureum.core.programs import Start
from gureum.core.root_reads import processes, root_files
from gureum.core.service import AgentService
from gureum.core.snapshot_reads import read_snapshot, snapshot_blocks
from gureum.core.streaming import feed, pieces, streams_of
from gureum.engine.wire import LIMIT_LINE_BYTES, keep_little, line, read_line
from gureum.ports import PortError

log = logging.getLogger("gureum.agent")
PROGRAMS = ("attach", "feed")
"""What is for them waits with its sender, until they take it. (A connection that is dialled takes more: who sends and does not hear meanwhile what
comes back, as a session's client, would bring both sides to a halt.)"""


class ControlMessage(msgspec.Struct):
    op: str
    objects: list[msgspec.Raw] = []
    put: list[msgspec.Raw] = []
    remove: list[str] = []


_control = msgspec.json.Decoder(ControlMessage)
_any = msgspec.json.Decoder(dict[str, Any])
Down = Callable[[], Awaitable[None]]


class AgentServer:
    """`down`: stops all machines and removes what runs, for `gureum down`."""

    def __init__(self, service: AgentService, down: Down) -> None:
        self._service = service
        self._down = down
        images = ImageRequests(service)
        self._simple: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "exec": self._exec,
            "console": self._console,
            "usage": self._usage,
            "counters": self._counters,
            "looks": self._looks,
            "request_sums": self._request_sums,
            "status": self._status,
            "events": self._events,
            "import": images.take,
            "snapshot_blocks": self._snapshot_blocks,
            "read_snapshot": self._read_snapshot,
            "remove_image": images.remove,
            "held_images": images.held,
            "issue": self._issue,
            "flows": self._flows,
            "console_lines": self._console_lines,
            "pieces": self._pieces,
            "tail": self._tail,
            "resize": self._resize,
            "signal": self._signal,
            "root_files": self._root_files,
            "processes": self._processes,
            "programs": self._programs,
            "end": self._end,
            "down": self._go_down,
        }

    async def serve(self, path: str) -> asyncio.Server:
        return await asyncio.start_unix_server(self.connection, path, limit=LIMIT_LINE_BYTES)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await read_line(reader)
            if first is None:
                return
            request = _any.decode(first)
            op = request.get("op")
            if op in PROGRAMS:
                keep_little(reader)
            if op == "control":
                await self._control(reader, writer)
            elif op == "attach":
                await self._service.programs.serve(msgspec.convert(request, Start), reader, writer)
            elif op == "feed":
                await feed(self._service.machine, str(request["name"]), reader, writer)
            elif op == "dial":
                await self._dial(request, reader, writer)
            elif op in self._simple:
                writer.write(line(await self._answer(self._simple[op], request)))
                await writer.drain()
            else:
                writer.write(line({"error": f"unknown op {op!r}"}))
        except (ConnectionError, ValueError, msgspec.DecodeError) as error:
            log.warning("agent connection ended", extra={"why": str(error)})
        except asyncio.CancelledError:
            pass  # the agent ends: nobody awaits this task but asyncio's own callback, which takes a cancelled one for a fault
        finally:
            writer.close()

    async def _answer(self, function: Callable[[dict[str, Any]], Awaitable[Any]], request: dict[str, Any]) -> Any:
        try:
            return await function(request)
        except PortError as refused:
            return {"error": refused.why}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"bad request: {error}"}

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        out = _Outbox(writer)
        unsubscribe = self._service.subscribe(out.add)
        try:
            while (text := await read_line(reader)) is not None:
                message = _control.decode(text)
                if message.op == "sync":
                    self._service.sync(decode_desired(one) for one in message.objects)
                    out.complete(list(self._service.machine.status.values()))
                elif message.op == "change":
                    self._service.change([decode_desired(one) for one in message.put], message.remove)
        finally:
            unsubscribe()

    async def _dial(self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            near = await dial(self._service.machine, str(request["name"]), str(request["host"]), int(request["port"]))
        except (PortError, KeyError, TypeError, ValueError) as error:
            writer.write(line({"error": str(error)}))
            return
        writer.write(line({"ok": True}))
        await relay_bytes((reader, writer), near)

    async def _programs(self, request: dict[str, Any]) -> Any:
        return {"ids": self._service.programs.ids()}

    async def _end(self, request: dict[str, Any]) -> Any:
        await self._service.programs.end(str(request["id"]))
        return {"ok": True}

    async def _exec(self, request: dict[str, Any]) -> Any:
        result = await self._service.machine.ports.containers.exec(
            str(request["name"]),
            tuple(map(str, request["args"])),
            stdin=base64.b64decode(request.get("stdin", "")),
            timeout_s=float(request.get("timeout_s", 30.0)),
        )
        return {
            "exit_code": result.exit_code,
            "stdout": base64.b64encode(result.stdout).decode(),
            "stderr": base64.b64encode(result.stderr).decode(),
        }

    async def _console(self, request: dict[str, Any]) -> Any:
        limit = int(request.get("limit_bytes", 65536))
        data = await self._service.machine.ports.containers.console(str(request["name"]), limit)
        return {"data": base64.b64encode(data).decode()}

    async def _console_lines(self, request: dict[str, Any]) -> Any:
        name, place, wait_s = str(request["name"]), str(request["place"]), float(request["wait_s"])
        return await self._service.console_lines(name, place, wait_s)

    async def _pieces(self, request: dict[str, Any]) -> Any:
        name, place, wait_s = str(request["name"]), str(request["place"]), float(request["wait_s"])
        until, merged = str(request.get("until", "")), bool(request.get("merged"))
        return await pieces(self._service.machine, name, place, wait_s, until=until, merged=merged)

    async def _tail(self, request: dict[str, Any]) -> Any:
        return await streams_of(self._service.machine).tail(str(request["name"]), int(request["lines"]))

    async def _resize(self, request: dict[str, Any]) -> Any:
        streams = streams_of(self._service.machine)
        await streams.resize(str(request["name"]), int(request["columns"]), int(request["rows"]))
        return {"ok": True}

    async def _root_files(self, request: dict[str, Any]) -> Any:
        return await root_files(self._service.machine, request)

    async def _processes(self, request: dict[str, Any]) -> Any:
        pids = await self._service.machine.ports.containers.processes(str(request["name"]))
        return await asyncio.to_thread(processes, pids, str(request["arguments"]))

    async def _signal(self, request: dict[str, Any]) -> Any:
        await self._service.machine.ports.containers.kill(str(request["name"]), int(request["signal"]))
        return {"ok": True}

    async def _usage(self, request: dict[str, Any]) -> Any:
        return await self._service.machine.ports.containers.usage(str(request["name"])) or {}

    async def _counters(self, request: dict[str, Any]) -> Any:
        return await self._service.counter_looks(request)

    async def _request_sums(self, request: dict[str, Any]) -> Any:
        return await self._service.balancer_looks(request)

    async def _looks(self, request: dict[str, Any]) -> Any:
        return {"machines": await looks(self._service.machine)}

    async def _status(self, request: dict[str, Any]) -> Any:
        machine, loops = self._service.machine, (self._service.loop, self._service.balancing_loop)
        counts: dict[str, int] = {}
        for one in machine.desired.values():
            counts[one.kind] = counts.get(one.kind, 0) + 1
        return {
            "objects": counts,
            "leaving": len(machine.leaving),
            "held": machine.held,
            "unready": {id_: status.reason for id_, status in machine.status.items() if status.phase != "ready"},
            "reconciles": sum(loop.runs for loop in loops),
            "retries": sum(loop.retries for loop in loops),
            "faults": sum(loop.faults for loop in loops),
            "queue": sum(loop.depth for loop in loops),
        }

    async def _events(self, request: dict[str, Any]) -> Any:
        ids = [str(id_) for id_ in request.get("ids", ())]
        about = {id_: self._service.events.of(id_) for id_ in ids}
        spans = [span for id_ in ids for span in self._service.tracer.about(id_)]
        return {"events": about, "spans": spans}

    async def _snapshot_blocks(self, request: dict[str, Any]) -> Any:
        return await snapshot_blocks(self._service.machine, request)

    async def _read_snapshot(self, request: dict[str, Any]) -> Any:
        return await read_snapshot(self._service.machine, request)

    async def _issue(self, request: dict[str, Any]) -> Any:
        return await issue(self._service.machine.ports.certificates, request)

    async def _flows(self, request: dict[str, Any]) -> Any:
        return {"windows": self._service.flow_logs.take(str(request["name"]), int(request["done"]))}

    async def _go_down(self, request: dict[str, Any]) -> Any:
        await self._down()
        return {"ok": True}


class _Outbox:
    """Statuses on their way to the daemon: those of one turn of the loop go as one line; of one object only the newest."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[str, Status] = {}
        self._complete = False

    def add(self, status: Status) -> None:
        if not self._waiting and not self._complete:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting[status.id] = status

    def complete(self, statuses: list[Status]) -> None:
        if not self._waiting and not self._complete:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting = {status.id: status for status in statuses} | self._waiting
        self._complete = True

    def _send(self) -> None:
        if not self._writer.is_closing():
            self._writer.write(line({"statuses": list(self._waiting.values()), "complete": self._complete}))
        self._waiting = {}
        self._complete = False
