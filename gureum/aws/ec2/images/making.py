"""How an image of an instance, or a copy of an image, comes about.

    CreateImage (reboot)   ─► the machine goes down ─► snapshots of its unmounted volumes ─► completed: available, the machine boots
    CreateImage (NoReboot) ─► snapshots at once, each volume frozen for its moment        ─► completed: available
    CopyImage              ─► copies of the snapshots                                     ─► completed: available
    CreateRestoreImageTask ─► snapshots of what an object of S3 holds (images/storing.py)  ─► completed: available

Everything that is under way stands in the image and in `Instance.spec.imaging`, so it goes on after any crash. An image that fails lets its
instance go on, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.ec2.images.images import Image, ImageStatus, change
from gureum.aws.ec2.instances.kinds import Instance, Volume
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.ec2.instances.lowering import LIVING
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot
from gureum.aws.ec2.volumes.snapshots import snapshot_of
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.registry import watch
from gureum.engine.resource import key_of


@watch(Instance)
def images_of_instance(client: Client, instance: Instance) -> Iterable[str]:
    return [key_of(image) for image in client.by(Image, instance.meta.scope, "making", instance.meta.name)]


@watch(Snapshot)
def images_of_snapshot(client: Client, snapshot: Snapshot) -> Iterable[str]:
    return [key_of(image) for image in client.by(Image, snapshot.meta.scope, "snapshot", snapshot.meta.name)]


async def settle_image(world: World, image: Image) -> None:
    """The next step of a pending image."""
    if image.spec.restoring:
        return
    if image.spec.volumes:
        if await _has_its_turn(world, image) and _is_down(world, image):
            await _take_snapshots(world, image)
        return
    found = [world.client.get(Snapshot, image.meta.scope, id_) for id_ in image.snapshots]
    broken = [one for one in found if one is None or one.status.state == "error"]
    if broken:
        why = broken[0].status.reason if broken[0] else "a snapshot was deleted"
        await end_image(world, image, ImageStatus("failed", why))
    elif all(one is not None and one.status.state == "completed" for one in found):
        await end_image(world, image, ImageStatus("available"))


async def end_image(world: World, image: Image, status: ImageStatus) -> None:
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(image, status=status))
    go_on(world.client, transaction, image)
    await transaction.commit()
    name = "Available" if status.state == "available" else "Failed"
    world.events.record(key_of(image), world.clock.now(), name, status.reason, warning=status.state == "failed")


def go_on(client: Client, transaction: Transaction, image: Image) -> None:
    """An instance that is down for this image boots again."""
    instance = client.get(Instance, image.meta.scope, image.spec.instance) if image.spec.instance else None
    if instance is not None and instance.spec.imaging == image.meta.name:
        spec = msgspec.structs.replace(instance.spec, imaging="", boot=instance.spec.boot + 1)
        transaction.update(msgspec.structs.replace(instance, spec=spec))


def snapshots_for(call: Any, transaction: Transaction, image: Image) -> Image:
    """Makes the snapshots that the image still lacks; the image with them in its mappings. AWS: the errors of CreateSnapshot."""
    text = f"Created by CreateImage({image.spec.instance}) for {image.meta.name}"
    made: dict[str, str] = {}
    group = new_id("", 17) if len(image.spec.volumes) > 1 else ""
    for device, name in image.spec.volumes:
        volume = call.get(Volume, name)
        if volume is None:
            raise AwsError("InvalidVolume.NotFound", f"The volume '{name}' does not exist")
        made[device] = snapshot_of(call, transaction, volume, text, image.spec.snapshot_tags, group).meta.name
    mappings = tuple(
        {**one, "Ebs": {**one["Ebs"], "SnapshotId": made[one["DeviceName"]]}} if one["DeviceName"] in made else one
        for one in image.spec.mappings
    )
    return change(image, mappings=mappings, volumes=())


async def _take_snapshots(world: World, image: Image) -> None:
    transaction = world.client.transaction()
    try:
        changed = snapshots_for(world_call(world, image), transaction, image)
    except AwsError as error:
        await end_image(world, image, ImageStatus("failed", error.message))
        return
    transaction.update(changed)
    await transaction.commit()


async def _has_its_turn(world: World, image: Image) -> bool:
    """Several that are made of one machine, each with a reboot, are made one after the other: who waits takes it when nobody has it."""
    instance = world.client.get(Instance, image.meta.scope, image.spec.instance)
    if instance is None or instance.status.state not in LIVING or instance.spec.imaging == image.meta.name:
        return True
    if not instance.spec.imaging:
        transaction = world.client.transaction()
        spec = msgspec.structs.replace(instance.spec, imaging=image.meta.name)
        transaction.update(msgspec.structs.replace(instance, spec=spec))
        await transaction.commit()
    return False


def _is_down(world: World, image: Image) -> bool:
    """Whether the machine writes to its disks no more."""
    instance = world.client.get(Instance, image.meta.scope, image.spec.instance)
    if instance is None or instance.status.state not in LIVING:
        return True
    for desired in world.lowering.of(key_of(instance)):
        seen = world.seen(desired.id)
        if desired.kind == "Container":
            return seen is not None and world.is_current(desired) and seen.data.get("state") == "stopped"
    return False
