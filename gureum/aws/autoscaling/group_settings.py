"""What CreateAutoScalingGroup and UpdateAutoScalingGroup may say of a group, and how it becomes the group's spec. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import invalid, no_classic_balancers, not_built
from gureum.aws.autoscaling.kinds import GroupSpec, GroupTag, LaunchConfiguration, Maintenance, Template, object_name
from gureum.aws.autoscaling.mixed import is_weighted, read_policy
from gureum.aws.call import Call
from gureum.aws.ec2.instances.launch_templates import find_template, find_version
from gureum.aws.ec2.instances.placement_groups import find_group as find_placement_group
from gureum.aws.ec2.networks.kinds import Subnet
from gureum.aws.ec2.regions import zones_of
from gureum.aws.elbv2.arns import find_group as find_target_group
from gureum.aws.errors import AwsError
from gureum.aws.partitions import without_partition

_NAME = re.compile(r"[^:\x00-\x1f\x7f]{1,255}")
TERMINATION_POLICIES = (
    "AllocationStrategy",
    "ClosestToNextInstanceHour",
    "Default",
    "NewestInstance",
    "OldestInstance",
    "OldestLaunchConfiguration",
    "OldestLaunchTemplate",
)
_NOT_BUILT = (
    "AvailabilityZoneIds",
    "AvailabilityZoneImpairmentPolicy",
    "SkipZonalShiftValidation",
    "CapacityReservationSpecification",
    "InstanceLifecyclePolicy",
    "Operator",
)
_AS_IT_IS: dict[str, dict[str, Any]] = {
    "AvailabilityZoneImpairmentPolicy": {"ZonalShiftEnabled": False},
    "CapacityReservationSpecification": {"CapacityReservationPreference": "default"},
}
"""What is not built, asked for as it is without it."""
_HEALTH_TYPES = ("EC2", "ELB", "EBS")
MOST_TARGET_GROUPS = 50


def check_name(name: str) -> None:
    """AWS: at most 255 characters, no control characters and no colon."""
    if _NAME.fullmatch(name) is None:
        raise invalid(f"Invalid AutoScalingGroup name: '{name}'")


def refuse_not_built(params: dict[str, Any]) -> None:
    if params.get("LoadBalancerNames"):
        raise no_classic_balancers()
    for name in _NOT_BUILT:
        if params.get(name) and params[name] != _AS_IT_IS.get(name):
            raise not_built(f"An Auto Scaling group with {name}")
    if params.get("DesiredCapacityType", "units") != "units":
        raise not_built(f"DesiredCapacityType {params['DesiredCapacityType']}")
    strategy = (params.get("AvailabilityZoneDistribution") or {}).get("CapacityDistributionStrategy")
    if strategy not in (None, "balanced-best-effort"):
        raise not_built(f"CapacityDistributionStrategy {strategy}")


def settled(call: Call, spec: GroupSpec) -> GroupSpec:
    """`spec` with what the call says laid over it, checked. `spec` is the group as it is, or a new one with its name alone."""
    params = call.params
    refuse_not_built(params)
    fields: dict[str, Any] = {}
    plain = {
        "MinSize": "min",
        "MaxSize": "max",
        "DesiredCapacity": "desired",
        "DefaultCooldown": "cooldown_s",
        "HealthCheckGracePeriod": "grace_s",
        "NewInstancesProtectedFromScaleIn": "protected",
        "CapacityRebalance": "capacity_rebalance",
        "MaxInstanceLifetime": "max_lifetime_s",
        "Context": "context",
        "ServiceLinkedRoleARN": "service_role",
        "DeletionProtection": "deletion_protection",
    }
    for name, field in plain.items():
        if params.get(name) is not None:
            fields[field] = params[name]
    if params.get("DefaultInstanceWarmup") is not None:
        fields["warmup_s"] = None if params["DefaultInstanceWarmup"] == -1 else params["DefaultInstanceWarmup"]
    if params.get("HealthCheckType"):
        fields["health_type"] = _health_types(params["HealthCheckType"])
    if params.get("TerminationPolicies"):
        fields["termination_policies"] = _termination_policies(params["TerminationPolicies"])
    if params.get("InstanceMaintenancePolicy") is not None:
        fields["maintenance"] = _maintenance(params["InstanceMaintenancePolicy"])
    if params.get("PlacementGroup") is not None:
        fields["placement_group"] = _placement_group(call, params["PlacementGroup"])
    fields |= read_source(call, params, spec) | _places(call, params)
    found = msgspec.structs.replace(spec, **fields)
    check_numbers(found)
    if is_weighted(found) and found.maintenance is not None:
        raise not_built("An InstanceMaintenancePolicy of a group with weights")
    return found


def check_numbers(spec: GroupSpec) -> None:
    """AWS: the order of the three sizes, and what may not be below zero."""
    if spec.min < 0 or spec.max < 0:
        raise invalid("MinSize and MaxSize must be at least 0.")
    if spec.min > spec.max:
        raise invalid(f"Max bound, {spec.max}, must be greater than or equal to min bound, {spec.min}")
    if spec.desired < spec.min:
        raise invalid(
            f"Desired capacity:{spec.desired} must be between the specified min size:{spec.min} and max size:{spec.max}"
        )
    if spec.desired > spec.max:
        raise invalid(
            f"Desired capacity:{spec.desired} must be between the specified min size:{spec.min} and max size:{spec.max}"
        )
    if spec.cooldown_s < 0 or spec.grace_s < 0 or (spec.warmup_s or 0) < 0:
        raise invalid("A period in seconds must not be less than 0.")
    if spec.max_lifetime_s and spec.max_lifetime_s < 86400:
        raise invalid("Maximum instance lifetime must be equal to 0 or between 86400 and 31536000 seconds (inclusive).")


def read_source(call: Call, params: dict[str, Any], spec: GroupSpec) -> dict[str, Any]:
    """What instances are launched from; of an instance that is to be a model, the configuration of the group's name that is made of it."""
    named, configuration = params.get("LaunchTemplate"), params.get("LaunchConfigurationName")
    policy = params.get("MixedInstancesPolicy")
    if sum(map(bool, (named, configuration, params.get("InstanceId"), policy))) > 1:
        raise invalid(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter."
        )
    if policy:
        named = (policy.get("LaunchTemplate") or {}).get("LaunchTemplateSpecification")
        template = found_template(call, named) if named else spec.template
        if template is None:
            raise invalid("The mixed instances policy must have a LaunchTemplateSpecification.")
        return {"template": template, "configuration": "", "mixed": read_policy(policy, spec.mixed)}
    if named:
        return {"template": found_template(call, named), "configuration": "", "mixed": None}
    if params.get("InstanceId"):
        return {"template": None, "configuration": params["AutoScalingGroupName"], "mixed": None}
    if configuration:
        if call.get(LaunchConfiguration, object_name(configuration)) is None:
            raise invalid("Launch configuration name not found - null")
        return {"template": None, "configuration": configuration, "mixed": None}
    return {}


