"""What may be changed of a snapshot: who may make volumes of it, and locks. AWS: ModifySnapshotAttribute, LockSnapshot and relatives."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of
from gureum.aws.ec2.instance_ids import SNAPSHOT
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.volumes.ebs_encryption import is_managed
from gureum.aws.ec2.volumes.snapshot_kinds import Lock, Snapshot
from gureum.aws.ec2.volumes.snapshots import change, own_snapshot
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

DAY_S = 86400.0
LOCK_DAYS = (1, 36500)
COOL_OFF_HOURS = (1, 72)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)


@operation("ModifySnapshotAttribute")
async def modify_snapshot_attribute(call: Call) -> Result:
    """AWS: ec2 ModifySnapshotAttribute: in the new form (CreateVolumePermission) or the old one (OperationType)."""
    snapshot, params = own_snapshot(call, call.params["SnapshotId"]), call.params
    _check_attribute(params.get("Attribute") or "createVolumePermission")
    wished = params.get("CreateVolumePermission") or {}
    add = [_who(one) for one in wished.get("Add") or ()]
    remove = [_who(one) for one in wished.get("Remove") or ()]
    old = [
        *({"UserId": one} for one in params.get("UserIds") or ()),
        *({"Group": one} for one in params.get("GroupNames") or ()),
    ]
    kind = ids.choice(params, "OperationType", "add", "remove")
    (remove if kind == "remove" else add).extend(_who(one) for one in old)
    if not add and not remove:
        raise AwsError("InvalidParameterCombination", "No attributes specified.")
    _refuse_sharing(call, snapshot, add)
    if add and snapshot.status.archived:
        raise AwsError(
            "IncorrectState", f"The snapshot {snapshot.meta.name} is in the archive tier and cannot be shared."
        )
    accounts = [one for one in snapshot.spec.accounts if one not in remove]
    accounts += [one for one in dict.fromkeys(add) if one != "all" and one not in accounts]
    public = "all" in add or (snapshot.spec.public and "all" not in remove)
    await _write(call, change(snapshot, public=public, accounts=tuple(accounts)))
    return {}


@operation("DescribeSnapshotAttribute")
def describe_snapshot_attribute(call: Call) -> Result:
    """AWS: ec2 DescribeSnapshotAttribute: to the owner."""
    snapshot, attribute = own_snapshot(call, call.params["SnapshotId"]), call.params["Attribute"]
    if attribute not in ("createVolumePermission", "productCodes"):
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")
    call.end_dry_run()
    if attribute == "productCodes":
        return {"SnapshotId": snapshot.meta.name, "ProductCodes": []}
    everybody = [{"Group": "all"}] if snapshot.spec.public else []
    shown = everybody + [{"UserId": account} for account in snapshot.spec.accounts]
    return {"SnapshotId": snapshot.meta.name, "CreateVolumePermissions": shown}


@operation("ResetSnapshotAttribute")
async def reset_snapshot_attribute(call: Call) -> Result:
    """AWS: ec2 ResetSnapshotAttribute: only the owner may make volumes of it again."""
    snapshot = own_snapshot(call, call.params["SnapshotId"])
    _check_attribute(call.params["Attribute"])
    await _write(call, change(snapshot, public=False, accounts=()))
    return {}


@operation("LockSnapshot")
async def lock_snapshot(call: Call) -> Result:
    """AWS: ec2 LockSnapshot: for so long nobody deletes it. In compliance mode, after its cooling-off, it can only be made longer."""
    snapshot, params = own_snapshot(call, call.params["SnapshotId"]), call.params
    mode = ids.choice(params, "LockMode", "governance", "compliance")
    if (params.get("LockDuration") is None) == (params.get("ExpirationDate") is None):
        raise AwsError("InvalidParameterCombination", "Specify either LockDuration or ExpirationDate.")
    if mode == "governance" and params.get("CoolOffPeriod"):
        raise AwsError("InvalidParameterCombination", "A cool-off period is for compliance mode only.")
    days, expires = _duration(call)
    hours = params.get("CoolOffPeriod") or 0
    if hours and not COOL_OFF_HOURS[0] <= hours <= COOL_OFF_HOURS[1]:
        raise ids.invalid(f"Value ({hours}) for parameter coolOffPeriod is invalid. Between 1 and 72 hours.")
    before = snapshot.spec.lock
    if (
        before is not None
        and before.state(call.now) == "compliance"
        and (mode != "compliance" or expires < before.expires)
    ):
        text = f"The snapshot {snapshot.meta.name} is locked in compliance mode: its lock can only be extended."
        raise AwsError("OperationNotPermitted", text)
    lock = Lock("compliance" if mode == "compliance" else "governance", call.now, days, expires, hours)
    changed = change(snapshot, lock=lock)
    await _write(call, changed)
    return _show_lock(call, changed)


@operation("UnlockSnapshot")
async def unlock_snapshot(call: Call) -> Result:
    """AWS: ec2 UnlockSnapshot: not in compliance mode once its cooling-off has ended."""
    snapshot = own_snapshot(call, call.params["SnapshotId"])
    lock = snapshot.spec.lock
    if lock is None or lock.state(call.now) == "expired":
        raise AwsError("IncorrectState", f"The snapshot {snapshot.meta.name} is not locked.")
    if lock.state(call.now) == "compliance":
        text = f"The snapshot {snapshot.meta.name} is locked in compliance mode and cannot be unlocked."
        raise AwsError("OperationNotPermitted", text)
    await _write(call, change(snapshot, lock=None))
    return {"SnapshotId": snapshot.meta.name}


@operation("DescribeLockedSnapshots")
def describe_locked_snapshots(call: Call) -> Result:
    """AWS: ec2 DescribeLockedSnapshots."""
    wanted = call.params.get("SnapshotIds")
    found = ids.find_all(call, Snapshot, SNAPSHOT, wanted) if wanted else call.all(Snapshot)
    table: FilterTable = {"lock-state": lambda one: one.spec.lock.state(call.now)}
    found = apply_filters((one for one in found if one.spec.lock), call.params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, default=1000)
    return answer("Snapshots", [{"OwnerId": one.owner, **_show_lock(call, one)} for one in shown], token)


def _refuse_sharing(call: Call, snapshot: Snapshot, add: list[str]) -> None:
    """AWS: OperationNotPermitted for what is encrypted with the account's managed key, and for what is to be public and must not."""
    kms = snapshot.spec.kms_key
    if add and kms and is_managed(kms, snapshot.meta.scope):
        text = "Snapshots that are encrypted with the AWS managed key cannot be shared"
        raise AwsError("OperationNotPermitted", text)
    if "all" not in add:
        return
    if kms:
        raise AwsError("OperationNotPermitted", "Encrypted snapshots cannot be public")
    if settings_of(call).snapshot_sharing != "unblocked":
        text = "You can't publicly share this snapshot because block public access for snapshots is enabled in this Region."
        raise AwsError("OperationNotPermitted", text)


