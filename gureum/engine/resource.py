"""The envelope of everything that is stored: who it is (`Meta`), what is wished (`spec`), what was seen (`status`).

A kind is a frozen msgspec Struct with the fields `meta`, `spec` and `status`, marked by `@kind("ec2.Vpc")`:

    @kind("ec2.Vpc", indexes={"state": lambda vpc: vpc.status.state})
    class Vpc(Resource, frozen=True):
        spec: VpcSpec
        status: VpcStatus = VpcStatus()

Its key in the store is `ec2.Vpc/<scope>/<name>`, e.g. `ec2.Vpc/000000000000/us-east-1/vpc-0123456789abcdef0`.
Kinds are never changed in place: `msgspec.structs.replace` makes the next version, `Transaction.update` writes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

IndexFunction = Callable[[Any], "str | tuple[str, ...]"]


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """`revision`: store revision of this version (0: not stored yet; never part of the stored bytes). `generation` counts changes of
    the spec. `owner`: key of the object this one goes away with. `finalizers`: names of those who must act before a deleted
    object may vanish. `deleting`: Unix seconds since when it is to vanish, 0.0 when it is not."""

    scope: str
    name: str
    uid: str
    created: float
    revision: int = 0
    generation: int = 1
    owner: str = ""
    finalizers: tuple[str, ...] = ()
    deleting: float = 0.0
    tags: dict[str, str] = {}


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all kinds. Subclasses add `spec` and `status` structs."""

    meta: Meta


class Kind(msgspec.Struct, frozen=True):
    """A kind as the registry knows it. `indexes`: name → function from an object to the value(s) it is found by."""

    name: str
    type: type[Resource]
    indexes: Mapping[str, IndexFunction]

    @property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        return _decoder(self.type)


@functools.cache
def _decoder(kind: type[Resource]) -> msgspec.json.Decoder[Any]:
    """Made when the first of its kind is read: of all kinds together they are a good part of a start."""
    return msgspec.json.Decoder(kind)


T = TypeVar("T", bound=Resource)
KIND_MARK = "__gureum_kind__"


def kind(name: str, *, indexes: Mapping[str, IndexFunction] | None = None) -> Callable[[type[T]], type[T]]:
    """Marks a Resource class as the kind `name` ("service.Noun"). Only marks: the registry finds it by scanning."""

    def mark(cls: type[T]) -> type[T]:
        setattr(cls, KIND_MARK, Kind(name=name, type=cls, indexes=indexes or {}))
        return cls

    return mark


def kind_of(cls_or_object: Any) -> Kind:
    """The Kind of a marked class or of an object of it. TypeError when it is not marked."""
    found = getattr(cls_or_object, KIND_MARK, None)
    if not isinstance(found, Kind):
        raise TypeError(f"{cls_or_object!r} is not a kind")
    return found


def key_of(obj: Resource) -> str:
    return make_key(kind_of(obj).name, obj.meta.scope, obj.meta.name)


def indexed(kind: Kind, obj: Resource) -> Iterator[tuple[str, str]]:
    """(index, value) of everything the object is found by."""
    for index, function in kind.indexes.items():
        values = function(obj)
        for value in (values,) if isinstance(values, str) else values:
            yield index, value


def kind_name_of(key: str) -> str:
    return key.split("/", 1)[0]


def make_key(kind_name: str, scope: str, name: str) -> str:
    """`name` must not contain "/"; `scope` may ("account/region")."""
    return f"{kind_name}/{scope}/{name}"


def split_key(key: str) -> tuple[str, str, str]:
    """Key → (kind name, scope, name)."""
    kind_name, rest = key.split("/", 1)
    scope, name = rest.rsplit("/", 1)
    return kind_name, scope, name
