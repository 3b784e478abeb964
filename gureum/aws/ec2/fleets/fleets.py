"""EC2 Fleet: many instances of several types and places by one call.

    instant   launched in the call's own commit; what could not be had is told as errors
    request   launched by reconcile, until the target was reached once
    maintain  launched by reconcile, and again when instances end

A pool is a type in a place (an override of a launch template). Strategies that AWS bases on spare capacity go by price here (spot_prices.py): a
host has one capacity for all. How launches are chosen: fleets/launches.py; how targets are kept: fleets/fulfilment.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.fulfilment import launch
from gureum.aws.ec2.fleets.kinds import (
    Fleet,
    FleetSpec,
    FleetStatus,
    Record,
    fulfilled,
    in_state,
    members,
    missing,
    recorded,
)
from gureum.aws.ec2.fleets.launches import OWN_USER_DATA, pools_of, strategy_of
from gureum.aws.ec2.fleets.spot_options import check_behavior, seconds
from gureum.aws.ec2.instance_ids import FLEET
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.launch_template_data import check_data
from gureum.aws.ec2.instances.lifecycle import USER_SHUTDOWN, begin_termination
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters, boolean
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_uuid
from gureum.engine.client import Client

LIMIT_CAPACITY = 1000
LIMIT_CONFIGS = 50
_SPOT_DEFAULTS = {
    "AllocationStrategy": "lowestPrice",
    "InstanceInterruptionBehavior": "terminate",
    "InstancePoolsToUseCount": 1,
}
"""What AWS tells of a fleet that said nothing, in its older spelling."""
_NOT_IN_A_DRY_RUN = ("ValidFrom", "ValidUntil", "ExcessCapacityTerminationPolicy")
"""What AWS's dry run of CreateFleet does not look at (moto's tests, verified on AWS)."""


@operation("CreateFleet")
async def create_fleet(call: Call) -> Result:
    """AWS: ec2 CreateFleet."""
    done = call.done_before()
    if done is not None:
        fleet = call.get(Fleet, done[0])
        return {"FleetId": done[0]} | (_instant(fleet) if fleet and fleet.spec.type == "instant" else {})
    spec = _spec(call)
    instance_tags = tags_of(call, "instance", allow=("fleet", "volume"))
    if spec.type != "instant" and instance_tags:
        raise ids.invalid("'instance' is not a valid taggable resource type for this operation.")
    pools_of(call, spec.configs)
    meta = call.meta(f"fleet-{new_uuid()}", tags=tags_of(call, "fleet", allow=("instance", "volume")))
    fleet = in_state(Fleet(meta=meta, spec=spec), "submitted", call.now)
    transaction = call.transaction()
    if spec.type == "instant":
        found = launch(call, transaction, fleet, spec.on_demand, spec.spot, instance_tags)
        status = FleetStatus("active", tuple(found.errors), tuple(found.shown), reached=True, changed=call.now)
        fleet = msgspec.structs.replace(fleet, status=status)
    transaction.create(fleet)
    call.remember(transaction, (fleet.meta.name,))
    await call.commit(transaction)
    return {"FleetId": fleet.meta.name} | (_instant(fleet) if spec.type == "instant" else {})


@operation("ModifyFleet")
async def modify_fleet(call: Call) -> Result:
    """AWS: ec2 ModifyFleet: the target of a fleet of type maintain, up or down; a fleet of Spot Instances stays one unless told otherwise."""
    params = call.params
    fleet = find_fleet(call, params["FleetId"])
    if fleet.spec.type != "maintain":
        raise AwsError("InvalidParameterCombination", "Only fleets of type maintain can be modified.")
    if fleet.status.state not in ("submitted", "active", "modifying"):
        raise AwsError("IncorrectState", f"The fleet '{fleet.meta.name}' is {fleet.status.state}.")
    if params.get("Context"):
        raise ids.not_built("ModifyFleet with Context")
    spec = fleet.spec
    if params.get("LaunchTemplateConfigs"):
        configs = check_configs(params["LaunchTemplateConfigs"])
        pools_of(call, configs)
        spec = msgspec.structs.replace(spec, configs=configs)
    if params.get("TargetCapacitySpecification"):
        kept = {"DefaultTargetCapacityType": spec.default_type}
        total, on_demand, spot, default = _target(kept | params["TargetCapacitySpecification"])
        spec = msgspec.structs.replace(spec, total=total, on_demand=on_demand, spot=spot, default_type=default)
    excess = ids.choice(params, "ExcessCapacityTerminationPolicy", spec.excess, "termination", "no-termination")
    transaction = call.transaction()
    modified = recorded(fleet, Record(call.now, "fleetRequestChange", "modify_succeeded"))
    transaction.update(msgspec.structs.replace(modified, spec=msgspec.structs.replace(spec, excess=excess)))
    await call.commit(transaction)
    return {"Return": True}


@operation("DeleteFleets")
async def delete_fleets(call: Call) -> Result:
    """AWS: ec2 DeleteFleets: each by itself; with its instances, or without. One whose instances run on may end with them yet."""
    end = bool(call.params["TerminateInstances"])
    transaction = call.transaction()
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for id_ in dict.fromkeys(call.params["FleetIds"]):
        fleet = call.get(Fleet, id_)
        if fleet is None or fleet.is_spot_request:
            bad.append(_refused(id_, "fleetIdDoesNotExist", f"The fleet ID '{id_}' does not exist"))
        elif fleet.status.state.startswith("deleted") and (fleet.status.state, end) != ("deleted_running", True):
            bad.append(_refused(id_, "fleetNotInDeletableState", f"The fleet '{id_}' is {fleet.status.state}"))
        elif fleet.spec.type == "instant" and not end:
            bad.append(_refused(id_, "unexpectedError", "An instant fleet is deleted with its instances only"))
        else:
            state = "deleted_terminating" if end else "deleted_running"
            transaction.update(in_state(fleet, state, call.now))
            for instance in members(call.client, fleet) if end else ():
                begin_termination(transaction, instance, call.now, *USER_SHUTDOWN)
            good.append({"FleetId": id_, "CurrentFleetState": state, "PreviousFleetState": fleet.status.state})
    if good:
        await call.commit(transaction)
    else:
        call.end_dry_run()
    return {"SuccessfulFleetDeletions": good, "UnsuccessfulFleetDeletions": bad}


@operation("DescribeFleets")
def describe_fleets(call: Call) -> Result:
    """AWS: ec2 DescribeFleets: instant ones only by id."""
    wanted = call.params.get("FleetIds")
    if wanted:
        found = [find_fleet(call, id_) for id_ in dict.fromkeys(wanted)]
    else:
        found = [one for one in call.all(Fleet) if one.spec.type != "instant" and not one.is_spot_request]
    table: FilterTable = {
        "activity-status": lambda one: activity(call.client, one) or (),
        "excess-capacity-termination-policy": lambda one: one.spec.excess,
        "fleet-state": lambda one: one.status.state,
        "replace-unhealthy-instances": lambda one: boolean(one.spec.replace),
        "type": lambda one: one.spec.type,
    }
    found = apply_filters(found, call.params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, default=1000)
    return answer("Fleets", [_show(call.client, one) for one in shown], token)


@operation("DescribeFleetInstances")
def describe_fleet_instances(call: Call) -> Result:
    """AWS: ec2 DescribeFleetInstances: those that live; not of instant fleets, whose instances DescribeFleets tells."""
    table: FilterTable = {"instance-type": lambda one: one.spec.type}
    apply_filters((), call.params.get("Filters"), table)
    fleet = find_fleet(call, call.params["FleetId"])
    if fleet.spec.type == "instant":
        raise AwsError("UnsupportedOperation", "DescribeFleetInstances is not supported for fleets of type instant.")
    found = apply_filters(members(call.client, fleet), call.params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, default=1000)
    return answer("ActiveInstances", [show_active(one) for one in shown], token) | {"FleetId": fleet.meta.name}


def _spec(call: Call) -> FleetSpec:
    params = call.params
    if call.dry_run:
        params = {name: value for name, value in params.items() if name not in _NOT_IN_A_DRY_RUN}
    for name in ("ReservedCapacityOptions", "Context"):
        if params.get(name):
            raise ids.not_built(f"CreateFleet with {name}")
    total, on_demand, spot, default = _target(params["TargetCapacitySpecification"])
    options = params.get("SpotOptions") or {}
    check_behavior(options.get("InstanceInterruptionBehavior"))
    if options.get("MaintenanceStrategies"):
        raise ids.not_built("CreateFleet with MaintenanceStrategies")
    strategy_of(options, "spot")
    strategy_of(params.get("OnDemandOptions") or {}, "on-demand")
    type_ = ids.choice(params, "Type", "maintain", "request", "instant")
    start, end = seconds(params.get("ValidFrom")), seconds(params.get("ValidUntil"))
    if type_ == "instant" and (start or end):
        raise AwsError("InvalidParameterCombination", "An instant fleet has neither ValidFrom nor ValidUntil.")
    if end and end <= max(start, call.now):
        raise ids.invalid("ValidUntil is in the past or before ValidFrom.")
    return FleetSpec(
        type=type_,
        configs=check_configs(params["LaunchTemplateConfigs"], instant=type_ == "instant"),
        total=total,
        on_demand=on_demand,
        spot=spot,
        default_type=default,
        on_demand_options=params.get("OnDemandOptions") or {},
        spot_options=options,
        excess=ids.choice(params, "ExcessCapacityTerminationPolicy", "termination", "no-termination"),
        replace=bool(params.get("ReplaceUnhealthyInstances")),
        terminate_at_end=bool(params.get("TerminateInstancesWithExpiration")),
        valid_from=start,
        valid_until=end,
        client_token=params.get("ClientToken") or "",
    )


def check_configs(wanted: list[dict[str, Any]], *, instant: bool = False) -> tuple[dict[str, Any], ...]:
    """LaunchTemplateConfigs as they are kept. AWS: MissingParameter, InvalidParameterValue; InvalidFleetConfig for user data of fleets that are
    not instant."""
    if not wanted:
        raise ids.missing("LaunchTemplateConfigs")
    if len(wanted) > LIMIT_CONFIGS:
        raise ids.invalid(f"There are more than {LIMIT_CONFIGS} launch template configurations.")
    for one in wanted:
        text = (one.get("LaunchTemplateSpecification") or {}).get(OWN_USER_DATA)
        if text and not instant:
            raise AwsError("InvalidFleetConfig", f"{OWN_USER_DATA} is supported only for fleets of type instant.")
        check_data({"UserData": text})
    return tuple(check_data(one) for one in wanted)


def _target(wanted: dict[str, Any]) -> tuple[int, int, int, str]:
    """(total, on demand, Spot, default type). AWS: InvalidTargetCapacitySpecification."""
    if wanted.get("TargetCapacityUnitType") not in (None, "units"):
        raise ids.not_built("CreateFleet with capacity in processors or memory")
    total = wanted.get("TotalTargetCapacity")
    if total is None:
        raise ids.missing("TargetCapacitySpecification.TotalTargetCapacity")
    if not 0 <= total <= LIMIT_CAPACITY:
        text = f"TotalTargetCapacity must be between 0 and {LIMIT_CAPACITY}."
        raise AwsError("InvalidTargetCapacitySpecification", text)
    default = ids.choice(wanted, "DefaultTargetCapacityType", "on-demand", "spot")
    on_demand, spot = wanted.get("OnDemandTargetCapacity") or 0, wanted.get("SpotTargetCapacity") or 0
    if min(on_demand, spot) < 0 or on_demand + spot > total:
        text = "The sum of OnDemandTargetCapacity and SpotTargetCapacity must not exceed TotalTargetCapacity."
        raise AwsError("InvalidTargetCapacitySpecification", text)
    rest = total - on_demand - spot
    return (
        (total, on_demand + rest, spot, default) if default == "on-demand" else (total, on_demand, spot + rest, default)
    )


def find_fleet(call: Call, id_: str) -> Fleet:
    """An EC2 Fleet. AWS: InvalidFleetId.NotFound."""
    fleet = call.get(Fleet, id_)
    if fleet is None or fleet.is_spot_request:
        raise ids.not_found(FLEET, id_)
    return fleet


def _refused(id_: str, code: str, text: str) -> dict[str, Any]:
    return {"FleetId": id_, "Error": {"Code": code, "Message": text}}


def _instant(fleet: Fleet) -> dict[str, Any]:
    return {"Errors": list(fleet.status.errors), "Instances": list(fleet.status.launched)}


def activity(client: Client, fleet: Fleet) -> str:
    """AWS: ec2 FleetActivityStatus, ActivityStatus; "" for an instant fleet."""
    if fleet.spec.type == "instant":
        return ""
    if fleet.status.state == "deleted_terminating":
        return "pending_termination"
    return "fulfilled" if max(missing(client, fleet)) <= 0 else "pending_fulfillment"


def show_active(instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 ActiveInstance."""
    shown = {"InstanceId": instance.meta.name, "InstanceType": instance.spec.type, "InstanceHealth": "healthy"}
    request = instance.spec.spot_request
    return shown | ({"SpotInstanceRequestId": request} if request else {})


