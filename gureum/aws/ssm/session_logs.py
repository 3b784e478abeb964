"""Logs of sessions: what a session's terminal has shown, line by line, to the log group that the preferences name, in a stream of its id; and whole,
to their bucket, when the session has ended.

AWS: "Logging session activity". With streaming the lines come as they are told, else at the end. What does not fit (a terminal
may be flooded) is left out, and that is said.
"""

from __future__ import annotations

import asyncio
import logging
import re

from gureum.aws.logs.ingest import ingest, need_stream
from gureum.aws.logs.kinds import LogGroup, key_name
from gureum.aws.ssm.output_files import OutputFile
from gureum.aws.ssm.session_kinds import Session
from gureum.core.world import World
from gureum.ports.telemetry import LogEvent, TelemetryBroken, TelemetryFull
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ssm")
LIMIT_WAITING_BYTES = 4 * 1024 * 1024
LIMIT_LINE_BYTES = 16 * 1024
LEFT_OUT = "gureum: there was more than is logged; lines were left out"
BATCH_LINES = 1000
STREAM_S = 2.0
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|\x1b[@-Z\\-_=>]|[\x00-\x08\x0b-\x1f\x7f]"
)


class SessionLog:
    """`again`: an earlier daemon logged the beginning."""

    def __init__(self, world: World, session: Session, *, again: bool) -> None:
        self._world = world
        self._scope = session.meta.scope
        self._group = session.spec.preferences.log_group
        self._stream = session.meta.name
        self._line = b""
        self._waiting: list[tuple[int, str]] = []
        self._waiting_bytes = 0
        self._full = False
        bucket = session.spec.preferences.log_bucket
        self._file = (
            OutputFile(world.settings.home, bucket, bucket.key(f"{session.meta.name}.log"), None) if bucket else None
        )
        streams = session.spec.preferences.log_streaming or bucket is not None
        self._streams = session.spec.preferences.log_streaming
        self._writing = asyncio.ensure_future(self._run()) if streams else None

    def add(self, data: bytes) -> None:
        *lines, rest = (self._line + data).split(b"\n")
        self._line = rest[-LIMIT_LINE_BYTES:]
        for line in lines:
            self._put(line)

    def _put(self, line: bytes) -> None:
        text = _ESCAPES.sub("", line[:LIMIT_LINE_BYTES].decode("utf-8", "replace")).rstrip()
        if not text:
            return
        if self._file is not None:
            self._file.add(text.encode() + b"\n")
        if not self._group:
            return
        if self._waiting_bytes > LIMIT_WAITING_BYTES:
            if not self._full:
                self._waiting.append((self._now_ms(), LEFT_OUT))
            self._full = True
            return
        self._waiting.append((self._now_ms(), text))
        self._waiting_bytes += len(text)

    async def _run(self) -> None:
        while True:
            await self._world.clock.sleep(STREAM_S)
            if self._file is not None:
                await self._file.flush()
            if self._streams:
                await self._write()

    async def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        self._put(self._line)
        self._line = b""
        if self._file is not None:
            await self._file.finish()
        await self._write()

    async def _write(self) -> None:
        while self._waiting:
            lines, now = self._waiting[:BATCH_LINES], self._now_ms()
            events = [LogEvent(self._stream, time_ms, now, text) for time_ms, text in lines]
            try:
                group = self._world.client.get(LogGroup, self._scope, key_name(self._group))
                if group is None:
                    log.warning("a session is not logged: no such group", extra={"session": self._stream})
                    self._waiting = []
                    return
                await need_stream(self._world, self._scope, group, self._stream)
                await ingest(self._world, self._scope, group, events)
            except (Conflict, StoreFull, StoreBroken, TelemetryFull, TelemetryBroken) as failed:
                log.warning("a session is not logged", extra={"session": self._stream, "why": str(failed)})
                return
            del self._waiting[: len(lines)]
            self._waiting_bytes -= sum(len(text) for _, text in lines)
            self._full = False

    def _now_ms(self) -> int:
        return int(self._world.clock.now() * 1000)
