"""What may be changed of an image after it was registered: who may launch it, its description, deprecation, disabling, protection."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import NEVER, Image, change, find_image, no_image, own_image
from gureum.aws.ec2.public_sharing import refuse_public_image
from gureum.aws.ec2.volumes.ebs_encryption import is_managed
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

YEAR_S = 366 * 86400.0
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)


@operation("ModifyImageAttribute")
async def modify_image_attribute(call: Call) -> Result:
    """AWS: ec2 ModifyImageAttribute: one attribute a call, in the new form (LaunchPermission) or the old one (OperationType)."""
    image, params = own_image(call, call.params["ImageId"]), call.params
    given = [name for name in ("Description", "LaunchPermission", "ImdsSupport") if params.get(name)]
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", "Fields for multiple attribute types specified")
    if params.get("ProductCodes") or params.get("OrganizationArns") or params.get("OrganizationalUnitArns"):
        raise ids.not_built("ModifyImageAttribute with product codes or organizations")
    if given == ["Description"] or params.get("Attribute") == "description":
        text = (params.get("Description") or {}).get("Value", params.get("Value") or "")
        return await _change(call, image, description=text)
    if given == ["ImdsSupport"] or params.get("Attribute") == "imdsSupport":
        value = (params.get("ImdsSupport") or {}).get("Value", params.get("Value") or "")
        if value != "v2.0":
            raise ids.invalid(f"Value ({value}) for parameter imdsSupport is invalid.")
        return await _change(call, image, imds=value)
    add, remove = _permissions(params)
    if not add and not remove:
        raise AwsError("InvalidParameterCombination", "No attributes specified.")
    _refuse_sharing(call, image, add)
    accounts = [one for one in image.spec.launch_accounts if one not in remove]
    accounts += [one for one in add if one != "all" and one not in accounts]
    public = "all" in add or (image.spec.public and "all" not in remove)
    return await _change(call, image, public=public, launch_accounts=tuple(accounts))


def _refuse_sharing(call: Call, image: Image, add: list[str]) -> None:
    """AWS: InvalidParameter for disks that are encrypted with the account's managed key (hashicorp/packer issue 7410), OperationNotPermitted for
    what is to be public and must not ("Make your AMI publicly available": nothing that is encrypted)."""
    disks = [disk for name in image.snapshots if (disk := call.get(Snapshot, name)) is not None]
    if add and any(disk.spec.kms_key and is_managed(disk.spec.kms_key, disk.meta.scope) for disk in disks):
        text = "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot."
        raise AwsError("InvalidParameter", text)
    if "all" not in add:
        return
    if any(disk.spec.kms_key for disk in disks):
        raise AwsError("OperationNotPermitted", "Images with encrypted snapshots cannot be public")
    refuse_public_image(call)


@operation("ResetImageAttribute")
async def reset_image_attribute(call: Call) -> Result:
    """AWS: ec2 ResetImageAttribute: only the owner may launch it again."""
    image = own_image(call, call.params["ImageId"])
    ids.choice(call.params, "Attribute", "launchPermission")
    return await _change(call, image, public=False, launch_accounts=())


@operation("EnableImageDeprecation")
async def enable_image_deprecation(call: Call) -> Result:
    """AWS: ec2 EnableImageDeprecation: at a time to come, within 10 years from now, of a public image 2 years from its creation."""
    image = own_image(call, call.params["ImageId"])
    at = call.params["DeprecateAt"]
    seconds = at.timestamp() if isinstance(at, datetime) else float(at)
    if seconds <= call.now:
        raise ids.invalid("The specified date and time is in the past. Specify a date and time in the future.")
    latest = image.meta.created + 2 * YEAR_S if image.spec.public else call.now + 10 * YEAR_S
    if seconds > latest:
        limit = "2 years from the creation of a public image" if image.spec.public else "10 years from now"
        raise ids.invalid(f"The specified date and time is too far in the future. Specify one at most {limit}.")
    # AWS rounds seconds to the nearest minute.
    await _change(call, image, deprecated_at=float(round(seconds / 60) * 60))
    return {"Return": True}


@operation("DisableImageDeprecation")
async def disable_image_deprecation(call: Call) -> Result:
    """AWS: ec2 DisableImageDeprecation."""
    await _change(call, own_image(call, call.params["ImageId"]), deprecated_at=NEVER)
    return {"Return": True}


@operation("DisableImage")
async def disable_image(call: Call) -> Result:
    """AWS: ec2 DisableImage: it cannot be launched, and is no longer shared with anyone."""
    image = own_image(call, call.params["ImageId"])
    await _change(call, image, disabled=True, public=False, launch_accounts=())
    return {"Return": True}


@operation("EnableImage")
async def enable_image(call: Call) -> Result:
    """AWS: ec2 EnableImage: not while a snapshot of it is in the archive."""
    image = own_image(call, call.params["ImageId"])
    for id_ in image.snapshots:
        snapshot = call.get(Snapshot, id_)
        if snapshot is not None and snapshot.status.archived:
            raise AwsError(
                "IncorrectState", f"The snapshot '{id_}' is in the archive tier. Restore it before you use it."
            )
    await _change(call, image, disabled=False)
    return {"Return": True}


@operation("EnableImageDeregistrationProtection")
async def enable_image_deregistration_protection(call: Call) -> Result:
    """AWS: ec2 EnableImageDeregistrationProtection."""
    if call.params.get("WithCooldown"):
        raise ids.not_built("EnableImageDeregistrationProtection with a cooldown")
    await _change(call, own_image(call, call.params["ImageId"]), protected=True)
    return {"Return": "enabled-without-cooldown"}


@operation("DisableImageDeregistrationProtection")
async def disable_image_deregistration_protection(call: Call) -> Result:
    """AWS: ec2 DisableImageDeregistrationProtection."""
    await _change(call, own_image(call, call.params["ImageId"]), protected=False)
    return {"Return": "disabled"}


@operation("CancelImageLaunchPermission")
async def cancel_image_launch_permission(call: Call) -> Result:
    """AWS: ec2 CancelImageLaunchPermission: an account that another's image is shared with gives that up."""
    image = find_image(call, call.params["ImageId"])
    if image is None:
        raise no_image(call.params["ImageId"])
    if call.account not in image.spec.launch_accounts:
        text = f"The image '{image.meta.name}' is not shared with this account explicitly."
        raise AwsError("InvalidAMIID.Unavailable", text)
    await _change(call, image, launch_accounts=tuple(one for one in image.spec.launch_accounts if one != call.account))
    return {"Return": True}


