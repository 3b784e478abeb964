"""The network side of a launch: which subnet, which interfaces, and their making inside the launch's commit.

AWS: ec2 RunInstances (NetworkInterfaces, SubnetId, SecurityGroupIds, SecurityGroups, PrivateIpAddress, Placement).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.launch_options import wanted_zone
from gureum.aws.ec2.instances.types import InstanceType, check_addresses
from gureum.aws.ec2.interfaces.interfaces import (
    attach,
    give_public,
    new_interface,
    plug,
    wanted_addresses,
    wanted_prefixes,
)
from gureum.aws.ec2.interfaces.lending import find_permitted, lent
from gureum.aws.ec2.networks.kinds import Attachment, NetworkInterface, SecurityGroup, Subnet, Vpc
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


class InterfaceWish(msgspec.Struct, frozen=True):
    """One interface of the instances to be launched. `existing`: id of one that is attached instead of making a new one, `lent` by another
    account."""

    subnet: str
    zone: str
    device_index: int = 0
    existing: str = ""
    lent: bool = False
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    secondary_count: int = 0
    prefixes: tuple[tuple[str, ...], int] = ((), 0)
    description: str = ""
    public: bool = False
    delete_on_termination: bool = True

    @property
    def number_of_addresses(self) -> int:
        """As the type counts them: a prefix is one."""
        return max(len(self.addresses), 1) + self.secondary_count + len(self.prefixes[0]) + self.prefixes[1]


def plan_interfaces(
    call: Call, params: dict[str, Any], count: int, type_: InstanceType
) -> tuple[Subnet, tuple[InterfaceWish, ...]]:
    """The subnet of the primary interface and all interfaces, device 0 first."""
    listed = params.get("NetworkInterfaces") or []
    if listed:
        _check_combination(params)
        wishes = sorted(
            (_listed(call, one, count, alone=len(listed) == 1) for one in listed), key=lambda wish: wish.device_index
        )
        if [wish.device_index for wish in wishes] != list(range(len(wishes))):
            raise ids.invalid("The device indexes of network interfaces must be unique and start at 0.")
        if len(wishes) > type_.interfaces:
            text = f"Interface count {len(wishes)} exceeds the limit for {type_.name}"
            raise AwsError("AttachmentLimitExceeded", text)
    else:
        wishes = [_plain(call, params)]
    for wish in wishes:
        check_addresses(type_, wish.number_of_addresses)
    if wishes[0].lent:
        raise ids.not_built("Launching an instance whose primary interface is another account's")
    subnet = ids.find(call, Subnet, ids.SUBNET, wishes[0].subnet)
    if any(wish.zone != subnet.spec.zone for wish in wishes):
        raise ids.invalid("All network interfaces must be in the same Availability Zone.")
    _check_zone(call, params, subnet)
    if count > 1 and any(wish.addresses or wish.prefixes[0] for wish in wishes):
        raise AwsError(
            "InvalidParameterCombination",
            "You can't specify a private IP address when launching more than one instance.",
        )
    return subnet, tuple(wishes)


def create_interface(call: Call, transaction: Transaction, wish: InterfaceWish, instance: str) -> NetworkInterface:
    """Makes or attaches one wished interface for `instance`, plugged into its sandbox (which has the instance's id)."""
    attachment = Attachment(
        id=new_id("eni-attach-"),
        instance=instance,
        device_index=wish.device_index,
        attached=float(int(call.now)),
        delete_on_termination=wish.delete_on_termination,
    )
    if wish.existing:
        interface = find_permitted(call, wish.existing, "INSTANCE-ATTACH")
        return attach(transaction, interface, lent(call, transaction, interface, attachment), sandbox=instance)
    return new_interface(
        call,
        transaction,
        ids.find(call, Subnet, ids.SUBNET, wish.subnet),
        groups=wish.groups,
        addresses=wish.addresses,
        secondary_count=wish.secondary_count,
        prefixes=wish.prefixes,
        description=wish.description,
        attachment=attachment,
        sandbox=instance,
        public=wish.public,
        tags=tags_of(call, "network-interface", allow=("instance", "volume", "spot-instances-request", "elastic-gpu")),
    )


def plug_again(call: Call, transaction: Transaction, interface: NetworkInterface, *, public: bool) -> None:
    """The instance starts again: its interfaces are plugged in; the primary gets a new public address when it had an automatic one."""
    assert interface.spec.attachment is not None
    if public and interface.spec.attachment.device_index == 0:
        give_public(call, transaction, interface)
    plug(transaction, interface, interface.spec.attachment.instance)


def _check_combination(params: dict[str, Any]) -> None:
    if params.get("SubnetId"):
        text = "Network interfaces and an instance-level subnet ID may not be specified on the same request"
        raise AwsError("InvalidParameterCombination", text)
    if params.get("SecurityGroupIds") or params.get("SecurityGroups"):
        text = "Network interfaces and an instance-level security groups may not be specified on the same request"
        raise AwsError("InvalidParameterCombination", text)
    if params.get("PrivateIpAddress"):
        text = "Network interfaces and an instance-level private IP address may not be specified on the same request"
        raise AwsError("InvalidParameterCombination", text)


def _listed(call: Call, one: dict[str, Any], count: int, *, alone: bool) -> InterfaceWish:
    index = one.get("DeviceIndex")
    if index is None:
        raise AwsError("MissingParameter", "The request must contain the parameter networkInterface.deviceIndex")
    if one.get("NetworkInterfaceId"):
        interface = find_permitted(call, one["NetworkInterfaceId"], "INSTANCE-ATTACH")
        if count > 1:
            raise ids.invalid("Only one instance can be launched with an existing network interface.")
        if interface.spec.attachment is not None:
            raise AwsError("InvalidNetworkInterface.InUse", f"Interface: [{interface.meta.name}] in use.")
        if one.get("AssociatePublicIpAddress") is not None:
            text = "The associatePublicIPAddress parameter cannot be specified with a network interface that exists"
            raise AwsError("InvalidParameterCombination", text)
        keep = bool(one.get("DeleteOnTermination"))
        return InterfaceWish(
            subnet=interface.spec.subnet,
            zone=interface.spec.zone,
            lent=interface.meta.scope != call.scope,
            device_index=index,
            existing=interface.meta.name,
            addresses=tuple(private.address for private in interface.spec.addresses),
            prefixes=(interface.spec.prefixes, 0),
            delete_on_termination=keep,
        )
    subnet = _subnet(call, one.get("SubnetId"), None)
    public = one.get("AssociatePublicIpAddress")
    if public and not (alone and index == 0):
        text = "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces."
        raise AwsError("InvalidParameterCombination", text)
    prefixes, prefix_count = wanted_prefixes(one)
    return InterfaceWish(
        subnet=subnet.meta.name,
        zone=subnet.spec.zone,
        device_index=index,
        groups=tuple(one.get("Groups") or ()),
        addresses=tuple(wanted_addresses(one)),
        secondary_count=one.get("SecondaryPrivateIpAddressCount") or 0,
        prefixes=(tuple(prefixes), prefix_count),
        description=one.get("Description") or "",
        public=bool(subnet.spec.public_on_launch and alone) if public is None else bool(public),
        delete_on_termination=one.get("DeleteOnTermination", True),
    )


def _plain(call: Call, params: dict[str, Any]) -> InterfaceWish:
    if params.get("SubnetId") and params.get("SecurityGroups"):
        text = "The parameter groupName cannot be used with the parameter subnet"
        raise AwsError("InvalidParameterCombination", text)
    zone = wanted_zone(call, params)
    subnet = _subnet(call, params.get("SubnetId"), zone)
    groups = tuple(params.get("SecurityGroupIds") or ()) + _named_groups(
        call, params.get("SecurityGroups") or (), subnet
    )
    return InterfaceWish(
        subnet=subnet.meta.name,
        zone=subnet.spec.zone,
        groups=groups,
        addresses=tuple(wanted_addresses(params)),
        public=subnet.spec.public_on_launch,
    )


def _subnet(call: Call, wanted: str | None, zone: str | None) -> Subnet:
    """The subnet that was named, else the default subnet of the zone. AWS: VPCIdNotSpecified, MissingInput."""
    if wanted:
        return ids.find(call, Subnet, ids.SUBNET, wanted)
    vpcs = call.by(Vpc, "default", "default")
    if not vpcs:
        text = "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC."
        raise AwsError("VPCIdNotSpecified", text)
    subnets = [
        one
        for one in call.by(Subnet, "vpc", vpcs[0].meta.name)
        if one.spec.default_for_zone and zone in (None, "", one.spec.zone)
    ]
    if not subnets:
        raise AwsError(
            "MissingInput", f"No subnets found for the default VPC '{vpcs[0].meta.name}'. Please specify a subnet."
        )
    return min(subnets, key=lambda one: one.spec.zone)


def _named_groups(call: Call, names: Any, subnet: Subnet) -> tuple[str, ...]:
    """Ids of groups given by name, which only means something in the default VPC. AWS: InvalidGroup.NotFound."""
    found = []
    by_name = {group.spec.group_name: group for group in call.by(SecurityGroup, "vpc", subnet.spec.vpc)}
    for name in names:
        if name not in by_name:
            raise AwsError(
                "InvalidGroup.NotFound",
                f"The security group '{name}' does not exist in default VPC '{subnet.spec.vpc}'",
            )
        found.append(by_name[name].meta.name)
    return tuple(found)


def _check_zone(call: Call, params: dict[str, Any], subnet: Subnet) -> None:
    zone = wanted_zone(call, params)
    if zone and zone != subnet.spec.zone:
        text = f"Value ({zone}) for parameter availabilityZone is invalid. The subnet '{subnet.meta.name}' is in {subnet.spec.zone}."
        raise AwsError("InvalidParameterValue", text)
