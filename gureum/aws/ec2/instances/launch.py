"""RunInstances: from what was asked to one commit with instances, interfaces, addresses and volumes.

    parameters ─► launch template merged under them ─► Plan (everything checked, nothing written) ─► one commit ─► pending

All or nothing: a launch that cannot have MinCount instances changes nothing. The number between MinCount and MaxCount is as many as the
host's promised memory allows. AWS: ec2 RunInstances.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.fleets.spot_kinds import SpotRequestSpec, SpotRequestStatus
from gureum.aws.ec2.fleets.spot_options import FULFILLED, new_spot_request, spot_options
from gureum.aws.ec2.images.images import LaunchImage, find_launch_image
from gureum.aws.ec2.instances.capacity_kinds import ONLY, CapacityWish, exceeded, free_places, take_place
from gureum.aws.ec2.instances.credential_kinds import new_credentials
from gureum.aws.ec2.instances.credits import launch_balance
from gureum.aws.ec2.instances.host_room import room_bytes
from gureum.aws.ec2.instances.instance_stores import mapped_stores, new_stores
from gureum.aws.ec2.instances.interfaces import InterfaceWish, create_interface, plan_interfaces
from gureum.aws.ec2.instances.key_pairs import find_key_pair
from gureum.aws.ec2.instances.kinds import (
    BlockDevice,
    Instance,
    InstanceSpec,
    Volume,
    VolumeAttachment,
    VolumeSpec,
)
from gureum.aws.ec2.instances.launch_options import LaunchOptions, launch_options, refuse_not_built
from gureum.aws.ec2.instances.launch_templates import merge_launch_template
from gureum.aws.ec2.instances.metadata_options import launch_metadata
from gureum.aws.ec2.instances.placement_groups import Place, hold_place, plan_place
from gureum.aws.ec2.instances.profiles import Profile, find_profile
from gureum.aws.ec2.instances.show import show_reservation
from gureum.aws.ec2.instances.types import InstanceType, check_volumes, find_instance_type
from gureum.aws.ec2.instances.vcpu_quota import hold_vcpus, most_vcpus_allow
from gureum.aws.ec2.networks.kinds import Subnet
from gureum.aws.ec2.tags import tags_of
from gureum.aws.ec2.volumes.block_devices import is_volume, launch_mappings
from gureum.aws.ec2.volumes.ebs_encryption import encrypted, with_key
from gureum.aws.ec2.volumes.fast_restores import fast_restored
from gureum.aws.ec2.volumes.host_files import held
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, find_snapshot, from_snapshot
from gureum.aws.ec2.volumes.types import check_volume, laid_over, refuse_as_root
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

LIMIT_USER_DATA_BYTES = 16384
LIMIT_COUNT = 1000
"""Of one request: what AWS lets an account launch at once before it slows it down."""


class Plan(msgspec.Struct, frozen=True):
    """A launch that has been checked whole. `interfaces`: of each instance, device 0 first. `stores`: InstanceSpec.mapped_stores."""

    image: LaunchImage
    type: InstanceType
    options: LaunchOptions
    subnet: Subnet
    interfaces: tuple[InterfaceWish, ...]
    disks: tuple[Disk, ...]
    stores: tuple[tuple[str, str], ...]
    count: int
    key_name: str
    public_key: str
    user_data: str
    place: Place
    spot: SpotRequestSpec | None
    profile: Profile | None


class Disk(msgspec.Struct, frozen=True):
    device: str
    volume: VolumeSpec
    delete_on_termination: bool


@operation("RunInstances")
async def run_instances(call: Call) -> dict[str, Any]:
    """Answers when the launch is durable; the instances are `pending`. With a ClientToken a repeated call answers what the first one made."""
    done = call.done_before()
    if done is not None:
        instances = [one for name in done if (one := call.get(Instance, name)) is not None]
        if not instances:
            raise AwsError(
                "IdempotentInstanceTerminated",
                "The request uses the same client token as a previous request whose instances have been terminated.",
            )
        return show_reservation(call, instances)
    launch = call.with_params(merge_launch_template(call))
    plan = plan_launch(launch, launch.params)
    transaction, instances = _create(call, launch, plan, plan.count)
    if transaction.share > 1:
        fit = int(plan.count / transaction.share)
        if fit < _counts(launch.params)[0]:
            raise _too_many(fit)
        transaction, instances = _create(call, launch, plan, fit)
    await call.commit(transaction)
    return show_reservation(call, instances)


def _create(call: Call, launch: Call, plan: Plan, count: int) -> tuple[Transaction, list[Instance]]:
    transaction, reservation = call.transaction(), new_id("r-")
    made = [create_instance(launch, transaction, launch.params, plan, reservation, index) for index in range(count)]
    call.remember(transaction, tuple(one.meta.name for one in made))
    return transaction, made


def plan_launch(call: Call, params: dict[str, Any], *, promised: int = 0, vcpus: int = 0) -> Plan:
    """Checks everything that was passed. `promised`: bytes of memory that others of the same commit take, `vcpus`: of On-Demand ones among
    them. Raises the API's errors; writes nothing."""
    refuse_not_built(params)
    least, most = _counts(params)
    image = find_launch_image(call, params.get("ImageId") or _missing("ImageId"))
    type_ = find_instance_type(params.get("InstanceType") or "m1.small")
    if type_ is None:
        raise AwsError("InvalidParameterValue", f"Invalid value '{params['InstanceType']}' for InstanceType.")
    if image.architecture not in type_.architectures:
        raise AwsError(
            "InvalidParameterValue",
            f"The architecture '{','.join(type_.architectures)}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again.",
        )
    options = launch_options(call, params, type_)
    subnet, interfaces = plan_interfaces(call, params, most, type_)
    key_name, public_key = _key(call, params)
    spot = spot_options(params, type_.name)
    reserved = free_places(call, options.capacity, type_.name, subnet.spec.zone, options.tenancy)
    most = most if spot is not None else most_vcpus_allow(call, type_, least, most, vcpus)
    count = _affordable(call, type_, least, most, promised, options.capacity, reserved)
    mappings = _mappings(params, image)
    check_volumes(type_, sum(map(is_volume, mappings)), len(interfaces))
    return Plan(
        image=image,
        type=type_,
        options=options,
        subnet=subnet,
        interfaces=interfaces,
        disks=_disks(call, mappings, image, subnet.spec.zone),
        stores=mapped_stores(type_, mappings, params.get("BlockDeviceMappings") or ()),
        count=count,
        key_name=key_name,
        public_key=public_key,
        user_data=_user_data(params),
        place=plan_place(call, params.get("Placement") or {}, type_, subnet.spec.zone, count),
        spot=spot,
        profile=find_profile(call, params["IamInstanceProfile"]) if params.get("IamInstanceProfile") else None,
    )


