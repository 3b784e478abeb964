"""Writes the pages that are made from the code: docs/settings.md and docs/coverage.md. `--check` only says whether they are current."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

from gureum.aws.coverage import coverage, neighbour_coverage, render_coverage
from gureum.aws.neighbours.offered import OFFERED
from gureum.aws.services import Services
from gureum.base.clock import SystemClock
from gureum.base.settings import Settings, describe
from gureum.core.world import World
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics

DOCS = Path(__file__).resolve().parent.parent / "docs"

SETTINGS_HEAD = """# Settings

Each is a key of `gureum.toml` in the home, or an environment variable, which wins. A wrong key or value is an error that
names it. `gureum restart` makes daemon and agent read the file again. This page is made by `make docs`.

"""
SETTINGS_TAIL = """
`GUREUM_HOME` chooses the home, the folder that holds everything: several homes run side by side on one machine, each with
an id, ports and public addresses of its own (it remembers them in its `identity.json`). The default home is
`/var/lib/gureum`; for users other than root, who can only simulate, it is `~/.local/share/gureum`. One thing lies outside of it: the
keys of Kubernetes Secrets, in `<home>-keys` unless `kube_keys` says where. Whoever copies, mounts or moves a home takes that
folder along; without it the Kubernetes API does not start.

## The way out

Without `egress` no packet of a guest leaves the host. `egress = "host"` lets out, from the host's address, what route tables,
internet and NAT gateways, security groups and ACLs let out of a VPC, and what comes from Docker networks that are not `--internal`;
`egress = "eth1"` lets it out by that interface of the host only. Guests reach public addresses so: not the host itself, not private
ranges (but those of `egress_private`), not link-local addresses such as a cloud's metadata. Nothing comes in that did not begin
inside. On the host this makes one nftables table, `ip gureum-ID`, and forwarding on the interfaces concerned; `gureum down` (or
`gureum doctor --clean`) takes both back, the death of daemon and agent changes nothing. Names that are not gureum's are asked of
`resolvers`.

A firewall of the host that drops what it does not name when forwarding (Docker's, ufw) must let guests pass, too, as no other table
can overrule it: `gureum doctor` names it and what to add. When the host's routes move to another interface, `gureum restart` follows.
"""
COVERAGE_HEAD = """# Coverage

Every operation of every service that gureum builds: *real* when its effect happens (on packets, disks, processes, names)
or when it answers truly from what other operations did; *state only* when it is remembered and read back; *absent* ones
answer with an error that names them. The services of the last table are answered by moto, where it is installed; their
operations are moto's state machines, kept by gureum's journal. Services that are not listed are absent whole. This page is made by `make docs`;
`gureum coverage` prints the same for the gureum that runs.

"""


def pages() -> dict[str, str]:
    """Content by file name."""
    return {
        "settings.md": SETTINGS_HEAD + describe() + SETTINGS_TAIL,
        "coverage.md": COVERAGE_HEAD + asyncio.run(coverage_table()),
    }


async def coverage_table() -> str:
    """A row per service with its counts, then a row per operation."""
    link, sealer = SimpleNamespace(seen={}), SimpleNamespace()  # nothing is sealed and no machine is asked
    world = World(
        MemoryStore(),
        SystemClock(),
        Settings(),
        sealer,
        lambda *_: link,
        metrics=MemoryMetrics(),
        logs=MemoryLogs(SystemClock()),
    )  # type: ignore[arg-type,return-value]
    found = coverage(Services(world))
    lines = ["| service | real | state only | absent |", "|---|---|---|---|"]
    for service, operations in found.items():
        counts = [sum(level == one for level in operations.values()) for one in ("real", "state only", "absent")]
        lines.append(f"| {service} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n\n" + render_coverage(found) + "\n" + neighbours_table()


def neighbours_table() -> str:
    """A row per service that moto answers."""
    lines = ["| service | moto | absent |", "|---|---|---|"]
    for service, operations in neighbour_coverage(frozenset(OFFERED)).items():
        counts = [sum(level == one for level in operations.values()) for one in ("moto", "absent")]
        lines.append(f"| {service} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code 1 when `--check` finds a page that is not current."""
    stale = [name for name, text in pages().items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is not current: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name, text in pages().items():
        (DOCS / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
