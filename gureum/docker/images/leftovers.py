"""What a daemon that was killed while images came has left: blobs that no image names, and images that the agent has unpacked and nobody knows."""

from __future__ import annotations

from gureum.core.world import World
from gureum.docker.images.take import blobs_of
from gureum.docker.kinds import SCOPE, Image
from gureum.engine.registry import background
from gureum.ports import PortError

PAUSE_S = 1.0


@background("docker image leftovers")
async def forget_leftovers(world: World) -> None:
    """Over when everything is gone: the agent may still be at what the other daemon wanted."""
    while not await _forgotten(world):
        await world.clock.sleep(PAUSE_S)


async def _forgotten(world: World) -> bool:
    blobs = world.part(blobs_of)
    async with blobs.gate:
        if blobs.makers:
            return False
        try:
            told = await world.link.ask({"op": "held_images"})
            if told["importing"]:
                return False
            known = {one.spec.digest for one in world.client.all(Image, SCOPE)}
            for digest in told["digests"]:
                if digest not in known:
                    await world.link.ask({"op": "remove_image", "digest": digest})
        except PortError as refused:
            return not refused.retry
    return True
