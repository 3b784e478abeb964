"""gureum's own HTTP paths: health, status, explain, coverage, console output, reset, metrics. For the command line and the user, on loopback.

Answers are JSON, metrics are Prometheus text. Errors answer {"error": "..."} with a fitting status.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from gureum import __version__
from gureum.aws.coverage import coverage, neighbour_coverage
from gureum.aws.gateway import Gateway
from gureum.aws.neighbours.offered import chosen
from gureum.aws.protocols import Request, Response
from gureum.aws.services import Services
from gureum.core.world import World
from gureum.engine.resource import Resource, key_of, kind_of
from gureum.metrics import render_metrics
from gureum.ports import PortError
from gureum.serial_service import SerialService

LIMIT_TREE_DEPTH = 4
LIMIT_CHILDREN = 200
_encoder = msgspec.json.Encoder()


class Admin:
    """`reset`: empties all accounts and regions; None when that is not allowed."""

    def __init__(
        self,
        world: World,
        services: Services,
        gateway: Gateway,
        reset: Callable[[], Awaitable[int]] | None,
        consoles: SerialService,
    ) -> None:
        self._world = world
        self._services = services
        self._gateway = gateway
        self._reset = reset
        self._consoles = consoles
        self._resetting = asyncio.Lock()
        self._started = time.time()

    async def handle(self, request: Request) -> Response:
        path = request.path
        if path == "/metrics" and request.method == "GET":
            return Response(200, {"content-type": "text/plain; version=0.0.4"}, await self._metrics())
        name, _, argument = path.removeprefix("/_gureum/").partition("/")
        if (request.method, name) == ("GET", "health"):
            return _json(200, {"ready": True, "version": __version__})
        if (request.method, name) == ("GET", "status"):
            return _json(200, await self.status())
        if (request.method, name) == ("GET", "coverage"):
            neighbours = await asyncio.to_thread(neighbour_coverage, chosen(self._world.settings.neighbours))
            return _json(200, coverage(self._services) | neighbours)
        if (request.method, name) == ("GET", "explain"):
            return await self._explain(unquote(argument))
        if (request.method, name) == ("GET", "console"):
            return await self._console(argument)
        if request.method == "POST" and name in self._world.registry.marks("admin"):
            return await self._act(name, argument)
        if (request.method, name) == ("POST", "reset"):
            return await self._do_reset()
        return _json(404, {"error": f"there is no {request.method} {path}"})

    async def _act(self, name: str, argument: str) -> Response:
        """What a face lets the machine's owner do beside its API (mark "admin")."""
        try:
            return _json(200, await self._world.registry.marks("admin")[name].target(self._world, argument))
        except PortError as refused:
            return _json(404, {"error": refused.why})

    async def status(self) -> dict[str, Any]:
        world = self._world
        counts = {kind.name: sum(1 for _ in world.client.everywhere(kind.type)) for kind in world.client.kinds()}
        return {
            "version": __version__,
            "simulated": world.settings.simulate,
            "home": world.settings.home,
            "pid": os.getpid(),
            "uptime_s": round(time.time() - self._started, 3),
            "revision": world.client.store.revision,
            "agent": await self._agent_status(),
            "objects": {name: count for name, count in sorted(counts.items()) if count},
            "reconcile": {
                "runs": world.loop.runs,
                "retries": world.loop.retries,
                "faults": world.loop.faults,
                "queue": world.loop.depth,
            },
            "calls": sum(self._gateway.counters.calls.values()),
            "faults": self._gateway.counters.faults,
            "pool": world.settings.pool,
            "serial_consoles": {"address": self._consoles.address, "host_key": self._consoles.fingerprint},
        }

    async def _agent_status(self) -> dict[str, Any]:
        if self._world.settings.simulate:
            return {"connected": True, "simulated": True}
        try:
            return {"connected": True, **await self._world.link.ask({"op": "status"}, timeout_s=5.0)}
        except PortError as away:
            return {"connected": False, "why": away.why}

    async def _explain(self, name: str) -> Response:
        """`name`: an id, a name that a user gave, or an ARN that ends with either."""
        found = self._world.client.called(
            name.replace("/", ":").rpartition(":")[2] if name.startswith("arn:") else name
        )
        if not found:
            return _json(404, {"error": f"nothing here is called {name}"})
        trees = [self._tree(obj, LIMIT_TREE_DEPTH, set()) for obj in found]
        core_ids = [core["id"] for tree in trees for core in tree["machine"]]
        about: dict[str, Any] = {}
        if core_ids and not self._world.settings.simulate:
            try:
                about = await self._world.link.ask({"op": "events", "ids": core_ids}, timeout_s=5.0)
            except PortError as away:
                about = {"error": away.why}
        return _json(200, {"objects": trees, "machine": about})

    def _tree(self, obj: Resource, depth: int, above: set[str]) -> dict[str, Any]:
        key = key_of(obj)
        world = self._world
        children = (
            [one for one in world.client.pointing_at(obj) if key_of(one) not in above][:LIMIT_CHILDREN] if depth else []
        )
        machine = []
        for desired in world.lowering.of(key):
            seen = world.seen(desired.id)
            told = {"phase": seen.phase, "reason": seen.reason} if seen else {"phase": "pending", "reason": ""}
            machine.append({"id": desired.id, **told})
        return {
            "kind": kind_of(obj).name,
            "name": obj.meta.name,
            "scope": obj.meta.scope,
            "created": obj.meta.created,
            "revision": obj.meta.revision,
            "tags": obj.meta.tags,
            "status": _public(getattr(obj, "status", None)),
            "events": world.events.of(key),
            "trace": world.tracer.trace_of(key)[-50:],
            "machine": machine,
            "children": [self._tree(child, depth - 1, above | {key}) for child in children],
        }

    async def _console(self, name: str) -> Response:
        try:
            return Response(200, {"content-type": "text/plain"}, await self._world.link.console(name, 1024 * 1024))
        except PortError as refused:
            return _json(404, {"error": refused.why})

    async def _do_reset(self) -> Response:
        if self._reset is None:
            return _json(403, {"error": "reset is only there when gureum was started with --ephemeral"})
        started = time.perf_counter()
        async with self._resetting:
            removed = await self._reset()
        self._gateway.forget_prepared()
        return _json(200, {"removed": removed, "seconds": round(time.perf_counter() - started, 6)})

    async def _metrics(self) -> bytes:
        agent = await self._agent_status()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return render_metrics(self._world, self._gateway.counters, agent, usage.ru_utime + usage.ru_stime).encode()


def _json(status: int, value: object) -> Response:
    return Response(status, {"content-type": "application/json"}, _encoder.encode(value))


def _public(status: object) -> object:
    return msgspec.to_builtins(status) if isinstance(status, msgspec.Struct) else None
