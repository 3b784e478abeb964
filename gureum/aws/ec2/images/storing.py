"""Images in buckets of S3, which is a neighbour: stored as one object, and restored from it.

    CreateStoreImageTask ─► task (InProgress) ─► blocks of the image's snapshots, packed ─► object IMAGE.bin (Completed, or Failed)
    CreateRestoreImageTask ─► Image (pending) ─► object, unpacked ─► snapshots made of its disks ─► available, as a copy of an image

What is stored are the image's own disks; the base they lie on (BusyBox, Debian, an imported image) stays in the home's image store.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import ROOT_DEVICE, Image, ImageSpec, ImageStatus, own_image, root_mapping
from gureum.aws.ec2.images.objects import LIMIT_BYTES, Manifest, NotStored, pack, read_manifest, unpack
from gureum.aws.ec2.images.register import DEFAULT_ROOT_GIB, claim_name, new_name
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.ec2.listing import answer, not_with_pages
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.block_devices import is_volume
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, SnapshotSpec, find_snapshot
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.core.neighbours import NeighbourRefused
from gureum.core.world import World
from gureum.engine.errors import Retry
from gureum.engine.registry import reconcile
from gureum.engine.resource import Resource, key_of, kind
from gureum.ports import PortError

FOLDER = "image-objects"
LIMIT_ACTIVE = 10
NAME_IN_OBJECT = "gureum-image-name"
RESTORED_VOLUME = "vol-ffffffff"


class StoreSpec(msgspec.Struct, frozen=True):
    image: str
    bucket: str
    object_key: str
    tags: tuple[tuple[str, str], ...] = ()


class StoreStatus(msgspec.Struct, frozen=True):
    """`state`: AWS's StoreTaskState. `reason`: why it failed."""

    state: Literal["InProgress", "Completed", "Failed"] = "InProgress"
    reason: str = ""


@kind("ec2.StoreImageTask", indexes={"image": lambda one: one.spec.image})
class StoreImageTask(Resource, frozen=True):
    spec: StoreSpec
    status: StoreStatus = StoreStatus()


class RestoreSpec(msgspec.Struct, frozen=True):
    image: str
    bucket: str
    object_key: str


@kind("ec2.RestoreImageTask")
class RestoreImageTask(Resource, frozen=True):
    """There until the image has its snapshots, or has failed."""

    spec: RestoreSpec


@operation("CreateStoreImageTask")
async def create_store_image_task(call: Call) -> Result:
    """AWS: ec2 CreateStoreImageTask: one's own image, whose disks are not encrypted. NoSuchBucket, IncorrectState."""
    image = own_image(call, call.params["ImageId"])
    if image.status.state != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{image.meta.name}' is not available")
    _snapshots(call, image)
    bucket = call.params["Bucket"]
    _look(call, "HeadBucket", "NoSuchBucket", f"The bucket {bucket} does not exist.", Bucket=bucket)
    if sum(one.status.state == "InProgress" for one in call.all(StoreImageTask)) >= LIMIT_ACTIVE:
        raise AwsError("ResourceCountLimitExceeded", f"At most {LIMIT_ACTIVE} images can be stored at once.")
    tags = tuple((one.get("Key") or "", one.get("Value") or "") for one in call.params.get("S3ObjectTags") or ())
    spec = StoreSpec(image.meta.name, bucket, f"{image.meta.name}.bin", tags)
    transaction = call.transaction()
    transaction.require(image)
    task = transaction.create(StoreImageTask(meta=call.meta(new_id("store-ami-")), spec=spec))
    await call.commit(transaction)
    return {"ObjectKey": task.spec.object_key}


@operation("DescribeStoreImageTasks")
def describe_store_image_tasks(call: Call) -> Result:
    """AWS: ec2 DescribeStoreImageTasks. InvalidAMIID.NotFound for an image that was never stored and is not there."""
    not_with_pages(call, "ImageIds", "imageIds")
    wanted = call.params.get("ImageIds") or []
    found = call.all(StoreImageTask)
    for id_ in wanted:
        if not call.by(StoreImageTask, "image", id_):
            own_image(call, id_)
    found = [one for one in found if not wanted or one.spec.image in wanted]
    found = apply_filters(found, call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1)
    return answer("StoreImageTaskResults", [_show(one) for one in shown], token)


