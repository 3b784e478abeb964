"""The agent's work as a service: keeps the last desired state on disk, reconciles it, reports what it sees.

It needs no daemon: after its own restart it starts from the state on disk and adopts what runs; when a daemon connects, that daemon's `sync`
says what is desired, and what is not in it leaves.

Stored in the agent's own store (a cache of the daemon's truth, so not fsynced):
    desired/<id>    the wish, as JSON        leaving/<id>   what is being torn down
    kept/<name>     small facts that must outlive the agent
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gureum.core.answers import AnswerKinds
from gureum.core.balancers import KINDS as BALANCING
from gureum.core.balancers import BalancingKinds
from gureum.core.containers import ContainerKinds
from gureum.core.disk_guard import DiskGuard
from gureum.core.flow_logs import FlowKinds
from gureum.core.flow_sums import FlowSums
from gureum.core.gates import GateKinds
from gureum.core.health import MadeSink
from gureum.core.images import ImageKinds
from gureum.core.look_ring import LookRing
from gureum.core.looks import counters, looks
from gureum.core.machine import Machine, Ports, Status, decode_desired, encode_desired
from gureum.core.networks import NetworkKinds, SocketShelf
from gureum.core.programs import Programs
from gureum.core.reconcilers import Reconcilers
from gureum.core.request_sums import RequestSums
from gureum.core.specs import BalancerNames, Container, Metadata, Names, TargetGroup
from gureum.core.targets import TargetBook
from gureum.core.volumes import VolumeKinds
from gureum.engine.errors import Retry
from gureum.engine.events import Events
from gureum.engine.lowering import Desired
from gureum.engine.reconcile import ReconcileLoop
from gureum.engine.tracing import Tracer
from gureum.ports import PortError
from gureum.ports.consoles import ConsolePage
from gureum.ports.networks import EdgeSpec
from gureum.store.contract import Delete, Put, Store, StoreBroken, StoreFull, Write

log = logging.getLogger("gureum.agent")
WRITES_AT_ONCE = 100
LIMIT_WAIT_S = 60.0
RETRY_WRITE_S = 1.0
MINUTE_S = 60


class AgentService:
    """`start` first; then `sync` and `change` as the daemon says. `subscribe` gets every status that changes."""

    def __init__(
        self, store: Store, ports: Ports, shelf: SocketShelf, edge: EdgeSpec, *, metrics_period_s: int = MINUTE_S
    ) -> None:
        self.events = Events()
        self.tracer = Tracer()
        self._store = store
        kept = {entry.key[5:]: entry.value.decode() for entry in store.range("kept/")}
        self.machine = Machine(ports, kept, self._keep)
        self._containers = ContainerKinds(self.machine, self.events)
        book = TargetBook()
        networks = NetworkKinds(self.machine, shelf, edge, book)
        self._balancing = BalancingKinds(self.machine, networks.rules, book)
        self.flow_logs = FlowKinds(self.machine)
        answers = AnswerKinds(self.machine)
        gates = GateKinds(self.machine, shelf)
        work = Reconcilers(
            self.machine,
            networks,
            ImageKinds(self.machine),
            VolumeKinds(self.machine),
            self._containers,
            answers,
            self._balancing,
            self.flow_logs,
            gates,
        ).work
        self.loop = ReconcileLoop("agent", work, ports.clock, self.events, self.tracer, concurrency=16)
        # Of its own: a dead target leaves the rotation at once, also while many machines start.
        self.balancing_loop = ReconcileLoop("balancing", work, ports.clock, self.events, self.tracer, concurrency=16)
        self.machine.poke = self._poke
        self.machine.report = self._publish
        self._subscribers: list[Callable[[Status], None]] = []
        self._pending: dict[str, Write] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._closing = False
        self.request_sums = RequestSums(self.machine, self._balancing.failing_over)
        self.programs = Programs(ports.containers, ports.clock)
        self.flow_sums = FlowSums(self.machine)
        self._counters = LookRing(self._look_at_counters, ports.clock, metrics_period_s)
        self._sums = LookRing(self._cut_sums, ports.clock, metrics_period_s)
        self._guard = DiskGuard(self.machine)
        self._watching: list[asyncio.Task[None]] = []

    def tell_looks(self, sink: MadeSink) -> None:
        """Every look that is made at a load balancer's target, from now on."""
        self._balancing.tell_looks(sink)

    async def start(self) -> None:
        self.request_sums.start()
        self.flow_sums.start()
        self._counters.start()
        self._sums.start()
        await self._containers.adopt()
        for desired in self._read("leaving/"):
            self.machine.wish(desired)
            self.machine.unwish(desired.id)
        wishes = self._read("desired/")
        # Before any socket is served: nobody may hear that a name or an instance is unknown which was known before the restart.
        for one in [*self.machine.leaving.values(), *wishes]:
            if isinstance(one.spec, TargetGroup):
                self._balancing.adopt(one.id, one.spec)
        for one in wishes:
            if isinstance(one.spec, BalancerNames):
                self._balancing.adopt_names(one.id, one.spec)
            elif isinstance(one.spec, Names):
                self.machine.ports.names.replace(one.id, one.spec.records, one.spec.zones)
            elif isinstance(one.spec, Metadata):
                self.machine.ports.metadata.replace(one.spec.document)
        for one in wishes:
            self.machine.wish(one)
        self._balancing.start()
        watches = (self._guard.run(), self._containers.credits.run())
        self._watching = [asyncio.get_running_loop().create_task(one) for one in watches]

    def _read(self, prefix: str) -> list[Desired]:
        """What the cache holds there. What another version of gureum wrote and this one cannot read is left to the daemon, which wishes anew."""
        found = []
        for entry in self._store.range(prefix):
            try:
                found.append(decode_desired(entry.value))
            except msgspec.DecodeError as error:
                log.warning("the agent's cache holds what it cannot read", extra={"key": entry.key, "why": str(error)})
        return found

    def sync(self, desired: Iterable[Desired]) -> None:
        """This and only this is desired now."""
        wanted = {one.id: one for one in desired}
        self.change(list(wanted.values()), [id_ for id_ in self.machine.desired if id_ not in wanted])

    def change(self, put: list[Desired], remove: list[str]) -> None:
        for one in put:
            if self.machine.desired.get(one.id) != one:
                self._save(f"desired/{one.id}", encode_desired(one))
                self._save(f"leaving/{one.id}", None)
                self.machine.wish(one)
        for id_ in remove:
            leaving = self.machine.desired.get(id_)
            if leaving is not None:
                self._save(f"desired/{id_}", None)
                self._save(f"leaving/{id_}", encode_desired(leaving))
                self.machine.unwish(id_)

    async def console_lines(self, name: str, place: str, wait_s: float) -> ConsolePage:
        """Lines of a console after `place`; when there are none yet, waits for them, for at most so long. PortError."""
        consoles = self.machine.ports.consoles
        if consoles is None:
            raise PortError("this machine's consoles cannot be followed", retry=False)
        page = await consoles.read(name, place)
        if page.lines or wait_s <= 0:
            return page
        await consoles.changed(name, min(wait_s, LIMIT_WAIT_S))
        return await consoles.read(name, page.place)

    async def counter_looks(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to {"op": "counters"}: looks at all counters (core/look_ring.py). What was seen while no daemon asked tells of status checks
        too. PortError."""
        found, more = await self._counters.since(request)
        return {"looks": [{"time": one.time, **one.found} for one in found], "more": more}

    async def balancer_looks(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to {"op": "request_sums"}: what load balancers have done, a look for each period. PortError."""
        found, more = await self._sums.since(request)
        return {"looks": [{"time": one.time, **one.found} for one in found], "more": more}

    async def _look_at_counters(self, alone: bool) -> tuple[dict[str, Any], int]:
        found = {"sample": await counters(self.machine, self._containers.credits)}
        if alone:
            found["machines"] = await looks(self.machine)
        return found, sum(len(part) for part in found["sample"].values() if isinstance(part, dict))

    async def _cut_sums(self, alone: bool) -> tuple[dict[str, Any], int]:
        """`targets`, `zones`: how each stood, by group; the daemon knows it where it asked itself."""
        flows = await self.flow_sums.take()
        sums = self.request_sums.take()
        found: dict[str, Any] = {"sums": sums, "flows": flows}
        if alone:
            groups = (one.id for one in self.machine.of_kind("TargetGroup"))
            known = {id_: status.data for id_ in groups if (status := self.machine.status.get(id_))}
            found["targets"] = {id_: data.get("targets", {}) for id_, data in known.items()}
            found["zones"] = {id_: data.get("zones", {}) for id_, data in known.items()}
            found["anomalies"] = {id_: data.get("anomalies", {}) for id_, data in known.items()}
        weight = len(sums) + len(flows) + sum(len(one) for one in found.get("targets", {}).values())
        return found, weight

    def subscribe(self, subscriber: Callable[[Status], None]) -> Callable[[], None]:
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def stop_machines(self, limit_s: float) -> None:
        """Ends all containers cleanly and stops reconciling; what is desired stays on disk for the next start. What has not ended after
        `limit_s` is left to whoever removes the home's traces by name."""
        self._stop_watching()
        await self._stop_reconciling()
        containers = [(one.id, one.spec) for one in self.machine.desired.values() if isinstance(one.spec, Container)]
        ends = [self._containers.go_down(id_, spec) for id_, spec in containers]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), limit_s)

    async def close(self) -> None:
        """Stops working; what runs goes on."""
        self._closing = True
        await self.programs.close()
        await self._counters.close()
        await self._sums.close()
        self.request_sums.close()
        await self.flow_sums.close()
        self._stop_watching()
        await self._stop_reconciling()
        self._containers.close()
        self.flow_logs.close()
        while self._flushing is not None and not self._flushing.done():
            await self._flushing

    def _poke(self, id_: str) -> None:
        loop = self.balancing_loop if id_.split("/", 1)[0] in BALANCING else self.loop
        loop.poke(id_)

    async def _stop_reconciling(self) -> None:
        await self._balancing.close()
        await self.balancing_loop.close()
        await self.loop.close()

    def _stop_watching(self) -> None:
        for task in self._watching:
            task.cancel()

    def _publish(self, status: Status) -> None:
        if status.phase == "gone":
            self._save(f"leaving/{status.id}", None)
        for subscriber in list(self._subscribers):
            subscriber(status)

    async def _keep(self, name: str, text: str) -> None:
        key = f"kept/{name}"
        if not text:
            self._save(
                key, None
            )  # in its time: what is torn down must not wait for a disk that its end would give room
            return
        try:
            await self._store.commit([], [Put(key, text.encode()) if text else Delete(key)])
        except (StoreFull, StoreBroken) as failed:
            raise Retry(f"the agent cannot write its cache: {failed}") from failed

    def _save(self, key: str, value: bytes | None) -> None:
        self._pending[key] = Delete(key) if value is None else Put(key, value)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        """Writes what is due. While the disk is full it waits and keeps the newest wish of each object; work on the machine goes on."""
        while self._pending:
            due = {key: self._pending.pop(key) for key in list(self._pending)[:WRITES_AT_ONCE]}
            try:
                await self._store.commit([], list(due.values()))
            except (StoreFull, StoreBroken) as failed:
                log.warning("the agent cannot write its cache", extra={"why": str(failed)})
                self._pending = due | self._pending
                if self._closing:
                    return
                await asyncio.sleep(RETRY_WRITE_S)
