"""What stands between a request and the store, once it is known who asks and that he may: it changes what is written, or refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gureum.kube.kinds.kind import Kind
from gureum.kube.requests import Request, Target
from gureum.store.contract import Check, Write

Object = dict[str, Any]


class Attributes(msgspec.Struct):
    """A write as admission sees it. `operation`: CREATE, UPDATE, DELETE, CONNECT; `obj`: may be exchanged."""

    request: Request
    target: Target
    operation: str
    obj: Object
    old: Object | None
    part: Kind | None = None
    """What `obj` is where it is no object of the target's kind: a Scale, an Eviction."""
    changed: bool = False
    """Whether a webhook has changed `obj`."""
    asked: dict[str, bytes] | None = None
    """In a second round: what webhooks that want to be asked again have left behind, by their names."""
    left: dict[str, bytes] = {}
    """The same, of the first round."""

    @property
    def storage(self) -> str:
        return self.target.kind.storage

    @property
    def subresource(self) -> str:
        return self.target.subresource.name if self.target.subresource else ""

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace", "")) if self.obj else self.target.namespace


Extra = Write | Check
Admit = Callable[[Attributes], Awaitable[list[Extra] | None]]
"""Changes `obj` or raises StatusError; returns further writes and checks that belong to the same commit."""
LIMIT_CHOICES = 4096


class Plugin(msgspec.Struct, frozen=True):
    """`admit`, and which writes it is asked about. `storages`: None for all kinds; `parts`: writes through subresources, too;
    `again`: once more, when a webhook has changed the object."""

    admit: Admit
    storages: frozenset[str] | None = None
    operations: frozenset[str] = frozenset({"CREATE", "UPDATE", "DELETE"})
    parts: bool = False
    again: bool = False

    def means(self, storage: str, operation: str, subresource: str) -> bool:
        named = self.storages is None or storage in self.storages
        return named and operation in self.operations and (self.parts or not subresource)


class Admission:
    """The plugins in their order; those that a write does not concern are not asked about the next of its sort.

    Those that change objects come first (`changing`); when one of them is a webhook that did, those with `again` have a second look, as
    "Dynamic Admission Control" of Kubernetes has it (reinvocation)."""

    def __init__(self, changing: list[Plugin], judging: list[Plugin]) -> None:
        self._rounds = changing, [one for one in changing if one.again], judging
        self._chosen: dict[tuple[str, str, str], list[list[Admit]]] = {}

    async def admit(self, attributes: Attributes) -> list[Extra]:
        first, second, last = self._concerned(attributes.storage, attributes.operation, attributes.subresource)
        found: list[Extra] = []
        for admit in first:
            found += await admit(attributes) or ()
        if attributes.changed:
            attributes.asked = attributes.left
            for admit in second:
                found += await admit(attributes) or ()
        for admit in last:
            found += await admit(attributes) or ()
        return found

    def _concerned(self, storage: str, operation: str, subresource: str) -> list[list[Admit]]:
        sort = storage, operation, subresource
        chosen = self._chosen.get(sort)
        if chosen is None:
            if len(self._chosen) >= LIMIT_CHOICES:
                self._chosen.clear()
            chosen = [[one.admit for one in plugins if one.means(*sort)] for plugins in self._rounds]
            self._chosen[sort] = chosen
        return chosen
