"""The Recycle Bin: what is deleted goes there by retention rules (service `rbin`), of which gureum has none. So it is empty, and deleted is gone."""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.ids import IdForm
from gureum.aws.ec2.images.images import AMI, no_image
from gureum.aws.ec2.instance_ids import SNAPSHOT, VOLUME
from gureum.aws.ec2.listing import nothing
from gureum.aws.marks import Result, operation


@operation("ListSnapshotsInRecycleBin", level="state")
def list_snapshots_in_recycle_bin(call: Call) -> Result:
    """AWS: ec2 ListSnapshotsInRecycleBin."""
    return _none(call, "SnapshotIds", SNAPSHOT, "Snapshots")


@operation("ListVolumesInRecycleBin", level="state")
def list_volumes_in_recycle_bin(call: Call) -> Result:
    """AWS: ec2 ListVolumesInRecycleBin."""
    return _none(call, "VolumeIds", VOLUME, "Volumes")


@operation("ListImagesInRecycleBin", level="state")
def list_images_in_recycle_bin(call: Call) -> Result:
    """AWS: ec2 ListImagesInRecycleBin."""
    for id_ in call.params.get("ImageIds") or ():
        raise no_image(ids.check_id(AMI, id_))
    return nothing(call, "Images")


@operation("RestoreSnapshotFromRecycleBin", level="state")
def restore_snapshot_from_recycle_bin(call: Call) -> Result:
    """AWS: ec2 RestoreSnapshotFromRecycleBin: there is none in it."""
    raise ids.not_found(SNAPSHOT, ids.check_id(SNAPSHOT, call.params["SnapshotId"]))


@operation("RestoreVolumeFromRecycleBin", level="state")
def restore_volume_from_recycle_bin(call: Call) -> Result:
    """AWS: ec2 RestoreVolumeFromRecycleBin: there is none in it."""
    raise ids.not_found(VOLUME, ids.check_id(VOLUME, call.params["VolumeId"]))


@operation("RestoreImageFromRecycleBin", level="state")
def restore_image_from_recycle_bin(call: Call) -> Result:
    """AWS: ec2 RestoreImageFromRecycleBin: there is none in it."""
    raise no_image(ids.check_id(AMI, call.params["ImageId"]))


def _none(call: Call, parameter: str, form: IdForm, name: str) -> Result:
    for id_ in call.params.get(parameter) or ():
        raise ids.not_found(form, ids.check_id(form, id_))
    return nothing(call, name)
