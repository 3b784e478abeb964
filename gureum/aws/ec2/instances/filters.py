"""What the filters of DescribeInstances and DescribeInstanceStatus look at: every name that AWS's reference lists.

Those of network interfaces ("network-interface.…") are DescribeNetworkInterfaces' own under another name. A filter on something that no
instance has here (IPv6, dedicated hosts, partitions) matches none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.instances.capacity_kinds import USING_STATES
from gureum.aws.ec2.instances.host_names import private_name, public_name
from gureum.aws.ec2.instances.kinds import STATE_CODES, BlockDevice, Instance
from gureum.aws.ec2.instances.show import BOOT_MODE, host_name, profile_id
from gureum.aws.ec2.instances.status_checks import DISKS, INSTANCE, SYSTEM, status_of
from gureum.aws.ec2.interfaces.interfaces import interfaces_of
from gureum.aws.ec2.interfaces.show import interface_filters, shows_public_names
from gureum.aws.ec2.listing import iso_time
from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.ec2.regions import zone_id
from gureum.aws.filters import FilterTable, FilterValues, boolean

OF_NO_INSTANCE = (
    "affinity",
    "boot-mode",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
    "host-id",
    "ipv6-address",
    "kernel-id",
    "network-interface.addresses.association.carrier-ip",
    "network-interface.addresses.association.customer-owned-ip",
    "network-interface.association.carrier-ip",
    "network-interface.association.customer-owned-ip",
    "network-interface.ipv4-prefixes.ipv4-prefix",
    "network-interface.ipv6-address",
    "network-interface.ipv6-addresses.ipv6-address",
    "network-interface.ipv6-addresses.is-primary-ipv6",
    "network-interface.ipv6-prefixes.ipv6-prefix",
    "network-interface.outpost-arn",
    "operator.principal",
    "outpost-arn",
    "platform",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "tpm-support",
)
STATUS_OF_NO_INSTANCE = (
    "application-status.status",
    "event.code",
    "event.description",
    "event.instance-event-id",
    "event.not-after",
    "event.not-before",
    "event.not-before-deadline",
    "operator.principal",
)


def instance_filters(call: Call) -> FilterTable:
    """The table of one call."""
    none: FilterTable = dict.fromkeys(OF_NO_INSTANCE, _nothing)
    return {**_own_filters(call), **_device_filters(), **_primary_filters(call), **_interface_filters(call), **none}


def _own_filters(call: Call) -> FilterTable:
    return {
        "architecture": lambda _: "x86_64",
        "availability-zone": lambda one: one.spec.zone,
        "availability-zone-id": lambda one: zone_id(one.spec.zone),
        "capacity-reservation-specification.capacity-reservation-preference": (
            lambda one: one.spec.capacity_preference
        ),
        "capacity-reservation-id": lambda one: (
            one.spec.capacity_reservation if one.status.state in USING_STATES else ()
        ),
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id": (
            lambda one: one.spec.capacity_target or ()
        ),
        "client-token": lambda one: one.spec.client_token,
        "current-instance-boot-mode": lambda _: BOOT_MODE,
        "ebs-optimized": lambda one: boolean(one.spec.ebs_optimized),
        "ena-support": lambda _: "true",
        "enclave-options.enabled": lambda _: "false",
        "hibernation-options.configured": lambda _: "false",
        "hypervisor": lambda _: "xen",
        "iam-instance-profile.arn": lambda one: one.spec.profile_arn or (),
        "iam-instance-profile.id": lambda one: profile_id(one) if one.spec.profile_arn else (),
        "iam-instance-profile.name": lambda one: one.spec.profile_arn.rsplit("/", 1)[-1] or (),
        "image-id": lambda one: one.spec.image,
        "instance-id": lambda one: one.meta.name,
        "instance-lifecycle": lambda one: "spot" if one.spec.spot_request else (),
        "placement-group-name": lambda one: one.spec.placement or (),
        "placement-partition-number": lambda one: str(one.spec.partition) if one.spec.partition else (),
        "spot-instance-request-id": lambda one: one.spec.spot_request or (),
        "instance-state-code": lambda one: str(STATE_CODES[one.status.state]),
        "instance-state-name": lambda one: one.status.state,
        "instance-type": lambda one: one.spec.type,
        "key-name": lambda one: one.spec.key_name or (),
        "launch-index": lambda one: str(one.spec.launch_index),
        "launch-time": lambda one: iso_time(one.spec.launched),
        "maintenance-options.auto-recovery": lambda one: one.spec.auto_recovery,
        "metadata-options.http-endpoint": lambda one: one.spec.metadata.endpoint,
        "metadata-options.http-protocol-ipv4": lambda _: "enabled",
        "metadata-options.http-protocol-ipv6": lambda _: "disabled",
        "metadata-options.http-put-response-hop-limit": lambda one: str(one.spec.metadata.hop_limit),
        "metadata-options.http-tokens": lambda one: one.spec.metadata.tokens,
        "metadata-options.instance-metadata-tags": lambda one: one.spec.metadata.tags,
        "metadata-options.state": lambda one: "pending" if one.status.state == "pending" else "applied",
        "monitoring-state": lambda one: "enabled" if one.spec.monitoring else "disabled",
        "network-performance-options.bandwidth-weighting": lambda _: "default",
        "operator.managed": lambda _: "false",
        "owner-id": lambda _: call.account,
        "platform-details": lambda _: "Linux/UNIX",
        "private-dns-name-options.enable-resource-name-dns-a-record": lambda one: boolean(one.spec.resource_a_record),
        "private-dns-name-options.enable-resource-name-dns-aaaa-record": (
            lambda one: boolean(one.spec.resource_aaaa_record)
        ),
        "private-dns-name-options.hostname-type": lambda one: one.spec.hostname_type,
        "reason": lambda one: one.status.transition or (),
        "requester-id": lambda one: one.spec.requester or (),
        "reservation-id": lambda one: one.spec.reservation,
        "root-device-name": lambda one: one.spec.root_device,
        "root-device-type": lambda _: "ebs",
        "state-reason-code": lambda one: one.status.reason_code or (),
        "state-reason-message": lambda one: one.status.reason or (),
        "subnet-id": lambda one: one.spec.subnet if one.status.state != "terminated" else (),
        "tenancy": lambda one: one.spec.tenancy,
        "usage-operation": lambda _: "RunInstances",
        "usage-operation-update-time": lambda one: iso_time(one.meta.created),
        "virtualization-type": lambda _: "hvm",
        "vpc-id": lambda one: one.spec.vpc if one.status.state != "terminated" else (),
    }


def _device_filters() -> FilterTable:
    def devices(look: Callable[[BlockDevice], str]) -> FilterValues:
        return lambda one: [look(device) for device in one.spec.block_devices]

    return {
        "block-device-mapping.attach-time": devices(lambda device: iso_time(device.attached)),
        "block-device-mapping.delete-on-termination": devices(lambda device: boolean(device.delete_on_termination)),
        "block-device-mapping.device-name": devices(lambda device: device.device),
        "block-device-mapping.status": devices(lambda _: "attached"),
        "block-device-mapping.volume-id": devices(lambda device: device.volume),
    }


def _primary_filters(call: Call) -> FilterTable:
    """Those that look at the instance's first interface only."""
    of_interface = interface_filters(call)

    def own_name(one: Instance) -> Any:
        attached = interfaces_of(call, one.meta.name)
        return host_name(call.region, one, attached[0].spec.primary.address) if attached else ()

    def primary(look: FilterValues) -> FilterValues:
        def of(one: Instance) -> Any:
            attached = interfaces_of(call, one.meta.name)
            return look(attached[0]) if attached else ()

        return of

    def dns_name(eni: NetworkInterface) -> Any:
        public = eni.spec.primary.public
        return public_name(call.region, public) if public and shows_public_names(call, eni) else ()

    return {
        "dns-name": primary(dns_name),
        "instance.group-id": primary(of_interface["group-id"]),
        "instance.group-name": primary(of_interface["group-name"]),
        "ip-address": primary(lambda eni: eni.spec.primary.public or ()),
        "private-dns-name": own_name,
        "private-ip-address": primary(lambda eni: eni.spec.primary.address),
        "source-dest-check": primary(lambda eni: boolean(eni.spec.source_dest_check)),
    }


