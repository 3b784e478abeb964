"""`python -m gureum.supervisor OPTIONS`. Started by `gureum up`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
from typing import Any

from gureum.base.log_files import log
from gureum.base.predecessors import end_predecessors, take_lock
from gureum.supervisor.control import Answer
from gureum.supervisor.supervisor import STOP_TIMEOUT_S, Supervisor

PR_SET_CHILD_SUBREAPER = 36
BUSY_EXIT = 3


def starter_answer() -> Answer | None:
    """How `gureum up`, which waits for us, is answered: lines of JSON into the pipe that it passed."""
    text = os.environ.pop("GUREUM_READY_FD", "")
    if not text:
        return None
    pipe = int(text)
    os.set_inheritable(pipe, False)

    def answer(message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            os.write(pipe, json.dumps(message).encode() + b"\n")
            if "progress" not in message:
                os.close(pipe)

    return answer


def adopt_orphans() -> None:
    """Who loses its parent becomes our child and is collected in the end: conmon, and what a killed agent ran. Else it would be PID 1's, and
    in a container that may be a program which collects nobody (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        log("no-orphans")


def main() -> int:
    """`python -m gureum.supervisor OPTIONS`, JSON: home, run (folders), package (whose `agent` and
    `daemon` it runs), simulate, foreground, log_bytes. Started by `gureum up`."""
    options = json.loads(sys.argv[1])
    lock = take_lock(options["run"])
    if lock is None:
        return BUSY_EXIT
    os.chdir("/")
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    adopting = end_predecessors(options["run"], STOP_TIMEOUT_S)
    supervisor = Supervisor(options, lock, [starter] if (starter := starter_answer()) else [], adopting=adopting)
    log("supervisor", pid=os.getpid(), home=options["home"])
    adopt_orphans()
    code = supervisor.serve()
    # The next one must know, too, that machines run.
    for name in ("supervisor.sock",) if code and adopting else ("supervisor.sock", "children.json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{options['run']}/{name}")
    return code


if __name__ == "__main__":
    sys.exit(main())
