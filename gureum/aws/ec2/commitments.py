"""What is bought on AWS for a time: Reserved Instances, Dedicated Hosts and their reservations, Scheduled Instances, Capacity Blocks.

gureum sells nothing and has one host for all, so there are no offers, and nobody has any. That is what these operations answer; what would make
one is not built and says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.listing import nothing
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation


@operation("DescribeReservedInstances", level="state")
def describe_reserved_instances(call: Call) -> Result:
    """AWS: ec2 DescribeReservedInstances."""
    _no_such(call.params.get("ReservedInstancesIds"), "InvalidReservedInstancesId", "reserved instances ID")
    return _none(call, "ReservedInstances", *_RESERVED)


@operation("DescribeReservedInstancesOfferings", level="state")
def describe_reserved_instances_offerings(call: Call) -> Result:
    """AWS: ec2 DescribeReservedInstancesOfferings."""
    offers = call.params.get("ReservedInstancesOfferingIds")
    _no_such(offers, "InvalidReservedInstancesOfferingId", "reserved instances offering ID")
    return _none(call, "ReservedInstancesOfferings", "marketplace", "reserved-instances-offering-id", *_RESERVED)


@operation("DescribeReservedInstancesModifications", level="state")
def describe_reserved_instances_modifications(call: Call) -> Result:
    """AWS: ec2 DescribeReservedInstancesModifications."""
    wanted = call.params.get("ReservedInstancesModificationIds")
    _no_such(wanted, "InvalidReservedInstancesModificationId", "reserved instances modification ID")
    names = ("client-token", "create-date", "effective-date", "reserved-instances-id", "status", "status-message")
    more = ("reserved-instances-modification-id", "update-date", "modification-result.reserved-instances-id")
    targets = ("availability-zone", "availability-zone-id", "instance-count", "instance-type")
    of_targets = (f"modification-result.target-configuration.{one}" for one in targets)
    return _none(call, "ReservedInstancesModifications", *names, *more, *of_targets)


@operation("DescribeReservedInstancesListings", level="state")
def describe_reserved_instances_listings(call: Call) -> Result:
    """AWS: ec2 DescribeReservedInstancesListings."""
    params = call.params
    _no_such(_one(params.get("ReservedInstancesId")), "InvalidReservedInstancesId", "reserved instances ID")
    listing = _one(params.get("ReservedInstancesListingId"))
    _no_such(listing, "InvalidReservedInstancesListingId", "reserved instances listing ID")
    names = ("reserved-instances-id", "reserved-instances-listing-id", "status", "status-message")
    return _none(call, "ReservedInstancesListings", *names)


@operation("PurchaseReservedInstancesOffering", level="state")
def purchase_reserved_instances_offering(call: Call) -> Result:
    """AWS: ec2 PurchaseReservedInstancesOffering: there are no offers."""
    offer = [call.params["ReservedInstancesOfferingId"]]
    _no_such(offer, "InvalidReservedInstancesOfferingId", "reserved instances offering ID")
    raise AssertionError


@operation("DescribeHosts", level="state")
def describe_hosts(call: Call) -> Result:
    """AWS: ec2 DescribeHosts."""
    _no_such(call.params.get("HostIds"), "InvalidHostID.NotFound", "host ID")
    names = ("auto-placement", "availability-zone", "availability-zone-id", "client-token", "host-reservation-id")
    return _none(call, "Hosts", *names, "instance-type", "state", filters="Filter", pages=(5, 500))


@operation("ReleaseHosts", level="state")
def release_hosts(call: Call) -> Result:
    """AWS: ec2 ReleaseHosts: none of them is there."""
    return {"Successful": [], "Unsuccessful": [_no_host(one) for one in call.params["HostIds"]]}


@operation("ModifyHosts", level="state")
def modify_hosts(call: Call) -> Result:
    """AWS: ec2 ModifyHosts: none of them is there."""
    return {"Successful": [], "Unsuccessful": [_no_host(one) for one in call.params["HostIds"]]}


@operation("DescribeHostReservations", level="state")
def describe_host_reservations(call: Call) -> Result:
    """AWS: ec2 DescribeHostReservations."""
    _no_such(call.params.get("HostReservationIdSet"), "InvalidHostReservationId.NotFound", "host reservation ID")
    return _none(
        call, "HostReservationSet", "instance-family", "payment-option", "state", filters="Filter", pages=(5, 500)
    )


@operation("DescribeHostReservationOfferings", level="state")
def describe_host_reservation_offerings(call: Call) -> Result:
    """AWS: ec2 DescribeHostReservationOfferings."""
    offer = _one(call.params.get("OfferingId"))
    _no_such(offer, "InvalidHostReservationOfferingId.NotFound", "host reservation offering ID")
    return _none(call, "OfferingSet", "instance-family", "payment-option", filters="Filter")


@operation("DescribeScheduledInstances", level="state")
def describe_scheduled_instances(call: Call) -> Result:
    """AWS: ec2 DescribeScheduledInstances."""
    _no_such(call.params.get("ScheduledInstanceIds"), "InvalidScheduledInstance", "scheduled instance ID")
    return _none(call, "ScheduledInstanceSet", "availability-zone", "instance-type", "platform", pages=(5, 300))


@operation("DescribeCapacityBlockOfferings", level="state")
def describe_capacity_block_offerings(call: Call) -> Result:
    """AWS: ec2 DescribeCapacityBlockOfferings."""
    return _none(call, "CapacityBlockOfferings")


_RESERVED = (
    *("availability-zone", "availability-zone-id", "duration", "end", "fixed-price", "instance-type"),
    *("product-description", "reserved-instances-id", "scope", "start", "state", "usage-price"),
)  # fmt: skip


def _none(
    call: Call, name: str, *filter_names: str, filters: str = "Filters", pages: tuple[int, int] = (1, 1000)
) -> Result:
    """Nothing, after the filters and the length of pages were checked."""
    return nothing(call, name, *filter_names, parameter=filters, least=pages[0], most=pages[1])


def _no_such(wanted: Iterable[str] | None, code: str, noun: str) -> None:
    for id_ in wanted or ():
        raise AwsError(code, f"The {noun} '{id_[:100]}' does not exist")


def _one(id_: str | None) -> list[str]:
    return [id_] if id_ else []


def _no_host(id_: str) -> dict[str, Any]:
    text = f"The host ID '{id_[:100]}' does not exist"
    return {"ResourceId": id_, "Error": {"Code": "InvalidHostID.NotFound", "Message": text}}
