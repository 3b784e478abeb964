"""Instance types: vCPUs, memory and limits of the common families, as AWS documents them.

A family is a line: memory per vCPU, threads per core, clock, architecture; a size is its vCPUs. What does not follow that rule stands by itself.
AWS: "Amazon EC2 instance types" (instance type guide); ENI and address limits: DescribeInstanceTypes NetworkInfo.
"""

from __future__ import annotations

from functools import cache

import msgspec

MIB = 1 << 20


class InstanceType(msgspec.Struct, frozen=True):
    """`cores`: physical ones. `network`: NetworkPerformance text. `baseline_mbps`: EBS baseline bandwidth."""

    name: str
    vcpus: int
    memory_mib: int
    cores: int
    threads_per_core: int
    clock_ghz: float
    architectures: tuple[str, ...]
    current: bool
    burstable: bool
    hypervisor: str
    interfaces: int
    addresses: int
    network: str
    free_tier: bool = False
    bare_metal: bool = False

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * MIB

    @property
    def default_credits(self) -> str:
        """AWS: "unlimited" for T3 and newer, "standard" for T2, none for others."""
        if not self.burstable:
            return ""
        return "standard" if self.name.startswith("t2.") else "unlimited"


class Family(msgspec.Struct, frozen=True):
    """`gib_per_vcpu` of the sizes from `large` up."""

    name: str
    gib_per_vcpu: float
    clock_ghz: float
    arm: bool = False
    threads: int = 2
    sizes: tuple[str, ...] = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge")
    current: bool = True
    hypervisor: str = "nitro"


