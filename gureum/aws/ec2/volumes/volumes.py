"""EBS volumes: disks of a real size that live by themselves, empty or from a snapshot.

A volume of an instance is made by its launch (instances/launch.py); here are those that are made alone, and what all of them tell.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import VOLUME
from gureum.aws.ec2.instances.kinds import Volume
from gureum.aws.ec2.listing import answer, iso_time, listing, show_tags
from gureum.aws.ec2.regions import find_zone, zone_id
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.ebs_encryption import encrypted, with_key
from gureum.aws.ec2.volumes.fast_restores import fast_restored
from gureum.aws.ec2.volumes.host_files import held
from gureum.aws.ec2.volumes.snapshot_kinds import find_snapshot, from_snapshot
from gureum.aws.ec2.volumes.types import check_volume
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id


@operation("CreateVolume")
async def create_volume(call: Call) -> Result:
    """AWS: ec2 CreateVolume: in a zone, empty or with a snapshot's content."""
    done = call.done_before()
    if done is not None:
        found = call.get(Volume, done[0])
        return show_volume(call, found) if found else {}
    params = call.params
    for name in ("OutpostArn", "MultiAttachEnabled", "VolumeInitializationRate", "Operator"):
        if params.get(name):
            raise ids.not_built(f"CreateVolume with {name}")
    snapshot = find_snapshot(call, params["SnapshotId"]) if params.get("SnapshotId") else None
    zone = _zone(call)
    if "Size" not in params and snapshot is None:
        raise AwsError("MissingParameter", "The request must contain the parameter size/snapshot")
    if params.get("Size", 1) < 1:
        raise ids.invalid(f"Volume of {params['Size']}GiB is too small; the minimum is 1GiB.")
    least = snapshot.spec.size_gib if snapshot else 1
    if params.get("Size", least) < least:
        text = f"The volume size {params['Size']}GiB is less than the snapshot size {least}GiB"
        raise AwsError("InvalidParameterValue", text)
    spec = from_snapshot(held(call, check_volume(params, zone, least_gib=least)), snapshot)
    spec = fast_restored(call, with_key(call, encrypted(call, spec, params, snapshot)))
    transaction = call.transaction()
    volume = transaction.create(Volume(meta=call.meta(new_id("vol-"), tags=tags_of(call, "volume")), spec=spec))
    call.remember(transaction, (volume.meta.name,))
    await call.commit(transaction)
    return show_volume(call, volume) | {"State": "creating"}


@operation("DeleteVolume")
async def delete_volume(call: Call) -> Result:
    """AWS: ec2 DeleteVolume: not while it is attached."""
    volume = ids.find(call, Volume, VOLUME, call.params["VolumeId"])
    if volume.spec.attachment is not None:
        text = f"Volume {volume.meta.name} is currently attached to {volume.spec.attachment.instance}"
        raise AwsError("VolumeInUse", text)
    transaction = call.transaction()
    transaction.delete(volume)
    await call.commit(transaction)
    return {}


@operation("DescribeVolumes")
def describe_volumes(call: Call) -> Result:
    """AWS: ec2 DescribeVolumes."""
    found, token = listing(call, Volume, VOLUME, "VolumeIds", _FILTERS, default=1000)
    return answer("Volumes", [show_volume(call, volume) for volume in found], token)


@operation("DescribeVolumeStatus")
def describe_volume_status(call: Call) -> Result:
    """AWS: ec2 DescribeVolumeStatus."""
    found, token = listing(call, Volume, VOLUME, "VolumeIds", _STATUS_FILTERS, default=1000)
    return answer("VolumeStatuses", [_show_status(volume) for volume in found], token)


@operation("DescribeVolumeAttribute", level="state")
def describe_volume_attribute(call: Call) -> Result:
    """AWS: ec2 DescribeVolumeAttribute."""
    volume = ids.find(call, Volume, VOLUME, call.params["VolumeId"])
    attribute = call.params["Attribute"]
    call.end_dry_run()
    if attribute == "autoEnableIO":
        return {"VolumeId": volume.meta.name, "AutoEnableIO": {"Value": volume.spec.auto_enable_io}}
    if attribute == "productCodes":
        return {"VolumeId": volume.meta.name, "ProductCodes": []}
    raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")


@operation("ModifyVolumeAttribute", level="state")
async def modify_volume_attribute(call: Call) -> Result:
    """AWS: ec2 ModifyVolumeAttribute: AutoEnableIO."""
    volume = ids.find(call, Volume, VOLUME, call.params["VolumeId"])
    wanted = call.params.get("AutoEnableIO")
    if wanted is None:
        raise ids.missing("AutoEnableIO")
    transaction = call.transaction()
    transaction.update(change(volume, auto_enable_io=bool(wanted.get("Value"))))
    await call.commit(transaction)
    return {}


@operation("EnableVolumeIO")
async def enable_volume_io(call: Call) -> Result:
    """AWS: ec2 EnableVolumeIO: of a volume whose data may be inconsistent; none here is ever held back for that."""
    ids.find(call, Volume, VOLUME, call.params["VolumeId"])
    call.end_dry_run()
    return {}


def change(volume: Volume, **fields: Any) -> Volume:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(volume, spec=msgspec.structs.replace(volume.spec, **fields))


