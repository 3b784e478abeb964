"""How much of the disk images, containers and volumes have: bytes of their files, as `du` would say."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator

from gureum.core.world import World
from gureum.docker.images.config import config_of
from gureum.docker.kinds import SCOPE, Container, Image, Volume
from gureum.docker.lowering import core_name
from gureum.engine.client import Client


def of_layers(image: Image) -> tuple[int, ...]:
    """Unpacked; as they came where an older version stored the image."""
    return image.spec.unpacked or tuple(layer.size for layer in image.spec.layers)


def of_images(client: Client) -> tuple[int, dict[str, int]]:
    """(all layers, each once; by image the layers that other images have, too). A layer is one with all below it, as Docker counts."""
    images = {one.meta.name: tuple(_layers(one)) for one in client.all(Image, SCOPE)}
    sharers = Counter(chain for layers in images.values() for chain, _ in layers)
    shared = {name: sum(size for chain, size in layers if sharers[chain] > 1) for name, layers in images.items()}
    return sum({chain: size for layers in images.values() for chain, size in layers}.values()), shared


def _layers(image: Image) -> Iterator[tuple[tuple[str, ...], int]]:
    diff_ids = (config_of(image).get("rootfs") or {}).get("diff_ids") or ()
    for index, (_, size) in enumerate(zip(diff_ids, of_layers(image), strict=False)):
        yield tuple(diff_ids[: index + 1]), size


async def of_container(world: World, container: Container) -> int:
    """What it has written above its image."""
    folder = f"{world.settings.home}/folders/{core_name(container.meta.name)}/upper"
    return await asyncio.to_thread(folder_bytes, folder)


async def shown(world: World, container: Container) -> dict[str, int]:
    """As clients are told: with its image, and without."""
    image, written = world.client.get(Image, SCOPE, container.spec.image), await of_container(world, container)
    return {"SizeRw": written, "SizeRootFs": written + (image.spec.size if image is not None else 0)}


async def of_volume(world: World, volume: Volume) -> int:
    return await asyncio.to_thread(folder_bytes, f"{world.settings.home}/folders/{volume.spec.core}/_data")


def folder_bytes(folder: str) -> int:
    """Links are not followed, files of several names count once, and what goes meanwhile or cannot be reached counts nothing."""
    total, seen, waiting = 0, set[tuple[int, int]](), [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif (facts.st_dev, facts.st_ino) not in seen:
                        seen.add((facts.st_dev, facts.st_ino))
                        total += facts.st_size
        except OSError:
            continue
    return total
