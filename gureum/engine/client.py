"""Typed access to the store: reads of decoded objects from memory, and transactions that check what they read.

Every stored object of a registered kind is kept decoded, by kind, scope and name, and in the kind's indexes. Reads never touch the
disk and never see what is not durable. Objects come back as the same Python object until they change, so callers may cache by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

import msgspec

from gureum.engine.resource import Kind, Resource, indexed, key_of, kind_of, make_key, split_key
from gureum.ports.clock import Clock
from gureum.store.contract import (
    MAX_COMMIT_BYTES,
    MAX_OPERATIONS,
    Check,
    Delete,
    Event,
    NoneNewer,
    Put,
    Store,
    StoreBroken,
    Unchanged,
    Write,
)

T = TypeVar("T", bound=Resource)
_encoder = msgspec.json.Encoder()
CLAIM = "claim"
Savepoint = tuple[dict[str, Check], dict[str, Write], "dict[str, Resource | None]"]


class Change(msgspec.Struct, frozen=True):
    """One visible change. `before` is None for a new object, `after` for one that is gone."""

    key: str
    before: Resource | None
    after: Resource | None


class _Table:
    """All objects of one kind: by scope and name, and by index value."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.scopes: dict[str, dict[str, Resource]] = {}
        self.index: dict[tuple[str, str, str], dict[str, Resource]] = {}

    def put(self, obj: Resource) -> Resource | None:
        before = self.remove(obj.meta.scope, obj.meta.name)
        self.scopes.setdefault(obj.meta.scope, {})[obj.meta.name] = obj
        for place in self._places(obj):
            self.index.setdefault(place, {})[obj.meta.name] = obj
        return before

    def remove(self, scope: str, name: str) -> Resource | None:
        names = self.scopes.get(scope)
        before = names.pop(name, None) if names else None
        if before is None:
            return None
        if not names:
            del self.scopes[scope]
        for place in self._places(before):
            entries = self.index[place]
            entries.pop(name, None)
            if not entries:
                del self.index[place]
        return before

    def _places(self, obj: Resource) -> Iterator[tuple[str, str, str]]:
        for index, value in indexed(self.kind, obj):
            yield obj.meta.scope, index, value


