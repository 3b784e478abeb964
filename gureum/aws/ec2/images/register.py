"""RegisterImage and DeregisterImage: an image file of this machine, or a snapshot of a root volume, becomes an AMI.

    RegisterImage (commit: pending) ─► reconcile: the agent imports the file ─► available, or failed with the reason

The import goes on after a restart of the daemon. Instances that run from a deregistered image go on; its layers stay in the image store.
An image from a snapshot of a root volume starts with what was written to that volume, above the image that lay below it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import ROOT_DEVICE, Image, ImageSpec, ImageStatus, change, own_image, root_mapping
from gureum.aws.ec2.images.imports import Source, locate
from gureum.aws.ec2.images.making import go_on, settle_image
from gureum.aws.ec2.images.names import MACHINE
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.block_devices import image_mappings, is_volume, without_size
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, find_snapshot
from gureum.aws.ec2.volumes.snapshots import refuse_delete
from gureum.aws.ec2.volumes.types import check_volume
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.errors import Retry
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of
from gureum.ports import PortError

_NAME = re.compile(r"[a-zA-Z0-9()\[\] ./\-'@_]{3,128}", re.ASCII)
IMPORT_LIMIT_S = 1800.0
DEFAULT_ROOT_GIB = 8
EC2_ARCHITECTURE = {"amd64": "x86_64"}


@operation("RegisterImage")
async def register_image(call: Call) -> dict[str, Any]:
    """AWS: ec2 RegisterImage. ImageLocation names a file in the home's imports folder (images/imports.py)."""
    params = call.params
    name = new_name(call, params["Name"])
    for member in ("KernelId", "RamdiskId", "BillingProducts", "UefiData"):
        if params.get(member):
            raise ids.not_built(f"RegisterImage with {member}")
    if params.get("VirtualizationType", "hvm") != "hvm":
        raise ids.not_built("RegisterImage with paravirtual images")
    root = _root_snapshot(call)
    if not params.get("ImageLocation") and root is None:
        raise ids.missing("ImageLocation")
    if root is not None and params.get("ImageLocation"):
        raise AwsError("InvalidParameterCombination", "ImageLocation cannot be used with a snapshot as root.")
    source = None if root else await asyncio.to_thread(locate, call.settings.home, params["ImageLocation"])
    transaction = call.transaction()
    spec = _spec(call, name, source)
    if root is not None:
        transaction.require(root)
        spec = msgspec.structs.replace(spec, source=root.spec.base)
    image = Image(
        meta=call.meta(new_id("ami-"), tags=tags_of(call, "image", allow=("snapshot",))),
        spec=spec,
        status=ImageStatus("available" if root else "pending"),
    )
    transaction.create(image)
    claim_name(call, transaction, image)
    await call.commit(transaction)
    return {"ImageId": image.meta.name}


def _root_snapshot(call: Call) -> Snapshot | None:
    """The snapshot that is the root of what is registered. AWS: IncorrectState, InvalidSnapshot.NotFound."""
    device = call.params.get("RootDeviceName") or ROOT_DEVICE
    for mapping in call.params.get("BlockDeviceMappings") or ():
        id_ = (mapping.get("Ebs") or {}).get("SnapshotId")
        if mapping.get("DeviceName") == device and id_:
            snapshot = find_snapshot(call, id_)
            if not snapshot.spec.base:
                raise ids.not_built("RegisterImage from a snapshot of a volume that was no root")
            return snapshot
    return None


@operation("DeregisterImage")
async def deregister_image(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeregisterImage: not while it is protected; instances of it go on. With DeleteAssociatedSnapshots those go that no other has."""
    image = own_image(call, call.params["ImageId"])
    if image.spec.protected:
        text = f"The image '{image.meta.name}' has deregistration protection enabled and cannot be deregistered."
        raise AwsError("OperationNotPermitted", text)
    transaction = call.transaction()
    transaction.delete(image)
    release_name(call, transaction, image)
    go_on(call.client, transaction, image)
    wanted = image.snapshots if call.params.get("DeleteAssociatedSnapshots") else ()
    results = [{"SnapshotId": id_, "ReturnCode": _delete(call, transaction, image, id_)} for id_ in wanted]
    await call.commit(transaction)
    return {"Return": True} | ({"DeleteSnapshotResults": results} if results else {})


def _delete(call: Call, transaction: Transaction, image: Image, id_: str) -> str:
    """AWS: ec2 SnapshotReturnCodes."""
    snapshot = call.get(Snapshot, id_)
    if snapshot is None:
        return "missing-permissions"
    try:
        refuse_delete(call, snapshot, but=image.meta.name)
    except AwsError:
        return "skipped"
    transaction.delete(snapshot)
    return "success"


@reconcile(Image)
async def reconcile_image(world: World, image: Image) -> None:
    """Brings a pending image into the machine's image store, or its snapshots about."""
    if image.status.state != "pending":
        return
    if not image.spec.path:
        await settle_image(world, image)
        return
    if not world.link.connected:
        raise Retry("the agent is away")
    now = world.clock.now()
    try:
        request = {"op": "import", "path": image.spec.path, "form": image.spec.form}
        found = await world.link.ask(request, timeout_s=IMPORT_LIMIT_S)
    except PortError as refused:
        if refused.retry and not world.link.connected:
            raise Retry(refused.why) from refused
        world.events.record(key_of(image), now, "ImportFailed", refused.why, warning=True)
        await _end(world, image, ImageStatus("failed", refused.why))
        return
    architecture = EC2_ARCHITECTURE.get(found["architecture"], found["architecture"])
    if architecture != image.spec.architecture:
        why = f"the image is for {architecture}, it was registered for {image.spec.architecture}"
        await _end(world, image, ImageStatus("failed", why))
        return
    await _end(world, change(image, source=f"digest:{found['digest']}"), ImageStatus("available"))
    world.events.record(key_of(image), world.clock.now(), "Imported", f"{found['size_bytes'] >> 20} MiB unpacked")


async def _end(world: World, image: Image, status: ImageStatus) -> None:
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(image, status=status))
    await transaction.commit()


