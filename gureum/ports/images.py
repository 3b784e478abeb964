"""Images: layers in a content store, each unpacked once and shared by all that start from it."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class ImageConfig(msgspec.Struct, frozen=True):
    """The part of the OCI image configuration that a start obeys (OCI image-spec 1.1, config.md)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    user: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""


class Image(msgspec.Struct, frozen=True):
    """`digest`: "sha256:…" of the manifest, the image's identity. `layers`: diff ids, the lowest first. `size_bytes`: unpacked.
    `layer_bytes`: of each layer, () for an image kept before they were counted apart."""

    digest: str
    layers: tuple[str, ...]
    config: ImageConfig
    architecture: str
    size_bytes: int
    layer_bytes: tuple[int, ...] = ()


class Images(Protocol):
    async def ensure_builtin(self, name: str) -> Image:
        """`name`: "busybox" or "debian". Built from the distribution's packages on first use, then kept."""

    async def import_file(self, path: str, form: Literal["oci", "docker", "rootfs"]) -> Image:
        """`path`: an OCI layout (folder or tar), a `docker save` tar, or a tar of a root file system. Entries that would leave the root
        (absolute or `..` names, links through which a later entry writes outside) are refused."""

    async def get(self, digest: str) -> Image | None: ...
    async def list(self) -> list[Image]: ...
    async def remove(self, digest: str) -> None:
        """Removes the image and the layers that no other image has. The caller makes sure that no root uses it."""

    async def layer_paths(self, digest: str) -> tuple[str, ...]:
        """Folders of the unpacked layers, the lowest first."""
