"""Spot interruptions: `gureum interrupt i-…` gives a Spot Instance its notice, and when that is over stops or terminates it.

    notice (commit: interruption) ─► its metadata tell spot/instance-action ─► two minutes ─► stopped or terminated

AWS gives two minutes; the setting `spot_notice_s` makes that shorter. Nothing interrupts by itself: there is no market.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.ec2.fleets.spot_kinds import SpotRequest
from gureum.aws.ec2.instances.changes import change
from gureum.aws.ec2.instances.kinds import Instance, Interruption
from gureum.core.world import World
from gureum.engine.registry import mark
from gureum.engine.resource import key_of
from gureum.ports import PortError


@mark("admin", "interrupt")
async def interrupt(world: World, name: str) -> dict[str, Any]:
    """Gives notice to a running Spot Instance. PortError when there is none of that id."""
    found = [one for one in world.client.everywhere(Instance) if one.meta.name == name]
    if not found or not found[0].spec.spot_request or found[0].status.state not in ("pending", "running"):
        raise PortError(f"{name} is no Spot Instance that runs", retry=False)
    instance = found[0]
    now = world.clock.now()
    notice = instance.spec.interruption
    if notice is None:
        request = world.client.get(SpotRequest, instance.meta.scope, instance.spec.spot_request)
        notice = Interruption(request.spec.behavior if request else "terminate", now + world.settings.spot_notice_s)
        transaction = world.client.transaction()
        transaction.update(change(instance, interruption=notice))
        await transaction.commit()
        world.events.record(key_of(instance), now, "InterruptionNotice", f"{notice.action} in {notice.at - now:.0f} s")
    return {"instance": name, "action": notice.action, "at": notice.at}
