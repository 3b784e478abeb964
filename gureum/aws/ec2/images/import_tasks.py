"""ImportImage: an AMI from a container image or an archive of a root file system, wherever it lies.

    Url "oci://127.0.0.1:5000/NAME:TAG"     an image of a registry on this machine
    Url "s3://BUCKET/KEY", or UserBucket    a tar in a bucket (S3 as a neighbour)
    Url "imports/NAME"                      a file of the home's imports folder, as RegisterImage takes it
    SnapshotId                              a snapshot of a root volume

    ImportImage (commit: active) ─► fetched into the home ─► Image (pending) ─► the agent imports it ─► completed, or deleted with the reason

Disk images (VMDK, VHD, OVA, raw) are refused: a machine here has no disk of its own making, see docs/decisions/0063-volumes-come-as-file-systems.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import ROOT_DEVICE, Image, ImageSpec, ImageStatus, root_mapping
from gureum.aws.ec2.images.imports import FOLDER, locate
from gureum.aws.ec2.images.names import MACHINE
from gureum.aws.ec2.images.register import DEFAULT_ROOT_GIB, EC2_ARCHITECTURE, claim_name, release_name
from gureum.aws.ec2.instance_ids import IMPORT_TASK
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.ec2.listing import answer, listing, nothing, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.ebs_encryption import wanted_key
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, find_snapshot
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.base.oci_registry import Reference, RegistryError, fetch
from gureum.core.neighbours import NeighbourRefused
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import Resource, key_of, kind

_S3 = re.compile(r"s3://([a-z0-9.-]{3,63})/(.{1,1024})", re.ASCII)
FORMS = ("", "oci", "docker", "rootfs", "tar")
NOT_BUILT = ("LicenseSpecifications", "UsageOperation")
LIMIT_ACTIVE = 20


class ImportSpec(msgspec.Struct, frozen=True):
    """One of `reference` ("127.0.0.1:5000/web:1"), `bucket` with `object_key`, `file` (a name in the imports folder) and `snapshot`. `kms_key`: of
    the image's root, "" when it is not encrypted."""

    architecture: str
    description: str = ""
    reference: str = ""
    bucket: str = ""
    object_key: str = ""
    file: str = ""
    snapshot: str = ""
    url: str = ""
    format: str = ""
    license: str = ""
    boot_mode: str = ""
    kms_key: str = ""
    disk: tuple[str, str] = ("", "")
    """What the caller says of the disk: its description and its device's name, which are told again."""


class ImportStatus(msgspec.Struct, frozen=True):
    state: Literal["active", "completed", "deleted"] = "active"
    message: str = "pending"
    image: str = ""


@kind("ec2.ImportImageTask", indexes={"image": lambda one: one.status.image or ()})
class ImportImageTask(Resource, frozen=True):
    spec: ImportSpec
    status: ImportStatus = ImportStatus()


@operation("ImportImage")
async def import_image(call: Call) -> Result:
    """AWS: ec2 ImportImage."""
    done = call.done_before()
    if done is not None:
        found = call.get(ImportImageTask, done[0])
        return _show(found) if found else {}
    params = call.params
    for name in NOT_BUILT:
        if params.get(name):
            raise ids.not_built(f"ImportImage with {name}")
    if ids.choice(params, "Platform", "Linux", "Windows") == "Windows":
        raise ids.not_built("Windows")
    ids.choice(params, "Hypervisor", "xen")
    if sum(1 for one in call.all(ImportImageTask) if one.status.state == "active") >= LIMIT_ACTIVE:
        raise AwsError("ResourceCountLimitExceeded", f"At most {LIMIT_ACTIVE} imports can be active.")
    spec = msgspec.structs.replace(
        await _source(call),
        architecture=ids.choice(params, "Architecture", MACHINE, "x86_64", "arm64", "i386"),
        description=params.get("Description") or "",
        disk=tuple(params["DiskContainers"][0].get(name) or "" for name in ("Description", "DeviceName")),
        license=ids.choice(params, "LicenseType", "", "AWS", "BYOL"),
        boot_mode=ids.choice(params, "BootMode", "", "legacy-bios", "uefi"),
        kms_key=wanted_key(call, params, ""),
    )
    transaction = call.transaction()
    meta = call.meta(new_id("import-ami-"), tags=tags_of(call, "import-image-task"))
    task = transaction.create(ImportImageTask(meta=meta, spec=spec))
    call.remember(transaction, (task.meta.name,))
    await call.commit(transaction)
    return _show(task)


@operation("DescribeImportImageTasks")
def describe_import_image_tasks(call: Call) -> Result:
    """AWS: ec2 DescribeImportImageTasks."""
    found, token = listing(call, ImportImageTask, IMPORT_TASK, "ImportTaskIds", _FILTERS, default=100)
    return answer("ImportImageTasks", [_show(one) for one in found], token)


