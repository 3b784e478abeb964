"""Nodes of load balancers: one per zone, each with an interface of its own in a subnet of the user's.

    SubnetMappings, Subnets ──► Wish per zone ──► ec2.NetworkInterface ("ELB app/NAME/ID", owned by amazon-elb)

The interface is made and deleted in the same commit as the load balancer changes, so neither is ever there without the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.interfaces.interfaces import change as change_interface
from gureum.aws.ec2.interfaces.interfaces import default_group, delete_interface, new_interface
from gureum.aws.ec2.networks.addresses import change as change_address
from gureum.aws.ec2.networks.cidrs import usable_size
from gureum.aws.ec2.networks.group_associations import is_in
from gureum.aws.ec2.networks.kinds import (
    Address,
    Attachment,
    InternetGateway,
    NetworkInterface,
    PrivateAddress,
    SecurityGroup,
    Subnet,
)
from gureum.aws.elbv2.arns import label_of
from gureum.aws.elbv2.faults import bad_configuration, invalid, not_built
from gureum.aws.elbv2.kinds import LoadBalancer, ZoneNode
from gureum.aws.elbv2.target_places import REQUESTER
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

FREE_ADDRESSES = 8
"""AWS: "Subnets for your load balancer": an Application Load Balancer needs at least eight free addresses in each."""


class Wish(msgspec.Struct, frozen=True):
    """A zone as a call asks for it."""

    subnet: Subnet
    allocation: str = ""
    private: str = ""


def wanted_zones(call: Call, type_: str, scheme: str) -> list[Wish]:
    """The zones that `Subnets` or `SubnetMappings` ask for, by name. AWS: ValidationError, SubnetNotFound, InvalidSubnet,
    InvalidConfigurationRequest, AllocationIdNotFound."""
    subnets, mappings = call.params.get("Subnets"), call.params.get("SubnetMappings")
    if subnets and mappings:
        raise invalid("You must specify either subnets or subnet mappings, but not both")
    given: Sequence[Mapping[str, Any]] = mappings or [{"SubnetId": id_} for id_ in dict.fromkeys(subnets or ())]
    wishes = [_wish(call, one, type_, scheme) for one in given]
    zones = {wish.subnet.spec.zone for wish in wishes}
    if type_ == "application" and len(wishes) < 2:
        raise invalid("At least two subnets in two different Availability Zones must be specified")
    if not wishes:
        raise invalid("At least one subnet must be specified")
    if len({wish.subnet.spec.vpc for wish in wishes}) > 1:
        raise bad_configuration(f"All subnets must belong to the same VPC: '{wishes[0].subnet.spec.vpc}'")
    if len(zones) < len(wishes):
        text = "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
        raise bad_configuration(text)
    vpc = wishes[0].subnet.spec.vpc
    if scheme == "internet-facing" and not call.by(InternetGateway, "vpc", vpc):
        raise AwsError("InvalidSubnet", f"VPC {vpc} has no internet gateway")
    return sorted(wishes, key=lambda wish: wish.subnet.spec.zone)


def check_room(call: Call, wishes: Iterable[Wish], type_: str) -> None:
    """AWS: InvalidSubnet when a subnet has too few free addresses for a node."""
    needed = FREE_ADDRESSES if type_ == "application" else 1
    for wish in wishes:
        name = wish.subnet.meta.name
        used = sum(len(one.spec.addresses) for one in call.by(NetworkInterface, "subnet", name))
        if usable_size(wish.subnet.spec.cidr) - used < needed:
            text = f"Not enough IP space available in {name}. ELB requires at least {needed} free IP addresses in each subnet."
            raise AwsError("InvalidSubnet", text)


def wanted_groups(call: Call, vpc: str, type_: str) -> tuple[str, ...]:
    """The security groups a call names; with an application load balancer the VPC's default one when it names none. AWS: InvalidSecurityGroup,
    InvalidConfigurationRequest."""
    chosen = tuple(dict.fromkeys(call.params.get("SecurityGroups") or ()))
    if not chosen:
        return (default_group(call, vpc).meta.name,) if type_ == "application" else ()
    most = call.settings.quota_security_groups_per_interface
    if len(chosen) > most:
        raise bad_configuration(f"At most {most} security groups can be specified")
    for name in chosen:
        group = call.get(SecurityGroup, name)
        if group is None:
            raise AwsError("InvalidSecurityGroup", f"Security group '{name}' does not exist")
        if not is_in(call, group, vpc):
            raise bad_configuration("One or more security groups are invalid")
    return chosen


def add_node(call: Call, transaction: Transaction, balancer: LoadBalancer, wish: Wish) -> ZoneNode:
    """The node with its interface and addresses."""
    network = balancer.spec.type == "network"
    internet = balancer.spec.scheme == "internet-facing"
    try:
        interface = new_interface(
            call,
            transaction,
            wish.subnet,
            groups=balancer.spec.groups,
            addresses=(wish.private,) if wish.private else (),
            description=f"ELB {label_of(balancer)}",
            # A network load balancer's node may speak with its clients' addresses.
            source_dest_check=not network,
            attachment=Attachment(new_id("ela-attach-"), "", 1, float(int(call.now)), owner=REQUESTER),
            public=internet and not wish.allocation,
            requester=REQUESTER,
            open=not balancer.spec.groups,
            type_="network_load_balancer" if network else "interface",
        )
    except AwsError as error:
        raise _of_interface(error, wish) from error
    if internet:
        for gateway in call.by(InternetGateway, "vpc", balancer.spec.vpc):
            transaction.require(gateway)
    if wish.allocation:
        _associate(call, transaction, interface, wish.allocation)
    return ZoneNode(wish.subnet.spec.zone, wish.subnet.meta.name, interface.meta.name, wish.allocation, wish.private)


def remove_node(call: Call, transaction: Transaction, node: ZoneNode) -> None:
    """Its interface is gone, its addresses are free, the user's Elastic IP is associated with nothing."""
    interface = call.get(NetworkInterface, node.interface)
    if interface is not None:
        delete_interface(call, transaction, interface)


