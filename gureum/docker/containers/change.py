"""Changing what a container is called and may use."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.docker import find
from gureum.docker.call import Call, operation
from gureum.docker.containers import checks, names
from gureum.docker.containers.create import name_taken
from gureum.docker.errors import bad_parameter, conflict
from gureum.docker.events import Events
from gureum.docker.kinds import NAMES, Container
from gureum.engine.client import Transaction

UPDATABLE = (
    "BlkioWeight", "CpuShares", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpusetCpus", "CpusetMems",
    "Memory", "MemorySwap", "MemoryReservation", "PidsLimit", "NanoCpus", "RestartPolicy",
)  # fmt: skip


@operation("POST", "/containers/{id}/rename")
async def rename_container(call: Call) -> None:
    container = find.container(call.client, call.args["id"])
    name = call.text("name").lstrip("/")
    names.check(name)
    if name == container.spec.name:
        raise bad_parameter("Renaming a container with the same name as its current name")

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        holder = call.client.claimed(NAMES, name)
        if holder is not None:
            raise name_taken(name, holder)
        transaction.release(NAMES, current.spec.name)
        transaction.claim(NAMES, name, current.meta.name)
        spec = msgspec.structs.replace(current.spec, name=name)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    renamed = find.current(call.client, container)
    call.world.part(Events).container(renamed, "rename", oldName=f"/{container.spec.name}")
    await call.responder.send(204)


@operation("POST", "/containers/{id}/update")
async def update_container(call: Call) -> None:
    """Docker: ContainerUpdate: limits and the restart policy, of what runs too."""
    container = find.container(call.client, call.args["id"])
    body = await call.json("container.UpdateConfig")
    changes = {key: value for key, value in body.items() if key in UPDATABLE and value not in (None, 0, "", {})}
    if (changes.get("RestartPolicy") or {}).get("Name") == "":
        del changes["RestartPolicy"]

    def decide(transaction: Transaction) -> None:
        current = find.current(call.client, container)
        _check_changes(current, changes)
        host = {**current.spec.host, **changes}
        checks.check(current.spec.config, host)
        spec = msgspec.structs.replace(current.spec, host=host)
        transaction.update(msgspec.structs.replace(current, spec=spec))

    await call.commit(decide)
    call.world.part(Events).container(container, "update")
    await call.send(200, {"Warnings": []})


def _check_changes(container: Container, changes: dict[str, Any]) -> None:
    """What cannot be together with what is there already. DockerError 409."""
    had, why = container.spec.host, ""
    policy = (changes.get("RestartPolicy") or {}).get("Name") or "no"
    if had.get("AutoRemove") and policy in ("always", "unless-stopped", "on-failure"):
        why = "Restart policy cannot be updated because AutoRemove is enabled for the container"
    swap = int(had.get("MemorySwap") or 0)
    if "MemorySwap" not in changes and 0 < swap < int(changes.get("Memory") or 0):
        why = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
    if why:
        raise conflict(f"Cannot update container {container.meta.name}: {why}")
