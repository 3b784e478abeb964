"""Spot Instance requests: RequestSpotInstances, what becomes of them, and price history.

    RequestSpotInstances (commit: open) ─► reconcile: its instance is launched, as RunInstances would ─► active
    no room, or MaxPrice below the price ─► open, looked at again ─► launched, or cancelled, or its time is over
    the instance is stopped ─► disabled by its user, open by an interruption, with the instance in both cases; started ─► active
    the instance ends ─► closed; a persistent request is open again

There is no market (spot_prices.py); interruptions come when the machine's owner asks for them (spot_interruptions.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.spot_kinds import SpotRequest, SpotRequestSpec, SpotRequestStatus
from gureum.aws.ec2.fleets.spot_options import (
    FULFILLED,
    check_behavior,
    check_price,
    new_spot_request,
    seconds,
    too_low,
)
from gureum.aws.ec2.fleets.spot_prices import CHANGED_EVERY_S, PRODUCT, price_text, spot_price
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.launch import create_instance, plan_launch
from gureum.aws.ec2.instances.launch_template_data import check_data
from gureum.aws.ec2.instances.lifecycle import SPOT_STOP, world_call
from gureum.aws.ec2.instances.types import all_types, find_instance_type
from gureum.aws.ec2.listing import answer, iso_time, show_tags
from gureum.aws.ec2.regions import zone_id, zones_of
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, FilterValues, apply_filters, boolean
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import key_of

LIMIT_COUNT = 100
AGAIN_AFTER_S = 30.0
VALID_S = 7 * 24 * 3600.0
"""AWS: a request without an end is good for seven days."""
LIMIT_PRICES = 1000
NOT_BUILT = ("KernelId", "RamdiskId")
ENDED = ("shutting-down", "terminated")
STOPPED_BY_USER = ("disabled", "instance-stopped-by-user", "The instance was stopped by its user.")
INTERRUPTED = ("open", "instance-stopped-no-capacity", "Your Spot Instance was stopped because it was interrupted.")


@operation("RequestSpotInstances")
async def request_spot_instances(call: Call) -> Result:
    """AWS: ec2 RequestSpotInstances: answers when the requests are durable; they are fulfilled one by one."""
    done = call.done_before()
    if done is not None:
        found = (call.get(SpotRequest, name) for name in done)
        return {"SpotInstanceRequests": [show_request(one) for one in found if one is not None]}
    params = call.params
    if params.get("BlockDurationMinutes"):
        raise AwsError("UnsupportedOperation", "Spot Instances with a defined duration are no longer offered.")
    count = params.get("InstanceCount", 1)
    if not 1 <= count <= LIMIT_COUNT:
        raise ids.invalid(f"Value ({count}) for parameter instanceCount is invalid. Between 1 and {LIMIT_COUNT}.")
    spec = _spec(call)
    # What could never be launched is refused now, as AWS does. There may be no room at the moment.
    try:
        plan_launch(call.with_params(spec.launch), spec.launch | {"MinCount": 1, "MaxCount": 1})
    except AwsError as error:
        if error.code != "InsufficientInstanceCapacity":
            raise
    tags = tags_of(call, "spot-instances-request")
    transaction = call.transaction()
    made = [new_spot_request(call, transaction, spec, tags, SpotRequestStatus(updated=call.now)) for _ in range(count)]
    call.remember(transaction, tuple(one.meta.name for one in made))
    await call.commit(transaction)
    return {"SpotInstanceRequests": [show_request(one) for one in made]}


@operation("DescribeSpotInstanceRequests")
def describe_spot_instance_requests(call: Call) -> Result:
    """AWS: ec2 DescribeSpotInstanceRequests."""
    wanted = call.params.get("SpotInstanceRequestIds")
    found = [_find(call, id_) for id_ in dict.fromkeys(wanted)] if wanted else call.all(SpotRequest)
    found = apply_filters(found, call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, default=1000)
    return answer("SpotInstanceRequests", [show_request(one) for one in shown], token)


@operation("CancelSpotInstanceRequests")
async def cancel_spot_instance_requests(call: Call) -> Result:
    """AWS: ec2 CancelSpotInstanceRequests: instances that run go on, those that are stopped stay so."""
    transaction, shown = call.transaction(), []
    for id_ in dict.fromkeys(call.params["SpotInstanceRequestIds"]):
        request = _find(call, id_)
        state = request.status.state
        if state in ("open", "active", "disabled"):
            code, text = "canceled-before-fulfillment", "Your Spot request is canceled before it was fulfilled."
            if state == "active":
                code = "request-canceled-and-instance-running"
                text = "Your Spot request is canceled, but your instance is still running."
            elif request.status.instance:  # it is stopped, and stays so
                code, text = request.status.code, request.status.message
            transaction.update(_moved(request, call.now, "cancelled", code, text))
            state = "cancelled"
        shown.append({"SpotInstanceRequestId": id_, "State": state})
    if transaction.empty:
        call.end_dry_run()
    else:
        await call.commit(transaction)
    return {"CancelledSpotInstanceRequests": shown}


@operation("DescribeSpotPriceHistory")
def describe_spot_price_history(call: Call) -> Result:
    """AWS: ec2 DescribeSpotPriceHistory: prices stay what they are, so each has the start of the last day that is asked for as its time."""
    params = call.params
    zones = [one.name for one in zones_of(call.region)]
    named = params.get("AvailabilityZone")
    if params.get("AvailabilityZoneId"):
        named = next((one for one in zones if zone_id(one) == params["AvailabilityZoneId"]), "")
    if named is not None:
        if named not in zones:
            raise ids.invalid(f"Invalid availability zone: [{named or params.get('AvailabilityZoneId')}]")
        zones = [named]
    names = params.get("InstanceTypes") or [name for name, one in all_types().items() if "spot" in one.flags]
    for name in names:
        if find_instance_type(name) is None:
            raise ids.invalid(f"Invalid value '{name}' for InstanceType.")
    products = params.get("ProductDescriptions")
    at = _start_of_day(call, params)
    none = bool(products) and not {PRODUCT, "Linux/UNIX (Amazon VPC)"}.intersection(products or ())
    rows = [] if none else [_price(name, zone, at) for name in names for zone in zones]
    rows = apply_filters(rows, params.get("Filters"), _PRICE_FILTERS)
    call.end_dry_run()
    shown, token = page(params, rows, lambda one: f"{one.type}/{one.zone}", least=1, default=LIMIT_PRICES)
    return answer("SpotPriceHistory", [_show_price(one) for one in shown], token)


def _start_of_day(call: Call, params: dict[str, Any]) -> float:
    """Unix seconds. AWS: InvalidParameterValue for a time that ends before it starts."""
    start, end = (seconds(params[name]) if params.get(name) else None for name in ("StartTime", "EndTime"))
    if start is not None and end is not None and end < start:
        raise ids.invalid("The end time must not be before the start time.")
    last = min(call.now, call.now if end is None else end)
    return last - last % CHANGED_EVERY_S


@watch(Instance)
def requests_of_instance(client: Client, instance: Instance) -> Iterable[str]:
    if instance.spec.spot_request:
        found = client.by(SpotRequest, instance.meta.scope, "instance", instance.meta.name)
        yield from (key_of(one) for one in found)


@reconcile(SpotRequest)
async def reconcile_request(world: World, request: SpotRequest) -> None:
    """Launches for an open request; follows the instance of an active one."""
    now = world.clock.now()
    if request.status.state == "open" and not request.status.instance:
        await _open(world, request, now)
    elif request.status.instance and request.status.state not in ("closed", "failed"):
        instance = world.client.get(Instance, request.meta.scope, request.status.instance)
        if instance is None or instance.status.state in ENDED:
            await _instance_ended(world, request, instance, now)
        elif request.status.state != "cancelled":
            await _follow(world, request, instance, now)


async def _follow(world: World, request: SpotRequest, instance: Instance, now: float) -> None:
    """AWS: "Spot request status codes": `disabled` is a request whose instance its user has stopped."""
    told: tuple[str, str, str] = ("active", *FULFILLED)
    if instance.status.state == "stopped":
        told = STOPPED_BY_USER if instance.status.reason_code != SPOT_STOP[0] else INTERRUPTED
    elif instance.status.state not in ("pending", "running"):
        return
    if (request.status.state, request.status.code) != told[:2]:
        await _move(world, request, _moved(request, now, *told))


async def _open(world: World, request: SpotRequest, now: float) -> None:
    spec = request.spec
    end = spec.valid_until or request.meta.created + VALID_S
    if now >= end:
        text = "Your Spot request was not fulfilled in its time."
        await _move(world, request, _moved(request, now, "cancelled", "schedule-expired", text))
        return
    if now < spec.valid_from:
        world.poke(key_of(request), spec.valid_from - now)
        return
    price = spot_price(str(spec.launch.get("InstanceType") or "m1.small"))
    if spec.max_price and float(spec.max_price) < price:
        text = too_low(spec.max_price, price)
        await _hold(world, request, now, "price-too-low", text, end)
        return
    try:
        await _launch(world, request, now)
    except AwsError as error:
        if error.code == "InsufficientInstanceCapacity":
            await _hold(world, request, now, "capacity-not-available", error.message, end)
            return
        failed = _moved(request, now, "failed", "bad-parameters", error.message)
        status = msgspec.structs.replace(failed.status, fault=(error.code, error.message))
        await _move(world, request, msgspec.structs.replace(failed, status=status))


async def _launch(world: World, request: SpotRequest, now: float) -> None:
    launch = request.spec.launch | {"MinCount": 1, "MaxCount": 1, "GureumSpotRequest": request.meta.name}
    call = world_call(world, request).with_params(launch)
    plan = plan_launch(call, launch)
    transaction = call.transaction()
    instance = create_instance(call, transaction, launch, plan, new_id("r-"), 0)
    moved = _moved(request, now, "active", *FULFILLED)
    status = msgspec.structs.replace(moved.status, instance=instance.meta.name, zone=instance.spec.zone)
    transaction.update(msgspec.structs.replace(moved, status=status))
    await transaction.commit()
    world.events.record(key_of(request), now, "Fulfilled", instance.meta.name)


async def _hold(world: World, request: SpotRequest, now: float, code: str, text: str, end: float) -> None:
    """Stays open, and says why."""
    if request.status.code != code:
        await _move(world, request, _moved(request, now, "open", code, text))
    world.poke(key_of(request), max(0.1, min(AGAIN_AFTER_S, end - now)))


async def _instance_ended(world: World, request: SpotRequest, instance: Instance | None, now: float) -> None:
    by_us = instance is not None and instance.spec.interruption is not None
    code = "instance-terminated-no-capacity" if by_us else "instance-terminated-by-user"
    text = (
        "Your Spot Instance was terminated because it was interrupted."
        if by_us
        else "Spot Instance terminated due to user-initiated termination."
    )
    if request.status.state == "cancelled":
        moved = _moved(request, now, "cancelled", code, text)
    else:
        moved = _moved(request, now, "open" if request.spec.type == "persistent" else "closed", code, text)
    if request.status.state == "cancelled" or request.spec.type == "persistent":
        moved = msgspec.structs.replace(moved, status=msgspec.structs.replace(moved.status, instance=""))
    elif request.status.code == code:
        return
    await _move(world, request, moved)


async def _move(world: World, request: SpotRequest, moved: SpotRequest) -> None:
    transaction = world.client.transaction()
    transaction.update(moved)
    await transaction.commit()
    world.events.record(
        key_of(request), moved.status.updated, "StateChanged", f"{moved.status.state}: {moved.status.code}"
    )


def _moved(request: SpotRequest, now: float, state: Any, code: str, message: str) -> SpotRequest:
    status = msgspec.structs.replace(request.status, state=state, code=code, message=message, updated=now)
    return msgspec.structs.replace(request, status=status)


def _spec(call: Call) -> SpotRequestSpec:
    params = call.params
    launch = dict(params.get("LaunchSpecification") or {})
    if not launch.get("ImageId"):
        raise ids.missing("LaunchSpecification.ImageId")
    for name in NOT_BUILT:
        if launch.get(name):
            raise ids.not_built(f"RequestSpotInstances with {name}")
    if launch.pop("AddressingType", None):
        raise ids.not_built("RequestSpotInstances with AddressingType")
    kind = ids.choice(params, "Type", "one-time", "persistent")
    behavior = check_behavior(params.get("InstanceInterruptionBehavior"))
    if behavior == "stop" and kind != "persistent":
        raise AwsError("InvalidParameterCombination", "One-time Spot Instances can only be terminated.")
    start, end = seconds(params.get("ValidFrom")), seconds(params.get("ValidUntil"))
    if end and end <= max(start, call.now):
        raise ids.invalid("The time until which the request is valid is in the past or before it begins.")
    return SpotRequestSpec(
        launch=check_data(launch),
        type="persistent" if kind == "persistent" else "one-time",
        behavior="stop" if behavior == "stop" else "terminate",
        max_price=check_price(params.get("SpotPrice")),
        valid_from=start,
        valid_until=end,
        launch_group=params.get("LaunchGroup") or "",
        zone_group=params.get("AvailabilityZoneGroup") or "",
    )


def _find(call: Call, id_: str) -> SpotRequest:
    request = call.get(SpotRequest, id_)
    if request is None:
        raise AwsError("InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{id_}' does not exist")
    return request


def _type_of(spec: SpotRequestSpec) -> str:
    return str(spec.launch.get("InstanceType") or "m1.small")


def show_request(request: SpotRequest) -> dict[str, Any]:
    """API form. AWS: ec2 SpotInstanceRequest."""
    spec, status = request.spec, request.status
    shown: dict[str, Any] = {
        "SpotInstanceRequestId": request.meta.name,
        "CreateTime": request.meta.created,
        "State": status.state,
        "Status": {"Code": status.code, "Message": status.message, "UpdateTime": status.updated},
        "Type": spec.type,
        "SpotPrice": price_text(float(spec.max_price) if spec.max_price else spot_price(_type_of(spec))),
        "InstanceInterruptionBehavior": spec.behavior,
        "ProductDescription": PRODUCT,
        "LaunchSpecification": _show_launch(spec.launch),
        "Tags": show_tags(request.meta.tags),
    }
    optional = {
        "InstanceId": status.instance,
        "LaunchedAvailabilityZone": status.zone,
        "LaunchedAvailabilityZoneId": zone_id(status.zone) if status.zone else "",
        "ValidFrom": spec.valid_from,
        "ValidUntil": spec.valid_until or (request.meta.created + VALID_S if spec.type == "one-time" else 0.0),
        "LaunchGroup": spec.launch_group,
        "AvailabilityZoneGroup": spec.zone_group,
        "Fault": {"Code": status.fault[0], "Message": status.fault[1]} if status.fault[0] else None,
    }
    return shown | {name: value for name, value in optional.items() if value}


def _show_launch(launch: dict[str, Any]) -> dict[str, Any]:
    """API form. AWS: ec2 LaunchSpecification: what RunInstances calls otherwise has its own names."""
    names = (
        "BlockDeviceMappings", "EbsOptimized", "IamInstanceProfile", "ImageId", "InstanceType", "KeyName", "NetworkInterfaces", "SubnetId",
        "UserData", "Monitoring",
    )  # fmt: skip
    shown = {name: launch[name] for name in names if name in launch}
    groups = [{"GroupId": one} for one in launch.get("SecurityGroupIds") or ()]
    groups += [{"GroupName": one} for one in launch.get("SecurityGroups") or ()]
    placement = launch.get("Placement") or {}
    kept = {name: placement[name] for name in ("AvailabilityZone", "GroupName", "Tenancy") if placement.get(name)}
    return shown | ({"SecurityGroups": groups} if groups else {}) | ({"Placement": kept} if kept else {})


def text(value: object) -> str:
    """A launch parameter as filters name it."""
    return boolean(value) if isinstance(value, bool) else "" if value is None else str(value)


def _of_disks(member: str) -> FilterValues:
    return lambda one: [
        text((disk.get("Ebs") or {}).get(member)) for disk in one.spec.launch.get("BlockDeviceMappings") or ()
    ]


def _of_interfaces(member: str) -> FilterValues:
    def look(one: SpotRequest) -> list[str]:
        found = [interface.get(member) for interface in one.spec.launch.get("NetworkInterfaces") or ()]
        return [text(value) for one in found for value in (one if isinstance(one, list) else (one,))]

    return look


_FILTERS: FilterTable = {
    "availability-zone-group": lambda one: one.spec.zone_group or (),
    "create-time": lambda one: iso_time(one.meta.created),
    "fault-code": lambda one: one.status.fault[0] or (),
    "fault-message": lambda one: one.status.fault[1] or (),
    "instance-id": lambda one: one.status.instance or (),
    "launch-group": lambda one: one.spec.launch_group or (),
    **{
        f"launch.block-device-mapping.{name}": _of_disks(member)
        for name, member in (
            ("delete-on-termination", "DeleteOnTermination"),
            ("snapshot-id", "SnapshotId"),
            ("volume-size", "VolumeSize"),
            ("volume-type", "VolumeType"),
        )
    },
    "launch.block-device-mapping.device-name": lambda one: [
        text(disk.get("DeviceName")) for disk in one.spec.launch.get("BlockDeviceMappings") or ()
    ],
    "launch.group-id": lambda one: one.spec.launch.get("SecurityGroupIds") or (),
    "launch.group-name": lambda one: one.spec.launch.get("SecurityGroups") or (),
    "launch.kernel-id": lambda _: (),
    "launch.monitoring-enabled": lambda one: boolean(bool((one.spec.launch.get("Monitoring") or {}).get("Enabled"))),
    "launch.ramdisk-id": lambda _: (),
    "launched-availability-zone-id": lambda one: zone_id(one.status.zone) if one.status.zone else (),
    **{
        f"network-interface.{name}": _of_interfaces(member)
        for name, member in (
            ("delete-on-termination", "DeleteOnTermination"),
            ("description", "Description"),
            ("device-index", "DeviceIndex"),
            ("group-id", "Groups"),
            ("network-interface-id", "NetworkInterfaceId"),
            ("private-ip-address", "PrivateIpAddress"),
            ("subnet-id", "SubnetId"),
        )
    },
    "network-interface.addresses.primary": lambda one: [
        boolean(bool(address.get("Primary")))
        for interface in one.spec.launch.get("NetworkInterfaces") or ()
        for address in interface.get("PrivateIpAddresses") or ()
    ],
    "valid-from": lambda one: iso_time(one.spec.valid_from) if one.spec.valid_from else (),
    "valid-until": lambda one: iso_time(one.spec.valid_until) if one.spec.valid_until else (),
    "launch.image-id": lambda one: one.spec.launch.get("ImageId") or (),
    "launch.instance-type": lambda one: one.spec.launch.get("InstanceType") or (),
    "launch.key-name": lambda one: one.spec.launch.get("KeyName") or (),
    "launched-availability-zone": lambda one: one.status.zone or (),
    "product-description": lambda _: PRODUCT,
    "spot-instance-request-id": lambda one: one.meta.name,
    "spot-price": lambda one: one.spec.max_price or (),
    "state": lambda one: one.status.state,
    "status-code": lambda one: one.status.code,
    "status-message": lambda one: one.status.message,
    "type": lambda one: one.spec.type,
}


def _price(name: str, zone: str, at: float) -> Any:
    return SimpleNamespace(meta=SimpleNamespace(tags={}), type=name, zone=zone, at=at)


def _show_price(one: Any) -> dict[str, Any]:
    """API form. AWS: ec2 SpotPrice."""
    return {
        "AvailabilityZone": one.zone,
        "AvailabilityZoneId": zone_id(one.zone),
        "InstanceType": one.type,
        "ProductDescription": PRODUCT,
        "SpotPrice": price_text(spot_price(one.type)),
        "Timestamp": one.at,
    }


_PRICE_FILTERS: FilterTable = {
    "availability-zone": lambda one: one.zone,
    "availability-zone-id": lambda one: zone_id(one.zone),
    "instance-type": lambda one: one.type,
    "product-description": lambda _: PRODUCT,
    "spot-price": lambda one: price_text(spot_price(one.type)),
    "timestamp": lambda one: iso_time(one.at),
}
