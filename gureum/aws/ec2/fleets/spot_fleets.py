"""Spot Fleet requests: fleets (fleets.py) in their older form, with launch specifications of their own or with launch templates.

    RequestSpotFleet ─► Fleet with `request` ─► launches and ends as any fleet ─► cancelled, with its instances or without

What EC2 Fleets call deleted is cancelled here. AWS: ec2 RequestSpotFleet and relatives.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.fleets import LIMIT_CAPACITY, activity, show_active
from gureum.aws.ec2.fleets.history import history
from gureum.aws.ec2.fleets.kinds import Fleet, FleetSpec, Record, fulfilled, in_state, members, recorded
from gureum.aws.ec2.fleets.launches import pools_of
from gureum.aws.ec2.fleets.spot_fleet_configs import configs_of
from gureum.aws.ec2.fleets.spot_options import check_behavior, check_price, seconds
from gureum.aws.ec2.instance_ids import SPOT_FLEET
from gureum.aws.ec2.instances.launch_template_data import check_data
from gureum.aws.ec2.instances.lifecycle import USER_SHUTDOWN, begin_termination
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_uuid
from gureum.engine.client import Client

NOT_BUILT = (
    "Context",
    "LoadBalancersConfig",
    "OnDemandMaxTotalPrice",
    "SpotMaintenanceStrategies",
    "SpotMaxTotalPrice",
)
STRATEGIES = (
    "lowestPrice",
    "diversified",
    "capacityOptimized",
    "capacityOptimizedPrioritized",
    "priceCapacityOptimized",
)
EXCESS = {"default": "termination", "Default": "termination", "noTermination": "no-termination"}
"""ExcessCapacityTerminationPolicy, as fleets have it. AWS writes "Default" in its guides."""
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", re.ASCII)
_ID = re.compile(r"sfr-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_EVENTS = {name: name for name in ("instanceChange", "fleetRequestChange", "error", "information")}


@operation("RequestSpotFleet")
async def request_spot_fleet(call: Call) -> Result:
    """AWS: ec2 RequestSpotFleet: answers when the request is durable; it is fulfilled by and by."""
    wanted = call.params["SpotFleetRequestConfig"]
    inner = call.with_params(wanted)
    done = inner.done_before()
    if done is not None:
        return {"SpotFleetRequestId": done[0]}
    spec = _spec(call, wanted)
    tags = tags_of(inner, "spot-fleet-request")
    # What could never be launched is refused now, as AWS does.
    pools_of(call, spec.configs)
    meta = call.meta(f"sfr-{new_uuid()}", tags=tags)
    transaction = call.transaction()
    fleet = transaction.create(in_state(Fleet(meta=meta, spec=spec), "submitted", call.now))
    inner.remember(transaction, (fleet.meta.name,))
    await call.commit(transaction)
    return {"SpotFleetRequestId": fleet.meta.name}


@operation("ModifySpotFleetRequest")
async def modify_spot_fleet_request(call: Call) -> Result:
    """AWS: ec2 ModifySpotFleetRequest: the target of one of type maintain, up or down. AWS: FleetNotInModifiableState."""
    params = call.params
    fleet = _find(call, params["SpotFleetRequestId"])
    if params.get("Context"):
        raise ids.not_built("ModifySpotFleetRequest with Context")
    if fleet.spec.type != "maintain":
        raise _bad("Only a Spot Fleet request of type maintain can be modified.")
    if fleet.status.state not in ("submitted", "active"):
        text = f"The Spot Fleet request '{fleet.meta.name}' is {_state(fleet)} and cannot be modified."
        raise AwsError("FleetNotInModifiableState", text)
    names = ("TargetCapacity", "OnDemandTargetCapacity", "ExcessCapacityTerminationPolicy", "LaunchTemplateConfigs")
    request = fleet.spec.request | check_data({name: params[name] for name in names if params.get(name) is not None})
    if params.get("LaunchTemplateConfigs"):
        request.pop("LaunchSpecifications", None)
    spec = _spec(call, request, before=fleet.spec)
    pools_of(call, spec.configs)
    transaction = call.transaction()
    modified = recorded(fleet, Record(call.now, "fleetRequestChange", "modify_succeeded"))
    transaction.update(msgspec.structs.replace(modified, spec=spec))
    await call.commit(transaction)
    return {"Return": True}


@operation("CancelSpotFleetRequests")
async def cancel_spot_fleet_requests(call: Call) -> Result:
    """AWS: ec2 CancelSpotFleetRequests: each by itself; with its instances, or without."""
    end = bool(call.params["TerminateInstances"])
    transaction = call.transaction()
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for id_ in dict.fromkeys(call.params["SpotFleetRequestIds"]):
        fleet = call.get(Fleet, id_)
        if _ID.fullmatch(id_) is None:
            bad.append(_refused(id_, "fleetRequestIdMalformed", f"The Spot Fleet request ID '{id_}' is malformed"))
        elif fleet is None or not fleet.is_spot_request:
            text = f"The Spot Fleet request ID '{id_}' does not exist"
            bad.append(_refused(id_, "fleetRequestIdDoesNotExist", text))
        elif fleet.status.state.startswith("deleted"):
            text = f"The Spot Fleet request '{id_}' is {_state(fleet)}"
            bad.append(_refused(id_, "fleetRequestNotInCancellableState", text))
        else:
            cancelled = in_state(fleet, "deleted_terminating" if end else "deleted_running", call.now)
            transaction.update(cancelled)
            for instance in members(call.client, fleet) if end else ():
                begin_termination(transaction, instance, call.now, *USER_SHUTDOWN)
            states = {
                "CurrentSpotFleetRequestState": _state(cancelled),
                "PreviousSpotFleetRequestState": _state(fleet),
            }
            good.append({"SpotFleetRequestId": id_, **states})
    if good:
        await call.commit(transaction)
    else:
        call.end_dry_run()
    return {"SuccessfulFleetRequests": good, "UnsuccessfulFleetRequests": bad}


@operation("DescribeSpotFleetRequests")
def describe_spot_fleet_requests(call: Call) -> Result:
    """AWS: ec2 DescribeSpotFleetRequests: also those cancelled in the last 48 hours."""
    wanted = call.params.get("SpotFleetRequestIds")
    if wanted:
        found = [_find(call, id_) for id_ in dict.fromkeys(wanted)]
    else:
        found = [one for one in call.all(Fleet) if one.is_spot_request]
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, default=1000)
    return answer("SpotFleetRequestConfigs", [_show(call.client, one) for one in shown], token)


@operation("DescribeSpotFleetInstances")
def describe_spot_fleet_instances(call: Call) -> Result:
    """AWS: ec2 DescribeSpotFleetInstances: those that live."""
    fleet = _find(call, call.params["SpotFleetRequestId"])
    call.end_dry_run()
    found = members(call.client, fleet)
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, default=1000)
    rows = [show_active(one) for one in shown]
    return answer("ActiveInstances", rows, token) | {"SpotFleetRequestId": fleet.meta.name}


@operation("DescribeSpotFleetRequestHistory")
def describe_spot_fleet_request_history(call: Call) -> Result:
    """AWS: ec2 DescribeSpotFleetRequestHistory."""
    fleet = _find(call, call.params["SpotFleetRequestId"])
    return history(call, fleet, _EVENTS, "cancelled") | {"SpotFleetRequestId": fleet.meta.name}


def _spec(call: Call, wanted: dict[str, Any], before: FleetSpec | None = None) -> FleetSpec:
    """`before`: of the request that is modified, whose times are not looked at again. AWS: InvalidSpotFleetRequestConfig."""
    for name in NOT_BUILT:
        if wanted.get(name):
            raise ids.not_built(f"RequestSpotFleet with {name}")
    if wanted.get("TargetCapacityUnitType") not in (None, "units"):
        raise ids.not_built("RequestSpotFleet with capacity in processors or memory")
    for name in ("IamFleetRole", "TargetCapacity"):
        if wanted.get(name) is None:
            raise ids.missing(name)
    if _ROLE.fullmatch(wanted["IamFleetRole"]) is None:
        raise _bad("Parameter: SpotFleetRequestConfig.IamFleetRole is invalid.")
    check_price(wanted.get("SpotPrice"))
    total, on_demand = wanted["TargetCapacity"], wanted.get("OnDemandTargetCapacity") or 0
    if not 0 <= total <= LIMIT_CAPACITY:
        raise _bad(f"TargetCapacity must be between 0 and {LIMIT_CAPACITY}.")
    if not 0 <= on_demand <= total:
        raise _bad("OnDemandTargetCapacity must not exceed TargetCapacity.")
    if on_demand and wanted.get("LaunchSpecifications"):
        raise _bad("On-Demand capacity needs a launch template.")
    start, end = seconds(wanted.get("ValidFrom")), seconds(wanted.get("ValidUntil"))
    if before is None and end and end <= max(start, call.now):
        raise _bad("ValidUntil is in the past or before ValidFrom.")
    excess = wanted.get("ExcessCapacityTerminationPolicy") or "default"
    if excess not in EXCESS:
        raise ids.invalid(f"Value ({excess}) for parameter excessCapacityTerminationPolicy is invalid.")
    return FleetSpec(
        type=ids.choice(wanted, "Type", "maintain", "request"),
        configs=configs_of(wanted),
        total=total,
        on_demand=on_demand,
        spot=total - on_demand,
        default_type="spot",
        on_demand_options={
            "AllocationStrategy": ids.choice(wanted, "OnDemandAllocationStrategy", "lowestPrice", "prioritized")
        },
        spot_options=_spot_options(wanted),
        excess=EXCESS[excess],
        replace=bool(wanted.get("ReplaceUnhealthyInstances")),
        terminate_at_end=bool(wanted.get("TerminateInstancesWithExpiration")),
        valid_from=start,
        valid_until=end,
        client_token=wanted.get("ClientToken") or "",
        request=check_data({name: value for name, value in wanted.items() if name != "TagSpecifications"}),
    )


def _spot_options(wanted: dict[str, Any]) -> dict[str, Any]:
    strategy = ids.choice(wanted, "AllocationStrategy", *STRATEGIES)
    pools = wanted.get("InstancePoolsToUseCount")
    if pools is not None and (strategy != "lowestPrice" or pools < 1):
        raise _bad("InstancePoolsToUseCount is at least 1, and for the allocation strategy lowestPrice only.")
    behavior = check_behavior(wanted.get("InstanceInterruptionBehavior"))
    if behavior == "stop" and wanted.get("Type") == "request":
        raise _bad("The interruption behavior stop is for requests of type maintain only.")
    return {
        "AllocationStrategy": strategy,
        "InstanceInterruptionBehavior": behavior,
        "InstancePoolsToUseCount": pools or 1,
    }


def _find(call: Call, id_: str) -> Fleet:
    """AWS: InvalidSpotFleetRequestId.Malformed, InvalidSpotFleetRequestId.NotFound."""
    if _ID.fullmatch(id_) is None:
        raise AwsError(SPOT_FLEET.malformed, f"The spot fleet request ID '{id_}' is malformed")
    fleet = call.get(Fleet, id_)
    if fleet is None or not fleet.is_spot_request:
        raise ids.not_found(SPOT_FLEET, id_)
    return fleet


def _bad(text: str) -> AwsError:
    return AwsError("InvalidSpotFleetRequestConfig", text)


def _refused(id_: str, code: str, text: str) -> dict[str, Any]:
    return {"SpotFleetRequestId": id_, "Error": {"Code": code, "Message": text}}


def _state(fleet: Fleet) -> str:
    """AWS: ec2 BatchState."""
    return fleet.status.state.replace("deleted", "cancelled")


def _show(client: Client, fleet: Fleet) -> dict[str, Any]:
    """API form. AWS: ec2 SpotFleetRequestConfig."""
    spec, (on_demand, spot) = fleet.spec, fulfilled(client, fleet)
    filled = {
        "AllocationStrategy": spec.spot_options["AllocationStrategy"],
        "OnDemandAllocationStrategy": spec.on_demand_options["AllocationStrategy"],
        "ExcessCapacityTerminationPolicy": "default",
        "FulfilledCapacity": on_demand + spot,
        "OnDemandFulfilledCapacity": on_demand,
        "OnDemandTargetCapacity": spec.on_demand,
        "TargetCapacity": spec.total,
        "TerminateInstancesWithExpiration": spec.terminate_at_end,
        "ReplaceUnhealthyInstances": spec.replace,
        "InstanceInterruptionBehavior": spec.spot_options["InstanceInterruptionBehavior"],
        "Type": spec.type,
    }
    if filled["AllocationStrategy"] == "lowestPrice":
        filled["InstancePoolsToUseCount"] = spec.spot_options["InstancePoolsToUseCount"]
    return {
        "SpotFleetRequestId": fleet.meta.name,
        "SpotFleetRequestState": _state(fleet),
        "ActivityStatus": activity(client, fleet),
        "CreateTime": fleet.meta.created,
        "SpotFleetRequestConfig": {**filled, **spec.request},
        "Tags": show_tags(fleet.meta.tags),
    }
