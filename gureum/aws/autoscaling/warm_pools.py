"""Warm pools: instances that have been launched, have had their hooks, and wait, stopped or running, for the group to grow.

    (pool too small) ──launch──► Warmed:Pending ──► (hooks) ──► Warmed:Stopped, Warmed:Running
                                        ▲                              │ the group grows
         scale-in, with a reuse policy ─┘                              ▼
                                                            Pending ──► (hooks) ──► InService

AWS: "Decrease latency for applications with long boot times using warm pools". The pool holds what the group could still grow by: the larger of its
minimum and the prepared capacity (the group's maximum, where none is given) less the desired capacity. Where the group's instances have weights it
counts in them, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.autoscaling import activities
from gureum.aws.autoscaling.faults import in_use, invalid, not_built
from gureum.aws.autoscaling.group_show import show_member, show_pool
from gureum.aws.autoscaling.groups import replace_spec
from gureum.aws.autoscaling.kinds import WARMED, GroupSpec, Member, WarmPool
from gureum.aws.autoscaling.launching import MOST_LAUNCHES, check_no_spot, launch, spread
from gureum.aws.autoscaling.lookup import find_group, members_of, page
from gureum.aws.autoscaling.passes import Pass
from gureum.aws.autoscaling.refreshing import active_refresh
from gureum.aws.autoscaling.sentences import launching, started_cause, warm_surplus_cause
from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.lifecycle import begin_start
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.client import Client
from gureum.engine.registry import mark

MOST_SHOWN = 50


@operation("PutWarmPool")
async def put_warm_pool(call: Call) -> Result:
    """AWS: autoscaling PutWarmPool: makes or changes it. InstanceRefreshInProgress; what is not given gets its default."""
    group, params = find_group(call, call.params["AutoScalingGroupName"]), call.params
    if active_refresh(call, group) is not None:
        raise AwsError("InstanceRefreshInProgress", "An instance refresh is in progress for the group.", status=400)
    check_no_spot(call, group)
    state = params.get("PoolState") or "Stopped"
    if state == "Hibernated":
        raise not_built("A warm pool with PoolState Hibernated")
    if state not in ("Stopped", "Running"):
        raise invalid(f"Invalid pool state: {state}")
    least, prepared = params.get("MinSize", 0), params.get("MaxGroupPreparedCapacity", -1)
    if least < 0 or prepared < -1:
        raise invalid("MinSize must be at least 0 and MaxGroupPreparedCapacity at least -1.")
    if group.spec.warm_pool is not None and group.spec.warm_pool.deleting:
        raise in_use("The warm pool is being deleted.")
    reuse = bool((params.get("InstanceReusePolicy") or {}).get("ReuseOnScaleIn"))
    pool = WarmPool(least, prepared, "Running" if state == "Running" else "Stopped", reuse)
    await replace_spec(call, group, msgspec.structs.replace(group.spec, warm_pool=pool, failures=0, retry_at=0.0))
    return {}


@operation("DeleteWarmPool")
async def delete_warm_pool(call: Call) -> Result:
    """AWS: autoscaling DeleteWarmPool: its instances are terminated. ScalingActivityInProgress while some come or go, unless ForceDelete."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    pool, force = group.spec.warm_pool, bool(call.params.get("ForceDelete"))
    if pool is None:
        raise invalid(f"No warm pool found for Auto Scaling group {group.spec.name}")
    warm = [one for one in members_of(call, group) if one.warm]
    if not force and any(one.spec.state not in WARMED for one in warm):
        text = "You cannot delete a warm pool while there are scaling activities in progress for it."
        raise AwsError("ScalingActivityInProgress", text, status=400)
    after = msgspec.structs.replace(pool, deleting=True) if warm else None
    await replace_spec(call, group, msgspec.structs.replace(group.spec, warm_pool=after))
    return {}