def _interface_filters(call: Call) -> FilterTable:
    def all_of(look: FilterValues) -> FilterValues:
        return lambda one: [value for eni in interfaces_of(call, one.meta.name) for value in _many(look(eni))]

    known = interface_filters(call)
    further: FilterTable = {
        "addresses.association.allocation-id": known["association.allocation-id"],
        "addresses.association.association-id": known["association.association-id"],
        "addresses.association.ip-owner-id": known["association.ip-owner-id"],
        "addresses.association.public-dns-name": known["association.public-dns-name"],
        "addresses.private-dns-name": (
            lambda eni: [private_name(call.region, one.address) for one in eni.spec.addresses]
        ),
        "attachment.network-card-index": lambda eni: str(eni.spec.attachment.network_card),
        "deny-all-igw-traffic": lambda _: "false",
        "ipv6-native": lambda _: "false",
        "private-ip-address": lambda eni: eni.spec.primary.address,
        "public-dns-name": known["association.public-dns-name"],
        "tag-key": lambda eni: eni.meta.tags.keys(),
        "tag-value": lambda eni: eni.meta.tags.values(),
    }
    found = {f"network-interface.{name}": all_of(look) for name, look in {**known, **further}.items()}
    return found | {name: all_of(known[name]) for name in ("group-id", "group-name")}


def _check(place: int, part: int) -> Any:
    """A status check's status (0) or reachability (1)."""
    return lambda one: status_of(one, place)[part] or ()


def _nothing(_: Instance) -> Any:
    return ()


STATUS_FILTERS: FilterTable = {
    "attached-ebs-status.status": _check(DISKS, 0),
    "availability-zone": lambda one: one.spec.zone,
    "availability-zone-id": lambda one: zone_id(one.spec.zone),
    "instance-state-code": lambda one: str(STATE_CODES[one.status.state]),
    "instance-state-name": lambda one: one.status.state,
    "instance-status.reachability": _check(INSTANCE, 1),
    "instance-status.status": _check(INSTANCE, 0),
    "operator.managed": lambda _: "false",
    "system-status.reachability": _check(SYSTEM, 1),
    "system-status.status": _check(SYSTEM, 0),
    **dict.fromkeys(STATUS_OF_NO_INSTANCE, _nothing),
}


def _many(found: str | Iterable[str] | None) -> Iterable[str]:
    return (found,) if isinstance(found, str) else found or ()
