"""The types of what clients send, in Go's own spelling, and reading JSON as the Engine's decoder does.

A value of another type is 400 with that decoder's words, and nothing is stored that a client could not read again. As there, names of fields may be
written in any case, null is a type's zero value, and fields that nobody knows are passed over. Source: moby, api/types at 28.3.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from gureum.docker.errors import bad_parameter

_INTEGERS = {
    "int": (-(1 << 63), (1 << 63) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "time.Duration": (-(1 << 63), (1 << 63) - 1),
    "uint": (0, (1 << 64) - 1),
    "uint64": (0, (1 << 64) - 1),
    "uint16": (0, (1 << 16) - 1),
    "fs.FileMode": (0, (1 << 32) - 1),
}
_ZERO: dict[str, Any] = {"string": "", "bool": False}


def _fields(types: dict[str, str]) -> dict[str, str]:
    return {name: kind for kind, names in types.items() for name in names.split()}


_RESOURCES = {
    "int64": "CpuShares Memory NanoCpus CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime MemoryReservation MemorySwap CpuCount CpuPercent",
    "*int64": "MemorySwappiness PidsLimit",
    "uint64": "IOMaximumIOps IOMaximumBandwidth",
    "uint16": "BlkioWeight",
    "string": "CgroupParent CpusetCpus CpusetMems",
    "*bool": "OomKillDisable",
    "[]string": "DeviceCgroupRules",
    "[]blkiodev.WeightDevice": "BlkioWeightDevice",
    "[]blkiodev.ThrottleDevice": "BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps",
    "[]container.DeviceMapping": "Devices",
    "[]container.DeviceRequest": "DeviceRequests",
    "[]container.Ulimit": "Ulimits",
}
_CONFIG = {
    "string": "Hostname Domainname User Image WorkingDir MacAddress StopSignal",
    "bool": "AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce ArgsEscaped NetworkDisabled",
    "[]string": "Env OnBuild",
    "strslice.StrSlice": "Cmd Entrypoint Shell",
    "map[string]struct {}": "ExposedPorts Volumes",
    "map[string]string": "Labels",
    "*int": "StopTimeout",
    "*container.HealthConfig": "Healthcheck",
}
_STRUCTS: dict[str, dict[str, str]] = {
    "struct {}": {},
    "container.Config": _fields(_CONFIG),
    "container.CreateRequest": _fields(
        _CONFIG | {"*container.HostConfig": "HostConfig", "*network.NetworkingConfig": "NetworkingConfig"}
    ),
    "container.UpdateConfig": _fields(_RESOURCES | {"container.RestartPolicy": "RestartPolicy"}),
    "container.HostConfig": _fields(
        _RESOURCES
        | {
            "[]string": f"{_RESOURCES['[]string']} Binds VolumesFrom CapAdd CapDrop Dns DnsOptions DnsSearch ExtraHosts GroupAdd Links SecurityOpt "
            "MaskedPaths ReadonlyPaths",
            "string": f"{_RESOURCES['string']} ContainerIDFile NetworkMode VolumeDriver CgroupnsMode IpcMode Cgroup PidMode UTSMode UsernsMode "
            "Runtime Isolation",
            "bool": "AutoRemove Privileged PublishAllPorts ReadonlyRootfs",
            "*bool": f"{_RESOURCES['*bool']} Init",
            "int": "OomScoreAdj",
            "int64": f"{_RESOURCES['int64']} ShmSize",
            "map[string]string": "Annotations StorageOpt Tmpfs Sysctls",
            "[]uint": "ConsoleSize",
            "container.LogConfig": "LogConfig",
            "container.RestartPolicy": "RestartPolicy",
            "map[string][]nat.PortBinding": "PortBindings",
            "[]mount.Mount": "Mounts",
        }
    ),
    "container.HealthConfig": _fields(
        {"[]string": "Test", "time.Duration": "Interval Timeout StartPeriod StartInterval", "int": "Retries"}
    ),
    "image.Image": _fields(
        {
            "string": "created author architecture os",
            "*container.Config": "config",
            "*image.RootFS": "rootfs",
            "[]image.History": "history",
        }
    ),
    "image.RootFS": _fields({"string": "type", "[]string": "diff_ids"}),
    "image.History": _fields({"string": "created author created_by comment", "bool": "empty_layer"}),
    "container.LogConfig": _fields({"string": "Type", "map[string]string": "Config"}),
    "container.RestartPolicy": _fields({"string": "Name", "int": "MaximumRetryCount"}),
    "container.DeviceMapping": _fields({"string": "PathOnHost PathInContainer CgroupPermissions"}),
    "container.DeviceRequest": _fields(
        {
            "string": "Driver",
            "int": "Count",
            "[]string": "DeviceIDs",
            "[][]string": "Capabilities",
            "map[string]string": "Options",
        }
    ),
    "container.Ulimit": _fields({"string": "Name", "int64": "Hard Soft"}),
    "blkiodev.WeightDevice": _fields({"string": "Path", "uint16": "Weight"}),
    "blkiodev.ThrottleDevice": _fields({"string": "Path", "uint64": "Rate"}),
    "nat.PortBinding": _fields({"string": "HostIp HostPort"}),
    "mount.Mount": _fields(
        {
            "string": "Type Source Target Consistency",
            "bool": "ReadOnly",
            "*mount.BindOptions": "BindOptions",
            "*mount.VolumeOptions": "VolumeOptions",
            "*mount.ImageOptions": "ImageOptions",
            "*mount.TmpfsOptions": "TmpfsOptions",
        }
    ),
    "mount.BindOptions": _fields(
        {
            "string": "Propagation",
            "bool": "NonRecursive CreateMountpoint ReadOnlyNonRecursive ReadOnlyForceRecursive",
        }
    ),
    "mount.VolumeOptions": _fields(
        {"bool": "NoCopy", "string": "Subpath", "map[string]string": "Labels", "*mount.Driver": "DriverConfig"}
    ),
    "mount.ImageOptions": _fields({"string": "Subpath"}),
    "mount.TmpfsOptions": _fields({"int64": "SizeBytes", "fs.FileMode": "Mode", "[][]string": "Options"}),
    "mount.Driver": _fields({"string": "Name", "map[string]string": "Options"}),
    "container.ExecOptions": _fields(
        {
            "string": "User DetachKeys WorkingDir",
            "bool": "Privileged Tty AttachStdin AttachStderr AttachStdout Detach",
            "*[]uint": "ConsoleSize",
            "[]string": "Env Cmd",
        }
    ),
    "container.ExecStartOptions": _fields({"bool": "Detach Tty", "*[]uint": "ConsoleSize"}),
    "network.NetworkingConfig": _fields({"map[string]*network.EndpointSettings": "EndpointsConfig"}),
    "network.EndpointSettings": _fields(
        {
            "*network.EndpointIPAMConfig": "IPAMConfig",
            "[]string": "Links Aliases DNSNames",
            "string": "MacAddress NetworkID EndpointID Gateway IPAddress IPv6Gateway GlobalIPv6Address",
            "map[string]string": "DriverOpts",
            "int": "GwPriority IPPrefixLen GlobalIPv6PrefixLen",
        }
    ),
    "network.EndpointIPAMConfig": _fields({"string": "IPv4Address IPv6Address", "[]string": "LinkLocalIPs"}),
    "network.CreateRequest": _fields(
        {
            "string": "Name Driver Scope",
            "bool": "Internal Attachable Ingress ConfigOnly",
            "*bool": "CheckDuplicate EnableIPv4 EnableIPv6",
            "*network.ConfigReference": "ConfigFrom",
            "*network.IPAM": "IPAM",
            "map[string]string": "Options Labels",
        }
    ),
    "network.ConfigReference": _fields({"string": "Network"}),
    "network.IPAM": _fields({"string": "Driver", "map[string]string": "Options", "[]network.IPAMConfig": "Config"}),
    "network.IPAMConfig": _fields({"string": "Subnet IPRange Gateway", "map[string]string": "AuxiliaryAddresses"}),
    "network.ConnectOptions": _fields({"string": "Container", "*network.EndpointSettings": "EndpointConfig"}),
    "network.DisconnectOptions": _fields({"string": "Container", "bool": "Force"}),
    "volume.CreateOptions": _fields({"string": "Name Driver", "map[string]string": "DriverOpts Labels"}),
    "registry.AuthConfig": _fields(
        {"string": "username password auth email serveraddress identitytoken registrytoken"}
    ),
}
_SPELLED = {kind: {name.lower(): name for name in fields} for kind, fields in _STRUCTS.items()}


def read(data: bytes, kind: str) -> dict[str, Any]:
    """The JSON as a value of the struct `kind`; nothing at all is {}. DockerError 400."""
    if not data.strip():
        return {}
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_parameter(f"invalid JSON: {error}") from error
    except RecursionError as error:
        raise bad_parameter("invalid JSON: exceeded max depth") from error
    return cast(dict[str, Any], _value(found, kind, "", ()) or {})


def check(value: Any, kind: str) -> None:
    """DockerError 400 for a decoded value that is none of this type."""
    _value(value, kind, "", ())


def _value(value: Any, kind: str, struct: str, path: tuple[str, ...]) -> Any:
    """`struct`: the innermost one, "" outside of all; `path`: the fields that led here."""
    if kind.startswith("*"):
        return None if value is None else _value(value, kind[1:], struct, path)
    if kind == "strslice.StrSlice":
        kind = "string" if isinstance(value, str) else "[]string"
    if kind.startswith("[]"):
        if value is None or isinstance(value, list):
            return value and [_element(one, kind[2:], struct, path) for one in value]
    elif kind.startswith("map[string]"):
        if value is None or isinstance(value, dict):
            below = kind.removeprefix("map[string]")
            return value and {key: _element(one, below, struct, path) for key, one in value.items()}
    elif kind in _STRUCTS:
        if value is None or isinstance(value, dict):
            return value and _struct(value, kind, path)
    elif value is None or _fits(value, kind):
        return value
    raise bad_parameter(
        f"invalid JSON: json: cannot unmarshal {_name(value, kind)} into Go {_place(struct, path)} of type {kind}"
    )


def _element(value: Any, kind: str, struct: str, path: tuple[str, ...]) -> Any:
    found = _value(value, kind, struct, path)
    return (
        found if found is not None or kind[:2] == "[]" else _ZERO.get(kind, {} if kind.lstrip("*") in _STRUCTS else 0)
    )


def _struct(value: dict[str, Any], kind: str, path: tuple[str, ...]) -> dict[str, Any]:
    fields, spelled, name = _STRUCTS[kind], _SPELLED[kind], kind.rpartition(".")[2]
    found = {}
    for key, one in value.items():
        known = key if key in fields else spelled.get(key.lower())
        if known is not None:
            found[known] = _value(one, fields[known], name, (*path, known))
    return found


def _fits(value: Any, kind: str) -> bool:
    if kind in _INTEGERS:
        least, most = _INTEGERS[kind]
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return isinstance(value, bool if kind == "bool" else str)


def _name(value: Any, kind: str) -> str:
    """What Go's decoder calls a JSON value: a number by its digits where a number is wanted."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return f"number {value}" if kind in _INTEGERS else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _place(struct: str, path: tuple[str, ...]) -> str:
    return f"struct field {struct}.{'.'.join(path)}" if struct else "value"
