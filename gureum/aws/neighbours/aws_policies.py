"""AWS's own policies (some 1,300), which every account has: read once and copied for each, with the same ids in all, as on AWS. moto reads them anew
for each account: a third of a second for every account that is made.

AWS: IAM user guide, "AWS managed policies".
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from moto.iam.models import IAMBackend
from moto.moto_api._internal import mock_random
from moto.utilities.utils import get_partition

from gureum.aws.neighbours.iam_ids import id_of

PREFIX = "ANPA"
_READ = IAMBackend._init_aws_policies
_read: dict[str, list[Any]] = {}
"""By partition."""


def lead(wanted: Callable[[], bool]) -> None:
    """`wanted`: whether to do so now; no for calls of journals of before, whose seeds these ids were drawn from. Idempotent."""

    def policies(backend: Any) -> list[Any]:
        if not wanted():
            found: list[Any] = _READ(backend)
            return found
        return [_copy(one, backend.account_id) for one in _templates(backend)]

    setattr(IAMBackend, "_init_aws_policies", policies)  # noqa: B010 - moto has no other way in


def _templates(backend: Any) -> list[Any]:
    partition = get_partition(backend.region_name)
    if partition not in _read:
        before = mock_random.getstate()
        mock_random.seed(f"iam/{partition}")
        try:
            _read[partition] = _READ(backend)
        finally:
            mock_random.setstate(before)
        for one in _read[partition]:
            one.id = id_of(PREFIX, one.id)
    return _read[partition]


def _copy(template: Any, account: str) -> Any:
    """What may change is the account's own."""
    made = copy.copy(template)
    made.account_id, made.tags, made.versions = account, {}, [copy.copy(one) for one in template.versions]
    return made
