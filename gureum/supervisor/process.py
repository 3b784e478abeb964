"""A child of the supervisor: how it is started, what it says on its way to be ready, when it is started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any, Literal

from gureum.base.log_files import log, open_log

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
# A child that served this long did not die of its start: its back-off begins anew.
STEADY_S = 30.0
State = Literal["starting", "ready", "waiting", "stopped"]


class Process:
    """State "waiting": to start again at `deadline` (of the monotonic clock), as "starting" is to be over by then. `pid`, `pipe` (what it says
    until it is ready): 0 and -1 while there is none."""

    def __init__(self, name: str, *, wanted: bool = True) -> None:
        self.name = name
        self.pid = 0
        self.state: State = "stopped"
        self.since = time.time()
        self.restarts = 0
        self.delay_s = FIRST_DELAY_S
        self.deadline = 0.0
        self.why = ""
        self.pipe = -1
        self.wanted = wanted
        self._heard = b""

    def become(self, state: State) -> None:
        self.state, self.since = state, time.time()
        log("process", name=self.name, state=state, pid=self.pid, why=self.why)

    def begin(self, pid: int, pipe: int, limit_s: float) -> None:
        """It runs as `pid`, speaks through `pipe`, and is to be ready within `limit_s`."""
        self.pid, self.pipe, self._heard, self.why = pid, pipe, b"", ""
        self.deadline = time.monotonic() + limit_s
        self.become("starting")

    def words(self, data: bytes) -> list[tuple[str, str]]:
        """The lines that are complete by `data`, each as its first word and the rest."""
        *lines, self._heard = (self._heard + data).split(b"\n")
        found = [line.decode(errors="replace").partition(" ") for line in lines]
        return [(word, text) for word, _, text in found]

    def back_off(self) -> None:
        """It has ended unasked, and is started again a little later than the last time."""
        if self.state == "ready" and time.time() - self.since > STEADY_S:
            self.delay_s = FIRST_DELAY_S
        self.deadline = time.monotonic() + self.delay_s
        self.delay_s = min(self.delay_s * 2, LONGEST_DELAY_S)
        self.become("waiting")

    def show(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pid": self.pid,
            "state": self.state,
            "since": self.since,
            "restarts": self.restarts,
            "why": self.why,
        }


def start(command: list[str], added: Mapping[str, str], log_file: str) -> int:
    """Runs it in a session of its own, with `log_file` as output ("" for the terminal) and `added` to the environment. Returns its pid."""
    # Threads share the interpreter's lock anyway; heaps of their own would cost the agent 7 MiB.
    environment = {"MALLOC_ARENA_MAX": "1", **os.environ, **added}
    output = open_log(log_file) if log_file else 2
    try:
        return os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGHUP],
        )
    finally:
        if output != 2:
            os.close(output)
