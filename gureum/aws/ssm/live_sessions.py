"""Sessions that are open now: their data channels, and what they lead to in a machine.

    WebSocket ◄──► LiveSession: handshake, numbers (channel.py) ◄──► Shell (shells.py) | ports (forwarding.py) ◄──► agent

A client may lose its WebSocket and come back with a new token: what it has not acknowledged is sent again, what runs goes on. A shell even outlives
this process: the agent keeps it and its unconfirmed output. A forwarded port does not: its connections end with the daemon, and so does its session.

Everything that waits has a limit: unacknowledged messages by the channel's window, input by what a program has not taken yet, sessions in number and
by their idle time and longest duration.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.marks import channel
from gureum.aws.ssm import channel_messages as wire
from gureum.aws.ssm.channel import Channel
from gureum.aws.ssm.channel_messages import (
    Message,
    acknowledged_number,
    acknowledgement,
    channel_closed,
    json_of,
    pack,
    unpack,
)
from gureum.aws.ssm.machines import AGENT_VERSION
from gureum.aws.ssm.session_kinds import ACTIVE, Session, SessionStatus, State, changed, opens, program_id
from gureum.aws.ssm.session_logs import SessionLog
from gureum.aws.websockets import GOING_AWAY, POLICY_VIOLATION, WebSocket
from gureum.core.world import World
from gureum.engine.client import Change
from gureum.engine.registry import background
from gureum.ports import PortError
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ssm")
PATH = "/v1/data-channel/"
OPENING_S = 10.0
"""So long a client has to send its token, and then to answer the handshake."""
LEGACY_S = 1.0
"""A client that has said something else but not answered the handshake for so long is one that does not know it."""
TICK_S = 1.0
RESEND_S = 0.2
LAST_WORDS_S = 3.0
LIMIT_TRIES = 20
LIMIT_EARLY = 64


class Work(Protocol):
    """What a session leads to."""

    async def run(self) -> tuple[str, State]:
        """Until it has ended by itself: what the client is told, and the session's last state. PortError when it cannot be had."""

    async def hear(self, message: Message) -> bool:
        """A message of the client's stream: the next by its number, which is acknowledged by `LiveSession.acknowledge` when it has arrived, or
        False when it cannot be taken now (it comes again); or one that came before: whether that has arrived."""

    def confirmed(self) -> None:
        """The client has acknowledged something."""

    async def close(self) -> None: ...


class WorkMaker(Protocol):
    async def __call__(self, live: LiveSession, session: Session, client: str, *, again: bool) -> Work: ...


