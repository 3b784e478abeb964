"""The archive tier of snapshots: ModifySnapshotTier, RestoreSnapshotTier, DescribeSnapshotTierStatus. What comes of it: snapshot_tiering.py."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, Tiering
from gureum.aws.ec2.volumes.snapshot_tiering import DAY_S, enabled_image
from gureum.aws.ec2.volumes.snapshots import own_snapshot, storage_tier
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

LIMIT_ARCHIVING, LIMIT_RESTORING = 25, 5
"""AWS: quotas of what is in progress in an account and region."""
LIMIT_DAYS = 180


@operation("ModifySnapshotTier")
async def modify_snapshot_tier(call: Call) -> Result:
    """AWS: ec2 ModifySnapshotTier: into the archive. IncorrectState, InvalidSnapshot.InUse, ResourceLimitExceeded."""
    ids.choice(call.params, "StorageTier", "archive")
    snapshot = own_snapshot(call, call.params["SnapshotId"])
    if snapshot.status.state != "completed":
        raise AwsError("IncorrectState", f"Snapshot is in invalid state - {snapshot.status.state}")
    before = snapshot.status.tiering
    if before is not None and (before.in_progress or before.archived):
        raise AwsError("IncorrectState", f"The snapshot '{snapshot.meta.name}' is {before.operation}.")
    image = enabled_image(call.client, snapshot)
    if image:
        text = f"The snapshot {snapshot.meta.name} is currently in use by {image}"
        raise AwsError("InvalidSnapshot.InUse", text)
    _check_number(call, "archival-in-progress", limit=LIMIT_ARCHIVING)
    await _write(call, snapshot, Tiering("archival-in-progress", call.now))
    return {"SnapshotId": snapshot.meta.name, "TieringStartTime": call.now}


@operation("RestoreSnapshotTier")
async def restore_snapshot_tier(call: Call) -> Result:
    """AWS: ec2 RestoreSnapshotTier: for some days or for good; of one that is restored for a time, another time or for good."""
    params = call.params
    days, permanent = params.get("TemporaryRestoreDays"), bool(params.get("PermanentRestore"))
    if permanent == (days is not None):
        raise AwsError("InvalidParameterCombination", "Specify either TemporaryRestoreDays or PermanentRestore.")
    if days is not None and not 1 <= days <= LIMIT_DAYS:
        raise ids.invalid(f"Value ({days}) for parameter temporaryRestoreDays is invalid. Between 1 and {LIMIT_DAYS}.")
    snapshot = own_snapshot(call, params["SnapshotId"])
    before = snapshot.status.tiering
    if before is None or not before.archived or before.in_progress:
        state = before.operation if before is not None and before.in_progress else "not in the archive tier"
        raise AwsError("IncorrectState", f"The snapshot '{snapshot.meta.name}' is {state}.")
    if not before.usable:
        _check_number(call, "temporary-restore-in-progress", "permanent-restore-in-progress", limit=LIMIT_RESTORING)
    kind = "permanent" if permanent else "temporary"
    tiering = msgspec.structs.replace(before, operation=f"{kind}-restore-in-progress", started=call.now, days=days or 0)
    if before.usable:
        # It has both forms already, and stays of use all the while.
        done = msgspec.structs.replace(
            tiering, operation="temporary-restore-completed", expires=call.now + (days or 0) * DAY_S
        )
        tiering = Tiering("permanent-restore-completed", call.now) if permanent else done
    await _write(call, snapshot, tiering)
    result = {"SnapshotId": snapshot.meta.name, "RestoreStartTime": call.now, "IsPermanentRestore": permanent}
    return result if permanent else result | {"RestoreDuration": days}


@operation("DescribeSnapshotTierStatus")
def describe_snapshot_tier_status(call: Call) -> Result:
    """AWS: ec2 DescribeSnapshotTierStatus."""
    table: FilterTable = {
        "last-tiering-operation": lambda one: one.status.tiering.operation if one.status.tiering else (),
        "snapshot-id": lambda one: one.meta.name,
        "volume-id": lambda one: one.spec.volume,
    }
    found = apply_filters(call.all(Snapshot), call.params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, default=1000)
    return answer("SnapshotTierStatuses", [_show(one) for one in shown], token)


def _check_number(call: Call, *operations: str, limit: int) -> None:
    """AWS: ResourceLimitExceeded."""
    under_way = [one for one in call.all(Snapshot) if one.status.tiering and one.status.tiering.operation in operations]
    if len(under_way) >= limit:
        raise AwsError("ResourceLimitExceeded", f"At most {limit} snapshots can be on the way at a time.")


async def _write(call: Call, snapshot: Snapshot, tiering: Tiering) -> None:
    transaction = call.transaction()
    status = msgspec.structs.replace(snapshot.status, tiering=tiering)
    transaction.update(msgspec.structs.replace(snapshot, status=status))
    await call.commit(transaction)


def _show(snapshot: Snapshot) -> dict[str, Any]:
    """API form. AWS: ec2 SnapshotTierStatus."""
    shown: dict[str, Any] = {
        "SnapshotId": snapshot.meta.name,
        "VolumeId": snapshot.spec.volume,
        "Status": snapshot.status.state,
        "OwnerId": snapshot.owner,
        "Tags": show_tags(snapshot.meta.tags),
        "StorageTier": storage_tier(snapshot),
    }
    tiering = snapshot.status.tiering
    if tiering is None:
        return shown
    optional = {
        "LastTieringOperationStatusDetail": tiering.detail,
        "ArchivalCompleteTime": tiering.archived,
        "RestoreExpiryTime": tiering.expires,
    }
    return shown | {
        "LastTieringStartTime": tiering.started,
        "LastTieringProgress": 0 if tiering.in_progress else 100,
        "LastTieringOperationStatus": tiering.operation,
        **{name: value for name, value in optional.items() if value},
    }
