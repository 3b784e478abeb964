"""InstanceRequirements: instance types by what they must have, for fleets and GetInstanceTypesFromInstanceRequirements.

What the table of types does not tell (accelerators) matches no type when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.spot_prices import on_demand_price, spot_price
from gureum.aws.ec2.images.names import MACHINE
from gureum.aws.ec2.instances.types import InstanceType, all_types
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.globs import glob

MAKERS = {"Intel": "intel", "AMD": "amd", "AWS": "amazon-web-services", "Apple": "apple"}
WORDS = {
    "CpuManufacturers": ("intel", "amd", "amazon-web-services", "apple"),
    "InstanceGenerations": ("current", "previous"),
    "LocalStorageTypes": ("hdd", "ssd"),
    "AcceleratorTypes": ("gpu", "fpga", "inference", "media"),
}
LIMIT_NAMES = 400
LIMIT_PAGE = 1000
NOT_BUILT = ("BaselinePerformanceFactors",)
OF_ACCELERATORS = (
    "AcceleratorTypes",
    "AcceleratorCount",
    "AcceleratorManufacturers",
    "AcceleratorNames",
    "AcceleratorTotalMemoryMiB",
)
OVER_LOWEST, OF_OPTIMAL = "SpotMaxPricePercentageOverLowestPrice", "MaxSpotPriceAsPercentageOfOptimalOnDemandPrice"
_NAME = re.compile(r"[a-zA-Z0-9.*]{1,30}", re.ASCII)
_FAMILY = re.compile(r"[a-z]+([0-9]+)", re.ASCII)


@operation("GetInstanceTypesFromInstanceRequirements")
def get_instance_types_from_instance_requirements(call: Call) -> Result:
    """AWS: ec2 GetInstanceTypesFromInstanceRequirements: names, sorted."""
    params = call.params
    for one in params["ArchitectureTypes"]:
        if one not in ("i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"):
            raise ids.invalid(f"Value ({one}) for parameter architectureType is invalid.")
    for one in params["VirtualizationTypes"]:
        if one not in ("hvm", "paravirtual"):
            raise ids.invalid(f"Value ({one}) for parameter virtualizationType is invalid.")
    found = matching_types(params["InstanceRequirements"], params["ArchitectureTypes"])
    if "hvm" not in params["VirtualizationTypes"]:
        found = [one for one in found if "paravirtual" in one.flags]
    call.end_dry_run()
    shown, token = page(params, found, lambda one: one.name, least=1, default=LIMIT_PAGE)
    return {"InstanceTypes": [{"InstanceType": one.name} for one in shown]} | ({"NextToken": token} if token else {})


def matching_types(wanted: dict[str, Any], architectures: Iterable[str] = (MACHINE,)) -> list[InstanceType]:
    """Types that have what is wanted, by name. AWS: MissingParameter, InvalidParameterValue, InvalidParameterCombination."""
    for name in NOT_BUILT:
        if wanted.get(name):
            raise ids.not_built(f"InstanceRequirements with {name}")
    for name, words in WORDS.items():
        for word in wanted.get(name) or ():
            if word not in words:
                raise ids.invalid(f"Value ({word}) for parameter {name[:1].lower()}{name[1:]} is invalid.")
    for name in ("VCpuCount", "MemoryMiB"):
        if (wanted.get(name) or {}).get("Min") is None:
            raise ids.missing(f"InstanceRequirements.{name}.Min")
    allowed, excluded = wanted.get("AllowedInstanceTypes") or (), wanted.get("ExcludedInstanceTypes") or ()
    if allowed and excluded:
        text = "AllowedInstanceTypes and ExcludedInstanceTypes cannot be specified together."
        raise AwsError("InvalidParameterCombination", text)
    for name in (*allowed, *excluded):
        if _NAME.fullmatch(name) is None:
            raise ids.invalid(f"Value ({name}) for an instance type is invalid.")
    if len(allowed) > LIMIT_NAMES or len(excluded) > LIMIT_NAMES:
        raise ids.invalid(f"There are more than {LIMIT_NAMES} instance types.")
    permitted, refused = [glob(one) for one in allowed], [glob(one) for one in excluded]
    found = [
        one
        for one in all_types().values()
        if set(one.architectures).intersection(architectures)
        and (not permitted or any(match(one.name) for match in permitted))
        and not any(match(one.name) for match in refused)
        and _fits(one, wanted)
    ]
    return sorted(_affordable(found, wanted), key=lambda one: one.name)


def _fits(one: InstanceType, wanted: dict[str, Any]) -> bool:
    memory_gib = one.memory_mib / 1024
    within = (
        _within(wanted.get("VCpuCount"), one.vcpus)
        and _within(wanted.get("MemoryMiB"), one.memory_mib)
        and _within(wanted.get("MemoryGiBPerVCpu"), memory_gib / one.vcpus)
        and _within(wanted.get("NetworkInterfaceCount"), one.interfaces)
        and _within(wanted.get("NetworkBandwidthGbps"), one.peak_gbps)
        and _within(wanted.get("BaselineEbsBandwidthMbps"), one.ebs.baseline_mbps if one.ebs else 0)
    )
    return within and _is_such(one, wanted) and not _wants_accelerators(wanted)


def _is_such(one: InstanceType, wanted: dict[str, Any]) -> bool:
    burstable = ids.choice(wanted, "BurstablePerformance", "excluded", "included", "required")
    storage = ids.choice(wanted, "LocalStorage", "included", "required", "excluded")
    metal = ids.choice(wanted, "BareMetal", "excluded", "included", "required")
    makers = [MAKERS.get(one.maker, "")] if one.maker in MAKERS else [one.maker.lower()]
    generations = wanted.get("InstanceGenerations") or ("current", "previous")
    disks = one.disks.count * one.disks.size_gb if one.disks else 0
    kinds = wanted.get("LocalStorageTypes") or ("hdd", "ssd")
    return (
        metal != "required"
        and one.burstable in {"excluded": (False,), "included": (True, False), "required": (True,)}[burstable]
        and bool(disks) in {"included": (True, False), "required": (True,), "excluded": (False,)}[storage]
        and (not disks or one.disks is None or one.disks.kind in kinds)
        and (not wanted.get("TotalLocalStorageGB") or _within(wanted["TotalLocalStorageGB"], disks))
        and (not wanted.get("CpuManufacturers") or bool(set(makers).intersection(wanted["CpuManufacturers"])))
        and ("current" if "current" in one.flags else "previous") in generations
        and (not wanted.get("RequireHibernateSupport") or "hibernation" in one.flags)
        and (not wanted.get("RequireEncryptionInTransit") or "encrypted_in_transit" in one.flags)
    )


def _wants_accelerators(wanted: dict[str, Any]) -> bool:
    """No type of the table has one; a count that begins at nothing asks for none."""
    count = wanted.get("AcceleratorCount") or {}
    if count and not count.get("Min"):
        return False
    return any(wanted.get(name) for name in OF_ACCELERATORS)


def _affordable(found: list[InstanceType], wanted: dict[str, Any]) -> list[InstanceType]:
    """AWS: price protection: not above the cheapest current type by more than so many percent (100, if nothing is said)."""
    over, of_optimal = (wanted.get(name) for name in (OVER_LOWEST, OF_OPTIMAL))
    if over is not None and of_optimal is not None:
        raise AwsError("InvalidParameterCombination", f"{OVER_LOWEST} and {OF_OPTIMAL} cannot be specified together.")
    share = wanted.get("OnDemandMaxPricePercentageOverLowestPrice") or over
    ordinary = [one for one in found if "current" in one.flags and one.name[:1] in "cmr"] or found
    if not ordinary:
        return found
    least = min(map(on_demand_price, ordinary))
    if of_optimal is not None:
        found = [one for one in found if spot_price(one.name) <= least * of_optimal / 100]
    return [one for one in found if share is None or on_demand_price(one) <= least * (1 + share / 100)]


def _within(span: dict[str, Any] | None, value: float) -> bool:
    if not span:
        return True
    low, high = span.get("Min"), span.get("Max")
    return (low is None or value >= low) and (high is None or value <= high)
