"""EBS snapshots: CreateSnapshot, CreateSnapshots, CopySnapshot, DeleteSnapshot, DescribeSnapshots, and how they come about.

    CreateSnapshot (commit: pending) ─► lowered ─► the agent freezes the volume, keeps what is new ─► reconcile: completed

The volume may be deleted at once: the machine keeps it until the snapshot is made. What the snapshot holds is the volume as the agent found it,
which is never earlier than the call. Several volumes (CreateSnapshots) are kept as they are at one moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.account_settings import settings_of
from gureum.aws.ec2.images.images import Image
from gureum.aws.ec2.instance_ids import INSTANCE, SNAPSHOT, VOLUME
from gureum.aws.ec2.instances.kinds import Instance, Volume
from gureum.aws.ec2.listing import answer, as_shared, iso_time, not_with_pages, show_own_tags, show_tags
from gureum.aws.ec2.regions import REGIONS
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.ebs_encryption import is_managed, managed_key, wanted_key
from gureum.aws.ec2.volumes.snapshot_kinds import (
    Snapshot,
    SnapshotSpec,
    SnapshotStatus,
    find_snapshot,
    is_public,
    may_restore,
    seen_snapshot,
    shared_snapshots,
)
from gureum.aws.ec2.volumes.snapshot_tiering import follow_tiering
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters, boolean
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.disk_keys import new_disk_key
from gureum.base.ids import new_id
from gureum.core import specs
from gureum.core.world import World
from gureum.engine.client import Client, Transaction
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower, reconcile
from gureum.engine.resource import key_of
from gureum.ports.volumes import SnapshotSpec as Wish

COPIED_VOLUME = "vol-ffffffff"


@operation("CreateSnapshot")
async def create_snapshot(call: Call) -> Result:
    """AWS: ec2 CreateSnapshot: answers when it is durable that there will be one."""
    _refuse_places(call)
    volume = ids.find(call, Volume, VOLUME, call.params["VolumeId"])
    transaction = call.transaction()
    made = snapshot_of(call, transaction, volume, ids.description(call.params), tags_of(call, "snapshot"))
    await call.commit(transaction)
    return show_snapshot(made)


@operation("CreateSnapshots")
async def create_snapshots(call: Call) -> Result:
    """AWS: ec2 CreateSnapshots: of all volumes of an instance but those left out."""
    _refuse_places(call)
    wanted = call.params["InstanceSpecification"]
    instance = ids.find(call, Instance, INSTANCE, ids.need(call.with_params(wanted), "InstanceId"))
    left_out = set(wanted.get("ExcludeDataVolumeIds") or ())
    volumes = _volumes_of(call, instance, boot=not wanted.get("ExcludeBootVolume"))
    unknown = left_out - {volume.meta.name for volume in volumes}
    if unknown:
        raise ids.invalid(f"The volume '{min(unknown)}' is no data volume of {instance.meta.name}.")
    volumes = [one for one in volumes if one.meta.name not in left_out]
    if not volumes:
        raise AwsError("InvalidParameterCombination", "All volumes of the instance are excluded.")
    copied = ids.choice(call.params, "CopyTagsFromSource", "", "volume") == "volume"
    tags, description = tags_of(call, "snapshot"), ids.description(call.params)
    transaction = call.transaction()
    group = new_id("", 17) if len(volumes) > 1 else ""
    made = [
        snapshot_of(call, transaction, one, description, ({**one.meta.tags, **tags} if copied else tags), group)
        for one in volumes
    ]
    await call.commit(transaction)
    return {"Snapshots": [_show_info(one) for one in made]}


@operation("CopySnapshot")
async def copy_snapshot(call: Call) -> Result:
    """AWS: ec2 CopySnapshot: into the region that is called; blocks are shared, not copied."""
    params = call.params
    for name in ("DestinationOutpostArn", "DestinationAvailabilityZone", "CompletionDurationMinutes"):
        if params.get(name):
            raise ids.not_built(f"CopySnapshot with {name}")
    region = known_region(params["SourceRegion"])
    if params.get("DestinationRegion") not in (None, call.region):
        text = f"Value ({params['DestinationRegion']}) for parameter destinationRegion is invalid. It must be the region that is called."
        raise ids.invalid(text)
    source = find_snapshot(call, params["SourceSnapshotId"], region=region)
    transaction = call.transaction()
    made = copy_of(call, transaction, source, ids.description(call.params), tags_of(call, "snapshot"), params)
    await call.commit(transaction)
    return {"SnapshotId": made.meta.name, **show_own_tags(made.meta.tags)}


@operation("DeleteSnapshot")
async def delete_snapshot(call: Call) -> Result:
    """AWS: ec2 DeleteSnapshot: not while an AMI has it or it is locked. Later snapshots keep what they share with it."""
    snapshot = own_snapshot(call, call.params["SnapshotId"])
    refuse_delete(call, snapshot)
    transaction = call.transaction()
    transaction.delete(snapshot)
    # An image that is registered with it now must not be left without its disk.
    transaction.require_no_newer(Image, call.scope)
    await call.commit(transaction)
    return {}


@operation("DescribeSnapshots")
def describe_snapshots(call: Call) -> Result:
    """AWS: ec2 DescribeSnapshots: one's own and those shared with the caller."""
    params = call.params
    not_with_pages(call, "SnapshotIds", "snapshotIds")
    ids.check_users(params.get("OwnerIds") or (), "self", "amazon")
    ids.check_users(params.get("RestorableByUserIds") or (), "self", "all")
    wanted = params.get("SnapshotIds")
    found = _by_ids(call, wanted) if wanted else [*call.all(Snapshot), *shared_snapshots(call, call.region)]
    found = [as_shared(call, one) for one in found]
    if params.get("OwnerIds"):
        found = [one for one in found if _owned(call, one, params["OwnerIds"])]
    if params.get("RestorableByUserIds"):
        found = [one for one in found if _restorable(call, one, params["RestorableByUserIds"])]
    found = apply_filters(found, params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(params, found, lambda one: one.meta.name, default=1000)
    return answer("Snapshots", [show_snapshot(one) for one in shown], token)


def snapshot_of(
    call: Call, transaction: Transaction, volume: Volume, description: str, tags: dict[str, str], group: str = ""
) -> Snapshot:
    """A snapshot of the volume in this transaction. `group`: as in SnapshotSpec. AWS: SnapshotLimitExceeded, ConcurrentSnapshotLimitExceeded."""
    _check_number(call)
    transaction.require(volume)
    others = sorted(call.by(Snapshot, "volume", volume.meta.name), key=lambda one: (one.meta.created, one.meta.name))
    pending = sum(1 for one in others if one.status.state == "pending")
    if pending >= limits.PENDING_SNAPSHOTS_PER_VOLUME:
        text = "Maximum allowed in-progress snapshots for a single volume exceeded."
        raise AwsError("ConcurrentSnapshotLimitExceeded", text)
    ready = [one.meta.name for one in others if one.status.state == "completed"]
    spec = SnapshotSpec(
        volume=volume.meta.name,
        size_gib=volume.spec.size_gib,
        parent=ready[-1] if ready else volume.spec.snapshot,
        base=volume.spec.base,
        description=description,
        key=volume.spec.key,
        kms_key=volume.spec.kms_key,
        group=group,
    )
    return transaction.create(Snapshot(meta=call.meta(new_id("snap-"), tags=tags), spec=spec))


def copy_of(
    call: Call,
    transaction: Transaction,
    source: Snapshot,
    description: str,
    tags: dict[str, str],
    wanted: dict[str, Any],
) -> Snapshot:
    """`wanted`: Encrypted and KmsKeyId, as CopySnapshot and CopyImage have them."""
    _check_number(call)
    transaction.require(source)
    # The managed key of another region is not there: AWS takes this region's.
    before = source.spec.kms_key
    if before and is_managed(before, source.meta.scope) and source.meta.scope != call.scope:
        before = settings_of(call).ebs_key or managed_key(call)
    kms = wanted_key(call, wanted, before)
    key = "" if not kms else source.spec.key if source.spec.key and kms == before else new_disk_key(call.sealer)
    spec = SnapshotSpec(
        volume=COPIED_VOLUME,
        size_gib=source.spec.size_gib,
        source=source.meta.name,
        base=source.spec.base,
        description=description,
        key=key,
        kms_key=kms,
        source_key=source.spec.key,
    )
    return transaction.create(Snapshot(meta=call.meta(new_id("snap-"), tags=tags), spec=spec))


def own_snapshot(call: Call, id_: str) -> Snapshot:
    """AWS: InvalidSnapshot.NotFound; UnauthorizedOperation would tell that another has it."""
    return ids.find(call, Snapshot, SNAPSHOT, id_)


def refuse_delete(call: Call, snapshot: Snapshot, *, but: str = "") -> None:
    """`but`: an image that goes with it. AWS: InvalidSnapshot.InUse, OperationNotPermitted."""
    for image in call.by(Image, "snapshot", snapshot.meta.name):
        if image.meta.name != but:
            text = f"The snapshot {snapshot.meta.name} is currently in use by {image.meta.name}"
            raise AwsError("InvalidSnapshot.InUse", text)
    lock = snapshot.spec.lock
    if lock is not None and lock.state(call.now) != "expired":
        raise AwsError("OperationNotPermitted", f"The snapshot {snapshot.meta.name} is locked and cannot be deleted.")


def change(snapshot: Snapshot, **fields: Any) -> Snapshot:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(snapshot, spec=msgspec.structs.replace(snapshot.spec, **fields))


def known_region(name: str) -> str:
    """AWS: InvalidParameterValue."""
    if name not in REGIONS:
        raise ids.invalid(f"Value ({name}) for parameter sourceRegion is invalid.")
    return name


def show_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """API form. AWS: ec2 Snapshot."""
    spec, status = snapshot.spec, snapshot.status
    shown: dict[str, Any] = {
        "SnapshotId": snapshot.meta.name,
        "VolumeId": spec.volume,
        "VolumeSize": spec.size_gib,
        "OwnerId": snapshot.owner,
        "Description": spec.description,
        "StartTime": snapshot.meta.created,
        "State": status.state,
        "Progress": "100%" if status.state == "completed" else "0%",
        "Encrypted": bool(spec.key),
        "StorageTier": storage_tier(snapshot),
        "Tags": show_tags(snapshot.meta.tags),
    }
    if status.completed:
        shown |= {"CompletionTime": status.completed, "FullSnapshotSizeInBytes": status.data_bytes}
    if spec.key:
        shown |= {"KmsKeyId": spec.kms_key, "DataEncryptionKeyId": spec.key.partition(":")[0], "SseType": "sse-kms"}
    if status.tiering is not None and status.tiering.expires:
        shown["RestoreExpiryTime"] = status.tiering.expires
    if status.reason:
        shown["StateMessage"] = status.reason
    return shown


def storage_tier(snapshot: Snapshot) -> str:
    """AWS: ec2 StorageTier: one that is restored for a time is in the archive nevertheless."""
    return "archive" if snapshot.status.tiering is not None and snapshot.status.tiering.archived else "standard"


@lower(Snapshot)
def lower_snapshot(snapshot: Snapshot, read: Reader) -> Iterable[Desired]:
    """Once it is made it holds on to nothing; one that failed is nothing."""
    if snapshot.status.state != "error":
        yield wish_of(snapshot, read)


def wish_of(snapshot: Snapshot, read: Reader | Client) -> Desired:
    """What the machine is to have of it."""
    name, spec = snapshot.meta.name, snapshot.spec
    wish = Wish(name, tier=snapshot.status.tiering.wish if snapshot.status.tiering else "standard")
    if snapshot.status.state == "pending":
        keys = (spec.key, spec.source_key) if spec.source else ("", "")
        wish = Wish(
            name, "" if spec.source or spec.path else spec.volume, spec.source, spec.parent, *keys, path=spec.path
        )
        if spec.group:
            members = read.by(Snapshot, snapshot.meta.scope, "group", spec.group)
            together = sorted((one.meta.name, one.spec.volume, one.spec.parent) for one in members)
            wish = msgspec.structs.replace(wish, together=tuple(together))
    return Desired("Snapshot", name, key_of(snapshot), specs.Snapshot(wish))


@reconcile(Snapshot)
async def reconcile_snapshot(world: World, snapshot: Snapshot) -> None:
    """Notes what became of a pending snapshot, or of one on its way between the tiers."""
    if snapshot.status.state != "pending":
        await follow_tiering(world, snapshot, wish_of(snapshot, world.client))
        return
    seen = world.seen(f"Snapshot/{snapshot.meta.name}")
    now = world.clock.now()
    if seen is not None and seen.phase == "failed":
        status = SnapshotStatus("error", reason=seen.reason)
    elif seen is not None and world.is_current(wish_of(snapshot, world.client)):
        status = SnapshotStatus("completed", completed=now, data_bytes=int(seen.data.get("data", 0)))
        stored = int(seen.data.get("stored", 0))
        world.events.record(key_of(snapshot), now, "Completed", f"{stored >> 10} KiB stored")
    else:
        return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(snapshot, status=status))
    await transaction.commit()
    if snapshot.spec.path:
        await asyncio.to_thread(Path(snapshot.spec.path).unlink, missing_ok=True)