@operation("DescribeImportSnapshotTasks", level="state")
def describe_import_snapshot_tasks(call: Call) -> Result:
    """AWS: ec2 DescribeImportSnapshotTasks: there are none, since disk images are not taken (ImportSnapshot is not built)."""
    for id_ in call.params.get("ImportTaskIds") or ():
        raise AwsError("InvalidConversionTaskId", f"The import task ID '{id_[:100]}' does not exist")
    return nothing(call, "ImportSnapshotTasks", "task-state")


@operation("CancelImportTask")
async def cancel_import_task(call: Call) -> Result:
    """AWS: ec2 CancelImportTask: of one that is active; what it has made so far goes."""
    task = ids.find(call, ImportImageTask, IMPORT_TASK, ids.need(call, "ImportTaskId"))
    if task.status.state != "active":
        raise AwsError("IncorrectState", f"The import task '{task.meta.name}' is {task.status.state}.")
    transaction = call.transaction()
    image = call.get(Image, task.status.image) if task.status.image else None
    if image is not None:
        transaction.delete(image)
        release_name(call, transaction, image)
    message = (call.params.get("CancelReason") or "The task was cancelled")[:255]
    transaction.update(_with(task, state="deleted", message=message, image=""))
    await call.commit(transaction)
    return {"ImportTaskId": task.meta.name, "PreviousState": "active", "State": "deleted"}


@watch(Image)
def tasks_of_image(client: Client, image: Image) -> Iterable[str]:
    return [key_of(task) for task in client.by(ImportImageTask, image.meta.scope, "image", image.meta.name)]


@reconcile(ImportImageTask)
async def reconcile_import(world: World, task: ImportImageTask) -> None:
    """Fetches, makes the image, and waits until the agent has it."""
    place = _place(world, task)
    if task.status.state != "active":
        await asyncio.to_thread(_clear, place)
        return
    scope = task.meta.scope
    if not task.status.image:
        try:
            path, form = await _fetched(world, task, place)
        except (RegistryError, NeighbourRefused, AwsError, OSError) as error:
            await _end(world, task, "deleted", f"ClientError: {_why(error)}")
            return
        await _make_image(world, task, path, form)
        return
    image = world.client.get(Image, scope, task.status.image)
    if image is None or image.status.state == "failed":
        await _end(
            world, task, "deleted", f"ClientError: {image.status.reason if image else 'the image was deregistered'}"
        )
    elif image.status.state == "available":
        await _end(world, task, "completed", "")


async def _fetched(world: World, task: ImportImageTask, place: Path) -> tuple[str, str]:
    """(path, form) of what the agent is to import; ("", "") for a snapshot."""
    spec = task.spec
    if spec.snapshot:
        return "", ""
    if spec.file:
        source = await asyncio.to_thread(locate, world.settings.home, spec.file)
        return source.path, spec.format or source.form
    await asyncio.to_thread(_clear, place)
    if spec.reference:
        reference = Reference(spec.reference)
        architecture = next(
            (oci for oci, ec2 in EC2_ARCHITECTURE.items() if ec2 == spec.architecture), spec.architecture
        )
        await asyncio.to_thread(fetch, reference, place, architecture)
        return str(place), "oci"
    account, region = task.meta.scope.split("/")
    wanted = {"Bucket": spec.bucket, "Key": spec.object_key}
    found = await world.neighbours.ask("s3", "GetObject", account, region, wanted)
    await asyncio.to_thread(_write, place, found["Body"])
    source = await asyncio.to_thread(locate, world.settings.home, place.name)
    return source.path, spec.format or source.form


async def _make_image(world: World, task: ImportImageTask, path: str, form: str) -> None:
    spec, call = task.spec, world_call(world, task)
    name = task.meta.name
    mapping = dict(root_mapping(ROOT_DEVICE, DEFAULT_ROOT_GIB)[0])
    snapshot = world.client.get(Snapshot, task.meta.scope, spec.snapshot) if spec.snapshot else None
    if spec.snapshot and (snapshot is None or not snapshot.spec.base):
        await _end(world, task, "deleted", "ClientError: the snapshot is gone")
        return
    ebs = {**mapping["Ebs"]}
    if snapshot is not None:
        ebs |= {"SnapshotId": spec.snapshot, "VolumeSize": snapshot.spec.size_gib, "Encrypted": bool(snapshot.spec.key)}
    elif spec.kms_key:
        ebs |= {"Encrypted": True, "KmsKeyId": spec.kms_key}
    image = Image(
        meta=call.meta(new_id("ami-")),
        spec=ImageSpec(
            name=name,
            source=snapshot.spec.base if snapshot else "",
            mappings=({**mapping, "Ebs": ebs},),
            path=path,
            form=form,
            location=f"{task.meta.scope.partition('/')[0]}/{name}",
            description=spec.description or f"AWS-VMImport service: {name}",
            architecture=spec.architecture,
            least_gib=ebs["VolumeSize"],
            boot_mode=spec.boot_mode,
        ),
        status=ImageStatus("available" if snapshot else "pending"),
    )
    transaction = world.client.transaction()
    if snapshot is not None:
        transaction.require(snapshot)
    transaction.create(image)
    claim_name(call, transaction, image)
    transaction.update(_with(task, message="converting", image=image.meta.name))
    await transaction.commit()


