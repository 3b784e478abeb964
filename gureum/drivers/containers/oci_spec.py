"""Pure render of a container into an OCI runtime configuration (`config.json`), and of its limits.

    ContainerSpec + facts of the host (hard rlimits, architecture)  ->  render()  ->  dict for config.json

What a guest is kept from, in layers: its user namespace (root inside is nobody outside), capabilities, the seccomp list,
masked and read-only paths of /proc and /sys, no device but the harmless ones, limits of its cgroup. This module decides
all of these in one place; it reads nothing and runs nothing.

Sources: OCI runtime-spec 1.0 (config.md, config-linux.md); Docker's documented default capabilities and masked paths.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from gureum.drivers.containers import free_console, oci_application, seccomp
from gureum.ports.containers import ROOT, Application, ContainerSpec, Limits, Mount, User

_DOCKER = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
# What an owner of its user, network, pid, ipc, uts and mount namespaces may have: the kernel checks each of these against the
# container's own user namespace. Those it checks against the host's (modules, raw I/O, clock, kernel log …) are left out, they would
# only invite attempts.
_OWNER = "NET_ADMIN NET_BROADCAST SYS_ADMIN SYS_BOOT SYS_NICE SYS_PTRACE SYS_TTY_CONFIG IPC_LOCK IPC_OWNER LEASE"
DOCKER_CAPABILITIES = tuple(f"CAP_{name}" for name in _DOCKER.split())
MACHINE_CAPABILITIES = (*DOCKER_CAPABILITIES, *(f"CAP_{name}" for name in _OWNER.split()))
# Without a user namespace of its own a machine's root is the host's root: then only what Docker gives, and power over its own network
# and its own reboot.
UNSHIFTED_MACHINE_CAPABILITIES = (*DOCKER_CAPABILITIES, "CAP_NET_ADMIN", "CAP_SYS_BOOT")

MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/fs/cgroup", "/sys/block",
    "/sys/fs/ext4", "/sys/module",
)  # fmt: skip
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger")
# /proc/sys stays writable in a user namespace of its own: the kernel gives its root the sysctls of its network and ipc namespaces
# (ip_forward, …) and refuses all others.
UNSHIFTED_READ_ONLY_PATHS = (*READ_ONLY_PATHS, "/proc/sys")

GROUPS = "/sys/fs/cgroup"
CFS_PERIOD_US = 100_000
MOST_OWN_GROUPS = 1024
DEFAULT_CPU_SHARES = 1024
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HostFacts(msgspec.Struct, frozen=True):
    """`rlimits`: (name, soft, hard) as the OCI configuration has them, none above what the caller may set. `machine`: uname -m.
    `cgroup_version`: 1 (also hybrid) or 2. `capabilities`: which the caller may hand on where there is no user namespace, None for all."""

    rlimits: tuple[tuple[str, int, int], ...]
    machine: str
    cgroup_version: int
    capabilities: frozenset[str] | None = None


def render(
    spec: ContainerSpec, host: HostFacts, *, cgroup_path: str, user: User = ROOT, init: str = ""
) -> dict[str, Any]:
    """`cgroup_path`: absolute inside each cgroup hierarchy, "/gureum-ab12/web". Terminal and console follow `spec.machine`. `user`: whom an
    application runs as. `init`: the host's file of the init that is to be its PID 1, of a machine the one of free_console.py; "" for none."""
    if spec.application is not None:
        told = oci_application.under_init(spec, init) if init else spec
        return _render_application(told, spec.application, host, user, cgroup_path)
    if init:
        mount = Mount(free_console.TARGET, source=init, options=("ro",))
        spec = msgspec.structs.replace(spec, args=(mount.target, *spec.args), mounts=(*spec.mounts, mount))
    capabilities = capabilities_of(spec)
    return {
        "ociVersion": "1.0.2",
        "process": process(spec, host, spec.args, terminal=spec.machine, env=spec.env),
        "root": {"path": spec.root, "readonly": False},
        "hostname": spec.hostname or spec.name,
        "mounts": [*_system_mounts(spec, host), *(_mount(mount) for mount in spec.mounts)],
        "annotations": dict(spec.annotations),
        "linux": {
            "namespaces": _namespaces(spec),
            **_mappings(spec),
            "cgroupsPath": cgroup_path,
            "resources": {"devices": _device_rules(), **resources(spec.limits), **_on_v2(spec.limits, host)},
            "seccomp": seccomp.render(frozenset(capabilities), host.machine),
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READ_ONLY_PATHS if spec.sandbox_user else UNSHIFTED_READ_ONLY_PATHS),
            # What is to follow must not be cut off before it is mounted.
            "rootfsPropagation": "rslave" if any(mount.follows for mount in spec.mounts) else "private",
        },
    }