def _spec(call: Call, name: str, source: Source | None) -> ImageSpec:
    params = call.params
    device = params.get("RootDeviceName") or ROOT_DEVICE
    wished = (one for one in image_mappings(params) if one.get("NoDevice") is None)
    mappings = tuple(_mapping(call, one, device) for one in wished)
    if not any(one["DeviceName"] == device for one in mappings):
        mappings = (*root_mapping(device, DEFAULT_ROOT_GIB), *mappings)
    root = next(one for one in mappings if one["DeviceName"] == device)
    if not is_volume(root):
        raise AwsError("InvalidBlockDeviceMapping", f"The root device {device} is no EBS volume.")
    spec = ImageSpec(
        name=name,
        source="",
        mappings=mappings,
        path=source.path if source else "",
        form=source.form if source else "",
        location=f"{call.account}/{name}",
        description=params.get("Description") or "",
        root_device=device,
        least_gib=(root.get("Ebs") or {}).get("VolumeSize") or DEFAULT_ROOT_GIB,
        ena=bool(params.get("EnaSupport", True)),
        boot_mode=ids.choice(params, "BootMode", "", "legacy-bios", "uefi", "uefi-preferred"),
        tpm=ids.choice(params, "TpmSupport", "", "v2.0"),
        imds=ids.choice(params, "ImdsSupport", "", "v2.0"),
        sriov=params.get("SriovNetSupport") or "",
    )
    return msgspec.structs.replace(
        spec, architecture=ids.choice(params, "Architecture", MACHINE, "x86_64", "arm64", "i386")
    )


def _mapping(call: Call, one: dict[str, Any], root: str) -> dict[str, Any]:
    if not is_volume(one):
        return {"DeviceName": one["DeviceName"], "VirtualName": one["VirtualName"]}
    ebs = one.get("Ebs") or {}
    if one["DeviceName"] != root and not ebs.get("SnapshotId") and ebs.get("VolumeSize") is None:
        raise without_size(one["DeviceName"])
    snapshot = find_snapshot(call, ebs["SnapshotId"]) if ebs.get("SnapshotId") else None
    size = snapshot.spec.size_gib if snapshot else 0
    if snapshot and "Encrypted" in ebs and ebs["Encrypted"] != bool(snapshot.spec.key):
        text = "The encryption of an image's disk is that of its snapshot and cannot be given."
        raise AwsError("InvalidBlockDeviceMapping", text)
    filled = {
        "VolumeSize": size or DEFAULT_ROOT_GIB,
        "VolumeType": "gp2",
        "DeleteOnTermination": True,
        "Encrypted": bool(snapshot and snapshot.spec.key),
    }
    ebs = {**filled, **ebs}
    check_volume(ebs, "", least_gib=size or 1)
    return {"DeviceName": one["DeviceName"], "Ebs": ebs}


def new_name(call: Call, name: str) -> str:
    """AWS: InvalidAMIName.Malformed, InvalidAMIName.Duplicate."""
    if _NAME.fullmatch(name) is None:
        text = (
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '.', '-', '/', '[', ']', ' ', ''', '@' and '_'"
        )
        raise AwsError("InvalidAMIName.Malformed", text)
    same = call.by(Image, "name", name)
    if same:
        raise AwsError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {same[0].meta.name}")
    return name


def claim_name(call: Call, transaction: Transaction, image: Image) -> None:
    """Of two images that get one name at the same time only one does."""
    transaction.claim(_name_space(call), _name_claim(image.spec.name), key_of(image))


def release_name(call: Call, transaction: Transaction, image: Image) -> None:
    transaction.release(_name_space(call), _name_claim(image.spec.name))


def _name_space(call: Call) -> str:
    return f"image-name/{call.scope}"


def _name_claim(name: str) -> str:
    # Claims must not hold a "/", image names may.
    return hashlib.sha256(name.encode()).hexdigest()
