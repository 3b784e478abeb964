"""Shells and commands of sessions: a program in the machine, with a terminal, which the agent keeps (core/programs.py).

The client's messages are handed to the agent under their own numbers, and acknowledged when the program has them; the program's output keeps the
numbers that the agent gave it, shifted by what was sent before it began. So whoever serves the session next, in this process or another, knows from
the agent alone where both sides stand.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import OrderedDict
from typing import Any

from gureum.aws.ssm import channel_messages as wire
from gureum.aws.ssm.channel import Channel
from gureum.aws.ssm.channel_messages import Message
from gureum.aws.ssm.guest_users import Account, account_in
from gureum.aws.ssm.live_sessions import LiveSession, Work, handshake_complete, size_of
from gureum.aws.ssm.session_kinds import Session, State, program_id
from gureum.aws.ssm.session_logs import SessionLog
from gureum.core.world import Stream
from gureum.engine.registry import mark
from gureum.engine.wire import frame, read_frame

LIMIT_GIVEN_BYTES = 1024 * 1024
"""Input that the program has not taken: more is not acknowledged, and comes again."""
LAST_OUTPUT_S = 10.0
WITH_HANDSHAKE = 2
"""So many messages were sent before a program began, to a client that knows the handshake."""
KEEP_S = 1800.0
"""So long the agent keeps a program when no daemon is there."""
_NUMBER = struct.Struct(">Q")


class Shell:
    """`begin_in`: the client's number of the first message for the program; `begin_out`: ours of its first output."""

    def __init__(self, live: LiveSession, stream: Stream, begin_in: int, begin_out: int, *, exit_code: bool) -> None:
        self._live = live
        self._reader, self._writer = stream
        self._begin_in, self._begin_out = begin_in, begin_out
        self._exit_code = exit_code
        self._given: OrderedDict[int, Message] = OrderedDict()
        self._given_bytes = 0
        self._confirmed = 0
        self._acknowledged = asyncio.Event()
        if live.size is not None and begin_in:
            self._frame(b"w", begin_in - 1, struct.pack(">HH", *live.size))  # what was told before there was a terminal

    async def run(self) -> tuple[str, State]:
        while (found := await read_frame(self._reader)) is not None:
            kind, payload = found
            number, rest = _NUMBER.unpack(payload[:8])[0], payload[8:]
            if kind == b"c":
                await self._taken(number)
            elif kind == b"x":
                return await self._over(number, struct.unpack(">i", rest)[0])
            else:
                self._live.touch()
                await self._live.send(wire.STDERR if kind == b"r" else wire.OUTPUT, rest)
        return "The machine's agent was restarted.", "Failed"

    async def _over(self, number: int, code: int) -> tuple[str, State]:
        """All output has been told; waits a while for the client to have it, before the channel is closed."""
        if self._exit_code:
            await self._live.send(wire.EXIT_CODE, str(code).encode())
        try:
            async with asyncio.timeout(LAST_OUTPUT_S):
                while self._live.channel.waiting:
                    self._acknowledged.clear()
                    await self._acknowledged.wait()
        except TimeoutError:
            pass
        self._writer.write(frame(b"a", _NUMBER.pack(number + 1)))
        return "", "Terminated"

    async def hear(self, message: Message) -> bool:
        if message.number < self._live.channel.expected:
            return message.number not in self._given
        if self._given_bytes + len(message.payload) > LIMIT_GIVEN_BYTES:
            return False
        size = size_of(message) if message.payload_type == wire.SIZE else None
        if message.payload_type == wire.OUTPUT:
            self._frame(b"i", message.number, message.payload)
        elif size is not None:
            self._frame(b"w", message.number, struct.pack(">HH", *size))
        else:
            self._frame(b"n", message.number, b"")
        self._given[message.number] = message
        self._given_bytes += len(message.payload)
        return True

    async def _taken(self, number: int) -> None:
        """The program has the client's messages up to this number."""
        while self._given and next(iter(self._given)) <= number:
            _, message = self._given.popitem(last=False)
            self._given_bytes -= len(message.payload)
            await self._live.acknowledge(message)

    def confirmed(self) -> None:
        before = self._live.channel.confirmed - self._begin_out
        if before > self._confirmed and not self._writer.is_closing():
            self._confirmed = before
            self._writer.write(frame(b"a", _NUMBER.pack(before)))
        self._acknowledged.set()

    def _frame(self, kind: bytes, number: int, payload: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame(kind, _NUMBER.pack(number) + payload))

    async def close(self) -> None:
        """Ends the program, and all that it started."""
        if not self._writer.is_closing():
            self._writer.write(frame(b"q", b""))
        self._writer.close()
        await self._live.world.link.ask({"op": "end", "id": program_id(self._live.name)})


@mark("session-work", "Standard_Stream")
@mark("session-work", "InteractiveCommands")
@mark("session-work", "NonInteractiveCommands")
async def make_shell(live: LiveSession, session: Session, client: str, *, again: bool) -> Work:
    """A shell that begins, or one that an earlier daemon began. PortError."""
    spec, channel = session.spec, live.channel
    request: dict[str, Any] = {"op": "attach", "name": spec.target, "id": program_id(session.meta.name)}
    if again:
        answer, stream = await live.world.link.open(request | {"must_exist": True})
        note = json.loads(answer["note"])
        begin_in, begin_out = int(note["in"]), int(note["out"])
        expected = max(begin_in, answer["input"] + 1)
        live.channel = Channel(begin_out + answer["output"], expected)
        if not answer["output"] and begin_out == WITH_HANDSHAKE:
            # The client may lack the end of the handshake, and waits for it before it takes anything.
            live.channel = Channel(begin_out - 1, expected)
            await live.send(wire.HANDSHAKE_COMPLETE, handshake_complete())
    else:
        begin_in, begin_out = channel.expected, channel.next_number
        account = await account_in(live.world.link, spec.target, "root" if spec.elevated else spec.preferences.run_as)
        note = {"in": begin_in, "out": begin_out}
        request |= {"note": json.dumps(note), "keep_s": KEEP_S, **program_of(session, account)}
        _, stream = await live.world.link.open(request)
    if spec.preferences.log_group or spec.preferences.log_bucket:
        live.log = SessionLog(live.world, session, again=again)
    return Shell(live, stream, begin_in, begin_out, exit_code=spec.type == "NonInteractiveCommands")


def program_of(session: Session, account: Account) -> dict[str, Any]:
    """The agent's words for what to run."""
    spec, profile = session.spec, session.spec.preferences.shell_profile
    args = [account.shell]
    if spec.command:
        args += ["-c", spec.command]
    elif profile:
        args += ["-c", f"{profile}\nexec {account.shell}"]
    env = {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "TERM": "xterm-256color",
        "AWS_SSM_SESSION_ID": session.meta.name,
    }
    return {
        "args": args,
        "terminal": spec.type != "NonInteractiveCommands",
        "env": [f"{name}={value}" for name, value in env.items()],
        "user": {"uid": account.uid, "gid": account.gid, "groups": account.groups},
        "folder": account.home,
    }