VCPUS = {
    "medium": 1, "large": 2, "xlarge": 4, "2xlarge": 8, "3xlarge": 12, "4xlarge": 16, "6xlarge": 24, "8xlarge": 32, "9xlarge": 36, "10xlarge": 40,
    "12xlarge": 48, "16xlarge": 64, "18xlarge": 72, "24xlarge": 96, "32xlarge": 128, "48xlarge": 192,
}  # fmt: skip
LIMITS = {
    "medium": (2, 4), "large": (3, 10), "xlarge": (4, 15), "2xlarge": (4, 15), "3xlarge": (8, 30), "4xlarge": (8, 30), "6xlarge": (8, 30),
    "8xlarge": (8, 30), "9xlarge": (8, 30), "10xlarge": (8, 30), "12xlarge": (8, 30), "16xlarge": (15, 50), "18xlarge": (15, 50),
    "24xlarge": (15, 50), "32xlarge": (15, 50), "48xlarge": (15, 50),
}  # fmt: skip
_G6 = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "32xlarge")
_G7 = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "48xlarge")
_ARM = ("medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")
_C5 = ("large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "12xlarge", "18xlarge", "24xlarge")
FAMILIES = (
    Family("m4", 4, 2.4, sizes=("large", "xlarge", "2xlarge", "4xlarge", "10xlarge", "16xlarge"), hypervisor="xen"),
    Family("m5", 4, 3.1),
    Family("m5a", 4, 2.5),
    Family("m5d", 4, 3.1),
    Family("m6i", 4, 3.5, sizes=_G6),
    Family("m6a", 4, 3.6, sizes=_G7),
    Family("m6g", 4, 2.5, arm=True, threads=1, sizes=_ARM),
    Family("m7i", 4, 3.2, sizes=_G7),
    Family("m7a", 4, 3.7, threads=1, sizes=("medium", *_G7)),
    Family("m7g", 4, 2.6, arm=True, threads=1, sizes=_ARM),
    Family("m7i-flex", 4, 3.2, sizes=("large", "xlarge", "2xlarge", "4xlarge", "8xlarge")),
    Family("c4", 1.875, 2.9, sizes=("large", "xlarge", "2xlarge", "4xlarge"), hypervisor="xen"),
    Family("c5", 2, 3.4, sizes=_C5),
    Family("c5a", 2, 3.3),
    Family("c6i", 2, 3.5, sizes=_G6),
    Family("c6a", 2, 3.6, sizes=_G7),
    Family("c6g", 2, 2.5, arm=True, threads=1, sizes=_ARM),
    Family("c7i", 2, 3.2, sizes=_G7),
    Family("c7g", 2, 2.6, arm=True, threads=1, sizes=_ARM),
    Family("r4", 7.625, 2.3, sizes=("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"), hypervisor="xen"),
    Family("r5", 8, 3.1),
    Family("r5a", 8, 2.5),
    Family("r6i", 8, 3.5, sizes=_G6),
    Family("r6g", 8, 2.5, arm=True, threads=1, sizes=_ARM),
    Family("r7i", 8, 3.2, sizes=_G7),
    Family("r7g", 8, 2.6, arm=True, threads=1, sizes=_ARM),
)
BURSTABLE = {
    # size: vCPUs, memory MiB, interfaces, addresses each
    "nano": (2, 512, 2, 2),
    "micro": (2, 1024, 2, 2),
    "small": (2, 2048, 3, 4),
    "medium": (2, 4096, 3, 6),
    "large": (2, 8192, 3, 12),
    "xlarge": (4, 16384, 4, 15),
    "2xlarge": (8, 32768, 4, 15),
}
T2 = {
    "nano": (1, 512, 2, 2), "micro": (1, 1024, 2, 2), "small": (1, 2048, 3, 4), "medium": (2, 4096, 3, 6), "large": (2, 8192, 3, 12),
    "xlarge": (4, 16384, 3, 15), "2xlarge": (8, 32768, 3, 15),
}  # fmt: skip
OLD = {
    "m1.small": (1, 1740, 2, 4), "m1.medium": (1, 3788, 2, 6), "m1.large": (2, 7680, 3, 10), "m1.xlarge": (4, 15360, 4, 15),
    "m3.medium": (1, 3840, 2, 6), "m3.large": (2, 7680, 3, 10), "m3.xlarge": (4, 15360, 4, 15), "m3.2xlarge": (8, 30720, 4, 30),
    "t1.micro": (1, 627, 2, 2),
}  # fmt: skip


def find_instance_type(name: str) -> InstanceType | None:
    """None when gureum does not know the type."""
    return all_types().get(name)


@cache
def all_types() -> dict[str, InstanceType]:
    """Every type, by name."""
    found = [_of_family(family, size) for family in FAMILIES for size in family.sizes]
    for family, table, clock, arm in (
        ("t2", T2, 2.3, False),
        ("t3", BURSTABLE, 2.5, False),
        ("t3a", BURSTABLE, 2.2, False),
        ("t4g", BURSTABLE, 2.5, True),
    ):
        found += [_burstable(family, size, figures, clock, arm=arm) for size, figures in table.items()]
    found += [_old(name, figures) for name, figures in OLD.items()]
    return {one.name: one for one in found}


def _of_family(family: Family, size: str) -> InstanceType:
    vcpus = VCPUS[size]
    interfaces, addresses = LIMITS[size]
    return InstanceType(
        name=f"{family.name}.{size}",
        vcpus=vcpus,
        memory_mib=int(vcpus * family.gib_per_vcpu * 1024),
        cores=vcpus // family.threads or 1,
        threads_per_core=family.threads if vcpus > 1 else 1,
        clock_ghz=family.clock_ghz,
        architectures=("arm64",) if family.arm else ("x86_64",),
        current=family.current,
        burstable=False,
        hypervisor=family.hypervisor,
        interfaces=interfaces,
        addresses=addresses,
        network="Up to 12.5 Gigabit" if vcpus < 32 else "12.5 Gigabit",
    )


def _burstable(family: str, size: str, figures: tuple[int, int, int, int], clock: float, *, arm: bool) -> InstanceType:
    vcpus, memory, interfaces, addresses = figures
    threads = 1 if arm or family == "t2" else 2
    return InstanceType(
        name=f"{family}.{size}",
        vcpus=vcpus,
        memory_mib=memory,
        cores=vcpus // threads,
        threads_per_core=threads,
        clock_ghz=clock,
        architectures=("arm64",)
        if arm
        else ("i386", "x86_64")
        if family == "t2" and size in ("nano", "micro", "small", "medium")
        else ("x86_64",),
        current=True,
        burstable=True,
        hypervisor="xen" if family == "t2" else "nitro",
        interfaces=interfaces,
        addresses=addresses,
        network="Low to Moderate" if family == "t2" else "Up to 5 Gigabit",
        free_tier=(family, size) in (("t2", "micro"), ("t3", "micro")),
    )


def _old(name: str, figures: tuple[int, int, int, int]) -> InstanceType:
    vcpus, memory, interfaces, addresses = figures
    return InstanceType(
        name=name,
        vcpus=vcpus,
        memory_mib=memory,
        cores=vcpus,
        threads_per_core=1,
        clock_ghz=2.0,
        architectures=("i386", "x86_64") if name in ("m1.small", "m1.medium", "t1.micro") else ("x86_64",),
        current=False,
        burstable=name == "t1.micro",
        hypervisor="xen",
        interfaces=interfaces,
        addresses=addresses,
        network="Moderate",
    )