def create_instance(
    call: Call, transaction: Transaction, params: dict[str, Any], plan: Plan, reservation: str, index: int
) -> Instance:
    name = new_id("i-")
    volumes = [_volume(call, transaction, disk, name) for disk in plan.disks]
    options, names = plan.options, params.get("PrivateDnsNameOptions") or {}
    tags = tags_of(call, "instance", allow=("volume", "network-interface", "spot-instances-request", "elastic-gpu"))
    tags |= params.get("GureumTags") or {}
    request = _spot_request(call, transaction, params, plan, name)
    spec = InstanceSpec(
        reservation=reservation,
        launch_index=index,
        image=plan.image.id,
        image_source=plan.image.source,
        type=plan.type.name,
        vpc=plan.subnet.spec.vpc,
        subnet=plan.subnet.meta.name,
        zone=plan.subnet.spec.zone,
        wish="running",
        launched=float(int(call.now)),
        root_device=plan.image.root_device,
        block_devices=tuple(
            BlockDevice(disk.device, volume.meta.name, call.now, disk.delete_on_termination)
            for disk, volume in zip(plan.disks, volumes, strict=True)
        ),
        key_name=plan.key_name,
        public_key=plan.public_key,
        user_data=plan.user_data,
        metadata=launch_metadata(call, params.get("MetadataOptions") or {}, plan.image.imds_support, tags),
        monitoring=bool((params.get("Monitoring") or {}).get("Enabled")),
        ebs_optimized=bool(params.get("EbsOptimized")),
        shutdown_behavior=options.shutdown_behavior,
        termination_protected=bool(params.get("DisableApiTermination")),
        stop_protected=bool(params.get("DisableApiStop")),
        profile_arn=plan.profile.arn if plan.profile else "",
        profile_id=plan.profile.id if plan.profile else "",
        tenancy=options.tenancy,
        cpu_credits=options.cpu_credits,
        balance=launch_balance(plan.type, options.cpu_credits),
        cores=options.cores,
        threads_per_core=options.threads_per_core,
        auto_recovery=options.auto_recovery,
        capacity_preference=options.capacity.preference,
        capacity_target=options.capacity.target,
        capacity_reservation=take_place(
            call, transaction, options.capacity, plan.type.name, plan.subnet.spec.zone, options.tenancy
        ),
        client_token=params.get("ClientToken") or "",
        requester=params.get("GureumRequester") or "",
        hostname_type=options.hostname_type or plan.subnet.spec.hostname_type,
        resource_a_record=names.get("EnableResourceNameDnsARecord", plan.subnet.spec.resource_a_record),
        resource_aaaa_record=names.get("EnableResourceNameDnsAAAARecord", plan.subnet.spec.resource_aaaa_record),
        public_on_launch=any(wish.public for wish in plan.interfaces),
        placement=plan.place.group,
        placement_id=plan.place.group_id,
        partition=plan.place.partitions[index] if plan.place.partitions else 0,
        spot_request=request,
        mapped_stores=plan.stores,
        stores=new_stores(call, name, plan.type, plan.stores, start=1),
    )
    instance = transaction.create(Instance(meta=call.meta(name, tags=tags), spec=spec))
    hold_vcpus(call, transaction)
    hold_place(call, transaction, plan.place)
    if plan.profile is not None:
        transaction.create(new_credentials(call, instance))
    for wish in plan.interfaces:
        create_interface(call, transaction, wish, name)
    return instance


