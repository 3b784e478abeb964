"""The stored shape of fleets, and how far one is from its target.

Its instances carry the fleet's id as a tag of AWS's own, by which they are found.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.ec2.instance_kinds import Instance
from gureum.engine.client import Client
from gureum.engine.resource import Resource, kind

LIVING = ("pending", "running", "stopping", "stopped")
TAG = "aws:ec2:fleet-id"


class FleetSpec(msgspec.Struct, frozen=True):
    """`configs`: API form of LaunchTemplateConfigs. `on_demand`, `spot`: capacity wished of each. Times are Unix seconds, 0.0 for none.
    `options`: API form of SpotOptions, OnDemandOptions as they were given."""

    type: str
    configs: tuple[dict[str, Any], ...]
    total: int
    on_demand: int
    spot: int
    default_type: str
    on_demand_options: dict[str, Any] = {}
    spot_options: dict[str, Any] = {}
    excess: str = "termination"
    replace: bool = False
    terminate_at_end: bool = False
    valid_from: float = 0.0
    valid_until: float = 0.0
    client_token: str = ""


class FleetStatus(msgspec.Struct, frozen=True):
    """`state`: AWS's FleetStateCode with "_". `errors`, `launched`: of an instant fleet, as it was answered. `reached`: the target was met once."""

    state: str = "submitted"
    errors: tuple[dict[str, Any], ...] = ()
    launched: tuple[dict[str, Any], ...] = ()
    reached: bool = False
    changed: float = 0.0


@kind("ec2.Fleet")
class Fleet(Resource, frozen=True):
    spec: FleetSpec
    status: FleetStatus = FleetStatus()


def missing(client: Client, fleet: Fleet) -> tuple[int, int]:
    """Capacity that lacks (on demand, Spot); less than nothing where there is too much."""
    on_demand, spot = fulfilled(client, fleet)
    return round(fleet.spec.on_demand - on_demand), round(fleet.spec.spot - spot)


def fulfilled(client: Client, fleet: Fleet) -> tuple[float, float]:
    """Capacity that lives (on demand, Spot)."""
    on_demand = spot = 0.0
    for instance in members(client, fleet):
        capacity = weight(fleet, instance)
        if instance.spec.spot_request:
            spot += capacity
        else:
            on_demand += capacity
    return on_demand, spot


def weight(fleet: Fleet, instance: Instance) -> float:
    """The capacity that one of its instances counts for."""
    for config in fleet.spec.configs:
        for override in config.get("Overrides") or ():
            if override.get("InstanceType") == instance.spec.type:
                return float(override.get("WeightedCapacity") or 1)
    return 1.0


def in_state(fleet: Fleet, state: str, now: float) -> Fleet:
    """A copy that is in this state since `now`."""
    return msgspec.structs.replace(fleet, status=msgspec.structs.replace(fleet.status, state=state, changed=now))


def members(client: Client, fleet: Fleet) -> list[Instance]:
    """Its instances that live."""
    found = client.by(Instance, fleet.meta.scope, "fleet", fleet.meta.name)
    return [one for one in found if one.status.state in LIVING]
