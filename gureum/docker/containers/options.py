"""What the options of `docker run` (Config, HostConfig) mean to the core. Pure; bad ones were refused when the container was created."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, cast

from gureum.core.specs import HealthCheck, Restart
from gureum.docker.errors import bad_parameter, server_error
from gureum.docker.kinds import Container
from gureum.ports.containers import Application, Device, DeviceRule, Limits, Throttle

DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
ALL_CAPABILITIES = (
    *DEFAULT_CAPABILITIES, "AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "IPC_LOCK",
    "IPC_OWNER", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "PERFMON", "SYSLOG", "SYS_ADMIN",
    "SYS_BOOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "WAKE_ALARM",
)  # fmt: skip
_THROTTLES: dict[str, Literal["read_bps", "write_bps", "read_iops", "write_iops"]] = {
    "BlkioDeviceReadBps": "read_bps",
    "BlkioDeviceWriteBps": "write_bps",
    "BlkioDeviceReadIOps": "read_iops",
    "BlkioDeviceWriteIOps": "write_iops",
}
_HOST_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,62}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_DEVICE_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
NANO = 1_000_000_000
PERIOD_US = 100_000
UNKEPT_LOG_BYTES, LOCAL_LOG_BYTES = 64 << 20, 5 * (20 << 20)
"""Docker's "local" driver keeps five files of 20 MB."""
ZERO_TIME = "0001-01-01T00:00:00Z"


def hostname(container: Container) -> str:
    return str(container.spec.config.get("Hostname") or container.meta.name[:12])


def host_line(container: Container) -> str:
    """What /etc/hosts calls the container."""
    name, domain = hostname(container), container.spec.config.get("Domainname")
    return f"{name}.{domain} {name}" if domain else name


def is_host_name(text: str) -> bool:
    return _HOST_NAME.fullmatch(text) is not None


def has_own_users(host: dict[str, Any]) -> bool:
    """Whether root inside is nobody outside. Not where the user asks for what is the host's: its namespaces, its devices, all power."""
    shares = any(host.get(f"{kind}Mode") == "host" for kind in ("Network", "Pid", "Ipc", "UTS", "Userns"))
    return not (shares or host.get("Privileged") or host.get("Devices") or host.get("DeviceCgroupRules"))


def capabilities(host: dict[str, Any]) -> tuple[str, ...]:
    if host.get("Privileged"):
        return ALL_CAPABILITIES
    add = [_plain(one) for one in host.get("CapAdd") or ()]
    drop = [_plain(one) for one in host.get("CapDrop") or ()]
    start = () if "ALL" in drop else ALL_CAPABILITIES if "ALL" in add else DEFAULT_CAPABILITIES
    kept = [one for one in start if one not in drop]
    return tuple(dict.fromkeys([*kept, *(one for one in add if one != "ALL")]))


def check_capabilities(host: dict[str, Any]) -> None:
    for one in [*(host.get("CapAdd") or ()), *(host.get("CapDrop") or ())]:
        if _plain(one) not in (*ALL_CAPABILITIES, "ALL"):
            raise bad_parameter(f'invalid capability: unknown capability: "CAP_{_plain(one)}"')


def _plain(capability: str) -> str:
    return capability.upper().removeprefix("CAP_")


def limits(host: dict[str, Any]) -> Limits:
    memory = int(host.get("Memory") or 0)
    cpus = int(host.get("NanoCpus") or 0) / NANO
    quota = int(host.get("CpuQuota") or 0)
    if not cpus and quota > 0:
        cpus = quota / (int(host.get("CpuPeriod") or 0) or PERIOD_US)
    return Limits(
        memory_bytes=memory,
        cpus=cpus,
        cpu_shares=int(host.get("CpuShares") or 0),
        pids=max(0, int(host.get("PidsLimit") or 0)),
        cpuset=str(host.get("CpusetCpus") or ""),
        swap_bytes=int(host.get("MemorySwap") or 0) if memory else 0,
        reserved_bytes=int(host.get("MemoryReservation") or 0),
        waits_for_memory=bool(host.get("OomKillDisable")),
        swappiness=swappiness(host),
    )


def swappiness(host: dict[str, Any]) -> int:
    """-1 where the user said nothing."""
    found = host.get("MemorySwappiness")
    return -1 if found is None else int(found)


def restart(host: dict[str, Any]) -> Restart:
    policy = host.get("RestartPolicy") or {}
    name = policy.get("Name") or "no"
    return Restart(cast(Any, name), int(policy.get("MaximumRetryCount") or 0))


