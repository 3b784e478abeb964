"""stats and top: what a container uses now."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from gureum.docker import find
from gureum.docker.call import Call, operation
from gureum.docker.containers.options import iso, limits
from gureum.docker.errors import DockerError, conflict
from gureum.docker.kinds import SCOPE, Container
from gureum.docker.lowering import core_name
from gureum.ports import PortError

PERIOD_S = 1.0
_MOVED = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")


@operation("GET", "/containers/{id}/top")
async def top(call: Call) -> None:
    """Docker: ContainerTop: `ps_args`."""
    container = find.container(call.client, call.args["id"])
    if container.status.state != "running":
        raise conflict(f"container {container.meta.name} is not running")
    request = {"op": "processes", "name": core_name(container.meta.name), "arguments": call.text("ps_args") or "-ef"}
    await call.send(200, await call.ask(request))


@operation("GET", "/containers/{id}/stats")
async def stats(call: Call) -> None:
    """Docker: ContainerStats: every second, or once (`stream=0`); `one-shot` needs no earlier look to compare with."""
    container = find.container(call.client, call.args["id"])
    stream = call.flag("stream", default=True)
    before = _empty() if call.flag("one-shot") or stream else await _look(call, container)
    if not stream and not call.flag("one-shot"):
        await asyncio.sleep(PERIOD_S)
    now = await _look(call, container)
    if not stream:
        await call.send(200, _shown(container, now, before))
        return
    leaving = asyncio.ensure_future(call.responder.left())
    try:
        await call.responder.begin()
        while not leaving.done():
            await call.responder.write_json(_shown(container, now, before))
            await asyncio.wait({leaving}, timeout=PERIOD_S)
            found = call.client.get(Container, SCOPE, container.meta.name)
            if found is None:
                break
            before, container = now, found
            now = await _look(call, container)
        await call.responder.finish()
    finally:
        leaving.cancel()


def _empty() -> dict[str, Any]:
    return {"time": 0.0, "cpu": 0, "system": 0, "usage": {}, "networks": {}}


async def _look(call: Call, container: Container) -> dict[str, Any]:
    """What the machine counts; nothing of one that does not run."""
    name = core_name(container.meta.name)
    if container.status.state != "running":
        return {**_empty(), "time": call.now}
    try:
        usage = await call.world.link.ask({"op": "usage", "name": name})
    except PortError as refused:
        raise DockerError(500, refused.why) from refused
    own = _has_network(container) and container.status.pid
    networks = await asyncio.to_thread(_moved, container.status.pid) if own else {}
    system = await asyncio.to_thread(_system_ns)
    return {"time": call.now, "cpu": usage.get("cpu_ns", 0), "system": system, "usage": usage, "networks": networks}


def _has_network(container: Container) -> bool:
    mode = str(container.spec.host.get("NetworkMode") or "")
    return mode not in ("host", "none") and not mode.startswith("container:")


def _moved(pid: int) -> dict[str, dict[str, int]]:
    """What the network devices that a process sees have moved (proc_pid_net(5): bytes, packets, errors, drops of either way), by device; nothing of
    one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    found = {}
    for device, _, text in (line.partition(":") for line in lines):
        columns = [int(word) for word in text.split()]
        if device.strip() != "lo":
            found[device.strip()] = dict(zip(_MOVED, (*columns[:4], *columns[8:12]), strict=True))
    return found


def _system_ns() -> int:
    """All processors' time of the host, as Docker reads it from /proc/stat."""
    with open("/proc/stat", "rb") as file:
        ticks = sum(int(word) for word in file.readline().split()[1:9])
    return ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def _shown(container: Container, now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    usage = now["usage"]
    limit = limits(container.spec.host).memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = {"usage": usage.get("memory_bytes", 0), "stats": {}, "limit": limit} if usage else {}
    disks = [
        {"major": 0, "minor": 0, "op": op, "value": usage.get(key, 0)}
        for op, key in (("read", "read_bytes"), ("write", "written_bytes"))
    ]
    return {
        "name": f"/{container.spec.name}",
        "id": container.meta.name,
        "read": iso(now["time"]),
        "preread": iso(before["time"]),
        "num_procs": 0,
        "pids_stats": {"current": usage.get("pids", 0)} if usage else {},
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": memory,
        "blkio_stats": {"io_service_bytes_recursive": disks if usage else None, "io_serviced_recursive": None},
        "networks": now["networks"],
    }


def _cpu(look: dict[str, Any]) -> dict[str, Any]:
    return {
        "cpu_usage": {"total_usage": look["cpu"], "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "system_cpu_usage": look["system"],
        "online_cpus": os.cpu_count() or 1,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
