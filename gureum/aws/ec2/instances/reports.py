"""What instances tell beside their state, and what machines here have none of, said honestly: passwords of Windows, screens, event windows.

A machine has a serial console and no screen (GetConsoleOutput shows what it printed); none runs Windows.
"""

from __future__ import annotations

import hashlib
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.describe import show_image
from gureum.aws.ec2.images.images import find_or_fall_back
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.capacity_kinds import capacity_wish
from gureum.aws.ec2.instances.changes import change, living_instance, require_stopped, write
from gureum.aws.ec2.instances.filters import instance_filters
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.launch_options import cpu_options
from gureum.aws.ec2.instances.lifecycle import show_state
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.regions import zone_id
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.engine.resource import key_of

REASONS = (
    "instance-stuck-in-state",
    "unresponsive",
    "not-accepting-credentials",
    "password-not-available",
    "performance-network",
    "performance-instance-store",
    "performance-ebs-volume",
    "performance-other",
    "other",
)
LIMIT_DESCRIPTION = 4096


@operation("ReportInstanceStatus", level="state")
async def report_instance_status(call: Call) -> Result:
    """AWS: ec2 ReportInstanceStatus: of running instances; it stands among the events that `gureum explain` shows, and changes nothing else."""
    params = call.params
    ids.choice(params, "Status", "ok", "impaired")
    for reason in params["ReasonCodes"]:
        if reason not in REASONS:
            raise ids.invalid(f"Value ({reason}) for parameter reasonCode is invalid.")
    if len(params.get("Description") or "") > LIMIT_DESCRIPTION:
        raise ids.invalid("The description is too long.")
    instances = ids.find_all(call, Instance, INSTANCE, list(dict.fromkeys(params["Instances"])))
    for instance in instances:
        if instance.status.state != "running":
            raise AwsError(
                "IncorrectInstanceState", f"The instance '{instance.meta.name}' is not in the 'running' state."
            )
    call.end_dry_run()
    for instance in instances:
        text = f"{params['Status']}: {', '.join(params['ReasonCodes'])}{_span(params)}"
        call.events.record(key_of(instance), call.now, "StatusReported", text)
    return {}


def _span(params: dict[str, Any]) -> str:
    """When it is said to have been so: " from 2026-01-02 03:04:05+00:00"."""
    ends = (("from", params.get("StartTime")), ("to", params.get("EndTime")))
    return "".join(f" {word} {time}" for word, time in ends if time)


@operation("GetPasswordData")
def get_password_data(call: Call) -> Result:
    """AWS: ec2 GetPasswordData: empty for what is not Windows."""
    instance = ids.find(call, Instance, INSTANCE, call.params["InstanceId"])
    call.end_dry_run()
    return {"InstanceId": instance.meta.name, "PasswordData": "", "Timestamp": instance.spec.launched}


@operation("GetConsoleScreenshot", level="state")
def get_console_screenshot(call: Call) -> Result:
    """AWS: ec2 GetConsoleScreenshot: refused as for instances without a screen."""
    ids.find(call, Instance, INSTANCE, call.params["InstanceId"])
    raise AwsError("UnsupportedOperation", "This instance does not support retrieving console screenshots.")


