"""CreateReplaceRootVolumeTask: a running instance gets another root, and keeps its interfaces, addresses and other disks.

    CreateReplaceRootVolumeTask (one commit: new volume, old one free, boot + 1) ─► in-progress
      ─► the agent makes the volume, then takes the machine down and boots it on the new root ─► succeeded, the old volume deleted if wished

The new root comes from the image as at the launch, from a snapshot of the root, from another image, or is a volume that is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import find_launch_image
from gureum.aws.ec2.instance_ids import INSTANCE, ROOT_REPLACEMENT, VOLUME
from gureum.aws.ec2.instances.kinds import BlockDevice, Instance, Volume, VolumeAttachment, VolumeSpec
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.listing import answer, iso_time, listing, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.ebs_encryption import encrypted, with_key
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, find_snapshot, from_snapshot
from gureum.aws.ec2.volumes.volumes import change, status_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import Resource, key_of, kind

VISIBLE_S = 30 * 86400.0


class TaskSpec(msgspec.Struct, frozen=True):
    """`old`, `new`: volumes. `image`, `snapshot`: what was asked for. `boot`: the instance's, with the new root."""

    instance: str
    old: str
    new: str
    boot: int
    image: str = ""
    snapshot: str = ""
    delete_old: bool = False


class TaskStatus(msgspec.Struct, frozen=True):
    state: Literal["in-progress", "succeeded", "failed-detached"] = "in-progress"
    completed: float = 0.0


@kind(
    "ec2.ReplaceRootVolumeTask",
    indexes={"under-way": lambda one: (one.spec.instance,) if one.status.state == "in-progress" else ()},
)
class ReplaceRootVolumeTask(Resource, frozen=True):
    spec: TaskSpec
    status: TaskStatus = TaskStatus()


@operation("CreateReplaceRootVolumeTask")
async def create_replace_root_volume_task(call: Call) -> Result:
    """AWS: ec2 CreateReplaceRootVolumeTask."""
    done = call.done_before()
    if done is not None:
        found = call.get(ReplaceRootVolumeTask, done[0])
        return {"ReplaceRootVolumeTask": _show(found)} if found else {}
    params = call.params
    if params.get("VolumeInitializationRate"):
        raise ids.not_built("CreateReplaceRootVolumeTask with VolumeInitializationRate")
    if sum(bool(params.get(name)) for name in ("SnapshotId", "ImageId", "VolumeId")) > 1:
        text = "Only one of SnapshotId, ImageId and VolumeId may be specified."
        raise AwsError("InvalidParameterCombination", text)
    instance = ids.find(call, Instance, INSTANCE, params["InstanceId"])
    if instance.status.state != "running" or instance.spec.imaging:
        raise AwsError("IncorrectInstanceState", f"The instance '{instance.meta.name}' is not in the 'running' state.")
    if call.by(ReplaceRootVolumeTask, "under-way", instance.meta.name):
        text = f"The root volume of the instance '{instance.meta.name}' is being replaced."
        raise AwsError("IncorrectState", text)
    device = next(one for one in instance.spec.block_devices if one.device == instance.spec.root_device)
    old = ids.find(call, Volume, VOLUME, device.volume)
    transaction = call.transaction()
    attachment = VolumeAttachment(instance.meta.name, device.device, call.now, device.delete_on_termination)
    if params.get("VolumeId"):
        new = transaction.update(change(_given(call, old), attachment=attachment))
    else:
        spec = with_key(call, msgspec.structs.replace(_wanted(call, instance, old), attachment=attachment))
        new = transaction.create(Volume(meta=call.meta(new_id("vol-"), tags=old.meta.tags), spec=spec))
    transaction.update(change(old, attachment=None))
    devices = tuple(
        BlockDevice(one.device, new.meta.name, call.now, one.delete_on_termination) if one == device else one
        for one in instance.spec.block_devices
    )
    boot = instance.spec.boot + 1
    changed = msgspec.structs.replace(instance.spec, block_devices=devices, boot=boot)
    transaction.update(msgspec.structs.replace(instance, spec=changed))
    task = TaskSpec(
        instance=instance.meta.name,
        old=old.meta.name,
        new=new.meta.name,
        boot=boot,
        image=params.get("ImageId") or "",
        snapshot=params.get("SnapshotId") or "",
        delete_old=bool(params.get("DeleteReplacedRootVolume")),
    )
    meta = call.meta(new_id("replacevol-"), tags=tags_of(call, "replace-root-volume-task"))
    made = transaction.create(ReplaceRootVolumeTask(meta=meta, spec=task))
    for past in call.all(ReplaceRootVolumeTask):
        if past.status.completed and past.status.completed + VISIBLE_S < call.now:
            transaction.delete(past)
    call.remember(transaction, (made.meta.name,))
    await call.commit(transaction)
    return {"ReplaceRootVolumeTask": _show(made) | {"TaskState": "pending"}}


@operation("DescribeReplaceRootVolumeTasks")
def describe_replace_root_volume_tasks(call: Call) -> Result:
    """AWS: ec2 DescribeReplaceRootVolumeTasks."""
    found, token = listing(
        call, ReplaceRootVolumeTask, ROOT_REPLACEMENT, "ReplaceRootVolumeTaskIds", _FILTERS, least=1, default=50
    )
    return answer("ReplaceRootVolumeTasks", [_show(one) for one in found], token)


