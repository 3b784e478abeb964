"""Unique ids of IAM as AWS writes them: four letters that tell the kind, and 17 more. moto writes them for roles and access keys only; and programs
tell by them who calls. And a user whose keys are still there stays, as on AWS: what calls with them must be somebody.

And where moto draws, or lists, otherwise after a restart: pictures of virtual MFA devices (which are none with moto, only bytes), lists of policies.

AWS: IAM user guide, "Understanding unique ID prefixes".
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

from moto.iam.exceptions import DeleteConflictException
from moto.iam.models import IAMBackend, VirtualMfaDevice

_PREFIXES = {
    "create_user": "AIDA",
    "create_group": "AGPA",
    "create_instance_profile": "AIPA",
    "create_policy": "ANPA",
}
_MAKE = {name: getattr(IAMBackend, name) for name in _PREFIXES}
_DELETE_USER = IAMBackend.delete_user
_MAKE_DEVICE = VirtualMfaDevice.__init__
_DETAILS = IAMBackend.get_account_authorization_details
_LETTERS = str.maketrans("0189", "WXYZ")
_DRAWN = 17


def lead(wanted: Callable[[], bool]) -> None:
    """`wanted`: whether to do so now; no for calls of journals of before."""
    for name, prefix in _PREFIXES.items():
        setattr(IAMBackend, name, _with_prefix(_MAKE[name], prefix, wanted))
    setattr(IAMBackend, "delete_user", functools.partialmethod(_delete_user, wanted))  # noqa: B010 - moto has no other way in
    setattr(IAMBackend, "get_account_authorization_details", _details)  # noqa: B010
    setattr(VirtualMfaDevice, "__init__", _make_device)  # noqa: B010


def id_of(prefix: str, drawn: str) -> str:
    """As AWS writes what moto has drawn."""
    return prefix + drawn.upper().translate(_LETTERS)[-_DRAWN:]


def _make_device(device: Any, *given: Any, **named: Any) -> None:
    _MAKE_DEVICE(device, *given, **named)
    device.qr_code_png = hashlib.sha512(device.base32_string_seed.encode()).digest()


def _details(backend: Any, policy_filter: list[str]) -> dict[str, Any]:
    """In the order in which they were made."""
    found: dict[str, Any] = _DETAILS(backend, policy_filter)
    places = {policy.arn: number for number, policy in enumerate(backend.managed_policies.values())}
    return {**found, "managed_policies": sorted(found["managed_policies"], key=lambda one: places[one.arn])}


def _delete_user(backend: Any, wanted: Callable[[], bool], user_name: str) -> None:
    """AWS: IAM DeleteUser, DeleteConflict; moto lets keys go with their user."""
    if wanted() and backend.get_user(user_name).access_keys:
        raise DeleteConflictException("Cannot delete entity, must delete access keys first.")
    _DELETE_USER(backend, user_name)


def _with_prefix(make: Callable[..., Any], prefix: str, wanted: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(make)
    def made(*given: Any, **named: Any) -> Any:
        one = make(*given, **named)
        if wanted():
            one.id = id_of(prefix, one.id)
        return one

    return made
