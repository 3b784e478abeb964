"""The account's setting whether serial consoles may be used. What they show is told by GetConsoleOutput; signing in on one is not built."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.marks import Result, operation
from gureum.engine.resource import Resource, kind

NAME = "access"


class AccessSpec(msgspec.Struct, frozen=True):
    enabled: bool = False


@kind("ec2.SerialConsoleAccess")
class SerialConsoleAccess(Resource, frozen=True):
    spec: AccessSpec


@operation("EnableSerialConsoleAccess", level="state")
async def enable_serial_console_access(call: Call) -> Result:
    """AWS: ec2 EnableSerialConsoleAccess."""
    return await _set(call, enabled=True)


@operation("DisableSerialConsoleAccess", level="state")
async def disable_serial_console_access(call: Call) -> Result:
    """AWS: ec2 DisableSerialConsoleAccess."""
    return await _set(call, enabled=False)


@operation("GetSerialConsoleAccessStatus", level="state")
def get_serial_console_access_status(call: Call) -> Result:
    """AWS: ec2 GetSerialConsoleAccessStatus."""
    found = call.get(SerialConsoleAccess, NAME)
    return _show(found is not None and found.spec.enabled) | {"ManagedBy": "account"}


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
