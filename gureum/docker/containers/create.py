"""POST /containers/create: everything that a user may choose is checked here, so that a start has nothing to refuse but what the machine does."""

from __future__ import annotations

import ipaddress
import platform
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gureum.docker import find
from gureum.docker.call import Call, operation
from gureum.docker.containers import checks, names, options
from gureum.docker.containers.shared_namespaces import SHARED_MODES, owner_of_users
from gureum.docker.errors import DockerError, bad_parameter, conflict, not_built, not_found
from gureum.docker.events import Events
from gureum.docker.images.config import config_of, container_words
from gureum.docker.kinds import (
    NAMES,
    SCOPE,
    Container,
    ContainerSpec,
    Endpoint,
    Image,
    MountPoint,
    PortBinding,
    Volume,
    VolumeSpec,
)
from gureum.docker.networks import links
from gureum.docker.networks.addresses import BUILTIN, builtin_id, check_inside, ensure_builtin
from gureum.docker.volumes import mount_checks
from gureum.docker.volumes import options as volume_options
from gureum.engine.client import Transaction
from gureum.engine.resource import Meta, key_of

_PLATFORM_WORDS = 3
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")
_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?")


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
        _refuse_own_network(body, host)
    if "host" in (host.get("NetworkMode"), host.get("UTSMode")):
        config["Hostname"] = config.get("Hostname") or platform.node()
    container_id = secrets.token_hex(32)
    fresh: list[str] = []

    def decide(transaction: Transaction) -> Container:
        ensure_builtin(call.client, transaction, call.now)
        chosen = name or _free_name(call)
        _take_name(call, transaction, chosen, container_id)
        mounts = _mounts(call, transaction, config, host, container_id)
        volumes = dict.fromkeys(mount.name for mount in mounts if mount.type == "volume")
        fresh[:] = [one for one in volumes if call.client.get(Volume, SCOPE, one) is None]
        spec = ContainerSpec(
            name=chosen,
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
            endpoints=_endpoints(call, host, networking, config),
            ports=bindings(call, host, config),
            mounts=mounts,
        )
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


def bindings(call: Call, host: dict[str, Any], config: dict[str, Any]) -> tuple[PortBinding, ...]:
    """What is published. An address that the user does not name is the setting `publish_address`."""
    found: list[PortBinding] = []
    wished = dict(host.get("PortBindings") or {})
    if host.get("PublishAllPorts"):
        wished = {**{port: [{}] for port in config.get("ExposedPorts") or {}}, **wished}
    for text, places in wished.items():
        port, protocol = _port(text)
        for place in places or [{}]:
            address = str(place.get("HostIp") or "") or call.world.settings.publish_address
            try:
                ipaddress.ip_address(address)
            except ValueError as error:
                raise bad_parameter(f"invalid IP address: {address}") from error
            host_port = str(place.get("HostPort") or "0").partition("-")[0]
            if not host_port.isdecimal() or int(host_port) > 65535:
                raise bad_parameter(f'invalid port specification: "{place.get("HostPort")}"')
            found.append(PortBinding(address, int(host_port), port, "udp" if protocol == "udp" else "tcp"))
    return tuple(found)


def _port(text: str) -> tuple[int, str]:
    found = _PORT.fullmatch(text)
    if found is None or not 0 < int(found[1]) < 65536:
        raise bad_parameter(f"invalid port specification: {text}")
    if found[2] == "sctp":
        raise not_built("published SCTP ports")
    return int(found[1]), found[2] or "tcp"


def _network(name: str) -> str:
    return "bridge" if name in ("", "default") else name


def _endpoints(
    call: Call, host: dict[str, Any], networking: dict[str, Any], config: dict[str, Any]
) -> tuple[Endpoint, ...]:
    mode = str(host.get("NetworkMode") or "")
    mode = _network(mode)
    host["NetworkMode"] = host.get("NetworkMode") or "bridge"
    if links.on_default(host):
        host["Links"] = list(links.resolved(call.client, host.get("Links"))) or None
    _resolve_shared(call, host)
    if mode.startswith("container:"):
        return ()
    wished = dict(networking.get("EndpointsConfig") or {})
    settings = {_network(str(key)): value or {} for key, value in wished.items()}
    settings.setdefault(mode, {})
    order = [mode, *(one for one in settings if one != mode)]
    found = []
    for name in order:
        # Those that are always there may be about to be made, with this container; others may come before its start, as under Docker.
        network = None if name in BUILTIN else find.known_network(call.client, name)
        network_id = builtin_id(name) if name in BUILTIN else network.meta.name if network is not None else ""
        made = endpoint(network_id, settings[name], network.spec if network is not None else None, config)
        named = network.spec.name if network is not None else name
        found.append(msgspec.structs.replace(made, named=named))
    return tuple(found)