@operation("DescribeInstanceImageMetadata")
def describe_instance_image_metadata(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceImageMetadata: what instances were launched from, as far as the caller still sees it."""
    wanted = call.params.get("InstanceIds")
    if wanted and call.params.get("MaxResults") is not None:
        text = "The parameter instanceIds cannot be used with the parameter maxResults"
        raise AwsError("InvalidParameterCombination", text)
    found = ids.find_all(call, Instance, INSTANCE, wanted) if wanted else call.all(Instance)
    table: FilterTable = {
        **instance_filters(call),
        "image-allowed": lambda _: "true",
        "owner-alias": lambda one: _show_image(call, one)["ImageMetadata"].get("ImageOwnerAlias") or (),
        "zone-id": lambda one: zone_id(one.spec.zone),
    }
    found = apply_filters(found, call.params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, default=1000)
    return answer("InstanceImageMetadata", [_show_image(call, one) for one in shown], token)


@operation("DescribeInstanceTopology")
def describe_instance_topology(call: Call) -> Result:
    """AWS: ec2 DescribeInstanceTopology: one host is one network node at each of the three levels; running instances in placement groups and
    without."""
    params = call.params
    wanted = params.get("InstanceIds")
    found = ids.find_all(call, Instance, INSTANCE, wanted) if wanted else call.all(Instance)
    if params.get("GroupNames"):
        found = [one for one in found if one.spec.placement in params["GroupNames"]]
    table: FilterTable = {
        "availability-zone": lambda one: one.spec.zone,
        "instance-type": lambda one: one.spec.type,
        "zone-id": lambda one: zone_id(one.spec.zone),
    }
    found = apply_filters((one for one in found if one.status.state == "running"), params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(params, found, lambda one: one.meta.name, least=1, default=20)
    return answer("Instances", [_show_topology(call, one) for one in shown], token)


@operation("ModifyInstanceCpuOptions")
async def modify_instance_cpu_options(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceCpuOptions: of a stopped instance; the next start limits it so."""
    instance = living_instance(call, call.params["InstanceId"])
    for name in ("NestedVirtualization", "AmdSevSnp"):
        if call.params.get(name):
            raise ids.not_built(f"CpuOptions with {name}")
    require_stopped(instance)
    type_ = find_instance_type(instance.spec.type)
    assert type_ is not None
    cores, threads = cpu_options(call.params, type_)
    if not cores:
        raise ids.missing("CoreCount")
    await write(call, change(instance, cores=cores, threads_per_core=threads))
    return {"InstanceId": instance.meta.name, "CoreCount": cores, "ThreadsPerCore": threads}


@operation("ModifyInstanceCapacityReservationAttributes")
async def modify_instance_capacity_reservation_attributes(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceCapacityReservationAttributes: of a stopped instance; its next start obeys it."""
    instance = living_instance(call, call.params["InstanceId"])
    wish = capacity_wish(call, call.params["CapacityReservationSpecification"])
    require_stopped(instance)
    await write(call, change(instance, capacity_preference=wish.preference, capacity_target=wish.target))
    return {"Return": True}


def _show_image(call: Call, instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceImageMetadata."""
    shown: dict[str, Any] = {
        "InstanceId": instance.meta.name,
        "InstanceType": instance.spec.type,
        "LaunchTime": instance.spec.launched,
        "AvailabilityZone": instance.spec.zone,
        "ZoneId": zone_id(instance.spec.zone),
        "State": show_state(instance.status.state),
        "OwnerId": call.account,
        "Tags": show_tags(instance.meta.tags),
        "Operator": {"Managed": False},
    }
    image = find_or_fall_back(call, instance.spec.image)
    if image is None:
        return shown | {"ImageMetadata": {"ImageId": instance.spec.image}}
    told = show_image(image)
    names = ("ImageId", "Name", "OwnerId", "State", "ImageOwnerAlias", "CreationDate", "DeprecationTime")
    return shown | {
        "ImageMetadata": {name: told[name] for name in names if name in told} | {"IsPublic": image.spec.public}
    }


def _show_topology(call: Call, instance: Instance) -> dict[str, Any]:
    """API form. AWS: ec2 InstanceTopology."""
    nodes = [f"nn-{hashlib.sha256(f'{call.region}/{level}'.encode()).hexdigest()[:17]}" for level in range(3)]
    shown: dict[str, Any] = {
        "InstanceId": instance.meta.name,
        "InstanceType": instance.spec.type,
        "NetworkNodes": nodes,
        "AvailabilityZone": instance.spec.zone,
        "ZoneId": zone_id(instance.spec.zone),
    }
    return shown | ({"GroupName": instance.spec.placement} if instance.spec.placement else {})
