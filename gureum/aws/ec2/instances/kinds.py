"""The stored shapes of instances and their volumes.

    Instance ─► Image (by id; what it starts from is copied into the instance at launch)
       │ ◄────── NetworkInterface.attachment.instance
       └─ block_devices ─► Volume

`wish` is what the user last asked for, `status.state` how far it has come:

    pending ─► running ─► stopping ─► stopped ─► pending …
       └──────────┴───────────┴──────────┴─► shutting-down ─► terminated (stays visible for an hour)
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.engine.resource import Resource, kind

State = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]
STATE_CODES: dict[State, int] = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
"""AWS: ec2 InstanceState."""


class BlockDevice(msgspec.Struct, frozen=True):
    """`device`: "/dev/xvda". `attached`: Unix seconds."""

    device: str
    volume: str
    attached: float
    delete_on_termination: bool = True


class StoreDisk(msgspec.Struct, frozen=True):
    """A disk of the instance store. `virtual`: "ephemeral0". `volume`: its name on the machine, another one after each start. `device`: what a
    mapping calls it ("/dev/sdb"), "" when none does. `key`: its data key, sealed (base/disk_keys.py), "" when it is not encrypted."""

    virtual: str
    volume: str
    size_bytes: int
    device: str = ""
    key: str = ""


class MetadataChoice(msgspec.Struct, frozen=True):
    """AWS: ec2 InstanceMetadataOptions. `tokens`: "optional" or "required"."""

    endpoint: str = "enabled"
    tokens: str = "optional"
    hop_limit: int = 1
    tags: str = "disabled"


class Interruption(msgspec.Struct, frozen=True):
    """A Spot Instance is stopped or terminated at `at` (Unix seconds)."""

    action: Literal["terminate", "stop"]
    at: float


class CpuBalance(msgspec.Struct, frozen=True):
    """CPU credits of a burstable instance: those it began its `start` with (a value of `boot`), `launch` on top of the earned ones; or what it had
    earned when it stopped at `left` (Unix seconds, 0.0 while it is started)."""

    start: int = 1
    earned: float = 0.0
    launch: float = 0.0
    left: float = 0.0


class InstanceSpec(msgspec.Struct, frozen=True):
    """`image_source`: what the core Image is ("builtin:busybox", "digest:sha256:…"). `user_data`: base64 as it was given. `boot`: counts starts
    and asked-for reboots. `requester`: the service that launched it, "" for the account itself. `cores`, `threads_per_core`: 0 for the type's
    own. `capacity_target`: the reservation that it must come into;
    `capacity_reservation`: the one it came into. `imaging`: the AMI that is being made of it, for which its machine is down for the moment.
    `placement`, `placement_id`: its placement group's name and id; `partition`: 0 for none. `spot_request`: of a Spot Instance. `interruption`:
    the notice it was given. `mapped_stores`: (virtual name, device) of instance stores that mappings name, whether the type has them or not;
    `stores`: those that are there, from a start to the next stop."""

    reservation: str
    launch_index: int
    image: str
    image_source: str
    type: str
    vpc: str
    subnet: str
    zone: str
    wish: Literal["running", "stopped", "terminated"]
    launched: float
    root_device: str
    block_devices: tuple[BlockDevice, ...]
    boot: int = 1
    key_name: str = ""
    public_key: str = ""
    user_data: str = ""
    metadata: MetadataChoice = MetadataChoice()
    monitoring: bool = False
    ebs_optimized: bool = False
    shutdown_behavior: Literal["stop", "terminate"] = "stop"
    termination_protected: bool = False
    stop_protected: bool = False
    profile_arn: str = ""
    profile_id: str = ""
    tenancy: str = "default"
    cpu_credits: str = ""
    auto_recovery: str = "default"
    client_token: str = ""
    requester: str = ""
    hostname_type: str = "ip-name"
    resource_a_record: bool = False
    resource_aaaa_record: bool = False
    public_on_launch: bool = False
    cores: int = 0
    threads_per_core: int = 0
    capacity_preference: str = "open"
    capacity_target: str = ""
    capacity_reservation: str = ""
    imaging: str = ""
    placement: str = ""
    placement_id: str = ""
    partition: int = 0
    spot_request: str = ""
    interruption: Interruption | None = None
    balance: CpuBalance | None = None
    mapped_stores: tuple[tuple[str, str], ...] = ()
    stores: tuple[StoreDisk, ...] = ()


class StatusChecks(msgspec.Struct, frozen=True):
    """Since when each check has failed, Unix seconds; 0.0: it passes."""

    system: float = 0.0
    instance: float = 0.0
    disks: float = 0.0


FLEET_TAG, SPOT_FLEET_TAG = "aws:ec2:fleet-id", "aws:ec2spot:fleet-request-id"


class InstanceStatus(msgspec.Struct, frozen=True):
    """`reason_code`, `reason`: AWS's StateReason; `transition`: StateTransitionReason; `changed`: Unix seconds of the last state change.
    `checks`: status checks of a running instance; None before the first look."""

    state: State = "pending"
    reason_code: str = ""
    reason: str = ""
    transition: str = ""
    changed: float = 0.0
    checks: StatusChecks | None = None


@kind(
    "ec2.Instance",
    indexes={
        "vpc": lambda one: one.spec.vpc if one.status.state != "terminated" else (),
        "subnet": lambda one: one.spec.subnet if one.status.state != "terminated" else (),
        "reservation": lambda one: one.spec.reservation,
        "state": lambda one: one.status.state,
        "image": lambda one: one.spec.image,
        "placement": lambda one: one.spec.placement or (),
        "capacity": lambda one: one.spec.capacity_reservation or (),
        "fleet": lambda one: fleet_of(one) or (),
    },
)
class Instance(Resource, frozen=True):
    spec: InstanceSpec
    status: InstanceStatus = InstanceStatus()


def fleet_of(instance: Instance) -> str:
    """The id of the EC2 Fleet or Spot Fleet request that launched it, "" for none."""
    tags = instance.meta.tags
    return tags.get(FLEET_TAG) or tags.get(SPOT_FLEET_TAG) or ""


class VolumeAttachment(msgspec.Struct, frozen=True):
    """`state`: AWS's VolumeAttachmentState; "busy" is detaching while the machine still uses it. `force`: detached nevertheless."""

    instance: str
    device: str
    attached: float
    delete_on_termination: bool = False
    state: Literal["attaching", "attached", "detaching", "busy"] = "attached"
    force: bool = False


