"""Workers that a reload has replaced and that still have connections: which may stay.

AWS cuts no connection that flows when a rule changes, so no time ends an old worker: a WebSocket, a stream of gRPC or a download lasts as long as it
would have without the reload. What bounds them is what they cost, some megabytes each: so many of a proxy, and so much memory of all proxies of the
home together. Beyond that it is the proxy that reloads whose oldest ones end, whatever they are still asked; a few stay whatever others take, but
all of a proxy never take more than one worker may: else clients that hold all they can (crowding.py) would hold it once more by each reload.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from gureum.drivers.haproxy.control import Worker
from gureum.drivers.haproxy.process import host

MOST = 100
"""Of one proxy."""
FEWEST = 4
"""Stay whatever the others take."""
SHARE = 16
"""All of them may take this part of the machine's memory."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def limit_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES // SHARE


def most_bytes() -> int:
    """Of the old workers of one proxy: what the newest may take, or all of the home where that is more."""
    return max(host().memory_mib << 20, limit_bytes())


def own_bytes(pid: int) -> int:
    """The memory that is a process's alone, about: what of it lies in no file. 0 of one that has ended."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def divided(
    workers: list[Worker], left_bytes: int, size: Callable[[int], int], most_bytes: int
) -> tuple[list[int], list[int]]:
    """The pids of a proxy's old workers, the newest first: (those that stay, those that are to end). `left_bytes`: what the other proxies' leave of
    the limit. `size`: of a process, in bytes. `most_bytes`: what all may take."""
    old = sorted((one for one in workers if one.reloads), key=lambda one: one.reloads)
    taken = list(itertools.accumulate(size(one.pid) for one in old))
    number = 0
    while number < min(len(old), MOST) and taken[number] <= most_bytes:
        if taken[number] > left_bytes and number >= FEWEST:
            break
        number += 1
    pids = [one.pid for one in old]
    return pids[:number], pids[number:]


def too_large(pids: list[int], size: Callable[[int], int], most_bytes: int) -> list[int]:
    """Of old workers, the newest first, those that are to end since all have grown to more than that."""
    taken = itertools.accumulate(map(size, pids))
    return [pid for pid, so_far in zip(pids, taken, strict=True) if so_far > most_bytes]
