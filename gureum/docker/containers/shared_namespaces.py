"""Containers that share namespaces of others: `--network`, `--pid` and `--ipc container:NAME`, stored with the other's id."""

from __future__ import annotations

from typing import Protocol

from gureum.docker.containers.options import shm_bytes
from gureum.docker.kinds import SCOPE, Container

SHARED_MODES = ("NetworkMode", "PidMode", "IpcMode")
_MOST_SHARERS = 32


class Get(Protocol):
    def __call__(self, cls: type[Container], scope: str, name: str, /) -> Container | None: ...


def other_of(get: Get, container: Container, key: str) -> Container | None:
    """The one whose namespace it shares; None for its own, the host's and one that is gone."""
    mode = str(container.spec.host.get(key) or "")
    return get(Container, SCOPE, mode.removeprefix("container:")) if mode.startswith("container:") else None


def owner_of(get: Get, container: Container, *keys: str) -> Container:
    """At the end of the way: the one that shares none of these with another."""
    for _ in range(_MOST_SHARERS):
        others = [other for key in keys if (other := other_of(get, container, key))]
        if not others:
            break
        container = others[0]
    return container


def owner_of_users(get: Get, container: Container) -> Container:
    """Who shares a namespace has the users of its owner, too."""
    return owner_of(get, container, *SHARED_MODES)


def shared_memory(get: Get, container: Container) -> tuple[Container, int] | None:
    """(whose /dev/shm it has, its bytes); None for one that nobody else may have."""
    owner = owner_of(get, container, "IpcMode")
    return (owner, shm_bytes(owner.spec.host)) if owner.spec.host.get("IpcMode") == "shareable" else None
