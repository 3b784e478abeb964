"""What a launch may ask beside image, type, network and disks: processors, placement, credits, behaviour at shutdown.

What gureum does not build is refused here by name, so that no launch ignores what was asked of it. AWS: ec2 RunInstances.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.capacity_kinds import CapacityWish, capacity_wish
from gureum.aws.ec2.instances.credit_defaults import default_credits
from gureum.aws.ec2.instances.types import InstanceType
from gureum.aws.ec2.regions import zones_of
from gureum.aws.errors import AwsError

NOT_BUILT = {
    "KernelId": "RunInstances with KernelId",
    "RamdiskId": "RunInstances with RamdiskId",
    "Ipv6AddressCount": "RunInstances with IPv6 addresses",
    "Ipv6Addresses": "RunInstances with IPv6 addresses",
    "EnablePrimaryIpv6": "RunInstances with IPv6 addresses",
    "ElasticGpuSpecification": "RunInstances with Elastic Graphics",
    "ElasticInferenceAccelerators": "RunInstances with Elastic Inference",
    "LicenseSpecifications": "RunInstances with license configurations",
    "SecondaryInterfaces": "RunInstances with secondary interfaces",
    "HibernationOptions.Configured": "Hibernation",
    "EnclaveOptions.Enabled": "Nitro Enclaves",
    "CpuOptions.AmdSevSnp": "CpuOptions with AmdSevSnp",
    "CpuOptions.NestedVirtualization": "CpuOptions with NestedVirtualization",
    "Placement.HostId": "Placement on dedicated hosts",
    "Placement.HostResourceGroupArn": "Placement on dedicated hosts",
    "Placement.SpreadDomain": "Placement with SpreadDomain",
    "Operator": "RunInstances with Operator",
    "Monitoring.MetricCategoryIds": "Monitoring with MetricCategoryIds",
    "NetworkPerformanceOptions.BandwidthWeighting": "NetworkPerformanceOptions",
    "MaintenanceOptions.RebootMigration": "MaintenanceOptions with RebootMigration",
}
"""Parameter → what the refusal calls it. The values of `HARMLESS` ask for what is so anyway."""
HARMLESS: tuple[Any, ...] = (None, False, 0, "", "default", "disabled", [], {})
NOT_BUILT_OF_INTERFACES = (
    "Ipv6Addresses",
    "Ipv6AddressCount",
    "Ipv6Prefixes",
    "Ipv6PrefixCount",
    "PrimaryIpv6",
    "AssociateCarrierIpAddress",
    "NetworkCardIndex",
    "EnaSrdSpecification",
    "EnaQueueCount",
    "ConnectionTrackingSpecification",
)


class LaunchOptions(msgspec.Struct, frozen=True):
    """`cores`, `threads_per_core`: what was asked for, 0 for the type's own. `hostname_type`: "" for the subnet's."""

    cores: int
    threads_per_core: int
    tenancy: str
    cpu_credits: str
    auto_recovery: str
    shutdown_behavior: Literal["stop", "terminate"]
    capacity: CapacityWish
    hostname_type: str


def launch_options(call: Call, params: dict[str, Any], type_: InstanceType) -> LaunchOptions:
    """Checked. AWS: InvalidParameterValue, InvalidParameterCombination, InvalidPlacementGroup.Unknown and others."""
    cores, threads = cpu_options(params.get("CpuOptions") or {}, type_)
    ids.choice(params.get("MetadataOptions") or {}, "HttpProtocolIpv6", "disabled", "enabled")
    names = params.get("PrivateDnsNameOptions") or {}
    shutdown = ids.choice(params, "InstanceInitiatedShutdownBehavior", "stop", "terminate")
    return LaunchOptions(
        cores=cores,
        threads_per_core=threads,
        tenancy=_tenancy(params.get("Placement") or {}),
        cpu_credits=_credits(call, params.get("CreditSpecification") or {}, type_),
        auto_recovery=ids.choice(params.get("MaintenanceOptions") or {}, "AutoRecovery", "default", "disabled"),
        shutdown_behavior="terminate" if shutdown == "terminate" else "stop",
        capacity=capacity_wish(call, params.get("CapacityReservationSpecification") or {}),
        hostname_type=ids.choice(names, "HostnameType", "ip-name", "resource-name")
        if names.get("HostnameType")
        else "",
    )


def refuse_not_built(params: dict[str, Any]) -> None:
    """An error that names what was asked for and is not there; nothing that was passed is ignored."""
    for path, what in NOT_BUILT.items():
        name, _, inner = path.partition(".")
        value = params.get(name)
        if inner:
            value = (value or {}).get(inner)
        if value not in HARMLESS:
            raise ids.not_built(what)
    for interface in params.get("NetworkInterfaces") or ():
        for name in NOT_BUILT_OF_INTERFACES:
            if interface.get(name) not in HARMLESS:
                raise ids.not_built(f"RunInstances with NetworkInterfaces.{name}")
        if interface.get("InterfaceType") not in (None, "interface"):
            raise ids.not_built(f"A network interface of type {interface['InterfaceType']}")


def wanted_zone(call: Call, params: dict[str, Any]) -> str:
    """The name of the zone that `Placement` asks for by name or id, "" for none. AWS: InvalidParameterValue."""
    placement = params.get("Placement") or {}
    name, id_ = placement.get("AvailabilityZone") or "", placement.get("AvailabilityZoneId") or ""
    zones = zones_of(call.region)
    found = [zone for zone in zones if (name and zone.name == name) or (id_ and zone.id == id_)]
    if (name or id_) and not found:
        raise ids.invalid(f"Invalid availability zone: [{name or id_}]")
    if len(found) > 1:
        raise ids.invalid(f"The Availability Zone {name} does not have the ID {id_}.")
    return found[0].name if found else ""


def cpu_options(wanted: dict[str, Any], type_: InstanceType) -> tuple[int, int]:
    """(cores, threads per core), zeros when nothing is wanted. AWS: MissingParameter, InvalidParameterValue."""
    cores, threads = wanted.get("CoreCount"), wanted.get("ThreadsPerCore")
    if cores is None and threads is None:
        return 0, 0
    if cores is None or threads is None:
        raise ids.missing("cpuOptions.threadsPerCore" if threads is None else "cpuOptions.coreCount")
    allowed = type_.valid_cores or (type_.cores,)
    if cores not in allowed or not 1 <= threads <= type_.threads_per_core:
        raise ids.invalid(
            f"CpuOptions of {cores} cores with {threads} threads each are not supported for the instance type '{type_.name}': "
            f"core counts {', '.join(map(str, allowed))}; up to {type_.threads_per_core} threads per core."
        )
    return cores, threads


def _tenancy(placement: dict[str, Any]) -> str:
    tenancy = ids.choice(placement, "Tenancy", "default", "dedicated", "host")
    if tenancy == "host" or placement.get("Affinity") not in HARMLESS:
        raise ids.not_built("Placement on dedicated hosts")
    return tenancy


def _credits(call: Call, wanted: dict[str, Any], type_: InstanceType) -> str:
    credits_ = wanted.get("CpuCredits")
    if not credits_:
        return default_credits(call, type_)
    if not type_.burstable:
        text = f"Credit specification is not supported for the instance type '{type_.name}'."
        raise AwsError("InstanceCreditSpecification.NotSupported", text)
    if credits_ not in ("standard", "unlimited"):
        text = f"Value ({credits_}) for parameter CpuCredits is invalid. Valid values are standard and unlimited."
        raise AwsError("InvalidInstanceCreditSpecification", text)
    return str(credits_)
