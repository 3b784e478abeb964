"""Lowering: the desired core objects, computed from the stored face objects and kept true as those change.

A lower function is pure: `lower(obj, read) -> iterable of Desired`. What it looks at beside `obj` it reads through `read`, which notes each
look; when something looked at changes, the object is lowered again. Core objects are therefore never stored: after a restart
they are computed anew and are the same.

    ec2.Instance i-1 ──lower──► Sandbox i-1, Image …, Container i-1, Metadata i-1
        ├─ read.get(NetworkInterface eni-1)               noted: when eni-1 changes, i-1 is lowered again
        └─ read.field(SecurityGroup sg-1, "group_name")   noted: when its name changes; its rules may, for hundreds of instances
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from gureum.engine.client import Change, Client
from gureum.engine.resource import Resource, indexed, kind_name_of, kind_of, make_key

T = TypeVar("T", bound=Resource)


class Desired(msgspec.Struct, frozen=True):
    """One wished core object. `kind`: "Network", "Container" …; `name`: unique within its kind on the machine; `owner`: key of the face
    object it came from; `spec`: the kind's spec (a struct of the port it goes to)."""

    kind: str
    name: str
    owner: str
    spec: msgspec.Struct

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.name}"


class Reader:
    """The reads of one lower call; notes what was looked at. `fields`: by kind, the fields that anybody has looked at alone."""

    def __init__(self, client: Client, fields: dict[str, set[str]] | None = None) -> None:
        self._client = client
        self._fields = {} if fields is None else fields
        self.looked_at: set[str] = set()

    def get(self, cls: type[T], scope: str, name: str) -> T | None:
        self.looked_at.add(make_key(kind_of(cls).name, scope, name))
        return self._client.get(cls, scope, name)

    def field(self, cls: type[T], scope: str, name: str, field: str) -> Any:
        """One field of the object's spec; None when it is not there. Other fields may change unnoticed."""
        kind = kind_of(cls).name
        self._fields.setdefault(kind, set()).add(field)
        self.looked_at.add(_field_key(make_key(kind, scope, name), field))
        return _of_spec(self._client.get(cls, scope, name), field)

    def by(self, cls: type[T], scope: str, index: str, value: str) -> list[T]:
        self.looked_at.add(_index_key(kind_of(cls).name, scope, index, value))
        return self._client.by(cls, scope, index, value)


LowerFunction = Callable[[Resource, Reader], Iterable[Desired]]
Sink = Callable[[list[Desired], list[str]], None]
Later = Callable[[Callable[[], None]], None]


class Lowering:
    """`functions`: kind name → lower function; the dict may grow later. `sink(changed, removed ids)` is called after each batch
    of changes with what is different now. `later(work)` puts the work on a batch off to a better moment; without it, it is done at once."""

    def __init__(
        self, client: Client, functions: dict[str, LowerFunction], sink: Sink, later: Later | None = None
    ) -> None:
        self._client = client
        self._functions = functions
        self._sink = sink
        self._later = later
        self._due: dict[str, None] = {}
        self._made: dict[str, dict[str, Desired]] = {}
        self._looked_at: dict[str, set[str]] = {}
        self._lookers: dict[str, set[str]] = {}
        self._fields: dict[str, set[str]] = {}
        self._unlisten = client.listen(self._on_changes)

    def desired(self) -> list[Desired]:
        return [one for made in self._made.values() for one in made.values()]

    def of(self, key: str) -> list[Desired]:
        """What face object `key` is lowered to now, whatever has been put off."""
        if key in self._due:
            self._lower_due()
        return list(self._made.get(key, {}).values())

    def relower(self, keys: Iterable[str]) -> None:
        """Lowers these face objects again (at start, or when a service has been loaded)."""
        changed: dict[str, Desired] = {}
        removed: set[str] = set()
        for key in keys:
            self._lower(key, changed, removed)
        if changed or removed:
            self._sink(list(changed.values()), [id_ for id_ in removed if id_ not in changed])

    def close(self) -> None:
        self._unlisten()

    def _on_changes(self, changes: list[Change]) -> None:
        waiting = bool(self._due)
        for change in changes:
            self._due[change.key] = None
            for place in _places(change, self._fields):
                self._due.update(dict.fromkeys(sorted(self._lookers.get(place, ()))))
        if self._later is None:
            self._lower_due()
        elif not waiting:
            self._later(self._lower_due)

    def _lower_due(self) -> None:
        due, self._due = self._due, {}
        self.relower(due)

    def _lower(self, key: str, changed: dict[str, Desired], removed: set[str]) -> None:
        function = self._functions.get(kind_name_of(key))
        if function is None:
            return
        obj = self._client.by_key(key)
        reader = Reader(self._client, self._fields)
        made = {one.id: one for one in function(obj, reader)} if obj is not None else {}
        before = self._made.get(key, {})
        changed.update((id_, one) for id_, one in made.items() if before.get(id_) != one)
        removed.update(id_ for id_ in before if id_ not in made)
        if made:
            self._made[key] = made
        else:
            self._made.pop(key, None)
        self._note(key, reader.looked_at)

    def _note(self, key: str, looked_at: set[str]) -> None:
        for gone in self._looked_at.get(key, set()) - looked_at:
            self._lookers[gone].discard(key)
            if not self._lookers[gone]:
                del self._lookers[gone]
        for place in looked_at:
            self._lookers.setdefault(place, set()).add(key)
        if looked_at:
            self._looked_at[key] = looked_at
        else:
            self._looked_at.pop(key, None)


def _index_key(kind_name: str, scope: str, index: str, value: str) -> str:
    return f"{kind_name}?{scope}?{index}={value}"


def _of_spec(obj: Any, field: str) -> Any:
    return getattr(obj.spec, field) if obj is not None else None


def _field_key(key: str, field: str) -> str:
    return f"{key}?{field}"


def _places(change: Change, fields: dict[str, set[str]]) -> Iterable[str]:
    """Every way in which a lower function may have looked at the changed object, before or after."""
    yield change.key
    for field in fields.get(kind_name_of(change.key), ()):
        if _of_spec(change.before, field) != _of_spec(change.after, field):
            yield _field_key(change.key, field)
    for obj in (change.before, change.after):
        if obj is None:
            continue
        kind = kind_of(obj)
        for index, value in indexed(kind, obj):
            yield _index_key(kind.name, obj.meta.scope, index, value)
