"""A container's life, as far as it is stored: what the agent tells becomes its status; who has ended gives its addresses back.

start (commit: boot + 1, addresses) ──► seen "running"    ──► running
                                        seen "exited"     ──► exited, wish stopped; with AutoRemove gone
                                        seen "restarting" ──► restarting
                                        refused           ──► as before, with the error that `start` answers
"""

from __future__ import annotations

import contextlib
import secrets
import signal
from collections.abc import Iterator
from typing import Any

import msgspec

from gureum.core.machine import Status, version_of
from gureum.core.world import World
from gureum.docker.call import commit
from gureum.docker.events import Events, container_attributes
from gureum.docker.kinds import ADDRESSES, NAMES, SCOPE, Container, ContainerStatus, Endpoint, Health, Volume
from gureum.docker.lowering import core_name
from gureum.engine.client import Transaction
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of

LIMIT_EXITS = 1000
READERS_S = 30.0
START_FAILED = 128


class Exits:
    """How containers ended that are gone: who waits for the removal is told the code, who started one the error. One per world."""

    def __init__(self, world: World) -> None:
        self._known: dict[str, ContainerStatus] = {}

    def note(self, container_id: str, status: ContainerStatus) -> None:
        self._known[container_id] = status
        while len(self._known) > LIMIT_EXITS:
            del self._known[next(iter(self._known))]

    def of(self, container_id: str) -> ContainerStatus | None:
        return self._known.get(container_id)


class Followers:
    """Who reads a container's output to its end: one that is to be removed when it has ended stays until they have. One per world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._counts: dict[str, int] = {}

    def any(self, container_id: str) -> bool:
        return container_id in self._counts

    @contextlib.contextmanager
    def following(self, container: Container) -> Iterator[None]:
        name = container.meta.name
        self._counts[name] = self._counts.get(name, 0) + 1
        try:
            yield
        finally:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]
                self._world.poke(key_of(container))


@reconcile(Container)
async def reconcile_container(world: World, container: Container) -> None:
    if _is_left(container):
        await _remove_left(world, container)
        return
    seen = world.seen(f"Container/{core_name(container.meta.name)}")
    if seen is None or not container.spec.boot:
        return
    now = _status(world, container, seen)
    if now is None or now == container.status:
        return
    ended = now.state == "exited" and container.status.state != "exited"
    over = now.state in ("exited", "created")
    failed = bool(now.error) and container.status.boot != now.boot
    to_go = (ended or failed) and bool(container.spec.host.get("AutoRemove")) and not container.spec.removing
    gone = to_go and not world.part(Followers).any(container.meta.name)

    def decide(transaction: Transaction) -> bool:
        current = world.client.get(Container, SCOPE, container.meta.name)
        if current is None or current.spec.boot != container.spec.boot:
            return False
        if gone:
            remove(world, transaction, current, volumes=True)
            return True
        spec = current.spec
        if over:
            spec = msgspec.structs.replace(
                spec, wish="stopped", paused=False, endpoints=give_back(transaction, current)
            )
        transaction.update(msgspec.structs.replace(current, spec=spec, status=now))
        return True

    if to_go:
        world.part(Exits).note(container.meta.name, now)
    if not await commit(world.client, decide):
        return
    _tell(world, container, now, gone=gone)


def _is_left(container: Container) -> bool:
    """Whether it has ended, is to be removed then, and somebody may still read."""
    spec, status = container.spec, container.status
    over = (
        spec.wish == "stopped" and spec.boot > 0 and status.boot == spec.boot and status.state in ("exited", "created")
    )
    return over and bool(spec.host.get("AutoRemove")) and not spec.removing


async def _remove_left(world: World, container: Container) -> None:
    """Now, or when they have read it; who is too slow has missed it."""
    waited_s = world.clock.now() - container.status.finished
    if world.part(Followers).any(container.meta.name) and waited_s < READERS_S:
        world.poke(key_of(container), READERS_S)
        return
    world.part(Exits).note(container.meta.name, container.status)

    def decide(transaction: Transaction) -> bool:
        current = world.client.get(Container, SCOPE, container.meta.name)
        if current is None or not _is_left(current):
            return False
        remove(world, transaction, current, volumes=True)
        return True

    if await commit(world.client, decide):
        world.part(Events).container(container, "destroy")


def _tell(world: World, container: Container, now: ContainerStatus, *, gone: bool) -> None:
    """Events of what has changed, in Docker's order."""
    events, before = world.part(Events), container.status
    if now.started != before.started:  # also of one that has ended before it was seen to run
        events.joined(container)
        events.container(container, "start")
    _tell_checks(events, container, now)
    if (
        now.health is not None
        and now.health.status != "starting"
        and (before.health is None or before.health.status != now.health.status)
    ):
        events.container(container, f"health_status: {now.health.status}")
    ended = now.state == "exited" and before.state != "exited"
    failed = bool(now.error) and before.boot != now.boot
    if ended or failed or (now.state == "restarting" and before.state == "running"):
        if now.oom:
            events.container(container, "oom")
        elif ended and _grace_ran_out(container, now):
            events.container(container, "kill", signal=str(int(signal.SIGKILL)))
        took_s = max(0, int(now.finished - now.started)) if now.started else 0
        events.container(container, "die", execDuration=str(took_s), exitCode=str(now.exit_code))
        events.left(container)
    if ended and container.spec.wish == "stopped" and not container.spec.removing:
        events.container(container, "stop")
    if gone:
        events.container(container, "destroy")


