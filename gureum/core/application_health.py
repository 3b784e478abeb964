"""Health checks of applications: a program that is run inside now and then (Docker: HEALTHCHECK), also while no daemon is there.

starting ──success──► healthy ◄──success── unhealthy
    └──── `retries` failures in a row, after the start period ────►┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gureum.core.specs import HealthCheck
from gureum.ports import PortError
from gureum.ports.clock import Clock
from gureum.ports.containers import ContainerState, Executions, User

KEPT, OUTPUT_BYTES = 5, 4096


class ApplicationHealth:
    """`changed(name)` is called after each look."""

    def __init__(self, containers: Executions, clock: Clock, changed: Callable[[str], None]) -> None:
        self._containers, self._clock, self._changed = containers, clock, changed
        self._tasks: dict[str, tuple[int, HealthCheck, asyncio.Task[None]]] = {}
        self._told: dict[str, dict[str, Any]] = {}

    def told(self, name: str) -> dict[str, Any] | None:
        return self._told.get(name)

    def watch(self, state: ContainerState, check: HealthCheck | None) -> None:
        """Looks after this run, as `check` says; idempotent."""
        known = self._tasks.get(state.name)
        if known is not None and (known[0], known[1]) == (state.run, check):
            return
        self.forget(state.name)
        if check is not None:
            self._told[state.name] = {"status": "starting", "streak": 0, "log": []}
            task = asyncio.get_running_loop().create_task(self._look_after(state, check))
            self._tasks[state.name] = (state.run, check, task)

    def forget(self, name: str) -> None:
        known = self._tasks.pop(name, None)
        if known is not None:
            known[2].cancel()
        self._told.pop(name, None)

    def close(self) -> None:
        for name in list(self._tasks):
            self.forget(name)

    async def _look_after(self, state: ContainerState, check: HealthCheck) -> None:
        until_s = state.started + check.start_period_s
        while True:
            starting = self._clock.now() < until_s and self._told[state.name]["status"] == "starting"
            await self._clock.sleep(min(check.start_interval_s, check.interval_s) if starting else check.interval_s)
            entry = await self._look(state.name, check)
            if entry is None:
                continue
            before = self._told[state.name]
            streak = 0 if entry["ExitCode"] == 0 else before["streak"] + 1
            status = "healthy" if entry["ExitCode"] == 0 else before["status"]
            if entry["ExitCode"] != 0 and before["status"] == "starting" and self._clock.now() < until_s:
                streak = 0
            elif streak >= check.retries:
                status = "unhealthy"
            self._told[state.name] = {"status": status, "streak": streak, "log": [*before["log"], entry][-KEPT:]}
            self._changed(state.name)

    async def _look(self, name: str, check: HealthCheck) -> dict[str, Any] | None:
        """None when nothing could be run: it is paused, or about to end."""
        start = time.time()
        try:
            done = await self._containers.exec(name, check.args, timeout_s=check.timeout_s, user=User(text=check.user))
            code, output = done.exit_code, (done.stdout + done.stderr)[:OUTPUT_BYTES].decode(errors="replace")
        except PortError as refused:
            if "did not end within" not in refused.why:
                return None
            code, output = -1, f"Health check exceeded timeout ({check.timeout_s:g}s)"
        return {"Start": _iso(start), "End": _iso(time.time()), "ExitCode": code, "Output": output}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
