"""Options of instances that have operations of their own: monitoring, maintenance, host names, placement, CPU credits."""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.changes import change, living_instance, require_stopped, write
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.placement_groups import plan_place
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.listing import answer, not_with_pages
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page


@operation("MonitorInstances", level="state")
async def monitor_instances(call: Call) -> Result:
    """AWS: ec2 MonitorInstances: detailed monitoring."""
    return await _monitor(call, wanted=True)


@operation("UnmonitorInstances", level="state")
async def unmonitor_instances(call: Call) -> Result:
    """AWS: ec2 UnmonitorInstances."""
    return await _monitor(call, wanted=False)


@operation("ModifyInstanceMaintenanceOptions", level="state")
async def modify_instance_maintenance_options(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceMaintenanceOptions."""
    instance = living_instance(call, call.params["InstanceId"])
    if call.params.get("RebootMigration") not in (None, "default"):
        raise ids.not_built("ModifyInstanceMaintenanceOptions with RebootMigration")
    recovery = instance.spec.auto_recovery
    if call.params.get("AutoRecovery"):
        recovery = ids.choice(call.params, "AutoRecovery", "default", "disabled")
    await write(call, change(instance, auto_recovery=recovery))
    return {"InstanceId": instance.meta.name, "AutoRecovery": recovery, "RebootMigration": "default"}


@operation("ModifyPrivateDnsNameOptions")
async def modify_private_dns_name_options(call: Call) -> Result:
    """AWS: ec2 ModifyPrivateDnsNameOptions: the kind of host name only while it is stopped."""
    params = call.params
    instance = living_instance(call, params["InstanceId"])
    spec = instance.spec
    wanted = spec.hostname_type
    if params.get("PrivateDnsHostnameType"):
        wanted = ids.choice(params, "PrivateDnsHostnameType", "ip-name", "resource-name")
    if wanted != spec.hostname_type:
        require_stopped(instance)
    changed = change(
        instance,
        hostname_type=wanted,
        resource_a_record=params.get("EnableResourceNameDnsARecord", spec.resource_a_record),
        resource_aaaa_record=params.get("EnableResourceNameDnsAAAARecord", spec.resource_aaaa_record),
    )
    await write(call, changed)
    return {"Return": True}


@operation("ModifyInstancePlacement", level="state")
async def modify_instance_placement(call: Call) -> Result:
    """AWS: ec2 ModifyInstancePlacement: tenancy and placement group of a stopped instance. One host has no dedicated hosts."""
    params = call.params
    instance = living_instance(call, params["InstanceId"])
    for name in ("HostId", "HostResourceGroupArn"):
        if params.get(name):
            raise ids.not_built(f"ModifyInstancePlacement with {name}")
    if params.get("Affinity") not in (None, "default") or params.get("Tenancy") == "host":
        raise ids.not_built("ModifyInstancePlacement with dedicated hosts")
    if not any(name in params for name in ("Affinity", "Tenancy", "GroupName", "GroupId", "PartitionNumber")):
        raise AwsError(
            "MissingParameter",
            "The request must contain at least one of affinity, host ID, tenancy or placement group.",
        )
    tenancy = instance.spec.tenancy
    if params.get("Tenancy"):
        tenancy = ids.choice(params, "Tenancy", "default", "dedicated")
    if tenancy != instance.spec.tenancy:
        require_stopped(instance)
    fields: dict[str, Any] = {"tenancy": tenancy}
    if any(name in params for name in ("GroupName", "GroupId", "PartitionNumber")):
        require_stopped(instance)
        wanted = params
        if "GroupName" not in params and "GroupId" not in params:
            wanted = {"GroupName": instance.spec.placement, "PartitionNumber": params["PartitionNumber"]}
        type_ = find_instance_type(instance.spec.type)
        assert type_ is not None
        place = plan_place(call, wanted, type_, instance.spec.zone, 1, but=instance.meta.name)
        fields |= {"placement": place.group, "placement_id": place.group_id, "partition": sum(place.partitions)}
    await write(call, change(instance, **fields))
    return {"Return": True}


@operation("DescribeInstanceCreditSpecifications")
def describe_instance_credit_specifications(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceCreditSpecifications: "standard" for those that do not burst; without ids only of those that are "unlimited", or
    were before they got a type that does not burst."""
    not_with_pages(call, "InstanceIds", "instanceIds")
    wanted = call.params.get("InstanceIds")
    instances = ids.find_all(call, Instance, INSTANCE, wanted) if wanted else call.all(Instance)
    instances = [one for one in instances if one.status.state != "terminated"]
    if not wanted:
        instances = [one for one in instances if one.spec.cpu_credits == "unlimited"]
    found = apply_filters(instances, call.params.get("Filters"), _CREDIT_FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, default=1000)
    rows = [{"InstanceId": one.meta.name, "CpuCredits": one.spec.cpu_credits or "standard"} for one in shown]
    return answer("InstanceCreditSpecifications", rows, token)


@operation("ModifyInstanceCreditSpecification")
async def modify_instance_credit_specification(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceCreditSpecification: each by itself, running or stopped; what is held to its baseline and becomes
    unlimited is let go at once. What a client token was good for stays as it is when it comes again."""
    done = call.done_before()
    transaction = call.transaction()
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    wishes = call.params["InstanceCreditSpecifications"]
    if len({wish.get("InstanceId") for wish in wishes}) < len(wishes):
        text = "The request contains duplicate instance IDs."
        raise AwsError("InvalidInstanceCreditSpecification.DuplicateInstanceId", text)
    for wish in wishes:
        name, wanted = wish.get("InstanceId") or "", wish.get("CpuCredits") or ""
        try:
            instance = living_instance(call, name)
            _check_credits(instance, wanted)
        except AwsError as error:
            bad.append({"InstanceId": name, "Error": {"Code": error.code, "Message": error.message}})
            continue
        transaction.update(change(transaction.current(instance), cpu_credits=wanted))
        good.append({"InstanceId": name})
    if good and done is None:
        call.remember(transaction, tuple(one["InstanceId"] for one in good))
        await call.commit(transaction)
    return {"SuccessfulInstanceCreditSpecifications": good, "UnsuccessfulInstanceCreditSpecifications": bad}


_CREDIT_FILTERS: FilterTable = {"instance-id": lambda one: one.meta.name}


def _burstable(instance: Instance) -> bool:
    type_ = find_instance_type(instance.spec.type)
    return type_ is not None and bool(type_.default_credits)


def _check_credits(instance: Instance, wanted: str) -> None:
    if not _burstable(instance):
        text = f"Credit specification is not supported for the instance type '{instance.spec.type}'."
        raise AwsError("InstanceCreditSpecification.NotSupported", text)
    if wanted not in ("standard", "unlimited"):
        raise AwsError("InvalidParameterValue", f"Value ({wanted}) for parameter CpuCredits is invalid.")


async def _monitor(call: Call, *, wanted: bool) -> Result:
    if call.params.get("MetricCategoryIds"):
        raise ids.not_built(f"{call.operation} with MetricCategoryIds")
    found = ids.find_all(call, Instance, INSTANCE, list(dict.fromkeys(call.params["InstanceIds"])))
    instances = [living_instance(call, one.meta.name) for one in found]
    transaction = call.transaction()
    for instance in instances:
        transaction.update(change(instance, monitoring=wanted))
    await call.commit(transaction)
    state = "pending" if wanted else "disabling"
    shown = [{"InstanceId": one.meta.name, "Monitoring": {"State": state}} for one in instances]
    return {"InstanceMonitorings": shown}
