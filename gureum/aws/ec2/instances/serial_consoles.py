"""The account's setting whether serial consoles may be used, in a region. Sessions on them: aws/ec2_instance_connect/serial_sessions.py."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.marks import Result, operation
from gureum.engine.client import Client
from gureum.engine.resource import Resource, kind

NAME = "access"


class AccessSpec(msgspec.Struct, frozen=True):
    enabled: bool = False


@kind("ec2.SerialConsoleAccess")
class SerialConsoleAccess(Resource, frozen=True):
    spec: AccessSpec


@operation("EnableSerialConsoleAccess")
async def enable_serial_console_access(call: Call) -> Result:
    """AWS: ec2 EnableSerialConsoleAccess."""
    return await _set(call, enabled=True)


@operation("DisableSerialConsoleAccess")
async def disable_serial_console_access(call: Call) -> Result:
    """AWS: ec2 DisableSerialConsoleAccess. Sessions that are open are cut."""
    return await _set(call, enabled=False)


@operation("GetSerialConsoleAccessStatus")
def get_serial_console_access_status(call: Call) -> Result:
    """AWS: ec2 GetSerialConsoleAccessStatus."""
    return _show(access_is_enabled(call.client, call.scope)) | {"ManagedBy": "account"}


def access_is_enabled(client: Client, scope: str) -> bool:
    found = client.get(SerialConsoleAccess, scope, NAME)
    return found is not None and found.spec.enabled


async def _set(call: Call, *, enabled: bool) -> Result:
    found = call.get(SerialConsoleAccess, NAME)
    transaction = call.transaction()
    if found is None:
        transaction.create(SerialConsoleAccess(meta=call.meta(NAME), spec=AccessSpec(enabled)))
    else:
        transaction.update(msgspec.structs.replace(found, spec=AccessSpec(enabled)))
    await call.commit(transaction)
    return _show(enabled)


def _show(enabled: bool) -> dict[str, Any]:
    return {"SerialConsoleAccessEnabled": enabled}
