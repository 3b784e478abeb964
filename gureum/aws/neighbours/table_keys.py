"""The key of AWS's alias for DynamoDB: moto makes it with the first table that is to be encrypted by none of its own, from the system's randomness.
It is made as those of other aliases are (default_keys.py), else what it has encrypted would be lost with a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.dynamodb.models.table import Table
from moto.kms.models import kms_backends

ALIAS = "alias/aws/dynamodb"
_MAKE = Table._get_default_encryption_key


def lead(wanted: Callable[[], bool]) -> None:
    """Idempotent. `wanted`: whether to do so now; no for calls of journals of before."""

    def key_of(table: Any, account_id: str, region: str) -> str:
        if not wanted():
            return str(_MAKE(table, account_id, region))
        state = kms_backends[account_id][region]
        if not state.alias_exists(ALIAS):
            state._generate_default_keys(ALIAS)
        return str(state.describe_key(ALIAS).arn)

    setattr(Table, "_get_default_encryption_key", key_of)  # noqa: B010 - moto has no other way in
