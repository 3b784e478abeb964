"""A process that should get a core soon when it wakes, however busy the machine is.

By a nice value, of the loop's thread alone: what it starts (threads, programs, and through them guests) begins at 0 again (SCHED_RESET_ON_FORK).
Where the kernel weighs sessions against each other (autogroups, sched(7)) a nice value counts within its session only, so the session gets it too.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger("gureum.priority")
SOON = -5
"""Three times the weight of others who want the same core: enough to be next, not enough to keep them from it."""
_OWN_SESSION = Path("/proc/self/autogroup")


def run_soon() -> None:
    """Of the calling thread, from now on. Without the right to (CAP_SYS_NICE) all stays as it is."""
    if runs_soon(0) and os.getsid(0) == os.getpid():  # else the session is others', too
        with contextlib.suppress(OSError):  # a kernel without autogroups has no such file
            _OWN_SESSION.write_text(str(SOON))


def runs_soon(pid: int) -> bool:
    """Of another process's first thread, within its session. False where there is no right to it, or no such process any more."""
    try:
        os.sched_setscheduler(pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, SOON)
    except (PermissionError, ProcessLookupError) as refused:
        log.info("no right to run before others", extra={"why": refused.strerror})
        return False
    return True