def _permissions(params: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Whom to add and whom to remove: accounts, "all" for everyone. AWS: InvalidAMIAttributeItemValue."""
    wished = params.get("LaunchPermission") or {}
    add = [_who(one) for one in wished.get("Add") or ()]
    remove = [_who(one) for one in wished.get("Remove") or ()]
    old = [
        *({"UserId": one} for one in params.get("UserIds") or ()),
        *({"Group": one} for one in params.get("UserGroups") or ()),
    ]
    operation_type = ids.choice(params, "OperationType", "add", "remove")
    (remove if operation_type == "remove" else add).extend(_who(one) for one in old)
    return add, remove


def _who(one: dict[str, Any]) -> str:
    if one.get("OrganizationArn") or one.get("OrganizationalUnitArn"):
        raise ids.not_built("Launch permissions for organizations")
    if one.get("Group"):
        if one["Group"] != "all":
            text = f'Invalid attribute item value "{one["Group"]}" for userGroup item type.'
            raise AwsError("InvalidAMIAttributeItemValue", text)
        return "all"
    user = str(one.get("UserId") or "")
    if _ACCOUNT.fullmatch(user) is None:
        raise AwsError("InvalidAMIAttributeItemValue", f'Invalid attribute item value "{user}" for userId item type.')
    return user


async def _change(call: Call, image: Image, **fields: Any) -> Result:
    transaction = call.transaction()
    transaction.update(change(image, **fields))
    await call.commit(transaction)
    return {}
