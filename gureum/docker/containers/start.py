"""Starting containers, also again, and the words in which the machine's refusals are told.

It is one commit; what is asked for then comes about on the machine, and the call waits for what the agent tells of it.
"""

from __future__ import annotations

import re

import msgspec

from gureum.core.world import World
from gureum.docker import find
from gureum.docker.call import Call, Watcher, operation
from gureum.docker.containers import options
from gureum.docker.containers.stop import grace_s, is_starting, own_signal, own_timeout, stop
from gureum.docker.errors import DockerError, bad_parameter, conflict, server_error
from gureum.docker.events import Events
from gureum.docker.kinds import SCOPE, Container, Network, PortBinding, Volume
from gureum.docker.lifecycle import Exits, remove
from gureum.docker.lowering import core_name
from gureum.docker.networks import links
from gureum.docker.networks.addresses import FreePorts, take_address
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, key_of

START_S = 120.0


@operation("POST", "/containers/{id}/start")
async def start_container(call: Call) -> None:
    """Docker: ContainerStart. 304 when it runs; the machine's refusal as an error."""
    container = find.container(call.client, call.args["id"])
    if container.status.state in ("running", "restarting"):  # also one that is being stopped
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


@operation("POST", "/containers/{id}/restart")
async def restart_container(call: Call) -> None:
    """Docker: ContainerRestart."""
    container, grace = find.container(call.client, call.args["id"]), grace_s(call)
    if container.status.state in ("running", "restarting"):
        await stop(call, container, call.text("signal"), grace)
    started = await start(call, container)
    call.world.part(Events).container(started, "restart")
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
        current = find.current(call.client, container)
        if current.spec.removing:
            raise conflict("container is marked for removal and cannot be started")
        if is_starting(current) or current.status.state in ("running", "restarting"):
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
            stop_signal=own_signal(current),
            stop_timeout_s=own_timeout(current),
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
        if found.status.boot >= wished.spec.boot:
            return found
        revoked = found.spec.wish == "stopped"  # by somebody else, before it ran
        return (
            msgspec.structs.replace(wished, status=msgspec.structs.replace(wished.status, error=""))
            if revoked
            else None
        )

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
