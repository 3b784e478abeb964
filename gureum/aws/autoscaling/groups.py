"""Groups: made, changed, deleted and shown. What they launch and end is decided by their reconcile (reconciling.py)."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gureum.aws.autoscaling.faults import exists, in_progress, in_use, invalid, no_group_to_update
from gureum.aws.autoscaling.from_instance import find_model, taken_over
from gureum.aws.autoscaling.group_settings import (
    check_name,
    check_numbers,
    check_target_groups,
    read_tags,
    settled,
    traffic_sources,
)
from gureum.aws.autoscaling.group_show import show_group
from gureum.aws.autoscaling.hooks import new_hook
from gureum.aws.autoscaling.kinds import Group, GroupSpec, object_name
from gureum.aws.autoscaling.launch_configurations import new_configuration
from gureum.aws.autoscaling.launching import check_template
from gureum.aws.autoscaling.limits import GROUPS
from gureum.aws.autoscaling.lookup import find_group, members_of, page
from gureum.aws.autoscaling.notices import tell_test
from gureum.aws.autoscaling.refreshing import active_refresh, deploys, own_source
from gureum.aws.autoscaling.sentences import clock_text
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation


@operation("CreateAutoScalingGroup")
async def create_auto_scaling_group(call: Call) -> Result:
    """AWS: autoscaling CreateAutoScalingGroup. AlreadyExists, LimitExceeded, ValidationError."""
    params = call.params
    name = params["AutoScalingGroupName"]
    check_name(name)
    if call.get(Group, object_name(name)) is not None:
        raise exists(f"AutoScalingGroup by this name already exists - A group with the name {name} already exists")
    if len(call.all(Group)) >= GROUPS:
        raise AwsError("LimitExceeded", f"You have reached the limit of {GROUPS} Auto Scaling groups.", status=400)
    desired = params.get("DesiredCapacity")
    spec = GroupSpec(
        name,
        str(uuid.uuid4()),
        params["MinSize"],
        params["MaxSize"],
        params["MinSize"] if desired is None else desired,
        (),
    )
    model = find_model(call, params["InstanceId"]) if params.get("InstanceId") else None
    spec = settled(call, spec)
    if model is not None and not spec.zones:
        spec = msgspec.structs.replace(spec, zones=(model.spec.zone,), subnets=(model.spec.subnet,))
    if spec.template is None and not spec.configuration:
        raise invalid(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter."
        )
    if not spec.zones:
        raise invalid("At least one Availability Zone or VPC Subnet is required.")
    targets = check_target_groups(call, params.get("TargetGroupARNs") or ())
    targets += tuple(arn for arn in traffic_sources(call, params.get("TrafficSources") or ()) if arn not in targets)
    why = f"At {clock_text(call.now)} a user request created an AutoScalingGroup changing the desired capacity from 0 to {spec.desired}."
    spec = msgspec.structs.replace(spec, target_groups=targets, tags=read_tags(name, params.get("Tags") or ()), why=why)
    group = Group(meta=call.meta(object_name(name)), spec=spec)
    check_template(call, group)
    transaction = call.transaction()
    if model is not None:
        transaction.create(new_configuration(call, name, taken_over(call, model)))
    group = transaction.create(group)
    for given in params.get("LifecycleHookSpecificationList") or ():
        hook = transaction.create(new_hook(call, group, given, None))
        if hook.spec.target:
            tell_test(call, transaction, group, hook.spec.target)
    await call.commit(transaction)
    return {}


@operation("UpdateAutoScalingGroup")
async def update_auto_scaling_group(call: Call) -> Result:
    """AWS: autoscaling UpdateAutoScalingGroup. A desired capacity outside new bounds is moved to the nearer one."""
    group = find_group(call, call.params["AutoScalingGroupName"], no_group_to_update())
    old = group.spec
    if call.params.get("DesiredCapacity") is None:
        least, most = call.params.get("MinSize", old.min), call.params.get("MaxSize", old.max)
        if least <= most:
            old = msgspec.structs.replace(old, desired=min(max(old.desired, least), most))
    spec = _with_deployed(call, group, settled(call, old))
    if (spec.min, spec.max, spec.desired) != (group.spec.min, group.spec.max, group.spec.desired):
        bounds = f"min: {spec.min}, max: {spec.max}, desired: {spec.desired}"
        text = f"At {clock_text(call.now)} a user request update of AutoScalingGroup constraints to {bounds}"
        spec = msgspec.structs.replace(
            spec, why=f"{text} changing the desired capacity from {group.spec.desired} to {spec.desired}."
        )
    if _made_of(spec) != _made_of(group.spec):
        check_template(call, msgspec.structs.replace(group, spec=spec))
    await replace_spec(call, group, msgspec.structs.replace(spec, failures=0, retry_at=0.0))
    return {}


def _made_of(spec: GroupSpec) -> tuple[Any, ...]:
    """What decides whether instances can be launched."""
    return (spec.source, spec.zones, spec.subnets)


@operation("SetDesiredCapacity")
async def set_desired_capacity(call: Call) -> Result:
    """AWS: autoscaling SetDesiredCapacity. ScalingActivityInProgress while a cooldown is to be honoured."""
    group, desired = find_group(call, call.params["AutoScalingGroupName"]), call.params["DesiredCapacity"]
    if call.params.get("HonorCooldown") and group.spec.cooled > call.now:
        raise in_progress("Scaling activity is in progress or the group is in its cooldown period.")
    spec = group.spec
    if desired > spec.max:
        raise invalid(f"New SetDesiredCapacity value {desired} is above max value {spec.max} for the AutoScalingGroup.")
    if desired < spec.min:
        raise invalid(f"New SetDesiredCapacity value {desired} is below min value {spec.min} for the AutoScalingGroup.")
    why = spec.why
    if desired != spec.desired:
        text = "a user request explicitly set group desired capacity changing the desired capacity"
        why = f"At {clock_text(call.now)} {text} from {spec.desired} to {desired}."
    spec = msgspec.structs.replace(spec, desired=desired, why=why, failures=0, retry_at=0.0)
    await replace_spec(call, group, spec)
    return {}


@operation("DeleteAutoScalingGroup")
async def delete_auto_scaling_group(call: Call) -> Result:
    """AWS: autoscaling DeleteAutoScalingGroup. ResourceInUse while it has instances, unless ForceDelete; then they are terminated first."""
    group = find_group(call, call.params["AutoScalingGroupName"])
    force, protection = bool(call.params.get("ForceDelete")), group.spec.deletion_protection
    if protection == "prevent-all-deletion" or (force and protection == "prevent-force-deletion"):
        raise in_use(f"The group has deletion protection ({protection}).")
    members = members_of(call, group)
    transaction = call.transaction()
    transaction.require(group)
    if members and not force:
        if all(member.spec.state.startswith("Terminating") for member in members):
            raise in_progress(
                "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group."
            )
        raise in_use(
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group."
        )
    if members:
        why = f"At {clock_text(call.now)} a user request deleted the AutoScalingGroup."
        spec = msgspec.structs.replace(group.spec, min=0, desired=0, deleting=True, why=why)
        transaction.update(msgspec.structs.replace(group, spec=spec))
    else:
        transaction.delete(group)
    await call.commit(transaction)
    return {}


@operation("DescribeAutoScalingGroups")
def describe_auto_scaling_groups(call: Call) -> Result:
    """AWS: autoscaling DescribeAutoScalingGroups. Names that are not there are left out."""
    names = call.params.get("AutoScalingGroupNames")
    found = [one for one in call.all(Group) if not names or one.spec.name in names]
    filters = call.params.get("Filters") or ()
    found = [group for group in found if all(_passes(group, one) for one in filters)]
    shown, token = page(call, found, lambda one: one.spec.name)
    instances = call.params.get("IncludeInstances", True)
    return {"AutoScalingGroups": [show_group(call, one, instances=instances) for one in shown]} | token


def _passes(group: Group, one: dict[str, Any]) -> bool:
    """AWS: "tag-key", "tag-value" and "tag:KEY" look at the group's tags. ValidationError for other names."""
    name, values = one.get("Name") or "", one.get("Values") or []
    if name == "tag-key":
        return any(tag.key in values for tag in group.spec.tags)
    if name == "tag-value":
        return any(tag.value in values for tag in group.spec.tags)
    if name.startswith("tag:"):
        return any(tag.key == name[4:] and tag.value in values for tag in group.spec.tags)
    raise invalid(f"Filter type {name} is not correct. Allowed filter types are: tag-key, tag-value, tag:<key>")


def _with_deployed(call: Call, group: Group, spec: GroupSpec) -> GroupSpec:
    """The changed spec of a group, still launching from what a refresh deploys to it. AWS: "How an instance refresh works", "Limitations"."""
    refresh = active_refresh(call, group)
    if refresh is None or not deploys(refresh.spec):
        return spec
    present = group.spec.source
    if spec.source not in (present, own_source(call, group)):
        raise invalid(
            "An active instance refresh with a desired configuration exists. All configuration options derived from the desired configuration "
            "are not available for update while the instance refresh is active."
        )
    return msgspec.structs.replace(spec, **msgspec.structs.asdict(present))


async def replace_spec(call: Call, group: Group, spec: GroupSpec) -> None:
    """Writes the group with another spec."""
    check_numbers(spec)
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(group, spec=spec))
    await call.commit(transaction)
