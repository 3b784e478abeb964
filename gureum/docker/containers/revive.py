"""What is to run always comes back with the machine, also what was stopped by hand (Docker: "restarted only when Docker daemon restarts").

That is `gureum up` after `gureum down` or after the host's own start, not a new daemon beside containers that run. A file in the run folder, which
goes with the machine, tells the two apart.
"""

from __future__ import annotations

import asyncio
import logging

from gureum.base.homes import load_home
from gureum.core.world import World
from gureum.docker.call import Call
from gureum.docker.containers.start import start
from gureum.docker.errors import DockerError
from gureum.docker.kinds import SCOPE, Container
from gureum.engine.registry import background
from gureum.store.contract import StoreBroken, StoreFull

log = logging.getLogger("gureum.docker")
MARK = "docker-up"


@background("docker restart always")
async def revive(world: World) -> None:
    home = await asyncio.to_thread(load_home, world.settings)
    if home is None or not home.run.is_dir() or (home.run / MARK).exists():
        return
    call = Call(world, None, None, {}, (0, 0))  # type: ignore[arg-type]  # nobody asks for it: it has no request, and no answer
    for container in world.client.all(Container, SCOPE):
        if _is_to_come_back(container):
            try:
                await start(call, container)
            except (DockerError, StoreFull, StoreBroken) as refused:
                log.warning(
                    "a container did not come back", extra={"container": container.spec.name, "why": str(refused)}
                )
    (home.run / MARK).touch()


def _is_to_come_back(container: Container) -> bool:
    spec, policy = container.spec, container.spec.host.get("RestartPolicy") or {}
    return policy.get("Name") == "always" and spec.boot > 0 and spec.wish == "stopped" and not spec.removing
