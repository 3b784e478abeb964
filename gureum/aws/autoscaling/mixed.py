"""Mixed instances policies: several instance types and both ways to pay in one group.

    MixedInstancesPolicy ─read─► Mixed ─choices─► [(type, spot, weight), …] in the order in which a launch tries them

The launch template itself is the group's (`GroupSpec.template`), as without a policy. Capacity counts in the overrides' weights, where they have
some. What a changed distribution would have been is not made of the instances that run; it counts for launches and for which of them end.
AWS: "Auto Scaling groups with multiple instance types and purchase options", "Allocation strategies".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, not_built
from gureum.aws.autoscaling.kinds import Distribution, GroupSpec, Member, Mixed, Override
from gureum.aws.ec2.fleets.spot_prices import on_demand_price, price_text, spot_price
from gureum.aws.ec2.instances.requirements import matching_types
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.errors import AwsError

ON_DEMAND_STRATEGIES = ("prioritized", "lowest-price")
SPOT_STRATEGIES = (
    "lowest-price",
    "capacity-optimized",
    "capacity-optimized-prioritized",
    "price-capacity-optimized",
)
MOST_OVERRIDES = 40
_IN_ORDER = ("prioritized", "capacity-optimized-prioritized")
_OF_OVERRIDES_NOT_BUILT = ("LaunchTemplateSpecification", "ImageId")


class Choice(msgspec.Struct, frozen=True):
    """What one launch is of. `units`: how much capacity is to be launched so, `weight` of it by each instance. `max_price`: dollars an hour, of
    Spot Instances."""

    type: str
    spot: bool
    weight: int
    units: int
    max_price: str = ""


def read_policy(given: dict[str, Any], old: Mixed | None) -> Mixed:
    """`given`: API form of MixedInstancesPolicy; what it does not name stays as in `old`. AWS: ValidationError."""
    overrides = old.overrides if old is not None else ()
    template = given.get("LaunchTemplate") or {}
    if template.get("Overrides") is not None:
        overrides = _read_overrides(template["Overrides"])
    distribution = _read_distribution(
        given.get("InstancesDistribution") or {},
        old.distribution if old is not None else Distribution(),
        by_requirements=any(one.requirements for one in overrides),
    )
    return Mixed(overrides, distribution)


def choices(
    spec: GroupSpec, own_type: str, members: Sequence[Member], zone: str, count: int, *, capacity: int
) -> list[Choice]:
    """What the next launch in a zone may be of, the first choice first. `own_type`: the template's. `members`: those of the group's capacity, which
    is `capacity` units; `count` units are wanted more."""
    mixed = spec.mixed
    if mixed is None:
        raise AssertionError("a group without a mixed instances policy has nothing to choose")
    types = pool_types(mixed, own_type)
    lacking = on_demand_units(mixed.distribution, max(spec.desired, capacity + count)) - _units(members, spot=False)
    how = mixed.distribution
    on_demand_only = how.percentage == 100
    spot = lacking <= 0 and not on_demand_only
    units = count if spot or on_demand_only else min(count, lacking)
    if (how.spot_strategy if spot else how.on_demand_strategy) not in _IN_ORDER:
        types = sorted(types, key=lambda name: _price(name, spot=spot) / weight_of(mixed, name))
    if spot and how.spot_strategy == "lowest-price":
        have = Counter(one.spec.type for one in members if one.spec.spot and one.spec.zone == zone)
        cheapest = types[: how.spot_pools]
        types = sorted(cheapest, key=lambda name: have[name]) + types[how.spot_pools :]
    price = how.max_price if spot else ""
    return [Choice(name, spot, weight_of(mixed, name), units, price) for name in types]


def pool_types(mixed: Mixed, own_type: str) -> list[str]:
    """The types that a group launches, in the order of its overrides; those that fit requirements by their price."""
    found: list[str] = []
    for override in mixed.overrides:
        if override.requirements:
            names = [one.name for one in matching_types(override.requirements)]
            found.extend(sorted(names, key=lambda name: _price(name, spot=False)))
        else:
            found.append(override.type or own_type)
    return list(dict.fromkeys(found or [own_type]))


def weight_of(mixed: Mixed | None, type_: str) -> int:
    """How much capacity an instance of a type is."""
    overrides = mixed.overrides if mixed is not None else ()
    return next((one.weight for one in overrides if one.type == type_ and one.weight), 1)


def on_demand_units(how: Distribution, capacity: int) -> int:
    """How much of a capacity is on demand: the base, and a share of the rest, rounded up."""
    base = min(how.base, capacity)
    return base + math.ceil((capacity - base) * how.percentage / 100)


def surplus_of(spec: GroupSpec, members: Sequence[Member]) -> list[Member]:
    """Of those that may end the ones of which there are too many: on demand, or Spot Instances. All, where there is no policy."""
    if spec.mixed is None:
        return list(members)
    too_many = _units(members, spot=False) > on_demand_units(spec.mixed.distribution, spec.desired)
    return [one for one in members if one.spec.spot != too_many] or list(members)


def is_weighted(spec: GroupSpec) -> bool:
    return spec.mixed is not None and any(one.weight for one in spec.mixed.overrides)


def show_policy(mixed: Mixed, template: dict[str, Any]) -> dict[str, Any]:
    """API form. AWS: autoscaling MixedInstancesPolicy. `template`: of LaunchTemplateSpecification."""
    how = mixed.distribution
    distribution = {
        "OnDemandAllocationStrategy": how.on_demand_strategy,
        "OnDemandBaseCapacity": how.base,
        "OnDemandPercentageAboveBaseCapacity": how.percentage,
        "SpotAllocationStrategy": how.spot_strategy,
    }
    if how.spot_strategy == "lowest-price":
        distribution["SpotInstancePools"] = how.spot_pools
    if how.max_price:
        distribution["SpotMaxPrice"] = how.max_price
    overrides = [_show_override(one) for one in mixed.overrides]
    return {
        "LaunchTemplate": {"LaunchTemplateSpecification": template, "Overrides": overrides},
        "InstancesDistribution": distribution,
    }


def _show_override(one: Override) -> dict[str, Any]:
    shown: dict[str, Any] = {"InstanceType": one.type} if one.type else {}
    shown |= {"WeightedCapacity": str(one.weight)} if one.weight else {}
    return shown | ({"InstanceRequirements": one.requirements} if one.requirements else {})


def _read_overrides(given: Sequence[dict[str, Any]]) -> tuple[Override, ...]:
    if len(given) > MOST_OVERRIDES:
        raise invalid(f"The maximum number of launch template overrides is {MOST_OVERRIDES}.")
    found = tuple(_read_override(one) for one in given)
    if len({bool(one.weight) for one in found}) > 1:
        raise invalid("You must specify a WeightedCapacity for every instance type, or for none of them.")
    types = [one.type for one in found if one.type]
    if len(types) != len(set(types)):
        raise invalid("Duplicate instance types cannot be specified in the launch template overrides.")
    if types and len(types) < len(found):
        raise invalid(
            "InstanceType and InstanceRequirements cannot both be specified in the launch template overrides."
        )
    return found


def _read_override(given: dict[str, Any]) -> Override:
    for name in _OF_OVERRIDES_NOT_BUILT:
        if given.get(name):
            raise not_built(f"An override with {name}")
    type_, requirements = given.get("InstanceType") or "", given.get("InstanceRequirements")
    if type_ and requirements:
        raise invalid("You cannot specify both InstanceType and InstanceRequirements.")
    if type_ and find_instance_type(type_) is None:
        raise invalid(f"The instance type '{type_}' does not exist")
    if requirements:
        try:
            fitting = matching_types(requirements)
        except AwsError as error:
            raise invalid(error.message) from error
        if not fitting:
            raise invalid("No instance types match the specified instance requirements.")
    text = given.get("WeightedCapacity")
    if text is not None and not (text.isascii() and text.isdigit() and 1 <= int(text) <= 999):
        raise invalid(f"WeightedCapacity '{text}' is not valid: it must be a number from 1 to 999.")
    if text is not None and not type_:
        raise invalid("WeightedCapacity can only be specified with an InstanceType.")
    return Override(type_, int(text or 0), requirements or {})


def _read_distribution(given: dict[str, Any], old: Distribution, *, by_requirements: bool) -> Distribution:
    on_demand = given.get("OnDemandAllocationStrategy") or (
        "lowest-price" if by_requirements else old.on_demand_strategy
    )
    spot = given.get("SpotAllocationStrategy") or old.spot_strategy
    if on_demand not in ON_DEMAND_STRATEGIES:
        raise invalid(f"OnDemandAllocationStrategy '{on_demand}' is not valid.")
    if spot not in SPOT_STRATEGIES:
        raise invalid(f"SpotAllocationStrategy '{spot}' is not valid.")
    if by_requirements and "prioritized" in (given.get("OnDemandAllocationStrategy"), spot.rpartition("-")[2]):
        raise invalid("The prioritized allocation strategies cannot be used with InstanceRequirements.")
    base = given.get("OnDemandBaseCapacity", old.base)
    percentage = given.get("OnDemandPercentageAboveBaseCapacity", old.percentage)
    pools = given.get("SpotInstancePools") or old.spot_pools
    if base < 0 or not 0 <= percentage <= 100:
        raise invalid("OnDemandBaseCapacity must be at least 0, and OnDemandPercentageAboveBaseCapacity from 0 to 100.")
    if not 1 <= pools <= 20:
        raise invalid("SpotInstancePools must be from 1 to 20.")
    if given.get("SpotInstancePools") and spot != "lowest-price":
        raise invalid("SpotInstancePools can only be specified with the SpotAllocationStrategy lowest-price.")
    return Distribution(on_demand, base, percentage, spot, pools, _read_price(given.get("SpotMaxPrice", old.max_price)))


def _read_price(text: str) -> str:
    """AWS: an empty one takes the highest price away, which is then that of On-Demand."""
    if not text:
        return ""
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not (math.isfinite(price) and price > 0):
        raise invalid(f"SpotMaxPrice '{text}' is not valid.")
    return text if len(text) <= len(price_text(price)) else price_text(price)


def _units(members: Sequence[Member], *, spot: bool) -> int:
    return sum(one.spec.weight for one in members if one.spec.spot == spot)


def _price(name: str, *, spot: bool) -> float:
    type_ = find_instance_type(name)
    if type_ is None:
        return math.inf
    return spot_price(name) if spot else on_demand_price(type_)
