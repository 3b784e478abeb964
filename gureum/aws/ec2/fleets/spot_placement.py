"""Spot placement scores: how likely so much Spot capacity can be had. One host has one capacity for all zones and regions: what memory it still has
room for, against what is asked for."""

from __future__ import annotations

import math
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.host_room import room_bytes
from gureum.aws.ec2.instances.requirements import matching_types
from gureum.aws.ec2.instances.types import InstanceType, find_instance_type
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.regions import REGIONS, zones_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

BEST = 10
LIMIT_TYPES, LIMIT_REGIONS, LIMIT_CAPACITY = 1000, 10, 2_000_000_000


@operation("GetSpotPlacementScores")
def get_spot_placement_scores(call: Call) -> Result:
    """AWS: ec2 GetSpotPlacementScores: 10 when there is room for all of it, 1 when there is for a tenth or less."""
    params = call.params
    types, target = _types(call), params["TargetCapacity"]
    if not 1 <= target <= LIMIT_CAPACITY:
        raise ids.invalid(f"Value ({target}) for parameter targetCapacity is invalid.")
    regions = params.get("RegionNames") or [call.region]
    if len(regions) > LIMIT_REGIONS:
        raise ids.invalid(f"At most {LIMIT_REGIONS} regions can be given.")
    for name in regions:
        if name not in REGIONS:
            raise ids.invalid(f"Value ({name[:100]}) for parameter regionName is invalid.")
    score = _score(room_bytes(call), min(_needed_bytes(params, one, target) for one in types))
    call.end_dry_run()
    rows: list[dict[str, Any]] = []
    for region in dict.fromkeys(regions):
        if params.get("SingleAvailabilityZone"):
            zones = zones_of(region)
            rows += [{"Region": region, "AvailabilityZoneId": zone.id, "Score": score} for zone in zones]
        else:
            rows.append({"Region": region, "Score": score})
    shown, token = page(params, rows, lambda row: f"{row['Region']}/{row.get('AvailabilityZoneId')}", least=10)
    return answer("SpotPlacementScores", shown, token)


def _types(call: Call) -> list[InstanceType]:
    """AWS: InvalidParameterCombination, InvalidParameterValue."""
    names, wanted = call.params.get("InstanceTypes") or (), call.params.get("InstanceRequirementsWithMetadata")
    if bool(names) == bool(wanted):
        text = "Specify either InstanceTypes or InstanceRequirementsWithMetadata."
        raise AwsError("InvalidParameterCombination", text)
    if len(names) > LIMIT_TYPES:
        raise ids.invalid(f"At most {LIMIT_TYPES} instance types can be given.")
    if names:
        found = [find_instance_type(name) for name in names]
        if None in found:
            raise AwsError(
                "InvalidParameterValue", f"Invalid value '{names[found.index(None)][:100]}' for InstanceType."
            )
        return [one for one in found if one is not None]
    assert wanted is not None
    matching = matching_types(
        wanted.get("InstanceRequirements") or {}, tuple(wanted.get("ArchitectureTypes") or ("x86_64",))
    )
    virtualization = wanted.get("VirtualizationTypes") or ("hvm",)
    matching = [one for one in matching if "hvm" in virtualization or "paravirtual" in one.flags]
    if not matching:
        raise ids.invalid("No instance type meets the requirements.")
    return matching


def _needed_bytes(params: dict[str, Any], one: InstanceType, target: int) -> int:
    unit = ids.choice(params, "TargetCapacityUnitType", "units", "vcpu", "memory-mib")
    if unit == "memory-mib":
        return target << 20
    return one.memory_bytes * (target if unit == "units" else math.ceil(target / one.vcpus))


def _score(room: float, needed: int) -> int:
    return max(1, min(BEST, int(BEST * room / needed)))
