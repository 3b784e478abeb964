"""Instance types: the figures of the common families, as AWS tells them. They are read from a table beside this file when first asked for.

The table (instance_types.tsv) has a row per type; a "-" is what a type has not. Source: AWS ec2 DescribeInstanceTypes, us-east-1, as the
package moto 5.2 (PyPI) carries those answers.
vCPUs, memory and instance stores are what gureum gives; the other figures tell of AWS's hardware. Bare metal, types with GPUs or other
accelerators, and those with several network cards are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import msgspec

from gureum.aws.errors import AwsError

MIB = 1 << 20
TABLE = Path(__file__).with_name("instance_types.tsv")
FLAGS = {
    "C": "current",
    "B": "burstable",
    "F": "free_tier",
    "R": "auto_recovery",
    "D": "dedicated_hosts",
    "H": "hibernation",
    "E": "efa",
    "T": "encrypted_in_transit",
    "6": "ipv6",
    "N": "enclaves",
    "P": "precision_clock",
    "S": "ena_express",
    "Q": "flexible_queues",
    "W": "bandwidth_weightings",
    "V": "paravirtual",
    "A": "amd_sev_snp",
    "L": "cluster_placement",
    "O": "spot",
    "M": "reboot_migration",
    "K": "short_tracking",
    "X": "no_tpm",
}
"""Letters of the table's column `flags`."""


class EbsLimits(msgspec.Struct, frozen=True):
    """Bandwidth in Mbit/s, operations per second."""

    baseline_mbps: int
    baseline_iops: int
    maximum_mbps: int
    maximum_iops: int


class LocalDisks(msgspec.Struct, frozen=True):
    """The type's instance store (instance_stores.py). `size_gb`: of each, in 10^9 bytes. `kind`: "ssd" or "hdd". `nvme`: all are there without
    being asked for; else those that a block device mapping names. `encrypted`: with a key that goes with them."""

    count: int
    size_gb: int
    kind: str
    nvme: bool
    encrypted: bool


class InstanceType(msgspec.Struct, frozen=True):
    """`cores`: physical ones; `valid_cores`: what CpuOptions may ask for. `network`: AWS's words. `base_gbps`, `peak_gbps`: of the network.
    `ena`, `ebs_optimized`: "required", "supported", "default", "unsupported". `attachments`: EBS volumes, shared with interfaces or not."""

    name: str
    vcpus: int
    cores: int
    threads_per_core: int
    valid_cores: tuple[int, ...]
    clock_ghz: float
    memory_mib: int
    architectures: tuple[str, ...]
    maker: str
    hypervisor: str
    flags: frozenset[str]
    interfaces: int
    addresses: int
    network: str
    base_gbps: float
    peak_gbps: float
    ena: str
    ebs_optimized: str
    ebs: EbsLimits | None
    attachments: int
    attachments_shared: bool
    disks: LocalDisks | None

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * MIB

    @property
    def burstable(self) -> bool:
        return "burstable" in self.flags

    @property
    def default_credits(self) -> str:
        """AWS: "unlimited" for T3 and newer, "standard" for T2, none for others."""
        if not self.burstable or self.name.startswith("t1."):
            return ""
        return "standard" if self.name.startswith("t2.") else "unlimited"


def check_addresses(type_: InstanceType, number: int) -> None:
    """Whether an interface of an instance of this type can have so many private addresses. AWS: PrivateIpAddressLimitExceeded."""
    if number > type_.addresses:
        text = f"Number of private addresses will exceed limit: an interface of {type_.name} has at most {type_.addresses}."
        raise AwsError("PrivateIpAddressLimitExceeded", text)


def check_volumes(type_: InstanceType, number: int, interfaces: int) -> None:
    """Whether an instance of this type may have so many volumes, the root among them, beside so many interfaces. AWS: AttachmentLimitExceeded;
    "Amazon EBS volume limits for EC2 instances": on Nitro they share their places with further interfaces, unless they have their own."""
    shared = type_.attachments_shared and type_.hypervisor == "nitro"
    most = type_.attachments - max(0, interfaces - 1) if shared else type_.attachments
    if number > most:
        text = f"Volume attachment limit exceeded: an instance of type {type_.name} has at most {most} volumes"
        raise AwsError(
            "AttachmentLimitExceeded", f"{text} beside {interfaces} network interfaces." if shared else f"{text}."
        )


@lru_cache(maxsize=1024)
def find_instance_type(name: str) -> InstanceType | None:
    """None when gureum does not know the type."""
    names, rows = _table()
    return _type(dict(zip(names, rows[name].split("\t"), strict=True))) if name in rows else None


@cache
def all_types() -> dict[str, InstanceType]:
    """Every type, by name, in the table's order."""
    return {name: one for name in _table()[1] if (one := find_instance_type(name)) is not None}


@cache
def _table() -> tuple[list[str], dict[str, str]]:
    """Names of the columns, and the rows by type. A row becomes a type only when it is asked for: few are, and at first use."""
    lines = TABLE.read_text(encoding="ascii").splitlines()
    return lines[0].split("\t"), {line.partition("\t")[0]: line for line in lines[1:]}


def _type(row: dict[str, str]) -> InstanceType:
    attachments, _, limit = row["ebs_attachments"].partition(":")
    return InstanceType(
        name=row["name"],
        vcpus=int(row["vcpus"]),
        cores=int(row["cores"]),
        threads_per_core=int(row["threads"]),
        valid_cores=tuple(_numbers(row["valid_cores"])),
        clock_ghz=float(_or(row["clock_ghz"], "0")),
        memory_mib=int(row["memory_mib"]),
        architectures=tuple(row["architectures"].split("+")),
        maker=row["maker"],
        hypervisor=row["hypervisor"],
        flags=frozenset(FLAGS[letter] for letter in _or(row["flags"], "")),
        interfaces=int(row["interfaces"]),
        addresses=int(row["addresses"]),
        network=row["network"],
        base_gbps=float(row["base_gbps"]),
        peak_gbps=float(row["peak_gbps"]),
        ena=row["ena"],
        ebs_optimized=row["ebs_optimized"],
        ebs=None if row["ebs_limits"] == "-" else EbsLimits(*map(int, row["ebs_limits"].split(":"))),
        attachments=int(attachments),
        attachments_shared=limit == "shared",
        disks=_disks(row["storage"]),
    )


def _numbers(text: str) -> Iterator[int]:
    """ "1,2" or "2-16/2" (a step) → the numbers."""
    if text == "-":
        return
    span, _, step = text.partition("/")
    if "-" in span:
        first, last = span.split("-")
        yield from range(int(first), int(last) + 1, int(step or 1))
    else:
        yield from map(int, span.split(","))


def _disks(text: str) -> LocalDisks | None:
    """ "2x160:hdd", "1x50:ssd:nvme:encrypted"."""
    if text == "-":
        return None
    sizes, kind, *words = text.split(":")
    count, _, size = sizes.partition("x")
    return LocalDisks(int(count), int(size), kind, "nvme" in words, "encrypted" in words)


def _or(text: str, otherwise: str) -> str:
    return otherwise if text == "-" else text
