"""What the tests of telemetry share."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from gureum.ports.telemetry import LogEvent, Series

SCOPE = "000000000000/us-east-1"
NOW_S = 1_800_000_000.0
NOW_MS = int(NOW_S) * 1000
CPU = Series(SCOPE, "AWS/EC2", "CPUUtilization", (("InstanceId", "i-1"),))


class HandClock:
    """Time that the test sets."""

    def __init__(self) -> None:
        self.seconds = NOW_S

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), timeout=60))

    return run


def event(message: str, time_ms: int = NOW_MS, stream: str = "a") -> LogEvent:
    return LogEvent(stream, time_ms, time_ms, message)