def show_volume(call: Call, volume: Volume) -> dict[str, Any]:
    """API form. AWS: ec2 Volume."""
    spec = volume.spec
    shown: dict[str, Any] = {
        "VolumeId": volume.meta.name,
        "Size": spec.size_gib,
        "SnapshotId": spec.snapshot,
        "AvailabilityZone": spec.zone,
        "AvailabilityZoneId": zone_id(spec.zone),
        "State": status_of(volume),
        "CreateTime": volume.meta.created,
        "VolumeType": spec.type,
        "Encrypted": volume.encrypted,
        "MultiAttachEnabled": False,
        "Attachments": [show_attachment(volume)] if spec.attachment else [],
        "Operator": {"Managed": False},
        "Tags": show_tags(volume.meta.tags),
    }
    if spec.source:
        shown["SourceVolumeId"] = spec.source
    if spec.snapshot:
        shown["FastRestored"] = spec.fast_restored
    if spec.iops:
        shown["Iops"] = spec.iops
    if spec.throughput:
        shown["Throughput"] = spec.throughput
    if spec.kms_key:
        shown |= {"KmsKeyId": spec.kms_key, "SseType": "sse-kms"}
    return shown


def status_of(volume: Volume) -> str:
    """AWS: ec2 VolumeState."""
    if volume.spec.attachment:
        return "in-use"
    return "creating" if (volume.spec.snapshot or volume.spec.source) and not volume.spec.restored else "available"


def show_attachment(volume: Volume) -> dict[str, Any]:
    """API form. AWS: ec2 VolumeAttachment."""
    attachment = volume.spec.attachment
    assert attachment is not None
    return {
        "VolumeId": volume.meta.name,
        "InstanceId": attachment.instance,
        "Device": attachment.device,
        "State": attachment.state,
        "AttachTime": attachment.attached,
        "DeleteOnTermination": attachment.delete_on_termination,
    }


def _show_status(volume: Volume) -> dict[str, Any]:
    details = [{"Name": "io-enabled", "Status": "passed"}, {"Name": "io-performance", "Status": "not-applicable"}]
    shown: dict[str, Any] = {
        "VolumeId": volume.meta.name,
        "AvailabilityZone": volume.spec.zone,
        "AvailabilityZoneId": zone_id(volume.spec.zone),
        "VolumeStatus": {"Status": "ok", "Details": details},
        "Actions": [],
        "Events": [],
    }
    if volume.spec.attachment:
        attached = {"InstanceId": volume.spec.attachment.instance, "IoPerformance": "not-applicable"}
        shown["AttachmentStatuses"] = [attached]
    return shown


def _zone(call: Call) -> str:
    """AWS: InvalidParameterValue for a zone that is none, InvalidParameterCombination for two, MissingParameter for none."""
    name, id_ = call.params.get("AvailabilityZone"), call.params.get("AvailabilityZoneId")
    if name and id_:
        text = "Only one of AvailabilityZone and AvailabilityZoneId may be specified."
        raise AwsError("InvalidParameterCombination", text)
    if not name and not id_:
        raise ids.missing("AvailabilityZone")
    try:
        return find_zone(call, name or "", id_ or "")
    except AwsError as error:
        raise AwsError("InvalidZone.NotFound", f"The zone '{name or id_}' does not exist.") from error


def _attached(look: Any) -> Any:
    return lambda volume: look(volume.spec.attachment) if volume.spec.attachment else ()


_FILTERS: FilterTable = {
    "attachment.attach-time": _attached(lambda one: iso_time(one.attached)),
    "attachment.delete-on-termination": _attached(lambda one: boolean(one.delete_on_termination)),
    "attachment.device": _attached(lambda one: one.device),
    "attachment.instance-id": _attached(lambda one: one.instance),
    "attachment.status": _attached(lambda one: one.state),
    "availability-zone": lambda volume: volume.spec.zone,
    "availability-zone-id": lambda volume: zone_id(volume.spec.zone),
    "create-time": lambda volume: iso_time(volume.meta.created),
    "encrypted": lambda volume: boolean(volume.encrypted),
    "fast-restored": lambda volume: boolean(volume.spec.fast_restored),
    "multi-attach-enabled": lambda _: "false",
    "operator.managed": lambda _: "false",
    "operator.principal": lambda _: (),
    "size": lambda volume: str(volume.spec.size_gib),
    "snapshot-id": lambda volume: volume.spec.snapshot or (),
    "status": status_of,
    "volume-id": lambda volume: volume.meta.name,
    "volume-type": lambda volume: volume.spec.type,
}
_STATUS_FILTERS: FilterTable = {
    "action.code": lambda _: (),
    "action.description": lambda _: (),
    "action.event-id": lambda _: (),
    "attachment-status.instance-id": _attached(lambda one: one.instance),
    "attachment-status.io-performance": _attached(lambda _: "not-applicable"),
    "availability-zone": lambda volume: volume.spec.zone,
    "event.description": lambda _: (),
    "event.event-id": lambda _: (),
    "event.event-type": lambda _: (),
    "event.not-after": lambda _: (),
    "event.not-before": lambda _: (),
    "volume-status.details-name": lambda _: ("io-enabled", "io-performance"),
    "volume-status.details-status": lambda _: ("passed", "not-applicable"),
    "volume-status.status": lambda _: "ok",
}
