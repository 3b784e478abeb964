"""Which instances a fleet launches: its pools, their order, and how many of each.

    LaunchTemplateConfigs × Overrides ─► pools ─ordered by the strategy─► launches of RunInstances, in the caller's transaction

A pool that cannot be launched from is told as an error, and the next one is tried. AWS: ec2 CreateFleet, "Allocation strategies".
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.spot_prices import on_demand_price, spot_price
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.launch import create_instance, plan_launch
from gureum.aws.ec2.instances.launch_templates import find_template, find_version, merge_launch_template
from gureum.aws.ec2.instances.requirements import matching_types
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.instances.vcpu_quota import vcpus_of
from gureum.aws.ec2.regions import zone_id
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

LIMIT_POOLS = 300
LIMIT_COUNT = 100
"""Instances of one pool: those of all pools are one commit."""
ON_DEMAND_STRATEGIES = ("lowest-price", "prioritized")
SPOT_STRATEGIES = (
    "lowest-price",
    "diversified",
    "capacity-optimized",
    "capacity-optimized-prioritized",
    "price-capacity-optimized",
)
OWN_USER_DATA = "LaunchTemplateSpecificationUserData"
"""What an instant fleet says in the place of its template's user data. AWS: FleetLaunchTemplateSpecificationRequest."""
NOT_BUILT = ("MaxTotalPrice", "CapacityReservationOptions")
LAST = 1e9
OWN_LAUNCH = "GureumLaunch"


class Pool(msgspec.Struct, frozen=True):
    """`params`: of a launch from it, without counts. `shown`: API form of LaunchTemplateAndOverrides."""

    type: str
    params: dict[str, Any]
    shown: dict[str, Any]
    weight: float = 1.0
    priority: float = LAST
    max_price: str = ""


class Target(msgspec.Struct, frozen=True):
    """`wanted`: capacity. `lifecycle`: "on-demand" or "spot". `options`: API form of its options. `tags`: what its instances get beside."""

    wanted: int
    lifecycle: str
    options: dict[str, Any]
    tags: dict[str, str]


