"""RegisterImage and DeregisterImage: an image file of this machine becomes an AMI.

    RegisterImage (commit: pending) ─► reconcile: the agent imports the file ─► available, or failed with the reason

The import goes on after a restart of the daemon. Instances that run from a deregistered image go on; its layers stay in the image store.
Images from snapshots (BlockDeviceMappings with a SnapshotId as root) are not built.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.image_imports import Source, locate
from gureum.aws.ec2.image_names import MACHINE
from gureum.aws.ec2.images import ROOT_DEVICE, Image, ImageSpec, ImageStatus, change, own_image, root_mapping
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volume_types import check_volume
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core.world import World
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
    """AWS: ec2 RegisterImage. ImageLocation names a file in the home's imports folder (image_imports.py)."""
    params = call.params
    name = _new_name(call, params["Name"])
    for member in ("KernelId", "RamdiskId", "BillingProducts", "UefiData"):
        if params.get(member):
            raise ids.not_built(f"RegisterImage with {member}")
    if params.get("VirtualizationType", "hvm") != "hvm":
        raise ids.not_built("RegisterImage with paravirtual images")
    if not params.get("ImageLocation"):
        if any((one.get("Ebs") or {}).get("SnapshotId") for one in params.get("BlockDeviceMappings") or ()):
            raise ids.not_built("RegisterImage from a snapshot")
        raise ids.missing("ImageLocation")
    source = await asyncio.to_thread(locate, call.settings.home, params["ImageLocation"])
    transaction = call.transaction()
    image = Image(
        meta=call.meta(new_id("ami-"), tags=tags_of(call, "image", allow=("snapshot",))),
        spec=_spec(call, name, source),
        status=ImageStatus("pending"),
    )
    transaction.create(image)
    transaction.claim(_name_space(call), _name_claim(name), key_of(image))
    await call.commit(transaction)
    return {"ImageId": image.meta.name}


@operation("DeregisterImage")
async def deregister_image(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeregisterImage: not while it is protected; instances of it go on."""
    image = own_image(call, call.params["ImageId"])
    if image.spec.protected:
        text = f"The image '{image.meta.name}' has deregistration protection enabled and cannot be deregistered."
        raise AwsError("OperationNotPermitted", text)
    transaction = call.transaction()
    transaction.delete(image)
    transaction.release(_name_space(call), _name_claim(image.spec.name))
    await call.commit(transaction)
    return {"Return": True}


@reconcile(Image)
async def reconcile_image(world: World, image: Image) -> None:
    """Brings a pending image into the machine's image store."""
    if image.status.state != "pending":
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


def _spec(call: Call, name: str, source: Source) -> ImageSpec:
    params = call.params
    device = params.get("RootDeviceName") or ROOT_DEVICE
    mappings = tuple(_mapping(one) for one in params.get("BlockDeviceMappings") or ())
    if not any(one["DeviceName"] == device for one in mappings):
        mappings = (*root_mapping(device, DEFAULT_ROOT_GIB), *mappings)
    root = next(one for one in mappings if one["DeviceName"] == device)
    spec = ImageSpec(
        name=name,
        source="",
        mappings=mappings,
        path=source.path,
        form=source.form,
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


def _mapping(one: dict[str, Any]) -> dict[str, Any]:
    if not one.get("DeviceName"):
        raise ids.missing("BlockDeviceMapping.DeviceName")
    ebs = one.get("Ebs") or {}
    if ebs.get("SnapshotId"):
        raise ids.not_built("RegisterImage from a snapshot")
    filled = {"VolumeSize": DEFAULT_ROOT_GIB, "VolumeType": "gp2", "DeleteOnTermination": True, "Encrypted": False}
    ebs = {**filled, **ebs}
    check_volume(ebs, "", least_gib=1)
    return {"DeviceName": one["DeviceName"], "Ebs": ebs}


def _new_name(call: Call, name: str) -> str:
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


def _name_space(call: Call) -> str:
    return f"image-name/{call.scope}"


def _name_claim(name: str) -> str:
    # Claims must not hold a "/", image names may.
    return hashlib.sha256(name.encode()).hexdigest()
