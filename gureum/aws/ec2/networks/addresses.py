"""Elastic IPs: public addresses of the pool that an account keeps, on a private address of an interface or on none.

An association stands on the address and on the interface, written in one commit. The interface's core Interface (networks/lowering.py)
carries the translation. The pool itself: public_pool.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.interfaces.interfaces import change as change_interface
from gureum.aws.ec2.interfaces.interfaces import check_not_managed, give_public, interfaces_of, several_interfaces
from gureum.aws.ec2.interfaces.lending import find_permitted, permission_for
from gureum.aws.ec2.listing import answer, show_own_tags
from gureum.aws.ec2.networks.kinds import (
    Address,
    AddressSpec,
    AddressTransfer,
    InternetGateway,
    NetworkInterface,
    PrivateAddress,
)
from gureum.aws.ec2.networks.public_pool import give_back, take_public
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.client import Transaction
from gureum.engine.resource import key_of


@operation("AllocateAddress")
async def allocate_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 AllocateAddress, with `Address` for one that was released before and is free."""
    params = call.params
    for name in ("IpamPoolId", "CustomerOwnedIpv4Pool"):
        if params.get(name):
            raise ids.not_built(f"AllocateAddress with {name}")
    if params.get("NetworkBorderGroup", call.region) != call.region:
        raise ids.invalid(f"Value ({params['NetworkBorderGroup']}) for parameter networkBorderGroup is invalid.")
    if params.get("Domain", "vpc") != "vpc":
        raise AwsError("UnsupportedOperation", "Domain 'standard' is not supported: EC2-Classic is retired.")
    if params.get("PublicIpv4Pool", "amazon") != "amazon":
        text = f"The pool ID '{params['PublicIpv4Pool']}' does not exist."
        raise AwsError("InvalidPublicIpv4PoolID.NotFound", text)
    room = call.settings.quota_elastic_ips - len(call.all(Address))
    if room <= 0:
        raise AwsError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    transaction = call.transaction()
    count_at_commit(call, transaction, Address, room)
    bare = Address(meta=call.meta(new_id("eipalloc-"), tags=tags_of(call, "elastic-ip")), spec=AddressSpec(public=""))
    address = change(bare, public=take_public(call, transaction, key_of(bare), params.get("Address") or ""))
    transaction.create(address)
    await call.commit(transaction)
    return {
        "PublicIp": address.spec.public,
        "AllocationId": address.meta.name,
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": call.region,
        "Domain": "vpc",
    }


@operation("ReleaseAddress")
async def release_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 ReleaseAddress: not while it is associated, nor from another border group. Nobody is offered it any more."""
    address = _find(call)
    if call.params.get("NetworkBorderGroup", call.region) != call.region:
        raise AwsError("InvalidAddress.NotFound", f"Address '{address.spec.public}' not found.")
    if address.spec.association:
        raise AwsError("InvalidIPAddress.InUse", f"Address {address.spec.public} is in use.")
    transaction = call.transaction()
    give_back(transaction, address.spec.public)
    transaction.delete(address)
    offer = call.get(AddressTransfer, address.meta.name)
    if offer is not None:
        transaction.delete(offer)
    await call.commit(transaction)
    return {}


@operation("AssociateAddress")
async def associate_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateAddress. Moves it from where it was unless AllowReassociation is false; what the private address had is replaced.
    The same association again is success."""
    address = _find(call)
    interface, private = _target(call)
    if (address.spec.interface, address.spec.private) == (interface.meta.name, private.address):
        call.end_dry_run()
        return {"AssociationId": address.spec.association}
    check_not_managed(interface)
    _check_holder(call, address)
    there = call.within(interface.meta.scope)
    if not there.by(InternetGateway, "vpc", interface.spec.vpc):
        text = f"Network {interface.spec.vpc} is not attached to any internet gateway"
        raise AwsError("Gateway.NotAttached", text)
    if call.params.get("AllowReassociation") is False:
        _refuse_move(address, private)
    transaction = call.transaction()
    disassociate(call, transaction, address)
    _clear(call, transaction, interface, private)
    if address.spec.interface != interface.meta.name:
        _give_automatic(call, transaction, address)
    association = new_id("eipassoc-")
    owner, holder = ("", "") if there is call else (call.account, there.account)
    new = PrivateAddress(private.address, address.spec.public, address.meta.name, association, owner)
    _put(transaction, interface, new)
    address = transaction.current(address)
    at = {"interface": interface.meta.name, "private": private.address, "holder": holder}
    transaction.update(change(address, association=association, **at))
    for gateway in there.by(InternetGateway, "vpc", interface.spec.vpc):
        transaction.require(gateway)
    permission = permission_for(call, interface.meta.name, "EIP-ASSOCIATE") if holder else None
    if permission is not None:
        transaction.require(permission)
    await call.commit(transaction)
    return {"AssociationId": association}


