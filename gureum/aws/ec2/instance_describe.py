"""What instances tell: DescribeInstances, DescribeInstanceStatus, GetConsoleOutput.

Shown instances are kept encoded for as long as nothing they show has changed, so describing many is mostly a join.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import partial
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.host_names import private_name, public_name
from gureum.aws.ec2.ids import find, find_all, need
from gureum.aws.ec2.instance_ids import INSTANCE
from gureum.aws.ec2.instance_kinds import STATE_CODES, Instance
from gureum.aws.ec2.instance_show import show_instance
from gureum.aws.ec2.interfaces import interfaces_of
from gureum.aws.ec2.listing import answer, iso_time
from gureum.aws.ec2.network_kinds import NetworkInterface, SecurityGroup, Vpc
from gureum.aws.ec2.regions import zone_id
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters, boolean
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.ports import PortError

LIMIT_CONSOLE_BYTES = 65536


@operation("DescribeInstances")
def describe_instances(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeInstances: by reservation, the oldest first."""
    if call.params.get("InstanceIds") and call.params.get("MaxResults") is not None:
        text = "The parameter instancesSet cannot be used with the parameter maxResults"
        raise AwsError("InvalidParameterCombination", text)
    found = _wanted(call)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: f"{one.meta.created:020.6f}/{one.meta.name}", default=1000)
    return answer("Reservations", _by_reservation(call, shown), token)


