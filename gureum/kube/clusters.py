"""The clusters: the default one, which is made with the first request, and those that are made by name.

    kube/<name>/…               objects of a cluster (objects.py)
    kube/~clusters/<name>       that there is one beside the default, and its authority's name
    <folder>/pki/               keys of the default cluster and of the server
    <folder>/clusters/<name>/   keys of another

A cluster's authority has a name that is never given twice, so that no certificate of a cluster that was deleted is good for a later one.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from gureum.base.keyring import Keyring
from gureum.kube.cluster import Cluster
from gureum.kube.errors import StatusError
from gureum.kube.objects import ROOT
from gureum.kube.pki import Pki
from gureum.kube.resealing import reseal
from gureum.kube.times import timestamp
from gureum.ports.clock import Clock
from gureum.store.contract import Delete, Put, Store, Unchanged

DEFAULT = "default"
RECORDS = f"{ROOT}~clusters/"
RESERVED = frozenset({DEFAULT, "gureum"})
"""`gureum` is the default cluster's context."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
LIMIT_CLUSTERS = 64
WRITES_AT_ONCE = 500


class Record(msgspec.Struct, frozen=True):
    """`created`: as timestamps are written; `authority`: its certificate's common name."""

    name: str
    authority: str
    created: str
    deleting: bool = False


class Clusters:
    """`pki`: of the default cluster and of the server. `on_change`: told after a cluster has come or gone."""

    def __init__(
        self,
        folder: Path,
        pki: Pki,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self._folder = folder / "clusters"
        self._pki = pki
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._on_change = on_change
        self._running: dict[str, Cluster] = {}
        self.keys: dict[str, Pki] = {DEFAULT: pki}
        """Of the clusters that are there, by name."""
        self._changing = asyncio.Lock()

    def records(self) -> list[Record]:
        """The clusters beside the default one, by name."""
        return [msgspec.json.decode(entry.value, type=Record) for entry in self._store.range(RECORDS)]

    def running(self) -> list[Cluster]:
        return list(self._running.values())

    @property
    def unexpected(self) -> int:
        """How many requests failed by a fault of ours."""
        return sum(cluster.unexpected for cluster in self.running())

    async def load(self) -> None:
        """Reads the keys of the clusters that the store knows, and removes others."""
        await self._sweep()
        for record in self.records():
            if record.deleting:
                continue
            self.keys[record.name] = await asyncio.to_thread(self._keys_of, record)

    async def resume(self) -> None:
        """Starts what the store holds: controllers have work whether or not anybody asks. A deletion that was cut off goes on."""
        if self._store.range(f"{ROOT}{DEFAULT}/", limit=1):
            await self.open(DEFAULT)
        for record in self.records():
            if record.deleting:
                await self._remove(record)
                await self._on_change()
            else:
                await self.open(record.name)
        if self._keyring.rotating:
            await self._reseal()

    async def rotate_key(self) -> int:
        """Secrets of all clusters get another key. Returns how many there are."""
        async with self._changing:
            await asyncio.to_thread(self._keyring.rotate)
            return await self._reseal()

    async def _reseal(self) -> int:
        return await reseal(self._store, self._keyring, [cluster.objects for cluster in self.running()])

    async def open(self, name: str) -> Cluster | None:
        """The running cluster, which starts with the first request if it has not yet. None: there is none of that name."""
        found = self._running.get(name)
        if found is not None or name not in self.keys:
            return found
        async with self._changing:
            if name in self._running or name not in self.keys:
                return self._running.get(name)
            return await self._start(name)

    async def create(self, name: str) -> Record:
        """A new cluster, which runs and whose keys are there when this returns. StatusError when the name is taken or none."""
        if not NAME.fullmatch(name):
            text = "a cluster's name has at most 40 lower-case letters, digits and '-', and starts and ends with a letter or digit"
            raise StatusError(422, "Invalid", text, {})
        async with self._changing:
            if name in RESERVED or self._store.get(RECORDS + name) is not None:
                raise StatusError(409, "AlreadyExists", f'cluster "{name}" already exists', {"name": name})
            if len(self.records()) >= LIMIT_CLUSTERS:
                raise StatusError(403, "Forbidden", f"there are {LIMIT_CLUSTERS} clusters already", {"name": name})
            authority = f"kubernetes-{name}-{secrets.token_hex(6)}"
            record = Record(name, authority, timestamp(self._clock.now()))
            await self._empty(name)  # what was written while an earlier one was deleted
            keys = await asyncio.to_thread(self._keys_of, record)
            key = RECORDS + name
            await self._store.commit([Unchanged(key, 0)], [Put(key, msgspec.json.encode(record))])
            self.keys[name] = keys
            await self._start(name)
        await self._on_change()
        return record

    async def delete(self, name: str) -> None:
        """The cluster with all its objects and keys. StatusError when there is none, or when it is the default one."""
        if name in RESERVED:
            raise StatusError(403, "Forbidden", "the default cluster cannot be deleted", {"name": name})
        async with self._changing:
            entry = self._store.get(RECORDS + name)
            if entry is None:
                raise StatusError(404, "NotFound", f'cluster "{name}" not found', {"name": name})
            record = msgspec.json.decode(entry.value, type=Record)
            marked = msgspec.structs.replace(record, deleting=True)
            await self._store.commit([], [Put(entry.key, msgspec.json.encode(marked))])
            await self._remove(marked)
        await self._on_change()

    async def reset(self) -> None:
        """After the store was emptied: clusters begin anew, and keys of those that are gone go too."""
        await self.close()
        await self._sweep()
        await self._on_change()

    async def close(self) -> None:
        running, self._running = self._running, {}
        for cluster in running.values():
            await cluster.close()

    async def _start(self, name: str) -> Cluster:
        keys = self.keys[name]
        authority = self._pki.authority.decode()
        cluster = Cluster(name, self._store, self._keyring, self._clock, authority, keys.token_key, keys.sign_request)
        await cluster.start()
        self._running[name] = cluster
        return cluster

    def _keys_of(self, record: Record) -> Pki:
        return Pki(self._folder / record.name, None, record.authority)

    async def _remove(self, record: Record) -> None:
        """The record goes last: what was cut off is found again."""
        cluster = self._running.pop(record.name, None)
        if cluster is not None:
            await cluster.close()
        self.keys.pop(record.name, None)
        await self._empty(record.name)
        await self._store.commit([], [Delete(RECORDS + record.name)])

    async def _empty(self, name: str) -> None:
        """Removes objects and keys."""
        while entries := self._store.range(f"{ROOT}{name}/", limit=WRITES_AT_ONCE):
            await self._store.commit([], [Delete(entry.key) for entry in entries])
        await asyncio.to_thread(shutil.rmtree, self._folder / name, True)

    async def _sweep(self) -> None:
        """Removes keys of clusters that the store does not know."""
        known = {record.name for record in self.records()}
        for name in [name for name in self.keys if name != DEFAULT and name not in known]:
            del self.keys[name]
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in known:
                    await asyncio.to_thread(shutil.rmtree, path, True)