class VolumeChange(msgspec.Struct, frozen=True):
    """The newest modification of a volume: what it was before. `ended` 0.0: the machine is still at it. `late`: its file system grows when
    it is mounted next."""

    size_gib: int
    type: str
    iops: int
    throughput: int
    started: float
    ended: float = 0.0
    late: bool = False


class VolumeSpec(msgspec.Struct, frozen=True):
    """`size_gib`: GiB. `snapshot`: AWS's id of the snapshot it came from, "" for none; `restored`: its content is here. `iops`, `throughput`: 0
    where the type has none. `base`: of a root volume, the source of the image whose files lie below what was written to it.
    `key`: its data key, sealed (base/disk_keys.py), "" when it is not encrypted; `kms_key`: what was asked for as its KMS key. `snapshot_key`:
    the data key of its snapshot, or of `source`, the volume that it is a copy of, until it is restored. `modified`: when, in the last day."""

    size_gib: int
    type: str
    zone: str
    snapshot: str = ""
    iops: int = 0
    throughput: int = 0
    key: str = ""
    kms_key: str = ""
    snapshot_key: str = ""
    source: str = ""
    attachment: VolumeAttachment | None = None
    auto_enable_io: bool = False
    change: VolumeChange | None = None
    modified: tuple[float, ...] = ()
    restored: bool = False
    base: str = ""
    fast_restored: bool = False


@kind(
    "ec2.Volume",
    indexes={
        "instance": lambda volume: (volume.spec.attachment.instance,) if volume.spec.attachment else (),
        "snapshot": lambda volume: (volume.spec.snapshot,) if volume.spec.snapshot else (),
    },
)
class Volume(Resource, frozen=True):
    spec: VolumeSpec

    @property
    def encrypted(self) -> bool:
        return bool(self.spec.key)
