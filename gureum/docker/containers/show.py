"""GET /containers/{id}/json: a container in the API's form, with every field that clients read."""

from __future__ import annotations

import ipaddress
from typing import Any

from gureum.core.world import World
from gureum.docker import find, sizes
from gureum.docker.call import Call, operation
from gureum.docker.containers.options import hostname, iso
from gureum.docker.kinds import SCOPE, Container, Endpoint, MountPoint, Network, Volume
from gureum.docker.lowering import core_name

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
        found |= await sizes.shown(call.world, container)
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
            mount_shown(world, mount)
            for mount in spec.mounts
            if mount.type != "tmpfs" or mount.target not in (spec.host.get("Tmpfs") or {})
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
            "Env": list(config.get("Env") or ()),
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
        "NetworkSettings": network_settings(world, container),
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


def mount_shown(world: World, mount: MountPoint) -> dict[str, Any]:
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


def network_settings(world: World, container: Container) -> dict[str, Any]:
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
        "MacAddress": end.mac if live else end.wished_mac,
        "DriverOpts": end.driver_options or None,
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
