"""DescribeInstanceTypes and DescribeInstanceTypeOfferings: what AWS tells of a type, and that every zone has every type."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import SimpleNamespace
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.types import InstanceType, all_types
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.regions import zones_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters, boolean
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

LIMIT_NAMES = 100


@operation("DescribeInstanceTypes")
def describe_instance_types(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceTypes. InvalidInstanceType names all that are not known."""
    wanted = call.params.get("InstanceTypes") or ()
    if len(wanted) > LIMIT_NAMES:
        raise ids.invalid(f"The maximum number of instance types in a request is {LIMIT_NAMES}.")
    known = all_types()
    missing = [name for name in wanted if name not in known]
    if missing:
        text = f"The following supplied instance types do not exist: [{', '.join(missing)}]"
        raise AwsError("InvalidInstanceType", text)
    types = [known[name] for name in dict.fromkeys(wanted)] if wanted else list(known.values())
    found = apply_filters((_row(one) for one in types), call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda row: row.type.name, least=5, most=100, default=100)
    return answer("InstanceTypes", [show_type(row.type) for row in shown], token)


@operation("DescribeInstanceTypeOfferings")
def describe_instance_type_offerings(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceTypeOfferings."""
    kind = call.params.get("LocationType") or "region"
    zones = zones_of(call.region)
    places = {
        "region": [call.region],
        "availability-zone": [zone.name for zone in zones],
        "availability-zone-id": [zone.id for zone in zones],
        "outpost": [],
    }
    if kind not in places:
        raise ids.invalid(f"Value ({kind}) for parameter locationType is invalid.")
    rows: Iterable[Any] = (
        SimpleNamespace(meta=SimpleNamespace(tags={}), name=name, place=place)
        for name in all_types()
        for place in places[kind]
    )
    found = apply_filters(rows, call.params.get("Filters"), _OFFERING_FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda row: f"{row.name}/{row.place}", default=1000)
    offerings = [{"InstanceType": row.name, "LocationType": kind, "Location": row.place} for row in shown]
    return answer("InstanceTypeOfferings", offerings, token)


@cache
def show_type(one: InstanceType) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceTypeInfo."""
    shown: dict[str, Any] = {
        "InstanceType": one.name,
        "CurrentGeneration": "current" in one.flags,
        "FreeTierEligible": "free_tier" in one.flags,
        "SupportedUsageClasses": _usage_classes(one),
        "SupportedRootDeviceTypes": _root_devices(one),
        "SupportedVirtualizationTypes": _virtualization(one),
        "BareMetal": False,
        "Hypervisor": one.hypervisor,
        "ProcessorInfo": _processor(one),
        "VCpuInfo": _vcpus(one),
        "MemoryInfo": {"SizeInMiB": one.memory_mib},
        "InstanceStorageSupported": one.disks is not None,
        "EbsInfo": _ebs(one),
        "NetworkInfo": _network(one),
        "PlacementGroupInfo": {"SupportedStrategies": _strategies(one)},
        "HibernationSupported": "hibernation" in one.flags,
        "BurstablePerformanceSupported": one.burstable,
        "DedicatedHostsSupported": "dedicated_hosts" in one.flags,
        "AutoRecoverySupported": "auto_recovery" in one.flags,
        "SupportedBootModes": _boot_modes(one),
        "NitroEnclavesSupport": _supported("enclaves" in one.flags),
        "NitroTpmSupport": _supported(_has_tpm(one)),
        "PhcSupport": _supported("precision_clock" in one.flags),
        "RebootMigrationSupport": _supported("reboot_migration" in one.flags),
    }
    if _has_tpm(one):
        shown["NitroTpmInfo"] = {"SupportedVersions": ["2.0"]}
    if one.disks is not None:
        disk = {"SizeInGB": one.disks.size_gb, "Count": one.disks.count, "Type": one.disks.kind}
        shown["InstanceStorageInfo"] = {
            "TotalSizeInGB": one.disks.size_gb * one.disks.count,
            "Disks": [disk],
            "NvmeSupport": "required" if one.disks.nvme else "unsupported",
            "EncryptionSupport": "required" if one.disks.encrypted else "unsupported",
        }
    return shown


def _processor(one: InstanceType) -> dict[str, Any]:
    shown: dict[str, Any] = {"SupportedArchitectures": list(one.architectures), "Manufacturer": one.maker}
    if one.clock_ghz:
        shown["SustainedClockSpeedInGhz"] = one.clock_ghz
    if "amd_sev_snp" in one.flags:
        shown["SupportedFeatures"] = ["amd-sev-snp"]
    return shown


def _vcpus(one: InstanceType) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "DefaultVCpus": one.vcpus,
        "DefaultCores": one.cores,
        "DefaultThreadsPerCore": one.threads_per_core,
    }
    if one.valid_cores:
        shown |= {"ValidCores": list(one.valid_cores), "ValidThreadsPerCore": _threads(one)}
    return shown