def _render_application(
    spec: ContainerSpec, wish: Application, host: HostFacts, user: User, cgroup_path: str
) -> dict[str, Any]:
    nodes, rules = oci_application.device_nodes(wish)
    limits = resources(spec.limits)
    for kind, more in oci_application.resources(spec.limits, host.cgroup_version).items():
        limits[kind] = {**limits.get(kind, {}), **more}
    capabilities = frozenset(capabilities_of(spec))
    free = wish.privileged or wish.unconfined
    masked = MASKED_PATHS if wish.masked_paths is None else wish.masked_paths
    fixed: tuple[str, ...] = READ_ONLY_PATHS if spec.sandbox_user else UNSHIFTED_READ_ONLY_PATHS
    fixed = fixed if wish.read_only_paths is None else wish.read_only_paths
    if _shows_groups(spec, host):
        masked = tuple(one for one in masked if one != GROUPS)
    shared_host = "uts" in wish.shared
    return {
        "ociVersion": "1.0.2",
        "process": {
            **process(spec, host, spec.args, terminal=wish.terminal, env=spec.env, user=user),
            **_size(wish),
            **({"oomScoreAdj": wish.oom_score} if wish.oom_score else {}),
        },
        "root": {"path": spec.root, "readonly": wish.read_only},
        **({} if shared_host else {"hostname": spec.hostname or spec.name}),
        **({"domainname": wish.domain} if wish.domain and not shared_host else {}),
        "mounts": _ordered([*_system_mounts(spec, host), *(_mount(mount) for mount in spec.mounts)]),
        "annotations": dict(spec.annotations),
        "linux": {
            "namespaces": oci_application.namespaces(spec, wish),
            **_mappings(spec),
            **({"devices": nodes} if nodes else {}),
            **({"sysctl": dict(wish.sysctls)} if wish.sysctls else {}),
            "cgroupsPath": cgroup_path,
            "resources": {
                "devices": [*_device_rules(), *rules],
                **limits,
                **oci_application.throttled(wish),
                **_on_v2(spec.limits, host),
            },
            **({} if free else {"seccomp": seccomp.render(capabilities, host.machine)}),
            "maskedPaths": [] if wish.privileged else list(masked),
            "readonlyPaths": [] if wish.privileged else list(fixed),
            "rootfsPropagation": "private",
        },
    }


def _size(wish: Application) -> dict[str, Any]:
    rows, columns = wish.console_size
    return {"consoleSize": {"height": rows, "width": columns}} if wish.terminal and rows and columns else {}


