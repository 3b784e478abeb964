"""What a Spot Fleet request launches from, as fleets have it (fleets/launches.py): its launch specifications or launch templates, as pools.

    LaunchSpecifications × their subnets or zones ─► OWN_LAUNCH with Overrides
    LaunchTemplateConfigs                         ─► the same with MaxPrice for SpotPrice

Prices of Spot Fleets are of a unit of capacity, those of launches of an instance. AWS: ec2 SpotFleetRequestConfigData.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.fleets import LIMIT_CONFIGS, check_configs
from gureum.aws.ec2.fleets.launches import OWN_LAUNCH
from gureum.aws.ec2.fleets.spot_options import check_price
from gureum.aws.ec2.instances.launch_template_data import check_data
from gureum.aws.errors import AwsError

Data = dict[str, Any]
NOT_BUILT = ("AddressingType", "KernelId", "RamdiskId")
OF_THE_POOL = ("InstanceType", "InstanceRequirements", "SpotPrice", "SubnetId", "WeightedCapacity")


def configs_of(wanted: Data) -> tuple[Data, ...]:
    """AWS: InvalidSpotFleetRequestConfig, MissingParameter, and the errors of launch data."""
    specifications, templates = wanted.get("LaunchSpecifications"), wanted.get("LaunchTemplateConfigs")
    if bool(specifications) == bool(templates):
        text = "Specify either LaunchSpecifications or LaunchTemplateConfigs."
        raise AwsError("InvalidSpotFleetRequestConfig", text)
    price = wanted.get("SpotPrice")
    if templates:
        return check_configs([_priced(one, price) for one in templates])
    assert specifications is not None
    if len(specifications) > LIMIT_CONFIGS:
        text = f"There are more than {LIMIT_CONFIGS} launch specifications."
        raise AwsError("InvalidSpotFleetRequestConfig", text)
    return tuple(_specification(one, price) for one in specifications)


def _priced(config: Data, price: str | None) -> Data:
    return {**config, "Overrides": [_override(one, price) for one in config.get("Overrides") or [{}]]}


def _override(one: Data, price: str | None) -> Data:
    kept = {name: value for name, value in one.items() if name != "SpotPrice"}
    unit = check_price(one.get("SpotPrice")) or price
    if not unit:
        return kept
    return {**kept, "MaxPrice": f"{float(unit) * float(one.get('WeightedCapacity') or 1):.6f}"}


def _filled(value: Any) -> Any:
    """Without what is empty, on all levels: clients send "" where nothing was wished."""
    if isinstance(value, dict):
        inner = {name: _filled(one) for name, one in value.items()}
        return {name: one for name, one in inner.items() if one not in (None, "", [], {})}
    return [_filled(one) for one in value] if isinstance(value, list) else value


def _specification(one: Data, price: str | None) -> Data:
    one = _filled(one)
    for name in NOT_BUILT:
        if one.get(name):
            raise ids.not_built(f"RequestSpotFleet with {name}")
    if not one.get("ImageId"):
        raise ids.missing("ImageId")
    if not one.get("InstanceType") and not one.get("InstanceRequirements"):
        raise ids.missing("InstanceType")
    launch = {name: value for name, value in one.items() if name not in (*OF_THE_POOL, "SecurityGroups")}
    groups = one.get("SecurityGroups") or ()
    launch["SecurityGroupIds"] = [group["GroupId"] for group in groups if group.get("GroupId")]
    launch["SecurityGroups"] = [group["GroupName"] for group in groups if not group.get("GroupId")]
    pool = _override({name: one[name] for name in OF_THE_POOL if one.get(name)}, price)
    places: list[Data] = [{"SubnetId": subnet} for subnet in _several(one.get("SubnetId"))]
    if not places:
        zones = _several((one.get("Placement") or {}).get("AvailabilityZone"))
        places = [{"AvailabilityZone": zone} for zone in zones] or [{}]
    return {OWN_LAUNCH: check_data(launch), "Overrides": [check_data({**pool, **place}) for place in places]}


def _several(text: str | None) -> list[str]:
    """AWS: several subnets or zones in one specification, with commas between them."""
    return [one.strip() for one in (text or "").split(",") if one.strip()]