def _duration(call: Call) -> tuple[int, float]:
    """(days, when it ends). AWS: InvalidParameterValue."""
    days, date = call.params.get("LockDuration"), call.params.get("ExpirationDate")
    if days is not None:
        if not LOCK_DAYS[0] <= days <= LOCK_DAYS[1]:
            raise ids.invalid(f"Value ({days}) for parameter lockDuration is invalid. Between 1 and 36500 days.")
        return int(days), call.now + days * DAY_S
    expires = date.timestamp() if isinstance(date, datetime) else float(date or 0)
    if expires < call.now + DAY_S:
        raise ids.invalid("The expiration date must be at least 1 day after the current date and time.")
    return round((expires - call.now) / DAY_S), expires


def _show_lock(call: Call, snapshot: Snapshot) -> dict[str, Any]:
    """API form. AWS: ec2 LockedSnapshotsInfo."""
    lock = snapshot.spec.lock
    assert lock is not None
    shown: dict[str, Any] = {
        "SnapshotId": snapshot.meta.name,
        "LockState": lock.state(call.now),
        "LockDuration": lock.days,
        "LockCreatedOn": lock.created,
        "LockDurationStartTime": lock.created,
        "LockExpiresOn": lock.expires,
    }
    if lock.cool_off_hours:
        shown |= {"CoolOffPeriod": lock.cool_off_hours, "CoolOffPeriodExpiresOn": lock.cool_off}
    return shown


def _check_attribute(attribute: str) -> None:
    if attribute != "createVolumePermission":
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. It cannot be changed.")


def _who(one: dict[str, Any]) -> str:
    """AWS: InvalidAMIAttributeItemValue, as for images, InvalidUserID.Malformed."""
    if one.get("Group"):
        if one["Group"] != "all":
            text = f'Invalid attribute item value "{one["Group"]}" for userGroup item type.'
            raise AwsError("InvalidAMIAttributeItemValue", text)
        return "all"
    user = str(one.get("UserId") or "")
    if _ACCOUNT.fullmatch(user) is None:
        raise AwsError("InvalidUserID.Malformed", f'Invalid user id: "{user}"')
    return user


async def _write(call: Call, snapshot: Snapshot) -> None:
    transaction = call.transaction()
    transaction.update(snapshot)
    await call.commit(transaction)
