"""One supervisor per home, and what it does about one that was killed: the lock, and the note of its children.

    <run>/supervisor.lock    held by the supervisor for its whole life
    <run>/children.json      pid and start time of each child

Only a supervisor takes the lock; homes.py looks whether one is held.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
from collections.abc import Iterable

from gureum.base.log_files import log, owner_only
from gureum.base.processes import start_ticks


def take_lock(run: str) -> int | None:
    """The lock's descriptor, held until this process ends; None when another supervisor of this home holds it."""
    lock = os.open(f"{run}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def note_children(run: str, pids: Iterable[int]) -> None:
    """Notes the children, for the supervisor that comes after one that was killed."""
    noted = [{"pid": pid, "ticks": start_ticks(pid)} for pid in pids]
    path = f"{run}/children.json"
    with open(f"{path}.new", "w", opener=owner_only) as file:
        file.write(json.dumps(noted))
    os.rename(f"{path}.new", path)


def end_predecessors(run: str, limit_s: float) -> bool:
    """Ends what an earlier supervisor that was killed left running, each child within `limit_s` or else by force. A number that was given
    to another process meanwhile is spared. Returns whether there was one: then machines may be running, and are adopted."""
    try:
        with open(f"{run}/children.json", encoding="utf-8") as file:
            noted = json.load(file)
    except (FileNotFoundError, ValueError):
        return False
    for child in noted:
        pid = int(child["pid"])
        if child["ticks"] == 0 or start_ticks(pid) != child["ticks"]:
            continue
        log("ending predecessor", pid=pid)
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if select.select([handle], [], [], limit_s)[0]:
                    break
            os.close(handle)
    return True
