"""What the daemon asks of the image store: {"op": "import" | "remove_image" | "held_images"}.

An image that comes for somebody who lists images himself is *held*: its digest is named with the request and noted before it is unpacked, so that
whoever asked can find it when he was killed meanwhile, and have it removed. Nobody removes what came for others, too, or what something is made of.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.core.service import AgentService
from gureum.core.specs import Image
from gureum.ports import PortError
from gureum.ports.images import Image as StoredImage

_HELD = "held"
_NOTE = "image/"


class ImageRequests:
    def __init__(self, service: AgentService) -> None:
        self._service = service
        self._importing = 0

    async def take(self, request: dict[str, Any]) -> Any:
        """{"op": "import", "path", "form", "held": digest | ""}"""
        digest = str(request.get("held") or "")
        self._importing += 1
        try:
            image = await self._take(request, digest)
        finally:
            self._importing -= 1
        return msgspec.to_builtins(image)

    async def _take(self, request: dict[str, Any], digest: str) -> StoredImage:
        machine = self._service.machine
        images = machine.ports.images
        own = bool(digest) and await images.get(digest) is None
        if own:
            await machine.keep(_NOTE + digest, _HELD)
        try:
            image = await images.import_file(str(request["path"]), request["form"])
        except PortError:
            if own and await images.get(digest) is None:
                await machine.keep(_NOTE + digest, "")
            raise
        if not digest:
            await machine.keep(_NOTE + image.digest, "")
        elif own and image.digest != digest:
            await machine.keep(_NOTE + image.digest, _HELD)
        return image

    async def held(self, request: dict[str, Any]) -> Any:
        """`importing`: how many imports are under way, whose images are not all among the digests."""
        names = self._service.machine.kept
        digests = [name.removeprefix(_NOTE) for name in names if name.startswith(_NOTE)]
        return {"digests": digests, "importing": self._importing}

    async def remove(self, request: dict[str, Any]) -> Any:
        """Only a held one that nothing is made of now."""
        machine, digest = self._service.machine, str(request["digest"])
        used = any(
            isinstance(one.spec, Image) and one.spec.source == f"digest:{digest}" for one in machine.of_kind("Image")
        )
        removed = _NOTE + digest in machine.kept and not used
        if removed:
            await machine.ports.images.remove(digest)
            await machine.keep(_NOTE + digest, "")
        return {"removed": removed}
