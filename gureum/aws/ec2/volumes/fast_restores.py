"""Fast snapshot restore: asked for per snapshot and zone. Here every volume has all its content before it is available, so it is so at once and
changes nothing; what was enabled is remembered and told, and volumes that were made so. It ends when the snapshot goes or is shared no more."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import SNAPSHOT
from gureum.aws.ec2.instances.kinds import VolumeSpec
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.regions import find_zone, zone_id
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, find_snapshot, seen_snapshot
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, kind

LIMIT_SNAPSHOTS, LIMIT_ZONES = 10, 10
LIMIT_PER_REGION = 50


class FastSpec(msgspec.Struct, frozen=True):
    snapshot: str
    zone: str
    owner: str


@kind("ec2.FastSnapshotRestore", indexes={"snapshot": lambda one: one.spec.snapshot})
class FastSnapshotRestore(Resource, frozen=True):
    """Named "snap-0abc.us-east-1a"."""

    spec: FastSpec


@operation("EnableFastSnapshotRestores", level="state")
async def enable_fast_snapshot_restores(call: Call) -> Result:
    """AWS: ec2 EnableFastSnapshotRestores: each snapshot by itself."""

    def enable(transaction: Transaction, snapshot: Snapshot, zone: str) -> FastSnapshotRestore:
        name = f"{snapshot.meta.name}.{zone}"
        found = call.get(FastSnapshotRestore, name)
        if found is not None:
            return found
        if len(enabled_restores(call)) >= LIMIT_PER_REGION:
            text = f"At most {LIMIT_PER_REGION} snapshots can be enabled for fast snapshot restore."
            raise AwsError("FastSnapshotRestoreLimitExceeded", text)
        spec = FastSpec(snapshot.meta.name, zone, snapshot.owner)
        owner = snapshot if snapshot.meta.scope == call.scope else None
        return transaction.create(FastSnapshotRestore(meta=call.meta(name, owner=owner), spec=spec))

    return await _each(call, enable, "enabling")


@operation("DisableFastSnapshotRestores", level="state")
async def disable_fast_snapshot_restores(call: Call) -> Result:
    """AWS: ec2 DisableFastSnapshotRestores."""

    def disable(transaction: Transaction, snapshot: Snapshot, zone: str) -> FastSnapshotRestore:
        found = call.get(FastSnapshotRestore, f"{snapshot.meta.name}.{zone}")
        if found is None:
            text = f"Fast snapshot restore of {snapshot.meta.name} is not enabled in {zone}."
            raise AwsError("InvalidFastSnapshotRestore.NotFound", text)
        transaction.delete(found)
        return found

    return await _each(call, disable, "disabling")


@operation("DescribeFastSnapshotRestores", level="state")
def describe_fast_snapshot_restores(call: Call) -> Result:
    """AWS: ec2 DescribeFastSnapshotRestores."""
    found = enabled_restores(call)
    found = apply_filters(found, call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=0, most=200, default=200)
    return answer("FastSnapshotRestores", [_show(one, "enabled") for one in shown], token)


def enabled_restores(call: Call) -> list[FastSnapshotRestore]:
    """Those of snapshots that there are still for the caller."""
    return [one for one in call.all(FastSnapshotRestore) if seen_snapshot(call, one.spec.snapshot) is not None]


def fast_restored(call: Call, volume: VolumeSpec) -> VolumeSpec:
    """The volume, marked where its snapshot is enabled in its zone."""
    enabled = bool(volume.snapshot) and call.get(FastSnapshotRestore, f"{volume.snapshot}.{volume.zone}") is not None
    return msgspec.structs.replace(volume, fast_restored=enabled)


async def _each(call: Call, change: Any, state: str) -> Result:
    snapshots, zones = call.params["SourceSnapshotIds"], _zones(call)
    if len(snapshots) > LIMIT_SNAPSHOTS or len(zones) > LIMIT_ZONES:
        raise ids.invalid(f"At most {LIMIT_SNAPSHOTS} snapshots and {LIMIT_ZONES} zones can be given.")
    transaction = call.transaction()
    good, bad = list[dict[str, Any]](), list[dict[str, Any]]()
    for id_ in snapshots:
        ids.check_id(SNAPSHOT, id_)
        errors = list[dict[str, Any]]()
        for zone in zones:
            try:
                good.append(_show(change(transaction, find_snapshot(call, id_), zone), state))
            except AwsError as error:
                told = {"Code": error.code, "Message": error.message}
                errors.append({"AvailabilityZone": zone, "AvailabilityZoneId": zone_id(zone), "Error": told})
        if errors:
            bad.append({"SnapshotId": id_, "FastSnapshotRestoreStateErrors": errors})
    await call.commit(transaction)
    return {"Successful": good, "Unsuccessful": bad}


def _zones(call: Call) -> list[str]:
    names, numbers = call.params.get("AvailabilityZones") or (), call.params.get("AvailabilityZoneIds") or ()
    if bool(names) == bool(numbers):
        text = "Specify either AvailabilityZones or AvailabilityZoneIds."
        raise AwsError("InvalidParameterCombination", text)
    found = [find_zone(call, one, "") for one in names] + [find_zone(call, "", one) for one in numbers]
    return list(dict.fromkeys(found))


def _show(one: FastSnapshotRestore, state: str) -> dict[str, Any]:
    """API form. AWS: ec2 DescribeFastSnapshotRestoreSuccessItem."""
    spec = one.spec
    shown: dict[str, Any] = {
        "SnapshotId": spec.snapshot,
        "AvailabilityZone": spec.zone,
        "AvailabilityZoneId": zone_id(spec.zone),
        "State": state,
        "StateTransitionReason": "Client.UserInitiated",
        "OwnerId": spec.owner,
        "EnablingTime": one.meta.created,
    }
    return shown | ({"OptimizingTime": one.meta.created, "EnabledTime": one.meta.created} if state == "enabled" else {})


_FILTERS: FilterTable = {
    "availability-zone": lambda one: one.spec.zone,
    "availability-zone-id": lambda one: zone_id(one.spec.zone),
    "owner-id": lambda one: one.spec.owner,
    "snapshot-id": lambda one: one.spec.snapshot,
    "state": lambda _: "enabled",
}
