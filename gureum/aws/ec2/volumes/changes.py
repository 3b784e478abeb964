"""ModifyVolume: a volume grows, also while it is in use, or gets another type; and what became of it.

    ModifyVolume (commit: modifying) ─► lowered with its new size ─► the agent grows it ─► reconcile: completed

The file system grows with the volume, at once where the host lets a mounted one grow (docs/decisions/0151), else at the next start or reboot.
As on AWS a volume is modified four times a day at most (setting `quota_volume_modifications`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import VOLUME
from gureum.aws.ec2.instances.kinds import Volume, VolumeChange
from gureum.aws.ec2.instances.lowering import volume_wish
from gureum.aws.ec2.listing import answer, iso_time
from gureum.aws.ec2.volumes.host_files import held
from gureum.aws.ec2.volumes.types import check_volume
from gureum.aws.ec2.volumes.volumes import change
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.core.specs import LATE
from gureum.core.world import World
from gureum.engine.resource import key_of

# AWS: ModifyVolume, Iops: of a volume that becomes io1 or io2 with no number given.
CHANGED_IOPS = 3000
DAY_S = 86400.0
_LATE = (
    "The file system grows when the volume is attached, or its instance started or rebooted, next: "
    "this host lets none grow that is in use."
)


@operation("ModifyVolume")
async def modify_volume(call: Call) -> Result:
    """AWS: ec2 ModifyVolume: never smaller."""
    params = call.params
    volume = ids.find(call, Volume, VOLUME, params["VolumeId"])
    if params.get("MultiAttachEnabled"):
        raise ids.not_built("ModifyVolume with MultiAttachEnabled")
    if not any(name in params for name in ("Size", "VolumeType", "Iops", "Throughput")):
        raise AwsError(
            "InvalidParameterCombination", "The request must contain a change of size, type, IOPS or throughput."
        )
    old = volume.spec
    if old.change is not None and not old.change.ended:
        text = f"Cannot modify volume '{volume.meta.name}': its last modification has not ended."
        raise AwsError("IncorrectModificationState", text)
    size = params.get("Size", old.size_gib)
    if size < old.size_gib:
        text = f"New size cannot be smaller than existing size. Volume of size {size}GiB is smaller than existing size {old.size_gib}GiB"
        raise ids.invalid(text)
    wanted = {"VolumeType": params.get("VolumeType") or old.type, "Size": size}
    same_type = wanted["VolumeType"] == old.type
    for name, value in (("Iops", old.iops), ("Throughput", old.throughput)):
        if name in params:
            wanted[name] = params[name]
        elif same_type and value and old.type != "gp2":
            wanted[name] = value
    if not same_type and wanted["VolumeType"] in ("io1", "io2"):
        wanted.setdefault("Iops", CHANGED_IOPS)
    checked = held(call, check_volume(wanted, old.zone, least_gib=1))
    record = VolumeChange(old.size_gib, old.type, old.iops, old.throughput, started=call.now)
    changed = change(
        volume,
        size_gib=checked.size_gib,
        type=checked.type,
        iops=checked.iops,
        throughput=checked.throughput,
        change=record,
        modified=_counted(call, volume),
    )
    transaction = call.transaction()
    transaction.update(changed)
    await call.commit(transaction)
    return {"VolumeModification": _show(changed)}


@operation("DescribeVolumesModifications")
def describe_volumes_modifications(call: Call) -> Result:
    """AWS: ec2 DescribeVolumesModifications: the newest of each volume that ever had one."""
    wanted = call.params.get("VolumeIds")
    volumes = ids.find_all(call, Volume, VOLUME, wanted) if wanted else call.all(Volume)
    missing = [volume.meta.name for volume in volumes if volume.spec.change is None]
    if wanted and missing:
        text = f"Modification for volume '{missing[0]}' does not exist."
        raise AwsError("InvalidVolumeModification.NotFound", text)
    found = apply_filters((one for one in volumes if one.spec.change), call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, default=500)
    return answer("VolumesModifications", [_show(volume) for volume in shown], token)


async def settle_change(world: World, volume: Volume) -> bool:
    """Notes that a modification has ended when the machine has the volume as it is wished, and whether its file system is to follow. False
    when there is nothing to note."""
    record = volume.spec.change
    if record is None or not is_made(world, volume):
        return False
    now, late = world.clock.now(), _is_late(world, volume)
    if record.ended and record.late == late:
        return False
    transaction = world.client.transaction()
    transaction.update(change(volume, change=msgspec.structs.replace(record, ended=record.ended or now, late=late)))
    await transaction.commit()
    if record.ended:
        return True
    world.events.record(key_of(volume), now, "Modified", f"{record.size_gib} GiB -> {volume.spec.size_gib} GiB")
    return True


def _counted(call: Call, volume: Volume) -> tuple[float, ...]:
    """When it was modified in the last 24 hours, and now. AWS: VolumeModificationRateExceeded."""
    most = call.settings.quota_volume_modifications
    recent = tuple(at for at in volume.spec.modified if at > call.now - DAY_S)
    if most and len(recent) >= most:
        free = iso_time(recent[-most] + DAY_S)
        text = (
            "You've reached the maximum modification rate per volume limit. "
            f"A volume can be modified {most} times in 24 hours: the next modification is possible at {free}."
        )
        raise AwsError("VolumeModificationRateExceeded", text)
    return (*recent, call.now)


def is_made(world: World, volume: Volume) -> bool:
    """Whether the machine has the volume as it is wished now (what it was lowered to last may be older)."""
    return world.is_current(volume_wish(volume))


def _show(volume: Volume) -> dict[str, Any]:
    """API form. AWS: ec2 VolumeModification. There the file system is the guest's own to grow, here the host's, which may have to wait."""
    spec, record = volume.spec, volume.spec.change
    assert record is not None
    shown: dict[str, Any] = {
        "VolumeId": volume.meta.name,
        "ModificationState": _state(volume),
        "TargetSize": spec.size_gib,
        "TargetVolumeType": spec.type,
        "TargetMultiAttachEnabled": False,
        "OriginalSize": record.size_gib,
        "OriginalVolumeType": record.type,
        "OriginalMultiAttachEnabled": False,
        "Progress": 100 if record.ended else 0,
        "StartTime": record.started,
    }
    optional = {
        "TargetIops": spec.iops,
        "TargetThroughput": spec.throughput,
        "OriginalIops": record.iops,
        "OriginalThroughput": record.throughput,
        "EndTime": record.ended,
        "StatusMessage": _LATE if record.late else "",
    }
    return shown | {name: value for name, value in optional.items() if value}


def _is_late(world: World, volume: Volume) -> bool:
    status = world.seen(volume_wish(volume).id)
    return status is not None and bool(status.data.get(LATE))


def _state(volume: Volume) -> str:
    return "completed" if volume.spec.change and volume.spec.change.ended else "modifying"


_FILTERS: FilterTable = {
    "modification-state": _state,
    "original-iops": lambda one: str(one.spec.change.iops),
    "original-size": lambda one: str(one.spec.change.size_gib),
    "original-volume-type": lambda one: one.spec.change.type,
    "originalMultiAttachEnabled": lambda _: "false",
    "start-time": lambda one: iso_time(one.spec.change.started),
    "target-iops": lambda one: str(one.spec.iops),
    "target-size": lambda one: str(one.spec.size_gib),
    "target-volume-type": lambda one: one.spec.type,
    "targetMultiAttachEnabled": lambda _: "false",
    "volume-id": lambda one: one.meta.name,
}
