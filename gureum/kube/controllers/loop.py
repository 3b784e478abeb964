"""The loop of the controllers: what is committed wakes keys, each key is worked on by one task at a time.

    store event ► index ► every controller that listens to the kind: which keys does it concern? ► its queue ► reconcile(key)

A reconcile that fails is tried again, later each time; one that waits for a time says when. It may run at any time, twice, or after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.index import Facts, Index
from gureum.kube.errors import StatusError
from gureum.kube.objects import Objects, Place
from gureum.store.contract import Event

log = logging.getLogger("gureum.kube.controllers")
FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 60.0
AT_ONCE = 16


class Seen(NamedTuple):
    """An event as controllers look at it."""

    place: Place
    before: Facts | None
    after: Facts | None
    event: Event

    @property
    def facts(self) -> Facts:
        known = self.after or self.before
        assert known is not None
        return known


Wake = Callable[[Seen], Iterable[str]]
Reconcile = Callable[[Client, str], Awaitable[float | None]]
"""Works on one key; returns in how many seconds it wants to be woken again, if at all."""


class Controller(NamedTuple):
    """`wakes`: by storage ("*": all), which keys an event concerns. Keys are free text; most are "namespace/name"."""

    name: str
    wakes: Mapping[str, Wake]
    reconcile: Reconcile
    initial: Callable[[Client], Iterable[str]] = lambda _client: ()


class ControllerLoop:
    def __init__(self, objects: Objects, index: Index, client: Client, controllers: Iterable[Controller]) -> None:
        self._objects = objects
        self._index = index
        self._client = client
        self._workers = [_Worker(one, client) for one in controllers]
        self._listening: dict[str, list[tuple[_Worker, Wake]]] = {}
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Every controller first looks at all that there is."""
        for key, facts in list(self._index.facts.items()):
            self._tell(Seen(self._objects.place(key), None, facts, Event(0, key, None, None)))
        for worker in self._workers:
            for key in worker.controller.initial(self._client):
                worker.wake(key)
        self._unlisten = self._objects.store.listen(self._on_events)

    async def close(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        for worker in self._workers:
            await worker.close()

    @property
    def listens(self) -> bool:
        """Whether it hears what is written."""
        return self._unlisten is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way or waits for its turn (tests ask)."""
        return all(worker.idle for worker in self._workers)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if not event.key.startswith(self._objects.root):
                continue
            before, after = self._index.apply(event)
            if before is None and after is None:
                continue
            self._tell(Seen(self._objects.place(event.key), before, after, event))

    def _tell(self, seen: Seen) -> None:
        storage = seen.place.storage
        listening = self._listening.get(storage)
        if listening is None:
            listening = self._listening[storage] = [
                (worker, wake)
                for worker in self._workers
                if (wake := worker.controller.wakes.get(storage) or worker.controller.wakes.get("*")) is not None
            ]
        for worker, wake in listening:
            for key in wake(seen):
                worker.wake(key)


class _Worker:
    """One controller's queue. A key that is woken while it is worked on is worked on again afterwards."""

    def __init__(self, controller: Controller, client: Client) -> None:
        self.controller = controller
        self._client = client
        self._waiting: dict[str, None] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._delays: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False
        self._starting: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    def wake(self, key: str) -> None:
        if self._closed:
            return
        self._waiting[key] = None
        if self._starting is None:
            # Not at once: an event comes before its writer goes on, and what comes close together makes one look.
            self._starting = asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._starting = None
        if self._closed:  # what was cancelled calls this on its way out
            return
        for key in list(self._waiting):
            if len(self._running) >= AT_ONCE:
                return
            if key not in self._running:
                del self._waiting[key]
                timer = self._timers.pop(key, None)
                if timer is not None:
                    timer.cancel()
                task = asyncio.get_running_loop().create_task(self._work(key), name=self.controller.name)
                self._running[key] = task

    async def _work(self, key: str) -> None:
        again: float | None = None
        try:
            again = await self.controller.reconcile(self._client, key)
            self._delays.pop(key, None)
        except StatusError as error:
            again = self._back_off(key)
            log.info("kube.retry", extra={"controller": self.controller.name, "key": key, "why": error.message[:300]})
        except Exception:
            again = self._back_off(key)
            log.exception("kube.reconcile_failed", extra={"controller": self.controller.name, "key": key})
        finally:
            del self._running[key]
        if again is not None and not self._closed:
            self._later(key, again)
        self._start()

    def _back_off(self, key: str) -> float:
        delay = self._delays.get(key, FIRST_DELAY_S)
        self._delays[key] = min(delay * 2, LONGEST_DELAY_S)
        return delay

    def _later(self, key: str, seconds: float) -> None:
        known = self._timers.pop(key, None)
        if known is not None:
            known.cancel()

        def due() -> None:
            self._timers.pop(key, None)
            self.wake(key)

        self._timers[key] = asyncio.get_running_loop().call_later(max(seconds, 0.01), due)

    async def close(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def itself(seen: Seen) -> list[str]:
    """The object's own key: "namespace/name"."""
    return [f"{seen.place.namespace}/{seen.place.name}"]


def its_controller(kind: str) -> Wake:
    """The controller of that kind, before and after the event."""

    def wake(seen: Seen) -> list[str]:
        found = []
        for facts in (seen.before, seen.after):
            owner = facts.controller if facts else None
            if owner is not None and owner.kind == kind:
                found.append(f"{seen.place.namespace}/{owner.name}")
        return found

    return wake
