"""Starting, stopping, signalling, pausing, renaming, changing and removing containers, and waiting for their end.

Each is one commit; what is asked for then comes about on the machine, and the call waits for what the agent tells of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from typing import Any

import msgspec

from gureum.core.world import World
from gureum.docker import checks, filters, find, links, names, options, sizes
from gureum.docker.addresses import FreePorts, take_address
from gureum.docker.call import Call, Watcher, operation
from gureum.docker.container_create import name_taken
from gureum.docker.errors import DockerError, bad_parameter, conflict, server_error
from gureum.docker.events import Events
from gureum.docker.kinds import NAMES, SCOPE, Container, Network, PortBinding, Volume
from gureum.docker.lifecycle import Exits, remove
from gureum.docker.lowering import core_name
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, key_of

START_S, END_S, KILL_S = 120.0, 60.0, 10.0
UPDATABLE = (
    "BlkioWeight", "CpuShares", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpusetCpus", "CpusetMems",
    "Memory", "MemorySwap", "MemoryReservation", "PidsLimit", "NanoCpus", "RestartPolicy",
)  # fmt: skip


@operation("POST", "/containers/{id}/start")
async def start_container(call: Call) -> None:
    """Docker: ContainerStart. 304 when it runs; the machine's refusal as an error."""
    container = find.container(call.client, call.args["id"])
    if container.spec.wish == "running" and container.status.state in ("running", "restarting"):
        if container.spec.paused:
            raise conflict("cannot start a paused container, try unpause instead")
        await call.responder.send(304)
        return
    try:
        await start(call, container)
    except DockerError:
        await _remove_refused(call, container)
        raise
    await call.responder.send(204)


async def _remove_refused(call: Call, container: Container) -> None:
    """Who is to go when it ends, and never came to run, goes now (Docker: AutoRemove)."""

    def decide(transaction: Transaction) -> Container | None:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is None or current.spec.boot or not current.spec.host.get("AutoRemove"):
            return None
        remove(call.world, transaction, current, volumes=True)
        return current

    gone = await call.commit(decide)
    if gone is not None:
        call.world.part(Events).container(gone, "destroy")


async def start(call: Call, container: Container) -> Container:
    """One commit, and what comes of it. DockerError with what the machine says."""

    def decide(transaction: Transaction) -> Container:
        current = _current(call, container)
        if current.spec.removing:
            raise conflict("container is marked for removal and cannot be started")
        if current.spec.wish == "running" and current.status.boot != current.spec.boot:
            return current  # somebody else has just started it
        links.check_running(call.client, current)
        _check_joined(call, current)
        for mount in current.spec.mounts:
            if mount.type == "tmpfs":
                options.check_tmpfs(mount.options)
        ends = []
        for end in current.spec.endpoints:
            network = call.client.get(Network, SCOPE, end.network) or find.network(
                call.client, end.named or end.network
            )
            end = msgspec.structs.replace(end, network=network.meta.name)
            addressed = bool(network.spec.cidr)
            ends.append(take_address(call.world, transaction, end, key_of(current), network) if addressed else end)
        spec = msgspec.structs.replace(
            current.spec,
            wish="running",
            boot=current.spec.boot + 1,
            paused=False,
            endpoints=tuple(ends),
            ports=_with_ports(call.world, current),
            stop_signal=_own_signal(current),
            stop_timeout_s=_own_timeout(current),
        )
        return transaction.update(msgspec.structs.replace(current, spec=spec))

    wished = await call.commit(decide)
    return await _started(call, wished)


def _check_joined(call: Call, container: Container) -> None:
    """DockerError 409 when a container does not run whose namespaces it is to have."""
    for key, kind in (
        ("NetworkMode", "network namespace"),
        ("PidMode", "PID namespace"),
        ("IpcMode", "IPC namespace"),
    ):
        mode = str(container.spec.host.get(key) or "")
        other = mode.removeprefix("container:")
        if other != mode:
            found = call.client.get(Container, SCOPE, other)
            if found is None:
                raise conflict(f"joining {kind} of container: No such container: {other}")
            if found.status.state != "running":
                raise conflict(f"joining {kind} of container: cannot join {kind} of a non running container: {other}")
            if key == "IpcMode" and found.spec.host.get("IpcMode") in ("", None, "private", "none"):
                why = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
                raise bad_parameter(f"failed to join IPC namespace: container {other}: {why}")


