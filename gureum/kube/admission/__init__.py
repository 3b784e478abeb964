"""What stands between a request and the store, once it is known who asks and that he may: it changes what is written, or refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

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
Plugin = Callable[[Attributes], Awaitable[list[Extra] | None]]
"""Changes `obj` or raises StatusError; returns further writes and checks that belong to the same commit."""


class Admission:
    """The plugins in their order."""

    def __init__(self, plugins: list[Plugin]) -> None:
        self._plugins = plugins

    async def admit(self, attributes: Attributes) -> list[Extra]:
        found: list[Extra] = []
        for plugin in self._plugins:
            found += await plugin(attributes) or ()
        return found