@watch(Instance)
def tasks_of_instance(client: Client, instance: Instance) -> Iterable[str]:
    found = client.by(ReplaceRootVolumeTask, instance.meta.scope, "under-way", instance.meta.name)
    return [key_of(task) for task in found]


@reconcile(ReplaceRootVolumeTask)
async def reconcile_task(world: World, task: ReplaceRootVolumeTask) -> None:
    """Notes that the machine runs on its new root."""
    if task.status.state != "in-progress":
        return
    scope = task.meta.scope
    instance = world.client.get(Instance, scope, task.spec.instance)
    ended = instance is None or instance.status.state in ("shutting-down", "terminated")
    if not ended and not (instance and _runs(world, instance)):
        return
    state: Any = "failed-detached" if ended else "succeeded"
    transaction = world.client.transaction()
    status = TaskStatus(state, world.clock.now())
    transaction.update(msgspec.structs.replace(task, status=status))
    old = world.client.get(Volume, scope, task.spec.old)
    if task.spec.delete_old and old is not None and old.spec.attachment is None:
        transaction.delete(old)
    await transaction.commit()
    world.events.record(key_of(task), world.clock.now(), "Replaced" if not ended else "Failed", task.spec.new)


def _runs(world: World, instance: Instance) -> bool:
    for desired in world.lowering.of(key_of(instance)):
        seen = world.seen(desired.id)
        if desired.kind == "Container":
            return seen is not None and world.is_current(desired) and seen.data.get("state") == "running"
    return False


def _given(call: Call, old: Volume) -> Volume:
    """The volume that is to be the root. AWS: IncorrectState, InvalidVolume.ZoneMismatch, InvalidParameterValue."""
    volume = ids.find(call, Volume, VOLUME, call.params["VolumeId"])
    if status_of(volume) != "available":
        raise AwsError("IncorrectState", f"The volume '{volume.meta.name}' is not 'available'.")
    if volume.spec.zone != old.spec.zone:
        text = f"The volume '{volume.meta.name}' is not in the same availability zone as the instance"
        raise AwsError("InvalidVolume.ZoneMismatch", text)
    if not volume.spec.base:
        raise ids.invalid(f"The volume '{volume.meta.name}' was never a root volume.")
    if old.encrypted and not volume.encrypted:
        raise ids.invalid(f"The volume '{volume.meta.name}' is not encrypted, the root volume is.")
    return volume


def _wanted(call: Call, instance: Instance, old: Volume) -> VolumeSpec:
    """The new root like the old one, with other content. AWS: InvalidParameterValue."""
    params = call.params
    bare = msgspec.structs.replace(
        old.spec, snapshot="", source="", restored=False, change=None, modified=(), key="", kms_key="", snapshot_key=""
    )
    ebs = {"Encrypted": old.encrypted, **({"KmsKeyId": old.spec.kms_key} if old.encrypted else {})}
    if params.get("SnapshotId"):
        snapshot = find_snapshot(call, params["SnapshotId"])
        if not snapshot.spec.base:
            raise ids.invalid(f"The snapshot '{snapshot.meta.name}' is none of a root volume.")
        return encrypted(call, from_snapshot(_large(bare, snapshot), snapshot), ebs, snapshot)
    image = find_launch_image(call, params.get("ImageId") or instance.spec.image)
    type_ = find_instance_type(instance.spec.type)
    if type_ is None or image.architecture not in type_.architectures:
        raise ids.invalid(f"The architecture of the image '{image.id}' is not that of the instance.")
    mapping = next((one for one in image.block_devices if one["DeviceName"] == image.root_device), {})
    id_ = (mapping.get("Ebs") or {}).get("SnapshotId")
    first = find_snapshot(call, id_) if id_ else None
    bare = msgspec.structs.replace(bare, base=image.source, size_gib=max(bare.size_gib, image.size_gib))
    if first is None:
        return encrypted(call, bare, ebs, None)
    filled = msgspec.structs.replace(from_snapshot(_large(bare, first), first), base=image.source)
    return encrypted(call, filled, ebs, first)


def _large(volume: VolumeSpec, snapshot: Snapshot) -> VolumeSpec:
    return msgspec.structs.replace(volume, size_gib=max(volume.size_gib, snapshot.spec.size_gib))


def _show(task: ReplaceRootVolumeTask) -> dict[str, Any]:
    """API form. AWS: ec2 ReplaceRootVolumeTask."""
    spec, status = task.spec, task.status
    shown: dict[str, Any] = {
        "ReplaceRootVolumeTaskId": task.meta.name,
        "InstanceId": spec.instance,
        "TaskState": status.state,
        "StartTime": iso_time(task.meta.created),
        "DeleteReplacedRootVolume": spec.delete_old,
        "Tags": show_tags(task.meta.tags),
    }
    optional = {
        "ImageId": spec.image,
        "SnapshotId": spec.snapshot,
        "CompleteTime": iso_time(status.completed) if status.completed else "",
    }
    return shown | {name: value for name, value in optional.items() if value}


_FILTERS: FilterTable = {"instance-id": lambda one: one.spec.instance, "task-state": lambda one: one.status.state}
