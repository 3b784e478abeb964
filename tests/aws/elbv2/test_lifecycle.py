"""How states move: elbv2 LoadBalancerState (API Reference); "Deregistration delay", "Target groups" (User Guide)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gureum.aws.elbv2.kinds import LoadBalancer
from gureum.aws.elbv2.lifecycle import reconcile_load_balancer, reconcile_target_group
from gureum.core.machine import Status
from gureum.engine.errors import Retry
from gureum.engine.events import Events
from gureum.engine.resource import key_of


class World:
    """What reconcile sees of the world; `pokes`: (key, seconds) it asked for."""

    def __init__(self, cloud):
        self.client, self.clock, self.lowering = cloud.client, cloud.clock, cloud.lowering
        self.events = Events()
        self.link = SimpleNamespace(synced=True)
        self.seen_now: dict[str, Status] = {}
        self.pokes: list[tuple[str, float]] = []

    def seen(self, id_):
        return self.seen_now.get(id_)

    def poke(self, key, after_s=0.0):
        self.pokes.append((key, after_s))

    def says(self, ids, phase="ready", reason=""):
        self.seen_now.update({id_: Status(id_, "", phase, reason=reason) for id_ in ids})


@pytest.fixture
def world(cloud):
    return World(cloud)


def stored(cloud):
    (balancer,) = cloud.call().all(LoadBalancer)
    return balancer


def reconciled(cloud, world):
    asyncio.run(reconcile_load_balancer(world, stored(cloud)))
    return cloud("DescribeLoadBalancers")["LoadBalancers"][0]["State"]


def needed(cloud):
    balancer = stored(cloud)
    interfaces = [f"Interface/{node.interface}" for node in balancer.spec.zones]
    return [one.id for one in cloud.lowering.of(key_of(balancer))] + interfaces


def test_a_load_balancer_is_active_when_all_its_nodes_are_ready(cloud, world):
    cloud.listener(cloud.application(), cloud.group())
    ids = needed(cloud)
    world.says(ids[:-1])
    with pytest.raises(Retry):
        reconciled(cloud, world)
    world.says(ids[-1:])
    assert reconciled(cloud, world) == {"Code": "active"}
    world.says(ids[:1], "pending", "takes up a change")
    assert reconciled(cloud, world) == {"Code": "active"}


def test_a_failed_node_fails_or_impairs_it(cloud, world):
    cloud.application()
    ids = needed(cloud)
    world.says(ids)
    world.says(ids[:1], "failed", "no room")
    assert reconciled(cloud, world) == {"Code": "failed", "Reason": f"{ids[0]}: no room"}
    world.says(ids)
    assert reconciled(cloud, world) == {"Code": "active"}
    world.says(ids[:1], "failed", "gone")
    assert reconciled(cloud, world) == {"Code": "active_impaired", "Reason": f"{ids[0]}: gone"}


def test_nothing_is_said_before_the_agent_has_been_heard(cloud, world):
    cloud.application()
    world.link.synced = False
    world.says(needed(cloud))
    assert reconciled(cloud, world) == {"Code": "provisioning"}


def test_a_target_is_gone_when_its_delay_is_over(cloud, world):
    group = cloud.group()
    cloud.listener(cloud.application(), group)
    first, second = cloud.instance(), cloud.instance()
    cloud.register(group, first, second)
    cloud.deregister(group, first)
    cloud.clock.time += 100
    cloud.deregister(group, second)
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    assert world.pokes == [(key_of(cloud.stored_group(group)), 200.0)]
    cloud.clock.time += 200
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    assert list(cloud.health(group)) == [second]
    cloud.clock.time += 100
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    assert cloud.health(group) == {}
    world.pokes.clear()
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    assert world.pokes == []


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_a_terminated_machine_is_deregistered(cloud, world, state):
    """moto, tests/test_elbv2/test_elbv2_target_health.py, verified against AWS: it is removed when terminated, and draining to who names it."""
    group = cloud.group()
    cloud.listener(cloud.application(), group)
    instance, other = cloud.instance(), cloud.instance()
    cloud.register(group, instance, other)
    cloud.move(instance, state)
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    draining = ("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
    assert cloud.health(group, Targets=[{"Id": instance, "Port": 80}]) == {instance: draining}
    assert list(cloud.health(group)) == ([instance, other] if state == "shutting-down" else [other])
    assert cloud.stored_group(group).spec.targets[0].draining_until == cloud.clock.now() + 300
    cloud.clock.time += 300
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    assert cloud.health(group, Targets=[{"Id": instance}])[instance][1] == "Target.NotRegistered"


def test_a_terminated_machine_has_nothing_to_drain_where_no_load_balancer_sends(cloud, world):
    group = cloud.group()
    instance = cloud.instance()
    cloud.register(group, instance)
    cloud.move(instance, "shutting-down")
    asyncio.run(reconcile_target_group(world, cloud.stored_group(group)))
    assert cloud.health(group) == {}
