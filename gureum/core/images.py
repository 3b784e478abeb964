"""Images on the machine: found in the store, or built when they are built in. They are never taken away here: layers are shared."""

from __future__ import annotations

import asyncio

import msgspec

from gureum.core.machine import Machine
from gureum.core.specs import Image
from gureum.engine.errors import Broken
from gureum.ports.images import Image as StoredImage


class ImageKinds:
    """Reconcile and teardown of Image."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._locks: dict[str, asyncio.Lock] = {}

    async def image(self, id_: str, spec: Image) -> None:
        async with self._locks.setdefault(spec.source, asyncio.Lock()):
            found = await self._find(spec.source)
        config = msgspec.to_builtins(found.config)
        self._machine.set_status(
            id_, "ready", data={"digest": found.digest, "config": config, "size": found.size_bytes}
        )

    async def image_gone(self, id_: str, spec: Image) -> None:
        """The image stays in the store, also when its AMI is deregistered: its layers are shared."""

    async def _find(self, source: str) -> StoredImage:
        images = self._machine.ports.images
        form, _, rest = source.partition(":")
        found = await (images.ensure_builtin(rest) if form == "builtin" else images.get(rest))
        if found is None:
            raise Broken(f"image {rest} is not in the store")
        return found
