"""The stored shape of snapshots, who may see them, and what a volume takes from one.

Volume ──CreateSnapshot──► Snapshot (pending) ──made by the agent──► completed ──► Volume, Image
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of
from gureum.aws.ec2.instance_ids import SNAPSHOT
from gureum.aws.ec2.instances.kinds import VolumeSpec
from gureum.aws.errors import AwsError
from gureum.engine.resource import Resource, kind
from gureum.ports.volumes import Tier

BLOCK_ALL = "block-all-sharing"


class Lock(msgspec.Struct, frozen=True):
    """Until `expires` (Unix seconds) nobody deletes it; "compliance" ends its cooling-off at `cool_off`, after which nobody unlocks it either."""

    mode: Literal["governance", "compliance"]
    created: float
    days: int
    expires: float
    cool_off_hours: int = 0

    @property
    def cool_off(self) -> float:
        return self.created + self.cool_off_hours * 3600.0

    def state(self, now: float) -> str:
        """AWS: ec2 LockState."""
        if now >= self.expires:
            return "expired"
        if self.mode == "governance":
            return "governance"
        return "compliance-cooloff" if now < self.cool_off else "compliance"


class Tiering(msgspec.Struct, frozen=True):
    """Of a snapshot that was archived once. `operation`: the last one, AWS's TieringOperationStatus; `started`: when it was asked for;
    `archived`: when it came into the archive, 0.0 when it is not there. `days`: of a temporary restore, which ends at `expires`. Times are
    Unix seconds."""

    operation: str
    started: float
    detail: str = ""
    archived: float = 0.0
    days: int = 0
    expires: float = 0.0

    @property
    def wish(self) -> Tier:
        """How the machine is to keep it. While it goes from one tier to the other, and for the time of a temporary restore, it has both forms."""
        if self.in_progress or self.operation == "temporary-restore-completed":
            return "both"
        return "archive" if self.archived else "standard"

    @property
    def in_progress(self) -> bool:
        return self.operation.endswith("in-progress")

    @property
    def usable(self) -> bool:
        return not self.archived or self.operation == "temporary-restore-completed"


class SnapshotSpec(msgspec.Struct, frozen=True):
    """`volume`: AWS's id of the volume it shows (AWS's "vol-ffffffff" for a copy); `source`: the snapshot it is a copy of, "" for none; `parent`:
    an earlier snapshot of the same volume, as it was made. `base`: of a root volume, as VolumeSpec. `accounts`: those that may make volumes of it
    beside the owner. `key`, `kms_key`: as in VolumeSpec; `source_key`: of a copy, its source's data key.
    `group`: shared by snapshots that show one moment, "" for one by itself. `path`: the file that it is made of, "" for a volume or a snapshot."""

    volume: str
    size_gib: int
    source: str = ""
    parent: str = ""
    base: str = ""
    description: str = ""
    public: bool = False
    accounts: tuple[str, ...] = ()
    lock: Lock | None = None
    key: str = ""
    kms_key: str = ""
    source_key: str = ""
    group: str = ""
    path: str = ""


class SnapshotStatus(msgspec.Struct, frozen=True):
    """`data_bytes`: what of the volume was ever written. `reason`: why it is an error."""

    state: Literal["pending", "completed", "error"] = "pending"
    completed: float = 0.0
    data_bytes: int = 0
    reason: str = ""
    tiering: Tiering | None = None

    @property
    def archived(self) -> bool:
        """Nothing can be made of it. AWS: storage tier archive, and not restored for a time."""
        return self.tiering is not None and not self.tiering.usable


@kind(
    "ec2.Snapshot",
    indexes={
        "volume": lambda one: one.spec.volume,
        "source": lambda one: (one.spec.source,) if one.spec.source else (),
        "group": lambda one: (one.spec.group,) if one.spec.group else (),
    },
)
class Snapshot(Resource, frozen=True):
    spec: SnapshotSpec
    status: SnapshotStatus = SnapshotStatus()

    @property
    def owner(self) -> str:
        return self.meta.scope.split("/")[0]


def find_snapshot(call: Call, id_: str, *, region: str = "") -> Snapshot:
    """A completed snapshot, not in the archive, that the caller may make volumes of. AWS: InvalidSnapshotID.Malformed, InvalidSnapshot.NotFound,
    IncorrectState."""
    snapshot = seen_snapshot(call, id_, region=region)
    if snapshot is None:
        raise ids.not_found(SNAPSHOT, id_)
    if snapshot.status.state != "completed":
        raise AwsError("IncorrectState", f"Snapshot is in invalid state - {snapshot.status.state}")
    if snapshot.status.archived:
        raise AwsError("IncorrectState", f"The snapshot '{id_}' is in the archive tier. Restore it before you use it.")
    return snapshot


def seen_snapshot(call: Call, id_: str, *, region: str = "") -> Snapshot | None:
    """The snapshot of that id that the caller owns or that is shared with it. `region`: "" for the call's."""
    ids.check_id(SNAPSHOT, id_)
    region = region or call.region
    own = call.client.get(Snapshot, f"{call.account}/{region}", id_)
    return own or next((one for one in shared_snapshots(call, region) if one.meta.name == id_), None)


def shared_snapshots(call: Call, region: str) -> Iterator[Snapshot]:
    """Those of others that the caller may make volumes of."""
    for snapshot in call.client.everywhere(Snapshot):
        account, where = snapshot.meta.scope.split("/")
        if where == region and account != call.account and may_restore(call, snapshot, call.account):
            yield snapshot


def may_restore(call: Call, snapshot: Snapshot, account: str) -> bool:
    return snapshot.owner == account or account in snapshot.spec.accounts or is_public(call, snapshot)


def is_public(call: Call, snapshot: Snapshot) -> bool:
    """Not while its owner blocks all public sharing."""
    return snapshot.spec.public and settings_of(call, *snapshot.meta.scope.split("/")).snapshot_sharing != BLOCK_ALL


def from_snapshot(volume: VolumeSpec, snapshot: Snapshot | None) -> VolumeSpec:
    """The volume with the snapshot's content."""
    if snapshot is None:
        return volume
    return msgspec.structs.replace(volume, snapshot=snapshot.meta.name, base=snapshot.spec.base)
