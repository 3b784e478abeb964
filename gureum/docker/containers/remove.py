"""Removing containers, and the links of theirs."""

from __future__ import annotations

import signal

import msgspec

from gureum.docker import filters, find, sizes
from gureum.docker.call import Call, operation
from gureum.docker.containers.stop import END_S, ended, is_starting, tell_signal
from gureum.docker.errors import DockerError, bad_parameter, conflict, server_error
from gureum.docker.events import Events
from gureum.docker.kinds import SCOPE, Container
from gureum.docker.lifecycle import remove
from gureum.docker.lowering import core_name
from gureum.engine.client import Transaction


@operation("DELETE", "/containers/{id:path}")
async def remove_container(call: Call) -> None:
    """Docker: ContainerDelete. 409 while it runs, unless `force`; `v`: volumes without a name go, too."""
    if call.flag("link"):
        await _remove_link(call, call.args["id"])
        return
    container = find.container(call.client, call.args["id"])
    await remove_now(call, container, force=call.flag("force"), volumes=call.flag("v"))
    await call.responder.send(204)


async def _remove_link(call: Call, text: str) -> None:
    """Of "web/the-store", the name of a link of "web" (Docker: `rm --link`). What runs keeps what it was told at its start."""
    name, _, alias = text.strip("/").rpartition("/")
    if not name:
        raise bad_parameter(f"Cannot get parent / for name /{alias}")
    container = find.container(call.client, name)

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        before = current.spec.host.get("Links") or []
        kept = [one for one in before if one.partition(":")[2] != alias]
        if len(kept) == len(before):
            raise DockerError(404, f"No such link: /{name}/{alias}")
        host = {**current.spec.host, "Links": kept or None}
        transaction.update(msgspec.structs.replace(current, spec=msgspec.structs.replace(current.spec, host=host)))

    await call.commit(decide)
    await call.responder.send(204)


async def remove_now(call: Call, container: Container, *, force: bool, volumes: bool) -> None:
    if container.status.state in ("running", "restarting") or is_starting(container):
        if not force:
            state = "paused" if container.spec.paused else container.status.state
            advice = "unpause and then stop" if state == "paused" else "stop"
            raise conflict(
                f'cannot remove container "{container.spec.name}": container is {state}: {advice} the container before removing or force remove'
            )
        await _stop_for_removal(call, container)

    def decide(transaction: Transaction) -> bool:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is None:
            return False
        remove(call.world, transaction, current, volumes=volumes)
        return True

    if await call.commit(decide):
        call.world.part(Events).container(container, "destroy")


async def _stop_for_removal(call: Call, container: Container) -> None:
    def decide(transaction: Transaction) -> Container | None:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is not None and (current.spec.wish == "running" or current.status.state == "running"):
            spec = msgspec.structs.replace(
                current.spec, wish="stopped", stop_signal=int(signal.SIGKILL), stop_timeout_s=10.0, removing=True
            )
            return transaction.update(msgspec.structs.replace(current, spec=spec))
        return current

    stopped = await call.commit(decide)
    tell_signal(call, container, signal.SIGKILL)
    await call.ask({"op": "signal", "name": core_name(container.meta.name), "signal": int(signal.SIGKILL)})
    try:
        await ended(call.world, stopped or container, END_S)
    except TimeoutError as error:
        raise server_error(f"cannot remove container {container.meta.name}: it does not end") from error


@operation("POST", "/containers/prune")
async def prune_containers(call: Call) -> None:
    """Docker: ContainerPrune: all that do not run."""
    wanted = call.filters()
    filters.check(wanted, filters.PRUNE)
    until = filters.until(wanted, call.now)
    removed, freed = [], 0
    for container in call.client.all(Container, SCOPE):
        if container.status.state in ("running", "restarting") or is_starting(container):
            continue
        labels = container.spec.config.get("Labels") or {}
        if not filters.label_matches(labels, wanted) or (until is not None and container.meta.created >= until):
            continue
        freed += await sizes.of_container(call.world, container)
        await remove_now(call, container, force=False, volumes=False)
        removed.append(container.meta.name)
    call.world.part(Events).add("container", "prune", "", {"reclaimed": str(freed)})
    await call.send(200, {"ContainersDeleted": removed or None, "SpaceReclaimed": freed})