def _ordered(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A mount hides what was mounted at its place or below before: of two at one place the later is meant, and outer ones come first."""
    last = {mount["destination"].rstrip("/") or "/": mount for mount in mounts}
    return sorted(last.values(), key=lambda mount: mount["destination"].rstrip("/").count("/"))


def process(
    spec: ContainerSpec,
    host: HostFacts,
    args: tuple[str, ...],
    *,
    terminal: bool,
    env: tuple[str, ...],
    user: User = ROOT,
    folder: str = "",
    privileged: bool = False,
) -> dict[str, Any]:
    """The `process` object: PID 1's, or that of a program run inside later (`crun exec --process`). Who is not root starts without capabilities,
    and may gain them (sudo). `privileged`: all there are, whoever it is."""
    wish = spec.application
    names = {entry.partition("=")[0] for entry in env}
    defaults = [
        entry for entry in (_PATH, *(["TERM=xterm"] if terminal else [])) if entry.partition("=")[0] not in names
    ]
    bounded = host.capabilities is not None and not spec.sandbox_user
    wanted = oci_application.EVERY_CAPABILITY if privileged else capabilities_of(spec)
    capabilities = [one for one in wanted if not bounded or one in (host.capabilities or ())]
    own = [] if user.uid and not privileged else capabilities
    return {
        "terminal": terminal,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(args),
        "env": [*defaults, *env],
        "cwd": folder or spec.working_dir or "/",
        "capabilities": {"bounding": capabilities, **dict.fromkeys(("effective", "permitted"), own)},
        "rlimits": [{"type": name, "soft": soft, "hard": hard} for name, soft, hard in host.rlimits]
        if wish is None
        else oci_application.rlimits(wish, host.rlimits),
        # A machine's users run sudo and passwd; an application container too, as under Docker.
        "noNewPrivileges": wish is not None and wish.no_new_privileges,
    }


def capabilities_of(spec: ContainerSpec) -> tuple[str, ...]:
    if spec.application is not None:
        return tuple(f"CAP_{name}" for name in spec.application.capabilities)
    if not spec.machine:
        return DOCKER_CAPABILITIES
    return MACHINE_CAPABILITIES if spec.sandbox_user else UNSHIFTED_MACHINE_CAPABILITIES


def resources(limits: Limits) -> dict[str, Any]:
    """`linux.resources` without devices. What is not limited is left out: a new control group has no limits."""
    memory = {"memory": {"limit": limits.memory_bytes}} if limits.memory_bytes else {}
    pids = {"pids": {"limit": limits.pids}} if limits.pids else {}
    quota = {"quota": cpu_quota_us(limits), "period": CFS_PERIOD_US} if limits.cpus else {}
    shares = {"shares": limits.cpu_shares} if limits.cpu_shares else {}
    return {**memory, **pids, **({"cpu": {**quota, **shares}} if limits.cpus or limits.cpu_shares else {})}


def _on_v2(limits: Limits, host: HostFacts) -> dict[str, Any]:
    """On v2 the runtime gives a guest its group to divide, and all that it divides it into is the kernel's memory. v1 gives it none. The weight is
    here because releases of the runtimes make different ones of shares; what stands here they write last."""
    if host.cgroup_version != 2:
        return {}
    weight = {"cpu.weight": str(cpu_weight(limits.cpu_shares))} if limits.cpu_shares else {}
    return {"unified": {"cgroup.max.descendants": str(MOST_OWN_GROUPS), **weight}}


def cpu_quota_us(limits: Limits) -> int:
    """Microseconds of processor time in each period of 100 ms; -1 is no limit. The kernel refuses less than 1,000."""
    return max(1000, int(limits.cpus * CFS_PERIOD_US)) if limits.cpus else -1


def cpu_weight(shares: int) -> int:
    """cgroup v2's scale (1 to 10,000) for v1's (2 to 262,144), as crun 1.23 and runc 1.3.2 convert it: 1,024 shares are what a group has that
    nobody gave any, a weight of 100. What they did before made 39 of them."""
    if not 2 < shares < 262144:
        return 1 if shares <= 2 else 10000
    scale = math.log2(shares)
    return math.ceil(10 ** ((scale * scale + 125 * scale) / 612 - 7 / 34))


def owner(spec: ContainerSpec, process: dict[str, Any]) -> tuple[int, int]:
    """The host's (uid, gid) of a `process` object's program."""
    base = spec.uid_base if spec.sandbox_user else 0
    return base + process["user"]["uid"], base + process["user"]["gid"]


def _namespaces(spec: ContainerSpec) -> list[dict[str, str]]:
    user = [{"type": "user", "path": spec.sandbox_user}] if spec.sandbox_user else []
    net = {"type": "network", "path": spec.sandbox_net} if spec.sandbox_net else {"type": "network"}
    return [*user, net, *({"type": kind} for kind in ("pid", "mount", "ipc", "uts", "cgroup"))]


def _mappings(spec: ContainerSpec) -> dict[str, Any]:
    """Of the user namespace that is joined: it has them already, but runc 1.1 wants to be told."""
    if not spec.sandbox_user:
        return {}
    shift = [{"containerID": 0, "hostID": spec.uid_base, "size": 65536}]
    return {"uidMappings": shift, "gidMappings": shift}


def _system_mounts(spec: ContainerSpec, host: HostFacts) -> list[dict[str, Any]]:
    quiet, shm_bytes = ["nosuid", "noexec", "nodev"], _shm_bytes(spec)
    mounts = [
        _entry("/proc", "proc", "proc", quiet),
        _entry("/dev", "tmpfs", "tmpfs", ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]),
        _entry(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        *(
            [_entry("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", f"size={shm_bytes // 1024}k"])]
            if shm_bytes
            else []
        ),
        _entry("/dev/mqueue", "mqueue", "mqueue", quiet),
        # Without a network of its own a container in a user namespace may not mount sysfs: it sees the host's.
        _entry("/sys", "sysfs", "sysfs", [*quiet, *([] if _is_privileged(spec) else ["ro"])]),
    ]
    if host.cgroup_version == 2:
        # Its own subtree only: the cgroup namespace hides the rest.
        mode = [] if (spec.machine and spec.sandbox_user) or _is_privileged(spec) else ["ro"]
        mounts.append(_entry(GROUPS, "cgroup", "cgroup", [*quiet, *mode]))
    elif _shows_groups(spec, host):
        # Programs read their limits there, and change nothing. A machine's init would take the hierarchies for its own: they stay out.
        mounts.append(_entry(GROUPS, "cgroup", "cgroup", [*quiet, "ro"]))
    return mounts


def _shows_groups(spec: ContainerSpec, host: HostFacts) -> bool:
    """Whether an application sees its own control groups of version 1, and only those: it has a cgroup namespace."""
    return host.cgroup_version == 1 and spec.application is not None and "cgroup" not in spec.application.shared


def _shm_bytes(spec: ContainerSpec) -> int:
    return spec.application.shm_bytes if spec.application is not None else 64 << 20


def _is_privileged(spec: ContainerSpec) -> bool:
    return spec.application is not None and spec.application.privileged


def _entry(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.kind == "tmpfs":
        return _entry(mount.target, "tmpfs", "tmpfs", ["nosuid", "nodev", *mount.options])
    # rprivate: nothing the container mounts below may appear on the host, nor with rslave; that lets through what the host mounts. nodev: no
    # device of the source can be opened.
    way = "rslave" if mount.follows else "rprivate"
    return _entry(mount.target, "bind", mount.source, ["rbind", way, "nosuid", "nodev", *mount.options])


def _device_rules() -> list[dict[str, Any]]:
    """Nothing but null, zero, full, random, urandom, tty, ptmx and pseudo terminals; making nodes is no power by itself."""
    allowed = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2))
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    rules += [{"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"} for major, minor in allowed]
    rules.append({"allow": True, "type": "c", "major": 136, "access": "rwm"})
    return rules