def _ebs(one: InstanceType) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "EbsOptimizedSupport": one.ebs_optimized,
        "EncryptionSupport": "supported",
        "NvmeSupport": _ebs_nvme(one),
        "MaximumEbsAttachments": one.attachments,
        "AttachmentLimitType": "shared" if one.attachments_shared else "dedicated",
    }
    if one.ebs is not None:
        shown["EbsOptimizedInfo"] = {
            "BaselineBandwidthInMbps": one.ebs.baseline_mbps,
            "BaselineThroughputInMBps": one.ebs.baseline_mbps / 8,
            "BaselineIops": one.ebs.baseline_iops,
            "MaximumBandwidthInMbps": one.ebs.maximum_mbps,
            "MaximumThroughputInMBps": one.ebs.maximum_mbps / 8,
            "MaximumIops": one.ebs.maximum_iops,
        }
    return shown


def _network(one: InstanceType) -> dict[str, Any]:
    card = {
        "NetworkCardIndex": 0,
        "NetworkPerformance": one.network,
        "MaximumNetworkInterfaces": one.interfaces,
        "BaselineBandwidthInGbps": one.base_gbps,
        "PeakBandwidthInGbps": one.peak_gbps,
        "InterfaceTypes": ["interface", "efa", "efa-only"] if "efa" in one.flags else ["interface"],
    }
    shown: dict[str, Any] = {
        "NetworkPerformance": one.network,
        "MaximumNetworkInterfaces": one.interfaces,
        "MaximumNetworkCards": 1,
        "DefaultNetworkCardIndex": 0,
        "NetworkCards": [card],
        "Ipv4AddressesPerInterface": one.addresses,
        "Ipv6AddressesPerInterface": one.addresses if "ipv6" in one.flags else 0,
        "Ipv6Supported": "ipv6" in one.flags,
        "EnaSupport": one.ena,
        "EfaSupported": "efa" in one.flags,
        "EncryptionInTransitSupported": "encrypted_in_transit" in one.flags,
        "EnaSrdSupported": "ena_express" in one.flags,
        "FlexibleEnaQueuesSupport": _supported("flexible_queues" in one.flags),
        "ConnectionTrackingConfiguration": {
            "DefaultTcpEstablishedTimeout": 350 if "short_tracking" in one.flags else 432000,
            "DefaultUdpTimeout": 30,
            "DefaultUdpStreamTimeout": 180,
        },
    }
    if "efa" in one.flags:
        shown["EfaInfo"] = {"MaximumEfaInterfaces": 1}
    if "bandwidth_weightings" in one.flags:
        shown["BandwidthWeightings"] = ["default", "ebs-1", "vpc-1"]
    return shown


def _supported(value: bool) -> str:
    return "supported" if value else "unsupported"


def _nitro(one: InstanceType) -> bool:
    return one.hypervisor == "nitro"


def _has_tpm(one: InstanceType) -> bool:
    return _nitro(one) and "no_tpm" not in one.flags


def _ebs_nvme(one: InstanceType) -> str:
    """I3 is Xen's, but has NVMe."""
    if _nitro(one):
        return "required"
    return "supported" if one.disks is not None and one.disks.nvme else "unsupported"


def _threads(one: InstanceType) -> list[int]:
    return list(range(1, one.threads_per_core + 1))


def _usage_classes(one: InstanceType) -> list[str]:
    return ["on-demand", "spot"] if "spot" in one.flags else ["on-demand"]


def _root_devices(one: InstanceType) -> list[str]:
    """Types that begin without EBS are those of before their disks were NVMe or encrypted."""
    return ["ebs", "instance-store"] if one.disks and not one.disks.encrypted else ["ebs"]


def _virtualization(one: InstanceType) -> list[str]:
    return ["hvm", "paravirtual"] if "paravirtual" in one.flags else ["hvm"]


def _strategies(one: InstanceType) -> list[str]:
    return [*(["cluster"] if "cluster_placement" in one.flags else []), "partition", "spread"]


def _boot_modes(one: InstanceType) -> list[str]:
    if "arm64" in one.architectures:
        return ["uefi"]
    return ["legacy-bios", "uefi"] if _nitro(one) else ["legacy-bios"]


def _row(one: InstanceType) -> Any:
    """Filters look at objects with an envelope; types have no tags."""
    return SimpleNamespace(meta=SimpleNamespace(tags={}), type=one)


def _path(*names: str) -> Any:
    """A filter's values: what stands at that path of the API form."""

    def look(row: Any) -> list[str]:
        found: list[Any] = [show_type(row.type)]
        for name in names:
            nested = (one[name] for one in found if isinstance(one, dict) and name in one)
            found = [value for one in nested for value in (one if isinstance(one, list) else [one])]
        return [boolean(one) if isinstance(one, bool) else _text(one) for one in found]

    return look


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


