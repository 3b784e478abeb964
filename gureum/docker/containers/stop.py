"""Stopping, signalling and pausing containers. Each is one commit, or what is asked of the agent, and the call waits for what it tells of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import msgspec

from gureum.core.world import World
from gureum.docker import find
from gureum.docker.call import Call, Watcher, operation
from gureum.docker.containers import options
from gureum.docker.errors import conflict, server_error
from gureum.docker.events import Events
from gureum.docker.kinds import SCOPE, Container
from gureum.docker.lowering import core_name
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, key_of

END_S, KILL_S = 60.0, 10.0


@operation("POST", "/containers/{id}/stop")
async def stop_container(call: Call) -> None:
    """Docker: ContainerStop. 304 when it does not run. `t` seconds of grace, -1 without end."""
    container, grace = find.container(call.client, call.args["id"]), grace_s(call)
    if container.status.state not in ("running", "restarting") and container.spec.wish != "running":
        await call.responder.send(304)
        return
    await stop(call, container, call.text("signal"), grace)
    await call.responder.send(204)


def grace_s(call: Call) -> int | None:
    return call.number("t", 0) if call.text("t") else None


async def stop(call: Call, container: Container, signal_text: str, timeout_s: int | None) -> None:
    def decide(transaction: Transaction) -> Container | None:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is None or (
            current.spec.wish == "stopped" and current.status.state not in ("running", "restarting")
        ):
            return current
        number = options.signal_number(signal_text) if signal_text else own_signal(current)
        grace = float(timeout_s) if timeout_s is not None else own_timeout(current)
        spec = msgspec.structs.replace(
            current.spec, wish="stopped", stop_signal=number, stop_timeout_s=grace, paused=False
        )
        return transaction.update(msgspec.structs.replace(current, spec=spec))

    stopped = await call.commit(decide)
    if stopped is not None and container.status.state == "running":
        tell_signal(call, container, stopped.spec.stop_signal or signal.SIGTERM)
    if stopped is not None:
        await ended(call.world, stopped)


def tell_signal(call: Call, container: Container, number: int) -> None:
    call.world.part(Events).container(container, "kill", signal=str(int(number)))


async def ended(world: World, container: Container, limit_s: float | None = None) -> None:
    """Returns when it does not run any more, or anew: nothing starts before what was there has ended."""

    def look(found: Resource | None) -> bool | None:
        if not isinstance(found, Container) or found.spec.boot > container.spec.boot:
            return True
        over = found.status.state not in ("running", "restarting") and not is_starting(found)
        return True if over else None

    await world.part(Watcher).until(key_of(container), look, limit_s)


def is_starting(found: Resource | None) -> bool:
    return isinstance(found, Container) and found.spec.wish == "running" and found.status.boot < found.spec.boot


@operation("POST", "/containers/{id}/kill")
async def kill_container(call: Call) -> None:
    """Docker: ContainerKill. 409 when it does not run. SIGKILL and the stop signal also end its restart policy."""
    container = find.container(call.client, call.args["id"])
    number = options.signal_number(call.text("signal") or "KILL")
    if container.status.state not in ("running", "restarting"):
        raise conflict(f"cannot kill container: {call.args['id']}: container {container.meta.name} is not running")
    if number in (signal.SIGKILL, own_signal(container) or signal.SIGTERM):
        await _no_restart(call, container)
    tell_signal(call, container, number)  # before what comes of it
    await call.ask({"op": "signal", "name": core_name(container.meta.name), "signal": number})
    if number == signal.SIGKILL:
        # Docker answers when it is dead, or after this long.
        with contextlib.suppress(TimeoutError):
            await ended(call.world, container, KILL_S)
    await call.responder.send(204)


async def _no_restart(call: Call, container: Container) -> None:
    """Who is killed is not started again (Docker: "manually stopped")."""
    if options.restart(container.spec.host).policy == "no":
        return

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        spec = msgspec.structs.replace(current.spec, wish="stopped", stop_timeout_s=-1.0)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)


@operation("POST", "/containers/{id}/pause")
async def pause_container(call: Call) -> None:
    await _pause(call, paused=True)


@operation("POST", "/containers/{id}/unpause")
async def unpause_container(call: Call) -> None:
    await _pause(call, paused=False)


async def _pause(call: Call, *, paused: bool) -> None:
    container = find.container(call.client, call.args["id"])
    if not paused and not container.spec.paused:
        raise server_error(f"Container {container.meta.name} is not paused")
    if container.status.state != "running":
        raise conflict(f"Container {container.meta.name} is not running")
    if container.spec.paused == paused:
        raise conflict(f"Container {container.meta.name} is already paused")

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        if paused and not _may_be_paused(current):
            raise conflict(f"Container {container.meta.name} is not running")
        spec = msgspec.structs.replace(current.spec, paused=paused)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    id_ = f"Container/{core_name(container.meta.name)}"
    deadline = asyncio.get_running_loop().time() + END_S
    while (seen := call.world.seen(id_)) is not None and seen.data.get("paused", False) != paused:
        current = find.current(call.client, container)
        if paused and not _may_be_paused(current):
            raise conflict(f"Container {container.meta.name} is not running")
        if current.spec.paused != paused:
            break  # somebody else has wished otherwise since
        if asyncio.get_running_loop().time() > deadline:
            raise server_error(f"container {container.meta.name} was not changed in time")
        await asyncio.sleep(0.005)  # statuses that change nothing stored wake nobody
    call.world.part(Events).container(container, "pause" if paused else "unpause")
    await call.responder.send(204)


def _may_be_paused(container: Container) -> bool:
    """What is being stopped goes on, so that it can end."""
    return container.status.state == "running" and container.spec.wish == "running"


def own_signal(container: Container) -> int:
    text = container.spec.config.get("StopSignal")
    return options.signal_number(str(text)) if text else 0


def own_timeout(container: Container) -> float:
    found = container.spec.config.get("StopTimeout")
    return 10.0 if found is None else float(found)