def health(config: dict[str, Any]) -> HealthCheck | None:
    """Times come in nanoseconds; 0 means the default."""
    wish = config.get("Healthcheck") or {}
    test = wish.get("Test") or []
    if not test or test[0] == "NONE":
        return None
    args = ("/bin/sh", "-c", str(test[1])) if test[0] == "CMD-SHELL" else tuple(map(str, test[1:]))
    return HealthCheck(
        args,
        interval_s=int(wish.get("Interval") or 0) / NANO or 30.0,
        timeout_s=int(wish.get("Timeout") or 0) / NANO or 30.0,
        start_period_s=int(wish.get("StartPeriod") or 0) / NANO,
        start_interval_s=int(wish.get("StartInterval") or 0) / NANO or 5.0,
        retries=int(wish.get("Retries") or 0) or 3,
        user=user(config),
    )


def application(container: Container) -> Application:
    config, host = container.spec.config, container.spec.host
    security = [str(one) for one in host.get("SecurityOpt") or ()]
    # A terminal stays open to those who come after whoever leaves it (Docker: detach and attach again), whatever StdinOnce says.
    once = config.get("StdinOnce") and not config.get("Tty")
    stdin = "none" if not config.get("OpenStdin") else "once" if once else "open"
    rows, columns = (host.get("ConsoleSize") or [0, 0])[:2]
    masked, fixed = host.get("MaskedPaths"), host.get("ReadonlyPaths")
    return Application(
        user=user(config),
        groups=tuple(map(str, host.get("GroupAdd") or ())),
        terminal=bool(config.get("Tty")),
        stdin=stdin,  # type: ignore[arg-type]
        console_size=(int(rows), int(columns)),
        capabilities=capabilities(host),
        privileged=bool(host.get("Privileged")),
        read_only=bool(host.get("ReadonlyRootfs")),
        no_new_privileges=any(
            one in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true") for one in security
        ),
        unconfined=any(one in ("seccomp=unconfined", "seccomp:unconfined") for one in security),
        devices=tuple(_devices(host)),
        device_rules=tuple(device_rules(host)),
        ulimits=tuple(_ulimits(host)),
        shm_bytes=0 if host.get("IpcMode") == "none" else shm_bytes(host),
        log_bytes=log_bytes(host),
        init=bool(host.get("Init")),
        shared=_shared(host),
        sysctls={str(key): str(value) for key, value in (host.get("Sysctls") or {}).items()},
        domain=str(config.get("Domainname") or ""),
        oom_score=int(host.get("OomScoreAdj") or 0),
        masked_paths=None if masked is None else tuple(map(str, masked)),
        read_only_paths=None if fixed is None else tuple(map(str, fixed)),
        throttles=tuple(throttles(host)),
    )


def shm_bytes(host: dict[str, Any]) -> int:
    return int(host.get("ShmSize") or 0) or 64 << 20


def user(config: dict[str, Any]) -> str:
    return str(config.get("User") or "")


def log_bytes(host: dict[str, Any]) -> int:
    """At which the log begins anew, 0 for never. There is one file, as large as all of Docker's together may be; where nobody may read it later
    ("none"), it is only what an attached client has not heard yet. DockerError 400 for nonsense."""
    wish = host.get("LogConfig") or {}
    given = wish.get("Config") or {}
    files = str(given.get("max-file") or "1")
    if not files.isdecimal() or not int(files):
        raise bad_parameter(f"max-file must be a positive number: '{files}'")
    size = size_bytes(str(given.get("max-size") or ""))
    if wish.get("Type") == "none":
        return UNKEPT_LOG_BYTES
    if wish.get("Type") == "local" and not size:
        return LOCAL_LOG_BYTES
    return size * int(files)


def processors(text: str) -> set[int]:
    """Of "0-2,5". ValueError."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        found |= set(range(int(first), int(last if dash else first) + 1))
    return found


def _shared(host: dict[str, Any]) -> dict[str, str]:
    kinds = {"net": "NetworkMode", "pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "cgroup": "CgroupnsMode"}
    modes = {kind: str(host.get(key) or "") for kind, key in kinds.items()}
    if host.get("Privileged") and not modes["cgroup"]:
        modes["cgroup"] = "host"
    return {kind: "" for kind, mode in modes.items() if mode == "host"}


def _devices(host: dict[str, Any]) -> Iterator[Device]:
    for one in host.get("Devices") or ():
        outside = str(one.get("PathOnHost") or "")
        yield Device(outside, str(one.get("PathInContainer") or outside), str(one.get("CgroupPermissions") or "rwm"))


def device_rules(host: dict[str, Any]) -> Iterator[DeviceRule]:
    """Of "c 7:* rw". DockerError 400."""
    for text in map(str, host.get("DeviceCgroupRules") or ()):
        found = _DEVICE_RULE.fullmatch(text)
        if found is None:
            raise bad_parameter(f"invalid device cgroup rule format: '{text}'")
        major, minor = (-1 if one == "*" else int(one) for one in (found[2], found[3]))
        yield DeviceRule(cast(Any, found[1]), major, minor, found[4])


def _ulimits(host: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    for one in host.get("Ulimits") or ():
        yield f"RLIMIT_{str(one.get('Name')).upper()}", int(one.get("Soft") or 0), int(one.get("Hard") or 0)


def throttles(host: dict[str, Any]) -> Iterator[Throttle]:
    """DockerError 400 for a rate that is none."""
    for key, what in _THROTTLES.items():
        for one in host.get(key) or ():
            rate = one.get("Rate")
            if not isinstance(rate, int) or rate < 0:
                raise bad_parameter(f"invalid rate for device: {one.get('Path')}:{rate}")
            yield Throttle(str(one.get("Path") or ""), what, rate)


_TMPFS_KEYS = frozenset({"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_TMPFS_FLAGS = frozenset(
    {
        "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "remount", "mand", "nomand",
        "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "private", "rprivate",
        "shared", "rshared", "slave", "rslave", "bind", "rbind", "unbindable", "runbindable",
    }
)  # fmt: skip


def check_tmpfs(text: str) -> None:
    """DockerError 500, as Docker's start has it (moby: mount.MergeTmpfsOptions)."""
    for one in filter(None, text.split(",")):
        key, equals, value = one.partition("=")
        if key not in _TMPFS_KEYS if equals else key not in _TMPFS_FLAGS:
            quoted = " ".join(f'"{part}"' for part in ((key, value) if equals else (key,)))
            raise server_error(f"invalid tmpfs option [{quoted}]")


