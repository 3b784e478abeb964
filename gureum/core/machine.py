"""The machine as the agent keeps it: what is desired of it, what is leaving, and how far each core object has come.

    desired ──reconcile──► status "ready" (or "pending"/"failed" with a reason)
       │ no longer wished
       ▼
    leaving ──teardown (only when nothing refers to it any more)──► "gone", forgotten

Objects refer to others by id ("Network/vpc-1"): a reconcile that needs another which is not ready waits for its status to change; a teardown
waits until nobody refers to it. So order follows from references alone, in both directions, and survives any crash.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import msgspec

from gureum.core.references import references
from gureum.core.specs import KINDS
from gureum.engine.errors import Retry
from gureum.engine.lowering import Desired
from gureum.ports.certificates import Certificates
from gureum.ports.checks import Checks
from gureum.ports.clock import Clock
from gureum.ports.consoles import Consoles
from gureum.ports.containers import Containers
from gureum.ports.dials import Dials
from gureum.ports.firewalls import Firewalls
from gureum.ports.flows import Flows
from gureum.ports.gates import Gates
from gureum.ports.images import Images
from gureum.ports.metadata import Metadata
from gureum.ports.names import Names
from gureum.ports.networks import Networks
from gureum.ports.proxies import Proxies
from gureum.ports.publishing import Publisher
from gureum.ports.root_files import RootFiles
from gureum.ports.streams import Streams
from gureum.ports.volumes import Volumes

Phase = Literal["pending", "ready", "failed", "gone"]
WAIT_LIMIT_S = 10.0


class Status(msgspec.Struct, frozen=True):
    """How far one core object has come. `version`: of the spec this speaks of. `data`: what the kind tells beyond it (plain values)."""

    id: str
    owner: str
    phase: Phase
    version: str = ""
    reason: str = ""
    data: dict[str, Any] = {}


class Ports(msgspec.Struct, frozen=True):
    """The machine, as contracts. Built once in agent.py."""

    networks: Networks
    firewalls: Firewalls
    images: Images
    volumes: Volumes
    containers: Containers
    names: Names
    metadata: Metadata
    proxies: Proxies
    checks: Checks
    certificates: Certificates
    clock: Clock
    flows: Flows | None = None
    consoles: Consoles | None = None
    dials: Dials | None = None
    streams: Streams | None = None
    publisher: Publisher | None = None
    root_files: RootFiles | None = None
    gates: Gates | None = None


class Machine:
    """`report` is called with every status that changed; `poke` asks the reconcile loop to look at an id; `keep` persists a small fact that must
    outlive the agent (a name and a text; "" forgets it), `kept` holds those facts. `held`: why no container may run now, "" when they may."""

    def __init__(self, ports: Ports, kept: dict[str, str], keep: Callable[[str, str], Awaitable[None]]) -> None:
        self.ports = ports
        self.desired: dict[str, Desired] = {}
        self.leaving: dict[str, Desired] = {}
        self.status: dict[str, Status] = {}
        self.kept = kept
        self.held = ""
        self.report: Callable[[Status], None] = lambda status: None
        self.poke: Callable[[str], None] = lambda id_: None
        self._keep = keep
        self._kinds: dict[str, dict[str, Desired]] = {}
        self._users: dict[str, set[str]] = {}
        self._waiting: dict[str, set[str]] = {}
        self._worked_on: dict[str, Desired] = {}

    def wish(self, desired: Desired) -> None:
        """This is wanted now, in this form."""
        returning = self.leaving.pop(desired.id, None)
        self._refer(self.desired.get(desired.id) or returning, desired)
        self.desired[desired.id] = self._kinds.setdefault(desired.kind, {})[desired.id] = desired
        if returning is not None or desired.id not in self.status:
            self.set_status(desired.id, "pending")
        self.poke(desired.id)

    def unwish(self, id_: str) -> None:
        """This is no longer wanted: it is torn down when nothing refers to it."""
        desired = self.desired.pop(id_, None)
        if desired is not None:
            del self._kinds[desired.kind][id_]
            self.leaving[id_] = desired
            self.poke(id_)

    def forget(self, id_: str) -> None:
        """The teardown is complete."""
        desired = self.leaving.pop(id_, None)
        if desired is None:
            return
        self._refer(desired, None)
        status = self.status.pop(id_, None)
        self.report(Status(id_, desired.owner, "gone", status.version if status else ""))
        for other in (*references(desired), *self._waiting.pop(id_, ())):
            self.poke(other)

    def users(self, id_: str) -> list[str]:
        """Ids of all that refer to `id_`, leaving ones included."""
        return sorted(self._users.get(id_, ()))

    def need(self, who: str, id_: str) -> Status:
        """The status of `id_` when it is ready; otherwise Retry, and `who` is poked as soon as it changes."""
        status = self.status.get(id_)
        if status is not None and status.phase == "ready" and id_ in self.desired:
            return status
        self._waiting.setdefault(id_, set()).add(who)
        raise Retry(f"waits for {id_}" + (f": {status.reason}" if status and status.reason else ""), WAIT_LIMIT_S)

    @contextmanager
    def working_on(self, desired: Desired) -> Iterator[None]:
        """What is told of it meanwhile speaks of this spec, also when another is wished before the work is done."""
        self._worked_on[desired.id] = desired
        try:
            yield
        finally:
            del self._worked_on[desired.id]

    def set_status(self, id_: str, phase: Phase, reason: str = "", data: dict[str, Any] | None = None) -> None:
        desired = self._worked_on.get(id_) or self.desired.get(id_) or self.leaving.get(id_)
        if desired is None:
            return
        before = self.status.get(id_)
        status = Status(id_, desired.owner, phase, version_of(desired.spec), reason, data if data is not None else {})
        if data is None and before is not None:
            status = msgspec.structs.replace(status, data=before.data)
        if status == before:
            return
        self.status[id_] = status
        self.report(status)
        for waiting in sorted(self._waiting.pop(id_, ())):
            self.poke(waiting)

    def of_kind(self, kind: str) -> list[Desired]:
        return list(self._kinds.get(kind, {}).values())

    async def keep(self, name: str, text: str) -> None:
        if self.kept.get(name, "") != text:
            await self._keep(name, text)
            if text:
                self.kept[name] = text
            else:
                self.kept.pop(name, None)

    def _refer(self, before: Desired | None, after: Desired | None) -> None:
        old = set(references(before)) if before else set()
        new = set(references(after)) if after else set()
        id_ = cast(Desired, after or before).id
        for gone in old - new:
            self._users[gone].discard(id_)
            if not self._users[gone]:
                del self._users[gone]
            self.poke(gone)
        for added in new - old:
            self._users.setdefault(added, set()).add(id_)


class _Wire(msgspec.Struct, frozen=True):
    kind: str
    name: str
    owner: str
    spec: msgspec.Raw


_encoder = msgspec.json.Encoder()
_wire_decoder = msgspec.json.Decoder(_Wire)


@functools.cache
def _spec_decoder(kind: str) -> msgspec.json.Decoder[Any]:
    """Made when the first of its kind comes: all together they are a twentieth of a start."""
    return msgspec.json.Decoder(KINDS[kind])


def encode_desired(desired: Desired) -> bytes:
    return _encoder.encode(desired)


def decode_desired(data: bytes | msgspec.Raw) -> Desired:
    """ValidationError when it is of no known kind or not of the kind's form."""
    wire = _wire_decoder.decode(data)
    if wire.kind not in KINDS:
        raise msgspec.ValidationError(f"unknown core kind {wire.kind!r}")
    return Desired(wire.kind, wire.name, wire.owner, _spec_decoder(wire.kind).decode(wire.spec))


def version_of(spec: msgspec.Struct) -> str:
    """A short name of the spec's content: equal specs have equal versions, in the daemon and in the agent."""
    return hashlib.blake2b(_encoder.encode(spec), digest_size=8).hexdigest()