async def _end(world: World, task: ImportImageTask, state: Any, message: str) -> None:
    transaction = world.client.transaction()
    image = world.client.get(Image, task.meta.scope, task.status.image) if task.status.image else None
    if state == "deleted" and image is not None:
        transaction.delete(image)
        release_name(world_call(world, task), transaction, image)
    transaction.update(
        _with(task, state=state, message=message, image=task.status.image if state == "completed" else "")
    )
    await transaction.commit()
    name = "Imported" if state == "completed" else "ImportFailed"
    world.events.record(key_of(task), world.clock.now(), name, message, warning=state != "completed")


async def _source(call: Call) -> ImportSpec:
    """Where it comes from. AWS: MissingParameter, InvalidParameterValue, InvalidParameterCombination, the errors of a snapshot that is not there."""
    containers = call.params.get("DiskContainers") or ()
    if not containers:
        raise ids.missing("DiskContainers")
    if len(containers) > 1:
        raise ids.not_built("ImportImage of several disks")
    one = containers[0]
    if sum(bool(one.get(name)) for name in ("Url", "UserBucket", "SnapshotId")) != 1:
        raise AwsError("InvalidParameterCombination", "A disk container has one of Url, UserBucket and SnapshotId.")
    if one.get("SnapshotId"):
        if not find_snapshot(call, one["SnapshotId"]).spec.base:
            raise ids.not_built("ImportImage from a snapshot of a volume that was no root")
        return ImportSpec(architecture="", snapshot=one["SnapshotId"])
    form = (one.get("Format") or "").lower()
    if form not in FORMS:
        raise ids.not_built(f"ImportImage of disk images ({one['Format'][:20]})")
    spec = ImportSpec(architecture="", format="rootfs" if form == "tar" else form, url=one.get("Url") or "")
    url = spec.url
    if url.startswith("oci://"):
        try:
            Reference(url.removeprefix("oci://"))
        except RegistryError as error:
            raise ids.invalid(f"Value ({url[:200]}) for parameter url is invalid: {error}.") from error
        return msgspec.structs.replace(spec, reference=url.removeprefix("oci://"))
    if url and not url.startswith("s3://"):
        await asyncio.to_thread(locate, call.settings.home, url)
        return msgspec.structs.replace(spec, file=url)
    bucket = one.get("UserBucket") or {}
    parts = _S3.fullmatch(url or f"s3://{bucket.get('S3Bucket') or ''}/{bucket.get('S3Key') or ''}")
    if parts is None:
        raise ids.invalid("The bucket and the key of the disk image are not valid.")
    return msgspec.structs.replace(spec, bucket=parts[1], object_key=parts[2])


def _place(world: World, task: ImportImageTask) -> Path:
    """Where what is fetched lies until the agent has it; a name that no file of the user's has."""
    return Path(world.settings.home) / FOLDER / f".{task.meta.name}"


def _clear(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            place.unlink()


def _write(place: Path, body: Any) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = body if isinstance(body, bytes) else body.read()
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def _why(error: Exception) -> str:
    if isinstance(error, AwsError):
        return error.message
    return error.strerror or "it cannot be kept" if isinstance(error, OSError) else str(error)


def _with(task: ImportImageTask, **fields: Any) -> ImportImageTask:
    return msgspec.structs.replace(task, status=msgspec.structs.replace(task.status, **fields))


def _show(task: ImportImageTask) -> dict[str, Any]:
    """API form. AWS: ec2 ImportImageTask."""
    spec, status = task.spec, task.status
    detail: dict[str, Any] = {"Status": status.state, "Format": spec.format.upper() or None, "Url": spec.url or None}
    if spec.bucket and not spec.url:
        detail["UserBucket"] = {"S3Bucket": spec.bucket, "S3Key": spec.object_key}
    if spec.snapshot:
        detail["SnapshotId"] = spec.snapshot
    detail["Description"], detail["DeviceName"] = spec.disk
    shown: dict[str, Any] = {
        "ImportTaskId": task.meta.name,
        "Architecture": spec.architecture,
        "Platform": "Linux",
        "Hypervisor": "xen",
        "Status": status.state,
        "Encrypted": bool(spec.kms_key),
        "SnapshotDetails": [{name: value for name, value in detail.items() if value}],
        "Tags": show_tags(task.meta.tags),
    }
    optional = {
        "Description": spec.description,
        "ImageId": status.image,
        "KmsKeyId": spec.kms_key,
        "LicenseType": spec.license,
        "BootMode": spec.boot_mode,
        "StatusMessage": status.message,
        "Progress": {"pending": "2", "converting": "50"}.get(status.message, "") if status.state == "active" else "",
    }
    return shown | {name: value for name, value in optional.items() if value}


_FILTERS: FilterTable = {"task-state": lambda one: one.status.state}
