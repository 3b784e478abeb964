"""The objects of one cluster in the store: their keys, their bytes, and commits.

What is stored is the object's JSON as clients get it, but for its resourceVersion, which the commit decides: it is put in when the object is
shown, right behind `"metadata":{`, so that a list is a join of bytes. Secrets are sealed (base/keyring.py).

    kube/<cluster>/<group>/<plural>/<namespace>/<name>      namespace "" for kinds of the cluster
    kube/<cluster>/~claims/<space>/<value>                  who has an address or a port
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from gureum.base.keyring import Keyring
from gureum.kube.errors import StatusError
from gureum.store.contract import Check, Delete, Entry, NoneNewer, Put, Store, StoreBroken, StoreFull, Unchanged, Write

ROOT = "kube/"
MARK = b'"metadata":{'
SEALED = frozenset({"core/secrets"})
LIMIT_OPENED = 2048
LIMIT_OBJECT_BYTES = 1_500_000
Object = dict[str, Any]
_encoder = msgspec.json.Encoder()
_decode = msgspec.json.decode


class Place(NamedTuple):
    """Where an object is."""

    storage: str
    namespace: str
    name: str


class Objects:
    """Reads never wait; commits are durable when they return."""

    def __init__(self, store: Store, keyring: Keyring, cluster: str) -> None:
        self.store = store
        self._keyring = keyring
        self.root = f"{ROOT}{cluster}/"
        self.claims = f"{self.root}~claims/"
        self._opened: dict[str, tuple[int, bytes]] = {}

    @property
    def revision(self) -> int:
        return self.store.revision

    def key(self, storage: str, namespace: str, name: str) -> str:
        return f"{self.root}{storage}/{namespace}/{name}"

    def prefix(self, storage: str, namespace: str = "") -> str:
        """All of a kind, or of one of its namespaces."""
        return f"{self.root}{storage}/{namespace}/" if namespace else f"{self.root}{storage}/"

    def place(self, key: str) -> Place:
        group, plural, namespace, name = key[len(self.root) :].split("/", 3)
        return Place(f"{group}/{plural}", namespace, name)

    def entry(self, storage: str, namespace: str, name: str) -> Entry | None:
        return self.store.get(self.key(storage, namespace, name))

    def get(self, storage: str, namespace: str, name: str) -> Object | None:
        entry = self.entry(storage, namespace, name)
        return None if entry is None else self.decode(entry)

    def all(self, storage: str, namespace: str = "") -> list[Object]:
        return [self.decode(entry) for entry in self.store.range(self.prefix(storage, namespace))]

    def saying(self, storage: str, text: bytes) -> list[Object]:
        """Those whose JSON has `text` in it; the others need no decoding. Not of Secrets, which are sealed."""
        return [self.decode(entry) for entry in self.store.range(self.prefix(storage)) if text in entry.value]

    def plain(self, entry: Entry) -> bytes:
        """The object's JSON without its resourceVersion."""
        if entry.value[:1] == b"{":
            return entry.value
        known = self._opened.get(entry.key)
        if known is not None and known[0] == entry.revision:
            return known[1]
        opened = self._keyring.open_bytes(entry.value, entry.key)
        if len(self._opened) >= LIMIT_OPENED:
            self._opened.clear()
        self._opened[entry.key] = entry.revision, opened
        return opened

    def decode(self, entry: Entry) -> Object:
        obj: Object = _decode(self.plain(entry))
        obj["metadata"]["resourceVersion"] = str(entry.revision)
        return obj

    def put(self, storage: str, obj: Object) -> Put:
        """The write that stores the object. StatusError when it is too large."""
        metadata = obj["metadata"]
        key = self.key(storage, metadata.get("namespace", ""), metadata["name"])
        value = encode(obj)
        if len(value) > LIMIT_OBJECT_BYTES:
            raise StatusError(413, "RequestEntityTooLarge", "etcdserver: request is too large")
        if storage in SEALED:
            # A write that changes nothing is to make no revision: the same text sealed anew would be another.
            known = self.store.get(key)
            value = (
                known.value
                if known is not None and self.plain(known) == value
                else self._keyring.seal_bytes(value, key)
            )
        return Put(key, value)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """store.Conflict when a check fails. StatusError when the store cannot take it."""
        try:
            return await self.store.commit(checks, writes)
        except StoreFull as error:
            raise StatusError(500, "InternalError", "etcdserver: mvcc: database space exceeded") from error
        except StoreBroken as error:
            raise StatusError(503, "ServiceUnavailable", f"the store does not take writes: {error}") from error
        except ValueError as error:
            raise StatusError(413, "RequestEntityTooLarge", f"etcdserver: request is too large: {error}") from error

    async def commit_all(self, together: Sequence[Write | Check]) -> int:
        """store.Conflict when a check among them fails."""
        return await self.commit(*_sorted(together))

    async def create(self, storage: str, obj: Object, *more: Write | Check) -> Object:
        """store.Conflict when it exists."""
        put = self.put(storage, obj)
        revision = await self.commit_all((Unchanged(put.key, 0), put, *more))
        obj["metadata"]["resourceVersion"] = str(revision)
        return obj

    async def replace(self, storage: str, obj: Object, known: Entry, *more: Write | Check) -> Object:
        """store.Conflict when it has changed since it was `known`. What is the same makes no revision."""
        put = self.put(storage, obj)
        if put.value == known.value and not more:
            obj["metadata"]["resourceVersion"] = str(known.revision)
            return obj
        revision = await self.commit_all((Unchanged(put.key, known.revision), put, *more))
        obj["metadata"]["resourceVersion"] = str(revision)
        return obj

    async def remove(self, known: Entry, *more: Write | Check) -> int:
        return await self.commit_all((Unchanged(known.key, known.revision), Delete(known.key), *more))


def _sorted(together: Sequence[Write | Check]) -> tuple[list[Check], list[Write]]:
    checks: list[Check] = []
    writes: list[Write] = []
    for one in together:
        if isinstance(one, (Unchanged, NoneNewer)):
            checks.append(one)
        else:
            writes.append(one)
    return checks, writes


def encode(obj: Object) -> bytes:
    """As it is stored: apiVersion, kind and metadata first, no resourceVersion."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
    return _encoder.encode(head | {name: value for name, value in obj.items() if name not in head})


def with_revision(value: bytes, revision: int) -> bytes:
    at = value.index(MARK) + len(MARK)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def show(obj: Object) -> bytes:
    return _encoder.encode(obj)


def version_of(value: bytes) -> str:
    """The apiVersion of a stored object."""
    return value[15 : value.index(b'"', 15)].decode()