@operation("DisassociateAddress")
async def disassociate_address(call: Call) -> dict[str, Any]:
    """AWS: ec2 DisassociateAddress. A running machine that was launched with a public address has another automatic one afterwards."""
    _check_one(call, "AssociationId", "association id")
    id_, public = call.params.get("AssociationId"), call.params.get("PublicIp")
    if not id_ and not public:
        raise AwsError("MissingParameter", "Either 'AssociationId' or 'PublicIp' must be provided.")
    if id_:
        found = call.by(Address, "association", ids.check_id(ids.ADDRESS_ASSOCIATION, id_))
        if not found:
            raise ids.not_found(ids.ADDRESS_ASSOCIATION, id_)
        address = found[0]
    else:
        address = _by_public(call, str(public))
    if not address.spec.association:
        raise ids.invalid(f"Address {address.spec.public} is not associated.")
    _check_holder(call, address)
    transaction = call.transaction()
    disassociate(call, transaction, address)
    _give_automatic(call, transaction, address)
    await call.commit(transaction)
    return {}


@operation("DescribeAddresses")
def describe_addresses(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeAddresses."""
    wanted, publics = call.params.get("AllocationIds"), call.params.get("PublicIps")
    found = ids.find_all(call, Address, ids.ADDRESS, wanted) if wanted else call.all(Address)
    if publics:
        chosen = [_by_public(call, public) for public in publics]
        found = [address for address in found if address in chosen]
    found = apply_filters(found, call.params.get("Filters"), _filters(call))
    call.end_dry_run()
    return {"Addresses": [show_address(call, address) for address in sorted(found, key=lambda one: one.meta.name)]}


@operation("DescribeAddressesAttribute")
def describe_addresses_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeAddressesAttribute: the reverse names that were set."""
    _check_attribute(call)
    wanted = call.params.get("AllocationIds")
    found = ids.find_all(call, Address, ids.ADDRESS, wanted) if wanted else call.all(Address)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1)
    return answer("Addresses", [_show_attribute(address) for address in shown], token)


