"""What an application's container adds to the OCI configuration (oci_spec.py), as `docker run` lets its users choose.

Sources: OCI runtime-spec 1.0; Docker's documented defaults (`docker run`: runtime privilege and capabilities, devices, shm, ulimits).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from gureum.ports import PortError
from gureum.ports.containers import Application, ContainerSpec, DeviceRule, Limits, Mount

_NAMESPACES = {"pid": "pid", "ipc": "ipc", "uts": "uts", "net": "network"}
# By their numbers (linux/capability.h).
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
EVERY_CAPABILITY = tuple(f"CAP_{name}" for name in CAPABILITIES)
_THROTTLES = {
    "read_bps": "throttleReadBpsDevice",
    "write_bps": "throttleWriteBpsDevice",
    "read_iops": "throttleReadIOPSDevice",
    "write_iops": "throttleWriteIOPSDevice",
}
_ALL_DEVICES = [{"allow": True, "access": "rwm"}]
INIT = "/sbin/docker-init"
"""Where Docker shows it."""


def under_init(spec: ContainerSpec, init: str) -> ContainerSpec:
    """The same with an init as its PID 1, which starts the program, hands signals on and reaps what is left behind. `init`: a program of the host
    that needs no library, called as `init -- PROGRAM ARGUMENTS` (tini, catatonit)."""
    mount = Mount(INIT, source=init, options=("ro",))
    return msgspec.structs.replace(spec, args=(INIT, "--", *spec.args), mounts=(*spec.mounts, mount))


def resources(limits: Limits, cgroup_version: int) -> dict[str, Any]:
    """What a machine has no use for: processors by number, swap, soft limits of memory."""
    found: dict[str, Any] = {}
    if limits.cpuset:
        found["cpu"] = {"cpus": limits.cpuset}
    if limits.swap_bytes or limits.reserved_bytes:
        swap = {"swap": limits.swap_bytes} if limits.swap_bytes else {}
        found["memory"] = swap | ({"reservation": limits.reserved_bytes} if limits.reserved_bytes else {})
    if limits.waits_for_memory and cgroup_version == 1:
        found["memory"] = {**found.get("memory", {}), "disableOOMKiller": True}
    if limits.swappiness >= 0 and cgroup_version == 1:
        found["memory"] = {**found.get("memory", {}), "swappiness": limits.swappiness}
    return found


def device_nodes(application: Application) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(nodes to make, rules of the control group)."""
    if application.privileged:
        return _host_devices(), _ALL_DEVICES
    nodes, rules = [], []
    for device in application.devices:
        node = _node(device.host, device.target)
        if node is None:
            why = "not a device node" if os.path.exists(device.host) else "no such file or directory"
            text = f'error gathering device information while adding custom device "{device.host}": {why}'
            raise PortError(text, retry=False)
        nodes.append(node)
        rule = {
            "allow": True,
            "type": node["type"],
            "major": node["major"],
            "minor": node["minor"],
            "access": device.access,
        }
        rules.append(rule)
    return nodes, [*rules, *map(_rule, application.device_rules)]


def _rule(rule: DeviceRule) -> dict[str, Any]:
    numbers = {name: number for name, number in (("major", rule.major), ("minor", rule.minor)) if number >= 0}
    return {"allow": True, "type": rule.kind, **numbers, "access": rule.access}


def throttled(application: Application) -> dict[str, Any]:
    """`linux.resources` for the disks that it may use so fast only. PortError for what is no disk."""
    found: dict[str, list[dict[str, int]]] = {}
    for one in application.throttles:
        node = _node(one.device, one.device)
        if node is None or node["type"] != "b":
            raise PortError(f"{one.device}: no such block device", retry=False)
        limit = {"major": node["major"], "minor": node["minor"], "rate": one.rate}
        found.setdefault(_THROTTLES[one.what], []).append(limit)
    return {"blockIO": found} if found else {}


def _host_devices() -> list[dict[str, Any]]:
    """Those in /dev itself; what the runtime makes anyhow is left out."""
    own = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    found = (
        _node(entry.path, entry.path) for entry in os.scandir("/dev") if entry.name not in own and not entry.is_dir()
    )
    return [node for node in found if node is not None]


def _node(path: str, target: str) -> dict[str, Any] | None:
    try:
        seen = Path(path).stat()
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(seen.st_mode) else "b" if stat.S_ISBLK(seen.st_mode) else ""
    if not kind:
        return None
    device = seen.st_rdev
    return {
        "path": target,
        "type": kind,
        "major": os.major(device),
        "minor": os.minor(device),
        "fileMode": stat.S_IMODE(seen.st_mode),
        "uid": seen.st_uid,
        "gid": seen.st_gid,
    }


def namespaces(spec: ContainerSpec, application: Application) -> list[dict[str, str]]:
    """Own ones, but for those that are another container's (a path) or the host's ("")."""
    shared = application.shared
    found = [{"type": "user", "path": spec.sandbox_user}] if spec.sandbox_user else []
    if "net" not in shared:
        found.append({"type": "network", "path": spec.sandbox_net} if spec.sandbox_net else {"type": "network"})
    for word, kind in _NAMESPACES.items():
        if shared.get(word):
            found.append({"type": kind, "path": shared[word]})
        elif word not in shared and word != "net":
            found.append({"type": kind})
    return [*found, {"type": "mount"}, *([] if "cgroup" in shared else [{"type": "cgroup"}])]


def rlimits(application: Application, known: tuple[tuple[str, int, int], ...]) -> list[dict[str, Any]]:
    """The wished ones over the usual; never above what we may set ourselves."""
    hard = {name: most for name, _, most in known}
    wished = {name: (soft, most) for name, soft, most in known}
    for name, soft, most in application.ulimits:
        bound = hard.get(name, most if most >= 0 else (1 << 64) - 1)
        wished[name] = tuple(min(one if one >= 0 else (1 << 64) - 1, bound) for one in (soft, most))  # type: ignore[assignment]
    return [{"type": name, "soft": soft, "hard": most} for name, (soft, most) in wished.items()]
