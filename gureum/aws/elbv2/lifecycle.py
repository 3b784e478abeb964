"""How load balancers and targets move along with time and with the machine.

LoadBalancer   provisioning ──all nodes ready──► active ◄──► active_impaired (a node failed)
                    └──────a node failed──────► failed
Target         draining ──its delay is over──► gone
               registered ──its instance is terminated──► draining
"""

from __future__ import annotations

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.elbv2.attributes import attributes_of_group
from gureum.aws.elbv2.kinds import LoadBalancer, LoadBalancerStatus, Target, TargetGroup
from gureum.aws.elbv2.target_places import balancers_of
from gureum.aws.elbv2.targets import with_targets
from gureum.core.world import World
from gureum.engine.errors import Retry
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of

ENDING = ("shutting-down", "terminated")


@reconcile(LoadBalancer)
async def reconcile_load_balancer(world: World, balancer: LoadBalancer) -> None:
    """Its state is what its nodes' are. Once active it stays so while nodes take up changes."""
    if not world.link.synced:
        return
    ids = [one.id for one in world.lowering.of(key_of(balancer))]
    ids += [f"Interface/{node.interface}" for node in balancer.spec.zones]
    statuses = {id_: world.seen(id_) for id_ in ids}
    failed = [
        (id_, status.reason) for id_, status in statuses.items() if status is not None and status.phase == "failed"
    ]
    ready = all(status is not None and status.phase == "ready" for status in statuses.values())
    state = balancer.status.state
    if failed:
        started = state in ("active", "active_impaired")
        reason = "; ".join(f"{id_}: {why}" for id_, why in failed)
        await _move(world, balancer, LoadBalancerStatus("active_impaired" if started else "failed", reason))
    elif ready:
        await _move(world, balancer, LoadBalancerStatus("active"))
    elif state == "provisioning":
        # Interfaces are owned by themselves: nothing pokes this load balancer when they are ready.
        raise Retry("waits for its nodes")


async def _move(world: World, balancer: LoadBalancer, status: LoadBalancerStatus) -> None:
    if balancer.status == status:
        return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(balancer, status=status))
    await transaction.commit()
    text = f"{balancer.status.state} -> {status.state}"
    world.events.record(key_of(balancer), world.clock.now(), "StateChanged", f"{text} {status.reason}".strip())


@reconcile(TargetGroup)
async def reconcile_target_group(world: World, group: TargetGroup) -> None:
    """Takes away what has drained, lets drain what was terminated, where there is anything to drain, and comes back when the next is due."""
    now = world.clock.now()
    served = bool(balancers_of(group, world.client))
    delay_s = float(attributes_of_group(group)["deregistration_delay.timeout_seconds"]) if served else 0.0
    left: list[Target] = []
    for target in group.spec.targets:
        if not target.draining_until and _is_terminated(world, group, target):
            target = msgspec.structs.replace(target, draining_until=now + delay_s)
        if not target.draining_until or target.draining_until > now:
            left.append(target)
    if tuple(left) != group.spec.targets:
        transaction = world.client.transaction()
        transaction.update(with_targets(group, tuple(left)))
        await transaction.commit()
    due = min((target.draining_until for target in left if target.draining_until), default=0.0)
    if due:
        world.poke(key_of(group), max(due - now, 0.001))


def _is_terminated(world: World, group: TargetGroup, target: Target) -> bool:
    """Whether the instance is gone for good. AWS: a terminated instance is deregistered."""
    if group.spec.type != "instance":
        return False
    instance = world.client.get(Instance, group.meta.scope, target.id)
    return instance is None or instance.status.state in ENDING