async def _started(call: Call, wished: Container) -> Container:
    def look(found: Resource | None) -> Container | DockerError | None:
        if not isinstance(found, Container):
            # It has ended, and was to be removed then.
            known = call.world.part(Exits).of(wished.meta.name)
            return wished if known is None else msgspec.structs.replace(wished, status=known)
        if found.status.boot < wished.spec.boot:
            return None
        return found

    try:
        found = await call.world.part(Watcher).until(key_of(wished), look, START_S)
    except TimeoutError as error:
        seen = call.world.seen(f"Container/{core_name(wished.meta.name)}")
        raise server_error(f"the container did not start in time: {seen.reason if seen else 'no answer'}") from error
    assert isinstance(found, Container)
    if found.status.error:
        raise _refusal(call.world, found)
    return found


_STRAIGHT = (
    "unable to find user",
    "unable to find group",
    "bind source path",
    "error gathering",
    "error while mounting volume",
)


def _refusal(world: World, container: Container) -> DockerError:
    """In the words that docker's command line looks at: it ends with 127, 126 or 125 by them."""
    why = _with_own_names(world, container, container.status.error)
    if "failed to bind host port" in why:
        networks = [world.client.get(Network, SCOPE, end.network) for end in container.spec.endpoints]
        name = next((one.spec.name for one in networks if one is not None), "")
        where = f"driver failed programming external connectivity on endpoint {container.spec.name} ({name})"
        return server_error(f"failed to set up container networking: {where}: {why}")
    command = container.spec.args[0] if container.spec.args else ""
    if container.status.exit_code == 127 and not why.startswith(("bind source path", "error gathering")):
        where = "no such file or directory" if "/" in command else "executable file not found in $PATH"
        why = f'unable to start container process: exec: "{command}": {"stat " + command + ": " if "/" in command else ""}{where}'
    elif container.status.exit_code == 126:
        why = f'unable to start container process: exec: "{command}": permission denied'
    elif why.startswith(_STRAIGHT):
        return bad_parameter(why) if "bind source" in why else server_error(why)
    return bad_parameter(
        f"failed to create task for container: failed to create shim task: OCI runtime create failed: {why}: unknown"
    )


_REFUSED_TMPFS = re.compile(r"the container was not created: mount `tmpfs` to `/?([^`]+)`: Invalid argument")


def _with_own_names(world: World, container: Container, why: str) -> str:
    """What the machine calls volumes, by the names that the user gave them; what the runtime says of a tmpfs, with what was asked for."""
    for mount in container.spec.mounts:
        volume = world.client.get(Volume, SCOPE, mount.name) if mount.name else None
        if volume is not None:
            why = re.sub(rf"[^\s':]*{re.escape(volume.spec.core)}", lambda _, name=mount.name: name, why)  # type: ignore[misc]
    if found := _REFUSED_TMPFS.fullmatch(why):
        target = f"/{found[1]}"
        asked = next((one.options for one in container.spec.mounts if one.type == "tmpfs" and one.target == target), "")
        why = (
            "unable to start container process: error during container init: "
            f'error mounting "tmpfs" to rootfs at "{target}": mount src=tmpfs, dst={target}, data={asked}: invalid argument'
        )
    return why


def _with_ports(world: World, container: Container) -> tuple[PortBinding, ...]:
    """Ports that were left to us are chosen anew at each start."""
    free = world.part(FreePorts)
    return tuple(
        msgspec.structs.replace(one, host_port=one.host_port or free.find(one.host, one.protocol))
        for one in wished_ports(container)
    )


def wished_ports(container: Container) -> tuple[PortBinding, ...]:
    """As they were wished: 0 where none was named."""
    named = set()
    for text, places in (container.spec.host.get("PortBindings") or {}).items():
        port, _, protocol = text.partition("/")
        for place in places or [{}]:
            host_port = str(place.get("HostPort") or "0").partition("-")[0]
            named.add((int(port), protocol or "tcp", int(host_port)))
    return tuple(
        one if (one.port, one.protocol, one.host_port) in named else msgspec.structs.replace(one, host_port=0)
        for one in container.spec.ports
    )


def _own_signal(container: Container) -> int:
    text = container.spec.config.get("StopSignal")
    return options.signal_number(str(text)) if text else 0


def _own_timeout(container: Container) -> float:
    found = container.spec.config.get("StopTimeout")
    return 10.0 if found is None else float(found)


