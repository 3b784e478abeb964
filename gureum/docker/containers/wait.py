"""Waiting for a container's end."""

from __future__ import annotations

import asyncio

from gureum.core.world import World
from gureum.docker import find
from gureum.docker.call import Call, Watcher, operation
from gureum.docker.containers.stop import is_starting
from gureum.docker.errors import bad_parameter
from gureum.docker.kinds import Container
from gureum.docker.lifecycle import Exits
from gureum.engine.resource import Resource, key_of


@operation("POST", "/containers/{id}/wait")
async def wait_container(call: Call) -> None:
    """Docker: ContainerWait. The head is sent at once, so that a client may wait before it starts."""
    container = find.container(call.client, call.args["id"])
    condition = call.text("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise bad_parameter(f'invalid condition: "{condition}"')
    await call.request.skip()  # an empty body in pieces is no client that leaves
    waiting = asyncio.ensure_future(_exit_of(call.world, container, condition))
    leaving: asyncio.Future[None] | None = None
    try:
        await call.responder.begin()
        leaving = asyncio.ensure_future(call.responder.left())
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            await call.responder.write_json({"StatusCode": waiting.result()})
            await call.responder.finish()
    finally:
        waiting.cancel()
        if leaving is not None:
            leaving.cancel()


async def _exit_of(world: World, container: Container, condition: str) -> int:
    boot = (
        container.status.boot if container.status.state not in ("running", "restarting") else container.status.boot - 1
    )
    last = container.status.exit_code

    def look(found: Resource | None) -> int | None:
        nonlocal last
        if not isinstance(found, Container):
            return _last_code(world, container, last)
        last = found.status.exit_code
        if condition == "removed":
            return None
        if found.status.finished > container.status.finished:
            return last  # also of one that is started again by its policy
        if condition == "next-exit" and found.status.boot <= boot:
            return None
        over = found.status.state in ("exited", "dead") or (
            found.status.state == "created" and condition == "not-running"
        )
        failed = found.status.state == "created" and found.status.boot > boot
        return last if (over or failed) and not is_starting(found) else None

    return await world.part(Watcher).until(key_of(container), look)


def _last_code(world: World, container: Container, last: int) -> int:
    known = world.part(Exits).of(container.meta.name)
    return known.exit_code if known is not None else last
