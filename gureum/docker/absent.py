"""What the Engine has and gureum has not: the builder, swarm, plugins. What clients ask of them in passing is answered as by an Engine that has none
of it to show; the rest is refused by its name.
"""

from __future__ import annotations

from gureum.docker.call import Call, operation
from gureum.docker.errors import DockerError, not_built, not_found


@operation("POST", "/build")
async def build_image(call: Call) -> None:
    """gureum builds no images: use `buildah` or BuildKit and load or push what they made."""
    raise not_built("gureum builds no images; build with buildah or BuildKit and `docker load` or pull the result")


@operation("POST", "/build/prune")
async def prune_builds(call: Call) -> None:
    """Docker: BuildPrune, which is a part of `docker system prune`: no builder, no cache."""
    await call.send(200, {"CachesDeleted": None, "SpaceReclaimed": 0})


@operation("POST", "/build/cancel")
@operation("POST", "/session")
@operation("POST", "/grpc")
async def builder(call: Call) -> None:
    raise not_built("the builder (BuildKit)")


@operation("GET", "/swarm")
@operation("GET", "/swarm/unlockkey")
@operation("POST", "/swarm/update")
@operation("GET", "/nodes")
@operation("GET", "/nodes/{id}")
@operation("GET", "/services")
@operation("GET", "/services/{id}")
@operation("POST", "/services/create")
@operation("GET", "/tasks")
@operation("GET", "/tasks/{id}")
@operation("GET", "/secrets")
@operation("GET", "/secrets/{id}")
@operation("POST", "/secrets/create")
@operation("GET", "/configs")
@operation("GET", "/configs/{id}")
@operation("POST", "/configs/create")
async def no_manager(call: Call) -> None:
    raise DockerError(
        503,
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
    )


@operation("POST", "/swarm/leave")
async def leave_swarm(call: Call) -> None:
    raise DockerError(503, "This node is not part of a swarm")


@operation("POST", "/swarm/init")
@operation("POST", "/swarm/join")
@operation("POST", "/swarm/unlock")
async def swarm(call: Call) -> None:
    raise not_built("swarm")


@operation("GET", "/containers/{id}/checkpoints")
@operation("POST", "/containers/{id}/checkpoints")
@operation("DELETE", "/containers/{id}/checkpoints/{name}")
async def checkpoints(call: Call) -> None:
    raise not_built("checkpoints")


@operation("GET", "/plugins")
async def list_plugins(call: Call) -> None:
    await call.send(200, [])


@operation("GET", "/plugins/{name:path}/json")
@operation("DELETE", "/plugins/{name:path}")
@operation("POST", "/plugins/{name:path}/enable")
@operation("POST", "/plugins/{name:path}/disable")
async def no_plugin(call: Call) -> None:
    raise not_found(f'plugin "{call.args["name"]}" not found')


@operation("GET", "/plugins/privileges")
@operation("POST", "/plugins/pull")
@operation("POST", "/plugins/create")
async def plugins(call: Call) -> None:
    raise not_built("plugins")
