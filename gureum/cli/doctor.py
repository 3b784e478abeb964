"""`gureum doctor`: what this host offers and lacks, line by line, with what to do; `--clean` removes what lost homes left.

A check is a function that returns findings; it looks, and tries things only inside namespaces of its own that end with it.
Exit code 0 when nothing fails. The host's kernel features are tried rather than read from its configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from gureum.base.homes import POOL_COUNT, HomeError, alive, claims, free, load_home, running
from gureum.base.settings import SettingsError, load_settings
from gureum.cli.leftovers import clean_leftovers, find_leftovers
from gureum.cli.output import table

GIB = 1 << 30
LEAST_DISK, LEAST_MEMORY = 2 * GIB, GIB // 2
# Overlay file systems accept idmapped layers from here on (kernel 5.19); with less, files of machines would have to be copied.
LEAST_KERNEL = (5, 19)
TRIAL_TIMEOUT_S = 15
LIMITING = {"cpu", "memory", "pids"}
"""Controllers of control groups that limit machines."""


class Finding(NamedTuple):
    """One line. `advice`: what to do, "" when there is nothing to do."""

    level: Literal["ok", "warn", "fail"]
    what: str
    seen: str
    advice: str = ""


# Program → (Debian package, how it tells its version, what is lost without it).
PROGRAMS = {
    "crun": ("crun", "--version", "fail"),
    "conmon": ("conmon", "--version", "fail"),
    "nft": ("nftables", "--version", "fail"),
    "haproxy": ("haproxy", "-v", "warn"),
    "ip": ("iproute2", "-V", "fail"),
    "mkfs.ext4": ("e2fsprogs", "-V", "fail"),
    "losetup": ("mount", "--version", "fail"),
    "busybox": ("busybox-static", "", "warn"),
    "dropbear": ("dropbear-bin", "-V", "warn"),
    "udpsvd": ("ipsvd", "", "warn"),
    "mmdebstrap": ("mmdebstrap", "--version", "warn"),
    "ssh": ("openssh-client", "-V", "warn"),
}


# What the kernel has once for all namespaces and no limit of a guest bounds: a hostile one can use it up for everybody. (key, least,
# what is gone when it is used up).
SHARED_LIMITS = (
    ("kernel.pid_max", 131_072, "processes"),
    ("kernel.pty.max", 16_384, "terminals"),
    ("fs.aio-max-nr", 1_048_576, "asynchronous writes, which databases use"),
    ("net.ipv4.neigh.default.gc_thresh3", 16_384, "neighbours on Ethernet, the host's gateway among them"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clean",
        nargs="*",
        metavar="ID",
        help="remove what lost or killed gureums left on this host (or: what those of the ids left)",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.clean is not None:
        return clean_leftovers(arguments.clean)
    findings = [finding for check in CHECKS for finding in check()]
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        print(table([(finding.level, finding.what, finding.seen) for finding in findings]))
        advice = [f"- {finding.what}: {finding.advice}" for finding in findings if finding.advice]
        print("\n".join(["", *advice]) if advice else "\nall is well")
    return 1 if any(finding.level == "fail" for finding in findings) else 0


# The kernel


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


# Programs and room


def check_programs() -> Iterator[Finding]:
    for program, (package, option, level) in PROGRAMS.items():
        path = shutil.which(program, path=search_path())
        if path is None:
            yield Finding("fail" if level == "fail" else "warn", program, "missing", f"apt install {package}")
        else:
            yield Finding("ok", program, version_of(path, option) if option else path)


def version_of(path: str, option: str) -> str:
    done = subprocess.run(
        [path, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TRIAL_TIMEOUT_S
    )
    found = re.search(r"\d+(\.\d+)+\w*|\d{4,}|iproute2-[\w.]+", done.stdout + done.stderr)
    return found[0] if found else path


def check_room() -> Iterator[Finding]:
    try:
        home = Path(load_settings().home)
    except SettingsError as error:
        yield Finding("fail", "settings", "wrong", str(error))
        return
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    room = shutil.disk_usage(there).free
    yield Finding(
        "ok" if room > LEAST_DISK else "warn",
        "disk",
        f"{room / GIB:.1f} GiB free at {there}",
        "" if room > LEAST_DISK else "machines' disks live there: make room or set GUREUM_HOME",
    )
    memory = dict(re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text()))
    available = int(memory["MemAvailable"]) * 1024
    yield Finding(
        "ok" if available > LEAST_MEMORY else "warn",
        "memory",
        f"{available / GIB:.1f} GiB available",
        "" if available > LEAST_MEMORY else "a small machine takes about 6 MB, but what runs in it takes more",
    )


# This gureum and its neighbours


def check_way_out() -> Iterator[Finding]:
    """Only where `egress` is set. A packet must pass every table's chain: ours cannot let through what another's drops."""
    try:
        settings = load_settings()
        home = load_home(settings)
    except (SettingsError, HomeError):
        return  # check_home says so
    if settings.egress == "off" or settings.simulate:
        return
    if settings.egress != "host" and settings.egress not in (name for _, name in socket.if_nameindex()):
        advice = "guests do not get out until the interface is there and gureum is restarted; or set another `egress`"
        yield Finding("warn", "way out", f"there is no interface {settings.egress}", advice)
        return
    blocking = forward_policies(run_quietly("nft", "--json", "list", "chains"))
    link = f"gm{home.id}" if home is not None else "gm+"
    words = f"-I FORWARD -{{}} {link} -m conntrack --ctstate {{}} -j ACCEPT"
    rules = (words.format("i", "NEW,ESTABLISHED"), words.format("o", "ESTABLISHED,RELATED"))
    yield Finding(
        "warn" if blocking else "ok",
        "way out",
        f"{settings.egress}; {', '.join(blocking)} drops what it does not name" if blocking else settings.egress,
        f"let guests pass there too, as by `iptables {rules[0]}` and `iptables {rules[1]}`" if blocking else "",
    )


def forward_policies(listed: str) -> list[str]:
    """Of `nft --json list chains`: the chains of others at the forward hook that drop by policy."""
    try:
        found = json.loads(listed)["nftables"]
    except (ValueError, KeyError):
        return []
    chains = [one["chain"] for one in found if "chain" in one]
    return [
        f"{one['family']} {one['table']} {one['name']}"
        for one in chains
        if one.get("hook") == "forward" and one.get("policy") == "drop"
    ]


def run_quietly(*command: str) -> str:
    """What it prints; "" when it cannot."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TRIAL_TIMEOUT_S)
        return done.stdout
    return ""


