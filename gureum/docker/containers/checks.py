"""What `docker run` may ask for. Options that no start could bring about are refused in Docker's words when the container is created; what gureum has
not is refused by its name (501). docs/docker-options.md tells of each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gureum.base.addresses import is_ip
from gureum.docker.containers import log_details, options
from gureum.docker.containers.shared_namespaces import SHARED_MODES
from gureum.docker.errors import bad_parameter, not_built, server_error

LEAST_MEMORY = 6 << 20
MOST_SWAPPINESS = 100
MOST_OOM_SCORE = 1000
NOT_BUILT = {
    "BlkioWeight": "weights of disk use (--blkio-weight)",
    "BlkioWeightDevice": "weights of disk use (--blkio-weight-device)",
    "CgroupParent": "a control group of one's own choice (--cgroup-parent)",
    "CpuRealtimePeriod": "real-time scheduling (--cpu-rt-period)",
    "CpuRealtimeRuntime": "real-time scheduling (--cpu-rt-runtime)",
    "CpusetMems": "memory nodes (--cpuset-mems)",
}
_LOG_OPTIONS = frozenset(
    {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"}
)
_LEAST_DURATION_NS = 1_000_000
_CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


def check(config: dict[str, Any], host: dict[str, Any]) -> list[str]:
    """DockerError 400, 500 or 501 for what cannot be; returns what the user should know of the rest."""
    _check_limits(host)
    _check_policy(host)
    _check_health(config)
    _check_words(config, host)
    options.check_capabilities(host)
    if config.get("StopSignal"):
        options.signal_number(str(config["StopSignal"]))
    if str(config.get("WorkingDir") or "/")[:1] != "/":
        raise bad_parameter(
            f"the working directory '{config['WorkingDir']}' is invalid, it needs to be an absolute path"
        )
    for key, what in NOT_BUILT.items():
        if host.get(key):
            raise not_built(what)
    _check_devices(host)
    _check_log(host)
    _check_namespaces(host)
    _check_security(host)
    runtime = host.get("Runtime") or ""
    if runtime not in ("", "runc", "crun", "io.containerd.runc.v2"):
        raise bad_parameter(f"unknown or invalid runtime name: {runtime}")
    if not -1 <= options.swappiness(host) <= MOST_SWAPPINESS:
        raise bad_parameter(
            f"Invalid value: {options.swappiness(host)}, valid memory swappiness range is 0-{MOST_SWAPPINESS}"
        )
    options.limits(host)
    tuple(options.throttles(host))
    tuple(options.device_rules(host))
    return list(_ignored(host)) if _CGROUP_V2 else []


def _ignored(host: dict[str, Any]) -> Iterator[str]:
    """What only version 1 of control groups has."""
    if host.get("OomKillDisable"):
        yield "Your kernel does not support OomKillDisable. OomKillDisable discarded."
    if options.swappiness(host) >= 0:
        yield (
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
            "Memory swappiness discarded."
        )


def _check_words(config: dict[str, Any], host: dict[str, Any]) -> None:
    for entry in map(str, config.get("Env") or ()):
        if not entry or entry.startswith("="):
            raise bad_parameter(f"invalid environment variable: {entry}")
    if "" in (host.get("Annotations") or {}):
        raise bad_parameter("invalid Annotations: the empty string is not permitted as an annotation key")
    for entry in map(str, host.get("ExtraHosts") or ()):
        name, address = options.extra_host(entry)
        if not name or not address:
            raise bad_parameter(f'bad format for add-host: "{entry}"')
        if address != options.HOST_GATEWAY and not is_ip(address):
            raise bad_parameter(f'invalid IP address in add-host: "{address}"')


def _check_health(config: dict[str, Any]) -> None:
    wish = config.get("Healthcheck") or {}
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if int(wish.get(key) or 0) != 0 and int(wish[key]) < _LEAST_DURATION_NS:
            raise bad_parameter(f"{key} in Healthcheck cannot be less than 1ms")
    if int(wish.get("Retries") or 0) < 0:
        raise bad_parameter("Retries in Healthcheck cannot be negative")


def _check_limits(host: dict[str, Any]) -> None:
    memory, swap = int(host.get("Memory") or 0), int(host.get("MemorySwap") or 0)
    if int(host.get("ShmSize") or 0) < 0:
        raise bad_parameter("SHM size can not be less than 0")
    score = int(host.get("OomScoreAdj") or 0)
    if abs(score) > MOST_OOM_SCORE:
        raise bad_parameter(f"Invalid value {score}, range for oom score adj is [-{MOST_OOM_SCORE}, {MOST_OOM_SCORE}]")
    if memory and memory < LEAST_MEMORY:
        raise bad_parameter("Minimum memory limit allowed is 6MB")
    if memory and 0 < swap < memory:
        raise bad_parameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise bad_parameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    if memory and int(host.get("MemoryReservation") or 0) > memory:
        raise bad_parameter("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.get("NanoCpus") and (host.get("CpuQuota") or host.get("CpuPeriod")):
        raise bad_parameter("Conflicting options: Nano CPUs and CPU CFS Quota cannot both be set")
    most = len(os.sched_getaffinity(0))
    if not 0 <= int(host.get("NanoCpus") or 0) <= most * 10**9:
        raise bad_parameter(f"range of CPUs is from 0.01 to {most}.00, as there are only {most} CPUs available")
    _check_processors(str(host.get("CpusetCpus") or ""))


def _check_processors(wished: str) -> None:
    available = os.sched_getaffinity(0)
    try:
        numbers = options.processors(wished)
    except ValueError as error:
        raise bad_parameter(f"Invalid value {wished} for cpuset cpus") from error
    if not numbers <= available:
        shown = ",".join(map(str, sorted(available)))
        raise bad_parameter(f"Requested CPUs are not available - requested {wished}, available: {shown}")


def _check_policy(host: dict[str, Any]) -> None:
    policy = host.get("RestartPolicy") or {}
    name, most = policy.get("Name") or "no", int(policy.get("MaximumRetryCount") or 0)
    known = "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise bad_parameter(f"invalid restart policy: unknown policy '{name}'; {known}")
    if most and name != "on-failure":
        raise bad_parameter("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if most < 0:
        raise bad_parameter("invalid restart policy: maximum retry count cannot be negative")
    if host.get("AutoRemove") and name != "no":
        raise bad_parameter("can't create 'AutoRemove' container with restart policy")


def _check_devices(host: dict[str, Any]) -> None:
    """In the words of a Docker whose host has no such driver, and no XFS: there is none here either."""
    for wish in host.get("DeviceRequests") or ():
        kinds = " ".join(f"[{' '.join(map(str, one))}]" for one in wish.get("Capabilities") or ())
        raise server_error(f'could not select device driver "{wish.get("Driver") or ""}" with capabilities: [{kinds}]')
    if host.get("StorageOpt"):
        raise server_error("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")


def _check_log(host: dict[str, Any]) -> None:
    wish = host.get("LogConfig") or {}
    driver, given = wish.get("Type") or "json-file", wish.get("Config") or {}
    if driver not in ("json-file", "local", "none"):
        raise bad_parameter(f"logger: no log driver named '{driver}' is registered")
    for name in sorted(given) if driver != "none" else ():
        if name not in _LOG_OPTIONS:
            raise bad_parameter(f"unknown log opt '{name}' for {driver} log driver")
    log_details.check(given)
    options.log_bytes(host)


def _check_namespaces(host: dict[str, Any]) -> None:
    for key, words, name in (
        ("PidMode", ("", "host"), "PID"),
        ("IpcMode", ("", "host", "private", "shareable", "none"), "IPC"),
        ("UTSMode", ("", "host"), "UTS"),
        ("UsernsMode", ("", "host"), "user namespace"),
        ("CgroupnsMode", ("", "host", "private"), "cgroup namespace"),
    ):
        mode = str(host.get(key) or "")
        if key in SHARED_MODES and mode.startswith("container:"):
            continue
        if mode not in words:
            raise bad_parameter(f"invalid {name} mode: {mode}")


def _check_security(host: dict[str, Any]) -> None:
    """AppArmor and SELinux are not used: what switches them off is obeyed by itself."""
    for one in map(str, host.get("SecurityOpt") or ()):
        key, _, value = one.partition("=") if "=" in one else one.partition(":")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            continue
        if (key == "seccomp" and value in ("unconfined", "builtin")) or (key == "apparmor" and value == "unconfined"):
            continue
        if key == "label":
            continue
        if key in ("seccomp", "apparmor"):
            raise not_built(f"a security option of one's own ({key})")
        raise bad_parameter(f"invalid --security-opt: {one!r}" if value else f"invalid --security-opt 1: {one!r}")
