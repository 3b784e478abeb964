"""Checks of `gureum doctor` on the kernel: namespaces, rules, file systems, control groups, limits that all share.

What can be tried is tried, inside namespaces that end with the trial.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from gureum.cli.findings import Finding, search_path, tried

# Overlay file systems accept idmapped layers from here on (kernel 5.19); with less, files of machines would have to be copied.
LEAST_KERNEL = (5, 19)
LIMITING = {"cpu", "memory", "pids"}
"""Controllers of control groups that limit machines."""
# What the kernel has once for all namespaces and no limit of a guest bounds: a hostile one can use it up for everybody. (key, least,
# what is gone when it is used up).
SHARED_LIMITS = (
    ("kernel.pid_max", 131_072, "processes"),
    ("kernel.pty.max", 16_384, "terminals"),
    ("fs.aio-max-nr", 1_048_576, "asynchronous writes, which databases use"),
    ("net.ipv4.neigh.default.gc_thresh3", 16_384, "neighbours on Ethernet, the host's gateway among them"),
)


def check_system() -> Iterator[Finding]:
    root = os.geteuid() == 0
    yield Finding(
        "ok" if root else "warn",
        "user",
        "root" if root else "not root",
        "" if root else "run it with sudo, else much cannot be tried; `--simulate` needs no root",
    )
    release = platform.release()
    version = tuple(map(int, re.findall(r"\d+", release)[:2]))
    enough = version >= LEAST_KERNEL
    yield Finding(
        "ok" if enough else "warn",
        "kernel",
        release,
        ""
        if enough
        else "5.19 or newer is needed for idmapped overlay layers: machines cannot have a user namespace of their own",
    )


def check_shared_limits(root: Path = Path("/proc/sys")) -> Iterator[Finding]:
    """Generous limits cost nothing: they only bound what is asked for."""
    low = []
    for key, least, what in SHARED_LIMITS:
        with contextlib.suppress(FileNotFoundError, ValueError):
            if int((root / key.replace(".", "/")).read_text()) < least:
                low.append((key, least, what))
    settings = " ".join(f"{key}={least}" for key, least, _ in low)
    yield Finding(
        "warn" if low else "ok",
        "shared limits",
        f"low for {'; '.join(what for _, _, what in low)}" if low else "generous",
        f"one hostile machine could use them up for all: `sysctl -w {settings}`" if low else "",
    )


def check_namespaces() -> Iterator[Finding]:
    """Tried in namespaces that vanish with the trial."""
    trials = {
        "user namespaces": ("unshare", "--user", "--map-root-user", "true"),
        "network namespaces": ("unshare", "--net", "true"),
        "veth": ("unshare", "--net", "ip", "link", "add", "gm-a", "type", "veth", "peer", "name", "gm-b"),
        "proxy ARP": ("unshare", "--net", "test", "-w", "/proc/sys/net/ipv4/conf/all/proxy_arp"),
        "connection tracking": ("unshare", "--net", "test", "-e", "/proc/sys/net/netfilter/nf_conntrack_max"),
    }
    advice = {
        "user namespaces": "set sysctl user.max_user_namespaces above 0 "
        "(and kernel.apparmor_restrict_unprivileged_userns=0 where it exists)",
        "connection tracking": "the kernel lacks connection tracking (nf_conntrack): security groups cannot be stateful",
    }
    for what, command in trials.items():
        yield tried(
            what,
            command,
            advice.get(
                what,
                "the kernel does not offer it, or this is a container without the power to: run on a host or privileged",
            ),
        )


NFT_TRIAL = """
table ip trial {
  set addresses { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
  map verdicts { type ifname : verdict; }
  chain nat { type nat hook prerouting priority dstnat; ip daddr 198.18.0.1 dnat to 10.0.0.1; }
  chain forward { type filter hook forward priority filter; policy drop; ct state established,related accept; ip saddr @addresses accept; }
  chain out { type nat hook postrouting priority srcnat; ip saddr 10.0.0.1 snat to 198.18.0.1; }
}
"""


def check_nftables() -> Iterator[Finding]:
    if not shutil.which("nft", path=search_path()):
        return
    yield tried(
        "nftables",
        ("unshare", "--net", "nft", "-f", "-"),
        "the kernel lacks nf_tables, NAT or conntrack: security groups cannot be enforced",
        stdin=NFT_TRIAL,
    )
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        yield Finding("fail", "libnftables", str(error), "apt install libnftables1")


CAP_SYS_RESOURCE = 24
OVERLAY_TRIAL = """
mount -t tmpfs t /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m &&
mount -t overlay o -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/m
"""


def check_file_systems() -> Iterator[Finding]:
    overlay = ("unshare", "--mount", "sh", "-c", OVERLAY_TRIAL)
    yield tried(
        "overlay file system", overlay, "the kernel lacks overlayfs, or this is a container without the power to mount"
    )
    found = Path("/dev/loop-control").exists()
    yield Finding(
        "ok" if found else "fail",
        "loop devices",
        "/dev/loop-control" if found else "no /dev/loop-control",
        "" if found else "modprobe loop (in a container: --privileged, -v /dev:/dev)",
    )
    known = Path("/proc/filesystems").read_text()
    yield growing(Path("/proc/self/status").read_text(), known, shutil.which("mkfs.xfs", path=search_path()))


def growing(status: str, known: str, mkfs_xfs: str | None) -> Finding:
    """Whether volumes grow while a machine has them (drivers/volumes/file_systems.py). `status`: of /proc/self/status; `known`: of
    /proc/filesystems."""
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    what = "disks that grow in use"
    if int(effective, 16) >> CAP_SYS_RESOURCE & 1:
        return Finding("ok", what, "ext4")
    steps = [] if "\txfs\n" in known else ["modprobe xfs"]
    steps += [] if mkfs_xfs else ["apt install xfsprogs"]
    if not steps:
        return Finding("ok", what, "XFS for disks that are not encrypted, since CAP_SYS_RESOURCE is missing")
    advice = f"{', '.join(steps)}, or give CAP_SYS_RESOURCE: else a disk in use grows when its machine starts next"
    return Finding("warn", what, "CAP_SYS_RESOURCE is missing, and XFS", advice)


def check_cgroups() -> Iterator[Finding]:
    mounts = [
        [*line.split(" - ")[1].split(), line.split()[4]]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    unified = [mount[-1] for mount in mounts if mount[0] == "cgroup2"]
    legacy = {name for mount in mounts if mount[0] == "cgroup" for name in mount[2].split(",")}
    mode = "v2" if unified and not legacy else "hybrid (v1 with a v2 tree)" if unified else "v1" if legacy else "none"
    present = set(Path(unified[0], "cgroup.controllers").read_text().split()) if mode == "v2" else legacy
    missing = LIMITING - present
    if mode == "none" or missing:
        yield Finding(
            "fail",
            "cgroups",
            f"{mode}, without {', '.join(sorted(missing))}",
            "limits of machines need the controllers cpu, memory and pids: mount cgroup2 on /sys/fs/cgroup",
        )
        return
    if mode == "v2" and (held := held_by_processes(Path(unified[0]))):
        yield held
        return
    yield Finding("ok", "cgroups", mode)
    left = Path(unified[0], "cgroup.controllers").read_text().split() if mode.startswith("hybrid") else []
    if left:
        yield Finding(
            "warn",
            "cgroups",
            f"controllers left in the v2 tree: {' '.join(left)}",
            "crun refuses such hosts: mount each as v1 (mount -t cgroup -o NAME cgroup /sys/fs/cgroup/NAME), or boot with cgroup v2",
        )


def held_by_processes(group: Path) -> Finding | None:
    """cgroup-v2.rst, "No Internal Process Constraint": in a container the uppermost group is not the host's root (which has no cgroup.type), and
    while processes are in it no group below can have limits."""
    if not (group / "cgroup.type").exists():
        return None
    missing = LIMITING - set((group / "cgroup.subtree_control").read_text().split())
    if not missing or not (group / "cgroup.procs").read_text().split():
        return None
    return Finding(
        "fail",
        "cgroups",
        f"this container's own group holds processes: none below may have {', '.join(sorted(missing))}",
        f"move them: mkdir {group}/init; for p in $(cat {group}/cgroup.procs); do echo $p >{group}/init/cgroup.procs; done",
    )
