"""Temporary credentials as STS answers them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.credentials import new_session


async def issue(call: Call, account: str, arn: str, user_id: str, seconds: float, **more: Any) -> dict[str, Any]:
    """Makes a session, durably. `more`: further fields of its SessionSpec. AWS: sts Credentials."""
    transaction = call.transaction()
    issued = new_session(call.client, transaction, call.sealer, account, arn, user_id, call.now, seconds, **more)
    await call.commit(transaction)
    return {
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.token,
        "Expiration": datetime.fromtimestamp(issued.expires, UTC),
    }