def _refuse_places(call: Call) -> None:
    if call.params.get("OutpostArn") or call.params.get("Location") not in (None, "regional"):
        raise ids.not_built(f"{call.operation} in Local Zones and Outposts")


def _check_number(call: Call) -> None:
    if len(call.all(Snapshot)) >= limits.SNAPSHOTS_PER_REGION:
        text = f"The maximum number of snapshots ({limits.SNAPSHOTS_PER_REGION}) has been reached."
        raise AwsError("SnapshotLimitExceeded", text)


def _volumes_of(call: Call, instance: Instance, *, boot: bool) -> list[Volume]:
    devices = [one for one in instance.spec.block_devices if boot or one.device != instance.spec.root_device]
    found = (call.get(Volume, one.volume) for one in devices)
    return [volume for volume in found if volume is not None]


def _by_ids(call: Call, wanted: list[str]) -> list[Snapshot]:
    found = {id_: seen_snapshot(call, id_) for id_ in dict.fromkeys(wanted)}
    missing = [id_ for id_, snapshot in found.items() if snapshot is None]
    if missing:
        raise ids.not_found(SNAPSHOT, *missing)
    return [snapshot for snapshot in found.values() if snapshot is not None]


def _owned(call: Call, snapshot: Snapshot, owners: list[str]) -> bool:
    return snapshot.owner in owners or ("self" in owners and snapshot.owner == call.account)


