"""Blocks of snapshots, as the daemon asks the agent for them."""

from __future__ import annotations

import base64
from typing import Any

from gureum.core.machine import Machine

LIMIT_BYTES = 1 << 20


async def snapshot_blocks(machine: Machine, request: dict[str, Any]) -> dict[str, Any]:
    """{"block": bytes, "blocks": [[number, digest], …]}. PortError."""
    found = await machine.ports.volumes.snapshot_blocks(str(request["name"]))
    return {"block": found.block, "blocks": [list(one) for one in found.blocks]}


async def read_snapshot(machine: Machine, request: dict[str, Any]) -> dict[str, Any]:
    """{"data": base64}. PortError; ValueError for more than 1 MiB at once."""
    offset, length = int(request["offset"]), int(request["length"])
    if offset < 0 or not 0 <= length <= LIMIT_BYTES:
        raise ValueError("not a part of a snapshot")
    data = await machine.ports.volumes.read_snapshot(str(request["name"]), offset, length)
    return {"data": base64.b64encode(data).decode()}
