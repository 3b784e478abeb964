"""Workers that a reload has replaced and that still have connections: which may stay.

AWS cuts no connection that flows when a rule changes, so no time ends an old worker: a WebSocket, a stream of gRPC or a download lasts as long as it
would have without the reload. What bounds them is what they cost, some megabytes each: so many of a proxy, and so much memory of all proxies of the
home together. Beyond that it is the proxy that reloads whose oldest ones end, whatever they are still asked; a few stay in any case.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gureum.drivers.haproxy.control import Worker

MOST = 100
"""Of one proxy."""
FEWEST = 4
"""Stay whatever the others take."""
SHARE = 16
"""All of them may take this part of the machine's memory."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def limit_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES // SHARE


def own_bytes(pid: int) -> int:
    """The memory that is a process's alone, about: what of it lies in no file. 0 of one that has ended."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def divided(workers: list[Worker], left_bytes: int, size: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The pids of a proxy's old workers: (those that stay, those that are to end). `left_bytes`: what the other proxies' leave of the limit.
    `size`: of a process, in bytes."""
    stay: list[int] = []
    end: list[int] = []
    for worker in sorted((one for one in workers if one.reloads), key=lambda one: one.reloads):
        left_bytes -= size(worker.pid)
        fits = len(stay) < MOST and (left_bytes >= 0 or len(stay) < FEWEST)
        (stay if fits and not end else end).append(worker.pid)
    return stay, end
