"""Block public access for snapshots and images: whether what an account owns may be public in a region.

Requests to make something public are refused while it is blocked. "block-all-sharing" of snapshots also hides those that are public already, from all
but their owner; their permissions stay as they are and count again later.
"""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of, write_settings
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

UNBLOCKED, NEW, ALL = "unblocked", "block-new-sharing", "block-all-sharing"


@operation("EnableSnapshotBlockPublicAccess")
async def enable_snapshot_block_public_access(call: Call) -> Result:
    """AWS: ec2 EnableSnapshotBlockPublicAccess."""
    state = ids.choice(call.params, "State", NEW, ALL)
    await write_settings(call, snapshot_sharing=state)
    return {"State": state}


@operation("DisableSnapshotBlockPublicAccess")
async def disable_snapshot_block_public_access(call: Call) -> Result:
    """AWS: ec2 DisableSnapshotBlockPublicAccess."""
    await write_settings(call, snapshot_sharing=UNBLOCKED)
    return {"State": UNBLOCKED}


@operation("GetSnapshotBlockPublicAccessState")
def get_snapshot_block_public_access_state(call: Call) -> Result:
    """AWS: ec2 GetSnapshotBlockPublicAccessState."""
    call.end_dry_run()
    return {"State": settings_of(call).snapshot_sharing, "ManagedBy": "account"}


@operation("EnableImageBlockPublicAccess")
async def enable_image_block_public_access(call: Call) -> Result:
    """AWS: ec2 EnableImageBlockPublicAccess: images that are public stay so."""
    state = ids.choice(call.params, "ImageBlockPublicAccessState", NEW)
    await write_settings(call, image_sharing=state)
    return {"ImageBlockPublicAccessState": state}


@operation("DisableImageBlockPublicAccess")
async def disable_image_block_public_access(call: Call) -> Result:
    """AWS: ec2 DisableImageBlockPublicAccess."""
    await write_settings(call, image_sharing=UNBLOCKED)
    return {"ImageBlockPublicAccessState": UNBLOCKED}


@operation("GetImageBlockPublicAccessState")
def get_image_block_public_access_state(call: Call) -> Result:
    """AWS: ec2 GetImageBlockPublicAccessState."""
    call.end_dry_run()
    return {"ImageBlockPublicAccessState": settings_of(call).image_sharing, "ManagedBy": "account"}


def refuse_public_image(call: Call) -> None:
    """AWS: OperationNotPermitted."""
    if settings_of(call).image_sharing != UNBLOCKED:
        text = "You can't publicly share this image because block public access for AMIs is enabled in this Region."
        raise AwsError("OperationNotPermitted", text)
