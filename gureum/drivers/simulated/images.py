"""The simulated twin of image_store.py: images that are only remembered. Nothing is read but whether a file is there, nothing unpacked;
layer paths name folders that do not exist. For `up --simulate` and for tests that need no machine.
"""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Literal

from gureum.ports import PortError
from gureum.ports.images import Image, ImageConfig

_BUILTIN_USERS = {"busybox": "ec2-user", "debian": "admin"}
_BUILTIN_BYTES = {"busybox": 6_700_000, "debian": 260_000_000}
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class SimulatedImages:
    """Fills the port Images in memory. An image's digest depends on its name or on its file's path, size and time."""

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}

    async def ensure_builtin(self, name: str) -> Image:
        if name not in _BUILTIN_USERS:
            raise PortError(f"there is no built-in image {name[:40]!a}", retry=False)
        config = ImageConfig(entrypoint=("/sbin/init",), labels={"io.gureum.default-user": _BUILTIN_USERS[name]})
        return self._keep(f"builtin {name}", config, _BUILTIN_BYTES[name])

    async def import_file(self, path: str, form: Literal["oci", "docker", "rootfs"]) -> Image:
        try:
            found = Path(path).stat()  # noqa: ASYNC240 (microseconds)
        except OSError as error:
            raise PortError(f"{Path(path).name} cannot be read: {error.strerror}", retry=False) from error
        return self._keep(f"{form} {path} {found.st_size} {found.st_mtime_ns}", ImageConfig(), found.st_size)

    async def get(self, digest: str) -> Image | None:
        return self._images.get(digest)

    async def list(self) -> list[Image]:
        return sorted(self._images.values(), key=lambda image: image.digest)

    async def remove(self, digest: str) -> None:
        self._images.pop(digest, None)

    async def layer_paths(self, digest: str) -> tuple[str, ...]:
        if digest not in self._images:
            raise PortError(f"image {digest[:80]!a} is not here", retry=False)
        return tuple(f"/simulated/layers/{layer.removeprefix('sha256:')}" for layer in self._images[digest].layers)

    def _keep(self, seed: str, config: ImageConfig, size_bytes: int) -> Image:
        layer = f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}"
        digest = f"sha256:{hashlib.sha256(layer.encode()).hexdigest()}"
        image = Image(digest, (layer,), config, _ARCHITECTURE, size_bytes, (size_bytes,))
        return self._images.setdefault(digest, image)
