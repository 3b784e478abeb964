"""An instance's life after launch: start, stop, reboot, terminate, and the reconcile that moves its state along with what the machine does.

    operation (commit)                     lowered to                          seen of the container      reconcile (commit)
    RunInstances, StartInstances: pending  Sandbox, Image, Container running   running                    running
    RebootInstances: boot + 1              Container with a higher boot        (restarts)                 -
    StopInstances: stopping                Container stopped                   stopped                    stopped, interfaces unplugged
    TerminateInstances: shutting-down      nothing                             gone                       terminated, interfaces and volumes deleted
    (shutdown inside)                      -                                   exited                     stopping or shutting-down

A terminated instance stays visible for an hour, as on AWS.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.spot_kinds import SpotRequest
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.capacity_kinds import CapacityWish, take_place
from gureum.aws.ec2.instances.credits import left_balance, start_balance
from gureum.aws.ec2.instances.host_room import room_bytes
from gureum.aws.ec2.instances.instance_stores import new_stores
from gureum.aws.ec2.instances.interfaces import plug_again
from gureum.aws.ec2.instances.kinds import STATE_CODES, Instance, InstanceStatus, State, Volume
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.instances.vcpu_quota import check_vcpus, hold_vcpus
from gureum.aws.ec2.interfaces.interfaces import delete_interface, detach, drop_public, interfaces_of, plug
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.registry import reconcile
from gureum.engine.resource import Resource, key_of

VISIBLE_AFTER_TERMINATION_S = 3600.0
USER_SHUTDOWN = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
OWN_SHUTDOWN = ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
SPOT_TERMINATION = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot Instance termination")
SPOT_STOP = ("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown: Spot Instance shutdown")
LAUNCH_FAULT = ("Server.InternalError", "Server.InternalError: Internal error on launch")
OWN_FAULT = ("Server.InternalError", "Server.InternalError: The machine cannot run the instance")


@operation("StartInstances")
async def start_instances(call: Call) -> dict[str, Any]:
    """AWS: ec2 StartInstances: from stopped; a running one is left alone. IncorrectInstanceState otherwise."""

    def start(transaction: Transaction, instance: Instance) -> Instance:
        if instance.status.state in ("pending", "running"):
            return instance
        if instance.status.state != "stopped":
            raise _wrong_state(instance, "started")
        if all(one.device != instance.spec.root_device for one in instance.spec.block_devices):
            text = (
                f"Instance '{instance.meta.name}' does not have a volume attached at root ({instance.spec.root_device})"
            )
            raise AwsError("IncorrectState", text)
        return begin_start(call, transaction, instance)

    return {"StartingInstances": await _change_all(call, start)}


@operation("StopInstances")
async def stop_instances(call: Call) -> dict[str, Any]:
    """AWS: ec2 StopInstances: from running or pending; a stopped one is left alone. Spot Instances only of a persistent request."""
    if call.params.get("Hibernate"):
        raise AwsError("UnsupportedHibernationConfiguration", "The instance is not configured for hibernation.")

    def stop(transaction: Transaction, instance: Instance) -> Instance:
        if instance.status.state in ("stopping", "stopped"):
            return instance
        if instance.status.state not in ("running", "pending"):
            raise _wrong_state(instance, "stopped")
        if instance.spec.stop_protected:
            text = f"The instance '{instance.meta.name}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
            raise AwsError("OperationNotPermitted", text)
        _refuse_one_time_spot(call, instance)
        return begin_stop(transaction, instance, call.now, *USER_SHUTDOWN)

    return {"StoppingInstances": await _change_all(call, stop)}


@operation("TerminateInstances")
async def terminate_instances(call: Call) -> dict[str, Any]:
    """AWS: ec2 TerminateInstances: idempotent; all or nothing when one is protected."""

    def terminate(transaction: Transaction, instance: Instance) -> Instance:
        if instance.status.state in ("shutting-down", "terminated"):
            return instance
        if instance.spec.termination_protected:
            text = f"The instance '{instance.meta.name}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
            raise AwsError("OperationNotPermitted", text)
        return begin_termination(transaction, instance, call.now, *USER_SHUTDOWN)

    return {"TerminatingInstances": await _change_all(call, terminate)}


@operation("RebootInstances")
async def reboot_instances(call: Call) -> dict[str, Any]:
    """AWS: ec2 RebootInstances: asks for it and answers; the instance stays `running`."""

    def reboot(transaction: Transaction, instance: Instance) -> Instance:
        if instance.status.state not in ("running", "pending"):
            raise _wrong_state(instance, "rebooted")
        return transaction.update(
            msgspec.structs.replace(instance, spec=msgspec.structs.replace(instance.spec, boot=instance.spec.boot + 1))
        )

    await _change_all(call, reboot)
    return {}


def begin_start(call: Call, transaction: Transaction, instance: Instance) -> Instance:
    """From stopped to pending. Also for others that start instances (warm pools). InsufficientInstanceCapacity, VcpuLimitExceeded."""
    started = sum(1 for key in transaction.written if key.startswith("ec2.Instance/"))
    check_vcpus(call, instance, started)
    hold_vcpus(call, transaction)
    wish = CapacityWish(instance.spec.capacity_preference, instance.spec.capacity_target)
    place = take_place(call, transaction, wish, instance.spec.type, instance.spec.zone, instance.spec.tenancy)
    if not place:
        _check_room(call, instance, started)
    interfaces = interfaces_of(call, instance.meta.name)
    # AWS: an instance with further interfaces gets no new public address.
    public = instance.spec.public_on_launch and len(interfaces) == 1
    for interface in interfaces:
        plug_again(call, transaction, interface, public=public)
    spec = msgspec.structs.replace(
        instance.spec,
        wish="running",
        boot=instance.spec.boot + 1,
        launched=float(int(call.now)),
        capacity_reservation=place,
        balance=start_balance(instance, instance.spec.boot + 1, call.now),
    )
    type_ = find_instance_type(spec.type)
    assert type_ is not None
    spec = msgspec.structs.replace(
        spec, stores=new_stores(call, instance.meta.name, type_, spec.mapped_stores, spec.boot)
    )
    status = InstanceStatus("pending", changed=call.now)
    return transaction.update(msgspec.structs.replace(instance, spec=spec, status=status))


def begin_stop(transaction: Transaction, instance: Instance, now: float, code: str, reason: str) -> Instance:
    """From running or pending to stopping. Also for others that stop instances (shutdown inside, alarms)."""
    status = InstanceStatus("stopping", code, reason, transition_text(code, now), now)
    spec = msgspec.structs.replace(instance.spec, wish="stopped")
    return transaction.update(msgspec.structs.replace(instance, spec=spec, status=status))


def begin_termination(transaction: Transaction, instance: Instance, now: float, code: str, reason: str) -> Instance:
    """From any living state to shutting-down. Also for others that terminate instances (Auto Scaling)."""
    status = InstanceStatus("shutting-down", code, reason, transition_text(code, now), now)
    spec = msgspec.structs.replace(instance.spec, wish="terminated")
    return transaction.update(msgspec.structs.replace(instance, spec=spec, status=status))


def transition_text(code: str, now: float) -> str:
    """AWS's StateTransitionReason: "User initiated (2026-01-31 12:00:00 GMT)"."""
    if code == USER_SHUTDOWN[0]:
        return f"User initiated ({time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} GMT)"
    return f"{code} ({time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} GMT)"


