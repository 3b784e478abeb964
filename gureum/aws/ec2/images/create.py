"""CreateImage and CopyImage: an AMI from an instance, and from another AMI. How they come about: images/making.py."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import Image, ImageSpec, ImageStatus, find_image, namesakes, no_image, others_images
from gureum.aws.ec2.images.making import snapshots_for
from gureum.aws.ec2.images.register import claim_name, new_name
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.kinds import Instance, Volume
from gureum.aws.ec2.instances.lowering import LIVING
from gureum.aws.ec2.listing import as_shared
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.block_devices import image_mappings, is_volume, without_size
from gureum.aws.ec2.volumes.ebs_encryption import wanted_key
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, may_restore
from gureum.aws.ec2.volumes.snapshots import copy_of, known_region
from gureum.aws.ec2.volumes.types import check_volume, laid_over
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


@operation("CreateImage")
async def create_image(call: Call) -> Result:
    """AWS: ec2 CreateImage: of a running or stopped instance; a running one reboots, unless NoReboot."""
    params = call.params
    if params.get("BootModeOverride"):
        raise ids.not_built("CreateImage with BootModeOverride")
    if params.get("SnapshotLocation") not in (None, "regional"):
        raise ids.not_built("CreateImage with SnapshotLocation")
    instance = ids.find(call, Instance, INSTANCE, params["InstanceId"])
    if instance.status.state not in ("running", "stopped", "stopping"):
        text = f"The instance '{instance.meta.name}' is not in a valid state: {instance.status.state}."
        raise AwsError("IncorrectState", text)
    name, spec = new_name(call, params["Name"]), instance.spec
    mappings, volumes = _mappings(call, instance)
    root = next((call.get(Volume, volume) for device, volume in volumes if device == spec.root_device), None)
    if root is None:
        raise AwsError("InvalidBlockDeviceMapping", "The root device cannot be left out of the block device mapping.")
    image = Image(
        meta=call.meta(new_id("ami-"), tags=tags_of(call, "image", allow=("snapshot",))),
        spec=ImageSpec(
            name=name,
            source=root.spec.base or spec.image_source,
            mappings=mappings,
            location=f"{call.account}/{name}",
            description=ids.description(call.params),
            root_device=spec.root_device,
            least_gib=root.spec.size_gib,
            instance=instance.meta.name,
            volumes=volumes,
            snapshot_tags=tags_of(call, "snapshot", allow=("image",)),
        ),
        status=ImageStatus("pending"),
    )
    transaction = call.transaction()
    if instance.status.state in LIVING and not params.get("NoReboot"):
        # While another is made of it this one waits for its turn (making.py: settle_image).
        held = msgspec.structs.replace(spec, imaging=spec.imaging or image.meta.name)
        transaction.update(msgspec.structs.replace(instance, spec=held))
    else:
        image = snapshots_for(call, transaction, image)
    transaction.create(image)
    claim_name(call, transaction, image)
    await call.commit(transaction)
    return {"ImageId": image.meta.name}


@operation("CopyImage")
async def copy_image(call: Call) -> Result:
    """AWS: ec2 CopyImage: into the region that is called; its snapshots are copied, what else it starts from is the host's. Who may launch
    another's image may copy it only when its snapshots are shared with him, too ("Copy an Amazon EC2 AMI")."""
    done = call.done_before()
    if done is not None:
        return {"ImageId": done[0]}
    params = call.params
    for member in ("DestinationOutpostArn", "DestinationAvailabilityZone", "DestinationAvailabilityZoneId"):
        if params.get(member):
            raise ids.not_built(f"CopyImage with {member}")
    region = known_region(params["SourceRegion"])
    source = _source(call, region, params["SourceImageId"])
    if source.status.state != "available":
        raise AwsError("InvalidAMIID.Unavailable", f"The image ID '{source.meta.name}' is not available")
    name = new_name(call, params["Name"])
    transaction = call.transaction()
    tags = tags_of(call, "image", allow=("snapshot",))
    if params.get("CopyImageTags"):
        shared = as_shared(call, source).meta.tags
        tags = {**{key: value for key, value in shared.items() if not key.startswith("aws:")}, **tags}
    spec = msgspec.structs.replace(
        source.spec,
        name=name,
        description=ids.description(call.params) or source.spec.description,
        location=f"{call.account}/{name}",
        mappings=tuple(_copied(call, transaction, source, one) for one in source.spec.mappings),
        owner_alias="",
        public=False,
        launch_accounts=(),
        deprecated_at=0.0,
        disabled=False,
        protected=False,
        instance="",
        copy_of=(region, source.meta.name),
        path="",
    )
    image = Image(
        meta=call.meta(new_id("ami-"), tags=tags),
        spec=spec,
        status=ImageStatus("pending" if source.snapshots else "available"),
    )
    transaction.create(image)
    claim_name(call, transaction, image)
    call.remember(transaction, (image.meta.name,))
    await call.commit(transaction)
    return {"ImageId": image.meta.name}