def tmpfs_options(text: str) -> tuple[str, ...]:
    """ "size=64m,mode=1770" as the kernel takes it; Docker's own are noexec, nosuid, nodev."""
    wished = [one for one in text.split(",") if one and one not in ("rw", "nosuid", "nodev")]
    return (*([] if "exec" in wished else ["noexec"]), *(one for one in wished if one not in ("exec", "noexec")))


HOST_GATEWAY = "host-gateway"


def extra_host(text: str) -> tuple[str, str]:
    """(name, address) of "name:address" or "name=address"; an IPv6 address may stand in brackets."""
    name, _, address = text.partition("=" if "=" in text else ":")
    return name, address.removeprefix("[").removesuffix("]")


def extra_hosts(host: dict[str, Any], gateway: str) -> Iterator[str]:
    for one in host.get("ExtraHosts") or ():
        name, address = extra_host(str(one))
        yield f"{gateway if address == HOST_GATEWAY else address}\t{name}\n"


def resolver(host: dict[str, Any], server: str, *, names: bool = False) -> str:
    """/etc/resolv.conf. `names`: `server` knows the container's neighbours, and is asked first whatever the user said."""
    wished_servers = [str(one) for one in host.get("Dns") or ()]
    servers = [server, *wished_servers] if names else wished_servers or ([server] if server else [])
    search = [str(one) for one in host.get("DnsSearch") or () if one != "."]
    wished = [str(one) for one in host.get("DnsOptions") or ()]
    lines = [f"nameserver {one}" for one in servers]
    lines += [f"search {' '.join(search)}"] if search else []
    lines += [f"options {' '.join(wished or ['ndots:0'])}"]
    return "\n".join(lines) + "\n"


def size_bytes(text: str) -> int:
    """Of "10m", "64k", "1g", "1024"; 0 for none, DockerError 400 for nonsense."""
    if not text:
        return 0
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise bad_parameter(f"invalid size: '{text}'")
    return int(float(found[1]) * 1024 ** ["", "k", "m", "g", "t"].index(found[2].lower()))


def signal_number(text: str) -> int:
    """Of "SIGTERM", "term", "15" or "SIGRTMIN+3". DockerError 400."""
    upper = text.upper()
    if upper.isdecimal() and 0 < int(upper) < signal.NSIG:
        return int(upper)
    name, _, offset = upper.removeprefix("SIG").partition("+")
    known = signal.Signals.__members__.get(f"SIG{name}")
    number = int(known) + int(offset or 0) if known is not None and offset.isdecimal() == bool(offset) else 0
    if not 0 < number < signal.NSIG:
        raise bad_parameter(f"invalid signal: {text}")
    return number


_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str) -> float | None:
    """Of "1h30m"; None when it is none."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))


def moment(text: str) -> float:
    """Unix seconds of "1700000000.5" or an ISO time. DockerError 400."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        head, dot, rest = text.replace("Z", "+00:00").partition(".")
        digits = re.match(r"\d*", rest)
        fraction = digits[0][:6] if digits else ""
        zone = rest[len(digits[0]) :] if digits else ""
        found = datetime.fromisoformat(f"{head}{dot}{fraction.ljust(6, '0')}{zone}" if dot else head)
    except ValueError as error:
        raise bad_parameter(f'parsing time "{text}": invalid') from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def iso(seconds: float) -> str:
    """RFC 3339 with nanoseconds, as Go writes it; the zero time for 0."""
    if not seconds:
        return ZERO_TIME
    whole = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{seconds % 1:.9f}"[2:].rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