class Client:
    """One per process, on top of the one store. `kinds`: those known at start; `add_kinds` brings more (a service loaded later)."""

    def __init__(self, store: Store, clock: Clock, kinds: Iterable[Kind] = ()) -> None:
        self.store = store
        self.clock = clock
        self._tables: dict[str, _Table] = {}
        self._owned: dict[str, dict[str, Resource]] = {}
        self._listeners: list[Callable[[list[Change]], None]] = []
        self.add_kinds(kinds)
        self._unlisten = store.listen(self._on_events)

    def add_kinds(self, kinds: Iterable[Kind]) -> None:
        """Reads what the store holds of these kinds. A kind that is known already is left alone. StoreBroken for what cannot be read."""
        for kind in kinds:
            if kind.name in self._tables:
                continue
            table = self._tables[kind.name] = _Table(kind)
            for entry in self.store.range(f"{kind.name}/"):
                try:
                    obj = self._decode(kind, entry.value, entry.revision)
                except msgspec.DecodeError as error:
                    text = f"{entry.key} was written by another version of gureum, which alone can read it: {error}"
                    raise StoreBroken(text) from error
                self._place(table, obj)

    def listen(self, callback: Callable[[list[Change]], None]) -> Callable[[], None]:
        """`callback` runs in the loop, in revision order, as soon as changes are visible. Returns the way to stop it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def get(self, cls: type[T], scope: str, name: str) -> T | None:
        names = self._table(cls).scopes.get(scope)
        return cast("T | None", names.get(name)) if names else None

    def all(self, cls: type[T], scope: str) -> list[T]:
        """All of one scope, in no promised order."""
        return cast("list[T]", list(self._table(cls).scopes.get(scope, {}).values()))

    def everywhere(self, cls: type[T]) -> Iterator[T]:
        for names in list(self._table(cls).scopes.values()):
            yield from cast("Iterable[T]", list(names.values()))

    def sizes(self, cls: type[Resource]) -> dict[str, int]:
        """How many there are in each scope that has some. Of a kind that is not loaded there are none: what the store holds of a service is
        loaded at start."""
        table = self._tables.get(kind_of(cls).name)
        return {scope: len(names) for scope, names in table.scopes.items()} if table is not None else {}

    def by(self, cls: type[T], scope: str, index: str, value: str) -> list[T]:
        """Those of one scope whose index `index` has `value`."""
        table = self._table(cls)
        if index not in table.kind.indexes:
            raise KeyError(f"{table.kind.name} has no index {index!r}")
        return cast("list[T]", list(table.index.get((scope, index, value), {}).values()))

    def by_key(self, key: str) -> Resource | None:
        kind_name, scope, name = split_key(key)
        table = self._tables.get(kind_name)
        return table.scopes.get(scope, {}).get(name) if table else None

    def owned_by(self, key: str) -> list[Resource]:
        return list(self._owned.get(key, {}).values())

    def named(self, name: str) -> list[Resource]:
        """All objects of that name, of whatever kind and scope."""
        return [names[name] for table in self._tables.values() for names in table.scopes.values() if name in names]

    def called(self, name: str) -> list[Resource]:
        """All objects of that name, or that users call so (their index "name"), of whatever kind and scope."""
        found = {key_of(one): one for one in self.named(name)}
        for table in self._tables.values():
            if "name" in table.kind.indexes:
                for scope in table.scopes:
                    found |= {key_of(one): one for one in table.index.get((scope, "name", name), {}).values()}
        return list(found.values())

    def pointing_at(self, obj: Resource) -> list[Resource]:
        """Objects of the same scope that have the name of `obj` in one of their indexes, and those it owns."""
        scope, name = obj.meta.scope, obj.meta.name
        found = {key_of(one): one for one in self.owned_by(key_of(obj))}
        for table in self._tables.values():
            for index in table.kind.indexes:
                for one in table.index.get((scope, index, name), {}).values():
                    found[key_of(one)] = one
        found.pop(key_of(obj), None)
        return [found[key] for key in sorted(found)]

    def claimed(self, space: str, value: str) -> str | None:
        """Key of the object that holds `value` in `space`, or None."""
        entry = self.store.get(make_key(CLAIM, space, value))
        return entry.value.decode() if entry else None

    def transaction(self) -> Transaction:
        return Transaction(self)

    def kinds(self) -> Iterable[Kind]:
        return [table.kind for table in self._tables.values()]

    def close(self) -> None:
        self._unlisten()

    def _table(self, cls: type[Resource]) -> _Table:
        return self._tables[kind_of(cls).name]

    def _decode(self, kind: Kind, value: bytes, revision: int) -> Resource:
        obj = cast(Resource, kind.decoder.decode(value))
        return msgspec.structs.replace(obj, meta=msgspec.structs.replace(obj.meta, revision=revision))

    def _place(self, table: _Table, obj: Resource) -> Resource | None:
        before = table.put(obj)
        if before is not None and before.meta.owner != obj.meta.owner:
            self._disown(before)
        if obj.meta.owner:
            self._owned.setdefault(obj.meta.owner, {})[key_of(obj)] = obj
        return before

    def _disown(self, obj: Resource) -> None:
        children = self._owned.get(obj.meta.owner)
        if children is not None:
            children.pop(key_of(obj), None)
            if not children:
                del self._owned[obj.meta.owner]

    def _on_events(self, events: list[Event]) -> None:
        changes = [change for event in events if (change := self._apply(event)) is not None]
        if changes:
            for callback in list(self._listeners):
                callback(changes)

    def _apply(self, event: Event) -> Change | None:
        kind_name, scope, name = split_key(event.key)
        table = self._tables.get(kind_name)
        if table is None:
            return None
        if event.entry is None:
            before = table.remove(scope, name)
            if before is not None:
                self._disown(before)
            return Change(event.key, before, None)
        obj = self._decode(table.kind, event.entry.value, event.entry.revision)
        return Change(event.key, self._place(table, obj), obj)


class Transaction:
    """What one decision writes, and what it relied on. `commit` is all or nothing; it raises the store's `Conflict` when something relied on
    has changed: read again and decide again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._checks: dict[str, Check] = {}
        self._writes: dict[str, Write] = {}
        self._objects: dict[str, Resource | None] = {}

    def create(self, obj: T) -> T:
        """Conflict at commit when the key exists. msgspec.ValidationError, like `update`, for fields that are not of their types."""
        self._checks[key_of(obj)] = Unchanged(key_of(obj), 0)
        self._put(obj)
        return obj

    def update(self, obj: T) -> T:
        """`obj` is a changed copy of what was read: its revision is checked. The generation grows when the spec differs.

        A later update of the same object in this transaction builds on the earlier one (`current`)."""
        key = key_of(obj)
        before = self._client.by_key(key)
        if before is not None and getattr(before, "spec", None) != getattr(obj, "spec", None):
            obj = msgspec.structs.replace(
                obj, meta=msgspec.structs.replace(obj.meta, generation=before.meta.generation + 1)
            )
        if key not in self._checks:
            self._checks[key] = Unchanged(key, obj.meta.revision)
        self._put(obj)
        return obj

    def current(self, obj: T) -> T:
        """The newest form of `obj` inside this transaction."""
        return cast(T, self._objects.get(key_of(obj)) or obj)

    def delete(self, obj: Resource) -> None:
        """Gone at once; its owned objects follow (engine/owners.py)."""
        key = key_of(obj)
        self._checks.setdefault(key, Unchanged(key, obj.meta.revision))
        self._writes[key] = Delete(key)
        self._objects[key] = None

    def require(self, obj: Resource) -> None:
        """Conflict when `obj` has changed or gone since it was read."""
        self._checks.setdefault(key_of(obj), Unchanged(key_of(obj), obj.meta.revision))

    def require_no_newer(self, cls: type[Resource], scope: str) -> None:
        """Conflict when any object of the kind in the scope was made or changed after now (what a "none depends on it" was decided on)."""
        prefix = make_key(kind_of(cls).name, scope, "")
        self._checks[f"none-newer:{prefix}"] = NoneNewer(prefix, self._client.store.revision)

    def claim(self, space: str, value: str, holder: str) -> None:
        """Takes `value` in `space` (an address in a network, a name) for the object with key `holder`; Conflict when it is taken."""
        key = make_key(CLAIM, space, value)
        self._checks[key] = Unchanged(key, 0)
        self._writes[key] = Put(key, holder.encode())

    def require_unclaimed(self, space: str, value: str) -> None:
        """Conflict when somebody has claimed `value` in `space` meanwhile."""
        key = make_key(CLAIM, space, value)
        self._checks.setdefault(key, Unchanged(key, 0))

    def release(self, space: str, value: str) -> None:
        key = make_key(CLAIM, space, value)
        if self._client.store.get(key) is not None or key in self._writes:
            self._writes[key] = Delete(key)

    def savepoint(self) -> Savepoint:
        """What it holds now, for `back_to`."""
        return dict(self._checks), dict(self._writes), dict(self._objects)

    def back_to(self, saved: Savepoint) -> None:
        """Forgets what was done since: of something that could not be made whole, nothing is written."""
        checks, writes, objects = saved
        self._checks, self._writes, self._objects = dict(checks), dict(writes), dict(objects)

    @property
    def empty(self) -> bool:
        return not self._writes

    @property
    def size(self) -> int:
        """How many operations of the store it is (store/contract.py: MAX_OPERATIONS)."""
        return len(self._checks) + len(self._writes)

    @property
    def share(self) -> float:
        """How much of what one commit of the store may be this is: above 1 it cannot be committed."""
        written = sum(len(one.key.encode()) + len(one.value) for one in self._writes.values() if isinstance(one, Put))
        return max(self.size / MAX_OPERATIONS, written / MAX_COMMIT_BYTES)

    @property
    def written(self) -> list[str]:
        return list(self._writes)

    async def commit(self) -> int:
        return await self._client.store.commit(list(self._checks.values()), list(self._writes.values()))

    def _put(self, obj: Resource) -> None:
        stored = msgspec.structs.replace(obj, meta=msgspec.structs.replace(obj.meta, revision=0))
        encoded = _encoder.encode(stored)
        # What cannot be read back must not become durable: no daemon could start on it. It costs about 3 us.
        kind_of(obj).decoder.decode(encoded)
        self._writes[key_of(obj)] = Put(key_of(obj), encoded)
        self._objects[key_of(obj)] = obj