@reconcile(Instance)
async def reconcile_instance(world: World, instance: Instance) -> None:
    """Moves the state on when the machine has. Level-based: says nothing that is not seen."""
    state = instance.status.state
    if state == "terminated":
        await _reap(world, instance)
        return
    if await _settle_interruption(world, instance) or not world.link.synced:
        return
    container = world.seen(f"Container/{instance.meta.name}")
    told = container.data.get("state") if container is not None and container.phase == "ready" else None
    if state == "pending" and told == "running":
        await _move(world, instance, "running")
    elif state in ("pending", "running") and container is not None and container.phase == "failed":
        world.events.record(key_of(instance), world.clock.now(), "LaunchFailed", container.reason, warning=True)
        # One that has run keeps its disk: what the machine cannot do now (no runtime, say) it may do when it is mended.
        launched = state == "running" or instance.spec.boot > 1
        await _shut_down(world, instance, terminate=not launched, why=OWN_FAULT if launched else LAUNCH_FAULT)
    elif state in ("pending", "running") and told == "exited" and _stays_down(container.data if container else {}):
        await _shut_down(world, instance, terminate=instance.spec.shutdown_behavior == "terminate", why=OWN_SHUTDOWN)
    elif state == "stopping" and (told == "stopped" or container is None):
        await _stopped(world, instance, container.data if container is not None else {})
    elif state == "shutting-down" and container is None:
        await _terminated(world, instance)


async def _settle_interruption(world: World, instance: Instance) -> bool:
    """Ends the instance when its notice is over; looks again when it is due. False when it has no notice or it is not over."""
    notice = instance.spec.interruption
    if notice is None or instance.status.state not in ("pending", "running"):
        return False
    left = notice.at - world.clock.now()
    if left > 0:
        world.poke(key_of(instance), left)
        return False
    transaction = world.client.transaction()
    begin = begin_termination if notice.action == "terminate" else begin_stop
    reason = SPOT_TERMINATION if notice.action == "terminate" else SPOT_STOP
    spec = msgspec.structs.replace(instance.spec, interruption=notice if notice.action == "terminate" else None)
    # A stopped one that is started again has no notice any more.
    ended = msgspec.structs.replace(instance, spec=spec)
    begin(transaction, ended, world.clock.now(), *reason)
    await transaction.commit()
    world.events.record(key_of(instance), world.clock.now(), "Interrupted", notice.action)
    return True


def _stays_down(data: dict[str, Any]) -> bool:
    """A reboot inside ends with 129 and is started again by the agent."""
    return data.get("exit_code") != 129