@operation("CreateRestoreImageTask")
async def create_restore_image_task(call: Call) -> Result:
    """AWS: ec2 CreateRestoreImageTask: with its own name, or another. NoSuchKey; an object that is no image of this cloud ends in a failed image."""
    params = call.params
    bucket, object_key = params["Bucket"], params["ObjectKey"]
    text = f"There is no object {object_key} in the bucket {bucket}."
    found = _look(call, "HeadObject", "NoSuchKey", text, Bucket=bucket, Key=object_key)
    name = params.get("Name") or (found.get("Metadata") or {}).get(NAME_IN_OBJECT, "")
    if int(found.get("ContentLength") or 0) > LIMIT_BYTES:
        raise ids.not_built(f"CreateRestoreImageTask of objects of more than {LIMIT_BYTES >> 30} GiB")
    image = Image(
        meta=call.meta(new_id("ami-"), tags=tags_of(call, "image", allow=("snapshot",))),
        spec=ImageSpec(
            name=new_name(call, name),
            source="",
            mappings=root_mapping(ROOT_DEVICE, DEFAULT_ROOT_GIB),
            location=f"{call.account}/{name}",
            restoring=True,
            snapshot_tags=tags_of(call, "snapshot", allow=("image",)),
        ),
        status=ImageStatus("pending"),
    )
    transaction = call.transaction()
    transaction.create(image)
    claim_name(call, transaction, image)
    task = RestoreSpec(image.meta.name, bucket, object_key)
    transaction.create(RestoreImageTask(meta=call.meta(new_id("restore-ami-"), owner=image), spec=task))
    await call.commit(transaction)
    return {"ImageId": image.meta.name}


@reconcile(StoreImageTask)
async def reconcile_store(world: World, task: StoreImageTask) -> None:
    """Packs and puts; after a crash from the beginning."""
    if task.status.state != "InProgress":
        return
    if not world.link.connected:
        raise Retry("the agent is away")
    status = StoreStatus("Completed")
    place = _folder(world) / task.meta.name
    try:
        await _store(world, task, place)
    except PortError as error:
        if error.retry and not world.link.connected:
            raise Retry(error.why) from error
        status = StoreStatus("Failed", error.why)
    except (NotStored, NeighbourRefused, OSError) as error:
        status = StoreStatus("Failed", str(error))
    except AwsError as error:
        status = StoreStatus("Failed", error.message)
    finally:
        for left in (place, place.with_suffix(".parts")):
            left.unlink(missing_ok=True)
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(task, status=status))
    await transaction.commit()
    world.events.record(key_of(task), world.clock.now(), status.state, status.reason, warning=status.state == "Failed")


@reconcile(RestoreImageTask)
async def reconcile_restore(world: World, task: RestoreImageTask) -> None:
    """Reads the object and has snapshots made of its disks; the image, then like a copy, waits for them. Or it fails."""
    image = world.client.get(Image, task.meta.scope, task.spec.image)
    if image is None:
        return  # deregistered: the task goes with it
    account, region = task.meta.scope.split("/")
    wanted = {"Bucket": task.spec.bucket, "Key": task.spec.object_key}
    try:
        body = (await world.neighbours.ask("s3", "GetObject", account, region, wanted))["Body"]
        content = body if isinstance(body, bytes) else await asyncio.to_thread(body.read)
        manifest, rest = read_manifest(content, world.sealer)
        await asyncio.to_thread(_sweep, _folder(world), _in_use(world))
        files = await asyncio.to_thread(_unpack_all, _folder(world), image.meta.name, manifest, rest)
    except (NotStored, NeighbourRefused, OSError) as error:
        transaction = world.client.transaction()
        transaction.update(msgspec.structs.replace(image, status=ImageStatus("failed", str(error))))
        transaction.delete(task)
        await transaction.commit()
        return
    await _make_snapshots(world, task, image, manifest, files)


