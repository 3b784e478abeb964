"""The reconcile loop: one queue of keys, each key worked on by one task at a time.

    poke(key) ──► waiting ──► working ──► done
                     ▲           │ poked meanwhile, or Retry: waits again
                     └───────────┘

It is level-based: a poke says "look at this key", never what happened to it, so a lost, doubled or late poke does no harm as long as a
last one comes. `Retry` waits (its own time, or a back-off that doubles from 50 ms to 30 s), `Broken` waits for the next poke.
An exception that nobody expected is logged, counted and retried with back-off: this is one of the two catch-alls of the project.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gureum.base import tallies
from gureum.base.tallies import Tally
from gureum.engine.errors import Broken, Retry
from gureum.engine.events import Events
from gureum.engine.tracing import Tracer
from gureum.ports.clock import Clock
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.reconcile")
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.05, 30.0
Work = Callable[[str], Awaitable[None]]


class ReconcileLoop:
    """`work(key)` makes one key's world alike. `concurrency` bounds how many keys are worked on at once. `lags`: how long keys that were poked waited
    until they were worked on; whoever takes them puts an empty tally in their place."""

    def __init__(
        self, name: str, work: Work, clock: Clock, events: Events, tracer: Tracer, *, concurrency: int = 64
    ) -> None:
        self.name = name
        self.runs = self.retries = self.faults = 0
        self.lags: Tally = {}
        self._work = work
        self._clock = clock
        self._events = events
        self._tracer = tracer
        self._slots = asyncio.Semaphore(concurrency)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._closed = False

    def poke(self, key: str) -> None:
        """Look at `key` soon. Only from the loop's own thread."""
        if self._closed:
            return
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._tasks:
            self._again.add(key)
        else:
            loop = asyncio.get_running_loop()
            self._tasks[key] = loop.create_task(self._run(key, loop.time()), name=f"{self.name} {key}")

    def poke_after(self, key: str, delay_s: float) -> None:
        """Look at `key` in `delay_s` seconds, or sooner if it is poked before."""
        if not self._closed and key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().create_task(self._wait(key, delay_s))

    @property
    def depth(self) -> int:
        return len(self._tasks)

    async def idle(self) -> None:
        """Waits until no key is worked on or due now (keys that wait for a timer do not count)."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        self._closed = True
        tasks = [*self._tasks.values(), *self._timers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, key: str, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._timers.pop(key, None)
        self.poke(key)

    async def _run(self, key: str, poked: float) -> None:
        try:
            async with self._slots:
                tallies.add(self.lags, asyncio.get_running_loop().time() - poked)
                again = True
                while again and not self._closed:
                    self._again.discard(key)
                    await self._once(key)
                    again = key in self._again
        finally:
            self._tasks.pop(key, None)
            self._again.discard(key)

    async def _once(self, key: str) -> None:
        self.runs += 1
        try:
            with self._tracer.span(f"{self.name} {key.split('/', 1)[0]}", key=key):
                await self._work(key)
        except Conflict:
            self._again.add(key)
        except Retry as retry:
            self.retries += 1
            self._events.record(key, self._clock.now(), "Retry", retry.why)
            self._later(key, retry.after_s)
        except (StoreFull, StoreBroken) as failed:
            self.retries += 1
            self._events.record(key, self._clock.now(), "Retry", f"the store cannot write: {failed}", warning=True)
            self._later(key, 0.0)
        except Broken as broken:
            self._failures.pop(key, None)
            self._events.record(key, self._clock.now(), "Broken", broken.why, warning=True)
        except Exception as error:
            self.faults += 1
            log.exception("reconcile failed", extra={"key": key})
            self._events.record(key, self._clock.now(), "Fault", f"{type(error).__name__}: {error}", warning=True)
            self._later(key, 0.0)
        else:
            self._failures.pop(key, None)

    def _later(self, key: str, after_s: float) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.poke_after(key, after_s or min(FIRST_BACKOFF_S * 2 ** min(failures, 20), LAST_BACKOFF_S))
