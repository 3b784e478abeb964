"""Network interfaces in their API form, and what filters look at in them. AWS: ec2 NetworkInterface, DescribeNetworkInterfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.instances.host_names import private_name, public_name
from gureum.aws.ec2.listing import iso_time, show_tags
from gureum.aws.ec2.networks.kinds import (
    Attachment,
    NatGateway,
    NetworkInterface,
    PrivateAddress,
    SecurityGroup,
    Vpc,
)
from gureum.aws.ec2.networks.lowering import LOAD_BALANCING
from gureum.aws.ec2.regions import zone_id
from gureum.aws.filters import FilterTable, boolean


def status_of(interface: NetworkInterface) -> str:
    """AWS: "available", "in-use", or the attachment's own passing state."""
    attachment = interface.spec.attachment
    if attachment is None:
        return "available"
    return {"attached": "in-use", "attaching": "pending"}.get(attachment.status, attachment.status)


def show_interface(call: Call, interface: NetworkInterface) -> dict[str, Any]:
    """API form. AWS: ec2 NetworkInterface."""
    spec = interface.spec
    vpc = call.get(Vpc, spec.vpc)
    addresses = [show_address(call, vpc, interface, one, primary=i == 0) for i, one in enumerate(spec.addresses)]
    shown: dict[str, Any] = {
        "NetworkInterfaceId": interface.meta.name,
        "SubnetId": spec.subnet,
        "VpcId": spec.vpc,
        "AvailabilityZone": spec.zone,
        "AvailabilityZoneId": zone_id(spec.zone),
        "Description": spec.description,
        "OwnerId": call.account,
        "RequesterManaged": bool(spec.requester),
        "Status": status_of(interface),
        "MacAddress": spec.mac,
        "PrivateIpAddress": spec.primary.address,
        "PrivateDnsName": addresses[0]["PrivateDnsName"],
        "SourceDestCheck": spec.source_dest_check,
        "Groups": show_groups(call, spec.groups),
        "PrivateIpAddresses": addresses,
        "Ipv4Prefixes": [{"Ipv4Prefix": one} for one in spec.prefixes],
        "Ipv6Addresses": [],
        "TagSet": show_tags(interface.meta.tags),
        "InterfaceType": spec.type,
        "Operator": {"Managed": False},
    }
    if spec.requester:
        shown["RequesterId"] = spec.requester
    if "Association" in addresses[0]:
        shown["Association"] = addresses[0]["Association"]
    if spec.attachment is not None:
        shown["Attachment"] = show_attachment(spec.attachment, call.account)
    return shown


def show_groups(call: Call, group_ids: Sequence[str]) -> list[dict[str, str]]:
    """API form. AWS: ec2 GroupIdentifier."""
    groups = [call.get(SecurityGroup, group_id) for group_id in group_ids]
    return [{"GroupId": group.meta.name, "GroupName": group.spec.group_name} for group in groups if group is not None]


def show_attachment(attachment: Attachment, owner: str) -> dict[str, Any]:
    """API form; one to a service's machine names no instance. AWS: ec2 NetworkInterfaceAttachment."""
    return {
        "AttachmentId": attachment.id,
        **({"InstanceId": attachment.instance} if attachment.instance else {}),
        "InstanceOwnerId": attachment.owner or owner,
        "DeviceIndex": attachment.device_index,
        "NetworkCardIndex": attachment.network_card,
        "Status": attachment.status,
        "AttachTime": attachment.attached,
        "DeleteOnTermination": attachment.delete_on_termination,
    }


def show_address(
    call: Call, vpc: Vpc | None, eni: NetworkInterface, one: PrivateAddress, *, primary: bool
) -> dict[str, Any]:
    """API form of one private address with its public one. AWS: ec2 NetworkInterfacePrivateIpAddress."""
    shown: dict[str, Any] = {
        "PrivateIpAddress": one.address,
        "PrivateDnsName": private_name(call.region, one.address),
        "Primary": primary,
    }
    if one.public:
        shown["Association"] = show_association(call, vpc, eni, one)
    return shown


def shows_public_names(call: Call, interface: NetworkInterface) -> bool:
    """Whether public addresses have names here. AWS: both DNS attributes of the VPC."""
    return _has_public_names(call.get(Vpc, interface.spec.vpc))


