"""Who belongs to whom, who is where: kept by the store's events, so that controllers find without looking through all.

Invariant: shows exactly what the store shows, since it is changed in the moment in which the store is.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gureum.kube.objects import Objects
from gureum.store.contract import Entry, Event

PODS = "core/pods"


class Owner(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class _Metadata(msgspec.Struct, frozen=True, rename={"owners": "ownerReferences", "deleted": "deletionTimestamp"}):
    uid: str = ""
    owners: tuple[Owner, ...] | None = None
    deleted: str | None = None
    finalizers: tuple[str, ...] | None = None
    labels: dict[str, str] | None = None


class _Spec(msgspec.Struct, frozen=True, rename={"node": "nodeName"}):
    node: str | None = None


class _Condition(msgspec.Struct, frozen=True, rename={"since": "lastTransitionTime"}):
    type: str = ""
    status: str = ""
    since: str | None = None


class _Status(msgspec.Struct, frozen=True):
    phase: str | None = None
    conditions: tuple[_Condition, ...] | None = None


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec | None = None
    status: _Status | None = None


class _Any(msgspec.Struct, frozen=True):
    metadata: _Metadata


class Facts(msgspec.Struct, frozen=True):
    """What the index knows of an object. Of pods only: `node`; `phase`; `ready_since`, a time or "", None where it is not ready."""

    uid: str
    owners: tuple[Owner, ...]
    controller: Owner | None
    deleting: bool
    finalizers: tuple[str, ...]
    labels: dict[str, str]
    node: str = ""
    phase: str = ""
    ready_since: str | None = None

    @property
    def active(self) -> bool:
        """Whether a pod runs, or will."""
        return not self.deleting and self.phase not in ("Succeeded", "Failed")


_pod, _any = msgspec.json.Decoder(_Pod), msgspec.json.Decoder(_Any)


class Index:
    """Keys are the store's."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._pods = objects.prefix(PODS)
        self.facts: dict[str, Facts] = {}
        self.uids: dict[str, str] = {}
        self._dependents: dict[str, set[str]] = {}
        self._orphans: dict[str, set[str]] = {}
        self._nodes: dict[str, set[str]] = {}
        for entry in objects.store.range(objects.root):
            self._put(entry)

    def dependents(self, uid: str, storage: str = "") -> list[str]:
        """Keys of what names this owner, of one kind or all."""
        prefix = self._objects.prefix(storage) if storage else ""
        return sorted(key for key in self._dependents.get(uid, ()) if key.startswith(prefix))

    def orphans(self, storage: str, namespace: str) -> list[str]:
        """Keys of a namespace's objects that have no controller."""
        return sorted(self._orphans.get(self._objects.prefix(storage, namespace), ()))

    def on_node(self, node: str) -> list[str]:
        """Keys of the pods on a node; "" those on none."""
        return sorted(self._nodes.get(node, ()))

    def apply(self, event: Event) -> tuple[Facts | None, Facts | None]:
        """Takes one event in; what was and what is known now."""
        before = self._remove(event.key)
        return before, None if event.entry is None else self._put(event.entry)

    def _put(self, entry: Entry) -> Facts | None:
        if self._is_claim(entry.key):
            return None
        facts = self._read(entry)
        key = entry.key
        self.facts[key] = facts
        self.uids[facts.uid] = key
        for owner in facts.owners:
            self._dependents.setdefault(owner.uid, set()).add(key)
        if facts.controller is None:
            self._orphans.setdefault(key.rpartition("/")[0] + "/", set()).add(key)
        if self._is_pod(key):
            self._nodes.setdefault(facts.node, set()).add(key)
        return facts

    def _remove(self, key: str) -> Facts | None:
        facts = self.facts.pop(key, None)
        if facts is None:
            return None
        if self.uids.get(facts.uid) == key:
            del self.uids[facts.uid]
        for owner in facts.owners:
            _discard(self._dependents, owner.uid, key)
        if facts.controller is None:
            _discard(self._orphans, key.rpartition("/")[0] + "/", key)
        if self._is_pod(key):
            _discard(self._nodes, facts.node, key)
        return facts

    def _read(self, entry: Entry) -> Facts:
        value = self._objects.plain(entry)
        if not self._is_pod(entry.key):
            return _facts(_any.decode(value).metadata)
        pod = _pod.decode(value)
        status = pod.status or _Status()
        ready = next((one for one in status.conditions or () if one.type == "Ready" and one.status == "True"), None)
        since = None if ready is None else ready.since or ""
        return _facts(pod.metadata, (pod.spec.node if pod.spec else "") or "", status.phase or "", since)

    def _is_pod(self, key: str) -> bool:
        return key.startswith(self._pods)

    def _is_claim(self, key: str) -> bool:
        return key.startswith(self._objects.claims)


def _facts(metadata: _Metadata, node: str = "", phase: str = "", ready_since: str | None = None) -> Facts:
    owners = metadata.owners or ()
    return Facts(
        metadata.uid,
        owners,
        next((one for one in owners if one.controller), None),
        metadata.deleted is not None,
        metadata.finalizers or (),
        metadata.labels or {},
        node,
        phase,
        ready_since,
    )


def _discard(places: dict[str, set[str]], place: str, key: str) -> None:
    keys = places.get(place)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del places[place]


def names(keys: Iterable[str]) -> list[str]:
    return [key.rpartition("/")[2] for key in keys]
