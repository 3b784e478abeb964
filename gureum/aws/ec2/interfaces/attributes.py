"""Attributes and secondary addresses of network interfaces: the operations that change one that exists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.types import check_addresses, find_instance_type
from gureum.aws.ec2.interfaces.addresses import claim_address, pick_address, release_address, take_prefixes
from gureum.aws.ec2.interfaces.interfaces import (
    change,
    check_groups,
    check_not_managed,
    wanted_prefixes,
)
from gureum.aws.ec2.interfaces.show import show_attachment, show_groups
from gureum.aws.ec2.networks.addresses import change as change_address
from gureum.aws.ec2.networks.addresses import disassociate, elastic_of
from gureum.aws.ec2.networks.cidrs import network_of, parse_address
from gureum.aws.ec2.networks.kinds import NetworkInterface, PrivateAddress, SecurityGroup, Subnet
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.engine.client import Transaction
from gureum.engine.resource import key_of


@operation("ModifyNetworkInterfaceAttribute")
async def modify_network_interface_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyNetworkInterfaceAttribute: one attribute a call."""
    interface = _find(call)
    given = [name for name in call.params if name not in ("NetworkInterfaceId", "DryRun")]
    if not given:
        raise AwsError("MissingParameter", "No attributes specified.")
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", "Fields for multiple attribute types specified")
    if given[0] not in _CHANGES:
        raise ids.not_built(f"ModifyNetworkInterfaceAttribute with {given[0]}")
    check_not_managed(interface)
    transaction = call.transaction()
    transaction.update(_CHANGES[given[0]](call, transaction, interface))
    await call.commit(transaction)
    return {}


@operation("ResetNetworkInterfaceAttribute")
async def reset_network_interface_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 ResetNetworkInterfaceAttribute: the source/destination check is on again."""
    interface = _find(call)
    check_not_managed(interface)
    transaction = call.transaction()
    transaction.update(change(interface, source_dest_check=True))
    await call.commit(transaction)
    return {}


@operation("DescribeNetworkInterfaceAttribute")
def describe_network_interface_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNetworkInterfaceAttribute."""
    interface = _find(call)
    attribute = ids.need(call, "Attribute")
    call.end_dry_run()
    result: dict[str, Any] = {"NetworkInterfaceId": interface.meta.name}
    spec = interface.spec
    if attribute == "description":
        return result | {"Description": {"Value": spec.description}}
    if attribute == "groupSet":
        return result | {"Groups": show_groups(call, spec.groups)}
    if attribute == "sourceDestCheck":
        return result | {"SourceDestCheck": {"Value": spec.source_dest_check}}
    if attribute == "attachment":
        return result | ({"Attachment": show_attachment(spec.attachment, call.account)} if spec.attachment else {})
    if attribute == "associatePublicIpAddress":
        return result | {"AssociatePublicIpAddress": bool(spec.primary.public and not spec.primary.allocation)}
    raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid. Unknown attribute.")