_OPTIMIZED = ("EbsInfo", "EbsOptimizedInfo")
_STORAGE = "InstanceStorageInfo"
_FILTERS: FilterTable = {
    "auto-recovery-supported": _path("AutoRecoverySupported"),
    "bare-metal": _path("BareMetal"),
    "burstable-performance-supported": _path("BurstablePerformanceSupported"),
    "current-generation": _path("CurrentGeneration"),
    "dedicated-hosts-supported": _path("DedicatedHostsSupported"),
    "ebs-info.attachment-limit-type": _path("EbsInfo", "AttachmentLimitType"),
    "ebs-info.maximum-ebs-attachments": _path("EbsInfo", "MaximumEbsAttachments"),
    "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps": _path(*_OPTIMIZED, "BaselineBandwidthInMbps"),
    "ebs-info.ebs-optimized-info.baseline-iops": _path(*_OPTIMIZED, "BaselineIops"),
    "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps": _path(*_OPTIMIZED, "BaselineThroughputInMBps"),
    "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps": _path(*_OPTIMIZED, "MaximumBandwidthInMbps"),
    "ebs-info.ebs-optimized-info.maximum-iops": _path(*_OPTIMIZED, "MaximumIops"),
    "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps": _path(*_OPTIMIZED, "MaximumThroughputInMBps"),
    "ebs-info.ebs-optimized-support": _path("EbsInfo", "EbsOptimizedSupport"),
    "ebs-info.encryption-support": _path("EbsInfo", "EncryptionSupport"),
    "ebs-info.nvme-support": _path("EbsInfo", "NvmeSupport"),
    "free-tier-eligible": _path("FreeTierEligible"),
    "hibernation-supported": _path("HibernationSupported"),
    "hypervisor": _path("Hypervisor"),
    "instance-storage-info.disk.count": _path(_STORAGE, "Disks", "Count"),
    "instance-storage-info.disk.size-in-gb": _path(_STORAGE, "Disks", "SizeInGB"),
    "instance-storage-info.disk.type": _path(_STORAGE, "Disks", "Type"),
    "instance-storage-info.encryption-support": _path(_STORAGE, "EncryptionSupport"),
    "instance-storage-info.nvme-support": _path(_STORAGE, "NvmeSupport"),
    "instance-storage-info.total-size-in-gb": _path(_STORAGE, "TotalSizeInGB"),
    "instance-storage-supported": _path("InstanceStorageSupported"),
    "instance-type": _path("InstanceType"),
    "memory-info.size-in-mib": _path("MemoryInfo", "SizeInMiB"),
    "network-info.bandwidth-weightings": _path("NetworkInfo", "BandwidthWeightings"),
    "network-info.efa-info.maximum-efa-interfaces": _path("NetworkInfo", "EfaInfo", "MaximumEfaInterfaces"),
    "network-info.efa-supported": _path("NetworkInfo", "EfaSupported"),
    "network-info.ena-support": _path("NetworkInfo", "EnaSupport"),
    "network-info.encryption-in-transit-supported": _path("NetworkInfo", "EncryptionInTransitSupported"),
    "network-info.flexible-ena-queues-support": _path("NetworkInfo", "FlexibleEnaQueuesSupport"),
    "network-info.ipv4-addresses-per-interface": _path("NetworkInfo", "Ipv4AddressesPerInterface"),
    "network-info.ipv6-addresses-per-interface": _path("NetworkInfo", "Ipv6AddressesPerInterface"),
    "network-info.ipv6-supported": _path("NetworkInfo", "Ipv6Supported"),
    "network-info.maximum-network-cards": _path("NetworkInfo", "MaximumNetworkCards"),
    "network-info.maximum-network-interfaces": _path("NetworkInfo", "MaximumNetworkInterfaces"),
    "network-info.network-performance": _path("NetworkInfo", "NetworkPerformance"),
    "nitro-enclaves-support": _path("NitroEnclavesSupport"),
    "nitro-tpm-info.supported-versions": _path("NitroTpmInfo", "SupportedVersions"),
    "nitro-tpm-support": _path("NitroTpmSupport"),
    "processor-info.supported-architecture": _path("ProcessorInfo", "SupportedArchitectures"),
    "processor-info.supported-features": _path("ProcessorInfo", "SupportedFeatures"),
    "processor-info.sustained-clock-speed-in-ghz": _path("ProcessorInfo", "SustainedClockSpeedInGhz"),
    "reboot-migration-support": _path("RebootMigrationSupport"),
    "supported-boot-mode": _path("SupportedBootModes"),
    "supported-root-device-type": _path("SupportedRootDeviceTypes"),
    "supported-usage-class": _path("SupportedUsageClasses"),
    "supported-virtualization-type": _path("SupportedVirtualizationTypes"),
    "vcpu-info.default-cores": _path("VCpuInfo", "DefaultCores"),
    "vcpu-info.default-threads-per-core": _path("VCpuInfo", "DefaultThreadsPerCore"),
    "vcpu-info.default-vcpus": _path("VCpuInfo", "DefaultVCpus"),
    "vcpu-info.valid-cores": _path("VCpuInfo", "ValidCores"),
    "vcpu-info.valid-threads-per-core": _path("VCpuInfo", "ValidThreadsPerCore"),
}
_OFFERING_FILTERS: FilterTable = {"instance-type": lambda row: row.name, "location": lambda row: row.place}
