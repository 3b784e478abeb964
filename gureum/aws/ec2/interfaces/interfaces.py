"""Network interfaces (ENIs): the addresses, groups and attachment of a machine's or service's place in a subnet.

Instances and other services make theirs through `new_interface` inside their own commit; nothing here calls them back. An interface is
lowered to a core Interface while it is plugged into a running sandbox, and to names while it is attached at all (networks/lowering.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.counting import count_at_commit, made_beside
from gureum.aws.ec2.interfaces.addresses import claim_address, pick_address, release_address, take_prefixes
from gureum.aws.ec2.interfaces.lending import attached_to, returned
from gureum.aws.ec2.interfaces.show import interface_filters, show_interface
from gureum.aws.ec2.listing import answer, listing
from gureum.aws.ec2.networks.group_associations import is_in
from gureum.aws.ec2.networks.kinds import (
    Address,
    Attachment,
    NetworkInterface,
    NetworkInterfaceSpec,
    PrivateAddress,
    SecurityGroup,
    Subnet,
    Vpc,
)
from gureum.aws.ec2.networks.public_pool import give_back, take_public
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction
from gureum.engine.resource import key_of


@operation("CreateNetworkInterface")
async def create_network_interface(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateNetworkInterface."""
    done = call.done_before()
    if done is not None:
        found = call.get(NetworkInterface, done[0])
        return ({"NetworkInterface": show_interface(call, found)} if found else {}) | call.told_token()
    params = call.params
    for name in (
        "Ipv6Addresses",
        "Ipv6AddressCount",
        "Ipv6Prefixes",
        "Ipv6PrefixCount",
        "EnablePrimaryIpv6",
        "ConnectionTrackingSpecification",
        "Operator",
    ):
        if params.get(name):
            raise ids.not_built(f"CreateNetworkInterface with {name}")
    if params.get("InterfaceType", "interface") != "interface":
        raise ids.not_built(f"CreateNetworkInterface with InterfaceType {params['InterfaceType']}")
    subnet = ids.find(call, Subnet, ids.SUBNET, ids.need(call, "SubnetId"))
    transaction = call.transaction()
    interface = new_interface(
        call,
        transaction,
        subnet,
        groups=params.get("Groups") or (),
        addresses=wanted_addresses(params),
        secondary_count=params.get("SecondaryPrivateIpAddressCount") or 0,
        prefixes=wanted_prefixes(params),
        description=params.get("Description") or "",
        tags=tags_of(call, "network-interface"),
    )
    call.remember(transaction, (interface.meta.name,))
    await call.commit(transaction)
    return {"NetworkInterface": show_interface(call, interface)} | call.told_token()


