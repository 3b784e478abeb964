"""LaunchInstances: a launch into a group that is answered when it has been decided, instead of by a desired capacity that is reached some time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.kinds import Group, Member
from gureum.aws.autoscaling.launching import MOST_LAUNCHES, launch, launch_params, spread
from gureum.aws.autoscaling.lookup import find_group, members_of
from gureum.aws.autoscaling.sentences import clock_text
from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.networks.kinds import Subnet
from gureum.aws.ec2.regions import zone_id
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.client import Transaction

MOST = 100
RETRY = "retry-with-group-configuration"


class Places(NamedTuple):
    """`subnets`: where, () for the default ones of the zones."""

    zones: tuple[str, ...]
    subnets: tuple[str, ...]


@operation("LaunchInstances")
async def launch_instances(call: Call) -> Result:
    """AWS: autoscaling LaunchInstances: the desired capacity grows by what was launched. What EC2 refuses is told in the answer; with the retry
    strategy the group then goes on by itself. ValidationError, IdempotentParameterMismatch."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    done = call.done_before()
    if done is not None:
        return _told(call, group, [one for name in done if (one := call.get(Instance, name)) is not None], [])
    if group.spec.mixed is not None:
        raise not_built("LaunchInstances into a group with a mixed instances policy")
    wanted, places = _wanted(call, group), _places(call, group)
    why = f"At {clock_text(call.now)} a user request launched instances changing the desired capacity"
    transaction = call.transaction()
    transaction.require_no_newer(Member, group.meta.scope)
    launched, errors = _launch(call, transaction, group, places, wanted, f"{why}.")
    grown = wanted if call.params.get("RetryStrategy") == RETRY else len(launched)
    if not grown:
        return _told(call, group, [], errors)
    desired = group.spec.desired + grown
    why = f"{why} from {group.spec.desired} to {desired}."
    spec = msgspec.structs.replace(group.spec, desired=desired, why=why, failures=0, retry_at=0.0)
    transaction.update(msgspec.structs.replace(group, spec=spec))
    call.remember(transaction, tuple(one.meta.name for one in launched))
    await call.commit(transaction)
    return _told(call, group, launched, errors)


def _wanted(call: Call, group: Group) -> int:
    wanted, spec = int(call.params["RequestedCapacity"]), group.spec
    if not 1 <= wanted <= MOST:
        raise invalid(f"RequestedCapacity must be between 1 and {MOST}.")
    if wanted > MOST_LAUNCHES:
        raise not_built(f"LaunchInstances with a RequestedCapacity above {MOST_LAUNCHES}")
    if spec.desired + wanted > spec.max:
        raise invalid(
            f"AutoScalingGroup {spec.name} has min size: {spec.min}, max size: {spec.max}, desired capacity: {spec.desired}. Launching {wanted} "
            "instances would push the desired capacity above the maximum."
        )
    if "Launch" in spec.suspended:
        raise invalid(f"The process Launch of AutoScalingGroup {spec.name} is suspended.")
    return wanted


def _places(call: Call, group: Group) -> Places:
    """Zones and subnets of the group that the call asks for. AWS: a group of several zones needs one of them named."""
    params, spec = call.params, group.spec
    named, ids = params.get("AvailabilityZones") or [], params.get("AvailabilityZoneIds") or []
    subnets: Sequence[str] = params.get("SubnetIds") or []
    if named and ids:
        raise invalid("You cannot specify both AvailabilityZones and AvailabilityZoneIds.")
    zones = list(named) or [next((zone for zone in spec.zones if zone_id(zone) == id_), id_) for id_ in ids]
    outside = [zone for zone in zones if zone not in spec.zones] + [one for one in subnets if one not in spec.subnets]
    if outside:
        raise invalid(f"{outside[0]} is not part of the Availability Zone configuration of the group.")
    theirs = {id_: subnet.spec.zone for id_ in subnets if (subnet := call.get(Subnet, id_)) is not None}
    if zones and any(zone not in zones for zone in theirs.values()):
        raise invalid("The subnets must reside in the specified Availability Zones.")
    if not zones and not subnets and len(spec.zones) > 1:
        raise invalid(
            "Either AvailabilityZones or SubnetIds must be specified for a group of several Availability Zones."
        )
    return Places(tuple(dict.fromkeys(theirs.values() if subnets else zones or spec.zones)), tuple(subnets))


def _launch(
    call: Call, transaction: Transaction, group: Group, places: Places, wanted: int, why: str
) -> tuple[list[Instance], list[dict[str, Any]]]:
    """Evenly over the zones that are asked for, and what was refused in which."""
    members = members_of(call, group)
    capacity = sum(one.units for one in members)
    have = Counter(one.spec.zone for one in members if one.counts)
    spec = msgspec.structs.replace(group.spec, subnets=places.subnets or group.spec.subnets, why=why)
    narrowed = msgspec.structs.replace(group, spec=spec)
    launched: list[Instance] = []
    errors: list[dict[str, Any]] = []
    for zone, count in spread(have, places.zones, wanted).items():
        try:
            launched += launch(call, transaction, narrowed, zone, count, capacity + len(launched))
        except AwsError as refused:
            errors.append(_error(call, group, zone, refused))
    return launched, errors


def _error(call: Call, group: Group, zone: str, refused: AwsError) -> dict[str, Any]:
    """API form. AWS: autoscaling LaunchInstancesError."""
    try:
        kind = str(launch_params(call, group).get("InstanceType") or "")
    except AwsError:
        kind = ""
    told = {
        "InstanceType": kind,
        "MarketType": "on-demand",
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id(zone),
    }
    return {name: value for name, value in told.items() if value} | {
        "ErrorCode": refused.code,
        "ErrorMessage": refused.message,
    }


def _told(call: Call, group: Group, launched: list[Instance], errors: list[dict[str, Any]]) -> Result:
    """AWS: autoscaling InstanceCollection: those that are alike together."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in launched:
        alike.setdefault((one.spec.type, one.spec.subnet, one.spec.zone), []).append(one.meta.name)
    return {
        "AutoScalingGroupName": group.spec.name,
        "ClientToken": call.params["ClientToken"],
        "Instances": [
            {
                "InstanceType": kind,
                "MarketType": "on-demand",
                "SubnetId": subnet,
                "AvailabilityZone": zone,
                "AvailabilityZoneId": zone_id(zone),
                "InstanceIds": names,
            }
            for (kind, subnet, zone), names in alike.items()
        ],
        "Errors": errors,
    }
