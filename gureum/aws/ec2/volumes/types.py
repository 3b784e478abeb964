"""EBS volume types: sizes, IOPS and throughput they allow. AWS: "Amazon EBS volume types" (EBS user guide)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.ec2.instances.kinds import VolumeSpec
from gureum.aws.errors import AwsError


class VolumeType(msgspec.Struct, frozen=True):
    """Sizes in GiB, throughput in MiB/s. `iops`: (least, most) that may be asked for, None where it may not; `iops_per_gib`: the most for
    each GiB, beyond `default_iops`, which volumes of every size may have."""

    least_gib: int
    most_gib: int
    iops: tuple[int, int] | None = None
    default_iops: int = 0
    iops_per_gib: int = 0
    throughput: tuple[int, int] | None = None
    default_throughput: int = 0


MIB = 1 << 20
GP2_BURST_IOPS = 3000
STANDARD_IOPS, STANDARD_MIB = 200, 90
MIB_PER_IOPS = 0.25
DEVICE = re.compile(r"(/dev/)?(sd[a-z][0-9]{0,2}|xvd[a-z]{1,2}[0-9]{0,2}|hd[a-z][0-9]{0,2})", re.ASCII)
TYPES = {
    "gp3": VolumeType(1, 65536, (3000, 80000), 3000, 500, (125, 2000), 125),
    "gp2": VolumeType(1, 16384),
    "io1": VolumeType(4, 16384, (100, 64000), iops_per_gib=50),
    "io2": VolumeType(4, 65536, (100, 256000), iops_per_gib=1000),
    "st1": VolumeType(125, 16384),
    "sc1": VolumeType(125, 16384),
    "standard": VolumeType(1, 1024),
}

HARD_DISKS = ("st1", "sc1")


def most_of(volume: VolumeSpec) -> tuple[int, int]:
    """(I/O operations, bytes) a second that a volume may have at most by its type, size and settings: while it bursts, since no credits are
    counted. 0 operations: the type names none. AWS: "Amazon EBS volume types"."""
    tib = volume.size_gib / 1024
    match volume.type:
        case "gp3":
            return volume.iops, volume.throughput * MIB
        case "gp2":
            return max(GP2_BURST_IOPS, volume.iops), (128 if volume.size_gib <= 170 else 250) * MIB
        case "io1":
            mib = volume.iops / 64 if volume.iops > 32000 else min(500, volume.iops / 4)
            return volume.iops, int(mib * MIB)
        case "io2":
            return volume.iops, int(min(4000, volume.iops / 4) * MIB)
        case "st1":
            return 0, int(min(500, 250 * tib) * MIB)
        case "sc1":
            return 0, int(min(250, 80 * tib) * MIB)
        case _:
            return STANDARD_IOPS, STANDARD_MIB * MIB


def check_device(name: str) -> str:
    """AWS: InvalidParameterValue. "/dev/sdf", "/dev/sda1", "/dev/xvdba", "xvdf"."""
    if DEVICE.fullmatch(name) is None:
        text = f"Value ({name}) for parameter device is invalid. {name} is not a valid EBS device name."
        raise AwsError("InvalidParameterValue", text)
    return name


def check_volume(ebs: dict[str, Any], zone: str, *, least_gib: int) -> VolumeSpec:
    """A volume as an `Ebs` mapping or CreateVolume asks for it. AWS: InvalidParameterValue, MissingParameter, UnknownVolumeType,
    InvalidBlockDeviceMapping."""
    name = ebs.get("VolumeType") or "gp2"
    type_ = TYPES.get(name)
    if type_ is None:
        raise AwsError("UnknownVolumeType", f"Unsupported volume type '{name}' for volume creation.")
    size = ebs.get("VolumeSize", ebs.get("Size", least_gib))
    if size < least_gib:
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot, expect size>= {least_gib}GB",
        )
    if not type_.least_gib <= size <= type_.most_gib:
        text = f"Volume size must be between {type_.least_gib} and {type_.most_gib} GiB for volume type '{name}'."
        raise AwsError("InvalidParameterValue", text)
    iops = _iops(name, type_, size, ebs.get("Iops"))
    return VolumeSpec(
        size_gib=size, type=name, zone=zone, iops=iops, throughput=_throughput(name, type_, ebs.get("Throughput"), iops)
    )


def refuse_as_root(type_: str) -> None:
    """Nothing starts from a hard disk. AWS answers as if IOPS had been asked for, and will not change it (aws/aws-sdk issue 542)."""
    if type_ in HARD_DISKS:
        raise AwsError("InvalidParameterCombination", f"The parameter iops is not supported for {type_} volumes.")


def laid_over(before: dict[str, Any], ebs: dict[str, Any]) -> dict[str, Any]:
    """An image's `Ebs` mapping with another laid over it. What the image says of its type's speed is nothing for another type."""
    if ebs.get("VolumeType") and ebs["VolumeType"] != before.get("VolumeType"):
        before = {name: value for name, value in before.items() if name not in ("Iops", "Throughput")}
    return {**before, **ebs}


def _iops(name: str, type_: VolumeType, size: int, wanted: int | None) -> int:
    if wanted is None:
        if name == "gp2":
            return min(16000, max(100, size * 3))
        if type_.iops is not None and not type_.default_iops:
            raise AwsError("MissingParameter", f"The request must contain the parameter iops for volume type '{name}'")
        return type_.default_iops
    if type_.iops is None:
        raise AwsError("InvalidParameterCombination", f"The parameter iops is not supported for {name} volumes.")
    if not type_.iops[0] <= wanted <= type_.iops[1]:
        raise AwsError(
            "InvalidParameterValue",
            f"Volume iops of {wanted} is invalid; it must be between {type_.iops[0]} and {type_.iops[1]}.",
        )
    if wanted > max(type_.default_iops, size * type_.iops_per_gib):
        text = f"Iops to volume size ratio of {wanted / size:f} is too high; maximum is {type_.iops_per_gib}"
        raise AwsError("InvalidParameterValue", text)
    return wanted


def _throughput(name: str, type_: VolumeType, wanted: int | None, iops: int) -> int:
    if wanted is None:
        return type_.default_throughput
    if type_.throughput is None:
        raise AwsError("InvalidParameterCombination", f"The parameter throughput is not supported for {name} volumes.")
    if not type_.throughput[0] <= wanted <= type_.throughput[1]:
        raise AwsError(
            "InvalidParameterValue",
            f"Throughput must be between {type_.throughput[0]} and {type_.throughput[1]} MiB/s.",
        )
    if wanted > iops * MIB_PER_IOPS:
        text = f"Throughput (MiBps) to iops ratio of {wanted / iops:f} is too high; maximum is {MIB_PER_IOPS:f} MiBps per iops."
        raise AwsError("InvalidParameterValue", text)
    return wanted