def _refuse_own_network(config: dict[str, Any], host: dict[str, Any]) -> None:
    """Docker: what the user says of a network does not go with another container's."""
    if host["NetworkMode"] == "container:":
        raise bad_parameter("invalid network mode: invalid container format container:<name|id>")
    conflicts = (
        (config.get("Hostname"), "hostname and the network mode"),
        (host.get("Links"), "container type network can't be used with links. This would result in undefined behavior"),
        (host.get("Dns"), "dns and the network mode"),
        (host.get("ExtraHosts"), "custom host-to-IP mapping and the network mode"),
        (config.get("MacAddress"), "mac-address and the network mode"),
        (
            host.get("PortBindings") or host.get("PublishAllPorts"),
            "port publishing and the container type network mode",
        ),
        (config.get("ExposedPorts"), "port exposing and the container type network mode"),
    )
    for given, said in conflicts:
        if given:
            raise bad_parameter(f"conflicting options: {said}")


def _resolve_shared(call: Call, host: dict[str, Any]) -> None:
    """The containers whose namespaces it is to share, by their ids. The kernel lets nobody into another's namespaces but that one's own users: all
    whom it shares something with must have the same."""
    owners = set()
    for key in SHARED_MODES:
        mode = str(host.get(key) or "")
        if mode.startswith("container:"):
            other = find.other_container(call.client, mode.removeprefix("container:"))
            host[key] = f"container:{other.meta.name}"
            owners.add(owner_of_users(call.client.get, other).meta.name)
    if len(owners) > 1:
        raise not_built("namespaces of containers that have users of their own each (--ipc, --network, --pid)")


def endpoint(network_id: str, settings: dict[str, Any], network: Any, config: dict[str, Any]) -> Endpoint:
    wished = str((settings.get("IPAMConfig") or {}).get("IPv4Address") or "")
    if wished:
        if network_id and (network is None or network.builtin):
            raise bad_parameter(
                "invalid config for network bridge: user specified IP address is supported on user defined networks only"
            )
        try:
            ipaddress.ip_address(wished)
        except ValueError as error:
            raise bad_parameter(f"invalid IPv4 address: {wished}") from error
        if network is not None:
            check_inside(wished, network)
    if (settings.get("IPAMConfig") or {}).get("LinkLocalIPs"):
        raise not_built("link-local addresses (--link-local-ip)")
    for name in settings.get("DriverOpts") or {}:
        if str(name).startswith("com.docker.network.endpoint."):
            raise not_built(f"the option {name} of an endpoint (--driver-opt)")
    wished_mac = _mac(settings) or _mac(config)
    return Endpoint(
        network=network_id,
        id=secrets.token_hex(32),
        mac=wished_mac,
        wished_mac=wished_mac,
        wished=wished,
        aliases=tuple(map(str, settings.get("Aliases") or ())),
        links=links.parsed(settings.get("Links")),
        driver_options={str(key): str(value) for key, value in (settings.get("DriverOpts") or {}).items()},
    )


def _mac(settings: dict[str, Any]) -> str:
    """DockerError 400."""
    text = str(settings.get("MacAddress") or "")
    if text and not _MAC.fullmatch(text):
        raise bad_parameter(f"invalid MAC address: address {text}: invalid MAC address")
    return text.lower().replace("-", ":")


def _mounts(
    call: Call, transaction: Transaction, config: dict[str, Any], host: dict[str, Any], container_id: str
) -> tuple[MountPoint, ...]:
    found: dict[str, MountPoint] = {}
    for target in config.get("Volumes") or {}:
        found[_target(target)] = MountPoint("volume", _target(target), anonymous=True)
    for text in host.get("VolumesFrom") or ():
        found |= {mount.target: mount for mount in _volumes_from(call, str(text))}
    memory = [
        MountPoint("tmpfs", _target(target), options=str(text)) for target, text in (host.get("Tmpfs") or {}).items()
    ]
    asked = [
        *(_bind(str(text)) for text in host.get("Binds") or ()),
        *(_mount(dict(one)) for one in host.get("Mounts") or ()),
    ]
    taken = {mount.target for mount in memory}
    for mount in asked:
        if mount.target in taken:
            raise mount_checks.duplicate(mount.target)
        taken.add(mount.target)
    found |= {mount.target: mount for mount in (*asked, *memory)}
    driver = str(host.get("VolumeDriver") or "local")
    return tuple(_with_volume(call, transaction, mount, driver) for mount in found.values())


def _volumes_from(call: Call, text: str) -> Iterator[MountPoint]:
    """All that the other has mounted, "NAME:ro" for reading only. What the image has there is not copied again."""
    name, _, mode = text.partition(":")
    if mode not in ("", "ro", "rw", "z", "Z"):
        raise bad_parameter(f"invalid mode for volumes-from: {mode}")
    for mount in find.other_container(call.client, name).spec.mounts:
        if mount.type != "tmpfs":
            yield msgspec.structs.replace(mount, writable=mount.writable and mode != "ro", copy=False, anonymous=False)


