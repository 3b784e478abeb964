"""What the operations that change one instance share: finding it, its state, and writing the change."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.errors import AwsError


def living_instance(call: Call, instance_id: str) -> Instance:
    """An instance that is not terminated or about to be. AWS: IncorrectInstanceState."""
    instance = ids.find(call, Instance, INSTANCE, instance_id)
    if instance.status.state in ("shutting-down", "terminated"):
        text = f"The instance '{instance_id}' is not in a valid state for this operation: {instance.status.state}."
        raise AwsError("IncorrectInstanceState", text)
    return instance


def require_stopped(instance: Instance) -> None:
    """AWS: IncorrectInstanceState."""
    if instance.status.state != "stopped":
        raise AwsError("IncorrectInstanceState", f"The instance '{instance.meta.name}' is not in the 'stopped' state.")


def change(instance: Instance, **fields: Any) -> Instance:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(instance, spec=msgspec.structs.replace(instance.spec, **fields))


async def write(call: Call, instance: Instance) -> None:
    """Commits one changed instance."""
    transaction = call.transaction()
    transaction.update(instance)
    await call.commit(transaction)
