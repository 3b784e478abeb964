"""Parameters with an Expiration policy go when their time has come. Nobody finds one that has expired, swept away or not."""

from __future__ import annotations

import logging

from gureum.aws.ssm.parameter_kinds import Parameter, versions_of
from gureum.core.world import World
from gureum.engine.registry import background
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.ssm")
LOOK_S = 10.0


@background("ssm parameters")
async def expire_parameters(world: World) -> None:
    while True:
        for parameter in list(world.client.everywhere(Parameter)):
            if 0 < parameter.spec.expires <= world.clock.now():
                await _expire(world, parameter)
        await world.clock.sleep(LOOK_S)


async def _expire(world: World, parameter: Parameter) -> None:
    transaction = world.client.transaction()
    transaction.delete(parameter)
    for one in versions_of(world.client, parameter):
        transaction.delete(one)
    try:
        await transaction.commit()
    except Conflict:
        pass  # somebody changes it now: the next look sees how
    except (StoreFull, StoreBroken) as failed:
        log.warning(
            "an expired parameter was not removed", extra={"parameter": parameter.spec.name, "why": str(failed)}
        )
