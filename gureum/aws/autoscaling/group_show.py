"""Groups and members in their API form. AWS: autoscaling AutoScalingGroup, Instance, AutoScalingInstanceDetails."""

from __future__ import annotations

from typing import Any

from gureum.aws.autoscaling.kinds import Group, GroupTag, Member, Template, WarmPool
from gureum.aws.autoscaling.lookup import members_of, page
from gureum.aws.autoscaling.mixed import is_weighted, show_policy
from gureum.aws.autoscaling.refreshing import own_source
from gureum.aws.call import Call
from gureum.aws.ec2.regions import zone_id
from gureum.aws.marks import Result, operation


@operation("DescribeAutoScalingInstances")
def describe_auto_scaling_instances(call: Call) -> Result:
    """AWS: autoscaling DescribeAutoScalingInstances. Ids that are not there are left out."""
    ids = call.params.get("InstanceIds")
    found = [one for one in call.all(Member) if not ids or one.meta.name in ids]
    shown, token = page(call, found, lambda one: one.meta.name, most=50)
    details = []
    for member in shown:
        group = call.get(Group, member.spec.group)
        weighted = group is not None and is_weighted(group.spec)
        details.append(
            show_member(member, weighted=weighted)
            | {"AutoScalingGroupName": group.spec.name if group else member.spec.group}
        )
        details[-1]["HealthStatus"] = member.spec.health.upper()
    return {"AutoScalingInstances": details} | token


def show_group(call: Call, group: Group, *, instances: bool = True) -> dict[str, Any]:
    spec, members = group.spec, members_of(call, group)
    shown: dict[str, Any] = {
        "AutoScalingGroupName": spec.name,
        "AutoScalingGroupARN": group.arn,
        "MinSize": spec.min,
        "MaxSize": spec.max,
        "DesiredCapacity": spec.desired,
        "DefaultCooldown": spec.cooldown_s,
        "AvailabilityZones": list(spec.zones),
        "LoadBalancerNames": [],
        "TargetGroupARNs": list(spec.target_groups),
        "HealthCheckType": ",".join(spec.health_type if spec.health_type == ("EC2",) else spec.health_type[1:]),
        "HealthCheckGracePeriod": spec.grace_s,
        "Instances": [show_member(one, weighted=is_weighted(spec)) for one in members if not one.warm]
        if instances
        else [],
        "CreatedTime": group.meta.created,
        "SuspendedProcesses": [
            {"ProcessName": name, "SuspensionReason": why} for name, why in sorted(spec.suspended.items())
        ],
        "VPCZoneIdentifier": ",".join(spec.subnets),
        "EnabledMetrics": [{"Metric": name, "Granularity": "1Minute"} for name in spec.metrics],
        "Tags": [show_tag(spec.name, tag) for tag in spec.tags],
        "TerminationPolicies": list(spec.termination_policies),
        "NewInstancesProtectedFromScaleIn": spec.protected,
        "ServiceLinkedRoleARN": spec.service_role or _service_role(call),
        "CapacityRebalance": spec.capacity_rebalance,
        "TrafficSources": [{"Identifier": arn, "Type": "elbv2"} for arn in spec.target_groups],
        "AvailabilityZoneDistribution": {"CapacityDistributionStrategy": "balanced-best-effort"},
        "CapacityReservationSpecification": {"CapacityReservationPreference": "default"},
        "DeletionProtection": spec.deletion_protection,
    }
    own = own_source(call, group)
    if own.template is not None and own.mixed is not None:
        shown["MixedInstancesPolicy"] = show_policy(own.mixed, show_template(own.template))
    elif own.template is not None:
        shown["LaunchTemplate"] = show_template(own.template)
    if own.configuration:
        shown["LaunchConfigurationName"] = own.configuration
    if spec.warmup_s is not None:
        shown["DefaultInstanceWarmup"] = spec.warmup_s
    if spec.max_lifetime_s:
        shown["MaxInstanceLifetime"] = spec.max_lifetime_s
    if spec.placement_group:
        shown["PlacementGroup"] = spec.placement_group
    if spec.context:
        shown["Context"] = spec.context
    if spec.deleting:
        shown["Status"] = "Delete in progress"
    if spec.warm_pool is not None:
        shown["WarmPoolConfiguration"] = show_pool(spec.warm_pool)
        shown["WarmPoolSize"] = sum(one.warm for one in members)
    if spec.maintenance is not None:
        policy = spec.maintenance
        shown["InstanceMaintenancePolicy"] = {"MinHealthyPercentage": policy.least, "MaxHealthyPercentage": policy.most}
    return shown


def show_pool(pool: WarmPool) -> dict[str, Any]:
    """AWS: autoscaling WarmPoolConfiguration."""
    shown: dict[str, Any] = {"MinSize": pool.least, "PoolState": pool.state}
    if pool.prepared >= 0:
        shown["MaxGroupPreparedCapacity"] = pool.prepared
    if pool.reuse:
        shown["InstanceReusePolicy"] = {"ReuseOnScaleIn": True}
    return shown | ({"Status": "PendingDelete"} if pool.deleting else {})


def show_template(template: Template) -> dict[str, Any]:
    """API form. AWS: autoscaling LaunchTemplateSpecification: no version where none was given, which means the default one."""
    shown = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}
    return shown | ({"Version": template.version} if template.version else {})


def show_tag(group_name: str, tag: GroupTag) -> dict[str, Any]:
    """AWS: autoscaling TagDescription."""
    return {
        "ResourceId": group_name,
        "ResourceType": "auto-scaling-group",
        "Key": tag.key,
        "Value": tag.value,
        "PropagateAtLaunch": tag.propagate,
    }


def show_member(member: Member, *, weighted: bool = False) -> dict[str, Any]:
    """API form. AWS: autoscaling Instance."""
    spec = member.spec
    shown: dict[str, Any] = {
        "InstanceId": member.meta.name,
        "InstanceType": spec.type,
        "AvailabilityZone": spec.zone,
        "AvailabilityZoneId": zone_id(spec.zone),
        "LifecycleState": spec.state,
        "HealthStatus": spec.health,
        "ProtectedFromScaleIn": spec.protected,
    }
    if weighted:
        shown["WeightedCapacity"] = str(spec.weight)
    if spec.template is not None:
        shown["LaunchTemplate"] = show_template(spec.template)
    if spec.configuration:
        shown["LaunchConfigurationName"] = spec.configuration
    return shown


def _service_role(call: Call) -> str:
    return f"arn:{call.partition}:iam::{call.account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
