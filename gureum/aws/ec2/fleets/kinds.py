"""The stored shape of fleets, how far one is from its target, and its history.

Its instances carry the fleet's id as a tag of AWS's own, by which they are found. A Spot Fleet request is a fleet that was asked for in the older
form (spot_fleets.py); what one of the two APIs made, the other does not know.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gureum.aws.ec2.instances.kinds import Instance
from gureum.engine.client import Client
from gureum.engine.resource import Resource, kind

LIVING = ("pending", "running", "stopping", "stopped")
LIMIT_HISTORY = 300
"""Records of a fleet's history that are kept, the latest."""

Event = Literal["instanceChange", "fleetRequestChange", "error", "information"]


class Record(msgspec.Struct, frozen=True):
    """One line of a fleet's history. `type`, `subtype`: AWS's words for Spot Fleets. `time`: Unix seconds."""

    time: float
    type: Event
    subtype: str
    instance: str = ""
    description: str = ""


class FleetSpec(msgspec.Struct, frozen=True):
    """`configs`: API form of LaunchTemplateConfigs. `on_demand`, `spot`: capacity wished of each. Times are Unix seconds, 0.0 for none.
    `options`: API form of SpotOptions, OnDemandOptions as they were given. `request`: of a Spot Fleet request, API form of its
    SpotFleetRequestConfig as it was given; {} for an EC2 Fleet."""

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
    request: dict[str, Any] = {}


class FleetStatus(msgspec.Struct, frozen=True):
    """`state`: AWS's FleetStateCode with "_". `errors`, `launched`: of an instant fleet, as it was answered. `reached`: the target was met once.
    `seen`: instances whose launch is in the history, and not yet their end."""

    state: str = "submitted"
    errors: tuple[dict[str, Any], ...] = ()
    launched: tuple[dict[str, Any], ...] = ()
    reached: bool = False
    changed: float = 0.0
    history: tuple[Record, ...] = ()
    seen: tuple[str, ...] = ()


@kind("ec2.Fleet")
class Fleet(Resource, frozen=True):
    spec: FleetSpec
    status: FleetStatus = FleetStatus()

    @property
    def is_spot_request(self) -> bool:
        return bool(self.spec.request)


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
    """A copy that is in this state since `now`, which its history tells."""
    fleet = recorded(fleet, Record(now, "fleetRequestChange", state))
    return msgspec.structs.replace(fleet, status=msgspec.structs.replace(fleet.status, state=state, changed=now))


def recorded(fleet: Fleet, *records: Record) -> Fleet:
    """A copy with these in its history; what only says again what was said last is left out, and `fleet` itself is
    answered when nothing is left: to write a fleet that has nothing new brings it to its reconcile again, without end."""
    history = list(fleet.status.history)
    for one in records:
        last = history[-1] if history else None
        if last is None or msgspec.structs.replace(last, time=one.time) != one:
            history.append(one)
    if len(history) == len(fleet.status.history):
        return fleet
    status = msgspec.structs.replace(fleet.status, history=tuple(history[-LIMIT_HISTORY:]))
    return msgspec.structs.replace(fleet, status=status)


def noticed(fleet: Fleet, living: list[Instance], now: float) -> Fleet:
    """A copy whose history tells of instances that came or went since the last time; `fleet` itself when none did."""
    here = {one.meta.name: one for one in living}
    gone = [Record(now, "instanceChange", "terminated", name) for name in fleet.status.seen if name not in here]
    came = [
        Record(now, "instanceChange", "launched", name, f"{one.spec.type}, {one.spec.zone}")
        for name, one in here.items()
        if name not in fleet.status.seen
    ]
    if not gone and not came:
        return fleet
    told = recorded(fleet, *came, *gone)
    return msgspec.structs.replace(told, status=msgspec.structs.replace(told.status, seen=tuple(here)))


def members(client: Client, fleet: Fleet) -> list[Instance]:
    """Its instances that live."""
    found = client.by(Instance, fleet.meta.scope, "fleet", fleet.meta.name)
    return [one for one in found if one.status.state in LIVING]
