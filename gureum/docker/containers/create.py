"""POST /containers/create: everything that a user may choose is checked here, so that a start has nothing to refuse but what the machine does."""

from __future__ import annotations

import platform
import secrets
from typing import Any

from gureum.docker import find
from gureum.docker.call import Call, operation
from gureum.docker.containers import checks, names, options
from gureum.docker.containers.endpoints import bindings, endpoints_of, refuse_own_network
from gureum.docker.containers.mounts import mounts_of
from gureum.docker.errors import DockerError, bad_parameter, conflict, not_found
from gureum.docker.events import Events
from gureum.docker.images.config import config_of, container_words
from gureum.docker.kinds import (
    NAMES,
    SCOPE,
    Container,
    ContainerSpec,
    Image,
    MountPoint,
    Volume,
)
from gureum.docker.networks.addresses import ensure_builtin
from gureum.engine.client import Transaction
from gureum.engine.resource import Meta

_PLATFORM_WORDS = 3


@operation("POST", "/containers/create")
async def create_container(call: Call) -> None:
    """Docker: ContainerCreate. 404 for an image that is not here, 409 for a name that is taken."""
    body = await call.json("container.CreateRequest")
    if not body:
        raise bad_parameter("config cannot be empty in order to create a container")
    host = dict(body.pop("HostConfig", None) or {})
    networking = body.pop("NetworkingConfig", None) or {}
    name = call.text("name").lstrip("/")
    if name:
        names.check(name)
    image = find.image(call.client, str(body.get("Image") or ""))
    _check_platform(call, image, str(body.get("Image")))
    config = merged(body, container_words(image))
    host["LogConfig"] = {"Config": {}, **(host.get("LogConfig") or {})}
    host["LogConfig"]["Type"] = host["LogConfig"].get("Type") or "json-file"
    warnings = checks.check(config, host)
    if str(host.get("NetworkMode")).startswith("container:"):
        refuse_own_network(body, host)
    if "host" in (host.get("NetworkMode"), host.get("UTSMode")):
        config["Hostname"] = config.get("Hostname") or platform.node()
    container_id = secrets.token_hex(32)
    fresh: list[str] = []

    def decide(transaction: Transaction) -> Container:
        ensure_builtin(call.client, transaction, call.now)
        chosen = name or _free_name(call)
        _take_name(call, transaction, chosen, container_id)
        mounts = mounts_of(call, transaction, config, host)
        volumes = dict.fromkeys(mount.name for mount in mounts if mount.type == "volume")
        fresh[:] = [one for one in volumes if call.client.get(Volume, SCOPE, one) is None]
        spec = _spec(call, chosen, image, config, host, networking, mounts)
        if not spec.args:
            raise bad_parameter("no command specified")
        made = Container(meta=Meta(SCOPE, container_id, container_id, call.now), spec=spec)
        if current := call.client.get(Image, SCOPE, image.meta.name):
            transaction.require(current)
        else:
            raise not_found(f"No such image: {body.get('Image')}")
        return transaction.create(made)

    try:
        made = await call.commit(decide)
    except DockerError as refused:
        # To clients a 404 of this call says that the image must be pulled: it is here, another thing that was named is not.
        if refused.status == 404 and not refused.message.startswith("No such image"):
            raise bad_parameter(refused.message) from refused
        raise
    for volume in fresh:
        call.world.part(Events).add("volume", "create", volume, {"driver": "local"})
    call.world.part(Events).container(made, "create")
    await call.send(201, {"Id": container_id, "Warnings": warnings})


def _spec(
    call: Call,
    name: str,
    image: Image,
    config: dict[str, Any],
    host: dict[str, Any],
    networking: dict[str, Any],
    mounts: tuple[MountPoint, ...],
) -> ContainerSpec:
    """What is stored of it. Names of other containers in `host` become their ids."""
    return ContainerSpec(
        name=name,
        config=config,
        host=host,
        image=image.meta.name,
        digest=image.spec.digest,
        args=(*_words(config.get("Entrypoint")), *_words(config.get("Cmd"))),
        # A name without a value takes the image's variable away; it is shown, and the program gets nothing of it.
        env=tuple(entry for entry in config.get("Env") or () if "=" in entry),
        working_dir=str(config.get("WorkingDir") or "/"),
        stop_signal=options.signal_number(config["StopSignal"]) if config.get("StopSignal") else 0,
        stop_timeout_s=float(10 if config.get("StopTimeout") is None else config["StopTimeout"]),
        endpoints=endpoints_of(call, host, networking, config),
        ports=bindings(call, host, config),
        mounts=mounts,
    )


def _check_platform(call: Call, image: Image, name: str) -> None:
    """Docker: an image for other machines is as good as none: clients pull the right one."""
    wished = call.text("platform")
    if not wished:
        return
    found = config_of(image)
    system, processor = str(found.get("os") or "linux"), str(found.get("architecture") or "")
    aliases = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
    words = wished.lower().split("/")
    if len(words) == 1:
        words = [words[0], processor] if words[0] in ("linux", "windows") else [system, words[0]]
    if not all(words) or len(words) > _PLATFORM_WORDS:
        raise bad_parameter(
            f'"{wished}" is an invalid component of "{wished}": platform specifier component must match "^[A-Za-z0-9_.-]+$"'
        )
    if words[0] != system or aliases.get(words[1], words[1]) != processor:
        raise not_found(
            f"image with reference {name} was found but its platform ({system}/{processor}) does not match the specified platform ({wished})"
        )


def merged(config: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """The user's words over the image's (Docker: Entrypoint given by the user takes the image's Cmd away)."""
    found = dict(config)
    if not _words(found.get("Entrypoint")) and found.get("Entrypoint") != [""]:
        found["Entrypoint"] = image.get("Entrypoint")
        if not _words(found.get("Cmd")):
            found["Cmd"] = image.get("Cmd")
    if found.get("Entrypoint") == [""]:
        found["Entrypoint"] = None
    mine = {entry.partition("=")[0] for entry in found.get("Env") or ()}
    theirs = [entry for entry in image.get("Env") or () if entry.partition("=")[0] not in mine]
    found["Env"] = [*(found.get("Env") or ()), *theirs]
    for key in ("User", "WorkingDir", "StopSignal"):
        found[key] = found.get(key) or image.get(key) or ""
    for key in ("ExposedPorts", "Volumes", "Labels"):
        found[key] = {**(image.get(key) or {}), **(found.get(key) or {})}
    if image.get("Healthcheck"):
        found["Healthcheck"] = {**image["Healthcheck"], **(found.get("Healthcheck") or {})}
    found["OnBuild"] = found.get("OnBuild")
    return found


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),) if value else ()


def _free_name(call: Call) -> str:
    for _ in range(100):
        name = names.random_name()
        if call.client.claimed(NAMES, name) is None:
            return name
    return f"{names.random_name()}{secrets.randbelow(10**6)}"


def _take_name(call: Call, transaction: Transaction, name: str, container_id: str) -> None:
    holder = call.client.claimed(NAMES, name)
    if holder is not None:
        raise name_taken(name, holder)
    transaction.claim(NAMES, name, container_id)


def name_taken(name: str, holder: str) -> Exception:
    return conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
