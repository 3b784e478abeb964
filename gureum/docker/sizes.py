"""How much of the disk containers and volumes have: bytes of their files, as `du` would say."""

from __future__ import annotations

import asyncio
import os

from gureum.core.world import World
from gureum.docker.kinds import Container, Volume
from gureum.docker.lowering import core_name


async def of_container(world: World, container: Container) -> int:
    """What it has written above its image."""
    folder = f"{world.settings.home}/folders/{core_name(container.meta.name)}/upper"
    return await asyncio.to_thread(folder_bytes, folder)


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
