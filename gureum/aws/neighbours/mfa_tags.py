"""Tags of virtual MFA devices, which moto has none of: Terraform asks for them as soon as it has made one.

AWS: IAM CreateVirtualMFADevice, TagMFADevice, UntagMFADevice, ListMFADeviceTags.
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.iam.exceptions import NotFoundException, TooManyTags
from moto.iam.models import VirtualMfaDevice
from moto.iam.responses import IamResponse

LIMIT_TAGS = 50
_CREATE = IamResponse.create_virtual_mfa_device


def install() -> None:
    """Idempotent."""
    setattr(VirtualMfaDevice, "tags", ())  # noqa: B010 - moto has no other way in
    setattr(IamResponse, "create_virtual_mfa_device", _create)  # noqa: B010
    setattr(IamResponse, "tag_mfa_device", _tag)  # noqa: B010
    setattr(IamResponse, "untag_mfa_device", _untag)  # noqa: B010
    setattr(IamResponse, "list_mfa_device_tags", _list)  # noqa: B010


def _create(response: Any) -> Any:
    tags = _checked(response)
    before = set(response.backend.virtual_mfa_devices)
    answer = _CREATE(response)
    for serial in response.backend.virtual_mfa_devices.keys() - before:
        response.backend.virtual_mfa_devices[serial].tags = list(tags.values())
    return answer


def _tag(response: Any) -> Any:
    device = _device(response)
    tags = {one["Key"].lower(): one for one in device.tags} | _checked(response)
    if len(tags) > LIMIT_TAGS:
        raise TooManyTags(list(tags))
    device.tags = list(tags.values())
    return EmptyResult()


def _untag(response: Any) -> Any:
    device = _device(response)
    gone = {str(key).lower() for key in response._get_param("TagKeys", [])}
    device.tags = [one for one in device.tags if one["Key"].lower() not in gone]
    return EmptyResult()


def _list(response: Any) -> Any:
    return ActionResult({"Tags": list(_device(response).tags), "IsTruncated": False})


def _checked(response: Any) -> dict[str, dict[str, str]]:
    """Those of the call, by their keys in small letters, as moto checks all of IAM's."""
    found: dict[str, dict[str, str]] = response.backend._tag_verification(response._get_param("Tags", []))
    return found


def _device(response: Any) -> Any:
    serial = response._get_param("SerialNumber")
    device = response.backend.virtual_mfa_devices.get(serial)
    if device is None:
        raise NotFoundException(f"MFADevice with serial number {serial} doesn't exist.")
    return device