@operation("DescribeWarmPool")
def describe_warm_pool(call: Call) -> Result:
    """AWS: autoscaling DescribeWarmPool."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    warm = [one for one in members_of(call, group) if one.warm]
    shown, token = page(call, warm, lambda one: one.meta.name, default=MOST_SHOWN)
    result: dict[str, Any] = {"Instances": [show_member(one) for one in shown]} | token
    pool = group.spec.warm_pool
    return result | ({"WarmPoolConfiguration": show_pool(pool)} if pool is not None else {})


@mark("outside-group", "autoscaling")
def is_warm(client: Client, instance: Instance) -> bool:
    """For the metrics of groups, which are of the instances that serve."""
    member = client.get(Member, instance.meta.scope, instance.meta.name)
    return member is not None and member.warm


def wished(spec: GroupSpec) -> int:
    """How many the pool should hold."""
    pool = spec.warm_pool
    if pool is None or pool.deleting or spec.deleting:
        return 0
    return max(pool.least, (spec.max if pool.prepared < 0 else pool.prepared) - spec.desired, 0)


def takes_back(step: Pass) -> bool:
    """Whether an instance that a scale-in ends has a place in the pool."""
    pool = step.group.spec.warm_pool
    return pool is not None and pool.reuse and _units(step.pool) + _coming(step) < wished(step.group.spec)


def take(step: Pass, wanted: int, zones: tuple[str, ...]) -> int:
    """Of those that are warm, as many as are `wanted` units of capacity join the group, those of `zones` first; says how many units they are. One
    that cannot be started stays."""
    ready = [one for one in step.pool if one.spec.state in WARMED and one.spec.health == "Healthy"]
    places = {zone: place for place, zone in enumerate(zones)}
    ready.sort(key=lambda one: (places.get(one.spec.zone, len(places)), one.spec.launched, one.meta.name))
    taken = 0
    for member in ready:
        if taken >= wanted:
            break
        instance = step.call.get(Instance, member.meta.name)
        if instance is None or instance.status.state not in ("stopped", "running"):
            continue
        saved = step.transaction.savepoint()
        try:
            if instance.status.state == "stopped":
                begin_start(step.call, step.transaction, instance)
        except AwsError:
            step.transaction.back_to(saved)
            break
        _join(step, member, instance)
        taken += member.spec.weight
    return taken


def fill(step: Pass) -> None:
    """One step towards the wished size: some more, into the zone with the fewest, or the oldest less. Raises EC2's error of a launch. A pool that
    is to go is forgotten with its last instance."""
    pool, spec, zones = step.group.spec.warm_pool, step.group.spec, step.group.spec.zones
    staying = [one for one in step.pool if "Terminating" not in one.spec.state]
    if pool is None:
        return
    if pool.deleting and not step.pool:
        step.change_group(warm_pool=None)
    size = _units(staying)
    difference = wished(spec) - size - _coming(step)
    if difference > 0 and not step.suspended("Launch"):
        have = Counter(one.spec.zone for one in staying)
        zone, count = next(iter(spread(have, zones, min(difference, MOST_LAUNCHES)).items()))
        launch(step.call, step.transaction, step.group, zone, count, size, warm=True)
    elif difference < 0 and not step.suspended("Terminate"):
        for member in sorted(staying, key=lambda one: (one.spec.state in WARMED, one.spec.launched)):
            if member.spec.weight <= -difference:
                step.begin_end(member, warm_surplus_cause(step.now))
                difference += member.spec.weight


def _units(members: Sequence[Member]) -> int:
    return sum(one.spec.weight for one in members)


def _coming(step: Pass) -> int:
    """Those that come back from the group."""
    return _units([one for one in step.members if one.spec.returning])


def _join(step: Pass, member: Member, instance: Instance) -> None:
    capacity = step.capacity
    cause = started_cause(step.group.spec.why, step.now, capacity, capacity + member.spec.weight)
    activity = activities.begin(
        step.call, step.transaction, step.group, launching(member.meta.name, " from warm pool"), cause, what="launch",
        instance=member.meta.name, zone=member.spec.zone, subnet=instance.spec.subnet,
    )  # fmt: skip
    step.change(member, state="Pending", activity=activity.meta.name, hooked=False, waits=(), pooled=True)
