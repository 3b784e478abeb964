"""AttachVolume, DetachVolume: a volume comes to a machine, also while it runs, and leaves it; and how far a volume is.

    AttachVolume (commit: attaching) ─► lowered as a disk of the instance's container ─► mounted in /volumes/NAME ─► attached
    DetachVolume (commit: detaching) ─► unmounted, "busy" while the machine uses its files (Force: nevertheless) ─► available

A machine gets no block device but the volume's file system, see docs/decisions/0063-volumes-come-as-file-systems.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import INSTANCE, VOLUME
from gureum.aws.ec2.instances.instance_stores import takes_device
from gureum.aws.ec2.instances.kinds import BlockDevice, Instance, Volume, VolumeAttachment
from gureum.aws.ec2.instances.lowering import LIVING, folder_of
from gureum.aws.ec2.instances.types import check_volumes, find_instance_type
from gureum.aws.ec2.interfaces.interfaces import interfaces_of
from gureum.aws.ec2.volumes.changes import is_made, settle_change
from gureum.aws.ec2.volumes.types import check_device
from gureum.aws.ec2.volumes.volumes import change, show_attachment, status_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import key_of

ATTACHABLE = ("running", "stopped")


@operation("AttachVolume")
async def attach_volume(call: Call) -> Result:
    """AWS: ec2 AttachVolume: to a running or stopped instance of its zone."""
    params = call.params
    if params.get("EbsCardIndex"):
        raise ids.not_built("AttachVolume with EbsCardIndex")
    volume = ids.find(call, Volume, VOLUME, params["VolumeId"])
    instance = ids.find(call, Instance, INSTANCE, params["InstanceId"])
    device = check_device(params["Device"])
    if instance.status.state not in ATTACHABLE:
        raise AwsError("IncorrectState", f"Instance '{instance.meta.name}' is not 'running'.")
    if volume.spec.attachment is not None:
        text = f"{volume.meta.name} is already attached to an instance"
        raise AwsError("VolumeInUse", text)
    if status_of(volume) != "available":
        raise AwsError("IncorrectState", f"The volume '{volume.meta.name}' is not 'available'.")
    if volume.spec.zone != instance.spec.zone:
        text = (
            f"The volume '{volume.meta.name}' is not in the same availability zone as instance '{instance.meta.name}'"
        )
        raise AwsError("InvalidVolume.ZoneMismatch", text)
    devices = instance.spec.block_devices
    if any(folder_of(one.device) == folder_of(device) for one in devices) or takes_device(instance, device):
        text = f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        raise ids.invalid(text)
    if device == instance.spec.root_device and instance.status.state != "stopped":
        raise ids.invalid(
            f"Invalid value '{device}' for unixDevice. The root is attached only while the instance is stopped"
        )
    type_ = find_instance_type(instance.spec.type)
    if type_ is not None:
        check_volumes(type_, len(devices) + 1, len(interfaces_of(call, instance.meta.name)))
    state: Any = "attaching" if instance.status.state in LIVING else "attached"
    attached = change(volume, attachment=VolumeAttachment(instance.meta.name, device, call.now, state=state))
    transaction = call.transaction()
    transaction.update(attached)
    transaction.update(_with_devices(instance, (*devices, BlockDevice(device, volume.meta.name, call.now, False))))
    await call.commit(transaction)
    return show_attachment(attached) | {"State": "attaching"}


@operation("DetachVolume")
async def detach_volume(call: Call) -> Result:
    """AWS: ec2 DetachVolume: the root only of a stopped instance."""
    params = call.params
    volume = ids.find(call, Volume, VOLUME, params["VolumeId"])
    attachment = volume.spec.attachment
    if attachment is None:
        raise AwsError("IncorrectState", f"Volume '{volume.meta.name}' is in the 'available' state.")
    if params.get("InstanceId") not in (None, attachment.instance) or params.get("Device") not in (
        None,
        attachment.device,
    ):
        asked = params.get("InstanceId") or attachment.instance, params.get("Device") or attachment.device
        text = f"The volume '{volume.meta.name}' is not attached to instance '{asked[0]}' as device '{asked[1]}'."
        raise AwsError("InvalidAttachment.NotFound", text)
    instance = ids.find(call, Instance, INSTANCE, attachment.instance)
    living = instance.status.state in LIVING
    if living and attachment.device == instance.spec.root_device:
        text = f"Unable to detach root volume '{volume.meta.name}' from instance '{instance.meta.name}'"
        raise AwsError("OperationNotPermitted", text)
    leaving = msgspec.structs.replace(
        attachment, state="detaching", force=attachment.force or bool(params.get("Force"))
    )
    transaction = call.transaction()
    if living:
        transaction.update(change(volume, attachment=leaving))
    else:
        _part(transaction, volume, instance)
    await call.commit(transaction)
    return show_attachment(change(volume, attachment=leaving))


@watch(Instance)
def volumes_under_way(client: Client, instance: Instance) -> Iterable[str]:
    """What is seen of the machine tells how far its disks are."""
    for volume in client.by(Volume, instance.meta.scope, "instance", instance.meta.name):
        if volume.spec.attachment is not None and volume.spec.attachment.state != "attached":
            yield key_of(volume)


@reconcile(Volume)
async def reconcile_volume(world: World, volume: Volume) -> None:
    """Notes what the machine has done: restored from its snapshot, modified, attached, detached. One step a run; the next follows by itself."""
    if (volume.spec.snapshot or volume.spec.source) and not volume.spec.restored:
        if is_made(world, volume):
            transaction = world.client.transaction()
            transaction.update(change(volume, restored=True))
            await transaction.commit()
            world.events.record(
                key_of(volume), world.clock.now(), "Restored", volume.spec.snapshot or volume.spec.source
            )
        return
    if await settle_change(world, volume):
        return
    attachment = volume.spec.attachment
    if attachment is not None and attachment.state != "attached":
        await _settle_attachment(world, volume, attachment)


async def _settle_attachment(world: World, volume: Volume, attachment: VolumeAttachment) -> None:
    instance = world.client.get(Instance, volume.meta.scope, attachment.instance)
    told = _told(world, volume, instance)
    transaction = world.client.transaction()
    if attachment.state == "attaching":
        if told != "attached":
            return
        transaction.update(change(volume, attachment=msgspec.structs.replace(attachment, state="attached")))
    elif told == "detached":
        _part(transaction, volume, instance)
    elif told == "busy" and attachment.state == "detaching":
        transaction.update(change(volume, attachment=msgspec.structs.replace(attachment, state="busy")))
    else:
        return
    await transaction.commit()
    world.events.record(key_of(volume), world.clock.now(), told.capitalize(), attachment.instance)


def _told(world: World, volume: Volume, instance: Instance | None) -> str:
    """How far the machine says it is: "attached", "busy", "detached", "" while it says nothing."""
    assert volume.spec.attachment is not None
    if instance is None or instance.status.state not in LIVING:
        return "attached" if volume.spec.attachment.state == "attaching" else "detached"
    for desired in world.lowering.of(key_of(instance)):
        seen = world.seen(desired.id)
        if desired.kind == "Container" and seen is not None and world.is_current(desired):
            return str((seen.data.get("disks") or {}).get(volume.meta.name, ""))
    return ""


def _part(transaction: Any, volume: Volume, instance: Instance | None) -> None:
    transaction.update(change(volume, attachment=None))
    if instance is not None:
        left = tuple(one for one in instance.spec.block_devices if one.volume != volume.meta.name)
        transaction.update(_with_devices(instance, left))


def _with_devices(instance: Instance, devices: tuple[BlockDevice, ...]) -> Instance:
    return msgspec.structs.replace(instance, spec=msgspec.structs.replace(instance.spec, block_devices=devices))