class LiveSession:
    """One open session. `size`: columns and rows that the client told last."""

    def __init__(self, world: World, name: str, scope: str, make_work: WorkMaker) -> None:
        self.world = world
        self.name = name
        self.scope = scope
        self.channel = Channel()
        self.size: tuple[int, int] | None = None
        self.active_at = world.clock.now()
        self.log: SessionLog | None = None
        self._make_work = make_work
        self._socket: WebSocket | None = None
        self._sending = asyncio.Lock()
        self._inputs = asyncio.Lock()
        self._early: list[Message] = []
        self._work: Work | None = None
        self._running: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._begun = asyncio.Event()
        """There is something in the machine, or there will be nothing."""
        self._greeted = False
        self._ending = False
        self.ended = asyncio.Event()

    @property
    def session(self) -> Session | None:
        return self.world.client.get(Session, self.scope, self.name)

    # --- the client's side ---

    async def serve(self, socket: WebSocket) -> None:
        """One WebSocket, whose token was right, to its end. It takes the place of an earlier one."""
        earlier, self._socket = self._socket, socket
        if earlier is not None:
            await earlier.close(GOING_AWAY, "another client has connected")
        self.touch()
        resending = asyncio.ensure_future(self._resend(socket))
        legacy: asyncio.Task[None] | None = None
        try:
            await self._greet()
            while (data := await socket.receive()) is not None:
                if isinstance(data, str):
                    continue  # pings of some clients
                message = unpack(data)
                await self._hear(message)
                if self._running is None and legacy is None and message.type == wire.INPUT:
                    legacy = asyncio.ensure_future(self._begin_without_handshake())
        except ValueError as error:
            log.warning("a client spoke no data channel", extra={"session": self.name, "why": str(error)})
            await socket.close(POLICY_VIOLATION, str(error))
        except OSError:
            pass
        finally:
            for task in (resending, legacy):
                if task is not None:
                    task.cancel()
            if self._socket is socket:
                self._socket = None
                if not self._ending:
                    await self._note(state="Disconnected")

    async def _greet(self) -> None:
        session = self.session
        if session is None or self._ending:
            return
        if self._greeted:
            for data in self.channel.everything(self._now()):
                await self._write(data)
            return
        self._greeted = True
        if session.status.program:
            # This process has not seen the session begin: it goes on where the agent knows that it was.
            await self._begin("", again=True)
        else:
            await self.send(wire.HANDSHAKE_REQUEST, json.dumps(handshake(session)).encode())

    async def _hear(self, message: Message) -> None:
        if message.type == wire.ACKNOWLEDGE:
            self.channel.acknowledged(acknowledged_number(message), self._now())
            if self.channel.has_room:
                self._room.set()
            if self._work is not None:
                self._work.confirmed()
        elif message.type == wire.INPUT:
            if self._running is not None and len(self._early) >= LIMIT_EARLY:
                await (
                    self._begun.wait()
                )  # not all clients send again what is not taken, and those that do send one by one
            async with self._inputs:
                await self._input(message)

    async def _input(self, message: Message) -> None:
        """Holds `_inputs`."""
        if message.number < self.channel.expected:
            if self._work is None or await self._work.hear(message):
                await self.acknowledge(message)  # ours was lost
        elif self._work is None:
            await self._early_input(message)
        elif message.number == self.channel.expected:  # else one before it is missing, and both will come again
            self.touch()
            if message.payload_type == wire.FLAG and message.payload[-1:] == bytes([wire.FLAG_TERMINATE]):
                await self.acknowledge(message)
                self.finish("", "Terminated")
            elif await self._work.hear(message):
                self.channel.expected += 1

    async def _early_input(self, message: Message) -> None:
        """Before there is anything in the machine: what is for it waits, since not all clients send again."""
        if message.number != self.channel.expected or message.payload_type not in (wire.HANDSHAKE_RESPONSE, wire.SIZE):
            if len(self._early) < LIMIT_EARLY:
                self._early.append(message)
            return
        self.channel.expected += 1
        await self.acknowledge(message)
        if message.payload_type == wire.SIZE:
            self.size = size_of(message) or self.size
        elif self._running is None:
            await self._answered(message)

    async def _answered(self, message: Message) -> None:
        """The client has answered the handshake."""
        version = str(json_of(message).get("ClientVersion", ""))[:100]
        await self.send(wire.HANDSHAKE_COMPLETE, handshake_complete())
        await self._begin(version, again=False)

    async def _begin_without_handshake(self) -> None:
        await asyncio.sleep(LEGACY_S)
        if self._running is None:
            await self._begin("", again=False)

    async def _resend(self, socket: WebSocket) -> None:
        while True:
            await asyncio.sleep(RESEND_S)
            if self._socket is socket and not self._sending.locked():
                for data in self.channel.due(self._now()):
                    await self._write(data)

    # --- the machine's side ---

    async def _begin(self, client: str, *, again: bool) -> None:
        session = self.session
        if session is None or self._running is not None:
            return
        self._running = asyncio.ensure_future(self._run(session, client, again=again))

    async def _run(self, session: Session, client: str, *, again: bool) -> None:
        try:
            if not again:
                await self._note(program=True)
            work = await self._make_work(self, session, client, again=again)
            async with self._inputs:
                self._work, early, self._early = work, self._early, []
                for message in early:
                    await self._input(message)
                self._begun.set()
            output, state = await work.run()
        except PortError as refused:
            output, state = refused.why, "Failed"
        except OSError as error:
            output, state = f"the connection to the machine was lost: {error}", "Failed"
        finally:
            self._begun.set()
        self.finish(output, state)

    async def send(self, payload_type: int, payload: bytes) -> int:
        """The next message of the stream; returns its number. Waits for room in the window; a client that is away gets it when it is back."""
        while not self.channel.has_room:
            self._room.clear()
            await self._room.wait()
        data = self.channel.send(payload_type, payload, self._now())
        number = self.channel.next_number - 1
        if self.log is not None and payload_type in (wire.OUTPUT, wire.STDERR):
            self.log.add(payload)
        await self._write(data)
        return number

    async def acknowledge(self, message: Message) -> None:
        await self._write(pack(acknowledgement(message), self._now()))

    async def _write(self, data: bytes) -> None:
        socket = self._socket
        if socket is None:
            return
        try:
            async with self._sending:
                await socket.send(data)
        except OSError:
            pass  # whoever reads from it sees that too

    def touch(self) -> None:
        self.active_at = self._now()

    # --- its end ---

    def finish(self, output: str, state: State) -> None:
        """Ends it, from whichever task; returns at once."""
        if not self._ending:
            self._ending = True
            self._finishing = asyncio.ensure_future(self._finish(output, state))

    async def _finish(self, output: str, state: State) -> None:
        try:
            work = self._work
            if work is not None:
                await self._end_work(work.close())
            if self._running is not None:
                self._running.cancel()
                await asyncio.gather(self._running, return_exceptions=True)
            if work is None:
                # What it began may run all the same: its start was under way, or an earlier daemon's client has not come back to this one.
                await self._end_work(self.world.link.ask({"op": "end", "id": program_id(self.name)}))
            socket = self._socket
            if socket is not None:
                try:
                    async with asyncio.timeout(LAST_WORDS_S):
                        await self._write(pack(channel_closed(self.name, output, self._now()), self._now()))
                        await socket.close()
                except (OSError, TimeoutError):
                    pass
            if self.log is not None:
                await self.log.close()
            await self._note(state=state, details=output[:1024], ended=self._now())
        finally:
            self.ended.set()

    async def _end_work(self, ending: Awaitable[object]) -> None:
        try:
            await ending
        except (OSError, PortError) as error:
            log.warning("what a session ran was not told to end", extra={"session": self.name, "why": str(error)})

    async def abandon(self) -> None:
        """The daemon ends: the client is sent away and may come back to the next; what the agent keeps goes on."""
        self._ending = True
        if self._running is not None:
            self._running.cancel()
        if self._socket is not None:
            try:
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._socket.close(GOING_AWAY, "gureum is restarted")
            except (OSError, TimeoutError):
                pass

    async def _note(self, **fields: Any) -> None:
        """Writes the newest status."""
        for _ in range(LIMIT_TRIES):
            session = self.session
            if session is None or session.status.state not in ACTIVE:
                return
            status = msgspec.structs.replace(session.status, **fields)
            if status == session.status:
                return
            transaction = self.world.client.transaction()
            transaction.update(changed(session, status=status))
            try:
                await transaction.commit()
                return
            except Conflict:
                continue
            except (StoreFull, StoreBroken) as failed:
                log.warning("a session's state was not written", extra={"session": self.name, "why": str(failed)})
                return

    def _now(self) -> float:
        return self.world.clock.now()


