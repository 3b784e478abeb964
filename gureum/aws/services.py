"""The services that are built: one folder each under `gureum/aws/`, loaded on first use or at start when the store holds their objects."""

from __future__ import annotations

import gc
import pkgutil
from pathlib import Path
from typing import cast

from gureum.aws.marks import ChannelFunction, OperationFunction
from gureum.core.world import World

NOT_SERVICES = frozenset({"protocols", "neighbours"})
SHARED_KINDS = ("gureum.aws.call", "gureum.aws.credentials")
"""Modules with kinds that every service needs."""

NEEDS = {
    "autoscaling": ("acm", "ec2", "elbv2", "cloudwatch"),
    "elbv2": ("acm", "ec2"),
    "ssm": ("ec2", "logs"),
    "ec2-instance-connect": ("ec2",),
    "ebs": ("ec2",),
}
"""Services whose kinds another one reads and writes: they are loaded before it."""


def built_services() -> list[str]:
    """Names of the folders, which are the services' own names ("ec2", "sts")."""
    folder = str(Path(__file__).parent)
    return [info.name for info in pkgutil.iter_modules([folder]) if info.ispkg and info.name not in NOT_SERVICES]


CHANNELS = {"/v1/data-channel/": "ssm"}
"""WebSockets: how their paths begin, and the service that serves them."""


class Services:
    """What the gateway asks for: the function behind a service's operation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._built = frozenset(built_services())
        self._operations: dict[str, dict[str, OperationFunction]] = {}
        self._levels: dict[str, dict[str, str]] = {}

    def load_stored(self) -> None:
        """Loads the services that have objects in the store, so that their world goes on after a restart."""
        for module in SHARED_KINDS:
            self._world.load(module)
        for folder in sorted(self._built):
            service = folder.replace("_", "-")
            if self._world.client.store.range(f"{service}.", limit=1):
                self.load(service)

    def load(self, service: str) -> bool:
        """False when gureum does not build the service."""
        folder = service.replace("-", "_")
        if folder not in self._built:
            return False
        if service not in self._operations:
            for needed in NEEDS.get(service, ()):
                self.load(needed)
            package = f"gureum.aws.{folder}"
            self._world.load(package)
            marks = self._world.registry.marks("operation").values()
            own = [
                one
                for one in marks
                if one.target.__module__.startswith(f"{package}.") or one.target.__module__ == package
            ]
            self._operations[service] = {one.options["operation"]: one.target for one in own}
            self._levels[service] = {one.options["operation"]: one.options["level"] for one in own}
            # Code and models stay as long as the process: a full collection need not walk them, which took tens of milliseconds.
            gc.freeze()
        return True

    def operation(self, service: str, name: str) -> OperationFunction | None:
        return self._operations[service].get(name) if self.load(service) else None

    def channel(self, path: str) -> ChannelFunction | None:
        """What serves the WebSockets of this path; None when nothing does."""
        for start, service in CHANNELS.items():
            if path.startswith(start) and self.load(service):
                return cast(ChannelFunction, self._world.registry.marks("channel")[start].target)
        return None

    def preparations(self, service: str) -> list[tuple[str, OperationFunction]]:
        """What prepares a region for the service: that of the services it needs, then its own; (service, function)."""
        marks = self._world.registry.marks("prepare")
        return [(name, marks[name].target) for name in (*NEEDS.get(service, ()), service) if name in marks]

    def levels(self, service: str) -> dict[str, str]:
        """Operation → "real" or "state", of those that are built."""
        return self._levels[service] if self.load(service) else {}
