"""What an account has set for its certificates in a region: GetAccountConfiguration, PutAccountConfiguration.

It is when EventBridge begins to tell of certificates that expire. There is no EventBridge here: it is remembered and read back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.acm.requests import TOKEN_LIFE_S
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.engine.resource import Resource, kind

NAME = "configuration"
DEFAULT_DAYS = 45
LIMIT_TOKENS = 100
"""So many of the newest IdempotencyTokens are known again."""


class AccountConfigurationSpec(msgspec.Struct, frozen=True):
    """`tokens`: of the calls that wrote it, and when (Unix seconds)."""

    days_before_expiry: int = DEFAULT_DAYS
    tokens: dict[str, float] = {}


@kind("acm.AccountConfiguration")
class AccountConfiguration(Resource, frozen=True):
    """One per account and region, named "configuration"."""

    spec: AccountConfigurationSpec = AccountConfigurationSpec()


@operation("GetAccountConfiguration", level="state")
def get_account_configuration(call: Call) -> dict[str, Any]:
    """AWS: acm GetAccountConfiguration."""
    found = call.get(AccountConfiguration, NAME)
    days = found.spec.days_before_expiry if found is not None else DEFAULT_DAYS
    return {"ExpiryEvents": {"DaysBeforeExpiry": days}}


@operation("PutAccountConfiguration", level="state")
async def put_account_configuration(call: Call) -> dict[str, Any]:
    """AWS: acm PutAccountConfiguration. Called again with the token of a call within the last hour, it changes nothing. ValidationException."""
    token, days = call.params["IdempotencyToken"], (call.params.get("ExpiryEvents") or {}).get("DaysBeforeExpiry")
    if days is None:
        raise AwsError("ValidationException", "Configuration for events is empty.")
    found = call.get(AccountConfiguration, NAME)
    tokens = found.spec.tokens if found is not None else {}
    if call.now < tokens.get(token, 0.0) + TOKEN_LIFE_S:
        return {}
    newest = sorted((tokens | {token: call.now}).items(), key=lambda one: one[1])[-LIMIT_TOKENS:]
    spec = AccountConfigurationSpec(days, dict(newest))
    transaction = call.transaction()
    if found is None:
        transaction.create(AccountConfiguration(meta=call.meta(NAME), spec=spec))
    else:
        transaction.update(msgspec.structs.replace(found, spec=spec))
    await call.commit(transaction)
    return {}
