"""Sessions on serial consoles: one at a time per instance, between somebody's terminal and what the machine's console prints and hears.

    SSH endpoint ──► Console.type ──► input of the container's console        (core/stream_client.py, as for `docker attach`)
                 ◄── show ◄────────── pages of its log, from now on

A session goes on while the machine stops, starts or reboots, and while the agent is away; what is typed meanwhile goes nowhere, as on any serial
line. It is over when its person leaves, after an hour, when the account's access is taken away, when the instance is gone, or with the daemon.

Source: AWS EC2 User Guide, "EC2 Serial Console".
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.serial_consoles import NAME, SerialConsoleAccess, access_is_enabled
from gureum.base.ids import new_id
from gureum.core.stream_client import Input, open_input, read_pieces, resize
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import background, reconcile, watch
from gureum.engine.resource import Meta, Resource, kind, make_key
from gureum.ports import PortError
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.serial-consoles")
SESSION_S = 3600.0
LIMIT_TYPED_BYTES = 65536
PAGE_WAIT_S = 10.0
RETRY_S = 0.2
LIMIT_TEXT = "The instance currently has 1 active serial console session. Only 1 session is supported at a time."

Show = Callable[[bytes], Awaitable[None]]


class SessionSpec(msgspec.Struct, frozen=True):
    """`process`: the daemon that serves it; one of another daemon is over."""

    process: str
    since: float


@kind("ec2-instance-connect.SerialSession")
class SerialSession(Resource, frozen=True):
    """There is a session on the console of the instance of this name."""

    spec: SessionSpec


class SessionRefused(Exception):
    """The text is for the person who wanted it."""


class SerialSessions:
    """All sessions of this daemon."""

    def __init__(self, world: World) -> None:
        self.process = new_id("daemon-")
        self._world = world
        self._live: dict[tuple[str, str], Console] = {}

    async def serve(self, console: Console) -> str:
        """Runs a session to its end, and says why it ended. SessionRefused."""
        instance, client = console.instance, self._world.client
        scope, name = instance.meta.scope, instance.meta.name
        if client.get(SerialSession, scope, name) is not None:
            raise SessionRefused(LIMIT_TEXT)
        now = self._world.clock.now()
        meta = Meta(scope=scope, name=name, uid=new_id("", 32), created=now)
        session = SerialSession(meta=meta, spec=SessionSpec(self.process, now))
        transaction = client.transaction()
        transaction.create(session)
        try:
            await transaction.commit()
        except Conflict as error:
            raise SessionRefused(LIMIT_TEXT) from error
        except (StoreFull, StoreBroken) as error:
            raise SessionRefused("Unable to start a serial console session. Please try again.") from error
        self._live[scope, name] = console
        try:
            return await console.run()
        finally:
            del self._live[scope, name]
            await forget(self._world, session)

    def look(self, scope: str) -> None:
        """Ends the sessions of an account and region that may be no longer."""
        for (where, _), console in self._live.items():
            if where == scope:
                console.look()


class Console:
    """One session. `show`: hands output to the person and returns when there is room for more; `room`: there is room again for what is typed."""

    def __init__(self, world: World, instance: Instance, show: Show, room: Callable[[], None]) -> None:
        self.instance = instance
        self._world, self._show, self._room = world, show, room
        self._name = instance.meta.name
        self._typed: deque[bytes] = deque()
        self._typed_bytes = 0
        self._fed = asyncio.Event()
        self._size: tuple[int, int] | None = None
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self) -> str:
        """Until it is over; says why."""
        limit = asyncio.ensure_future(self._world.clock.sleep(SESSION_S))
        limit.add_done_callback(self._at_limit)
        tasks = [asyncio.ensure_future(self._tell()), asyncio.ensure_future(self._feed())]
        for task in tasks:
            task.add_done_callback(self._ended)
        try:
            return await self._over
        finally:
            for task in (limit, *tasks):
                task.cancel()
            await asyncio.gather(limit, *tasks, return_exceptions=True)

    def type(self, data: bytes) -> bool:
        """False when no more should come until there is room."""
        self._typed.append(data)
        self._typed_bytes += len(data)
        self._fed.set()
        return self._typed_bytes <= LIMIT_TYPED_BYTES

    def resize(self, columns: int, rows: int) -> None:
        self._size = (columns, rows)
        self._fed.set()

    def end(self, why: str) -> None:
        if not self._over.done():
            self._over.set_result(why)

    def look(self) -> None:
        """Whether it may go on."""
        client, scope = self._world.client, self.instance.meta.scope
        found = client.get(Instance, scope, self._name)
        if found is None or found.status.state == "terminated":
            self.end("The instance is gone.")
        elif not access_is_enabled(client, scope):
            self.end("Access to serial consoles has been disabled.")

    def _at_limit(self, limit: asyncio.Future[None]) -> None:
        if not limit.cancelled():
            self.end("The session has lasted an hour.")

    def _ended(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            if not isinstance(fault, ConnectionError):
                log.error("a serial console's session failed", exc_info=fault)
            self.end("The session failed.")

    async def _tell(self) -> None:
        """What the machine prints from now on."""
        place, wait_s = "end", 0.0
        while True:
            try:
                page = await read_pieces(self._world.link, self._name, place, wait_s, merged=True)
            except PortError:
                await asyncio.sleep(RETRY_S)
                self.look()
                continue
            place, wait_s = page.place, PAGE_WAIT_S
            for piece in page.pieces:
                await self._show(piece.data)
            self.look()

    async def _feed(self) -> None:
        """What is typed. A machine that is down hears nothing."""
        way: Input | None = None
        told: tuple[int, int] | None = None
        try:
            while True:
                await self._fed.wait()
                self._fed.clear()
                if way is None or way.ended:
                    way, told = await self._open(way), None
                if self._size != told and self._size is not None and way is not None:
                    told = self._size
                    await self._tell_size(*told)
                data, size = b"".join(self._typed), self._typed_bytes
                self._typed.clear()
                self._typed_bytes = 0
                if data and way is not None:
                    try:
                        await way.write(data)
                    except ConnectionError:
                        way.close()
                        way = None
                if size > LIMIT_TYPED_BYTES:
                    self._room()
        finally:
            if way is not None:
                way.close()

    async def _open(self, before: Input | None) -> Input | None:
        if before is not None:
            before.close()
        try:
            return await open_input(self._world.link, self._name)
        except PortError:
            return None

    async def _tell_size(self, columns: int, rows: int) -> None:
        try:
            await resize(self._world.link, self._name, columns, rows)
        except PortError as refused:
            log.info("a console keeps its size", extra={"instance": self._name, "why": refused.why})


@watch(Instance)
def access_of_instance(_: Client, instance: Instance) -> Iterable[str]:
    """Who is on the console of an instance that is gone is cut off."""
    if instance.status.state == "terminated":
        yield make_key("ec2.SerialConsoleAccess", instance.meta.scope, NAME)


@reconcile(SerialConsoleAccess)
async def reconcile_access(world: World, access: SerialConsoleAccess) -> None:
    """Takes sessions away that may be no longer."""
    world.part(SerialSessions).look(access.meta.scope)


@background("serial console sessions of an earlier daemon")
async def forget_sessions(world: World) -> None:
    process = world.part(SerialSessions).process
    for session in list(world.client.everywhere(SerialSession)):
        if session.spec.process != process:
            await forget(world, session)


async def forget(world: World, session: SerialSession) -> None:
    stored = world.client.get(SerialSession, session.meta.scope, session.meta.name)
    if stored is None or stored.spec.process != session.spec.process:
        return
    transaction = world.client.transaction()
    transaction.delete(stored)
    try:
        await transaction.commit()
    except Conflict:
        pass  # the store was emptied meanwhile
    except (StoreFull, StoreBroken) as failed:
        log.warning("a session is not forgotten", extra={"instance": session.meta.name, "why": str(failed)})