@operation("POST", "/containers/{id}/stop")
async def stop_container(call: Call) -> None:
    """Docker: ContainerStop. 304 when it does not run. `t` seconds of grace, -1 without end."""
    container, grace = find.container(call.client, call.args["id"]), _grace_s(call)
    if container.status.state not in ("running", "restarting") and container.spec.wish != "running":
        await call.responder.send(304)
        return
    await stop(call, container, call.text("signal"), grace)
    await call.responder.send(204)


def _grace_s(call: Call) -> int | None:
    return call.number("t", 0) if call.text("t") else None


async def stop(call: Call, container: Container, signal_text: str, timeout_s: int | None) -> None:
    def decide(transaction: Transaction) -> Container | None:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is None or (
            current.spec.wish == "stopped" and current.status.state not in ("running", "restarting")
        ):
            return current
        number = options.signal_number(signal_text) if signal_text else _own_signal(current)
        grace = float(timeout_s) if timeout_s is not None else _own_timeout(current)
        spec = msgspec.structs.replace(
            current.spec, wish="stopped", stop_signal=number, stop_timeout_s=grace, paused=False
        )
        return transaction.update(msgspec.structs.replace(current, spec=spec))

    stopped = await call.commit(decide)
    if stopped is not None and container.status.state == "running":
        _tell_signal(call, container, stopped.spec.stop_signal or signal.SIGTERM)
    await ended(call.world, container)


def _tell_signal(call: Call, container: Container, number: int) -> None:
    call.world.part(Events).container(container, "kill", signal=str(int(number)))


async def ended(world: World, container: Container, limit_s: float | None = None) -> None:
    """Returns when it does not run any more."""

    def look(found: Resource | None) -> bool | None:
        over = not isinstance(found, Container) or found.status.state not in ("running", "restarting")
        return True if over and not _is_starting(found) else None

    await world.part(Watcher).until(key_of(container), look, limit_s)


def _is_starting(found: Resource | None) -> bool:
    return isinstance(found, Container) and found.spec.wish == "running" and found.status.boot < found.spec.boot


@operation("POST", "/containers/{id}/restart")
async def restart_container(call: Call) -> None:
    """Docker: ContainerRestart."""
    container, grace = find.container(call.client, call.args["id"]), _grace_s(call)
    if container.status.state in ("running", "restarting"):
        await stop(call, container, call.text("signal"), grace)
    started = await start(call, container)
    call.world.part(Events).container(started, "restart")
    await call.responder.send(204)


@operation("POST", "/containers/{id}/kill")
async def kill_container(call: Call) -> None:
    """Docker: ContainerKill. 409 when it does not run. SIGKILL and the stop signal also end its restart policy."""
    container = find.container(call.client, call.args["id"])
    number = options.signal_number(call.text("signal") or "KILL")
    if container.status.state not in ("running", "restarting"):
        raise conflict(f"cannot kill container: {call.args['id']}: container {container.meta.name} is not running")
    if number in (signal.SIGKILL, _own_signal(container) or signal.SIGTERM):
        await _no_restart(call, container)
    _tell_signal(call, container, number)  # before what comes of it
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
        current = _current(call, container)
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
        current = _current(call, container)
        spec = msgspec.structs.replace(current.spec, paused=paused)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    id_ = f"Container/{core_name(container.meta.name)}"
    deadline = asyncio.get_running_loop().time() + END_S
    while (seen := call.world.seen(id_)) is not None and seen.data.get("paused", False) != paused:
        if asyncio.get_running_loop().time() > deadline:
            raise server_error(f"container {container.meta.name} was not changed in time")
        await asyncio.sleep(0.005)  # statuses that change nothing stored wake nobody
    call.world.part(Events).container(container, "pause" if paused else "unpause")
    await call.responder.send(204)


@operation("POST", "/containers/{id}/rename")
async def rename_container(call: Call) -> None:
    container = find.container(call.client, call.args["id"])
    name = call.text("name").lstrip("/")
    names.check(name)
    if name == container.spec.name:
        raise bad_parameter("Renaming a container with the same name as its current name")

    def decide(transaction: Transaction) -> None:
        current = _current(call, container)
        holder = call.client.claimed(NAMES, name)
        if holder is not None:
            raise name_taken(name, holder)
        transaction.release(NAMES, current.spec.name)
        transaction.claim(NAMES, name, current.meta.name)
        spec = msgspec.structs.replace(current.spec, name=name)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    renamed = _current(call, container)
    call.world.part(Events).container(renamed, "rename", oldName=f"/{container.spec.name}")
    await call.responder.send(204)