def _grace_ran_out(container: Container, now: ContainerStatus) -> bool:
    """Whether it was asked to stop, and then killed."""
    spec = container.spec
    asked = spec.wish == "stopped" and spec.stop_timeout_s >= 0 and spec.stop_signal != signal.SIGKILL
    return asked and now.exit_code == 128 + signal.SIGKILL


def _tell_checks(events: Events, container: Container, now: ContainerStatus) -> None:
    """The programs that looked at its health, as Docker tells of them: they run as those of `docker exec`."""
    before = container.status.health.log if container.status.health is not None else ()
    known = {entry.get("Start") for entry in before}
    wish = container.spec.config.get("Healthcheck") or {}
    words = [str(word) for word in wish.get("Test") or ()]
    command = " ".join(["/bin/sh", "-c", *words[1:]] if words[:1] == ["CMD-SHELL"] else words[1:])
    for entry in now.health.log if now.health is not None else ():
        if entry.get("Start") not in known:
            id_ = secrets.token_hex(32)
            events.container(container, f"exec_create: {command}", execID=id_)
            events.container(container, f"exec_start: {command}", execID=id_)
            events.container(container, "exec_die", execID=id_, exitCode=str(entry.get("ExitCode")))


def _status(world: World, container: Container, seen: Status) -> ContainerStatus | None:
    """None: what is seen says nothing of this start (yet)."""
    before, spec, told = container.status, container.spec, seen.data
    if seen.phase == "failed":
        if before.boot == spec.boot or not _is_of_now(world, container, seen):
            return None
        state = "exited" if before.started else "created"
        code = 127 if _is_missing(seen.reason) else 126 if _is_forbidden(seen.reason) else START_FAILED
        return msgspec.structs.replace(before, state=state, boot=spec.boot, exit_code=code, error=seen.reason, pid=0)
    if _was_cleared(world, container, seen):
        return msgspec.structs.replace(
            before, state="exited", pid=0, exit_code=told["exit_code"], finished=world.clock.now()
        )
    if told.get("boot") != spec.boot or told.get("state") in (None, "absent"):
        return None
    if before.boot == spec.boot and before.state in ("exited", "dead") and not told.get("restarts"):
        return None
    state = told["state"]
    return ContainerStatus(
        state=state,
        boot=spec.boot,
        pid=told.get("pid", 0) if state == "running" else 0,
        exit_code=told.get("exit_code") or 0 if state != "running" else 0,
        started=told.get("started", before.started),
        # Of what ended with the machine itself nobody saw the end.
        finished=told.get("finished") or (world.clock.now() if state == "exited" else before.finished),
        oom=bool(told.get("oom")),
        restarts=told.get("restarts", 0),
        health=_health(told),
    )


def _was_cleared(world: World, container: Container, seen: Status) -> bool:
    """Whether it is said to run, and the machine has nothing of it: it was stopped and cleared away before it was heard here that it had begun."""
    spec, status = container.spec, container.status
    stopped = spec.wish == "stopped" and status.boot == spec.boot and status.state in ("running", "restarting")
    absent = seen.phase == "ready" and seen.data.get("state") == "absent"
    return stopped and absent and _is_of_now(world, container, seen)


def _health(told: dict[str, Any]) -> Health | None:
    found = told.get("health")
    return msgspec.convert(found, Health) if found else None


def _is_of_now(world: World, container: Container, seen: Status) -> bool:
    """Whether the refusal is about what is wished now."""
    wishes = world.lowering.of(key_of(container))
    return any(one.id == seen.id and version_of(one.spec) == seen.version for one in wishes)


def _is_missing(reason: str) -> bool:
    return "not found" in reason or "No such file" in reason or "no such file" in reason


def _is_forbidden(reason: str) -> bool:
    return "ermission denied" in reason or "is a directory" in reason.lower()


def give_back(transaction: Transaction, container: Container) -> tuple[Endpoint, ...]:
    """Its endpoints without addresses, which others may have from now on."""
    for end in container.spec.endpoints:
        if end.address:
            transaction.release(f"{ADDRESSES}/{end.network}", end.address)
    return tuple(msgspec.structs.replace(end, address="", mac=end.wished_mac) for end in container.spec.endpoints)


def remove(world: World, transaction: Transaction, container: Container, *, volumes: bool) -> None:
    """The object, its name and its addresses go; `volumes`: those that were made for it alone, too."""
    give_back(transaction, container)
    transaction.release(NAMES, container.spec.name)
    transaction.delete(container)
    if not volumes:
        return
    for mount in container.spec.mounts:
        if mount.type != "volume" or not mount.anonymous:
            continue
        others = world.client.by(Container, SCOPE, "volume", mount.name)
        volume = world.client.get(Volume, SCOPE, mount.name)
        if volume is not None and all(one.meta.name == container.meta.name for one in others):
            transaction.delete(volume)


__all__ = ["Exits", "container_attributes", "give_back", "reconcile_container", "remove"]
