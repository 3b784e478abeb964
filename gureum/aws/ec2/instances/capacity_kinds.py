"""The stored shape of capacity reservations, what of them is free, and how instances come into them.

    CapacityReservation (count, type, zone) ◄── Instance.spec.capacity_reservation, while it is pending or running

What is reserved and not used is promised memory of the host (host_room.py), so nobody else gets it. A reservation's state follows from what is stored
and from the clock; nothing has to happen when it expires.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.ids import IdForm
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.errors import AwsError
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, kind

CAPACITY = IdForm(
    "cr",
    "capacity reservation ID",
    "capacity-reservation",
    "InvalidCapacityReservationId.NotFound",
    "InvalidCapacityReservationId.Malformed",
)
USING_STATES = ("pending", "running", "stopping")
ONLY = "capacity-reservations-only"


class CapacitySpec(msgspec.Struct, frozen=True):
    """`end`: Unix seconds, 0.0 for never. `match`: "open" or "targeted". `launches`: counts up with each instance that comes into it, so that two
    calls do not both take the last place. `fleet`: the capacity reservation fleet that made it."""

    type: str
    zone: str
    count: int
    tenancy: str = "default"
    ebs_optimized: bool = False
    ephemeral: bool = False
    end: float = 0.0
    match: str = "open"
    placement_arn: str = ""
    cancelled: bool = False
    launches: int = 0
    fleet: str = ""


@kind("ec2.CapacityReservation", indexes={"type": lambda one: one.spec.type})
class CapacityReservation(Resource, frozen=True):
    spec: CapacitySpec

    def state(self, now: float) -> str:
        """AWS: ec2 CapacityReservationState."""
        if self.spec.cancelled:
            return "cancelled"
        return "expired" if 0 < self.spec.end <= now else "active"


class CapacityWish(msgspec.Struct, frozen=True):
    """What a launch says of reservations. `preference`: "open", "none" or "capacity-reservations-only"; `target`: the one it must come into."""

    preference: str = "open"
    target: str = ""


def capacity_wish(call: Call, wanted: dict[str, Any]) -> CapacityWish:
    """Of a CapacityReservationSpecification. AWS: InvalidParameterCombination, InvalidCapacityReservationId.NotFound."""
    target = wanted.get("CapacityReservationTarget") or {}
    if target.get("CapacityReservationResourceGroupArn"):
        raise ids.not_built("Resource groups of capacity reservations")
    id_ = target.get("CapacityReservationId") or ""
    if id_ and wanted.get("CapacityReservationPreference") not in (None, ONLY):
        text = "A capacity reservation target cannot be used with this capacity reservation preference."
        raise AwsError("InvalidParameterCombination", text)
    if id_:
        ids.find(call, CapacityReservation, CAPACITY, id_)
        return CapacityWish(ONLY, id_)
    return CapacityWish(ids.choice(wanted, "CapacityReservationPreference", "open", "none", ONLY))


def users_of(call: Call, reservation: CapacityReservation) -> list[Instance]:
    """Instances that take a place in it."""
    found = call.client.by(Instance, reservation.meta.scope, "capacity", reservation.meta.name)
    return [one for one in found if one.status.state in USING_STATES]


def free_in(call: Call, reservation: CapacityReservation) -> int:
    if reservation.state(call.now) != "active":
        return 0
    return max(0, reservation.spec.count - len(users_of(call, reservation)))


def free_places(call: Call, wish: CapacityWish, type_name: str, zone: str, tenancy: str) -> int:
    """How many instances of this kind would come into reservations. AWS: ReservationCapacityExceeded, InvalidParameterValue for a target of another
    kind."""
    return sum(free_in(call, one) for one in _matching(call, wish, type_name, zone, tenancy))


def take_place(
    call: Call, transaction: Transaction, wish: CapacityWish, type_name: str, zone: str, tenancy: str
) -> str:
    """The reservation that one more instance of this transaction comes into, "" for none. AWS: ReservationCapacityExceeded."""
    for stored in _matching(call, wish, type_name, zone, tenancy):
        now = transaction.current(stored)
        if free_in(call, stored) - (now.spec.launches - stored.spec.launches) > 0:
            spec = msgspec.structs.replace(now.spec, launches=now.spec.launches + 1)
            transaction.update(msgspec.structs.replace(now, spec=spec))
            return stored.meta.name
    if wish.preference == ONLY:
        raise exceeded()
    return ""


def exceeded() -> AwsError:
    text = "The requested capacity exceeds the available capacity of the capacity reservations."
    return AwsError("ReservationCapacityExceeded", text)


def _matching(call: Call, wish: CapacityWish, type_name: str, zone: str, tenancy: str) -> list[CapacityReservation]:
    if wish.preference == "none":
        return []
    if wish.target:
        one = ids.find(call, CapacityReservation, CAPACITY, wish.target)
        if (one.spec.type, one.spec.zone, one.spec.tenancy) != (type_name, zone, tenancy):
            text = f"The attributes of the instance do not match those of the capacity reservation '{wish.target}'."
            raise ids.invalid(text)
        return [one]
    found = [one for one in call.by(CapacityReservation, "type", type_name) if one.spec.match == "open"]
    found = [one for one in found if (one.spec.zone, one.spec.tenancy) == (zone, tenancy)]
    return sorted(found, key=lambda one: (one.meta.created, one.meta.name))