@operation("AssignPrivateIpAddresses")
async def assign_private_ip_addresses(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssignPrivateIpAddresses: the named ones or so many free ones, as secondary addresses; with AllowReassignment
    also those that are secondary on another interface of the subnet."""
    params = call.params
    interface = _find(call)
    check_not_managed(interface)
    named, count = params.get("PrivateIpAddresses") or [], params.get("SecondaryPrivateIpAddressCount") or 0
    if count < 0:
        raise ids.invalid(f"Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid.")
    prefixes = wanted_prefixes(params)
    if (bool(named) and bool(count)) or not (named or count or any(prefixes)):
        code = "InvalidParameterCombination" if named else "MissingParameter"
        raise AwsError(code, "Either privateIpAddresses or secondaryPrivateIpAddressCount must be specified")
    subnet = ids.find(call, Subnet, ids.SUBNET, interface.spec.subnet)
    own = {one.address for one in interface.spec.addresses}
    wanted: list[str | None] = [address for address in dict.fromkeys(named) if address not in own] or [None] * count
    number = slots(interface) + len(wanted) + len(prefixes[0]) + prefixes[1]
    if number > limits.ADDRESSES_PER_INTERFACE:
        text = "The maximum number of private IP addresses per interface has been reached."
        raise AwsError("PrivateIpAddressLimitExceeded", text)
    _check_type(call, interface, number)
    transaction = call.transaction()
    given = [_assign(call, transaction, interface, subnet, one) for one in wanted]
    transaction.require(subnet)
    ranges = take_prefixes(call, transaction, subnet, key_of(interface), *prefixes)
    spec = interface.spec
    transaction.update(change(interface, addresses=(*spec.addresses, *given), prefixes=(*spec.prefixes, *ranges)))
    await call.commit(transaction)
    shown: dict[str, Any] = {"NetworkInterfaceId": interface.meta.name}
    if given:
        shown["AssignedPrivateIpAddresses"] = [{"PrivateIpAddress": one.address} for one in given]
    if ranges:
        shown["AssignedIpv4Prefixes"] = [{"Ipv4Prefix": one} for one in ranges]
    return shown


def slots(interface: NetworkInterface) -> int:
    """What counts against the type's limit: addresses, and as much each prefix."""
    return len(interface.spec.addresses) + len(interface.spec.prefixes)


def _check_type(call: Call, interface: NetworkInterface, number: int) -> None:
    """Whether the type of the instance that it is attached to allows so many addresses."""
    attachment = interface.spec.attachment
    instance = call.get(Instance, attachment.instance) if attachment is not None else None
    type_ = find_instance_type(instance.spec.type) if instance is not None else None
    if type_ is not None:
        check_addresses(type_, number)


@operation("UnassignPrivateIpAddresses")
async def unassign_private_ip_addresses(call: Call) -> dict[str, Any]:
    """AWS: ec2 UnassignPrivateIpAddresses: secondary ones; an Elastic IP on one is associated with nothing afterwards."""
    interface = _find(call)
    check_not_managed(interface)
    wanted = set(call.params.get("PrivateIpAddresses") or ())
    prefixes = dict.fromkeys(call.params.get("Ipv4Prefixes") or ())
    if not wanted and not prefixes:
        raise ids.missing("privateIpAddress")
    if interface.spec.primary.address in wanted:
        raise ids.invalid(f"The primary private IP address {interface.spec.primary.address} cannot be unassigned.")
    unknown = wanted - {one.address for one in interface.spec.addresses}
    unknown |= prefixes.keys() - set(interface.spec.prefixes)
    if unknown:
        raise ids.invalid(f"Some of [{', '.join(sorted(unknown))}] are not assigned to interface {interface.meta.name}")
    transaction = call.transaction()
    for one in interface.spec.addresses:
        address = elastic_of(call, interface, one) if one.address in wanted else None
        if address is not None:
            disassociate(call, transaction, address)
    left = transaction.current(interface)
    kept = tuple(one for one in left.spec.addresses if one.address not in wanted)
    ranges = tuple(one for one in left.spec.prefixes if one not in prefixes)
    transaction.update(change(left, addresses=kept, prefixes=ranges))
    for gone in (*wanted, *prefixes):
        release_address(transaction, interface.spec.subnet, gone)
    await call.commit(transaction)
    return {}


def _find(call: Call) -> NetworkInterface:
    return ids.find(call, NetworkInterface, ids.INTERFACE, ids.need(call, "NetworkInterfaceId"))


def _describe(call: Call, _: Transaction, interface: NetworkInterface) -> NetworkInterface:
    return change(interface, description=call.params["Description"].get("Value") or "")


def _check_source(call: Call, _: Transaction, interface: NetworkInterface) -> NetworkInterface:
    return change(interface, source_dest_check=call.params["SourceDestCheck"].get("Value", True))


def _regroup(call: Call, transaction: Transaction, interface: NetworkInterface) -> NetworkInterface:
    subnet = ids.find(call, Subnet, ids.SUBNET, interface.spec.subnet)
    groups = check_groups(call, call.params["Groups"], subnet)
    if not groups:
        raise ids.invalid("Value () for parameter groupId is invalid. The value cannot be empty")
    for group in groups:
        transaction.require(ids.find(call, SecurityGroup, ids.SECURITY_GROUP, group))
    return change(interface, groups=groups)


def _keep(call: Call, _: Transaction, interface: NetworkInterface) -> NetworkInterface:
    wished = call.params["Attachment"]
    id_, attachment = wished.get("AttachmentId") or "", interface.spec.attachment
    if attachment is None or attachment.id != id_:
        raise ids.not_found(ids.ATTACHMENT, ids.check_id(ids.ATTACHMENT, id_))
    delete = wished.get("DeleteOnTermination", attachment.delete_on_termination)
    return change(interface, attachment=msgspec.structs.replace(attachment, delete_on_termination=delete))


_CHANGES = {"Description": _describe, "SourceDestCheck": _check_source, "Groups": _regroup, "Attachment": _keep}


def _assign(
    call: Call, transaction: Transaction, interface: NetworkInterface, subnet: Subnet, wanted: str | None
) -> PrivateAddress:
    """A free address, claimed; or one taken over from another interface of the subnet."""
    holder = _holder(call, subnet, wanted) if wanted else None
    if holder is None:
        address = pick_address(call, transaction, subnet, wanted)
        claim_address(transaction, subnet.meta.name, address, key_of(interface))
        return PrivateAddress(address)
    if not call.params.get("AllowReassignment") or holder.spec.primary.address == wanted:
        raise ids.invalid(f"[{wanted}] is already assigned to interface {holder.meta.name} but move is not allowed.")
    holder = transaction.current(holder)
    moved = next(one for one in holder.spec.addresses if one.address == wanted)
    transaction.update(change(holder, addresses=tuple(one for one in holder.spec.addresses if one != moved)))
    elastic = elastic_of(call, holder, moved)
    if elastic is not None:
        transaction.update(change_address(elastic, interface=interface.meta.name))
    return moved


def _holder(call: Call, subnet: Subnet, wanted: str) -> NetworkInterface | None:
    if parse_address(wanted, "privateIpAddress") not in network_of(subnet.spec.cidr):
        return None
    return next(_having(call.by(NetworkInterface, "subnet", subnet.meta.name), wanted), None)


def _having(interfaces: Iterable[NetworkInterface], address: str) -> Any:
    return (one for one in interfaces if any(private.address == address for private in one.spec.addresses))
