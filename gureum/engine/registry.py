"""The registry: finds marked kinds, operations, lower and reconcile functions by scanning packages. Only it and the
command line import by name.

A decorator only marks; `scan` imports every module of a package and collects what is marked. A doubled name stops the start.
Services are scanned on their first call, or at start when the store holds their objects, so a fresh start stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

from gureum.engine.lowering import Desired, LowerFunction, Reader
from gureum.engine.resource import KIND_MARK, Kind, Resource

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=Resource)
MARK = "__gureum_marks__"


class Mark:
    """`role`: "operation", "lower", "reconcile", "prepare" …; `name`: unique within the role; `options`: the decorator's own."""

    def __init__(self, role: str, name: str, target: Any, options: dict[str, Any]) -> None:
        self.role, self.name, self.target, self.options = role, name, target, options


def mark(role: str, name: str, **options: Any) -> Callable[[F], F]:
    """The decorator under all marks: notes role and name on the function, nothing else."""

    def note(function: F) -> F:
        marks = list(getattr(function, MARK, ()))
        marks.append(Mark(role, name, function, options))
        setattr(function, MARK, marks)
        return function

    return note


def lower(cls: type[T]) -> Callable[[Callable[[T, Reader], Any]], Callable[[T, Reader], Any]]:
    """Marks the pure function from a face object of this kind to core objects: `(obj, read) -> Iterable[Desired]`."""
    kind: Kind = getattr(cls, KIND_MARK)
    return mark("lower", kind.name)


def reconcile(cls: type[T]) -> Callable[[Callable[[Any, T], Awaitable[None]]], Callable[[Any, T], Awaitable[None]]]:
    """Marks `async (world, obj) -> None`, run when an object of the kind, or what is seen of its core objects, changed."""
    kind: Kind = getattr(cls, KIND_MARK)
    return mark("reconcile", kind.name)


def watch(cls: type[T]) -> Callable[[Callable[[Any, T], Any]], Callable[[Any, T], Any]]:
    """Marks `(client, obj) -> keys of objects that look again` when an object of this kind, or what is seen of its core objects, has changed.
    Several functions may watch one kind."""
    kind: Kind = getattr(cls, KIND_MARK)

    def note(function: Callable[[Any, T], Any]) -> Callable[[Any, T], Any]:
        name = f"{kind.name} {function.__module__}.{function.__qualname__}"
        return mark("watch", name, kind=kind.name)(function)

    return note


def background(name: str) -> Callable[[F], F]:
    """Marks `async (world) -> None`, which runs from when its package is loaded until the world is closed. It handles its own failures."""
    return mark("background", name)


class Registry:
    """What has been found so far. Names are unique per role."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self._marks: dict[str, dict[str, Mark]] = {}
        self._scanned: set[str] = set()

    def scan(self, package_name: str) -> bool:
        """Imports the package and all its modules (tests excluded). False when it had been scanned before."""
        if package_name in self._scanned:
            return False
        for module in list(_modules(package_name)):
            self._collect(module)
        self._scanned.add(package_name)
        return True

    def marks(self, role: str) -> dict[str, Mark]:
        return self._marks.setdefault(role, {})

    def lower_functions(self) -> dict[str, LowerFunction]:
        return {name: one.target for name, one in self.marks("lower").items()}

    def _collect(self, module: ModuleType) -> None:
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) != module.__name__:
                continue
            kind = vars(value).get(KIND_MARK) if isinstance(value, type) else None
            if kind is not None:
                self._add_kind(kind)
            for one in getattr(value, MARK, ()):
                self._add_mark(one)

    def _add_kind(self, kind: Kind) -> None:
        if kind.name in self.kinds:
            raise RuntimeError(f"kind {kind.name} is defined twice")
        self.kinds[kind.name] = kind

    def _add_mark(self, one: Mark) -> None:
        known = self.marks(one.role)
        if one.name in known:
            first = known[one.name].target
            raise RuntimeError(
                f"{one.role} {one.name} is defined twice: {first.__module__} and {one.target.__module__}"
            )
        known[one.name] = one


def _modules(package_name: str) -> Iterator[ModuleType]:
    package = importlib.import_module(package_name)
    yield package
    for info in pkgutil.walk_packages(getattr(package, "__path__", ()), prefix=f"{package_name}."):
        yield importlib.import_module(info.name)


__all__ = ["Desired", "Mark", "Registry", "background", "lower", "mark", "reconcile", "watch"]