def _placement_group(call: Call, name: str) -> str:
    """AWS: ValidationError with EC2's own words. "" takes the group out of it."""
    try:
        return find_placement_group(call, name).spec.group_name if name else ""
    except AwsError as error:
        raise invalid(error.message) from error


def found_template(call: Call, named: dict[str, Any]) -> Template:
    """A template and version that are there. AWS: ValidationError with EC2's own words."""
    if bool(named.get("LaunchTemplateId")) == bool(named.get("LaunchTemplateName")):
        raise invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
    version = named.get("Version") or ""
    try:
        template = find_template(call, named)
        find_version(call, template, version or "$Default")
    except AwsError as error:
        raise invalid(f"You must use a valid fully-formed launch template. {error.message}") from error
    return Template(template.meta.name, template.spec.template_name, version)


def _places(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """Zones and subnets: the zones of the subnets, where both are given they must agree."""
    fields: dict[str, Any] = {}
    zones = tuple(dict.fromkeys(params.get("AvailabilityZones") or ()))
    known = {zone.name for zone in zones_of(call.region)}
    unknown = [zone for zone in zones if zone not in known]
    if unknown:
        raise invalid(f"Invalid Availability Zone(s) were specified: [{', '.join(unknown)}]")
    if params.get("VPCZoneIdentifier"):
        ids = tuple(dict.fromkeys(part.strip() for part in params["VPCZoneIdentifier"].split(",") if part.strip()))
        subnets = [call.get(Subnet, id_) for id_ in ids]
        missing = [id_ for id_, subnet in zip(ids, subnets, strict=True) if subnet is None]
        if missing:
            raise invalid(f"The subnet ID '{missing[0]}' does not exist")
        own = tuple(dict.fromkeys(subnet.spec.zone for subnet in subnets if subnet is not None))
        if len({subnet.spec.vpc for subnet in subnets if subnet is not None}) > 1:
            raise invalid("All subnets of an Auto Scaling group must be of one VPC.")
        if zones and set(zones) != set(own):
            raise invalid("The availability zones of the specified subnets and the Auto Scaling group do not match")
        fields = {"subnets": ids, "zones": own}
    elif zones:
        fields = {"zones": zones, "subnets": ()}
    return fields


def check_target_groups(call: Call, arns: Sequence[str]) -> tuple[str, ...]:
    """ARNs of groups of instances that are there, each once. AWS: ValidationError."""
    found = tuple(dict.fromkeys(arns))
    if len(found) > MOST_TARGET_GROUPS:
        raise AwsError(
            "LimitExceeded", f"An Auto Scaling group can have {MOST_TARGET_GROUPS} target groups at most.", status=400
        )
    for arn in found:
        try:
            group = find_target_group(call, arn)
        except AwsError as error:
            raise invalid("Provided Target Groups may not be valid. Please ensure they exist and try again.") from error
        if group.spec.type != "instance":
            raise invalid(f"Target group '{arn}' does not take instances as targets.")
    return found


def traffic_sources(call: Call, sources: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """ARNs of the target groups among traffic sources; other kinds of them are not built."""
    for one in sources:
        kind = one.get("Type") or ("elbv2" if ":targetgroup/" in one["Identifier"] else "")
        if kind != "elbv2":
            raise not_built(f"A traffic source of type {kind or one['Identifier']}")
    return check_target_groups(call, [one["Identifier"] for one in sources])


def read_tags(group_name: str, given: Sequence[dict[str, Any]]) -> tuple[GroupTag, ...]:
    """AWS: ValidationError for reserved keys and for another group's name."""
    found: dict[str, GroupTag] = {}
    for one in given:
        if one.get("ResourceId") not in (None, group_name) or one.get("ResourceType") not in (
            None,
            "auto-scaling-group",
        ):
            raise invalid("Tag resource ID and type must be those of the Auto Scaling group.")
        key = one["Key"]
        if not key or len(key) > 128 or key.lower().startswith("aws:"):
            raise invalid(f"Tag key '{key}' is not valid: it must have 1 to 128 characters and not begin with aws:.")
        if len(one.get("Value") or "") > 256:
            raise invalid("Tag values must have 256 characters at most.")
        found[key] = GroupTag(key, one.get("Value") or "", one.get("PropagateAtLaunch", True))
    if len(found) > 50:
        raise AwsError("LimitExceeded", "A group can have 50 tags at most.", status=400)
    return tuple(found.values())


def _health_types(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(","))
    for one in found:
        if one not in _HEALTH_TYPES:
            if one == "VPC_LATTICE":
                raise not_built(f"HealthCheckType {one}")
            raise invalid(
                f"Invalid health check type: {one}. Valid health check types are: [ELB, EC2, VPC_LATTICE, EBS]"
            )
    return tuple(dict.fromkeys(("EC2", *found)))


def _termination_policies(given: Sequence[str]) -> tuple[str, ...]:
    for one in given:
        if without_partition(one).startswith("arn:aws:lambda"):
            raise not_built("A termination policy by a Lambda function")
        if one not in TERMINATION_POLICIES:
            raise invalid(f"Termination policy '{one}' is not valid. Valid ones are: {', '.join(TERMINATION_POLICIES)}")
    return tuple(given)


def _maintenance(given: dict[str, Any]) -> Maintenance | None:
    least, most = given.get("MinHealthyPercentage", -1), given.get("MaxHealthyPercentage", -1)
    if least == most == -1:
        return None
    if not (0 <= least <= 100 <= most <= 200) or most - least > 100:
        raise invalid(
            "MinHealthyPercentage must be 0 to 100 and MaxHealthyPercentage 100 to 200, and they must differ by 100 at most."
        )
    return Maintenance(least, most)
