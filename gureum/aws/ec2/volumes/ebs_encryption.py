"""Which volumes and snapshots are encrypted, and with which key; the account's default for it.

    volume, new             its own data key (base/disk_keys.py)
    snapshot of a volume,
    volume of a snapshot    the same data key, as AWS does
    with another KMS key,
    or from what was not    a new data key: the agent encrypts the files anew

Data keys are sealed by the home's key. The KMS key that is named is kept and told; it takes no part. How disks are encrypted:
drivers/volumes/volume_keys.py and docs/decisions/0083-disks-encrypted-by-the-file-system.md.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of, write_settings
from gureum.aws.ec2.instances.kinds import VolumeSpec
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.disk_keys import new_disk_key

FEATURE = Path("/sys/fs/ext4/features/encryption")
_KEY = re.compile(
    r"(arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:)?((key/)?(mrk-)?[0-9a-f-]{8,64}|alias/[A-Za-z0-9/_-]{1,250})", re.ASCII
)


@operation("GetEbsEncryptionByDefault")
def get_ebs_encryption_by_default(call: Call) -> Result:
    """AWS: ec2 GetEbsEncryptionByDefault."""
    call.end_dry_run()
    encrypted = settings_of(call).ebs_encrypted
    return {"EbsEncryptionByDefault": encrypted, "SseType": "sse-kms" if encrypted else "none"}


@operation("EnableEbsEncryptionByDefault")
async def enable_ebs_encryption_by_default(call: Call) -> Result:
    """AWS: ec2 EnableEbsEncryptionByDefault: for volumes and copies of snapshots that are made from now on."""
    refuse_without_kernel(call)
    await write_settings(call, ebs_encrypted=True)
    return {"EbsEncryptionByDefault": True}


@operation("DisableEbsEncryptionByDefault")
async def disable_ebs_encryption_by_default(call: Call) -> Result:
    """AWS: ec2 DisableEbsEncryptionByDefault: what is encrypted stays so."""
    await write_settings(call, ebs_encrypted=False)
    return {"EbsEncryptionByDefault": False}


@operation("GetEbsDefaultKmsKeyId", level="state")
def get_ebs_default_kms_key_id(call: Call) -> Result:
    """AWS: ec2 GetEbsDefaultKmsKeyId."""
    call.end_dry_run()
    return {"KmsKeyId": settings_of(call).ebs_key or managed_key(call)}


@operation("ModifyEbsDefaultKmsKeyId", level="state")
async def modify_ebs_default_kms_key_id(call: Call) -> Result:
    """AWS: ec2 ModifyEbsDefaultKmsKeyId."""
    key = key_arn(call, call.params["KmsKeyId"])
    await write_settings(call, ebs_key=key)
    return {"KmsKeyId": key}


@operation("ResetEbsDefaultKmsKeyId", level="state")
async def reset_ebs_default_kms_key_id(call: Call) -> Result:
    """AWS: ec2 ResetEbsDefaultKmsKeyId."""
    await write_settings(call, ebs_key="")
    return {"KmsKeyId": managed_key(call)}


def encrypted(call: Call, volume: VolumeSpec, ebs: dict[str, Any], snapshot: Snapshot | None) -> VolumeSpec:
    """The volume as it is to be encrypted: `kms_key` says that it is, and with_key gives it a key where it has none of its snapshot's.
    `ebs`: what was asked for (Encrypted, KmsKeyId). AWS: CreateVolume."""
    old, old_kms = (snapshot.spec.key, snapshot.spec.kms_key) if snapshot else ("", "")
    kms = wanted_key(call, ebs, old_kms)
    if not kms:
        return volume
    return msgspec.structs.replace(volume, kms_key=kms, key=old if kms == old_kms else "", snapshot_key=old)


def with_key(call: Call, volume: VolumeSpec) -> VolumeSpec:
    """The volume with a key of its own, if it is encrypted and has none yet."""
    if not volume.kms_key or volume.key:
        return volume
    return msgspec.structs.replace(volume, key=new_disk_key(call.sealer))


def wanted_key(call: Call, wanted: dict[str, Any], before: str) -> str:
    """The ARN of the KMS key that what is made names, "" when it is not encrypted. `before`: of what it is made from."""
    settings = settings_of(call)
    if not wanted.get("Encrypted") and not before and not settings.ebs_encrypted:
        if wanted.get("KmsKeyId"):
            text = "The parameter KmsKeyId requires the parameter Encrypted to be set."
            raise AwsError("InvalidParameterDependency", text)
        return ""
    refuse_without_kernel(call)
    if wanted.get("KmsKeyId"):
        return key_arn(call, wanted["KmsKeyId"])
    return before or settings.ebs_key or managed_key(call)


def refuse_without_kernel(call: Call) -> None:
    """What cannot be encrypted on this host is refused, not noted."""
    if not can_encrypt(call):
        raise ids.not_built("Encryption of volumes on a kernel without encryption of ext4 (CONFIG_FS_ENCRYPTION)")


def can_encrypt(call: Call) -> bool:
    return call.settings.simulate or FEATURE.exists()


def key_arn(call: Call, key: str) -> str:
    """AWS: InvalidParameterValue. "1234abcd-…", "alias/mine" or an ARN."""
    if _KEY.fullmatch(key) is None:
        raise ids.invalid(f"Value ({key[:200]}) for parameter KmsKeyId is invalid.")
    if key.startswith("arn:"):
        return key
    if key == "alias/aws/ebs":
        return managed_key(call)
    return call.arn(key if key.startswith(("alias/", "key/")) else f"key/{key}", service="kms")


def managed_key(call: Call) -> str:
    """The key that AWS keeps for an account in a region ("alias/aws/ebs")."""
    return call.arn(f"key/{uuid.uuid5(uuid.NAMESPACE_URL, f'ebs/{call.scope}')}", service="kms")


def is_managed(kms_key: str, scope: str) -> bool:
    """Whether it is the managed key of that "account/region"."""
    return kms_key.endswith(f"key/{uuid.uuid5(uuid.NAMESPACE_URL, f'ebs/{scope}')}")
