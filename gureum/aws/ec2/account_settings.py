"""What an account has set for a whole region: one object, and how it is read and written. What each setting does is told where it is obeyed."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, kind

NAME = "settings"


class SettingsSpec(msgspec.Struct, frozen=True):
    """`ebs_encrypted`: new volumes and copies of snapshots are encrypted; `ebs_key`: ARN of the KMS key that they name, "" for AWS's own.
    `snapshot_sharing`: "unblocked", "block-new-sharing" or "block-all-sharing"; `image_sharing`: "unblocked" or "block-new-sharing".
    `allowed_images`: "disabled", "audit-mode" or "enabled"; `image_criteria`: as the API has them. `credits`: (instance family, "standard" or
    "unlimited") where it is not the family's own. `event_tags`: keys, or "*" for all of them."""

    ebs_encrypted: bool = False
    ebs_key: str = ""
    snapshot_sharing: str = "unblocked"
    image_sharing: str = "unblocked"
    allowed_images: str = "disabled"
    image_criteria: tuple[dict[str, Any], ...] = ()
    credits: tuple[tuple[str, str], ...] = ()
    event_tags: tuple[str, ...] = ()

    @property
    def restricts(self) -> bool:
        """Whether it is told which images are allowed."""
        return self.allowed_images != "disabled"


@kind("ec2.AccountSettings")
class AccountSettings(Resource, frozen=True):
    """One per account and region, named "settings"."""

    spec: SettingsSpec = SettingsSpec()


def settings_of(call: Call, account: str = "", region: str = "") -> SettingsSpec:
    """Of the caller in its region, or of another account."""
    scope = f"{account or call.account}/{region or call.region}"
    found = call.client.get(AccountSettings, scope, NAME)
    return found.spec if found else SettingsSpec()


def change_settings(call: Call, transaction: Transaction, **fields: Any) -> None:
    found = call.get(AccountSettings, NAME)
    if found is None:
        spec = msgspec.structs.replace(SettingsSpec(), **fields)
        transaction.create(AccountSettings(meta=call.meta(NAME), spec=spec))
    else:
        spec = msgspec.structs.replace(found.spec, **fields)
        transaction.update(msgspec.structs.replace(found, spec=spec))


async def write_settings(call: Call, **fields: Any) -> None:
    transaction = call.transaction()
    change_settings(call, transaction, **fields)
    await call.commit(transaction)