async def _move(world: World, instance: Instance, state: State) -> None:
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(instance, status=InstanceStatus(state, changed=world.clock.now())))
    await transaction.commit()
    world.events.record(key_of(instance), world.clock.now(), "StateChanged", f"{instance.status.state} -> {state}")


async def _shut_down(world: World, instance: Instance, *, terminate: bool, why: tuple[str, str]) -> None:
    transaction = world.client.transaction()
    begin = begin_termination if terminate else begin_stop
    begin(transaction, instance, world.clock.now(), *why)
    await transaction.commit()
    world.events.record(key_of(instance), world.clock.now(), "ShutDown", why[1])


async def _stopped(world: World, instance: Instance, told: dict[str, Any]) -> None:
    transaction = world.client.transaction()
    for interface in interfaces_of(world_call(world, instance), instance.meta.name):
        plug(transaction, drop_public(transaction, interface), "")
    now = world.clock.now()
    status = msgspec.structs.replace(instance.status, state="stopped", changed=now)
    spec = msgspec.structs.replace(instance.spec, balance=left_balance(instance, told, now), stores=())
    transaction.update(msgspec.structs.replace(instance, spec=spec, status=status))
    await transaction.commit()


async def _terminated(world: World, instance: Instance) -> None:
    call = world_call(world, instance)
    transaction = world.client.transaction()
    for interface in interfaces_of(call, instance.meta.name):
        if interface.spec.attachment is not None and interface.spec.attachment.delete_on_termination:
            delete_interface(call, transaction, interface)
        else:
            detach(call, transaction, interface)
    for volume in call.by(Volume, "instance", instance.meta.name):
        if volume.spec.attachment is not None and volume.spec.attachment.delete_on_termination:
            transaction.delete(volume)
        else:
            transaction.update(
                msgspec.structs.replace(volume, spec=msgspec.structs.replace(volume.spec, attachment=None))
            )
    status = msgspec.structs.replace(instance.status, state="terminated", changed=world.clock.now())
    spec = msgspec.structs.replace(instance.spec, block_devices=(), stores=())
    transaction.update(msgspec.structs.replace(instance, spec=spec, status=status))
    await transaction.commit()
    world.events.record(key_of(instance), world.clock.now(), "Terminated", instance.status.reason)


async def _reap(world: World, instance: Instance) -> None:
    left = instance.status.changed + VISIBLE_AFTER_TERMINATION_S - world.clock.now()
    if left > 0:
        world.poke(key_of(instance), left)
        return
    transaction = world.client.transaction()
    transaction.delete(instance)
    await transaction.commit()


def world_call(world: World, obj: Resource) -> Call:
    """A call on an object's own behalf: what reconcile does goes the same way as what users do."""
    account, region = obj.meta.scope.split("/")
    return Call(
        service="ec2",
        operation="reconcile",
        params={},
        account=account,
        region=region,
        access_key="",
        request_id="",
        client=world.client,
        settings=world.settings,
        events=world.events,
        tracer=world.tracer,
        metrics=world.metrics,
        logs=world.logs,
        agent=world.link,
        sealer=world.sealer,
        known=world.known,
    )


async def _change_all(call: Call, change: Callable[[Transaction, Instance], Instance]) -> list[dict[str, Any]]:
    """One commit for all instances of the call; the answer tells each one's state before and now."""
    wanted = call.params.get("InstanceIds") or []
    if not wanted:
        raise ids.missing("InstanceId")
    instances = ids.find_all(call, Instance, INSTANCE, list(dict.fromkeys(wanted)))
    transaction = call.transaction()
    changed = [change(transaction, instance) for instance in instances]
    await call.commit(transaction)
    return [
        {
            "InstanceId": before.meta.name,
            "CurrentState": show_state(after.status.state),
            "PreviousState": show_state(before.status.state),
        }
        for before, after in zip(instances, changed, strict=True)
    ]


def show_state(state: State) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceState."""
    return {"Code": STATE_CODES[state], "Name": state}


def _check_room(call: Call, instance: Instance, started: int) -> None:
    type_ = find_instance_type(instance.spec.type)
    assert type_ is not None
    room = room_bytes(call) - started * type_.memory_bytes
    if room < type_.memory_bytes:
        raise AwsError(
            "InsufficientInstanceCapacity",
            f"There is not enough memory left on this host to start {instance.meta.name} ({type_.memory_mib} MiB, setting memory_promise).",
            status=500,
        )


def _refuse_one_time_spot(call: Call, instance: Instance) -> None:
    """AWS: UnsupportedOperation ("Stop a Spot Instance")."""
    request = call.get(SpotRequest, instance.spec.spot_request) if instance.spec.spot_request else None
    if request is not None and request.spec.type == "one-time":
        text = (
            f"You can't stop the Spot Instance '{instance.meta.name}' because it is associated with a one-time Spot Instance request. "
            "You can only stop Spot Instances associated with persistent Spot Instance requests."
        )
        raise AwsError("UnsupportedOperation", text)


def _wrong_state(instance: Instance, verb: str) -> AwsError:
    text = f"The instance '{instance.meta.name}' is not in a state from which it can be {verb}."
    return AwsError("IncorrectInstanceState", text)