def _source(call: Call, region: str, image_id: str) -> Image:
    """AWS: InvalidAMIID.NotFound."""
    if region == call.region:
        image = find_image(call, image_id)
    else:
        own = call.client.get(Image, f"{call.account}/{region}", image_id)
        image = own or next(
            (one for one in (*others_images(call, region), *namesakes(call, region)) if one.meta.name == image_id), None
        )
    if image is None:
        raise no_image(image_id)
    return image


def _copied(call: Call, transaction: Transaction, source: Image, mapping: dict[str, Any]) -> dict[str, Any]:
    id_ = (mapping.get("Ebs") or {}).get("SnapshotId")
    snapshot = call.client.get(Snapshot, source.meta.scope, id_) if id_ else None
    if snapshot is None:
        kms = wanted_key(call, call.params, "") if mapping.get("Ebs") else ""
        return {**mapping, "Ebs": {**mapping["Ebs"], "Encrypted": True, "KmsKeyId": kms}} if kms else mapping
    if not may_restore(call, snapshot, call.account):
        raise AwsError("InvalidRequest", "You do not have permission to access the storage of this ami")
    text = f"Copied for DestinationAmi from SourceAmi {source.meta.name} for SourceSnapshot {id_}"
    made = copy_of(call, transaction, snapshot, text, tags_of(call, "snapshot", allow=("image",)), call.params)
    encrypted = bool(made.spec.key)
    return {**mapping, "Ebs": {**mapping["Ebs"], "SnapshotId": made.meta.name, "Encrypted": encrypted}}


def _mappings(call: Call, instance: Instance) -> tuple[tuple[dict[str, Any], ...], tuple[tuple[str, str], ...]]:
    """The image's mappings, and (device, volume) of which they need snapshots: the instance's disks, with what was asked laid over them."""
    wished: dict[str, dict[str, Any]] = {}
    volumes: dict[str, str] = {}
    for device in instance.spec.block_devices:
        volume = call.get(Volume, device.volume)
        if volume is None:
            continue
        spec = volume.spec
        ebs: dict[str, Any] = {"VolumeSize": spec.size_gib, "VolumeType": spec.type, "Encrypted": volume.encrypted}
        ebs["DeleteOnTermination"] = device.delete_on_termination
        if spec.iops and spec.type != "gp2":
            ebs["Iops"] = spec.iops
        if spec.throughput:
            ebs["Throughput"] = spec.throughput
        wished[device.device], volumes[device.device] = {"DeviceName": device.device, "Ebs": ebs}, volume.meta.name
    for mapping in image_mappings(call.params):
        name = mapping["DeviceName"]
        if is_volume(mapping):
            wished[name] = _laid_over(wished.get(name), name, mapping.get("Ebs") or {})
            continue
        wished.pop(name, None)
        volumes.pop(name, None)
        if mapping.get("VirtualName"):
            wished[name] = {"DeviceName": name, "VirtualName": mapping["VirtualName"]}
    return tuple(wished.values()), tuple(volumes.items())


def _laid_over(before: dict[str, Any] | None, name: str, ebs: dict[str, Any]) -> dict[str, Any]:
    if ebs.get("SnapshotId"):
        raise ids.not_built("CreateImage with a snapshot in a mapping")
    if before and ("Encrypted" in ebs or "KmsKeyId" in ebs):
        text = "The encryption of a disk cannot be changed by CreateImage; copy the image to encrypt it."
        raise AwsError("InvalidBlockDeviceMapping", text)
    least = before["Ebs"]["VolumeSize"] if before else 1
    filled = before["Ebs"] if before else {"VolumeType": "gp2", "DeleteOnTermination": False, "Encrypted": False}
    merged = laid_over(filled, ebs)
    if "VolumeSize" not in merged:
        raise without_size(name)
    check_volume(merged, "", least_gib=least)
    return {"DeviceName": name, "Ebs": merged}