def _spot_request(call: Call, transaction: Transaction, params: dict[str, Any], plan: Plan, instance: str) -> str:
    """The request of a Spot Instance: the one that is being fulfilled ("GureumSpotRequest"), or a new one, "" for none."""
    if params.get("GureumSpotRequest"):
        return str(params["GureumSpotRequest"])
    if plan.spot is None:
        return ""
    left_out = ("MinCount", "MaxCount", "ClientToken", "DryRun", "InstanceMarketOptions")
    launch = {key: value for key, value in params.items() if key not in left_out}
    status = SpotRequestStatus("active", *FULFILLED, call.now, instance, plan.subnet.spec.zone)
    tags = tags_of(call, "spot-instances-request", allow=("instance", "volume", "network-interface", "elastic-gpu"))
    spec = msgspec.structs.replace(plan.spot, launch=launch)
    return new_spot_request(call, transaction, spec, tags, status).meta.name


def _volume(call: Call, transaction: Transaction, disk: Disk, instance: str) -> Volume:
    attachment = VolumeAttachment(instance, disk.device, call.now, disk.delete_on_termination)
    spec = with_key(call, msgspec.structs.replace(disk.volume, attachment=attachment))
    tags = tags_of(call, "volume", allow=("instance", "network-interface", "spot-instances-request", "elastic-gpu"))
    return transaction.create(Volume(meta=call.meta(new_id("vol-"), tags=tags), spec=spec))


def _counts(params: dict[str, Any]) -> tuple[int, int]:
    least, most = int(params.get("MinCount") or 0), int(params.get("MaxCount") or 0)
    if least < 1 or most < 1:
        name, value = ("minCount", least) if least < 1 else ("maxCount", most)
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({value}) for parameter {name} is invalid. Expecting a positive integer greater than zero.",
        )
    if least > most:
        raise AwsError(
            "InvalidParameterCombination",
            f"Value ({most}) for parameter maxCount is invalid. It must be at least minCount ({least}).",
        )
    if least > LIMIT_COUNT:
        raise _too_many(LIMIT_COUNT)
    return least, min(most, LIMIT_COUNT)


def _too_many(limit: int) -> AwsError:
    """A launch is all or nothing, so it is one commit: how many instances fit depends on their disks, interfaces and user data."""
    return AwsError("InstanceLimitExceeded", f"You can launch at most {limit} such instances in one request.")


