"""`gureum doctor`: what this host offers and lacks, line by line, with what to do; `--clean` removes what lost homes left.

A check is a function that returns findings; it looks, and tries things only inside namespaces of its own that end with it.
Exit code 0 when nothing fails. The host's kernel features are tried rather than read from its configuration.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from gureum.base.homes import POOL_COUNT, HomeError, alive, claims, free, load_home, running
from gureum.base.settings import SettingsError, load_settings
from gureum.cli.findings import TRIAL_TIMEOUT_S, Finding, search_path
from gureum.cli.kernel_checks import (
    check_cgroups,
    check_file_systems,
    check_namespaces,
    check_nftables,
    check_shared_limits,
    check_system,
)
from gureum.cli.leftovers import clean_leftovers, find_leftovers
from gureum.cli.output import table

GIB = 1 << 30
LEAST_DISK, LEAST_MEMORY = 2 * GIB, GIB // 2


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