@operation("DeleteNetworkInterface")
async def delete_network_interface(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNetworkInterface: only while it is not attached."""
    interface = ids.find(call, NetworkInterface, ids.INTERFACE, ids.need(call, "NetworkInterfaceId"))
    if interface.spec.attachment is not None:
        raise ids.invalid(f"Network interface '{interface.meta.name}' is currently in use.")
    transaction = call.transaction()
    delete_interface(call, transaction, interface)
    await call.commit(transaction)
    return {}


@operation("DescribeNetworkInterfaces")
def describe_network_interfaces(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNetworkInterfaces."""
    found, token = listing(call, NetworkInterface, ids.INTERFACE, "NetworkInterfaceIds", interface_filters(call))
    return answer("NetworkInterfaces", [_fragment(call, interface) for interface in found], token)


# What instances and services that have interfaces of their own use. All act inside the caller's transaction.


def new_interface(
    call: Call,
    transaction: Transaction,
    subnet: Subnet,
    *,
    groups: Sequence[str] = (),
    addresses: Sequence[str] = (),
    secondary_count: int = 0,
    prefixes: tuple[Sequence[str], int] = ((), 0),
    description: str = "",
    source_dest_check: bool = True,
    attachment: Attachment | None = None,
    sandbox: str = "",
    public: bool = False,
    requester: str = "",
    open: bool = False,  # noqa: A002
    type_: str = "interface",
    tags: dict[str, str] | None = None,
) -> NetworkInterface:
    """A new interface with its addresses claimed. `groups`: ids, none: the VPC's default group; with `open` there are none and everything may
    pass. A service's interface (`requester`) is plugged into a sandbox of its own name. `addresses`: the primary first, none: any
    free one; `secondary_count`: so many more. `prefixes`: those
    named, or so many free ones. `public`: with a public address from the pool. AWS: the errors of CreateNetworkInterface."""
    room = call.settings.quota_network_interfaces - len(call.all(NetworkInterface))
    room -= made_beside(call, transaction, NetworkInterface, room)
    if room <= 0:
        raise AwsError("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached.")
    count_at_commit(call, transaction, NetworkInterface, room)
    chosen = () if open else check_groups(call, groups, subnet) or (default_group(call, subnet.spec.vpc).meta.name,)
    interface_id = new_id("eni-")
    interface = NetworkInterface(
        meta=call.meta(interface_id, tags=tags),
        spec=NetworkInterfaceSpec(
            vpc=subnet.spec.vpc,
            subnet=subnet.meta.name,
            zone=subnet.spec.zone,
            mac=new_mac(),
            addresses=(),
            groups=chosen,
            description=description,
            source_dest_check=source_dest_check,
            attachment=attachment,
            sandbox=interface_id if requester and attachment is not None else sandbox,
            requester=requester,
            open=open,
            type=type_,
        ),
    )
    if secondary_count < 0:
        raise ids.invalid(f"Value ({secondary_count}) for parameter secondaryPrivateIpAddressCount is invalid.")
    wanted: list[str | None] = [*addresses, *([None] * (secondary_count + (not addresses)))]
    if len(wanted) + len(prefixes[0]) + prefixes[1] > limits.ADDRESSES_PER_INTERFACE:
        raise AwsError(
            "PrivateIpAddressLimitExceeded",
            "The maximum number of private IP addresses per interface has been reached.",
        )
    given = []
    for one in wanted:
        address = pick_address(call, transaction, subnet, one)
        claim_address(transaction, subnet.meta.name, address, key_of(interface))
        given.append(PrivateAddress(address))
    ranges = take_prefixes(call, transaction, subnet, key_of(interface), *prefixes)
    if public:
        given[0] = PrivateAddress(given[0].address, public=take_public(call, transaction, key_of(interface)))
    transaction.require(subnet)
    for group in chosen:
        transaction.require(ids.find(call, SecurityGroup, ids.SECURITY_GROUP, group))
    return transaction.create(change(interface, addresses=tuple(given), prefixes=ranges))


def attach(
    transaction: Transaction, interface: NetworkInterface, attachment: Attachment, sandbox: str = ""
) -> NetworkInterface:
    """Attached to an instance; `sandbox`: its running sandbox, "" while it does not run. AWS: InvalidNetworkInterface.InUse."""
    interface = transaction.current(interface)
    if interface.spec.attachment is not None:
        raise AwsError("InvalidNetworkInterface.InUse", f"Interface: [{interface.meta.name}] in use.")
    return transaction.update(change(interface, attachment=attachment, sandbox=sandbox))


def detach(call: Call, transaction: Transaction, interface: NetworkInterface) -> NetworkInterface:
    """No longer attached; an automatically given public address goes back, Elastic IPs stay with the interface."""
    returned(call, transaction, interface)
    return transaction.update(change(drop_public(transaction, interface), attachment=None, sandbox=""))


def plug(transaction: Transaction, interface: NetworkInterface, sandbox: str) -> NetworkInterface:
    """The instance started (`sandbox`: its id) or stopped (""). Public addresses are the caller's: `give_public`, `drop_public`."""
    return transaction.update(change(transaction.current(interface), sandbox=sandbox))


def give_public(call: Call, transaction: Transaction, interface: NetworkInterface) -> NetworkInterface:
    """An automatic public address for the primary private address, unless it has one already."""
    interface = transaction.current(interface)
    primary = interface.spec.primary
    if primary.public:
        return interface
    public = take_public(call, transaction, key_of(interface))
    first = msgspec.structs.replace(primary, public=public)
    return transaction.update(change(interface, addresses=(first, *interface.spec.addresses[1:])))


def drop_public(transaction: Transaction, interface: NetworkInterface) -> NetworkInterface:
    """Automatic public addresses go back to the pool (the instance stopped); Elastic IPs stay."""
    interface = transaction.current(interface)
    automatic = [one for one in interface.spec.addresses if one.public and not one.allocation]
    if not automatic:
        return interface
    for one in automatic:
        give_back(transaction, one.public)
    kept = tuple(PrivateAddress(one.address) if one in automatic else one for one in interface.spec.addresses)
    return transaction.update(change(interface, addresses=kept))


def delete_interface(call: Call, transaction: Transaction, interface: NetworkInterface) -> None:
    """Gone, whatever it was attached to: its addresses are free again, its Elastic IPs associated with nothing."""
    returned(call, transaction, interface)
    interface = drop_public(transaction, interface)
    for one in interface.spec.addresses:
        release_address(transaction, interface.spec.subnet, one.address)
    for prefix in interface.spec.prefixes:
        release_address(transaction, interface.spec.subnet, prefix)
    account, _, region = interface.meta.scope.partition("/")
    for owner in {one.owner or account for one in interface.spec.addresses if one.allocation}:
        for address in call.within(f"{owner}/{region}").by(Address, "interface", interface.meta.name):
            spec = msgspec.structs.replace(address.spec, association="", interface="", private="", holder="")
            transaction.update(msgspec.structs.replace(transaction.current(address), spec=spec))
    transaction.delete(interface)


def check_not_managed(interface: NetworkInterface) -> None:
    """Interfaces of services are theirs alone to change. AWS: AuthFailure ("Requester-managed network interfaces")."""
    if interface.spec.requester:
        raise AwsError("AuthFailure", "You do not have permission to access the specified resource.")


def interfaces_of(call: Call, instance_id: str) -> list[NetworkInterface]:
    """The interfaces attached to an instance, by device index; also those that other accounts lend."""
    return attached_to(call.client, call.scope, instance_id)


def several_interfaces(instance_id: str) -> AwsError:
    """What AWS answers when an instance is named where one interface is meant."""
    return AwsError(
        "InvalidInstanceID",
        f"There are multiple interfaces attached to instance '{instance_id}'. "
        "Please specify an interface ID for the operation instead.",
    )


def default_group(call: Call, vpc_id: str) -> SecurityGroup:
    """The security group named "default", which every VPC has."""
    return next(group for group in call.by(SecurityGroup, "vpc", vpc_id) if group.spec.group_name == "default")


def check_groups(call: Call, groups: Sequence[str], subnet: Subnet) -> tuple[str, ...]:
    """`groups`, each once, when all are of the subnet's VPC. AWS: InvalidGroup.NotFound, InvalidParameter,
    SecurityGroupsPerInterfaceLimitExceeded."""
    chosen = tuple(dict.fromkeys(groups))
    if len(chosen) > call.settings.quota_security_groups_per_interface:
        raise AwsError(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )
    for group in ids.find_all(call, SecurityGroup, ids.SECURITY_GROUP, chosen):
        if not is_in(call, group, subnet.spec.vpc):
            text = f"Security group {group.meta.name} and subnet {subnet.meta.name} belong to different networks."
            raise AwsError("InvalidParameter", text)
    return chosen


def wanted_addresses(params: dict[str, Any]) -> list[str]:
    """Private addresses that a call asks for by `PrivateIpAddress` and `PrivateIpAddresses`, the primary first."""
    listed = params.get("PrivateIpAddresses") or []
    if not all(one.get("PrivateIpAddress") for one in listed):
        raise ids.missing("privateIpAddress")
    primary = [one["PrivateIpAddress"] for one in listed if one.get("Primary")]
    if params.get("PrivateIpAddress"):
        primary.append(params["PrivateIpAddress"])
    primary = list(dict.fromkeys(primary))
    if len(primary) > 1:
        raise ids.invalid("Only one primary private IP address can be specified.")
    others = [
        one["PrivateIpAddress"] for one in listed if not one.get("Primary") and one["PrivateIpAddress"] not in primary
    ]
    return [*primary, *others]


def wanted_prefixes(params: dict[str, Any]) -> tuple[list[str], int]:
    """Prefixes that a call asks for by `Ipv4Prefixes` (of ids' or of structures' form) or `Ipv4PrefixCount`."""
    named = [one["Ipv4Prefix"] if isinstance(one, dict) else one for one in params.get("Ipv4Prefixes") or ()]
    return named, params.get("Ipv4PrefixCount") or 0


def change(interface: NetworkInterface, **fields: Any) -> NetworkInterface:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(interface, spec=msgspec.structs.replace(interface.spec, **fields))


def new_mac() -> str:
    """A locally administered unicast address, as EC2 gives them."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *secrets.token_bytes(5)))


# Showing


def _fragment(call: Call, interface: NetworkInterface) -> Any:
    """Encoded once: beside itself an interface shows what its VPC says of names; names of groups never change."""
    vpc = call.get(Vpc, interface.spec.vpc)
    shown = partial(show_interface, call, interface)
    return call.fragment("NetworkInterface", interface, shown, (vpc.meta.revision if vpc else 0,))