def check_home() -> Iterator[Finding]:
    try:
        settings = load_settings()
        home = load_home(settings)
    except (SettingsError, HomeError) as error:
        yield Finding("fail", "home", "not usable", str(error))
        return
    if home is None:
        yield Finding("ok", "home", f"{settings.home}: not used yet")
        return
    up = running(home)
    yield Finding("ok", "home", f"{home.path}: id {home.id}, {'running' if up else 'not running'}, pool {home.pool}")
    ports = {
        "AWS port": home.aws_port,
        "Kubernetes port": home.kube_port,
        "DNS port": home.dns_port,
        "serial console port": home.serial_port,
    }
    for what, port in ports.items():
        open_ = up or free(home.bind, port)
        yield Finding(
            "ok" if open_ else "fail",
            what,
            f"{home.bind}:{port}",
            "" if open_ else f"another program uses it: `ss -lntup 'sport = :{port}'` tells which; or set another port",
        )
    if up:
        yield Finding(
            "ok",
            "names",
            f"{settings.endpoint_name} on {home.bind}:{home.dns_port}",
            name_advice(settings.endpoint_name, home.bind, home.dns_port),
        )


def name_advice(zone: str, bind: str, port: int) -> str:
    """How the host's resolver is pointed at gureum's names. Only needed by clients that prefix the endpoint's name."""
    if Path("/run/systemd/resolve").exists():
        lines = f"`[Resolve]`, `DNS={bind}:{port}`, `Domains=~{zone}`"
        return (
            f"to use them here, put {lines} into /etc/systemd/resolved.conf.d/gureum.conf and restart systemd-resolved"
        )
    ways = f"with dnsmasq `server=/{zone}/{bind}#{port}`, with unbound a forward-zone to {bind}@{port}"
    return f"to use them here, {ways}; only clients that prefix the endpoint's name need it"


def check_neighbours() -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield Finding("warn", "public pools", "only root may see what homes hold or left")
        return
    held = claims()
    lost = [claim.home for claim in held.values() if not alive(claim)]
    free_pools = POOL_COUNT - len(held) + len(lost)
    yield Finding(
        "ok" if free_pools else "fail",
        "public pools",
        f"{free_pools} of {POOL_COUNT} free",
        "" if free_pools else "`gureum down --purge` homes that you no longer need",
    )
    if left := find_leftovers():
        yield Finding("warn", "leftovers", ", ".join(str(one) for one in left), "`gureum doctor --clean` removes them")


# Pieces


def tried(what: str, command: tuple[str, ...], advice: str, stdin: str = "") -> Finding:
    """A finding from whether the command succeeds. All but namespaces of users are root's to make: who is not root learns nothing of the kernel."""
    if os.geteuid() != 0 and "--user" not in command:
        return Finding("warn", what, "only root can try it")
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=TRIAL_TIMEOUT_S,
            env=os.environ | {"PATH": search_path()},
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return Finding("fail", what, str(error), advice)
    if done.returncode == 0:
        return Finding("ok", what, "works")
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
    return Finding("fail", what, said[:100], advice)


def search_path() -> str:
    """Debian keeps nft and mkfs out of a user's PATH."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_system,
    check_shared_limits,
    check_namespaces,
    check_nftables,
    check_file_systems,
    check_cgroups,
    check_programs,
    check_room,
    check_home,
    check_way_out,
    check_neighbours,
)
