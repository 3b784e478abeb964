"""How controllers read and write: straight to the cluster's objects, with the admission and checks that any client has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gureum.kube.controllers.index import Index
from gureum.kube.errors import StatusError
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object, Objects
from gureum.kube.requests import Request, Target, User
from gureum.kube.verbs.deleting import Deleting, Options
from gureum.kube.verbs.storing import LIMIT_TRIES, Storing
from gureum.ports.clock import Clock
from gureum.store.contract import Check, Conflict, Entry, Write

# Whose fields a controller's writes are: the original's programs.
_PROGRAMS = {"default-scheduler": "kube-scheduler", "simulated-node": "kubelet"}
Change = Callable[[Object], Object | None]
"""The object as it should be; None to leave it."""
Also = Callable[[], Sequence[Write | Check]]
Seen = tuple[Entry, Object]


class Client:
    """`manager`: the controller's name, its user is that service account of kube-system."""

    def __init__(
        self, objects: Objects, catalog: Catalog, storing: Storing, deleting: Deleting, index: Index, clock: Clock
    ) -> None:
        self.objects = objects
        self.catalog = catalog
        self.index = index
        self.clock = clock
        self._storing = storing
        self._deleting = deleting
        self.tasks: set[asyncio.Task[None]] = set()
        """What nobody waits for."""
        self.alike: dict[str, tuple[float, set[str]]] = {}
        """Of sorts of events: when the last one was told, and their words (events.py)."""

    def kind(self, storage: str) -> Kind:
        found = self.catalog.by_storage(storage)
        assert found is not None, storage
        return found

    def get(self, storage: str, namespace: str, name: str) -> Object | None:
        return self.objects.get(storage, namespace, name)

    def by_key(self, key: str) -> Object | None:
        entry = self.objects.store.get(key)
        return None if entry is None else self.objects.decode(entry)

    def seen(self, key: str) -> Seen | None:
        """The object with its entry, for `update`."""
        entry = self.objects.store.get(key)
        return None if entry is None else (entry, self.objects.decode(entry))

    def many(self, keys: list[str]) -> list[Object]:
        """Those that are there."""
        return [obj for key in keys if (obj := self.by_key(key)) is not None]

    async def create(self, storage: str, obj: Object, manager: str) -> Object:
        """StatusError as for any client: AlreadyExists, Forbidden by quota …"""
        kind = self.kind(storage)
        head: Object = {"apiVersion": kind.api_version, "kind": kind.kind}
        obj = head | obj
        target = Target(kind, obj["metadata"].get("namespace", ""))
        return await self._storing.create(_request(manager), target, obj)

    async def update(
        self,
        storage: str,
        namespace: str,
        name: str,
        change: Change,
        manager: str,
        subresource: str = "",
        also: Also | None = None,
        seen: Seen | None = None,
    ) -> Object | None:
        """Decided anew as often as others are faster. `also`: what comes into the same commit; `seen`: what is known of it already, which
        `change` must leave as it is. None when it is not there, or is to be left."""
        kind = self.kind(storage)
        target = Target(kind, namespace, name, kind.subresource(subresource) if subresource else None)
        old = seen[1] if seen is not None and subresource else None
        for _ in range(LIMIT_TRIES):
            seen = seen or self.seen(self.objects.key(storage, namespace, name))
            if seen is None:
                return None
            entry, obj = seen
            wanted = change(obj)
            if wanted is None:
                return None
            try:
                more = also() if also else ()
                # Who binds a pod manages nothing of it, as in the original.
                tracked = subresource != "binding"
                return await self._storing.replace(
                    _request(manager), target, wanted, entry, more, tracked=tracked, old=old
                )
            except Conflict:
                seen = old = None
        raise StatusError(409, "Conflict", f"{name} is changed by others again and again")

    async def set_status(
        self, storage: str, namespace: str, name: str, status: Object, manager: str, uid: str = ""
    ) -> Object | None:
        """The status as a whole, when it is another."""

        def change(obj: Object) -> Object | None:
            if uid and obj["metadata"]["uid"] != uid:
                return None
            return None if obj.get("status") == status else {**obj, "status": status}

        seen = self.seen(self.objects.key(storage, namespace, name))
        return (
            None if seen is None else await self.update(storage, namespace, name, change, manager, "status", seen=seen)
        )

    async def delete(
        self,
        storage: str,
        namespace: str,
        name: str,
        manager: str,
        *,
        uid: str = "",
        policy: str = "",
        grace_s: int | None = None,
    ) -> None:
        """What is gone, or has become another object, is left."""
        kind = self.kind(storage)
        target = Target(kind, namespace, name)
        options = Options(policy, grace_s, "", "")
        for _ in range(LIMIT_TRIES):
            entry: Entry | None = self.objects.entry(storage, namespace, name)
            if entry is None or (uid and self.objects.decode(entry)["metadata"]["uid"] != uid):
                return
            try:
                await self._deleting.delete_entry(_request(manager), target, entry, options)
                return
            except Conflict:
                continue


def _request(manager: str) -> Request:
    name = f"system:serviceaccount:kube-system:{manager}"
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated", "system:masters")
    agent = _PROGRAMS.get(manager, "kube-controller-manager")
    return Request("POST", "", {}, {"user-agent": agent}, b"", None, User(name, groups))


def owner_reference(owner: Object) -> dict[str, Any]:
    """To a controller."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