def _affordable(
    call: Call, type_: InstanceType, least: int, most: int, promised: int, capacity: CapacityWish, reserved: int
) -> int:
    """How many of `most` the host's memory still has promised room for; `reserved` of them have theirs already. AWS:
    InsufficientInstanceCapacity, ReservationCapacityExceeded."""
    if capacity.preference == ONLY:
        if reserved < least:
            raise exceeded()
        most = min(most, reserved)
    room = room_bytes(call) - promised
    count = min(most, reserved + max(0, int(room // type_.memory_bytes)))
    if count < least:
        raise AwsError(
            "InsufficientInstanceCapacity",
            f"There is not enough memory left on this host for {least} instance(s) of type {type_.name} "
            f"({type_.memory_mib} MiB each; {max(0, int(room)) >> 20} MiB can still be promised, setting memory_promise).",
            status=500,
        )
    return count


def _key(call: Call, params: dict[str, Any]) -> tuple[str, str]:
    """(name, OpenSSH public key) of the key pair. AWS: InvalidKeyPair.NotFound."""
    name = params.get("KeyName") or ""
    if not name:
        return "", ""
    pair = find_key_pair(call, name)
    return name, pair.spec.public_key


def _user_data(params: dict[str, Any]) -> str:
    """Base64 as given. AWS: at most 16 KB before encoding."""
    text = params.get("UserData") or ""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise AwsError("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from error
    if len(raw) > LIMIT_USER_DATA_BYTES:
        raise AwsError("InvalidParameterValue", "User data is limited to 16384 bytes")
    return text


def _mappings(params: dict[str, Any], image: LaunchImage) -> list[dict[str, Any]]:
    """The image's mappings with those of the call laid over them, by device name: volumes and instance stores."""
    wished: dict[str, dict[str, Any]] = {one["DeviceName"]: one for one in image.block_devices}
    for mapping in launch_mappings(params, wished):
        device = mapping["DeviceName"]
        if is_volume(mapping):
            before = wished.get(device, {}).get("Ebs") or {}
            _keep_root_snapshot(image, device, before, mapping["Ebs"])
            wished[device] = {"DeviceName": device, "Ebs": laid_over(before, mapping["Ebs"])}
        elif mapping.get("NoDevice") is not None:
            wished.pop(device, None)
        else:
            wished[device] = mapping
    return list(wished.values())


def _disks(call: Call, mappings: list[dict[str, Any]], image: LaunchImage, zone: str) -> tuple[Disk, ...]:
    wished = {one["DeviceName"]: one for one in mappings if is_volume(one)}
    if image.root_device not in wished:
        raise AwsError("InvalidBlockDeviceMapping", "The root device cannot be left out of the block device mapping.")
    return tuple(_disk(call, one, image, zone) for one in wished.values())


def _keep_root_snapshot(image: LaunchImage, device: str, before: dict[str, Any], ebs: dict[str, Any]) -> None:
    if device == image.root_device and ebs.get("SnapshotId") and ebs["SnapshotId"] != before.get("SnapshotId"):
        raise AwsError("InvalidBlockDeviceMapping", "snapshotId cannot be modified on root device")


def _disk(call: Call, mapping: dict[str, Any], image: LaunchImage, zone: str) -> Disk:
    ebs = mapping.get("Ebs") or {}
    is_root = mapping["DeviceName"] == image.root_device
    if not is_root and not ebs.get("SnapshotId") and ebs.get("VolumeSize") is None:
        raise AwsError("MissingParameter", "The request must contain the parameter size or snapshotId")
    snapshot = _snapshot(call, image, ebs["SnapshotId"]) if ebs.get("SnapshotId") else None
    least = max(image.size_gib if is_root else 1, snapshot.spec.size_gib if snapshot else 1)
    spec = encrypted(call, from_snapshot(held(call, check_volume(ebs, zone, least_gib=least)), snapshot), ebs, snapshot)
    spec = fast_restored(call, spec)
    if is_root:
        refuse_as_root(spec.type)
        spec = msgspec.structs.replace(spec, base=image.source)
    keep = ebs.get("DeleteOnTermination")
    return Disk(mapping["DeviceName"], spec, is_root if keep is None else bool(keep))


def _snapshot(call: Call, image: LaunchImage, id_: str) -> Snapshot:
    """Who may start an image may have its disks, whoever owns their snapshots."""
    if any((one.get("Ebs") or {}).get("SnapshotId") == id_ for one in image.block_devices):
        for snapshot in call.client.everywhere(Snapshot):
            if snapshot.meta.name == id_ and snapshot.status.state == "completed":
                return snapshot
    return find_snapshot(call, id_)


def _missing(name: str) -> Any:
    raise AwsError("MissingParameter", f"The request must contain the parameter {name[:1].lower()}{name[1:]}")