def _restorable(call: Call, snapshot: Snapshot, users: list[str]) -> bool:
    for user in users:
        if user == "all":
            if is_public(call, snapshot):
                return True
        elif may_restore(call, snapshot, call.account if user == "self" else user):
            return True
    return False


def _show_info(snapshot: Snapshot) -> dict[str, Any]:
    """API form. AWS: ec2 SnapshotInfo."""
    names = ("SnapshotId", "VolumeId", "VolumeSize", "OwnerId", "Description", "StartTime", "State", "Progress")
    shown = show_snapshot(snapshot)
    return {name: shown[name] for name in (*names, "Encrypted", "Tags")}


_FILTERS: FilterTable = {
    "description": lambda one: one.spec.description,
    "encrypted": lambda one: boolean(bool(one.spec.key)),
    "owner-alias": lambda _: (),
    "owner-id": lambda one: one.owner,
    "progress": lambda one: "100%" if one.status.state == "completed" else "0%",
    "snapshot-id": lambda one: one.meta.name,
    "start-time": lambda one: iso_time(one.meta.created),
    "status": lambda one: one.status.state,
    "storage-tier": storage_tier,
    "transfer-type": lambda _: (),
    "volume-id": lambda one: one.spec.volume,
    "volume-size": lambda one: str(one.spec.size_gib),
}
