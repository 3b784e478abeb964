"""Fleets of types request and maintain come to their targets: what lacks is launched, what is too much ended, by reconcile.

Which pools launches come from: fleets/launches.py.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.fleets.kinds import Fleet, Record, in_state, members, missing, noticed, recorded, weight
from gureum.aws.ec2.fleets.launches import Launched, Target, launch_pools, pools_of
from gureum.aws.ec2.instances.kinds import FLEET_TAG, SPOT_FLEET_TAG, Instance, fleet_of
from gureum.aws.ec2.instances.lifecycle import USER_SHUTDOWN, begin_termination, world_call
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import key_of

AGAIN_AFTER_S = 30.0
VISIBLE_AFTER_DELETION_S = 48 * 3600.0


@watch(Instance)
def fleet_of_instance(client: Client, instance: Instance) -> Iterable[str]:
    name = fleet_of(instance)
    fleet = client.get(Fleet, instance.meta.scope, name) if name else None
    if fleet is not None:
        yield key_of(fleet)


@reconcile(Fleet)
async def reconcile_fleet(world: World, fleet: Fleet) -> None:
    """Brings a fleet to its target, or a deleted one to its end."""
    now, state = world.clock.now(), fleet.status.state
    told = fleet if fleet.spec.type == "instant" else noticed(fleet, members(world.client, fleet), now)
    if told is not fleet:
        # The change brings it here again.
        await _commit(world, told)
    elif state == "deleted":
        await _reap(world, fleet, now)
    elif state in ("deleted_running", "deleted_terminating"):
        if not members(world.client, fleet):
            await _commit(world, in_state(fleet, "deleted", now))
    elif fleet.spec.type == "instant":
        return
    elif fleet.spec.valid_until and now >= fleet.spec.valid_until:
        await _expire(world, fleet, now)
    elif now < fleet.spec.valid_from:
        world.poke(key_of(fleet), fleet.spec.valid_from - now)
    else:
        await _fulfil(world, fleet, now)
        if fleet.spec.valid_until:
            world.poke(key_of(fleet), fleet.spec.valid_until - now)


async def _fulfil(world: World, fleet: Fleet, now: float) -> None:
    on_demand, spot = missing(world.client, fleet)
    maintained = fleet.spec.type == "maintain"
    before = fleet
    transaction = world.client.transaction()
    if (on_demand > 0 or spot > 0) and (maintained or not fleet.status.reached):
        found = launch(world_call(world, fleet), transaction, fleet, max(0, on_demand), max(0, spot), {})
        if not found.shown:
            errors = "; ".join(sorted({one["ErrorMessage"] for one in found.errors}))
            world.events.record(key_of(fleet), now, "LaunchFailed", errors[:500], warning=True)
            fleet = recorded(fleet, Record(now, "information", "launchSpecUnusable", "", errors[:500]))
            world.poke(key_of(fleet), AGAIN_AFTER_S)
    elif maintained and fleet.spec.excess == "termination" and (on_demand < 0 or spot < 0):
        _shrink(transaction, world.client, fleet, now)
    met = on_demand <= 0 and spot <= 0
    if fleet.status.state != "active":
        fleet = in_state(fleet, "active", now)
    # Also when only instances were launched: two runs that both saw too few must not both launch.
    if fleet is not before or not transaction.empty or (met and not fleet.status.reached):
        status = msgspec.structs.replace(fleet.status, reached=fleet.status.reached or met, changed=now)
        transaction.update(msgspec.structs.replace(fleet, status=status))
    if not transaction.empty:
        await transaction.commit()


def launch(
    call: Call, transaction: Transaction, fleet: Fleet, on_demand: int, spot: int, tags: dict[str, str]
) -> Launched:
    """Launches so much capacity of each, in this transaction. `tags`: of the instances, beside the fleet's own."""
    tags = {**tags, (SPOT_FLEET_TAG if fleet.is_spot_request else FLEET_TAG): fleet.meta.name}
    found = Launched()
    pools = pools_of(call, fleet.spec.configs)
    for wanted, lifecycle, options in (
        (on_demand, "on-demand", fleet.spec.on_demand_options),
        (spot, "spot", fleet.spec.spot_options),
    ):
        if wanted > 0:
            launch_pools(call, transaction, pools, Target(wanted, lifecycle, options, tags), found)
    return found


def _shrink(transaction: Transaction, client: Client, fleet: Fleet, now: float) -> None:
    """The newest first, as long as what is left still meets the target."""
    on_demand, spot = missing(client, fleet)
    surplus = {False: float(-on_demand), True: float(-spot)}
    for instance in sorted(members(client, fleet), key=lambda one: -one.meta.created):
        kind_, capacity = bool(instance.spec.spot_request), weight(fleet, instance)
        if surplus[kind_] >= capacity:
            surplus[kind_] -= capacity
            begin_termination(transaction, instance, now, *USER_SHUTDOWN)


async def _expire(world: World, fleet: Fleet, now: float) -> None:
    transaction = world.client.transaction()
    state = "deleted_terminating" if fleet.spec.terminate_at_end else "deleted_running"
    transaction.update(in_state(fleet, state, now))
    for instance in members(world.client, fleet) if fleet.spec.terminate_at_end else ():
        begin_termination(transaction, instance, now, *USER_SHUTDOWN)
    await transaction.commit()


async def _reap(world: World, fleet: Fleet, now: float) -> None:
    left = fleet.status.changed + VISIBLE_AFTER_DELETION_S - now
    if left > 0:
        world.poke(key_of(fleet), left)
        return
    transaction = world.client.transaction()
    transaction.delete(fleet)
    await transaction.commit()


async def _commit(world: World, fleet: Fleet) -> None:
    transaction = world.client.transaction()
    transaction.update(fleet)
    await transaction.commit()