def _target(text: str) -> str:
    target = "/" + "/".join(part for part in str(text).split("/") if part not in ("", "."))
    if not str(text).startswith("/"):
        raise bad_parameter(f"invalid mount config: invalid mount path: '{text}' mount path must be absolute")
    if target == "/" or ".." in target.split("/"):
        raise bad_parameter("invalid volume specification: destination can't be '/'")
    return target


def _bind(text: str) -> MountPoint:
    """ "/host:/inside:ro", "name:/inside"."""
    parts = text.split(":")
    if len(parts) == 1:
        return MountPoint("volume", _target(parts[0]), anonymous=True)
    if len(parts) > 3 or not parts[0]:
        raise bad_parameter(f"invalid volume specification: '{text}'")
    modes = parts[2].split(",") if len(parts) == 3 else []
    known = {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", *_PROPAGATIONS}
    if not set(modes) <= known:
        raise bad_parameter(f"invalid mode: {parts[2]}")
    mode, target = ",".join(modes), _target(parts[1])
    if parts[0].startswith("/"):
        propagation = next((one for one in modes if one in _PROPAGATIONS), "rprivate")
        return MountPoint(
            "bind", target, parts[0], writable="ro" not in modes, mode=mode, propagation=propagation, options="make"
        )
    check_volume_name(parts[0])
    return MountPoint(
        "volume", target, name=parts[0], writable="ro" not in modes, copy="nocopy" not in modes, mode=mode or "z"
    )


_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def check_volume_name(name: str) -> None:
    if not _VOLUME_NAME.fullmatch(name) or len(name) > 255:
        raise bad_parameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )


def _mount(one: dict[str, Any]) -> MountPoint:
    mount_checks.check_fields(one)
    kind, target, source = one.get("Type"), _target(str(one.get("Target") or "")), str(one.get("Source") or "")
    writable = not one.get("ReadOnly")
    if kind == "bind":
        if not source.startswith("/"):
            raise bad_parameter(
                f"invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
            )
        wish = one.get("BindOptions") or {}
        if wish.get("NonRecursive") or wish.get("ReadOnlyForceRecursive"):
            raise not_built("bind mounts that leave out or change what is mounted below (bind-recursive)")
        propagation = str(wish.get("Propagation") or "rprivate")
        if not wish.get("CreateMountpoint") and not Path(source).exists():
            raise bad_parameter(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        return MountPoint(
            "bind",
            target,
            source,
            writable=writable,
            propagation=propagation,
            options="make" if wish.get("CreateMountpoint") else "",
        )
    if kind == "volume":
        if source:
            check_volume_name(source)
        wish = one.get("VolumeOptions") or {}
        copy = not wish.get("NoCopy")
        if wish.get("Subpath"):
            raise not_built("a part of a volume (volume-subpath)")
        if str((wish.get("DriverConfig") or {}).get("Name") or "local") != "local":
            raise not_built(f"the volume driver {wish['DriverConfig']['Name']}")
        given = (wish.get("DriverConfig") or {}).get("Options") or {}
        volume_options.backing(given)
        return MountPoint(
            "volume",
            target,
            name=source,
            writable=writable,
            copy=copy,
            mode="z",
            anonymous=not source,
            labels=wish.get("Labels") or {},
            driver_options=given,
        )
    if kind == "tmpfs":
        wish = one.get("TmpfsOptions") or {}
        words = [f"size={wish['SizeBytes']}"] if wish.get("SizeBytes") else []
        words += [f"mode={wish['Mode']:o}"] if wish.get("Mode") else []
        return MountPoint("tmpfs", target, options=",".join([*words, *([] if writable else ["ro"])]))
    if kind in ("image", "cluster", "npipe"):
        raise not_built(f"mounts of the type {kind}")
    raise mount_checks.unknown_kind(kind)


def _with_volume(call: Call, transaction: Transaction, mount: MountPoint, driver: str) -> MountPoint:
    """A volume that there is not yet is made; `driver`: by whom."""
    if mount.type != "volume":
        return mount
    name = mount.name or secrets.token_hex(32)
    if call.client.get(Volume, SCOPE, name) is None:
        if driver != "local":
            raise not_built(f"the volume driver {driver}")
        labels = {**mount.labels, **({"com.docker.volume.anonymous": ""} if mount.anonymous else {})}
        spec = VolumeSpec(
            f"dv-{secrets.token_hex(8)}", options=mount.driver_options, labels=labels, anonymous=mount.anonymous
        )
        transaction.create(Volume(meta=Meta(SCOPE, name, secrets.token_hex(16), call.now), spec=spec))
    return msgspec.structs.replace(mount, name=name)


__all__ = ["bindings", "create_container", "endpoint", "key_of", "merged", "name_taken"]
