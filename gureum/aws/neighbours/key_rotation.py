"""How often a key of KMS is rotated: moto knows only whether. State only: no key gets other material by itself.

AWS: KMS EnableKeyRotation, GetKeyRotationStatus.
"""

from __future__ import annotations

import json
from typing import Any

from moto.kms.exceptions import ValidationException
from moto.kms.responses import KmsResponse

UNSAID_DAYS, LEAST_DAYS, MOST_DAYS = 365, 90, 2560
_ENABLE = KmsResponse.enable_key_rotation
_STATUS = KmsResponse.get_key_rotation_status


def lead() -> None:
    """Idempotent."""
    setattr(KmsResponse, "enable_key_rotation", _enable)  # noqa: B010 - moto has no other way in
    setattr(KmsResponse, "get_key_rotation_status", _status)  # noqa: B010


def _enable(response: Any) -> str:
    days = int(response._get_param("RotationPeriodInDays") or UNSAID_DAYS)
    if not LEAST_DAYS <= days <= MOST_DAYS:
        text = f"Value at 'rotationPeriodInDays' failed to satisfy constraint: Member must be from {LEAST_DAYS} to {MOST_DAYS}"
        raise ValidationException(f"1 validation error detected: {text}")
    answer = str(_ENABLE(response))
    _key_of(response).told_rotation_days = days
    return answer


def _status(response: Any) -> str:
    found = json.loads(_STATUS(response))
    key = _key_of(response)
    found["KeyId"] = key.id
    if found["KeyRotationEnabled"]:
        found["RotationPeriodInDays"] = getattr(key, "told_rotation_days", UNSAID_DAYS)
    return json.dumps(found)


def _key_of(response: Any) -> Any:
    return response.kms_backend.describe_key(response._get_param("KeyId"))
