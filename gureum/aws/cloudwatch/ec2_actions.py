"""EC2's alarm actions: stop, terminate, reboot and recover the instance that the metric's InstanceId dimension names.

AWS: "Create alarms to stop, terminate, reboot, or recover an EC2 instance". Recovering moves an instance to other hardware; here it starts it
anew on this machine, which is what is left of it on one host.
"""

from __future__ import annotations

import msgspec

from gureum.aws.cloudwatch.alarm_actions import AlarmContext
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.lifecycle import begin_stop, begin_termination
from gureum.aws.errors import AwsError
from gureum.core.world import World
from gureum.engine.registry import mark
from gureum.store.contract import Conflict

WHY = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
LIMIT_RUNS = 10


@mark("alarm-action", "arn:aws:automate")
async def act(world: World, context: AlarmContext) -> None:
    """ "arn:aws:automate:us-east-1:ec2:stop" """
    await _change(world, context, context.arn.rpartition(":")[2])


@mark("alarm-action", "arn:aws:swf")
async def act_by_workflow(world: World, context: AlarmContext) -> None:
    """ "arn:aws:swf:us-east-1:123456789012:action/actions/AWS_EC2.InstanceId.Stop/1.0" """
    await _change(world, context, context.arn.split(".")[2].partition("/")[0].lower())


async def _change(world: World, context: AlarmContext, verb: str) -> None:
    world.load("gureum.aws.ec2")
    for _ in range(LIMIT_RUNS):
        name = context.dimensions.get("InstanceId", "")
        instance = world.client.get(Instance, context.scope, name)
        if instance is None:
            raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")
        transaction = world.client.transaction()
        state = instance.status.state
        if verb == "stop" and state in ("pending", "running"):
            _require(not instance.spec.stop_protected, f"The instance '{name}' may not be stopped.")
            begin_stop(transaction, instance, context.now, *WHY)
        elif verb == "terminate" and state not in ("shutting-down", "terminated"):
            _require(not instance.spec.termination_protected, f"The instance '{name}' may not be terminated.")
            begin_termination(transaction, instance, context.now, *WHY)
        elif verb in ("reboot", "recover") and state == "running":
            spec = msgspec.structs.replace(instance.spec, boot=instance.spec.boot + 1)
            transaction.update(msgspec.structs.replace(instance, spec=spec))
        elif verb in ("reboot", "recover"):
            raise AwsError("IncorrectInstanceState", f"The instance '{name}' is not in the state 'running'.")
        if transaction.empty:
            return
        try:
            await transaction.commit()
        except Conflict:
            continue
        return
    raise AwsError("ServiceUnavailable", "The action lost against other changes too often.")


def _require(allowed: bool, text: str) -> None:
    if not allowed:
        raise AwsError("OperationNotPermitted", text)
