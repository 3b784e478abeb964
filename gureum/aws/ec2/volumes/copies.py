"""CopyVolumes: a copy of a volume in its zone, as it is at one moment after the call.

CopyVolumes (commit: creating) ─► lowered with its source ─► the agent holds the source for a moment, copies ─► reconcile: available
"""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import VOLUME
from gureum.aws.ec2.instances.kinds import Volume
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.ebs_encryption import wanted_key, with_key
from gureum.aws.ec2.volumes.host_files import held
from gureum.aws.ec2.volumes.types import check_volume
from gureum.aws.ec2.volumes.volumes import show_volume, status_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id


@operation("CopyVolumes")
async def copy_volumes(call: Call) -> Result:
    """AWS: ec2 CopyVolumes."""
    done = call.done_before()
    if done is not None:
        found = call.get(Volume, done[0])
        return {"Volumes": [show_volume(call, found)] if found else []}
    params = call.params
    if params.get("MultiAttachEnabled"):
        raise ids.not_built("CopyVolumes with MultiAttachEnabled")
    source = ids.find(call, Volume, VOLUME, params["SourceVolumeId"])
    if status_of(source) == "creating":
        raise AwsError("IncorrectState", f"The volume '{source.meta.name}' is not 'available'.")
    old = source.spec
    size = params.get("Size", old.size_gib)
    if size < old.size_gib:
        text = f"The volume size {size}GiB is less than the size of the source volume {old.size_gib}GiB"
        raise ids.invalid(text)
    kms = wanted_key(call, params, old.kms_key)
    spec = msgspec.structs.replace(
        held(call, check_volume({**params, "Size": size}, old.zone, least_gib=1)),
        source=source.meta.name,
        base=old.base,
        kms_key=kms,
        key=old.key if kms == old.kms_key else "",
        snapshot_key=old.key,
    )
    transaction = call.transaction()
    transaction.require(source)
    meta = call.meta(new_id("vol-"), tags=tags_of(call, "volume"))
    made = transaction.create(Volume(meta=meta, spec=with_key(call, spec)))
    call.remember(transaction, (made.meta.name,))
    await call.commit(transaction)
    return {"Volumes": [show_volume(call, made)]}
