"""GET /system/df: what images, containers and volumes take of the disk. Each is told as its list tells it, with its size."""

from __future__ import annotations

from typing import Any

from gureum.docker import sizes
from gureum.docker.call import Call, operation
from gureum.docker.containers import lists
from gureum.docker.errors import bad_parameter
from gureum.docker.images import images
from gureum.docker.kinds import SCOPE, Container
from gureum.docker.networks import links
from gureum.docker.volumes import volumes

_TYPES = ("container", "image", "volume", "build-cache")


@operation("GET", "/system/df")
async def disk_usage(call: Call) -> None:
    """Docker: SystemDataUsage: `type`, as often as wished, since 1.42. Nothing is built here, so there is no cache of builds."""
    wished = (call.request.query.get("type") if call.version >= (1, 42) else None) or _TYPES
    for one in wished:
        if one not in _TYPES:
            raise bad_parameter(f"unknown object type: {one}")
    layers_bytes, shared = sizes.of_images(call.client)
    await call.send(
        200,
        {
            "LayersSize": layers_bytes if "image" in wished else 0,
            "Images": [images.summary(call, one, shared) for one in images.newest_first(call.client)]
            if "image" in wished
            else None,
            "Containers": await _containers(call) if "container" in wished else None,
            "Volumes": await _volumes(call) if "volume" in wished else None,
            "BuildCache": [] if "build-cache" in wished else None,
            **({"BuilderSize": 0} if call.version < (1, 42) else {}),
        },
    )


async def _containers(call: Call) -> list[dict[str, Any]]:
    linked = links.names(call.client)
    return [
        lists.summary(call.world, one, linked) | await sizes.shown(call.world, one)
        for one in lists.newest_first(call.client)
    ]


async def _volumes(call: Call) -> list[dict[str, Any]]:
    return [
        volumes.shown(call, one)
        | {
            "UsageData": {
                "Size": await sizes.of_volume(call.world, one),
                "RefCount": len(call.client.by(Container, SCOPE, "volume", one.meta.name)),
            }
        }
        for one in volumes.by_name(call.client)
    ]
