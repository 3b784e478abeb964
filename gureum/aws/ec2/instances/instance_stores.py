"""Instance stores: disks that a type brings along, there while the instance runs and empty at each start.

    RunInstances, StartInstances ─► spec.stores: new names, new keys ─► lowered as volumes and disks of the machine ─► /volumes/ephemeralN
    stopped, terminated ─► lowered no more: the files and their keys go; a reboot leaves all as it is

They are no EBS volumes: nothing describes, detaches, snapshots or images them. NVMe ones are all there without being asked for; of the others those
that a block device mapping names ("ephemeral0"). An encrypted type's are, each with a key of its own that nobody knows, where the kernel can. AWS:
"Instance store temporary block storage for EC2 instances"; docs/decisions/0170-instance-stores.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance, StoreDisk
from gureum.aws.ec2.instances.types import InstanceType, find_instance_type
from gureum.aws.ec2.volumes.ebs_encryption import can_encrypt
from gureum.aws.ec2.volumes.host_files import ALWAYS_GIB, holds_file
from gureum.aws.errors import AwsError
from gureum.base.disk_keys import new_disk_key
from gureum.core import specs
from gureum.engine.lowering import Desired
from gureum.ports.volumes import VolumeSpec

GB = 10**9
GIB = 1 << 30
_PREFIX = "ephemeral"
_IMAGES_MAPPINGS_IGNORED = ("m3.",)
"""AWS: BlockDeviceMapping, VirtualName: "For M3 instances, …"."""


def mapped_stores(
    type_: InstanceType, wished: Iterable[dict[str, Any]], asked: Iterable[dict[str, Any]]
) -> tuple[tuple[str, str], ...]:
    """(virtual name, device) of those that mappings name: `wished`, the image's with the call's laid over them; `asked`: the call's."""
    named = asked if type_.name.startswith(_IMAGES_MAPPINGS_IGNORED) else wished
    found: dict[str, str] = {}
    for one in named:
        if one.get("VirtualName") and one.get("NoDevice") is None:
            found.setdefault(one["VirtualName"], one["DeviceName"])
    return tuple(found.items())


def new_stores(
    call: Call, name: str, type_: InstanceType, mapped: tuple[tuple[str, str], ...], start: int
) -> tuple[StoreDisk, ...]:
    """The disks of the instance `name` from this start on (`start`: its number, which no earlier one had). AWS:
    InsufficientInstanceCapacity, when the host's file system holds no file of that size."""
    disks = type_.disks
    if disks is None:
        return ()
    size_gib = -(-disks.size_gb * GB // GIB)
    if size_gib > ALWAYS_GIB and not call.settings.simulate and not holds_file(call.settings.home, size_gib):
        text = f"The file system of this machine holds no disk of {disks.size_gb} GB, which {type_.name} has."
        raise AwsError("InsufficientInstanceCapacity", text, status=500)
    devices = dict(mapped)
    sealed = disks.encrypted and can_encrypt(call)
    return tuple(
        StoreDisk(
            virtual,
            f"{name}-e{number}-{start}",
            disks.size_gb * GB,
            devices.get(virtual, ""),
            new_disk_key(call.sealer) if sealed else "",
        )
        for number, virtual in enumerate(f"{_PREFIX}{number}" for number in range(disks.count))
        if disks.nvme or virtual in devices
    )


def takes_device(instance: Instance, device: str) -> bool:
    """Whether an instance store is at this device. NVMe ones have names of their own, whatever a mapping says."""
    type_ = find_instance_type(instance.spec.type)
    if type_ is None or type_.disks is None or type_.disks.nvme:
        return False
    bare = device.removeprefix("/dev/")
    return any(one.device.removeprefix("/dev/") == bare for one in instance.spec.stores if one.device)


def store_wishes(instance: Instance, owner: str) -> Iterable[Desired]:
    """What they are on the machine."""
    for one in instance.spec.stores:
        wish = specs.Volume(VolumeSpec(one.volume, one.size_bytes, key=one.key))
        yield Desired("Volume", one.volume, owner, wish)


def store_disks(instance: Instance) -> tuple[specs.Disk, ...]:
    """Where the machine finds them: /volumes/ephemeral0."""
    return tuple(specs.Disk(one.volume, one.virtual) for one in instance.spec.stores)


def store_tree(instance: Instance) -> dict[str, str]:
    """What the metadata tells: those that mappings name. AWS: block-device-mapping/ephemeralN: "sdb"."""
    return {
        f"block-device-mapping/{one.virtual}": one.device.removeprefix("/dev/")
        for one in instance.spec.stores
        if one.device
    }