async def _make_snapshots(
    world: World, task: RestoreImageTask, image: Image, manifest: Manifest, files: list[Path]
) -> None:
    call, transaction = world_call(world, image), world.client.transaction()
    made: dict[str, str] = {}
    text = f"Restored for {image.meta.name} from {task.spec.bucket}/{task.spec.object_key}"
    for disk, path in zip(manifest.disks, files, strict=True):
        spec = SnapshotSpec(RESTORED_VOLUME, disk.size_gib, base=disk.base, description=text, path=str(path))
        meta = call.meta(new_id("snap-"), tags=image.spec.snapshot_tags)
        made[disk.device] = transaction.create(Snapshot(meta=meta, spec=spec)).meta.name
    mappings = tuple(
        {**one, "Ebs": {**one["Ebs"], "SnapshotId": made[one["DeviceName"]]}} if one["DeviceName"] in made else one
        for one in manifest.mappings
    )
    restored = msgspec.structs.replace(image.spec, mappings=mappings, restoring=False, **manifest.image)
    transaction.update(msgspec.structs.replace(image, spec=restored))
    transaction.delete(task)
    await transaction.commit()


def _in_use(world: World) -> set[str]:
    """Names of the files that pending snapshots are made of, or that are being written."""
    pending = (one for one in world.client.everywhere(Snapshot) if one.spec.path and one.status.state == "pending")
    tasks = (one.spec.image for one in world.client.everywhere(RestoreImageTask))
    stores = (one.meta.name for one in world.client.everywhere(StoreImageTask) if one.status.state == "InProgress")
    return {*(Path(one.spec.path).name for one in pending), *tasks, *stores}


def _sweep(folder: Path, in_use: set[str]) -> None:
    """What was left when an image or a snapshot was deleted on its way."""
    for path in folder.glob("*"):
        if not {path.name, path.stem, path.name.rpartition("-")[0]} & in_use:
            path.unlink(missing_ok=True)


def _snapshots(call: Call, image: Image) -> dict[str, Snapshot]:
    """Those of the image by device. Its root must be among them."""
    found: dict[str, Snapshot] = {}
    for one in image.spec.mappings:
        id_ = (one.get("Ebs") or {}).get("SnapshotId") if is_volume(one) else ""
        if id_:
            found[one["DeviceName"]] = find_snapshot(call, id_)
    if image.spec.root_device not in found:
        raise ids.not_built("CreateStoreImageTask of an image whose root is no snapshot")
    if any(one.spec.key for one in found.values()):
        raise ids.not_built("CreateStoreImageTask of encrypted snapshots")
    return found


def _look(call: Call, wanted: str, code: str, text: str, **params: str) -> dict[str, Any]:
    """What S3 says of a bucket or an object."""
    if not call.known.answers("s3"):
        raise ids.not_built(f'{call.operation} without S3 (the extra "neighbours")')
    try:
        return call.known.answer("s3", wanted, call.account, call.region, **params)
    except NeighbourRefused as error:
        raise AwsError(code, text) from error


async def _store(world: World, task: StoreImageTask, place: Path) -> None:
    spec = task.spec
    account, region = task.meta.scope.split("/")
    call = world_call(world, task)
    image = own_image(call, spec.image)
    await pack(world.link, world.sealer, image, _snapshots(call, image), place)
    wanted: dict[str, Any] = {
        "Bucket": spec.bucket,
        "Key": spec.object_key,
        "Body": await asyncio.to_thread(place.read_bytes),
        "Metadata": {NAME_IN_OBJECT: image.spec.name},
    }
    if spec.tags:
        wanted["Tagging"] = urlencode(spec.tags)
    await world.neighbours.ask("s3", "PutObject", account, region, wanted)


def _unpack_all(folder: Path, image: str, manifest: Manifest, rest: memoryview) -> list[Path]:
    files = []
    for number, disk in enumerate(manifest.disks):
        path = folder / f"{image}-{number}"
        unpack(disk, rest[: disk.data_bytes], path)
        rest = rest[disk.data_bytes :]
        files.append(path)
    return files


def _folder(world: World) -> Path:
    return Path(world.settings.home) / FOLDER


def _show(task: StoreImageTask) -> dict[str, Any]:
    """API form. AWS: ec2 StoreImageTaskResult."""
    spec, status = task.spec, task.status
    shown: dict[str, Any] = {
        "AmiId": spec.image,
        "Bucket": spec.bucket,
        "S3objectKey": spec.object_key,
        "TaskStartTime": task.meta.created,
        "StoreTaskState": status.state,
        "ProgressPercentage": 100 if status.state == "Completed" else 0,
    }
    return shown | ({"StoreTaskFailureReason": status.reason} if status.reason else {})


_FILTERS: FilterTable = {
    "bucket": lambda one: one.spec.bucket,
    "task-state": lambda one: one.status.state,
}
