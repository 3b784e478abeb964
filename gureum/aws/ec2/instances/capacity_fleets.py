"""Capacity Reservation Fleets: reservations of several instance types by one call, in the order of their priority, until the target is reached.

A fleet's reservations are ordinary ones (capacity_reservations.py) that name it. What it could not reserve because the host has no room is told as
partially fulfilled; it is not tried again by itself, only when the target is changed.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import CAPACITY_FLEET
from gureum.aws.ec2.instances.capacity_kinds import CapacityReservation
from gureum.aws.ec2.instances.capacity_reservations import PLATFORM, change, end_of, reservation_of
from gureum.aws.ec2.instances.host_room import memory_of, room_bytes
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.regions import zone_id
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, kind

LIMIT_TYPES, LIMIT_TARGET = 50, 100_000
WEIGHTS = (0.001, 99.999)


class FleetSpec(msgspec.Struct, frozen=True):
    """`types`: API form of InstanceTypeSpecifications, in the order in which they are used. `end`: Unix seconds, 0.0 for never."""

    types: tuple[dict[str, Any], ...]
    target: int
    end: float = 0.0
    cancelled: bool = False


@kind("ec2.CapacityReservationFleet")
class CapacityReservationFleet(Resource, frozen=True):
    spec: FleetSpec


@operation("CreateCapacityReservationFleet")
async def create_capacity_reservation_fleet(call: Call) -> Result:
    """AWS: ec2 CreateCapacityReservationFleet."""
    done = call.done_before()
    if done is not None:
        found = call.get(CapacityReservationFleet, done[0])
        return _created(call, found, _members(call, found)) if found else {}
    params = call.params
    if params.get("InstanceRequirements"):
        raise ids.not_built("CreateCapacityReservationFleet with InstanceRequirements")
    ids.choice(params, "AllocationStrategy", "prioritized")
    ids.choice(params, "Tenancy", "default")
    ids.choice(params, "InstanceMatchCriteria", "open")
    types = _types(params)
    end = end_of(call, {"EndDate": params["EndDate"], "EndDateType": "limited"}) if params.get("EndDate") else 0.0
    meta = call.meta(new_id("crf-"), tags=tags_of(call, "capacity-reservation-fleet"))
    spec = FleetSpec(types, _target(params["TotalTargetCapacity"]), end)
    transaction = call.transaction()
    fleet = transaction.create(CapacityReservationFleet(meta=meta, spec=spec))
    made = _reserve(call, transaction, fleet, float(spec.target))
    call.remember(transaction, (fleet.meta.name,))
    await call.commit(transaction)
    return _created(call, fleet, made)


@operation("DescribeCapacityReservationFleets")
def describe_capacity_reservation_fleets(call: Call) -> Result:
    """AWS: ec2 DescribeCapacityReservationFleets."""
    table: FilterTable = {
        "allocation-strategy": lambda _: "prioritized",
        "instance-match-criteria": lambda _: "open",
        "state": lambda one: _state(call, one, _members(call, one)),
        "tenancy": lambda _: "default",
    }
    found, token = listing(
        call, CapacityReservationFleet, CAPACITY_FLEET, "CapacityReservationFleetIds", table, least=1, default=100
    )
    return answer("CapacityReservationFleets", [_show(call, one, _members(call, one)) for one in found], token)


@operation("ModifyCapacityReservationFleet")
async def modify_capacity_reservation_fleet(call: Call) -> Result:
    """AWS: ec2 ModifyCapacityReservationFleet: another target or end; what is more than a smaller target goes, the least preferred first."""
    params = call.params
    fleet = _active(call, params["CapacityReservationFleetId"])
    if params.get("EndDate") and params.get("RemoveEndDate"):
        raise AwsError("InvalidParameterCombination", "EndDate cannot be used with RemoveEndDate.")
    end = 0.0 if params.get("RemoveEndDate") else fleet.spec.end
    if params.get("EndDate"):
        end = end_of(call, {"EndDate": params["EndDate"], "EndDateType": "limited"})
    target = _target(params.get("TotalTargetCapacity") or fleet.spec.target)
    transaction = call.transaction()
    spec = msgspec.structs.replace(fleet.spec, target=target, end=end)
    fleet = transaction.update(msgspec.structs.replace(fleet, spec=spec))
    members = _members(call, fleet)
    for one in members:
        transaction.update(change(one, end=end))
    lacking = target - _fulfilled(fleet, members)
    if lacking > 0:
        _reserve(call, transaction, fleet, lacking)
    for one in reversed(members):
        if lacking + _weight(fleet, one) * one.spec.count <= 0:
            lacking += _weight(fleet, one) * one.spec.count
            transaction.update(change(transaction.current(one), cancelled=True))
    await call.commit(transaction)
    return {"Return": True}


@operation("CancelCapacityReservationFleets")
async def cancel_capacity_reservation_fleets(call: Call) -> Result:
    """AWS: ec2 CancelCapacityReservationFleets: each by itself, with its reservations."""
    good, bad = list[dict[str, Any]](), list[dict[str, Any]]()
    transaction = call.transaction()
    for id_ in dict.fromkeys(call.params["CapacityReservationFleetIds"]):
        try:
            fleet = _active(call, id_)
        except AwsError as error:
            told = {"Code": error.code, "Message": error.message}
            bad.append({"CapacityReservationFleetId": id_, "CancelCapacityReservationFleetError": told})
            continue
        members = _members(call, fleet)
        before = _state(call, fleet, members)
        transaction.update(msgspec.structs.replace(fleet, spec=msgspec.structs.replace(fleet.spec, cancelled=True)))
        for one in members:
            transaction.update(change(one, cancelled=True))
        states = {"CurrentFleetState": "cancelled", "PreviousFleetState": before}
        good.append({"CapacityReservationFleetId": id_, **states})
    await call.commit(transaction)
    return {"SuccessfulFleetCancellations": good, "FailedFleetCancellations": bad}


def _reserve(
    call: Call, transaction: Transaction, fleet: CapacityReservationFleet, lacking: float
) -> list[CapacityReservation]:
    """Reservations for as much of what lacks as the host has room for."""
    made, room = list[CapacityReservation](), room_bytes(call)
    for one in fleet.spec.types:
        count = min(math.ceil(lacking / one["Weight"]), int(room // (memory_of(one["InstanceType"]) or 1)))
        if lacking <= 0 or count < 1:
            continue
        wanted = {**one, "InstanceCount": count, **({"EndDate": fleet.spec.end} if fleet.spec.end else {})}
        made.append(reservation_of(call, transaction, wanted, {}, fleet.meta.name))
        lacking -= count * one["Weight"]
        room -= count * memory_of(one["InstanceType"])
    return made


def _types(params: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """AWS: MissingParameter, InvalidParameterValue."""
    wanted = params.get("InstanceTypeSpecifications") or ()
    if not wanted:
        raise ids.missing("InstanceTypeSpecifications")
    if len(wanted) > LIMIT_TYPES:
        raise ids.invalid(f"At most {LIMIT_TYPES} instance types can be given.")
    zone = {name: params[name] for name in ("AvailabilityZone", "AvailabilityZoneId") if params.get(name)}
    found = []
    for one in wanted:
        for name in ("InstanceType", "InstancePlatform"):
            if not one.get(name):
                raise ids.missing(f"InstanceTypeSpecification.{name}")
        if one["InstancePlatform"] != PLATFORM:
            raise ids.not_built(f"Capacity of the platform {one['InstancePlatform']!r}")
        weight = float(one.get("Weight") or 1.0)
        if not WEIGHTS[0] <= weight <= WEIGHTS[1]:
            raise ids.invalid(f"Value ({weight}) for parameter weight is invalid.")
        found.append({**zone, **one, "Weight": weight})
    return tuple(sorted(found, key=lambda one: int(one.get("Priority") or 0)))


def _target(target: int) -> int:
    if not 1 <= target <= LIMIT_TARGET:
        raise ids.invalid(f"Value ({target}) for parameter totalTargetCapacity is invalid.")
    return target


def _members(call: Call, fleet: CapacityReservationFleet) -> list[CapacityReservation]:
    """Its reservations that are active, the most preferred first."""
    found = [one for one in call.all(CapacityReservation) if one.spec.fleet == fleet.meta.name]
    order = [one["InstanceType"] for one in fleet.spec.types]
    active = [one for one in found if one.state(call.now) == "active"]
    return sorted(active, key=lambda one: (order.index(one.spec.type), one.meta.created, one.meta.name))


def _weight(fleet: CapacityReservationFleet, one: CapacityReservation) -> float:
    return float(next(type_["Weight"] for type_ in fleet.spec.types if type_["InstanceType"] == one.spec.type))


def _fulfilled(fleet: CapacityReservationFleet, members: list[CapacityReservation]) -> float:
    return sum(_weight(fleet, one) * one.spec.count for one in members)


def _state(call: Call, fleet: CapacityReservationFleet, members: list[CapacityReservation]) -> str:
    """AWS: ec2 CapacityReservationFleetState."""
    if fleet.spec.cancelled:
        return "cancelled"
    if 0 < fleet.spec.end <= call.now:
        return "expired"
    fulfilled = _fulfilled(fleet, members)
    return "active" if fulfilled >= fleet.spec.target else "partially_fulfilled" if fulfilled else "failed"


def _active(call: Call, id_: str) -> CapacityReservationFleet:
    fleet = ids.find(call, CapacityReservationFleet, CAPACITY_FLEET, id_)
    state = _state(call, fleet, _members(call, fleet))
    if state in ("cancelled", "expired"):
        raise AwsError("InvalidCapacityReservationFleetState", f"The capacity reservation fleet '{id_}' is {state}.")
    return fleet


def _show(call: Call, fleet: CapacityReservationFleet, members: list[CapacityReservation]) -> dict[str, Any]:
    """API form. AWS: ec2 CapacityReservationFleet."""
    spec = fleet.spec
    shown: dict[str, Any] = {
        "CapacityReservationFleetId": fleet.meta.name,
        "CapacityReservationFleetArn": call.arn(f"capacity-reservation-fleet/{fleet.meta.name}"),
        "State": _state(call, fleet, members),
        "TotalTargetCapacity": spec.target,
        "TotalFulfilledCapacity": _fulfilled(fleet, members),
        "Tenancy": "default",
        "CreateTime": fleet.meta.created,
        "InstanceMatchCriteria": "open",
        "AllocationStrategy": "prioritized",
        "InstanceTypeSpecifications": [_show_member(fleet, one) for one in members],
        "Tags": show_tags(fleet.meta.tags),
    }
    return shown | ({"EndDate": spec.end} if spec.end else {})


def _show_member(fleet: CapacityReservationFleet, one: CapacityReservation) -> dict[str, Any]:
    """API form. AWS: ec2 FleetCapacityReservation."""
    type_ = next(type_ for type_ in fleet.spec.types if type_["InstanceType"] == one.spec.type)
    return {
        "CapacityReservationId": one.meta.name,
        "InstanceType": one.spec.type,
        "InstancePlatform": type_["InstancePlatform"],
        "AvailabilityZone": one.spec.zone,
        "AvailabilityZoneId": zone_id(one.spec.zone),
        "TotalInstanceCount": one.spec.count,
        "FulfilledCapacity": _weight(fleet, one) * one.spec.count,
        "EbsOptimized": one.spec.ebs_optimized,
        "CreateDate": one.meta.created,
        "Weight": type_["Weight"],
        "Priority": int(type_.get("Priority") or 0),
    }


def _created(call: Call, fleet: CapacityReservationFleet, members: list[CapacityReservation]) -> Result:
    shown = _show(call, fleet, members)
    shown["FleetCapacityReservations"] = shown.pop("InstanceTypeSpecifications")
    del shown["CapacityReservationFleetArn"]
    return shown
