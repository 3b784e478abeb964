"""The control plane's world, as faces see it: stored objects, their lowering, what is seen of the machine, and the loop that brings them together.

    commit ──► client (visible) ──► lowering ──► link ──► agent
                    │                                       │
                    └──► reconcile loop ◄── status ◄────────┘

A face's package is loaded once (`load`): its kinds, lower and reconcile functions join in. Loading may happen while calls are served.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar, cast

from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.flow_windows import Window
from gureum.core.issuers import Issuers, NoIssuers
from gureum.core.log_tails import LogTails
from gureum.core.machine import Status, version_of
from gureum.core.neighbours import Known, NeighbourRefused, Neighbours, NoNeighbours, Unasked
from gureum.engine.client import Change, Client
from gureum.engine.errors import Retry
from gureum.engine.event_stream import EventStream
from gureum.engine.events import Events
from gureum.engine.lowering import Desired, LowerFunction, Lowering
from gureum.engine.owners import cascade
from gureum.engine.reconcile import ReconcileLoop
from gureum.engine.registry import Registry
from gureum.engine.resource import Resource, kind_name_of
from gureum.engine.tracing import Tracer
from gureum.ports.clock import Clock
from gureum.ports.consoles import ConsolePage
from gureum.ports.telemetry import Logs, Metrics
from gureum.store.contract import Store

P = TypeVar("P")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
log = logging.getLogger("gureum.world")
FIRST_SYNC_S = 60.0


class Link(Protocol):
    """The agent, wherever it runs (core/agent_link.py)."""

    seen: dict[str, Status]
    synced: bool

    @property
    def connected(self) -> bool: ...
    def change(self, put: list[Desired], remove: list[str]) -> None: ...
    async def run(self) -> None: ...
    async def first_sync(self, timeout_s: float) -> bool: ...
    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]: ...
    async def open(self, request: dict[str, Any]) -> tuple[dict[str, Any], Stream]: ...
    async def console(self, name: str, limit_bytes: int = 65536) -> bytes: ...
    async def console_lines(self, name: str, place: str, wait_s: float) -> ConsolePage: ...
    async def flows(self, name: str, done: int) -> list[Window]: ...


LinkMaker = Callable[[Callable[[], list[Desired]], Callable[[Status], None]], Link]


class World:
    """`make_link(desired, on_status)` builds the link to the agent; a link that cannot act yet is fine. The caller closes `store`, `metrics`
    and `logs`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        sealer: Sealer,
        make_link: LinkMaker,
        *,
        metrics: Metrics,
        logs: Logs,
        neighbours: Neighbours | None = None,
        issuers: Issuers | None = None,
    ) -> None:
        self.metrics = metrics
        self.logs = logs
        self.neighbours: Neighbours = neighbours or NoNeighbours()
        self.known = Known(self.neighbours)
        self.issuers: Issuers = issuers or NoIssuers()
        self.settings = settings
        self.sealer = sealer
        self.clock = clock
        self.events = Events()
        self.event_stream = EventStream()
        self.tracer = Tracer()
        self.tails = LogTails()
        self.registry = Registry()
        self.client = Client(store, clock)
        self._background: dict[str, asyncio.Task[None]] = {}
        self._parts: dict[Any, Any] = {}
        self._running = False
        self._lower_functions: dict[str, LowerFunction] = {}
        self._reconcile_functions: dict[str, Callable[[World, Any], Awaitable[None]]] = {}
        self._watchers: dict[str, list[Callable[[Client, Any], Iterable[str]]]] = {}
        self.lowering = Lowering(self.client, self._lower_functions, self._on_lowered, after_answers)
        self.loop = ReconcileLoop("reconcile", self._work, clock, self.events, self.tracer)
        self.link = make_link(self.lowering.desired, self._on_status)
        self.client.listen(self._on_changes)

    def load(self, package: str) -> None:
        """Loads a face's package; what the store holds of its kinds is lowered and reconciled from now on. Idempotent."""
        known = set(self.registry.kinds)
        if not self.registry.scan(package):
            return
        added = [kind for name, kind in self.registry.kinds.items() if name not in known]
        self.client.add_kinds(added)
        self._lower_functions.update(self.registry.lower_functions())
        self._reconcile_functions.update({name: one.target for name, one in self.registry.marks("reconcile").items()})
        self._watchers = {}
        for one in self.registry.marks("watch").values():
            self._watchers.setdefault(one.options["kind"], []).append(one.target)
        keys = [key for kind in added for key in self._keys(kind.name)]
        self.lowering.relower(key for key in keys if kind_name_of(key) in self._lower_functions)
        for key in keys:
            if kind_name_of(key) in self._reconcile_functions:
                self.loop.poke(key)
        if self._running:
            self._start_background()

    def part(self, make: Callable[[World], P]) -> P:
        """The one `make(world)` of this world, made on first use: what a face keeps in memory for as long as the world lives."""
        if make not in self._parts:
            self._parts[make] = make(self)
        return cast(P, self._parts[make])

    def seen(self, id_: str) -> Status | None:
        """The newest status of a core object, None when the agent has none (it is gone, or was never there)."""
        return self.link.seen.get(id_)

    def is_current(self, desired: Desired) -> bool:
        """Whether the agent's status of it speaks of this very spec and says ready."""
        status = self.seen(desired.id)
        return status is not None and status.phase == "ready" and status.version == version_of(desired.spec)

    def poke(self, obj_key: str, after_s: float = 0.0) -> None:
        if after_s:
            self.loop.poke_after(obj_key, after_s)
        else:
            self.loop.poke(obj_key)

    async def run(self) -> None:
        """Until cancelled."""
        self._running = True
        self._start_background()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run())
            group.create_task(self._look_after_first_sync())

    async def _look_after_first_sync(self) -> None:
        """What went away while no daemon listened sends no status: once the agent has told what there is, everything is looked at."""
        while not await self.link.first_sync(FIRST_SYNC_S):
            log.warning("the agent has not answered yet")
        for kind in list(self._reconcile_functions):
            for key in self._keys(kind):
                self.loop.poke(key)

    def _start_background(self) -> None:
        for name, one in self.registry.marks("background").items():
            if name not in self._background:
                task = asyncio.get_running_loop().create_task(one.target(self), name=name)
                task.add_done_callback(_tell_end)
                self._background[name] = task

    async def close(self) -> None:
        self._running = False
        for task in self._background.values():
            task.cancel()
        await asyncio.gather(*self._background.values(), return_exceptions=True)
        await self.loop.close()
        self.lowering.close()
        self.client.close()
        await asyncio.sleep(0)

    def _keys(self, kind_name: str) -> list[str]:
        return [entry.key for entry in self.client.store.range(f"{kind_name}/")]

    async def _work(self, key: str) -> None:
        obj: Resource | None = self.client.by_key(key)
        if obj is None:
            if not await cascade(self.client, key):
                self.loop.poke(key)
            return
        function = self._reconcile_functions.get(kind_name_of(key))
        if function is None:
            return
        try:
            await function(self, obj)
        except Unasked as unasked:
            try:
                await self.known.ask(unasked.question)
            except NeighbourRefused as refused:
                raise Retry(str(refused)) from refused
            self.loop.poke(key)

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            if change.after is None or kind_name_of(change.key) in self._reconcile_functions:
                self.loop.poke(change.key)
            self._wake_watchers(change.key, change.after or change.before)

    def _wake_watchers(self, key: str, obj: Resource | None) -> None:
        for watcher in self._watchers.get(kind_name_of(key), ()) if obj is not None else ():
            for woken in watcher(self.client, obj):
                self.loop.poke(woken)

    def _on_lowered(self, changed: list[Desired], removed: list[str]) -> None:
        self.link.change(changed, removed)

    def _on_status(self, status: Status) -> None:
        if status.owner:
            self.loop.poke(status.owner)
            if kind_name_of(status.owner) in self._watchers:
                self._wake_watchers(status.owner, self.client.by_key(status.owner))


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("work in the background ended", extra={"name_": task.get_name()}, exc_info=task.exception())


def after_answers(work: Callable[[], None]) -> None:
    """Runs `work` when those who wait for a commit have gone on: the call is answered first, and commits that come close together make one batch."""
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, work)