def regroup_node(call: Call, transaction: Transaction, node: ZoneNode, groups: tuple[str, ...]) -> None:
    interface = call.get(NetworkInterface, node.interface)
    if interface is not None:
        transaction.update(change_interface(interface, groups=groups))


def _wish(call: Call, given: Mapping[str, Any], type_: str, scheme: str) -> Wish:
    for name in ("IPv6Address", "SourceNatIpv6Prefix"):
        if given.get(name):
            raise not_built(f"A subnet mapping with {name}")
    id_ = given.get("SubnetId") or ""
    subnet = call.get(Subnet, id_)
    if subnet is None:
        raise AwsError("SubnetNotFound", f"The subnet ID '{id_}' does not exist")
    allocation, private = given.get("AllocationId") or "", given.get("PrivateIPv4Address") or ""
    if (allocation or private) and type_ != "network":
        what = "Elastic IP addresses" if allocation else "Private IPv4 addresses"
        raise bad_configuration(f"{what} are not supported for load balancers with type '{type_}'")
    if allocation and scheme != "internet-facing":
        raise bad_configuration("Elastic IP addresses are not supported for load balancers with scheme 'internal'")
    if private and scheme != "internal":
        raise bad_configuration(
            "Private IPv4 addresses are not supported for load balancers with scheme 'internet-facing'"
        )
    if allocation and call.get(Address, allocation) is None:
        raise AwsError("AllocationIdNotFound", f"The allocation ID '{allocation}' does not exist")
    return Wish(subnet, allocation, private)


def _associate(call: Call, transaction: Transaction, interface: NetworkInterface, allocation: str) -> None:
    address = call.get(Address, allocation)
    assert address is not None
    address = transaction.current(address)
    if address.spec.association:
        raise AwsError("ResourceInUse", f"The allocation ID '{allocation}' is already in use")
    association, private = new_id("eipassoc-"), interface.spec.primary.address
    given = PrivateAddress(private, address.spec.public, allocation, association)
    transaction.update(change_interface(interface, addresses=(given,)))
    transaction.update(change_address(address, association=association, interface=interface.meta.name, private=private))


def _of_interface(error: AwsError, wish: Wish) -> AwsError:
    """EC2's refusal of an interface in load balancing's words."""
    if error.code == "InsufficientFreeAddressesInSubnet":
        return AwsError("InvalidSubnet", f"Not enough IP space available in {wish.subnet.meta.name}.")
    if wish.private and error.code in ("InvalidParameterValue", "InvalidIPAddress.InUse"):
        return bad_configuration(f"The private IPv4 address '{wish.private}' cannot be used: {error.message}")
    return error
