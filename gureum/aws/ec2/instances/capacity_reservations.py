"""Capacity reservations: memory of the host that is kept for instances of a type in a zone. What they are: capacity_kinds.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.capacity_kinds import CAPACITY, CapacityReservation, CapacitySpec, free_in, users_of
from gureum.aws.ec2.instances.host_room import memory_of, room_bytes
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.listing import answer, iso_time, listing, nothing, show_tags
from gureum.aws.ec2.regions import find_zone, zone_id
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

PLATFORM = "Linux/UNIX"
LIMIT_COUNT = 1000
NOT_BUILT = ("OutpostArn", "PlacementGroupArn", "StartDate", "CommitmentDuration", "DeliveryPreference")


@operation("CreateCapacityReservation")
async def create_capacity_reservation(call: Call) -> Result:
    """AWS: ec2 CreateCapacityReservation: active at once, or InsufficientInstanceCapacity."""
    done = call.done_before()
    if done is not None:
        return _answer(call, call.get(CapacityReservation, done[0]))
    for name in NOT_BUILT:
        if call.params.get(name):
            raise ids.not_built(f"CreateCapacityReservation with {name}")
    transaction = call.transaction()
    made = reservation_of(call, transaction, call.params, tags_of(call, "capacity-reservation"))
    check_room(call, made.spec.type, made.spec.count)
    call.remember(transaction, (made.meta.name,))
    await call.commit(transaction)
    return _answer(call, made)


@operation("DescribeCapacityReservations")
def describe_capacity_reservations(call: Call) -> Result:
    """AWS: ec2 DescribeCapacityReservations."""
    found, token = listing(
        call, CapacityReservation, CAPACITY, "CapacityReservationIds", _filters(call), least=1, default=1000
    )
    return answer("CapacityReservations", [show_reservation(call, one) for one in found], token)


@operation("ModifyCapacityReservation")
async def modify_capacity_reservation(call: Call) -> Result:
    """AWS: ec2 ModifyCapacityReservation: its number, end and matching."""
    params = call.params
    one = _active(call, params["CapacityReservationId"])
    for name in ("Accept", "AdditionalInfo", "StartDate", "QuoteId", "AcceptModificationTerms"):
        if params.get(name):
            raise ids.not_built(f"ModifyCapacityReservation with {name}")
    count = params.get("InstanceCount", one.spec.count)
    used = len(users_of(call, one))
    if not max(1, used) <= count <= LIMIT_COUNT:
        raise ids.invalid(f"Value ({count}) for parameter instanceCount is invalid: {used} instances use it.")
    if count > one.spec.count:
        check_room(call, one.spec.type, count - one.spec.count)
    end = one.spec.end
    if params.get("EndDateType") or params.get("EndDate"):
        end = end_of(call, {"EndDateType": "limited", **params})
    match = ids.choice(params, "InstanceMatchCriteria", one.spec.match, "open", "targeted")
    transaction = call.transaction()
    transaction.update(change(one, count=count, end=end, match=match))
    await call.commit(transaction)
    return {"Return": True}


@operation("CancelCapacityReservation")
async def cancel_capacity_reservation(call: Call) -> Result:
    """AWS: ec2 CancelCapacityReservation: instances in it go on."""
    for name in ("ApplyCancellationCharges", "QuoteId"):
        if call.params.get(name):
            raise ids.not_built(f"CancelCapacityReservation with {name}")
    one = _active(call, call.params["CapacityReservationId"])
    transaction = call.transaction()
    transaction.update(change(one, cancelled=True, launches=one.spec.launches + 1))
    for instance in users_of(call, one):
        outside = msgspec.structs.replace(instance.spec, capacity_reservation="")
        transaction.update(msgspec.structs.replace(instance, spec=outside))
    await call.commit(transaction)
    return {"Return": True}


@operation("GetCapacityReservationUsage")
def get_capacity_reservation_usage(call: Call) -> Result:
    """AWS: ec2 GetCapacityReservationUsage: pages of accounts, of which its owner is the only one."""
    one = ids.find(call, CapacityReservation, CAPACITY, call.params["CapacityReservationId"])
    call.end_dry_run()
    usages = [{"AccountId": call.account, "UsedInstanceCount": len(users_of(call, one))}]
    shown, _ = page(call.params, usages, lambda usage: str(usage["AccountId"]), least=1)
    return {
        "CapacityReservationId": one.meta.name,
        "InstanceType": one.spec.type,
        "TotalInstanceCount": one.spec.count,
        "AvailableInstanceCount": free_in(call, one),
        "State": one.state(call.now),
        "InstanceUsages": shown,
    }


@operation("CreateCapacityReservationBySplitting")
async def create_capacity_reservation_by_splitting(call: Call) -> Result:
    """AWS: ec2 CreateCapacityReservationBySplitting: free places become a reservation of their own."""
    done = call.done_before()
    if done is not None:
        source, made = (call.get(CapacityReservation, name) for name in done)
        assert source is not None
        assert made is not None
        return _split(call, source, made, call.params["InstanceCount"])
    source = _active(call, call.params["SourceCapacityReservationId"])
    count = call.params["InstanceCount"]
    if not 1 <= count <= free_in(call, source) or count >= source.spec.count:
        raise ids.invalid(f"Value ({count}) for parameter instanceCount is invalid.")
    transaction = call.transaction()
    left = transaction.update(change(source, count=source.spec.count - count, launches=source.spec.launches + 1))
    spec = msgspec.structs.replace(source.spec, count=count, launches=0, fleet="")
    tags = tags_of(call, "capacity-reservation")
    made = transaction.create(CapacityReservation(meta=call.meta(new_id("cr-"), tags=tags), spec=spec))
    call.remember(transaction, (left.meta.name, made.meta.name))
    await call.commit(transaction)
    return _split(call, left, made, count)


@operation("MoveCapacityReservationInstances")
async def move_capacity_reservation_instances(call: Call) -> Result:
    """AWS: ec2 MoveCapacityReservationInstances: free places of one go to another that is alike."""
    done = call.done_before()
    if done is not None:
        found = [call.get(CapacityReservation, name) for name in done]
        return _moved(call, *(one for one in found if one is not None))
    source = _active(call, call.params["SourceCapacityReservationId"])
    target = _active(call, call.params["DestinationCapacityReservationId"])
    count = call.params["InstanceCount"]
    alike = [(one.spec.type, one.spec.zone, one.spec.tenancy, one.spec.match) for one in (source, target)]
    if source.meta.name == target.meta.name or alike[0] != alike[1]:
        text = "The source and the destination must be two capacity reservations with the same attributes."
        raise AwsError("InvalidParameterCombination", text)
    if not 1 <= count <= free_in(call, source):
        raise ids.invalid(f"Value ({count}) for parameter instanceCount is invalid.")
    transaction = call.transaction()
    left = change(source, count=source.spec.count - count, launches=source.spec.launches + 1)
    if not left.spec.count:
        left = change(source, cancelled=True)
    transaction.update(left)
    grown = transaction.update(change(target, count=target.spec.count + count))
    call.remember(transaction, (left.meta.name, grown.meta.name))
    await call.commit(transaction)
    return _moved(call, left, grown)


def _moved(call: Call, source: CapacityReservation, target: CapacityReservation) -> Result:
    return {
        "SourceCapacityReservation": show_reservation(call, source),
        "DestinationCapacityReservation": show_reservation(call, target),
        "InstanceCount": call.params["InstanceCount"],
    }


@operation("GetGroupsForCapacityReservation", level="state")
def get_groups_for_capacity_reservation(call: Call) -> Result:
    """AWS: ec2 GetGroupsForCapacityReservation: none, there are no resource groups."""
    ids.find(call, CapacityReservation, CAPACITY, call.params["CapacityReservationId"])
    return nothing(call, "CapacityReservationGroups")


def reservation_of(
    call: Call, transaction: Transaction, wanted: dict[str, Any], tags: dict[str, str], fleet: str = ""
) -> CapacityReservation:
    """A checked reservation in this transaction. AWS: InvalidParameterValue, InvalidInstanceType and others."""
    type_ = find_instance_type(wanted["InstanceType"])
    if type_ is None:
        raise AwsError("InvalidParameterValue", f"Invalid value '{wanted['InstanceType']}' for InstanceType.")
    if wanted["InstancePlatform"] != PLATFORM:
        raise ids.not_built(f"Capacity of the platform {wanted['InstancePlatform']!r}")
    count = wanted["InstanceCount"]
    if not 1 <= count <= LIMIT_COUNT:
        raise ids.invalid(f"Value ({count}) for parameter instanceCount is invalid. Between 1 and {LIMIT_COUNT}.")
    if not wanted.get("AvailabilityZone") and not wanted.get("AvailabilityZoneId"):
        raise ids.missing("AvailabilityZone")
    spec = CapacitySpec(
        type=type_.name,
        zone=find_zone(call, wanted.get("AvailabilityZone") or "", wanted.get("AvailabilityZoneId") or ""),
        count=count,
        tenancy=ids.choice(wanted, "Tenancy", "default", "dedicated"),
        ebs_optimized=bool(wanted.get("EbsOptimized")),
        ephemeral=bool(wanted.get("EphemeralStorage")),
        end=end_of(call, wanted),
        match=ids.choice(wanted, "InstanceMatchCriteria", "open", "targeted"),
        fleet=fleet,
    )
    return transaction.create(CapacityReservation(meta=call.meta(new_id("cr-"), tags=tags), spec=spec))


def check_room(call: Call, type_name: str, count: int) -> None:
    """AWS: InsufficientInstanceCapacity."""
    if room_bytes(call) < count * memory_of(type_name):
        text = f"There is not enough memory left on this host to reserve {count} of type {type_name} (setting memory_promise)."
        raise AwsError("InsufficientInstanceCapacity", text, status=500)


def end_of(call: Call, wanted: dict[str, Any]) -> float:
    """Unix seconds, 0.0 for never. AWS: InvalidParameterCombination, InvalidParameterValue."""
    date = wanted.get("EndDate")
    kind = ids.choice(wanted, "EndDateType", "limited" if date else "unlimited", "unlimited", "limited")
    if (kind == "limited") != bool(date):
        text = "An EndDate is given with the EndDateType limited, and only with it."
        raise AwsError("InvalidParameterCombination", text)
    if not date:
        return 0.0
    end = date.timestamp() if isinstance(date, datetime) else float(date)
    if end <= call.now:
        raise ids.invalid("The EndDate must be in the future.")
    return end


def change(reservation: CapacityReservation, **fields: Any) -> CapacityReservation:
    return msgspec.structs.replace(reservation, spec=msgspec.structs.replace(reservation.spec, **fields))


def show_reservation(call: Call, one: CapacityReservation) -> dict[str, Any]:
    """API form. AWS: ec2 CapacityReservation."""
    spec = one.spec
    shown: dict[str, Any] = {
        "CapacityReservationId": one.meta.name,
        "OwnerId": call.account,
        "CapacityReservationArn": call.arn(f"capacity-reservation/{one.meta.name}"),
        "AvailabilityZone": spec.zone,
        "AvailabilityZoneId": zone_id(spec.zone),
        "InstanceType": spec.type,
        "InstancePlatform": PLATFORM,
        "Tenancy": spec.tenancy,
        "TotalInstanceCount": spec.count,
        "AvailableInstanceCount": free_in(call, one),
        "EbsOptimized": spec.ebs_optimized,
        "EphemeralStorage": spec.ephemeral,
        "State": one.state(call.now),
        "StartDate": one.meta.created,
        "CreateDate": one.meta.created,
        "EndDateType": "limited" if spec.end else "unlimited",
        "InstanceMatchCriteria": spec.match,
        "ReservationType": "default",
        "CapacityAllocations": [{"AllocationType": "used", "Count": len(users_of(call, one))}],
        "Tags": show_tags(one.meta.tags),
    }
    if spec.end:
        shown["EndDate"] = spec.end
    if spec.fleet:
        shown["CapacityReservationFleetId"] = spec.fleet
    return shown


def _answer(call: Call, one: CapacityReservation | None) -> Result:
    assert one is not None
    return {"CapacityReservation": show_reservation(call, one)}


def _split(call: Call, source: CapacityReservation, made: CapacityReservation, count: int) -> Result:
    return {
        "SourceCapacityReservation": show_reservation(call, source),
        "DestinationCapacityReservation": show_reservation(call, made),
        "InstanceCount": count,
    }


def _active(call: Call, id_: str) -> CapacityReservation:
    """AWS: InvalidCapacityReservationId.NotFound, InvalidCapacityReservationState."""
    one = ids.find(call, CapacityReservation, CAPACITY, id_)
    if one.state(call.now) != "active":
        text = f"The capacity reservation '{id_}' is not active but {one.state(call.now)}."
        raise AwsError("InvalidCapacityReservationState", text)
    return one


def _filters(call: Call) -> FilterTable:
    return {
        "availability-zone": lambda one: one.spec.zone,
        "end-date": lambda one: iso_time(one.spec.end) if one.spec.end else (),
        "end-date-type": lambda one: "limited" if one.spec.end else "unlimited",
        "instance-match-criteria": lambda one: one.spec.match,
        "instance-platform": lambda _: PLATFORM,
        "instance-type": lambda one: one.spec.type,
        "outpost-arn": lambda _: (),
        "owner-id": lambda _: call.account,
        "placement-group-arn": lambda _: (),
        "start-date": lambda one: iso_time(one.meta.created),
        "state": lambda one: one.state(call.now),
        "tenancy": lambda one: one.spec.tenancy,
    }
