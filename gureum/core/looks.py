"""What the agent sees of the machines when the daemon asks: counters for metrics, and the looks of which status checks are made."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from gureum.core.credit_accounts import CreditAccounts
from gureum.core.machine import Machine
from gureum.core.specs import Container, Interface
from gureum.ports import PortError
from gureum.ports.checks import Asked
from gureum.ports.containers import Usage


class Look(msgspec.Struct, frozen=True):
    """One look at a machine that is wished to run. `runs`: the host runs it, and lets it. `answers`: its first interface answers ARP.
    `disks`: all of its volumes take writes."""

    runs: bool
    answers: bool
    disks: bool


async def counters(machine: Machine, accounts: CreditAccounts) -> dict[str, Any]:
    """All counters at once: what containers have used, interfaces have moved and volumes have done since their start, how machines stand that
    burst, and the time of the look."""
    ports = machine.ports
    turns = accounts.turns()
    names = [one.name for one in machine.desired.values() if one.kind == "Container"]
    interfaces, volumes, *usages = await asyncio.gather(
        ports.networks.counters(), ports.volumes.counters(), *(ports.containers.usage(name) for name in names)
    )
    used = {name: usage for name, usage in zip(names, usages, strict=True) if isinstance(usage, Usage)}
    now = ports.clock.now()
    counted = accounts.count(turns, used, now)
    return {"time": now, "containers": used, "interfaces": interfaces, "volumes": volumes, "credits": counted}


async def looks(machine: Machine) -> dict[str, Look]:
    """Of all machines that are wished to run, by name."""
    machines = {
        one.name: one.spec
        for one in machine.of_kind("Container")
        if isinstance(one.spec, Container) and one.spec.machine and one.spec.wish == "running"
    }
    running = {name for name in machines if _runs(machine, name)}
    volumes, answering = await asyncio.gather(
        machine.ports.volumes.counters(), _answering(machine, [machines[name] for name in running])
    )
    found = {}
    for name, spec in machines.items():
        runs = name in running
        sound = not machine.held and (
            not spec.volume or not runs or (spec.volume in volumes and volumes[spec.volume].sound)
        )
        answers = runs and (not spec.interfaces or spec.interfaces[0] in answering)
        found[name] = Look(runs and not machine.held, answers, sound)
    return found


def _runs(machine: Machine, name: str) -> bool:
    status = machine.status.get(f"Container/{name}")
    return status is not None and status.phase == "ready" and status.data.get("state") == "running"


async def _answering(machine: Machine, specs: list[Container]) -> frozenset[str]:
    """Names of those among the machines' first interfaces that answer."""
    asked: dict[str, list[Asked]] = {}
    for spec in specs:
        found = machine.desired.get(f"Interface/{spec.interfaces[0]}") if spec.interfaces else None
        if found is not None and isinstance(found.spec, Interface):
            one = found.spec.interface
            asked.setdefault(one.network, []).append(Asked(one.name, one.addresses[0], one.gateway))
    answers = await asyncio.gather(*(_asked(machine, network, them) for network, them in asked.items()))
    return frozenset().union(*answers)


async def _asked(machine: Machine, network: str, them: list[Asked]) -> frozenset[str]:
    try:
        return await machine.ports.checks.answering(network, them)
    except PortError:
        return frozenset()