@operation("ModifyAddressAttribute", level="state")
async def modify_address_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyAddressAttribute: the reverse name of the address in DNS."""
    return await _set_domain_name(call, (call.params.get("DomainName") or "").rstrip("."))


@operation("ResetAddressAttribute", level="state")
async def reset_address_attribute(call: Call) -> dict[str, Any]:
    """AWS: ec2 ResetAddressAttribute."""
    _check_attribute(call)
    return await _set_domain_name(call, "")


def _check_attribute(call: Call) -> None:
    attribute = call.params.get("Attribute", "domain-name")
    if attribute != "domain-name":
        raise ids.invalid(f"Value ({attribute}) for parameter attribute is invalid.")


def disassociate(call: Call, transaction: Transaction, address: Address) -> None:
    """Takes the address off its interface, if it is on one."""
    address = transaction.current(address)
    if not address.spec.association:
        return
    interface = _interface_at(call, address)
    if interface is not None:
        _put(transaction, interface, PrivateAddress(address.spec.private))
    transaction.update(change(address, association="", interface="", private="", holder=""))


def elastic_of(call: Call, interface: NetworkInterface, one: PrivateAddress) -> Address | None:
    """The Elastic IP that leads to an address of the interface, whoever has it."""
    account, _, region = interface.meta.scope.partition("/")
    return call.client.get(Address, f"{one.owner or account}/{region}", one.allocation) if one.allocation else None


def _interface_at(call: Call, address: Address) -> NetworkInterface | None:
    """What the address is associated with, in its own account or another."""
    if not address.spec.interface:
        return None
    account, _, region = address.meta.scope.partition("/")
    return call.client.get(NetworkInterface, f"{address.spec.holder or account}/{region}", address.spec.interface)


def _check_holder(call: Call, address: Address) -> None:
    """An address that a service holds (a network load balancer's) goes only with the service's own doing."""
    holder = _interface_at(call, address)
    if holder is not None:
        check_not_managed(holder)


def _give_automatic(call: Call, transaction: Transaction, address: Address) -> None:
    """What the instance that lost `address` has instead. AWS: a running one gets a new public address, unless it was launched without or
    has further interfaces ("Elastic IP addresses", "EC2 instance IP addressing")."""
    interface = _interface_at(call, address)
    attachment = interface.spec.attachment if interface is not None else None
    if interface is None or attachment is None or not interface.spec.sandbox:
        return
    call = call.within(interface.meta.scope)
    instance = call.get(Instance, attachment.instance)
    alone = len(interfaces_of(call, attachment.instance)) == 1
    if instance is not None and instance.spec.public_on_launch and alone:
        give_public(call, transaction, interface)


def change(address: Address, **fields: Any) -> Address:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(address, spec=msgspec.structs.replace(address.spec, **fields))


def _find(call: Call) -> Address:
    """The address a call names, by one of its two names. AWS: InvalidParameterCombination, MissingParameter, NotFound."""
    _check_one(call, "AllocationId", "allocation id")
    if call.params.get("AllocationId"):
        return ids.find(call, Address, ids.ADDRESS, call.params["AllocationId"])
    if call.params.get("PublicIp"):
        return _by_public(call, call.params["PublicIp"])
    raise AwsError("MissingParameter", "Either 'AllocationId' or 'PublicIp' must be provided.")


def _check_one(call: Call, name: str, told: str) -> None:
    """Two names might be those of two addresses."""
    if call.params.get(name) and call.params.get("PublicIp"):
        text = f"You may specify public IP or {told}, but not both in the same call"
        raise AwsError("InvalidParameterCombination", text)


def _by_public(call: Call, public: str) -> Address:
    found = call.by(Address, "public", public)
    if not found:
        raise AwsError("InvalidAddress.NotFound", f"Address '{public}' not found.")
    return found[0]


def _target(call: Call) -> tuple[NetworkInterface, PrivateAddress]:
    """The interface and the private address of it that a call means. Beside an instance an interface that is gone is passed over: so Terraform moves
    an address to an instance that takes another's place."""
    params = call.params
    if params.get("NetworkInterfaceId") and not (params.get("InstanceId") and _is_gone(call)):
        interface = find_permitted(call, params["NetworkInterfaceId"], "EIP-ASSOCIATE")
        if params.get("InstanceId") and (
            interface.spec.attachment is None or interface.spec.attachment.instance != params["InstanceId"]
        ):
            raise AwsError(
                "InvalidParameterCombination",
                "You may specify either the instance ID or the network interface ID, not both.",
            )
    elif params.get("InstanceId"):
        interface = _interface_of(call, params["InstanceId"])
    else:
        raise AwsError("MissingParameter", "Either 'InstanceId' or 'NetworkInterfaceId' must be provided.")
    wanted = params.get("PrivateIpAddress")
    if not wanted:
        return interface, interface.spec.primary
    for one in interface.spec.addresses:
        if one.address == wanted:
            return interface, one
    text = f"The private address {wanted} is not assigned to the network interface {interface.meta.name}"
    raise AwsError("InvalidParameterValue", text)


def _is_gone(call: Call) -> bool:
    name = ids.check_id(ids.INTERFACE, call.params["NetworkInterfaceId"])
    return call.get(NetworkInterface, name) is None


def _interface_of(call: Call, instance_id: str) -> NetworkInterface:
    interfaces = interfaces_of(call, instance_id)
    if not interfaces:
        raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    if len(interfaces) > 1 and not call.params.get("PrivateIpAddress"):
        raise several_interfaces(instance_id)
    wanted = call.params.get("PrivateIpAddress")
    having = (one for one in interfaces if any(private.address == wanted for private in one.spec.addresses))
    return next(having, interfaces[0])


def _refuse_move(address: Address, private: PrivateAddress) -> None:
    if address.spec.association:
        text = f"resource {address.meta.name} is already associated with associate-id {address.spec.association}"
        raise AwsError("Resource.AlreadyAssociated", text)
    if private.allocation:
        text = f"resource {private.address} is already associated with address {private.public}"
        raise AwsError("Resource.AlreadyAssociated", text)


def _clear(call: Call, transaction: Transaction, interface: NetworkInterface, private: PrivateAddress) -> None:
    """Takes off what the private address has: an Elastic IP is associated with nothing, an automatic address goes back."""
    other = elastic_of(call, interface, private)
    if other is not None:
        disassociate(call, transaction, other)
    elif private.public:
        give_back(transaction, private.public)
        _put(transaction, interface, PrivateAddress(private.address))


def _put(transaction: Transaction, interface: NetworkInterface, one: PrivateAddress) -> None:
    interface = transaction.current(interface)
    addresses = tuple(one if old.address == one.address else old for old in interface.spec.addresses)
    transaction.update(change_interface(interface, addresses=addresses))


async def _set_domain_name(call: Call, domain_name: str) -> dict[str, Any]:
    address = ids.find(call, Address, ids.ADDRESS, ids.need(call, "AllocationId"))
    changed = change(address, domain_name=domain_name)
    transaction = call.transaction()
    transaction.update(changed)
    await call.commit(transaction)
    return {"Address": _show_attribute(changed)}


def _instance_of(call: Call, address: Address) -> str:
    interface = _interface_at(call, address)
    return interface.spec.attachment.instance if interface is not None and interface.spec.attachment else ""


def _filters(call: Call) -> FilterTable:
    return {
        "allocation-id": lambda one: one.meta.name,
        "association-id": lambda one: one.spec.association or None,
        "domain": lambda _: "vpc",
        "instance-id": lambda one: _instance_of(call, one) or None,
        "network-border-group": lambda _: call.region,
        "network-interface-id": lambda one: one.spec.interface or None,
        "network-interface-owner-id": lambda one: (one.spec.holder or call.account) if one.spec.interface else None,
        "private-ip-address": lambda one: one.spec.private or None,
        "public-ip": lambda one: one.spec.public,
    }


def show_address(call: Call, address: Address) -> dict[str, Any]:
    """API form. AWS: ec2 Address."""
    shown: dict[str, Any] = {
        "PublicIp": address.spec.public,
        "AllocationId": address.meta.name,
        "Domain": "vpc",
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": call.region,
        **show_own_tags(address.meta.tags),
    }
    if address.spec.association:
        shown |= {
            "AssociationId": address.spec.association,
            "NetworkInterfaceId": address.spec.interface,
            "NetworkInterfaceOwnerId": address.spec.holder or call.account,
            "PrivateIpAddress": address.spec.private,
        }
        instance = _instance_of(call, address)
        if instance:
            shown["InstanceId"] = instance
    return shown


def _show_attribute(address: Address) -> dict[str, Any]:
    shown = {"PublicIp": address.spec.public, "AllocationId": address.meta.name}
    return shown | ({"PtrRecord": f"{address.spec.domain_name}."} if address.spec.domain_name else {})
