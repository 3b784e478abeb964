"""Processes that belong together: a program and what it started.

They are told by the kernel's session (setsid(2)) that they share, when the program leads one (it has a terminal); else by who started whom, as far
as the chain is whole when somebody looks.

What made a session of its own (setsid, a daemon) or ignores hang-ups (nohup) wants to outlive whoever started it, and is left alone, as by a
terminal that is closed. Numbers are the host's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HANG_UP_S = 0.1
"""So long a shell has to tell its jobs and to write its history."""
_END_ROUNDS, _END_PAUSE_S = 40, 0.01
_HOLD_ROUNDS, _HOLD_PAUSE_S = 50, 0.001
_SIGHUP_BIT = 1 << (signal.SIGHUP - 1)


class _Look(NamedTuple):
    parent: int
    session: int
    stopped: bool = False


class Family:
    """Made while the program lives."""

    def __init__(self, pid: int) -> None:
        """ProcessLookupError when it is gone, or is no process of a machine but one of the host, which is none of ours."""
        self.pid = pid
        self._namespace = _namespace(pid)
        if self._namespace in (0, os.stat("/proc/self/ns/pid").st_ino):
            raise ProcessLookupError(pid)
        self._leads = _look(pid).session == pid
        self._known = {pid}

    def members(self) -> list[int]:
        """Those alive now."""
        looks = {pid: look for pid in _all_pids() if (look := _look(pid)).session}
        if self._leads:
            # A session's number is not given to another while it has members.
            found = {pid for pid, look in looks.items() if look.session == self.pid}
        else:
            found = self._known & looks.keys()
            while more := {pid for pid, look in looks.items() if look.parent in found} - found:
                found |= more
        # Numbers are given anew in time: it must be one of the same machine.
        found = {pid for pid in found if _namespace(pid) == self._namespace}
        self._known = {pid for pid in found if pid == self.pid or not _ignores_hang_ups(pid)}
        return sorted(self._known)

    def is_beside(self, pid: int) -> bool:
        """Whether it is of the same machine as this process."""
        return _namespace(pid) == self._namespace

    def end(self) -> None:
        """Hangs up, then kills until none is left; blocks for two seconds at most."""
        with self._held():
            self.signal(signal.SIGHUP)
        time.sleep(HANG_UP_S)
        for _ in range(_END_ROUNDS):
            with self._held():
                left = self.signal(signal.SIGKILL)
            if not left:
                return
            time.sleep(_END_PAUSE_S)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """All stand still in the block: who starts another between the look and the signal, and dies of it, would leave an orphan that nobody
        can tell is his. A session's members are known without."""
        held: set[int] = set()
        try:
            for _ in range(0 if self._leads else _HOLD_ROUNDS):
                members = self.members()
                fresh = set(members) - held
                if not fresh and all(_look(pid).stopped for pid in members):
                    break
                _tell(fresh, signal.SIGSTOP)
                held |= fresh
                time.sleep(_HOLD_PAUSE_S)
            yield
        finally:
            _tell(held, signal.SIGCONT)

    def signal(self, number: int) -> int:
        """How many were told."""
        members = self.members()
        _tell(members, number)
        return len(members)


def _tell(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _look(pid: int) -> _Look:
    """Nothing when it is gone or a zombie, which nobody can end."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return _Look(0, 0)
    fields = text.rpartition(b")")[2].split()
    return (
        _Look(0, 0) if fields[0] in (b"Z", b"X") else _Look(int(fields[1]), int(fields[3]), fields[0] in (b"T", b"t"))
    )


def _namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _ignores_hang_ups(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    ignored = next((line.split()[1] for line in text.splitlines() if line.startswith("SigIgn:")), "0")
    return bool(int(ignored, 16) & _SIGHUP_BIT)
