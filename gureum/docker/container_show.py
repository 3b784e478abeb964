"""GET /containers/json and /containers/{id}/json: a container in the API's form, with every field that clients read."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from gureum.core.world import World
from gureum.docker import find, sizes
from gureum.docker.call import Call, operation
from gureum.docker.container_run import label_matches
from gureum.docker.errors import DockerError, bad_parameter
from gureum.docker.kinds import SCOPE, Container, Endpoint, Image, MountPoint, Network, Volume
from gureum.docker.lowering import core_name
from gureum.docker.options import hostname, iso
from gureum.docker.references import familiar, parse
from gureum.engine.client import Client

_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HOST_DEFAULTS: dict[str, Any] = {
    "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {}}, "NetworkMode": "bridge", "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False, "VolumeDriver": "", "VolumesFrom": None,
    "ConsoleSize": [0, 0], "CapAdd": None, "CapDrop": None, "CgroupnsMode": "private", "Dns": [], "DnsOptions": [], "DnsSearch": [],
    "ExtraHosts": None, "GroupAdd": None, "IpcMode": "private", "Cgroup": "", "Links": None, "OomScoreAdj": 0, "PidMode": "",
    "Privileged": False, "PublishAllPorts": False, "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "",
    "ShmSize": 67108864, "Runtime": "runc", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
    "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "",
    "CpusetMems": "", "Devices": [], "DeviceCgroupRules": None, "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0,
    "MemorySwappiness": None, "OomKillDisable": None, "PidsLimit": None, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0,
    "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
    "MaskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
                    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"],
    "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
}  # fmt: skip


@operation("GET", "/containers/{id}/json")
async def inspect_container(call: Call) -> None:
    """Docker: ContainerInspect."""
    container = find.container(call.client, call.args["id"])
    found = shown(call.world, container)
    if call.flag("size"):
        found |= await sizes_of(call.world, container)
    await call.send(200, found)


def shown(world: World, container: Container) -> dict[str, Any]:
    spec, config = container.spec, container.spec.config
    folder = f"{world.settings.home}/folders/{core_name(container.meta.name)}"
    return {
        "Id": container.meta.name,
        "Created": iso(container.meta.created),
        "Path": spec.args[0],
        "Args": list(spec.args[1:]),
        "State": _state(container),
        "Image": spec.image,
        "ResolvConfPath": f"{folder}/files/resolv.conf",
        "HostnamePath": f"{folder}/files/hostname",
        "HostsPath": f"{folder}/files/hosts",
        "LogPath": f"{world.settings.home}/logs/consoles/{core_name(container.meta.name)}.log",
        "Name": f"/{spec.name}",
        "RestartCount": container.status.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": {**_HOST_DEFAULTS, **spec.host},
        "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": f"{folder}/upper", "WorkDir": f"{folder}/work"}},
        "Mounts": [
            _mount(world, mount) for mount in spec.mounts if mount.type != "tmpfs" or not mount.options.startswith("\0")
        ],
        "Config": {
            "Hostname": hostname(container),
            "Domainname": config.get("Domainname") or "",
            "User": config.get("User") or "",
            "AttachStdin": bool(config.get("AttachStdin")),
            "AttachStdout": bool(config.get("AttachStdout")),
            "AttachStderr": bool(config.get("AttachStderr")),
            **({"ExposedPorts": config["ExposedPorts"]} if config.get("ExposedPorts") else {}),
            "Tty": bool(config.get("Tty")),
            "OpenStdin": bool(config.get("OpenStdin")),
            "StdinOnce": bool(config.get("StdinOnce")),
            "Env": list(spec.env),
            "Cmd": config.get("Cmd"),
            **({"Healthcheck": config["Healthcheck"]} if config.get("Healthcheck") else {}),
            "Image": config.get("Image") or "",
            "Volumes": config.get("Volumes") or None,
            "WorkingDir": config.get("WorkingDir") or "",
            "Entrypoint": config.get("Entrypoint"),
            "OnBuild": None,
            "Labels": config.get("Labels") or {},
            **({"StopSignal": config["StopSignal"]} if config.get("StopSignal") else {}),
            **({"StopTimeout": config["StopTimeout"]} if config.get("StopTimeout") is not None else {}),
        },
        "NetworkSettings": _network_settings(world, container),
    }


def state_word(container: Container) -> str:
    return "paused" if container.spec.paused and container.status.state == "running" else container.status.state


def _state(container: Container) -> dict[str, Any]:
    status = container.status
    found: dict[str, Any] = {
        "Status": state_word(container),
        "Running": status.state in ("running", "restarting"),
        "Paused": state_word(container) == "paused",
        "Restarting": status.state == "restarting",
        "OOMKilled": status.oom,
        "Dead": status.state == "dead",
        "Pid": status.pid,
        "ExitCode": status.exit_code,
        "Error": status.error,
        "StartedAt": iso(status.started),
        "FinishedAt": iso(status.finished),
    }
    if status.health is not None:
        found["Health"] = {
            "Status": status.health.status,
            "FailingStreak": status.health.streak,
            "Log": list(status.health.log),
        }
    return found


def _mount(world: World, mount: MountPoint) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": mount.type}
    if mount.type == "volume":
        volume = world.client.get(Volume, SCOPE, mount.name)
        source = mountpoint(world, volume) if volume is not None else ""
        found |= {"Name": mount.name, "Source": source, "Destination": mount.target, "Driver": "local"}
    else:
        found |= {"Source": mount.source, "Destination": mount.target}
    return found | {"Mode": mount.mode, "RW": mount.writable, "Propagation": mount.propagation}


def mountpoint(world: World, volume: Volume) -> str:
    return f"{world.settings.home}/folders/{volume.spec.core}/_data"


def _network_settings(world: World, container: Container) -> dict[str, Any]:
    networks: dict[str, Any] = {}
    first: dict[str, Any] = {}
    for end in container.spec.endpoints:
        network = world.client.get(Network, SCOPE, end.network)
        if network is not None:
            networks[network.spec.name] = endpoint_shown(container, end, network)
            first = networks[network.spec.name] if network.spec.name == "bridge" else first
    running = container.status.state == "running"
    return {
        "Bridge": "",
        "SandboxID": container.meta.uid if running else "",
        "SandboxKey": f"/run/netns/{core_name(container.meta.name)}" if running else "",
        "Ports": _ports(container) if running else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": first.get("EndpointID", ""),
        "Gateway": first.get("Gateway", ""),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "IPv6Gateway": "",
        "MacAddress": first.get("MacAddress", ""),
        "Networks": networks,
    }


def endpoint_shown(container: Container, end: Endpoint, network: Network) -> dict[str, Any]:
    live = bool(end.address)
    named = not network.spec.builtin
    return {
        "IPAMConfig": {"IPv4Address": end.wished} if end.wished else ({} if named and end.aliases else None),
        "Links": list(end.links) or None,
        "Aliases": list(end.aliases) or None,
        "MacAddress": end.mac if live else "",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": end.network,
        "EndpointID": end.id if live or container.status.state == "running" else "",
        "Gateway": network.spec.gateway if live else "",
        "IPAddress": end.address,
        "IPPrefixLen": ipaddress.ip_network(network.spec.cidr).prefixlen if live else 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": list(dict.fromkeys([container.spec.name, *end.aliases, container.meta.name[:12]]))
        if named
        else None,
    }


def _ports(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(container.spec.config.get("ExposedPorts") or {})
    for one in container.spec.ports:
        key = f"{one.port}/{one.protocol}"
        found[key] = [*(found.get(key) or []), {"HostIp": one.host, "HostPort": str(one.host_port)}]
    return found


@operation("GET", "/containers/json")
async def list_containers(call: Call) -> None:
    """Docker: ContainerList: those that run; `all`, `limit`, `filters`."""
    wanted = call.filters()
    _check_filters(wanted)
    limit = call.number("limit", -1)
    found = newest_first(call.client)
    everything = call.flag("all") or limit > 0 or "status" in wanted or "exited" in wanted
    kept = [
        one
        for one in found
        if (everything or one.status.state in ("running", "restarting")) and _fits(call.world, one, wanted, found)
    ]
    kept = kept[:limit] if limit > 0 else kept
    lines = [summary(call.world, one) for one in kept]
    if call.flag("size"):
        for line, one in zip(lines, kept, strict=True):
            line |= await sizes_of(call.world, one)
    await call.send(200, lines)


def newest_first(client: Client) -> list[Container]:
    return sorted(client.all(Container, SCOPE), key=lambda one: one.meta.created, reverse=True)


_FILTERS = frozenset(
    {
        "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "label!", "name", "network", "publish",
        "since", "status", "volume",
    }
)  # fmt: skip


def _check_filters(wanted: dict[str, list[str]]) -> None:
    for key in wanted:
        if key not in _FILTERS:
            raise bad_parameter(f"invalid filter '{key}'")
    for state in wanted.get("status", ()):
        if state not in _STATES:
            raise bad_parameter(f"invalid filter 'status={state}'")


def _fits(world: World, one: Container, wanted: dict[str, list[str]], everyone: list[Container]) -> bool:
    spec, status = one.spec, one.status

    def any_of(key: str, test: Any) -> bool:
        return key not in wanted or any(test(text) for text in wanted[key])

    health = status.health.status if status.health else "none"
    ports = {f"{port.port}/{port.protocol}" for port in spec.ports} | {str(port.port) for port in spec.ports}
    exposed = set(spec.config.get("ExposedPorts") or {})
    return (
        any_of("id", one.meta.name.startswith)
        and any_of(
            "name",
            lambda text: text.strip("^$/") == spec.name if text.startswith("^") else text.lstrip("/") in spec.name,
        )
        and any_of("status", lambda text: text == state_word(one))
        and any_of("exited", lambda text: status.state == "exited" and str(status.exit_code) == text)
        and any_of("health", lambda text: text == health)
        and any_of("publish", lambda text: text in ports)
        and any_of("expose", lambda text: text in exposed or f"{text}/tcp" in exposed)
        and any_of(
            "volume", lambda text: any(text in (mount.name, mount.target, mount.source) for mount in spec.mounts)
        )
        and any_of("network", lambda text: _on_network(world, one, text))
        and any_of("ancestor", lambda text: _made_of(world, one, text))
        and any_of("before", lambda text: one.meta.created < find.container(world.client, text).meta.created)
        and any_of("since", lambda text: one.meta.created > find.container(world.client, text).meta.created)
        and label_matches(spec.config.get("Labels") or {}, wanted)
    )


def _on_network(world: World, one: Container, text: str) -> bool:
    for end in one.spec.endpoints:
        network = world.client.get(Network, SCOPE, end.network)
        if network is not None and (text == network.spec.name or network.meta.name.startswith(text)):
            return True
    return False


def _made_of(world: World, one: Container, text: str) -> bool:
    found = find.find_image(world.client, text)
    return found is not None and found.meta.name == one.spec.image


def summary(world: World, container: Container) -> dict[str, Any]:
    spec = container.spec
    image = str(spec.config.get("Image") or "")
    settings = _network_settings(world, container)
    return {
        "Id": container.meta.name,
        "Names": [f"/{spec.name}"],
        "Image": _image_name(world, container, image),
        "ImageID": spec.image,
        "Command": _command(spec.args),
        "Created": int(container.meta.created),
        "Ports": list(_port_list(container)),
        "Labels": spec.config.get("Labels") or {},
        "State": state_word(container),
        "Status": status_text(container, world.clock.now()),
        "HostConfig": {"NetworkMode": spec.host.get("NetworkMode") or "bridge"},
        "NetworkSettings": {"Networks": settings["Networks"]},
        "Mounts": [_mount(world, mount) for mount in spec.mounts],
    }


def _image_name(world: World, container: Container, image: str) -> str:
    """What the user called it, as long as that still is the image; else its id."""
    found = find.find_image(world.client, image)
    if found is None or found.meta.name != container.spec.image:
        return container.spec.image
    if image.startswith("sha256:"):
        return image
    try:
        reference = parse(image)
    except DockerError:
        return image
    return familiar(reference.full) if reference.digest or reference.tag else image


def _command(args: tuple[str, ...]) -> str:
    return " ".join([args[0], *(f"'{one}'" if " " in one else one for one in args[1:])])


def _port_list(container: Container) -> Iterable[dict[str, Any]]:
    if container.status.state != "running":
        return
    published = set()
    for one in container.spec.ports:
        published.add(f"{one.port}/{one.protocol}")
        yield {"IP": one.host, "PrivatePort": one.port, "PublicPort": one.host_port, "Type": one.protocol}
    for text in container.spec.config.get("ExposedPorts") or {}:
        if text not in published:
            yield {"PrivatePort": int(text.partition("/")[0]), "Type": text.partition("/")[2] or "tcp"}


def status_text(container: Container, now: float) -> str:
    """ "Up 5 minutes (Paused)", "Exited (0) 2 hours ago": units.HumanDuration of Docker."""
    status = container.status
    if status.state == "running":
        text = f"Up {human_duration(now - status.started)}"
        if container.spec.paused:
            return f"{text} (Paused)"
        if status.health is not None:
            word = "health: starting" if status.health.status == "starting" else status.health.status
            return f"{text} ({word})"
        return text
    if status.state == "restarting":
        return f"Restarting ({status.exit_code}) {human_duration(now - status.finished)} ago"
    if status.state == "created":
        return "Created"
    if status.state == "removing":
        return "Removal In Progress"
    return f"Exited ({status.exit_code}) {human_duration(now - status.finished)} ago"


def human_duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    minutes, hours = whole // 60, int(whole / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


async def sizes_of(world: World, container: Container) -> dict[str, int]:
    image, written = world.client.get(Image, SCOPE, container.spec.image), await sizes.of_container(world, container)
    return {"SizeRw": written, "SizeRootFs": written + (image.spec.size if image is not None else 0)}
