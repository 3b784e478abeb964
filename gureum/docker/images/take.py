"""Bringing an image in, whatever way it came: its blobs are here, the agent unpacks what it has not, and one commit makes it known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from gureum.core.world import World
from gureum.docker import shapes
from gureum.docker.call import commit, patiently
from gureum.docker.errors import bad_parameter, server_error
from gureum.docker.images.blobs import Blobs
from gureum.docker.kinds import SCOPE, Image, ImageSpec, Layer
from gureum.engine.client import Transaction
from gureum.engine.resource import Meta
from gureum.ports import PortError

OCI_MANIFEST, OCI_CONFIG = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
IMPORT_S = 1800.0
Told = Callable[[dict[str, Any]], None]


def blobs_of(world: World) -> Blobs:
    """The home's blobs. What a daemon that was killed left unfinished goes at the first use."""
    blobs = Blobs(Path(world.settings.home))
    blobs.drop_all_but(used_blobs(world))
    return blobs


def used_blobs(world: World) -> set[str]:
    return {digest for one in world.client.all(Image, SCOPE) for digest in blobs_of_image(one)}


def blobs_of_image(image: Image) -> set[str]:
    return {image.meta.name, image.spec.digest, *(layer.blob for layer in image.spec.layers)}


@contextlib.asynccontextmanager
async def making(world: World, *, keep: bool = False) -> AsyncIterator[None]:
    """While an image is made. Whoever leaves last removes the blobs that became no image's; `keep`: not at once, so that another pull finds what this
    one has got."""
    blobs = world.part(blobs_of)
    async with blobs.gate:
        blobs.makers += 1
    try:
        yield
    finally:
        blobs.makers -= 1
        if not keep:
            drop_unused(world)


def drop_unused(world: World) -> int:
    """Bytes that it gave. Nothing while images are being made. In the loop and not in a thread, so that nobody begins meanwhile."""
    blobs = world.part(blobs_of)
    return 0 if blobs.makers else blobs.drop_all_but(used_blobs(world))


def made_manifest(config_digest: str, config_size: int, layers: Iterable[Layer]) -> bytes:
    """For an image that came without one."""
    return msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config_digest, "size": config_size},
            "layers": [{"mediaType": one.media_type, "digest": one.blob, "size": one.size} for one in layers],
        }
    )


async def take(
    world: World,
    manifest_digest: str,
    config_digest: str,
    layers: tuple[Layer, ...],
    *,
    tags: Iterable[str] = (),
    digests: Iterable[str] = (),
    made_of: str = "",
) -> Image:
    """The image, with these tags, which others lose. DockerError in the agent's words."""
    blobs = world.part(blobs_of)
    config = (await asyncio.to_thread(blobs.read, config_digest)).decode()
    _check(config)
    with blobs.folder() as folder:
        needed = [config_digest, *(one.blob for one in layers)]
        await asyncio.to_thread(blobs.layout, folder, manifest_digest, needed)
        try:
            asked = {"op": "import", "path": str(folder), "form": "oci", "held": manifest_digest}
            told = await patiently(lambda: world.link.ask(asked, IMPORT_S))
        except PortError as refused:
            raise server_error(f"failed to register layer: {refused.why}") from refused

    def decide(transaction: Transaction) -> Image:
        known = world.client.get(Image, SCOPE, config_digest)
        if known is None:
            spec = ImageSpec(
                config,
                str(told["digest"]),
                layers,
                size=int(told["size_bytes"]),
                unpacked=tuple(map(int, told["layer_bytes"])),
                made_of=made_of,
            )
            image = Image(meta=Meta(SCOPE, config_digest, config_digest, world.clock.now()), spec=spec)
            transaction.create(image)
        else:
            image = known
        return retag(world, transaction, image, tags=tuple(tags), digests=tuple(digests))

    return await commit(world.client, decide)


def _check(config: str) -> None:
    """A configuration that a container could not be made of is refused with its image: its words become the container's."""
    try:
        shapes.check(msgspec.json.decode(config), "image.Image")
    except msgspec.DecodeError as error:
        raise bad_parameter(f"the image's configuration cannot be understood: {error}") from error


def retag(
    world: World, transaction: Transaction, image: Image, *, tags: tuple[str, ...] = (), digests: tuple[str, ...] = ()
) -> Image:
    """The image with these names too; a tag that another has leaves that one."""
    for tag in tags:
        for other in world.client.by(Image, SCOPE, "tag", tag):
            if other.meta.name != image.meta.name:
                kept = tuple(one for one in other.spec.tags if one != tag)
                transaction.update(msgspec.structs.replace(other, spec=msgspec.structs.replace(other.spec, tags=kept)))
    merged_tags = tuple(dict.fromkeys([*image.spec.tags, *tags]))
    merged_digests = tuple(dict.fromkeys([*image.spec.digests, *digests]))
    if (merged_tags, merged_digests) == (image.spec.tags, image.spec.digests):
        return image
    spec = msgspec.structs.replace(image.spec, tags=merged_tags, digests=merged_digests, tagged=world.clock.now())
    return transaction.update(msgspec.structs.replace(transaction.current(image), spec=spec))


async def taken_layers(blobs: Blobs, descriptors: list[dict[str, Any]]) -> tuple[Layer, ...]:
    return tuple(
        Layer(str(one["digest"]), blobs.size(str(one["digest"])), str(one.get("mediaType") or OCI_LAYER))
        for one in descriptors
    )