def _has_public_names(vpc: Vpc | None) -> bool:
    return vpc is not None and vpc.spec.dns_support and vpc.spec.dns_hostnames


def address_owner(call: Call, eni: NetworkInterface, one: PrivateAddress) -> str:
    """Who has the public address. AWS: the account of an Elastic IP; of others load balancing or Amazon, as they were given."""
    if one.allocation:
        return one.owner or call.account
    return LOAD_BALANCING if eni.spec.requester == LOAD_BALANCING else "amazon"


def show_association(call: Call, vpc: Vpc | None, eni: NetworkInterface, one: PrivateAddress) -> dict[str, Any]:
    """API form of a public address on a private one. AWS: ec2 NetworkInterfaceAssociation."""
    shown = {"PublicIp": one.public, "IpOwnerId": address_owner(call, eni, one)}
    if _has_public_names(vpc):
        shown["PublicDnsName"] = public_name(call.region, one.public)
    if one.allocation:
        shown |= {"AllocationId": one.allocation, "AssociationId": one.association}
    return shown


def interface_filters(call: Call) -> FilterTable:
    """The filters of DescribeNetworkInterfaces; those of DescribeInstances look through them too."""

    def groups(eni: NetworkInterface) -> list[str]:
        return [one["GroupName"] for one in show_groups(call, eni.spec.groups)]

    def of_attachment(look: Any) -> Any:
        return lambda eni: look(eni.spec.attachment) if eni.spec.attachment else ()

    def of_addresses(look: Any) -> Any:
        return lambda eni: [found for one in eni.spec.addresses if (found := look(one))]

    def owners(eni: NetworkInterface) -> list[str]:
        return [address_owner(call, eni, one) for one in eni.spec.addresses if one.public]

    def public_names(eni: NetworkInterface) -> list[str]:
        if not shows_public_names(call, eni):
            return []
        return [public_name(call.region, one.public) for one in eni.spec.addresses if one.public]

    return {
        "addresses.association.owner-id": owners,
        "addresses.association.public-ip": of_addresses(lambda one: one.public),
        "addresses.primary": lambda eni: ("true",) if len(eni.spec.addresses) == 1 else ("true", "false"),
        "addresses.private-ip-address": of_addresses(lambda one: one.address),
        "association.allocation-id": of_addresses(lambda one: one.allocation),
        "association.association-id": of_addresses(lambda one: one.association),
        "association.ip-owner-id": owners,
        "association.public-dns-name": public_names,
        "association.public-ip": of_addresses(lambda one: one.public),
        "attachment.attach-time": of_attachment(lambda one: iso_time(one.attached)),
        "attachment.attachment-id": of_attachment(lambda one: one.id),
        "attachment.delete-on-termination": of_attachment(lambda one: boolean(one.delete_on_termination)),
        "attachment.device-index": of_attachment(lambda one: str(one.device_index)),
        "attachment.instance-id": of_attachment(lambda one: one.instance or ()),
        "attachment.instance-owner-id": of_attachment(lambda one: one.owner or call.account),
        "attachment.nat-gateway-id": lambda eni: [
            one.meta.name for one in call.by(NatGateway, "interface", eni.meta.name)
        ],
        "attachment.status": of_attachment(lambda one: one.status),
        "availability-zone": lambda eni: eni.spec.zone,
        "availability-zone-id": lambda eni: zone_id(eni.spec.zone),
        "description": lambda eni: eni.spec.description,
        "group-id": lambda eni: eni.spec.groups,
        "group-name": groups,
        "interface-type": lambda eni: eni.spec.type,
        "ipv6-addresses.ipv6-address": lambda _: (),
        "mac-address": lambda eni: eni.spec.mac,
        "network-interface-id": lambda eni: eni.meta.name,
        "operator.managed": lambda _: "false",
        "operator.principal": lambda _: (),
        "owner-id": lambda _: call.account,
        "private-dns-name": lambda eni: private_name(call.region, eni.spec.primary.address),
        "private-ip-address": lambda eni: [one.address for one in eni.spec.addresses],
        "requester-id": lambda eni: eni.spec.requester or None,
        "requester-managed": lambda eni: boolean(bool(eni.spec.requester)),
        "source-dest-check": lambda eni: boolean(eni.spec.source_dest_check),
        "status": status_of,
        "subnet-id": lambda eni: eni.spec.subnet,
        "vpc-id": lambda eni: eni.spec.vpc,
    }
