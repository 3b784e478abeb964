"""What instances tell: DescribeInstances, DescribeInstanceStatus, GetConsoleOutput.

Shown instances are kept encoded for as long as nothing they show has changed, so describing many is mostly a join.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import partial
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.ids import find, find_all, need
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instances.filters import STATUS_FILTERS, instance_filters
from gureum.aws.ec2.instances.kinds import STATE_CODES, Instance, Volume
from gureum.aws.ec2.instances.show import show_instance, show_reservation
from gureum.aws.ec2.instances.status_checks import show_checks
from gureum.aws.ec2.interfaces.interfaces import interfaces_of
from gureum.aws.ec2.listing import answer, not_with_pages
from gureum.aws.ec2.networks.kinds import SecurityGroup, Vpc
from gureum.aws.ec2.regions import zone_id
from gureum.aws.filters import apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.ports import PortError

LIMIT_CONSOLE_BYTES = 65536


@operation("DescribeInstances")
def describe_instances(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeInstances: by reservation, the oldest first."""
    not_with_pages(call, "InstanceIds", "instancesSet")
    found = _wanted(call)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: f"{one.meta.created:020.6f}/{one.meta.name}", default=1000)
    return answer("Reservations", _by_reservation(call, shown), token)


@operation("DescribeInstanceStatus")
def describe_instance_status(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeInstanceStatus: only running instances unless IncludeAllInstances is set."""
    not_with_pages(call, "InstanceIds", "instancesSet")
    include_all = bool(call.params.get("IncludeAllInstances"))
    wanted = call.params.get("InstanceIds")
    instances = find_all(call, Instance, INSTANCE, wanted) if wanted else call.all(Instance)
    instances = [one for one in instances if include_all or one.status.state == "running"]
    found = apply_filters(instances, call.params.get("Filters"), STATUS_FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, default=1000)
    return answer("InstanceStatuses", [_show_status(one) for one in shown], token)


@operation("GetConsoleOutput")
async def get_console_output(call: Call) -> dict[str, Any]:
    """AWS: ec2 GetConsoleOutput: what the machine printed, the newest 64 KiB, base64."""
    instance = find(call, Instance, INSTANCE, need(call, "InstanceId"))
    try:
        output = await call.agent.console(instance.meta.name, LIMIT_CONSOLE_BYTES)
    except PortError:
        output = b""
    return {
        "InstanceId": instance.meta.name,
        "Timestamp": call.now,
        "Output": base64.b64encode(output).decode(),
    }


def _wanted(call: Call) -> list[Instance]:
    ids = call.params.get("InstanceIds")
    instances = find_all(call, Instance, INSTANCE, ids) if ids else call.all(Instance)
    filters = call.params.get("Filters")
    return apply_filters(instances, filters, instance_filters(call)) if filters else instances


def _by_reservation(call: Call, instances: Iterable[Instance]) -> list[dict[str, Any]]:
    groups: dict[str, list[Instance]] = {}
    for one in instances:
        groups.setdefault(one.spec.reservation, []).append(one)
    return [_show_group(call, group) for group in groups.values()]


def _show_group(call: Call, instances: list[Instance]) -> dict[str, Any]:
    instances.sort(key=lambda one: one.spec.launch_index)
    shown = [
        call.fragment("Instance", one, partial(show_instance, call, one), _depends(call, one)) for one in instances
    ]
    return show_reservation(call, instances, shown)


def _depends(call: Call, instance: Instance) -> tuple[int, ...]:
    """Revisions of all that an instance's form is made from."""
    if instance.status.state == "terminated":
        return ()
    vpc = call.get(Vpc, instance.spec.vpc)
    revisions = [vpc.meta.revision if vpc else 0]
    for interface in interfaces_of(call, instance.meta.name):
        revisions.append(interface.meta.revision)
        for name in interface.spec.groups:
            group = call.within(interface.meta.scope).get(SecurityGroup, name)
            revisions.append(group.meta.revision if group else 0)
    for device in instance.spec.block_devices:
        volume = call.get(Volume, device.volume) if device.device != instance.spec.root_device else None
        revisions.append(volume.meta.revision if volume else 0)
    return tuple(revisions)


def _show_status(instance: Instance) -> dict[str, Any]:
    return {
        "AvailabilityZone": instance.spec.zone,
        "AvailabilityZoneId": zone_id(instance.spec.zone),
        "InstanceId": instance.meta.name,
        "InstanceState": {"Code": STATE_CODES[instance.status.state], "Name": instance.status.state},
        "Operator": {"Managed": False},
    } | show_checks(instance)
