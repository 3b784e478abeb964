"""What has happened, for `docker events`: the newest are kept in memory, as Docker keeps them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from gureum.core.world import World
from gureum.docker.images.references import familiar
from gureum.docker.kinds import SCOPE, Container, Network

KEPT = 256
LIMIT_WAITING = 4096
"""Of one listener; one that is slower misses some."""


def container_attributes(container: Container) -> dict[str, str]:
    labels = container.spec.config.get("Labels") or {}
    image = str(container.spec.config.get("Image") or "")
    return {
        **{str(key): str(value) for key, value in labels.items()},
        "image": familiar(image),
        "name": container.spec.name,
    }


class Events:
    """One per world."""

    def __init__(self, world: World) -> None:
        self._clock, self._client = world.clock, world.client
        self._kept: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()

    def container(self, container: Container, action: str, **more: str) -> None:
        self.add("container", action, container.meta.name, {**container_attributes(container), **more})

    def attachment(self, container: Container, network: Network, action: str) -> None:
        """`action`: "connect" or "disconnect"."""
        attributes = {"container": container.meta.name, "name": network.spec.name, "type": network.spec.driver}
        self.add("network", action, network.meta.name, attributes)

    def joined(self, container: Container) -> None:
        """Its volumes and networks, before it starts."""
        for mount in container.spec.mounts:
            if mount.type == "volume":
                where = {"destination": mount.target, "driver": "local", "propagation": ""}
                writable = {"read/write": str(mount.writable).lower()}
                self.add("volume", "mount", mount.name, {"container": container.meta.name, **where, **writable})
        self._attachments(container, "connect")

    def left(self, container: Container) -> None:
        """What it had joined."""
        self._attachments(container, "disconnect")
        for mount in container.spec.mounts:
            if mount.type == "volume":
                self.add("volume", "unmount", mount.name, {"container": container.meta.name, "driver": "local"})

    def _attachments(self, container: Container, action: str) -> None:
        for end in container.spec.endpoints:
            if (network := self._client.get(Network, SCOPE, end.network)) is not None:
                self.attachment(container, network, action)

    def add(self, kind: str, action: str, id_: str, attributes: dict[str, str]) -> None:
        now = self._clock.now()
        event: dict[str, Any] = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id_, "Attributes": attributes},
            "scope": "local",
            "time": int(now),
            "timeNano": int(now * 1e9),
        }
        if kind in ("container", "image"):
            event = {
                "status": action,
                "id": id_,
                **({"from": attributes["image"]} if "image" in attributes else {}),
                **event,
            }
        self._kept.append(event)
        for listener in self._listeners:
            if listener.qsize() < LIMIT_WAITING:
                listener.put_nowait(event)

    def since(self, moment: float) -> list[dict[str, Any]]:
        return [event for event in self._kept if event["timeNano"] / 1e9 >= moment]

    def listen(self) -> tuple[asyncio.Queue[dict[str, Any]], Callable[[], None]]:
        """(what comes from now on, the way to stop)."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.add(queue)
        return queue, lambda: self._listeners.discard(queue)