def handshake(session: Session) -> dict[str, Any]:
    spec = session.spec
    properties: dict[str, Any] | None = None
    if spec.type == "Port":
        properties = {"portNumber": str(spec.port), "localPortNumber": str(spec.local_port), "type": spec.port_type}
        if spec.host != "localhost":
            properties["host"] = spec.host
    elif spec.command:
        linux = {"commands": spec.command, "runAsElevated": spec.elevated}
        properties = {"linux": linux, "windows": {}, "macos": {}}
    wanted = {"ActionType": "SessionType", "ActionParameters": {"SessionType": spec.type, "Properties": properties}}
    return {"AgentVersion": AGENT_VERSION, "RequestedClientActions": [wanted]}


def handshake_complete() -> bytes:
    return json.dumps({"HandshakeTimeToComplete": 1_000_000, "CustomerMessage": ""}).encode()


def size_of(message: Message) -> tuple[int, int] | None:
    """Columns and rows that a message of type SIZE tells, None when it tells nothing sensible."""
    try:
        found = json_of(message)
        columns, rows = int(found["cols"]), int(found["rows"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return (columns, rows) if 0 < columns < 65536 and 0 < rows < 65536 else None


class LiveSessions:
    """All sessions of this world that are open: `world.part(LiveSessions)`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._live: dict[str, LiveSession] = {}
        self._makers: dict[str, WorkMaker] = {}

    def get(self, session: Session) -> LiveSession:
        known = self._live.get(session.meta.name)
        if known is None:
            make = self._world.registry.marks("session-work")[session.spec.type].target
            known = LiveSession(self._world, session.meta.name, session.meta.scope, make)
            self._live[session.meta.name] = known
        return known

    async def run(self) -> None:
        """Ends sessions that are to end, until cancelled."""
        stop_listening = self._world.client.listen(self._on_changes)
        try:
            await self._look_after_restart()
            while True:
                self._look()
                await self._world.clock.sleep(TICK_S)
        finally:
            stop_listening()
            await asyncio.gather(*(one.abandon() for one in self._live.values()), return_exceptions=True)

    async def _look_after_restart(self) -> None:
        """Sessions that an earlier daemon served: their clients are away; shells may still run, forwarded ports do not."""
        for session in list(self._world.client.everywhere(Session)):
            if session.status.state in ACTIVE:
                live = self.get(session)
                await live._note(state="Disconnected")
                if session.spec.type == "Port" and session.status.program:
                    live.finish("Forwarded ports end when gureum is restarted.", "Terminated")

    def _look(self) -> None:
        now = self._world.clock.now()
        for name, live in list(self._live.items()):
            if live.ended.is_set():
                del self._live[name]
            elif live.session is None:
                live.finish("The session is gone.", "Terminated")  # everything was reset
        for session in list(self._world.client.everywhere(Session)):
            if session.status.state in ACTIVE:
                live = self.get(session)
                end = why_to_end(self._world, session, live.active_at, now)
                if end is not None:
                    live.finish(end, "Terminated")

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            session = change.after
            if isinstance(session, Session) and session.spec.ending and session.status.state in ACTIVE:
                self.get(session).finish("", "Terminated")


def why_to_end(world: World, session: Session, active_at: float, now: float) -> str | None:
    """None: it goes on."""
    preferences = session.spec.preferences
    if session.spec.ending:
        return ""
    if now - active_at > preferences.idle_minutes * 60:
        return (
            f"Session {session.meta.name} was terminated since nothing happened for {preferences.idle_minutes} minutes."
        )
    if preferences.longest_minutes and now - session.spec.started > preferences.longest_minutes * 60:
        return f"Session {session.meta.name} has reached its maximum duration of {preferences.longest_minutes} minutes."
    instance = world.client.get(Instance, session.meta.scope, session.spec.target)
    if instance is None or instance.status.state != "running":
        return f"{session.spec.target} is not connected any more."
    return None


@background("ssm sessions")
async def keep_sessions(world: World) -> None:
    await world.part(LiveSessions).run()


@channel(PATH)
async def data_channel(world: World, socket: WebSocket) -> None:
    """The WebSocket that StreamUrl leads to: first a token, then messages. What is wrong with a token is not told."""
    if not await socket.accept():
        return
    session = None
    try:
        async with asyncio.timeout(OPENING_S):
            session = await _admitted(world, socket.path.removeprefix(PATH), await socket.receive())
    except TimeoutError:
        pass
    if session is None:
        await socket.close(POLICY_VIOLATION, "the token does not open this session")
        return
    await world.part(LiveSessions).get(session).serve(socket)


async def _admitted(world: World, name: str, first: str | bytes | None) -> Session | None:
    """The session, when the first message has the token that opens it. The token is used up then."""
    try:
        opening = json.loads(first) if isinstance(first, str) else None
    except (ValueError, RecursionError):
        return None
    token = opening.get("TokenValue") if isinstance(opening, dict) else None
    if not isinstance(token, str) or not token:
        return None
    for _ in range(LIMIT_TRIES):
        found = next((one for one in world.client.named(name) if isinstance(one, Session)), None)
        if found is None or not opens(found, token, world.clock.now()):
            return None
        status = msgspec.structs.replace(found.status, state="Connected")
        transaction = world.client.transaction()
        transaction.update(changed(found, status=status, token_hash=""))
        try:
            await transaction.commit()
        except Conflict:
            continue
        except (StoreFull, StoreBroken):
            return None
        return found
    return None


__all__ = ["LiveSession", "LiveSessions", "SessionStatus", "Work"]