class Launched:
    """What came of it. `shown`: API form of CreateFleetInstance; `errors`: of CreateFleetError; `promised`: bytes of memory,
    `vcpus`: of On-Demand Instances."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        self.promised = self.vcpus = 0


def pools_of(call: Call, configs: tuple[dict[str, Any], ...]) -> list[Pool]:
    """`configs`: API form of LaunchTemplateConfigs; one with OWN_LAUNCH has parameters of RunInstances there instead of a template.
    AWS: InvalidFleetConfig, the errors of a launch template that is not there, InvalidParameterValue."""
    found: list[Pool] = []
    for config in configs:
        if OWN_LAUNCH in config:
            for override in config["Overrides"]:
                found.extend(_pools(call, {}, config[OWN_LAUNCH], override))
            continue
        named = config.get("LaunchTemplateSpecification")
        if not named or not named.get("Version"):
            raise AwsError("InvalidFleetConfig", "A launch template with its version must be specified.")
        template = find_template(call, named)
        version = find_version(call, template, named["Version"])
        exact = {"LaunchTemplateId": template.meta.name, "Version": str(version.spec.number)}
        params = merge_launch_template(call.with_params({"LaunchTemplate": exact}))
        params.pop("LaunchTemplate", None)
        if named.get(OWN_USER_DATA):
            params["UserData"] = named[OWN_USER_DATA]
        overrides: list[dict[str, Any]] = config.get("Overrides") or [{}]
        for override in overrides:
            found.extend(_pools(call, exact, params, override))
    if len(found) > LIMIT_POOLS:
        raise AwsError("InvalidFleetConfig", f"The fleet has more than {LIMIT_POOLS} pools.")
    return found


def launch_pools(call: Call, transaction: Transaction, pools: list[Pool], target: Target, found: Launched) -> None:
    """Launches up to the target; of less than MinTargetCapacity nothing."""
    ordered = _ordered(pools, target)
    single = [name for name in ("SingleInstanceType", "SingleAvailabilityZone") if target.options.get(name)]
    saved, before = transaction.savepoint(), (len(found.shown), found.promised, found.vcpus)
    if single:
        # One pool must do for all of it.
        left = float(target.wanted)
        for pool in ordered:
            left = _from_pool(call, transaction, pool, target, left, target.wanted, found)
            if len(found.shown) > before[0]:
                break
    else:
        left = _from_all(call, transaction, ordered, target, found)
    least = target.options.get("MinTargetCapacity") or 0
    if target.wanted - left < least:
        transaction.back_to(saved)
        del found.shown[before[0] :]
        found.promised, found.vcpus = before[1:]


def _from_all(call: Call, transaction: Transaction, ordered: list[Pool], target: Target, found: Launched) -> float:
    left, spread = float(target.wanted), target.options.get("AllocationStrategy") == "diversified"
    over = len(ordered) if spread else min(target.options.get("InstancePoolsToUseCount") or 1, len(ordered))
    for number, pool in enumerate(ordered):
        share = math.ceil(left / max(1, over - number))
        left -= share - _from_pool(call, transaction, pool, target, share, target.wanted, found)
        if left <= 0:
            break
    return max(left, 0.0)


def _from_pool(
    call: Call, transaction: Transaction, pool: Pool, target: Target, left: float, wanted: int, found: Launched
) -> float:
    """What of `left` still lacks after launching from this pool."""
    if left <= 0:
        return left
    count = min(math.ceil(left / pool.weight), LIMIT_COUNT)
    params = _params(pool, target) | {"MinCount": 1, "MaxCount": count}
    launch = call.with_params(params)
    saved, made = transaction.savepoint(), list[Instance]()
    try:
        plan = plan_launch(launch, params, promised=found.promised, vcpus=found.vcpus)
        reservation = new_id("r-")
        for index in range(plan.count):
            saved = transaction.savepoint()
            made.append(create_instance(launch, transaction, params, plan, reservation, index))
    except AwsError as error:
        transaction.back_to(saved)
        text = {"ErrorCode": error.code, "ErrorMessage": error.message}
        found.errors.append({"LaunchTemplateAndOverrides": pool.shown, "Lifecycle": target.lifecycle, **text})
    if not made:
        return left
    type_ = find_instance_type(made[0].spec.type)
    found.promised += len(made) * (type_.memory_bytes if type_ else 0)
    found.vcpus += sum(vcpus_of(one, spot=False) for one in made)
    found.shown.append(
        {
            "LaunchTemplateAndOverrides": pool.shown,
            "Lifecycle": target.lifecycle,
            "InstanceIds": [one.meta.name for one in made],
            "InstanceType": made[0].spec.type,
            "AvailabilityZone": made[0].spec.zone,
            "AvailabilityZoneId": zone_id(made[0].spec.zone),
            "SubnetId": made[0].spec.subnet,
        }
    )
    return left - len(made) * pool.weight


def _params(pool: Pool, target: Target) -> dict[str, Any]:
    tags = dict(pool.params.get("GureumTags") or {}) | target.tags
    params = {**pool.params, "GureumTags": tags}
    params.pop("InstanceMarketOptions", None)
    if target.lifecycle == "spot":
        behavior = target.options.get("InstanceInterruptionBehavior")
        spot: dict[str, Any] = {"SpotInstanceType": "persistent" if behavior == "stop" else "one-time"}
        spot |= {"InstanceInterruptionBehavior": behavior} if behavior else {}
        spot |= {"MaxPrice": pool.max_price} if pool.max_price else {}
        params["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    return params


def _pools(call: Call, template: dict[str, Any], params: dict[str, Any], override: dict[str, Any]) -> list[Pool]:
    wanted = override.get("InstanceRequirements")
    if wanted and override.get("InstanceType"):
        text = "InstanceType and InstanceRequirements cannot be specified together."
        raise AwsError("InvalidParameterCombination", text)
    names = [one.name for one in matching_types(wanted)] if wanted else [override.get("InstanceType") or ""]
    laid = dict(params)
    for name in ("ImageId", "BlockDeviceMappings", "KeyName", "IamInstanceProfile", "MetadataOptions"):
        if override.get(name):
            laid[name] = override[name]
    if override.get("SubnetId"):
        if "," in override["SubnetId"]:
            raise ids.not_built("CreateFleet with several subnets in one override")
        laid = _in_subnet(laid, override["SubnetId"])
    placement = dict(override.get("Placement") or {})
    for name in ("AvailabilityZone", "AvailabilityZoneId"):
        if override.get(name):
            placement[name] = override[name]
    if placement:
        laid["Placement"] = {**(laid.get("Placement") or {}), **placement}
    found = []
    for name in names:
        type_name = name or laid.get("InstanceType") or "m1.small"
        shown = {key: value for key, value in override.items() if key != "InstanceRequirements"}
        shown = {"LaunchTemplateSpecification": template, "Overrides": {**shown, "InstanceType": type_name}}
        weight, priority = float(override.get("WeightedCapacity") or 1), override.get("Priority")
        if weight <= 0:
            raise ids.invalid(f"Value ({weight}) for parameter weightedCapacity is invalid.")
        found.append(
            Pool(
                type_name,
                {**laid, "InstanceType": type_name},
                shown,
                weight,
                LAST if priority is None else float(priority),
                override.get("MaxPrice") or "",
            )
        )
    return found


def _in_subnet(params: dict[str, Any], subnet: str) -> dict[str, Any]:
    if not params.get("NetworkInterfaces"):
        return {**params, "SubnetId": subnet}
    first, *others = params["NetworkInterfaces"]
    return {**params, "NetworkInterfaces": [{**first, "SubnetId": subnet}, *others]}


def strategy_of(options: dict[str, Any], lifecycle: str) -> str:
    """How pools are chosen. `options`: API form of OnDemandOptions or SpotOptions. AWS: InvalidParameterValue."""
    for name in NOT_BUILT:
        if options.get(name):
            raise ids.not_built(f"CreateFleet with {name}")
    strategies = ON_DEMAND_STRATEGIES if lifecycle == "on-demand" else SPOT_STRATEGIES
    return ids.choice(_spelled(options), "AllocationStrategy", *strategies)


def _ordered(pools: list[Pool], target: Target) -> list[Pool]:
    strategy = strategy_of(target.options, target.lifecycle)
    on_demand = target.lifecycle == "on-demand"
    if strategy in ("prioritized", "capacity-optimized-prioritized"):
        return sorted(pools, key=lambda one: one.priority)
    return sorted(pools, key=lambda one: _price(one, on_demand=on_demand))


def _spelled(options: dict[str, Any]) -> dict[str, Any]:
    """Clients send strategies in AWS's older spelling too: "lowestPrice"."""
    strategy = options.get("AllocationStrategy") or ""
    return {"AllocationStrategy": re.sub(r"[A-Z]", lambda found: f"-{found.group().lower()}", strategy)}


def _price(pool: Pool, *, on_demand: bool) -> float:
    """Of a unit of capacity."""
    type_ = find_instance_type(pool.type)
    if type_ is None:
        return float("inf")
    return (on_demand_price(type_) if on_demand else spot_price(pool.type)) / pool.weight
