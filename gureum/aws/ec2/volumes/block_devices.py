"""Block device mappings as calls give them: which devices are meant, and that none is meant twice.

    Ebs           a volume
    VirtualName   an instance store ("ephemeral0"), where the type has it (instances/instance_stores.py)
    NoDevice      what would be at that device is left out

Texts of the errors are AWS's, as its users have reported them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gureum.aws.ec2 import ids
from gureum.aws.ec2.volumes.types import DEVICE
from gureum.aws.errors import AwsError

_STORE = re.compile(r"ephemeral([0-9]|1[0-9]|2[0-3])")
# Who names one of these wants a volume. The others clients send along with an instance store, and AWS lets them (Packer before 0.8).
_OF_VOLUMES = ("SnapshotId", "VolumeSize", "Iops", "Throughput", "KmsKeyId")
_NOT_BUILT = ("OutpostArn", "VolumeInitializationRate", "AvailabilityZone", "AvailabilityZoneId", "EbsCardIndex")
Mapping = dict[str, Any]


def launch_mappings(params: Mapping, present: Iterable[str]) -> list[Mapping]:
    """Of RunInstances, to be laid over those of the image, whose devices are `present`: a device goes by one name. AWS: MissingParameter,
    InvalidBlockDeviceMapping."""
    names = {_bare(name): name for name in present}
    found: list[Mapping] = []
    taken = set[str]()
    for one in _checked(params):
        device = one["DeviceName"]
        bare = _bare(device)
        if bare in taken or names.get(bare, device) != device:
            raise _invalid(f"The device '{bare}' is used in more than one block-device mapping")
        if one.get("NoDevice") is None and not one.get("VirtualName") and one.get("Ebs") is None:
            raise AwsError("MissingParameter", "The request must contain the parameter ebs")
        taken.add(bare)
        found.append(one)
    return found


def image_mappings(params: Mapping) -> list[Mapping]:
    """Of RegisterImage or CreateImage. AWS: MissingParameter, InvalidBlockDeviceMapping."""
    found, taken = [], set[str]()
    for one in _checked(params):
        bare = _bare(one["DeviceName"])
        if bare in taken:
            raise _invalid(f"{one['DeviceName']} is being assigned to multiple times.")
        taken.add(bare)
        found.append(one)
    return found


def is_volume(mapping: Mapping) -> bool:
    return mapping.get("NoDevice") is None and not mapping.get("VirtualName")


def without_size(device: str) -> AwsError:
    """An image's disk of which nobody says how large it is."""
    return _invalid(f"Either snapshot ID or volume size must be provided for: {device}")


def _checked(params: Mapping) -> list[Mapping]:
    found = params.get("BlockDeviceMappings") or []
    for one in found:
        device = one.get("DeviceName")
        if not device:
            raise ids.missing("BlockDeviceMapping.DeviceName")
        if DEVICE.fullmatch(device) is None:
            raise _invalid(f"Invalid device name {device[:200]}")
        name, ebs = one.get("VirtualName"), one.get("Ebs") or {}
        if name and _STORE.fullmatch(name) is None:
            raise _invalid(f"Invalid virtual name '{name[:200]}'")
        for member in _NOT_BUILT:
            if ebs.get(member):
                raise ids.not_built(f"A block device mapping with {member}")
        for member in _OF_VOLUMES if name else ():
            if ebs.get(member) is not None:
                raise _invalid(f"{member[0].lower()}{member[1:]} can only be modified on EBS devices")
    return list(found)


def _bare(device: str) -> str:
    return device.removeprefix("/dev/")


def _invalid(text: str) -> AwsError:
    return AwsError("InvalidBlockDeviceMapping", text)
