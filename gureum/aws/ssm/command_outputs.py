"""What a step of a command writes: its beginnings for GetCommandInvocation, all of it as lines of a log group and as objects of a bucket."""

from __future__ import annotations

import codecs
import logging

import msgspec

from gureum.aws.logs.ingest import ingest, need_group, need_stream
from gureum.aws.ssm.command_kinds import StepResult
from gureum.aws.ssm.output_files import OutputFile
from gureum.core.world import World
from gureum.ports.telemetry import LogEvent, TelemetryBroken, TelemetryFull
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ssm")
LIMIT_OUT, LIMIT_ERR = 24_000, 8_000
"""AWS: GetCommandInvocation, in characters."""
TRUNCATED, ERRORS_TRUNCATED = "\n---Output truncated---", "\n---Error truncated----"
ERRORS_FOLLOW = "\n----------ERROR-------\n"
LIMIT_BOTH = 2_400
"""amazon-ssm-agent: what it tells of both outputs in one text (ListCommandInvocations)."""
LIMIT_LOG_LINE = 16 * 1024


class Outputs:
    """The beginnings of both outputs, and all of them to the log and to files. A character may be cut in two by the pieces."""

    def __init__(self, out: str, err: str, logger: OutputLog | None, files: dict[bytes, OutputFile]) -> None:
        self.out, self.err = out, err
        self._files = files
        self._decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (b"o", b"r")}
        self._logger = logger

    def add(self, kind: bytes, data: bytes) -> None:
        if kind in self._files:
            self._files[kind].add(data)
        text = self._decoders[kind].decode(data)
        if kind == b"o":
            self.out = head(self.out, text, LIMIT_OUT)
        else:
            self.err = head(self.err, text, LIMIT_ERR)
        if self._logger is not None:
            self._logger.add("stdout" if kind == b"o" else "stderr", text)

    async def flush(self) -> None:
        if self._logger is not None:
            await self._logger.flush()
        for file in self._files.values():
            await file.flush()

    async def finish(self) -> None:
        for file in self._files.values():
            await file.finish()

    def noted(self, begun: StepResult) -> StepResult:
        """With what there is of it, to be stored."""
        out, err = (self._files[kind].size if kind in self._files else 0 for kind in (b"o", b"r"))
        return msgspec.structs.replace(begun, out=self.out, err=self.err, filed=(out, err))


def head(text: str, more: str, limit: int) -> str:
    if text.endswith(TRUNCATED) and len(text) >= limit:
        return text
    whole = text + more
    return whole if len(whole) <= limit else whole[: limit - len(TRUNCATED)] + TRUNCATED


def both(out: str, err: str, limit: int = LIMIT_BOTH) -> str:
    """Both outputs as one text. Of too much the longer is cut, and both where each is more than half."""
    title = ERRORS_FOLLOW if err else ""
    room = limit - len(title)
    if len(out) + len(err) < room:
        return out + title + err
    if min(len(out), len(err)) > room // 2:
        each = (room - len(TRUNCATED) - len(ERRORS_TRUNCATED)) // 2
        return out[:each] + TRUNCATED + title + err[:each] + ERRORS_TRUNCATED
    if len(out) < len(err):
        return out + title + err[: room - len(ERRORS_TRUNCATED) - len(out)] + ERRORS_TRUNCATED
    return out[: room - len(TRUNCATED) - len(err)] + TRUNCATED + title + err


class OutputLog:
    """A step's outputs as lines of a log group, in the streams STREAM/stdout and STREAM/stderr."""

    def __init__(self, world: World, scope: str, group: str, stream: str) -> None:
        self._world = world
        self._scope, self._group, self._stream = scope, group, stream
        self._lines: list[LogEvent] = []
        self._rest: dict[str, str] = {}

    def add(self, output: str, text: str) -> None:
        *lines, rest = (self._rest.get(output, "") + text).split("\n")
        while len(rest) > LIMIT_LOG_LINE:
            lines.append(rest[:LIMIT_LOG_LINE])
            rest = rest[LIMIT_LOG_LINE:]
        self._rest[output] = rest
        now = int(self._world.clock.now() * 1000)
        self._lines += [LogEvent(f"{self._stream}/{output}", now, now, line) for line in lines if line]

    async def flush(self) -> None:
        for output, rest in self._rest.items():
            if rest:
                self.add(output, "\n")
        events, self._lines = self._lines, []
        if not events:
            return
        try:
            group = await need_group(self._world, self._scope, self._group)
            for stream in {event.stream for event in events}:
                await need_stream(self._world, self._scope, group, stream)
            await ingest(self._world, self._scope, group, events)
        except (Conflict, StoreFull, StoreBroken, TelemetryFull, TelemetryBroken) as failed:
            log.warning("a command's output was not logged", extra={"stream": self._stream, "why": str(failed)})