@operation("POST", "/containers/{id}/update")
async def update_container(call: Call) -> None:
    """Docker: ContainerUpdate: limits and the restart policy, of what runs too."""
    container = find.container(call.client, call.args["id"])
    body = await call.json("container.UpdateConfig")
    changes = {key: value for key, value in body.items() if key in UPDATABLE and value not in (None, 0, "", {})}
    if (changes.get("RestartPolicy") or {}).get("Name") == "":
        del changes["RestartPolicy"]

    def decide(transaction: Transaction) -> None:
        current = _current(call, container)
        _check_changes(current, changes)
        host = {**current.spec.host, **changes}
        checks.check(current.spec.config, host)
        spec = msgspec.structs.replace(current.spec, host=host)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    call.world.part(Events).container(container, "update")
    await call.send(200, {"Warnings": []})


def _check_changes(container: Container, changes: dict[str, Any]) -> None:
    """What cannot be together with what is there already. DockerError 409."""
    had, why = container.spec.host, ""
    policy = (changes.get("RestartPolicy") or {}).get("Name") or "no"
    if had.get("AutoRemove") and policy in ("always", "unless-stopped", "on-failure"):
        why = "Restart policy cannot be updated because AutoRemove is enabled for the container"
    swap = int(had.get("MemorySwap") or 0)
    if "MemorySwap" not in changes and 0 < swap < int(changes.get("Memory") or 0):
        why = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
    if why:
        raise conflict(f"Cannot update container {container.meta.name}: {why}")


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
        return last if (over or failed) and not _is_starting(found) else None

    return await world.part(Watcher).until(key_of(container), look)


def _last_code(world: World, container: Container, last: int) -> int:
    known = world.part(Exits).of(container.meta.name)
    return known.exit_code if known is not None else last


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
        current = _current(call, container)
        before = current.spec.host.get("Links") or []
        kept = [one for one in before if one.partition(":")[2] != alias]
        if len(kept) == len(before):
            raise DockerError(404, f"No such link: /{name}/{alias}")
        host = {**current.spec.host, "Links": kept or None}
        transaction.update(msgspec.structs.replace(current, spec=msgspec.structs.replace(current.spec, host=host)))

    await call.commit(decide)
    await call.responder.send(204)


async def remove_now(call: Call, container: Container, *, force: bool, volumes: bool) -> None:
    if container.status.state in ("running", "restarting") or _is_starting(container):
        if not force:
            state = "paused" if container.spec.paused else container.status.state
            advice = "unpause and then stop" if state == "paused" else "stop"
            raise conflict(
                f'cannot remove container "{container.spec.name}": container is {state}: {advice} the container before removing or force remove'
            )
        await stop_for_removal(call, container)

    def decide(transaction: Transaction) -> bool:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is None:
            return False
        remove(call.world, transaction, current, volumes=volumes)
        return True

    if await call.commit(decide):
        call.world.part(Events).container(container, "destroy")


async def stop_for_removal(call: Call, container: Container) -> None:
    def decide(transaction: Transaction) -> None:
        current = call.client.get(Container, SCOPE, container.meta.name)
        if current is not None and (current.spec.wish == "running" or current.status.state == "running"):
            spec = msgspec.structs.replace(
                current.spec, wish="stopped", stop_signal=int(signal.SIGKILL), stop_timeout_s=10.0, removing=True
            )
            transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    _tell_signal(call, container, signal.SIGKILL)
    await call.ask({"op": "signal", "name": core_name(container.meta.name), "signal": int(signal.SIGKILL)})
    try:
        await ended(call.world, container, END_S)
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
        if container.status.state in ("running", "restarting") or _is_starting(container):
            continue
        labels = container.spec.config.get("Labels") or {}
        if not filters.label_matches(labels, wanted) or (until is not None and container.meta.created >= until):
            continue
        freed += await sizes.of_container(call.world, container)
        await remove_now(call, container, force=False, volumes=False)
        removed.append(container.meta.name)
    call.world.part(Events).add("container", "prune", "", {"reclaimed": str(freed)})
    await call.send(200, {"ContainersDeleted": removed or None, "SpaceReclaimed": freed})


def _current(call: Call, container: Container) -> Container:
    found = call.client.get(Container, SCOPE, container.meta.name)
    if found is None:
        raise DockerError(404, f"No such container: {container.meta.name}")
    return found
