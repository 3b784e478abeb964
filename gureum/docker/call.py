"""One call of the Engine API as operations see it, and the mark that makes a function one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gureum.core.machine import Status
from gureum.core.world import World
from gureum.docker import shapes
from gureum.docker.errors import DockerError, bad_parameter, server_error
from gureum.docker.server import Request, Responder
from gureum.engine.client import Client, Transaction
from gureum.engine.registry import mark
from gureum.engine.resource import Resource
from gureum.ports import PortError
from gureum.store.contract import Conflict

T = TypeVar("T")
ATTEMPTS = 50
AGENT_AWAY_S, AGENT_PAUSE_S = 10.0, 0.05
_TRUE = frozenset({"1", "true", "True", "TRUE", "t", "yes"})


class Call:
    """`version`: of the API that the client speaks, (1, 51). `args`: what the path's variables stand for."""

    def __init__(
        self, world: World, request: Request, responder: Responder, args: dict[str, str], version: tuple[int, int]
    ) -> None:
        self.world, self.request, self.responder, self.args, self.version = world, request, responder, args, version

    @property
    def client(self) -> Client:
        return self.world.client

    @property
    def now(self) -> float:
        return self.world.clock.now()

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self.request.query.get(name, [default])[0]

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.request.query.get(name)
        return default if found is None else found[0] in _TRUE

    def number(self, name: str, default: int) -> int:
        text = self.text(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError as error:
            raise bad_parameter(f'strconv.Atoi: parsing "{text}": invalid syntax') from error

    def filters(self) -> dict[str, list[str]]:
        """Of `?filters=`: {"label": ["a=b"]}; older clients send {"label": {"a=b": true}}."""
        text = self.text("filters")
        if not text:
            return {}
        try:
            found = json.loads(text)
            return {key: [str(one) for one in values] for key, values in found.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise bad_parameter("invalid filter") from error

    async def json(self, kind: str) -> dict[str, Any]:
        """The body as a value of a struct of gureum/docker/shapes.py; an empty one is {}. DockerError 400 for one that is not said to be JSON."""
        body = await self.request.body()
        said = self.request.headers.get("content-type", "")
        if body and not said:
            raise bad_parameter("malformed Content-Type header (): mime: no media type")
        if body and said.partition(";")[0].strip().lower() != "application/json":
            raise bad_parameter(f"unsupported Content-Type header ({said}): must be 'application/json'")
        return shapes.read(body, kind)

    async def commit(self, decide: Callable[[Transaction], T]) -> T:
        """Runs `decide` and commits what it wrote; again from the beginning when somebody else was faster."""
        return await commit(self.client, decide)

    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        """A question to the agent."""
        try:
            return await patiently(lambda: self.world.link.ask(request, timeout_s))
        except PortError as refused:
            raise server_error(refused.why) from refused

    async def send(self, status: int, body: object = None) -> None:
        await self.responder.send(status, body)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again while the agent is being restarted, for a few seconds. What is asked may be asked twice. PortError."""
    begin = asyncio.get_running_loop().time()
    while True:
        try:
            return await ask()
        except PortError as refused:
            away = (
                refused.why.startswith("the agent does not answer") or refused.why == "the agent closed the connection"
            )
            if not away or asyncio.get_running_loop().time() - begin > AGENT_AWAY_S:
                raise
        await asyncio.sleep(AGENT_PAUSE_S)


async def commit(client: Client, decide: Callable[[Transaction], T]) -> T:
    for _ in range(ATTEMPTS):
        transaction = client.transaction()
        found = decide(transaction)
        if transaction.empty:
            return found
        try:
            await transaction.commit()
        except Conflict:
            await asyncio.sleep(0)
            continue
        return found
    raise server_error("too many changes at once, try again")


Operation = Callable[[Call], Awaitable[None]]


def operation(method: str, path: str) -> Callable[[Operation], Operation]:
    """Marks the function that answers `METHOD path`; "{name}" stands for one part of the path, "{name:path}" for several."""
    return mark("docker", f"{method} {path}")


class Watcher:
    """Waits for stored objects to become as somebody wants. One per world (`world.part(Watcher)`)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: dict[str, list[asyncio.Event]] = {}
        world.client.listen(self._changed)

    async def until(self, key: str, look: Callable[[Resource | None], T | None], timeout_s: float | None = None) -> T:
        """The first answer of `look` that is not None; it is asked now and after every change of the object. TimeoutError."""
        event = asyncio.Event()
        self._waiting.setdefault(key, []).append(event)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    event.clear()
                    found = look(self._world.client.by_key(key))
                    if found is not None:
                        return found
                    await event.wait()
        finally:
            waiting = self._waiting[key]
            waiting.remove(event)
            if not waiting:
                del self._waiting[key]

    def _changed(self, changes: list[Any]) -> None:
        for change in changes:
            for event in self._waiting.get(change.key, ()):
                event.set()


__all__ = ["Call", "DockerError", "Status", "Watcher", "commit", "operation"]
