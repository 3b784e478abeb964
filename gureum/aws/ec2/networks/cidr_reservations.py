"""Subnet CIDR reservations: ranges of a subnet that automatic addresses keep out of.

From an "explicit" one only addresses that are named are given, from a "prefix" one only prefixes (interfaces/addresses.py). What is in use
already stays where it is. A reservation is its subnet's, and goes with it.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import show_tags
from gureum.aws.ec2.networks.cidrs import network_of, overlaps, parse_cidr
from gureum.aws.ec2.networks.kinds import Subnet
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.resource import Resource, kind

PREFIX_LENGTH = 28
"""Of what interfaces get. AWS: ec2 user guide, "Prefix delegation for Amazon EC2 network interfaces"."""


class CidrReservationSpec(msgspec.Struct, frozen=True):
    """`type`: what is given from it: prefixes, or addresses that are named."""

    subnet: str
    cidr: str
    type: Literal["prefix", "explicit"]
    description: str = ""


@kind("ec2.CidrReservation", indexes={"subnet": lambda one: one.spec.subnet})
class CidrReservation(Resource, frozen=True):
    """A reserved range of a subnet."""

    spec: CidrReservationSpec


@operation("CreateSubnetCidrReservation")
async def create_subnet_cidr_reservation(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateSubnetCidrReservation."""
    params = call.params
    subnet = ids.find(call, Subnet, ids.SUBNET, params["SubnetId"])
    type_ = ids.choice(params, "ReservationType", "prefix", "explicit")
    if ":" in params["Cidr"]:
        raise ids.not_built("CreateSubnetCidrReservation with an IPv6 range")
    cidr = _check(call, subnet, params["Cidr"], type_)
    transaction = call.transaction()
    reservation = CidrReservation(
        meta=call.meta(new_id("scr-"), owner=subnet, tags=tags_of(call, "subnet-cidr-reservation")),
        spec=CidrReservationSpec(
            subnet.meta.name,
            str(cidr),
            "prefix" if type_ == "prefix" else "explicit",
            params.get("Description") or "",
        ),
    )
    transaction.require(subnet)
    transaction.require_no_newer(CidrReservation, call.scope)
    transaction.create(reservation)
    await call.commit(transaction)
    return {"SubnetCidrReservation": show_reservation(call, reservation)}


@operation("DeleteSubnetCidrReservation")
async def delete_subnet_cidr_reservation(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteSubnetCidrReservation. What was given from it stays."""
    name = call.params["SubnetCidrReservationId"]
    reservation = ids.find(call, CidrReservation, ids.CIDR_RESERVATION, name)
    transaction = call.transaction()
    transaction.delete(reservation)
    await call.commit(transaction)
    return {"DeletedSubnetCidrReservation": show_reservation(call, reservation)}


@operation("GetSubnetCidrReservations")
def get_subnet_cidr_reservations(call: Call) -> dict[str, Any]:
    """AWS: ec2 GetSubnetCidrReservations."""
    subnet = ids.find(call, Subnet, ids.SUBNET, call.params["SubnetId"])
    found = apply_filters(call.by(CidrReservation, "subnet", subnet.meta.name), call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name)
    result: dict[str, Any] = {
        "SubnetIpv4CidrReservations": [show_reservation(call, one) for one in shown],
        "SubnetIpv6CidrReservations": [],
    }
    return result | ({"NextToken": token} if token else {})


_FILTERS: FilterTable = {"reservationType": lambda one: one.spec.type, "subnet-id": lambda one: one.spec.subnet}


def reserved_in(call: Call, subnet_id: str, type_: str = "") -> list[str]:
    """The reserved ranges of a subnet; `type_` "": of both types."""
    found = call.by(CidrReservation, "subnet", subnet_id)
    return [one.spec.cidr for one in found if type_ in ("", one.spec.type)]


def _check(call: Call, subnet: Subnet, text: str, type_: str) -> IPv4Network:
    """AWS: InvalidParameterValue outside the subnet, over another reservation, or too small for a prefix."""
    cidr = parse_cidr(text, "cidr")
    if not cidr.subnet_of(network_of(subnet.spec.cidr)):
        raise ids.invalid(f"The CIDR '{text}' is not within the range of subnet '{subnet.meta.name}'.")
    if type_ == "prefix" and cidr.prefixlen > PREFIX_LENGTH:
        raise ids.invalid(f"The CIDR '{text}' is smaller than a prefix, /{PREFIX_LENGTH}.")
    if overlaps(cidr, reserved_in(call, subnet.meta.name)):
        raise AwsError("InvalidParameterValue", f"The CIDR '{text}' conflicts with another subnet CIDR reservation.")
    return cidr


def show_reservation(call: Call, reservation: CidrReservation) -> dict[str, Any]:
    """API form. AWS: ec2 SubnetCidrReservation."""
    spec = reservation.spec
    return {
        "SubnetCidrReservationId": reservation.meta.name,
        "SubnetId": spec.subnet,
        "Cidr": spec.cidr,
        "ReservationType": spec.type,
        "OwnerId": call.account,
        "Tags": show_tags(reservation.meta.tags),
    } | ({"Description": spec.description} if spec.description else {})