@operation("DescribeInstanceStatus")
def describe_instance_status(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeInstanceStatus: only running instances unless IncludeAllInstances is set."""
    include_all = bool(call.params.get("IncludeAllInstances"))
    wanted = call.params.get("InstanceIds")
    instances = find_all(call, Instance, INSTANCE, wanted) if wanted else call.all(Instance)
    instances = [one for one in instances if include_all or one.status.state == "running"]
    found = apply_filters(instances, call.params.get("Filters"), _STATUS_FILTERS)
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
    return apply_filters(instances, filters, _filters(call)) if filters else instances


def _by_reservation(call: Call, instances: Iterable[Instance]) -> list[dict[str, Any]]:
    groups: dict[str, list[Instance]] = {}
    for one in instances:
        groups.setdefault(one.spec.reservation, []).append(one)
    return [_show_group(call, name, group) for name, group in groups.items()]


def _show_group(call: Call, reservation: str, instances: list[Instance]) -> dict[str, Any]:
    instances.sort(key=lambda one: one.spec.launch_index)
    shown = {
        "ReservationId": reservation,
        "OwnerId": call.account,
        "Groups": [],
        "Instances": [
            call.fragment("Instance", one, partial(show_instance, call, one), _depends(call, one)) for one in instances
        ],
    }
    requester = instances[0].spec.requester
    return shown | ({"RequesterId": requester} if requester else {})


def _depends(call: Call, instance: Instance) -> tuple[int, ...]:
    """Revisions of all that an instance's form is made from."""
    if instance.status.state == "terminated":
        return ()
    vpc = call.get(Vpc, instance.spec.vpc)
    revisions = [vpc.meta.revision if vpc else 0]
    for interface in interfaces_of(call, instance.meta.name):
        revisions.append(interface.meta.revision)
        for name in interface.spec.groups:
            group = call.get(SecurityGroup, name)
            revisions.append(group.meta.revision if group else 0)
    return tuple(revisions)


def _show_status(instance: Instance) -> dict[str, Any]:
    running = instance.status.state == "running"
    checks = {"Status": "ok" if running else "not-applicable"}
    if running:
        checks["Details"] = [{"Name": "reachability", "Status": "passed"}]  # type: ignore[assignment]
    return {
        "AvailabilityZone": instance.spec.zone,
        "AvailabilityZoneId": zone_id(instance.spec.zone),
        "InstanceId": instance.meta.name,
        "InstanceState": {"Code": STATE_CODES[instance.status.state], "Name": instance.status.state},
        "InstanceStatus": checks,
        "SystemStatus": dict(checks),
        "AttachedEbsStatus": dict(checks),
        "Operator": {"Managed": False},
    }


_STATUS_FILTERS: FilterTable = {
    "availability-zone": lambda one: one.spec.zone,
    "instance-state-code": lambda one: str(STATE_CODES[one.status.state]),
    "instance-state-name": lambda one: one.status.state,
    "instance-status.status": lambda one: "ok" if one.status.state == "running" else "not-applicable",
    "instance-status.reachability": lambda one: "passed" if one.status.state == "running" else (),
    "system-status.status": lambda one: "ok" if one.status.state == "running" else "not-applicable",
    "system-status.reachability": lambda one: "passed" if one.status.state == "running" else (),
    "event.code": lambda one: (),
}


def _filters(call: Call) -> FilterTable:
    """AWS: the filters of DescribeInstances."""

    def interfaces(look: Any) -> Any:
        return lambda one: [value for eni in interfaces_of(call, one.meta.name) for value in _many(look(eni))]

    def primary(look: Any) -> Any:
        def of(one: Instance) -> Any:
            attached = interfaces_of(call, one.meta.name)
            return look(attached[0]) if attached else ()

        return of

    def group_names(eni: NetworkInterface) -> list[str]:
        groups = (call.get(SecurityGroup, name) for name in eni.spec.groups)
        return [group.spec.group_name for group in groups if group is not None]

    def devices(look: Any) -> Any:
        return lambda one: [look(device) for device in one.spec.block_devices]

    return {
        "affinity": lambda one: (),
        "architecture": lambda one: "x86_64",
        "availability-zone": lambda one: one.spec.zone,
        "availability-zone-id": lambda one: zone_id(one.spec.zone),
        "block-device-mapping.attach-time": devices(lambda device: iso_time(device.attached)),
        "block-device-mapping.delete-on-termination": devices(lambda device: boolean(device.delete_on_termination)),
        "block-device-mapping.device-name": devices(lambda device: device.device),
        "block-device-mapping.status": devices(lambda device: "attached"),
        "block-device-mapping.volume-id": devices(lambda device: device.volume),
        "client-token": lambda one: one.spec.client_token,
        "dns-name": primary(
            lambda eni: public_name(call.region, eni.spec.primary.public) if eni.spec.primary.public else ()
        ),
        "ebs-optimized": lambda one: boolean(one.spec.ebs_optimized),
        "enclave-options.enabled": lambda one: "false",
        "group-id": interfaces(lambda eni: eni.spec.groups),
        "group-name": interfaces(group_names),
        "hibernation-options.configured": lambda one: "false",
        "host-id": lambda one: (),
        "hypervisor": lambda one: "xen",
        "iam-instance-profile.arn": lambda one: one.spec.profile_arn or (),
        "iam-instance-profile.name": lambda one: (
            one.spec.profile_arn.rsplit("/", 1)[-1] if one.spec.profile_arn else ()
        ),
        "image-id": lambda one: one.spec.image,
        "instance-id": lambda one: one.meta.name,
        "instance-lifecycle": lambda one: (),
        "instance-state-code": lambda one: str(STATE_CODES[one.status.state]),
        "instance-state-name": lambda one: one.status.state,
        "instance-type": lambda one: one.spec.type,
        "instance.group-id": primary(lambda eni: eni.spec.groups),
        "instance.group-name": primary(group_names),
        "ip-address": primary(lambda eni: eni.spec.primary.public or ()),
        "kernel-id": lambda one: (),
        "key-name": lambda one: one.spec.key_name or (),
        "launch-index": lambda one: str(one.spec.launch_index),
        "launch-time": lambda one: iso_time(one.spec.launched),
        "maintenance-options.auto-recovery": lambda one: one.spec.auto_recovery,
        "metadata-options.http-endpoint": lambda one: one.spec.metadata.endpoint,
        "metadata-options.http-protocol-ipv4": lambda one: "enabled",
        "metadata-options.http-put-response-hop-limit": lambda one: str(one.spec.metadata.hop_limit),
        "metadata-options.http-tokens": lambda one: one.spec.metadata.tokens,
        "metadata-options.instance-metadata-tags": lambda one: one.spec.metadata.tags,
        "monitoring-state": lambda one: "enabled" if one.spec.monitoring else "disabled",
        "network-interface.addresses.primary": interfaces(lambda eni: "true"),
        "network-interface.addresses.private-ip-address": interfaces(
            lambda eni: [one.address for one in eni.spec.addresses]
        ),
        "network-interface.addresses.association.public-ip": interfaces(
            lambda eni: [one.public for one in eni.spec.addresses if one.public]
        ),
        "network-interface.association.public-ip": interfaces(lambda eni: eni.spec.primary.public or ()),
        "network-interface.association.allocation-id": interfaces(lambda eni: eni.spec.primary.allocation or ()),
        "network-interface.attachment.attachment-id": interfaces(lambda eni: eni.spec.attachment.id),
        "network-interface.attachment.delete-on-termination": interfaces(
            lambda eni: boolean(eni.spec.attachment.delete_on_termination)
        ),
        "network-interface.attachment.device-index": interfaces(lambda eni: str(eni.spec.attachment.device_index)),
        "network-interface.attachment.instance-id": lambda one: one.meta.name,
        "network-interface.attachment.status": interfaces(lambda eni: eni.spec.attachment.status),
        "network-interface.availability-zone": interfaces(lambda eni: eni.spec.zone),
        "network-interface.description": interfaces(lambda eni: eni.spec.description),
        "network-interface.group-id": interfaces(lambda eni: eni.spec.groups),
        "network-interface.group-name": interfaces(group_names),
        "network-interface.mac-address": interfaces(lambda eni: eni.spec.mac),
        "network-interface.network-interface-id": interfaces(lambda eni: eni.meta.name),
        "network-interface.owner-id": lambda one: call.account,
        "network-interface.private-dns-name": interfaces(
            lambda eni: private_name(call.region, eni.spec.primary.address)
        ),
        "network-interface.private-ip-address": interfaces(lambda eni: eni.spec.primary.address),
        "network-interface.requester-managed": interfaces(lambda eni: boolean(bool(eni.spec.requester))),
        "network-interface.source-dest-check": interfaces(lambda eni: boolean(eni.spec.source_dest_check)),
        "network-interface.status": interfaces(lambda eni: "in-use"),
        "network-interface.subnet-id": interfaces(lambda eni: eni.spec.subnet),
        "network-interface.vpc-id": interfaces(lambda eni: eni.spec.vpc),
        "owner-id": lambda one: call.account,
        "placement-group-name": lambda one: (),
        "platform": lambda one: (),
        "platform-details": lambda one: "Linux/UNIX",
        "private-dns-name": primary(lambda eni: private_name(call.region, eni.spec.primary.address)),
        "private-ip-address": primary(lambda eni: eni.spec.primary.address),
        "product-code": lambda one: (),
        "product-code.type": lambda one: (),
        "reason": lambda one: one.status.transition or (),
        "requester-id": lambda one: one.spec.requester or (),
        "reservation-id": lambda one: one.spec.reservation,
        "root-device-name": lambda one: one.spec.root_device,
        "root-device-type": lambda one: "ebs",
        "source-dest-check": primary(lambda eni: boolean(eni.spec.source_dest_check)),
        "spot-instance-request-id": lambda one: (),
        "state-reason-code": lambda one: one.status.reason_code or (),
        "state-reason-message": lambda one: one.status.reason or (),
        "subnet-id": lambda one: one.spec.subnet if one.status.state != "terminated" else (),
        "tenancy": lambda one: one.spec.tenancy,
        "usage-operation": lambda one: "RunInstances",
        "virtualization-type": lambda one: "hvm",
        "vpc-id": lambda one: one.spec.vpc if one.status.state != "terminated" else (),
    }


def _many(found: Any) -> Iterable[str]:
    return (found,) if isinstance(found, str) else found