def _show(client: Client, fleet: Fleet) -> dict[str, Any]:
    """API form. AWS: ec2 FleetData."""
    spec, (on_demand, spot) = fleet.spec, fulfilled(client, fleet)
    shown: dict[str, Any] = {
        "FleetId": fleet.meta.name,
        "FleetState": fleet.status.state,
        "Type": spec.type,
        "CreateTime": fleet.meta.created,
        "ExcessCapacityTerminationPolicy": spec.excess,
        "FulfilledCapacity": on_demand + spot,
        "FulfilledOnDemandCapacity": on_demand,
        "LaunchTemplateConfigs": list(spec.configs),
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": spec.total,
            "OnDemandTargetCapacity": spec.on_demand,
            "SpotTargetCapacity": spec.spot,
            "DefaultTargetCapacityType": spec.default_type,
        },
        "TerminateInstancesWithExpiration": spec.terminate_at_end,
        "ReplaceUnhealthyInstances": spec.replace,
        "SpotOptions": {**_SPOT_DEFAULTS, **spec.spot_options},
        "OnDemandOptions": {"AllocationStrategy": "lowestPrice", **spec.on_demand_options},
        "Tags": show_tags(fleet.meta.tags),
    }
    if spec.type == "instant":
        # Of where they run only CreateFleet tells.
        names = ("LaunchTemplateAndOverrides", "Lifecycle", "InstanceIds", "InstanceType")
        launched = [{name: one[name] for name in names} for one in fleet.status.launched]
        shown |= {"Errors": list(fleet.status.errors), "Instances": launched}
    optional = {
        "ActivityStatus": activity(client, fleet),
        "ClientToken": spec.client_token,
        "ValidFrom": spec.valid_from,
        "ValidUntil": spec.valid_until,
    }
    return shown | {name: value for name, value in optional.items() if value}
